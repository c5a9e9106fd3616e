"""Faults that somebody met, each told as it was seen; all of these failed once."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Iterator

import otagate
import pyarrow as pa
import pytest
from conftest import NOW
from otagate import store
from test_store import Rows

NAIVE = datetime(2020, 1, 1)


class Row:
    def __init__(self, **more: Any) -> None:
        self.serial, self.state, self.group = "SN-1", "verified", "stable"
        self.__dict__.update(more)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        *(("revision", made) for made in ("x", -1, 1 << 64, None, 1.5)),
        *(("device", Row(**more)) for more in ({"serial": 5}, {"version": 3.0}, {"entered_at": 5}, {"entered_at": NAIVE}, {"pin": 1})),
        *(("standing", Row(**more)) for more in ({"attempts": "x"}, {"attempts": -1}, {"place": -1}, {"claim_expires_at": NAIVE}, {"penalty_hop": 3})),
        ("standing", 5),
    ],
    ids=repr,
)
def test_wrong_types_of_a_store_are_garbage(name: str, made: Any) -> None:
    rows = Rows()
    rows.instead[name] = lambda: made
    with pytest.raises(otagate.StoreGarbage):
        store.decide(rows, "secret", "SN-1", "1.0")


@pytest.mark.parametrize("kind", [ValueError, UnicodeDecodeError, AttributeError, KeyError])
@pytest.mark.parametrize("name", ["serial", "pin"])
def test_an_exception_of_a_lazy_attribute_comes_through(kind: type[Exception], name: str) -> None:
    error = kind("utf-8", b"x", 0, 1, "the database") if kind is UnicodeDecodeError else kind("the database")

    class Lazy:
        serial, state, group = "SN-1", "verified", "stable"

    def fail(_: Any) -> Any:
        raise error

    setattr(Lazy, name, property(fail))
    rows = Rows()
    rows.instead["device"] = Lazy
    with pytest.raises(Exception) as caught:
        store.decide(rows, "secret", "SN-1", "1.0")
    assert caught.value is error


def test_a_view_that_swallows_exceptions_serves_nothing_and_says_so() -> None:
    class Swallows(Rows):
        @contextmanager
        def view(self) -> Iterator[Any]:
            try:
                yield self
            except Exception:  # noqa: BLE001
                pass

    rows = Swallows()
    rows.instead["device"] = lambda: 1 // 0
    with pytest.raises(otagate.Error):
        store.decide(rows, "secret", "SN-1")


def test_a_registration_is_not_lost() -> None:
    class Rare(Rows):
        times = 0

        def __getattribute__(self, name: str) -> Any:
            if name == "register":
                Rare.times += 1
                if Rare.times == 1:
                    raise OSError("the database is gone")
            return super().__getattribute__(name)

    rows = Rare()
    attended = store.attend(rows, otagate.Ledger(), "secret", "SN-9", now=NOW)
    with pytest.raises(OSError):
        attended.answered(now=NOW)
    attended.answered(now=NOW)
    assert rows.registered == [("lamp", "SN-9", NOW)]


class Zone(tzinfo):
    def __init__(self, held: Any = None) -> None:
        self.held, self.offset = held, timedelta(0)

    def utcoffset(self, _: datetime | None) -> timedelta:
        return self.offset

    def dst(self, _: datetime | None) -> None:
        return None

    def tzname(self, _: datetime | None) -> str:
        return "zone"


def test_a_time_does_not_keep_a_fleet() -> None:
    fleet = otagate.Fleet()
    gone = weakref.ref(fleet)
    fleet.decide("secret", "SN-1", now=datetime(2026, 1, 1, tzinfo=Zone(fleet)))
    del fleet
    gc.collect()
    assert gone() is None


def test_a_zone_is_asked_each_time(fleet: otagate.Fleet) -> None:
    product = fleet.spec()["products"][0]["product"]
    key = {"hash": otagate.key_hash("timed"), "not_before": 0}
    fleet.apply({"change": "put-product", "product": product | {"keys": [*product["keys"], key]}})
    zone = Zone()
    now = datetime(1970, 1, 1, tzinfo=zone)
    assert fleet.decide("timed", "SN-1", now=now).status == 200
    zone.offset = timedelta(hours=1)
    assert fleet.decide("timed", "SN-1", now=now).reason == "key-not-yet-valid"


def test_a_store_that_keeps_what_was_attended_goes() -> None:
    rows: Any = Rows()
    rows.kept = store.attend(rows, otagate.Ledger(), "secret", "SN-9", now=NOW)
    gone = weakref.ref(rows)
    del rows
    gc.collect()
    assert gone() is None


def test_what_no_json_can_say_is_refused_with_its_place(fleet: otagate.Fleet) -> None:
    circle: list[Any] = []
    circle.append(circle)
    for wrong in ({"change": "\udcff"}, {"change": "x", "n": float("nan")}, {"change": "x", "n": circle}):
        with pytest.raises(otagate.Refused) as caught:
            fleet.apply([{"change": "paint"}, wrong])
        assert [problem.place for problem in caught.value.problems] == ["changes[0]", "changes[1]"]
    with pytest.raises(otagate.Refused):
        fleet.apply('[{"change": "x", "n": Infinity}, {"change": "\\udcff"}]')


def test_a_row_that_is_null_is_not_decided_by_what_lies_under_it(fleet: otagate.Fleet) -> None:
    rows = pa.StructArray.from_arrays([pa.array(["SN-1", "SN-2"]), pa.array(["2.1.0"] * 2)], ["serial", "version"], mask=pa.array([True, False]))
    with pytest.raises(otagate.InvalidArgument, match="null"):
        fleet.decide_many(rows, key="secret")


def test_a_table_without_rows_is_looked_at_too(fleet: otagate.Fleet) -> None:
    with pytest.raises(otagate.InvalidArgument, match="serial"):
        fleet.decide_many(pa.schema([("version", pa.string())]).empty_table(), key="secret")


def test_a_device_older_than_the_calendar_can_be_read(fleet: otagate.Fleet) -> None:
    device = {"serial": "OLD-1", "state": "verified", "group": "stable", "entered_at": -(10**17)}
    fleet.apply({"change": "put-device", "product": "lamp", "device": device})
    found = fleet.device("lamp", "OLD-1")
    assert found is not None and found.serial == "OLD-1"


B12 = """
import sys, pyarrow as pa, pyarrow.compute as pc, pyarrow.dataset as ds, pyarrow.parquet as pq, otagate
pc.register_scalar_function(lambda _, x: pc.utf8_upper(x), "up", {"summary": "s", "description": "d"}, {"x": pa.string()}, pa.string())
pq.write_table(pa.table({"serial": ["sn-1"] * 200_000}), sys.argv[1], row_group_size=1_000)
scanner = ds.dataset(sys.argv[1]).scanner(columns={"serial": pc.Expression._call("up", [pc.field("serial")])}, batch_size=1_000)
print(len(otagate.Fleet().decide_many(scanner.to_reader(), key="secret")))
"""


def test_a_stream_that_needs_the_gil_elsewhere_is_read(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", B12, str(tmp_path / "a.parquet")], capture_output=True, timeout=20)
    assert done.stdout.strip() == b"200000", done.stderr.decode()


def test_paths_of_bytes_and_what_a_failure_names(tmp_path: Path) -> None:
    class Bytes:
        def __fspath__(self) -> bytes:
            return bytes(tmp_path) + b"/\xff.toml"

    for path in (Bytes(), str(tmp_path) + "/\udcff.toml"):
        with pytest.raises(FileNotFoundError) as caught:
            otagate.Fleet.load(path)  # type: ignore[arg-type]
        assert caught.value.filename in (str(tmp_path) + "/\udcff.toml", bytes(tmp_path) + b"/\xff.toml")
