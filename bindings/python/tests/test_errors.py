"""What goes wrong, and by whose fault."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import otagate
import pytest
from conftest import changes, firmware


def test_every_error_is_an_error_and_what_it_is() -> None:
    for error, also in [
        (otagate.InvalidArgument, ValueError),
        (otagate.Refused, ValueError),
        (otagate.NotFound, LookupError),
        (otagate.SerialMalformed, ValueError),
        (otagate.InternalError, RuntimeError),
    ]:
        assert issubclass(error, otagate.Error) and issubclass(error, also)
    for plain in (otagate.Changed, otagate.StoreGarbage):
        assert issubclass(plain, otagate.Error)


def test_a_bad_fleet_tells_every_problem_with_its_place() -> None:
    bad = changes() + [
        {"change": "put-firmware", "product": "lamp", "firmware": firmware("not a version")},
        {"change": "assign-firmware", "product": "nobody", "group": "stable", "firmware": None},
    ]
    with pytest.raises(otagate.Refused) as caught:
        otagate.Fleet.from_changes(bad)
    places = [problem.place for problem in caught.value.problems]
    assert places and all(place.startswith("changes[") for place in places), caught.value.problems
    assert str(caught.value) == "\n".join(str(problem) for problem in caught.value.problems)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.problems) == (str(caught.value), caught.value.problems)


def test_what_is_no_change_is_told_all_at_once(fleet: otagate.Fleet) -> None:
    before = fleet.revision
    with pytest.raises(otagate.Refused) as caught:
        fleet.apply([{"change": "paint"}, {"change": "put-group", "product": "lamp"}, {"no": "change"}])
    assert [problem.place for problem in caught.value.problems] == ["changes[0]", "changes[1]", "changes[2]"]
    for text in ("{", b"\xff", "[{]"):
        with pytest.raises(otagate.Refused):
            fleet.apply(text)
    assert fleet.revision == before, "taken whole or not at all"


def test_applying_takes_what_says_a_change(fleet: otagate.Fleet) -> None:
    one = '{"change":"pin-device","product":"lamp","serial":"SN-1","firmware":"2.0.0"}'
    revision = fleet.apply(one)
    assert fleet.apply(one.encode()) == revision, "twice is once"
    assert fleet.apply(f"[{one}]") == revision
    device = fleet.device("lamp", "SN-1")
    assert device is not None and device.pin == "2.0.0" and device.entered_at is not None
    assert fleet.apply(each for each in [{"change": "put-device", "product": "lamp", "device": device}]) == revision


def test_paths(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        otagate.Fleet.load(tmp_path / "no such.toml")
    assert missing.value.filename == str(tmp_path / "no such.toml")
    bad = tmp_path / "Flotte.toml"
    bad.write_text("[[product]]\nid = 3\n")
    with pytest.raises(otagate.Refused) as caught:
        otagate.Fleet.load(bad)
    assert any("Flotte.toml:2:" in problem.place for problem in caught.value.problems), caught.value.problems


def test_a_fleet_file_is_loaded_and_loaded_again(tmp_path: Path) -> None:
    example = Path(__file__).resolve().parents[3] / "src" / "fleet_file" / "example"
    for part in example.rglob("*"):
        if part.is_file():
            to = tmp_path / part.relative_to(example)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(part.read_bytes())
    [file] = tmp_path.glob("*.toml")
    fleet = otagate.Fleet.load(str(file))
    loaded = fleet.loaded
    assert loaded is not None and len(fleet) > 0
    for locator, held in loaded.files.items():
        assert held.locator == locator and held.path.is_file() and held.path.stat().st_size == held.size_bytes
    before = fleet.revision
    assert fleet.reload(file) >= before
    file.write_text("nonsense")
    with pytest.raises(otagate.Refused):
        fleet.reload(file)
    assert len(fleet) > 0


def test_what_is_not_there(fleet: otagate.Fleet) -> None:
    assert fleet.device("lamp", "nobody") is None and fleet.device("nothing", "SN-1") is None
    for call in (
        lambda: fleet.census("lamp", "stable", 0),
        lambda: fleet.devices("nothing"),
        lambda: fleet.register("nothing", "SN-1"),
        lambda: fleet.tell(otagate.Ledger(), "failed", product="lamp", serial="nobody"),
        lambda: otagate.Ledger().statistics(fleet, "lamp", "stable"),
    ):
        with pytest.raises(otagate.NotFound):
            call()


def test_a_revision_that_is_not_above(fleet: otagate.Fleet) -> None:
    spec = fleet.spec()
    fleet.apply({"change": "deny-firmware", "product": "lamp", "firmware": "2.0.0", "denied": True})
    with pytest.raises(otagate.Changed):
        fleet.replace(spec)
    assert fleet.replace(spec, force=True) == spec["revision"]


def test_wants(fleet: otagate.Fleet) -> None:
    wrong: list[dict[str, Any]] = [{"want": "coffee"}, {"want": "resource"}, {"want": "config", "resource": "a"}, {"digest": ("sha3", "00")}]
    for words in wrong:
        with pytest.raises(otagate.InvalidArgument):
            fleet.decide("secret", "SN-1", **words)
    # What is not hex is not sent (W6).
    assert fleet.decide("secret", "SN-1", "2.1.0", digest=("md5", "zz")).reason == "current"
