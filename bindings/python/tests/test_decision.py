"""The answer as an object of Python's."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import datetime, timedelta, timezone
from typing import Any

import otagate
import pytest
from otagate import Decision


def test_the_four_verdicts(fleet: otagate.Fleet) -> None:
    told = {
        serial: (decision.status, decision.verdict, decision.reason)
        for serial, version in [("SN-1", "2.0.0"), ("SN-2", "2.1.0"), ("EMPTY-1", "2.0.0"), ("BLOCKED-1", "2.0.0")]
        for decision in [fleet.decide("secret", serial, version)]
    }
    assert told == {
        "SN-1": (200, "serve", "serve"),
        "SN-2": (304, "up-to-date", "current"),
        "EMPTY-1": (404, "unavailable", "nothing-assigned"),
        "BLOCKED-1": (401, "unauthorized", "device-blocked"),
    }


def test_match(fleet: otagate.Fleet) -> None:
    match fleet.decide("secret", "SN-1", "2.0.0"):
        case Decision(200, "serve", artifact=otagate.Artifact(locator=locator)):
            assert locator == "lamp-2.1.0.bin"
        case _:
            pytest.fail("not matched")
    match fleet.decide("guess", "SN-1"):
        case Decision(401 | 404, reason):
            assert reason == "key-unknown"
        case _:
            pytest.fail("not matched")


def test_frozen(fleet: otagate.Fleet) -> None:
    decision: Any = fleet.decide("secret", "SN-1", "2.0.0")
    for name in ("status", "reason", "artifact", "another"):
        with pytest.raises(AttributeError):
            setattr(decision, name, 200)
    with pytest.raises(TypeError):
        Decision()
    with pytest.raises(AttributeError):
        decision.artifact.locator = "elsewhere"


def test_values_compare_hash_copy_and_pickle(fleet: otagate.Fleet) -> None:
    served = fleet.decide("secret", "SN-1", "2.0.0")
    for decision in (served, fleet.decide("secret", "EDGE-1", "3.0.0"), fleet.decide("guess", "SN-1")):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(decision, protocol))
            assert again == decision and hash(again) == hash(decision) and repr(again) == repr(decision)
            assert again.artifact == decision.artifact and again.effect == decision.effect
        assert copy.copy(decision) == decision == copy.deepcopy(decision)
        assert decision != decision.to_dict() and json.loads(json.dumps(decision.to_dict())) == decision.to_dict()
    assert served != fleet.decide("secret", "EDGE-1", "2.0.0")
    assert len({served, pickle.loads(pickle.dumps(served)), fleet.decide("secret", "SN-9", "2.0.0")}) == 1


def test_a_repr_tells_everything(fleet: otagate.Fleet) -> None:
    told = repr(fleet.decide("secret", "SN-1", "2.0.0"))
    for part in ("200", '"serve"', "revision=2", "meant='2.1.0'", "firmware='2.1.0'", "locator='lamp-2.1.0.bin'", "size_bytes=5"):
        assert part in told, told


def test_answers_that_say_nothing_of_one_device_are_shared(fleet: otagate.Fleet) -> None:
    assert fleet.decide("secret", "SN-1", "2.1.0") is fleet.decide("secret", "SN-2", "2.1.0")
    assert fleet.decide("guess", "SN-1") is fleet.decide("another", "SN-2")
    assert fleet.decide("secret", "SN-1", "2.0.0") is fleet.decide("secret", "SN-2", "1.0.0")
    # And no other is given in their place: two groups in turn, and changes in between.
    for _ in range(3):
        assert fleet.decide("secret", "SN-1", "2.1.0").meant == "2.1.0"
        assert fleet.decide("secret", "EDGE-1", "3.0.0").meant == "3.0.0"
        served = [fleet.decide("secret", serial, "1.0.0").artifact for serial in ("SN-1", "EDGE-1")]
        assert [each and each.locator for each in served] == ["lamp-2.1.0.bin", "lamp-3.0.0.bin"]
    for version in ("2.0.0", "3.0.0", "2.0.0", "2.1.0") * 3:
        revision = fleet.apply({"change": "assign-firmware", "product": "lamp", "group": "stable", "firmware": version})
        decision = fleet.decide("secret", "SN-1", version)
        assert (decision.status, decision.meant, decision.revision) == (304, version, revision)


def test_a_forced_replace_to_the_same_revision_is_seen(fleet: otagate.Fleet) -> None:
    before = fleet.decide("secret", "SN-1", "1.0.0")
    spec = fleet.spec()
    for firmware in spec["products"][0]["firmware"]:
        firmware["artifacts"][0]["locator"] = "elsewhere.bin"
    fleet.replace(spec, force=True)
    after = fleet.decide("secret", "SN-1", "1.0.0")
    assert before.artifact and after.artifact and before.revision == after.revision
    assert (before.artifact.locator, after.artifact.locator) == ("lamp-2.1.0.bin", "elsewhere.bin")


def test_what_is_one_devices_own_is_not_shared(fleet: otagate.Fleet) -> None:
    fleet.apply({"change": "put-product", "product": {
        "id": "lamp", "keys": [{"hash": otagate.key_hash("secret")}], "default_group": "stable",
        "versions": {"scheme": "semver"}, "register_on_first_contact": True, "new_devices_max": 10}})  # fmt: skip
    first, second = (fleet.decide("secret", serial) for serial in ("NEW-1", "NEW-2"))
    assert (first.effect, second.effect) == (otagate.Register("lamp", "NEW-1"), otagate.Register("lamp", "NEW-2"))
    assert fleet.register("lamp", "NEW-1") == "new" and fleet.register("lamp", "NEW-1") == "known"
    assert fleet.decide("secret", "NEW-1").reason == "device-new"


def test_a_claim_names_its_refusals(fleet: otagate.Fleet) -> None:
    fleet.apply({"change": "cap-downloads", "product": "lamp", "group": "stable", "downloads_max": 3})
    decision = fleet.decide("secret", "SN-1", "2.0.0")
    assert decision.effect == otagate.Claim(None, None, 3)
    refused = decision.refused("downloads")
    assert (refused.status, refused.reason, refused.artifact, refused.meant) == (304, "downloads-full", None, "2.1.0")
    assert fleet.decide("secret", "SN-1", "2.1.0").refused("slots") == fleet.decide("secret", "SN-1", "2.1.0")
    with pytest.raises(otagate.InvalidArgument):
        decision.refused("both")  # type: ignore[arg-type, unused-ignore]


def test_times_have_zones(fleet: otagate.Fleet) -> None:
    key = {"hash": otagate.key_hash("timed"), "not_before": 1_000}
    product = fleet.spec()["products"][0]["product"]
    fleet.apply({"change": "put-product", "product": product | {"keys": [*product["keys"], key]}})
    second = datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc)

    def status(now: datetime) -> int:
        return fleet.decide("timed", "SN-1", "2.1.0", now=now).status

    assert status(second) == 304
    assert status(second - timedelta(microseconds=1)) == 401, "rounded down, not up"
    assert status(second.astimezone(timezone(timedelta(hours=5, minutes=45)))) == 304
    assert status(datetime(1, 1, 1, tzinfo=timezone.utc)) == 401 and status(datetime(9999, 12, 31, tzinfo=timezone.utc)) == 304
    with pytest.raises(ValueError, match="naive"):
        status(datetime(2026, 1, 1))
    for wrong in (0, 1.5, "2026-01-01T00:00:00Z", second.date()):
        with pytest.raises(TypeError, match="now"):
            fleet.decide("timed", "SN-1", now=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", "\0", "\udcff", "\ud800x", b"\xff\xfe", b"\0" * 65, "x" * 1_000_000, b"y" * 1_000_000, "\r\n", "Ä" * 40]
)
def test_whatever_a_device_sends_is_answered(fleet: otagate.Fleet, text: str | bytes) -> None:
    class Own(str):
        pass

    for key, serial, version, hardware in [(text, "SN-1", "1", ""), ("secret", text, "1", ""), ("secret", "SN-1", text, text)]:
        one = fleet.decide(key, serial, version, hardware)
        assert one.status in (200, 304, 401, 404)
        assert fleet.decide_many([(key, serial, version, hardware)]) == [one]
        assert fleet.explain(key, serial, version, hardware).decision == one
    if isinstance(text, str):
        assert fleet.decide("secret", Own(text), Own("1")) == fleet.decide("secret", text, "1")


def test_wrong_kinds_are_told_by_name(fleet: otagate.Fleet) -> None:
    for arguments, name in [((1, "s"), "key"), (("k", None), "serial"), (("k", "s", 2.0), "version")]:
        with pytest.raises(TypeError, match=name):
            fleet.decide(*arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="check-in 1, field 0"):
        fleet.decide_many([("secret", "SN-1"), (1, "SN-2")])  # type: ignore[list-item]
    with pytest.raises(otagate.InvalidArgument, match="check-in 0 has 1 fields"):
        fleet.decide_many([("secret",)])  # type: ignore[list-item]


def test_batches_are_the_same_as_one_by_one(fleet: otagate.Fleet) -> None:
    rows = [("secret", f"SN-{number % 1100}", "2.1.0" if number % 3 else "2.0.0") for number in range(5_000)]
    rows += [("guess", "SN-1", "1"), ("secret", "EDGE-1", "3.0.0"), ("secret", "EMPTY-1", "")]
    for some in (rows, rows[:100], []):
        one_by_one = [fleet.decide(*row) for row in some]
        assert fleet.decide_many(some) == one_by_one == fleet.decide_many(iter(some))
        assert fleet.decide_many([list(row) for row in some]) == one_by_one
        assert list(memoryview(fleet.decide_many(some, into="status")).cast("H")) == [each.status for each in one_by_one]
        assert list(fleet.decide_many(some, into="reason")) == [each.number for each in one_by_one]
