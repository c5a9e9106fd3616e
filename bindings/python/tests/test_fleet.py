"""A fleet in memory: built, changed whole or not at all, looked at, and carried elsewhere."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path, PurePosixPath
from typing import Any, Iterator

import otagate
import pyarrow as pa
import pytest
from conftest import NOW, changes, firmware

EXAMPLE = Path(__file__).resolve().parents[3] / "src" / "fleet_file" / "example"
KEY = "demo-secret"
OPEN = datetime(2026, 12, 5, 12, 0, tzinfo=timezone.utc)  # a Saturday: the window is open


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The example of the crate, in a folder of its own with a name beyond ASCII."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "Flotte Süd")) / "fleet.toml"


class Somewhere:
    """A path of somebody else's."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


def test_every_kind_of_path(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    kinds: list[Any] = [file, str(file), Somewhere(file), Path("fleet.toml"), "fleet.toml", PurePosixPath("fleet.toml")]
    told = {otagate.Fleet.load(path, now=OPEN).to_json() for path in kinds}
    assert len(told) == 1
    fleet = otagate.Fleet.load(file, now=OPEN)
    assert [fleet.reload(path, now=OPEN) for path in kinds] == list(range(2, 8)) and fleet.revision == 7, "counted on"
    with pytest.raises(TypeError):
        otagate.Fleet.load(3)  # type: ignore[arg-type]
    with pytest.raises(IsADirectoryError):
        otagate.Fleet.load(file.parent)
    with pytest.raises(ValueError, match="naive"):
        otagate.Fleet.load(file, now=datetime(2026, 12, 1))
    with pytest.raises(ValueError, match="naive"):
        fleet.reload(file, now=datetime(2026, 12, 1))


def test_what_a_file_says_besides_the_fleet(file: Path) -> None:
    fleet = otagate.Fleet.load(file, now=OPEN)
    loaded = fleet.loaded
    assert loaded is not None and loaded.firmware_dir == file.parent / "firmware"
    assert set(loaded.files) == {"logo.txt", "thermostat-2.1.0.bin", "thermostat-2.2.0.bin", "thermostat-2.1.0-2.2.0.delta"}
    for locator, held in loaded.files.items():
        assert held.path == file.parent / "firmware" / locator and held.size_bytes == os.path.getsize(held.path)
        assert held.digests.blake3 and held.digests.sha256 and held.digests.md5
    [counted] = loaded.counted
    assert "rollout `r7`: wave 1 was opened by a census, 2 of 3 devices" in counted
    assert pickle.loads(pickle.dumps(loaded)) == loaded and hash(loaded) == hash(copy.copy(loaded))
    assert otagate.Fleet().loaded is None and otagate.Fleet.from_changes([]).loaded is None
    # What is served names a file that is there.
    served = fleet.decide(KEY, "a4-cf-12-00-00-01", "2.1.0", "rev-a", now=OPEN)
    assert served.artifact is not None and loaded.files[served.artifact.locator].size_bytes == served.artifact.size_bytes
    assert fleet.decide(KEY, "A4:CF:12:00:00:01", "2.2.0", "rev-a", want="config", now=OPEN).config is not None


def test_a_reload_takes_the_edit_and_keeps_what_is_frozen(file: Path) -> None:
    fleet = otagate.Fleet.load(file, now=OPEN)
    before, rollout = fleet.revision, fleet.spec()["products"][0]["groups"]
    said = file.read_text(encoding="utf-8")
    file.write_text(said.replace("poll_interval_secs = 3600", "poll_interval_secs = 60"), encoding="utf-8")
    assert fleet.reload(file, now=OPEN + timedelta(days=2)) == fleet.revision == before + 1
    spec = fleet.spec()["products"][0]
    assert spec["product"]["poll_interval_secs"] == 60
    assert [each.get("rollout") for each in spec["groups"]] == [each.get("rollout") for each in rollout]
    held = fleet.loaded
    file.write_text(said.replace('id = "lab"', 'id = ""').replace('"2.1.0"\n\n[[product.firmware.artifact]]', '"x"\n\n[[product.firmware.artifact]]', 1))
    with pytest.raises(otagate.Refused) as caught:
        fleet.reload(file, now=OPEN)
    assert len(caught.value.problems) >= 2, "all at once"
    assert all("fleet.toml:" in problem.place and problem.message for problem in caught.value.problems)
    assert fleet.revision == before + 1 and fleet.loaded == held, "whole or not at all"
    file.unlink()
    with pytest.raises(FileNotFoundError):
        fleet.reload(file)


def test_a_lint_is_told_with_its_place(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8") + '\n[[product.group]]\nid = "forgotten"\n', encoding="utf-8")
    fleet = otagate.Fleet.load(file, now=OPEN)
    assert fleet.loaded is not None
    [lint] = fleet.loaded.lints
    assert "fleet.toml:" in lint.place and fleet.loaded.more == 0
    assert len(fleet.lint(now=OPEN)) == 1 and "forgotten" in fleet.lint(now=OPEN)[0].place
    # The keys run out, and then there is none that is good.
    assert len(fleet.lint(now=OPEN + timedelta(days=365 * 9))) >= 1


@dataclass(frozen=True)
class Lamp:
    """A device as somebody else keeps it."""

    serial: str
    state: str
    group: str
    entered_at: datetime


def test_a_change_may_be_said_in_many_ways(fleet: otagate.Fleet) -> None:
    entered = datetime(2020, 2, 29, 13, 45, tzinfo=timezone(timedelta(hours=2)))
    device = Lamp("ANY-1", "verified", "stable", entered)
    change = {"change": "put-device", "product": "lamp", "device": device}
    written = {**change, "device": {"serial": "ANY-1", "state": "verified", "group": "stable", "entered_at": 1582976700000}}

    def one_by_one() -> Iterator[Any]:
        yield json.dumps(written)
        yield json.dumps(written).encode()

    first = fleet.apply(change)
    again: list[Any] = [written, [written], (written,), iter([change]), one_by_one(), json.dumps(written), json.dumps([written]).encode()]
    for said in again:
        assert fleet.apply(said) == first == fleet.revision, said
    found = fleet.device("lamp", "ANY-1")
    assert found is not None and found.entered_at == entered
    assert fleet.apply(iter(())) == first and fleet.apply([]) == first
    # A generator inside, and a time as a datetime.
    serials = (f"SN-{number}" for number in range(3))
    rollout = {"id": "r1", "target": {"firmware": "3.0.0"}, "waves": [{"size": {"first": 10}}], "first": serials}
    fleet.apply({"change": "put-rollout", "product": "lamp", "group": "stable", "rollout": rollout})
    fleet.apply({"change": "move-device", "product": "lamp", "serial": "ANY-1", "group": "edge", "at": NOW})
    assert fleet.decide("secret", "ANY-1", "1.0.0").meant == "3.0.0"


def test_all_or_nothing(fleet: otagate.Fleet) -> None:
    before, told = fleet.revision, fleet.to_json()
    good = {"change": "pin-device", "product": "lamp", "serial": "SN-1", "firmware": "3.0.0"}
    bad: list[dict[str, Any]] = [
        {"change": "pin-device", "product": "lamp", "serial": "nobody", "firmware": "3.0.0"},
        {"change": "assign-firmware", "product": "lamp", "group": "nowhere", "firmware": "3.0.0"},
        {"change": "put-firmware", "product": "lamp", "firmware": firmware("no version")},
    ]
    with pytest.raises(otagate.Refused) as caught:
        fleet.apply([good, bad[0], good, bad[1], bad[2]])
    problems = caught.value.problems
    assert [problem.place.split(".")[0] for problem in problems] == ["changes[1]", "changes[3]", "changes[4]"]
    assert all(problem.message for problem in problems) and isinstance(caught.value, ValueError)
    assert (fleet.revision, fleet.to_json()) == (before, told)
    assert fleet.decide("secret", "SN-1", "1.0.0").meant == "2.1.0"

    def broken() -> Iterator[Any]:
        yield good
        raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="the caller's own"):
        fleet.apply(broken())
    for wrong in (None, 3, [object()], {"change": "pin-device", "product": object()}):
        with pytest.raises((TypeError, otagate.Refused)):
            fleet.apply(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="naive"):
        fleet.apply({"change": "put-device", "product": "lamp", "device": otagate.Device("A", "new", "stable", entered_at=datetime(2026, 1, 1))})
    assert (fleet.revision, fleet.to_json()) == (before, told)


def test_devices_are_added_as_one_revision(fleet: otagate.Fleet) -> None:
    before = fleet.revision
    rows: list[Any] = [otagate.Device("NEW-1", "verified", "edge", version="2.0.0", hardware="rev-a", entered_at=NOW), Lamp("NEW-2", "new", "stable", NOW)]
    assert fleet.add_devices("lamp", iter(rows)) == before + 1 == fleet.revision
    assert fleet.device("lamp", b"NEW-1") == rows[0]
    assert fleet.decide("secret", "NEW-2").reason == "device-new"
    with pytest.raises(otagate.Refused) as caught:
        fleet.add_devices("lamp", [otagate.Device("NEW-3", "verified", "edge"), otagate.Device("NEW-3", "verified", "edge"), rows[0]])
    assert [problem.place.split(".")[0] for problem in caught.value.problems] == ["rows[1]", "rows[2]"]
    refused: list[Any] = [otagate.Device("NEW-4", "verified", "edge", pin="2.0.0"), object(), Lamp("NEW-4", "asleep", "edge", NOW)]
    for wrong in refused:
        with pytest.raises(otagate.InvalidArgument):
            fleet.add_devices("lamp", [wrong])
    with pytest.raises(otagate.Refused):
        fleet.add_devices("nothing", rows)
    assert fleet.revision == before + 1 and fleet.device("lamp", "NEW-3") is None


def test_the_same_fleet_by_every_way(fleet: otagate.Fleet) -> None:
    fleet.apply({"change": "cap-device", "product": "lamp", "serial": "SN-5", "cap": "2.5.0"})
    text = fleet.to_json()
    assert json.loads(text) == fleet.spec()
    for again in (
        otagate.Fleet.from_spec(fleet.spec()),
        otagate.Fleet.from_spec(text),
        otagate.Fleet.from_spec(text.encode()),
        copy.copy(fleet),
        copy.deepcopy(fleet),
        *(pickle.loads(pickle.dumps(fleet, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
    ):
        assert again is not fleet and (again.to_json(), again.revision, len(again)) == (text, fleet.revision, len(fleet))
        assert again.decide("secret", "SN-1", "1.0.0", now=NOW) == fleet.decide("secret", "SN-1", "1.0.0", now=NOW)
        again.apply({"change": "deny-firmware", "product": "lamp", "firmware": "2.1.0", "denied": True})
    assert fleet.to_json() == text, "copies are their own"
    for wrong in ("{}", b"\xff", {"revision": 1, "products": [{}]}, "[]", ""):
        with pytest.raises(otagate.Refused):
            otagate.Fleet.from_spec(wrong)
    spec = fleet.spec()
    spec["products"][0]["devices"][0]["serial"] = spec["products"][0]["devices"][1]["serial"]
    spec["products"][0]["firmware"][0]["artifacts"] = []
    with pytest.raises(otagate.Refused) as caught:
        otagate.Fleet.from_spec(spec)
    assert len(caught.value.problems) >= 2 and all(problem.place for problem in caught.value.problems)


def test_replacing_wants_a_revision_above(fleet: otagate.Fleet) -> None:
    old = fleet.spec()
    assert fleet.replace(old) == old["revision"], "the same is no change (L2)"
    above = old | {"revision": old["revision"] + 10, "products": []}
    assert fleet.replace(json.dumps(above)) == old["revision"] + 10 == fleet.revision
    assert len(fleet) == 0 and fleet.decide("secret", "SN-1").reason == "key-unknown"
    with pytest.raises(otagate.Changed):
        fleet.replace(old)
    assert not isinstance(otagate.Changed("x"), ValueError)
    assert fleet.replace(old, force=True) == old["revision"] == fleet.revision
    assert fleet.decide("secret", "SN-1", "2.1.0").revision == old["revision"]
    with pytest.raises(otagate.Refused):
        fleet.replace({"revision": 99, "products": [{"product": {"id": ""}}]})
    assert fleet.revision == old["revision"]


def test_registering_up_to_the_limit() -> None:
    first: Any = changes()
    first[0]["product"] |= {"register_on_first_contact": True, "new_devices_max": 2}
    fleet = otagate.Fleet.from_changes(first)
    decision = fleet.decide("secret", "N-1")
    assert isinstance(decision.effect, otagate.Register)
    assert [fleet.register("lamp", serial, now=NOW) for serial in ("N-1", "N-1", b"N-2", "N-3", "N-1")] == ["new", "known", "new", "refused", "known"]
    assert fleet.decide("secret", "N-3") == fleet.decide("secret", "N-4") or fleet.decide("secret", "N-3").reason == "device-unknown"
    found = fleet.device("lamp", "N-1")
    assert found is not None and (found.state, found.group, found.entered_at) == ("new", "stable", NOW)
    with pytest.raises(otagate.InvalidArgument):
        fleet.register("lamp", "a\0b")
    with pytest.raises(otagate.InvalidArgument):
        fleet.register("lamp", "")


def test_signs_of_life_are_not_counted(fleet: otagate.Fleet) -> None:
    assert fleet.identify("secret", "SN-1", now=NOW) is None
    refused = [fleet.identify(*who) for who in [("guess", "SN-1"), ("secret", ""), ("secret", "nobody"), ("secret", "BLOCKED-1")]]
    assert [each and each.reason for each in refused] == ["key-unknown", "serial-placeholder", "device-unknown", "device-blocked"]
    assert refused[0] == fleet.decide("guess", "SN-1")
    fleet.explain("secret", "SN-1", "1.0.0")
    assert fleet.verdicts() == [otagate.VerdictCount(None, "key-unknown", 1, 401, 1)]


def test_counts_verdicts_census_and_lint(fleet: otagate.Fleet) -> None:
    counted = {(each.group, each.state): each.devices for each in fleet.counts()}
    assert counted == {("stable", "verified"): 1_000, ("stable", "blocked"): 1, ("edge", "verified"): 1, ("empty", "verified"): 1}
    assert sum(counted.values()) == len(fleet)
    fleet.decide_many([("secret", f"SN-{number}", "2.1.0") for number in range(700)])
    fleet.decide_many([("secret", f"SN-{number}", "2.0.0") for number in range(5_000)], into="status")
    fleet.decide_many(pa.table({"serial": [f"SN-{number}" for number in range(30)], "version": ["2.1.0"] * 30}), key="secret")
    fleet.decide("secret", "EDGE-1", "3.0.0")
    told = {each.reason: each for each in fleet.verdicts()}
    assert {name: (each.product, each.status, each.count) for name, each in told.items()} == {
        "current": ("lamp", 304, 731),
        "serve": ("lamp", 200, 1_000),
        "device-unknown": ("lamp", 401, 4_000),
    }
    rollout = {"id": "r1", "target": {"firmware": "3.0.0"}, "waves": [{"size": {"first": 3}}, {"size": {"share_bps": 2500}}, {"size": "all"}]}
    rollout["waves"][1]["size"] = {"share-bps": 2500}  # type: ignore[index]
    fleet.apply({"change": "put-rollout", "product": "lamp", "group": "stable", "rollout": rollout})
    assert fleet.census("lamp", "stable", 0) == otagate.Census(1_000, 3, 3, fleet.census("lamp", "stable", 0).threshold)
    assert fleet.census("lamp", "stable", 1).counted == 250
    by_rank = sorted(otagate.rank("r1", "lamp", f"SN-{number}") for number in range(1_000))
    assert fleet.census("lamp", "stable", 0).threshold == by_rank[2]
    with pytest.raises(otagate.NotFound):
        fleet.census("lamp", "stable", 9)
    assert any("empty" in problem.place for problem in fleet.lint(now=NOW))


def test_a_fleet_by_its_looks(fleet: otagate.Fleet) -> None:
    assert len(fleet) == 1_003 and bool(fleet) and bool(otagate.Fleet()) and len(otagate.Fleet()) == 0
    assert repr(fleet) == f"<otagate.Fleet revision={fleet.revision} products=1 devices=1003>"
    assert fleet.age >= 0 and otagate.Fleet().revision == 0
    with pytest.raises(TypeError):
        type("Mine", (otagate.Fleet,), {})
    unread: Any = fleet
    with pytest.raises(AttributeError):
        unread.revision = 3


def test_devices_are_read_as_they_were_put(fleet: otagate.Fleet) -> None:
    put = otagate.Device("FULL-1", "verified", "stable", pin="2.0.0", cap="2.5.0", entered_at=NOW, version="1.9.0", hardware="rev-Ä")
    old = otagate.Device("OLD-1", "quota", "stable", entered_at=datetime(1, 1, 1, tzinfo=timezone.utc))
    fleet.apply({"change": "put-device", "product": "lamp", "device": device} for device in (put, old))
    assert fleet.device("lamp", "FULL-1") == put and fleet.device("lamp", b"OLD-1") == old
    assert fleet.device("lamp", b"\xff") is None and fleet.device("lamp", "") is None
    table = pa.record_batch(fleet.devices("lamp")).to_pylist()
    rows = {row["serial"]: row for row in table}
    assert rows["FULL-1"] == {"serial": "FULL-1", "state": "verified", "group": "stable", "version": "1.9.0", "hardware": "rev-Ä", "entered_at": NOW}
    assert len(table) == len(fleet)


def test_old_revisions_are_dropped(fleet: otagate.Fleet) -> None:
    kept = fleet.decide("secret", "SN-1", "1.0.0")
    for version in ("2.0.0", "2.1.0") * 50:
        fleet.apply({"change": "assign-firmware", "product": "lamp", "group": "stable", "firmware": version})
        fleet.decide("secret", "SN-1", "1.0.0")
    assert fleet.reclaim() == fleet.reclaim() <= 1
    assert kept.artifact is not None and kept.artifact.locator == "lamp-2.1.0.bin", "a decision outlives its revision"
