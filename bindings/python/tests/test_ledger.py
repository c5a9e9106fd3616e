"""A rollout that moves by itself: offered, reported, judged, in virtual time."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from datetime import datetime, timedelta
from typing import Any

import otagate
import pytest
from conftest import NOW, changes

DEVICES = 40
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def rolling(**more: Any) -> otagate.Fleet:
    """40 devices of group `stable` on 2.1.0; rollout `r1` to 3.0.0: the first 3, then all once these are well for a minute."""
    fleet = otagate.Fleet.from_changes(changes())
    fleet.add_devices("lamp", [otagate.Device(f"SN-{number}", "verified", "stable", version="2.1.0") for number in range(DEVICES)])
    well = {"min_finished": 3, "success_share_bps": 9_000, "soak_secs": 60}
    rollout = {
        "id": "r1",
        "target": {"firmware": "3.0.0"},
        "waves": [{"size": {"first": 3}}, {"size": "all", "gate": well}],
        "halt": {"failures": 2},
        "complete": {"min_finished": DEVICES - 3, "success_share_bps": 9_000},
        **more,
    }
    at = {"product": "lamp", "group": "stable"}
    fleet.apply([{"change": "put-rollout", **at, "rollout": rollout}, {"change": "start-rollout", **at, "rollout": "r1", "at": NOW}])
    return fleet


class World:
    """The devices, which ask every ten seconds, and what they run."""

    def __init__(self, fleet: otagate.Fleet, broken: int = 0) -> None:
        self.fleet, self.ledger, self.now = fleet, otagate.Ledger(), NOW
        self.runs = {f"SN-{number}": "2.1.0" for number in range(DEVICES)}
        self.broken = broken
        self.moved: list[otagate.Moved] = []
        self.served: list[str] = []

    def round(self) -> None:
        self.moved += self.fleet.advance(self.ledger, now=self.now)
        for serial, version in self.runs.items():
            attended = self.fleet.attend(self.ledger, "secret", serial, version, now=self.now)
            decision = attended.decision
            attended.answered(now=self.now)
            if decision.status == 200:
                assert decision.firmware == "3.0.0" and decision.rollout == "r1" and decision.attempt is not None
                assert attended.delivered(now=self.now + SECOND) == "moved"
                assert attended.delivered(now=self.now + SECOND) == "foreign", "once"
                self.served.append(serial)
                if self.broken:
                    self.broken -= 1
                    assert self.fleet.report(self.ledger, "failed", "secret", serial, now=self.now + SECOND) == "moved"
                    assert self.fleet.report(self.ledger, "failed", "secret", serial, now=self.now + SECOND) == "known"
                else:
                    self.runs[serial] = "3.0.0"
        self.now += 10 * SECOND

    def until(self, kind: str) -> otagate.Moved:
        for _ in range(200):
            self.round()
            for moved in self.moved:
                if moved.transition["kind"] == kind:
                    return moved
        raise AssertionError(f"no {kind} in 200 rounds: {self.moved}")


def test_a_rollout_runs_to_its_end() -> None:
    world = World(rolling())
    world.round()
    [opened] = world.moved
    assert (opened.product, opened.group, opened.rollout, opened.outcome) == ("lamp", "stable", "r1", "done")
    assert opened.transition["kind"] == "open-wave" and opened.transition["wave"] == 0
    assert opened.opened is not None and (opened.opened["counted"], opened.opened["eligible"]) == (3, DEVICES)
    assert opened.revision is not None and opened.revision <= world.fleet.revision and "wave 1 opens" in opened.line
    by_rank = sorted(world.runs, key=lambda serial: otagate.rank("r1", "lamp", serial))
    assert sorted(world.served) == sorted(by_rank[:3])
    waiting = world.fleet.explain("secret", by_rank[3], "2.1.0", ledger=world.ledger, now=world.now)
    assert waiting.decision.reason == "wave-not-open" and waiting.eligible is not None and "3 of the 3" in waiting.eligible

    world.round()
    account = world.ledger.statistics(world.fleet, "lamp", "stable")
    assert account["waves"][0]["installed"] == 3 and account["recent"]["failed"] == 0
    assert len(world.moved) == 1, "it soaks"

    done = world.until("complete")
    assert done.outcome == "done"
    waves = [moved for moved in world.moved if moved.transition["kind"] == "open-wave"]
    assert [moved.transition["wave"] for moved in waves] == [0, 1]
    assert sorted(world.served) == sorted(world.runs), "each is served once"
    assert set(world.runs.values()) == {"3.0.0"}
    decision = world.fleet.decide("secret", "SN-1", "1.0.0", now=world.now)
    assert (decision.status, decision.meant, decision.rollout) == (200, "3.0.0", None), "the target is the baseline"
    ended = world.ledger.run_statistics("lamp", "stable", "r1", NOW)
    assert sum(wave["installed"] for wave in ended["waves"]) == DEVICES
    assert world.fleet.advance(world.ledger, now=world.now + timedelta(days=1)) == []
    world.ledger.forget("lamp", "stable", "r1", NOW)
    assert world.ledger.run_statistics("lamp", "stable", "r1", NOW)["waves"] == []


def test_a_rollout_that_fails_halts_itself() -> None:
    world = World(rolling(), broken=2)
    halted = world.until("halt")
    assert halted.outcome == "done" and halted.opened is None and "halt" in json.dumps(halted.transition)
    assert len(set(world.served)) == 3 and len(world.moved) == 2
    by_rank = sorted(world.runs, key=lambda serial: otagate.rank("r1", "lamp", serial))
    for _ in range(10):
        world.round()
    assert len(set(world.served)) == 3 and len(world.moved) == 2, "paused: nobody new is served"
    told = world.fleet.decide("secret", by_rank[5], "2.1.0", now=world.now)
    assert (told.status, told.reason) == (304, "rollout-paused")
    # Resumed, failures are counted anew, and who failed waits for its penalty.
    world.fleet.apply({"change": "resume-rollout", "product": "lamp", "group": "stable", "rollout": "r1"})
    assert world.fleet.advance(world.ledger, now=world.now) == []
    failed = [serial for serial in by_rank[:3] if world.runs[serial] == "2.1.0"]
    assert len(failed) == 2
    answer = world.fleet.attend(world.ledger, "secret", failed[0], "2.1.0", now=world.now).decision
    assert answer.reason == "penalty" and answer.retry_after and answer.retry_after <= 86_400
    assert world.fleet.decide("secret", failed[0], "2.1.0", now=world.now).reason == "serve", "a decision without a ledger knows of no failure"


def test_an_account_is_kept_over_a_restart() -> None:
    world = World(rolling(), broken=1)
    for _ in range(4):
        world.round()
    told = world.ledger.to_json()
    for said in (told, told.encode(), json.loads(told)):
        again = otagate.Ledger.from_json(said)
        assert json.loads(again.to_json()) == json.loads(told) and again.leases == 0
        assert again.statistics(world.fleet, "lamp", "stable") == world.ledger.statistics(world.fleet, "lamp", "stable")
    world.ledger = otagate.Ledger.from_json(told)
    well = next(serial for serial in world.served if world.runs[serial] == "3.0.0")
    assert world.fleet.advance(world.ledger, now=world.now) == []
    assert world.fleet.tell(world.ledger, "failed", product="lamp", serial=well, now=world.now) == "moved"
    assert world.until("halt").outcome == "done", "what failed before the restart counts"
    said_wrong: list[Any] = ["{", b"\xff", '{"rows": 3}', [1], {"no": "ledger"}]
    for wrong in said_wrong:
        with pytest.raises(otagate.Refused):
            otagate.Ledger.from_json(wrong)
    assert otagate.Ledger.from_json(otagate.Ledger().to_json()).to_json() == otagate.Ledger().to_json()


def test_what_a_back_end_tells() -> None:
    world = World(rolling(success="confirmed"))
    world.round()
    serial = world.served[0]
    assert world.fleet.tell(world.ledger, "confirmed", product="lamp", serial=serial, now=world.now) == "moved"
    assert world.fleet.tell(world.ledger, "confirmed", product="lamp", serial=serial, now=world.now) == "known"
    # An attempt is named by the decision that made it.
    other = world.served[1]
    attempt = world.fleet.attend(world.ledger, "secret", other, "2.1.0", now=world.now).decision.attempt
    assert attempt is not None and (attempt.rollout, attempt.group, attempt.started_at) == ("r1", "stable", NOW)
    told: dict[str, Any] = {"group": attempt.group, "rollout": attempt.rollout, "started_at": attempt.started_at, "attempt": attempt.number}
    assert world.fleet.tell(world.ledger, "failed", product="lamp", serial=other, now=world.now, **told) == "moved"
    assert world.ledger.statistics(world.fleet, "lamp", "stable")["waves"][0] == {
        "offered": 0, "downloaded": 1, "missing": 0, "installed": 0, "confirmed": 1, "failed": 1,
    }  # fmt: skip
    stranger = next(serial for serial in world.runs if serial not in world.served)
    assert world.fleet.report(world.ledger, "installed", "secret", stranger, now=world.now) == "foreign"
    assert world.fleet.report(world.ledger, "installed", "guess", other, now=world.now) == "foreign"
    for wrong in ("offered", "better", ""):
        with pytest.raises(otagate.InvalidArgument):
            world.fleet.report(world.ledger, wrong, "secret", serial)  # type: ignore[arg-type]
        with pytest.raises(otagate.InvalidArgument):
            world.fleet.tell(world.ledger, wrong, product="lamp", serial=serial)  # type: ignore[arg-type]
    with pytest.raises(otagate.NotFound):
        world.fleet.tell(world.ledger, "failed", product="nothing", serial=serial)


def test_an_offer_stays_the_same_while_it_is_leased() -> None:
    world = World(rolling())
    world.fleet.advance(world.ledger, now=NOW)
    first = min(world.runs, key=lambda serial: otagate.rank("r1", "lamp", serial))

    def attend(at: datetime, version: str = "2.1.0") -> otagate.Decision:
        return world.fleet.attend(world.ledger, "secret", first, version, lease_secs=600, now=at).decision

    assert not attend(NOW).leased and attend(NOW + MINUTE).leased and world.ledger.leases == 1
    # Paused: who downloads goes on; a denied firmware is served to nobody, leased or not.
    world.fleet.apply({"change": "pause-rollout", "product": "lamp", "group": "stable", "rollout": "r1", "cut": False, "why": "lunch"})
    assert attend(NOW + 2 * MINUTE).leased and attend(NOW + 2 * MINUTE).firmware == "3.0.0"
    world.fleet.apply({"change": "deny-firmware", "product": "lamp", "firmware": "3.0.0", "denied": True})
    assert attend(NOW + 3 * MINUTE).status != 200 or attend(NOW + 3 * MINUTE).firmware != "3.0.0"
    assert repr(world.ledger).startswith("<otagate.Ledger leases=")
    with pytest.raises(otagate.InvalidArgument, match="lease_secs"):
        world.fleet.attend(world.ledger, "secret", first, lease_secs=0)


def test_slots_are_given_exactly_with_eight_threads() -> None:
    """First come, first served: seven slots, forty devices, eight threads, each device by two of them."""
    for again in range(10):
        fleet = rolling(admission="first-come", waves=[{"size": {"first": 7}}], complete={})
        ledger, barrier = otagate.Ledger(), threading.Barrier(8)
        fleet.advance(ledger, now=NOW)
        told: list[tuple[str, otagate.Decision]] = []

        def ask(first: int, fleet: otagate.Fleet = fleet, ledger: otagate.Ledger = ledger, told: Any = told, barrier: Any = barrier) -> None:
            barrier.wait()
            for number in range(first % 4, DEVICES, 4):
                serial = f"SN-{number}"
                told.append((serial, fleet.attend(ledger, "secret", serial, "2.1.0", now=NOW).decision))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(told) == 2 * DEVICES
        served = {serial for serial, decision in told if decision.status == 200}
        assert len(served) == 7, (again, served)
        assert {decision.reason for _, decision in told} == {"serve", "wave-not-open"}
        # A device that is told yes is told so by whoever asks: the claim is its own.
        assert all((decision.status == 200) == (serial in served) for serial, decision in told)
        account = ledger.statistics(fleet, "lamp", "stable")
        assert account["waves"][0]["offered"] == 7
        assert len({decision.attempt for serial, decision in told if decision.status == 200}) >= 1


def test_what_became_of_a_thousand_offers_is_counted_once_by_eight_threads() -> None:
    fleet = rolling(waves=[{"size": "all"}], halt={}, complete={})
    fleet.add_devices("lamp", [otagate.Device(f"MORE-{number}", "verified", "stable") for number in range(960)])
    ledger = otagate.Ledger()
    fleet.advance(ledger, now=NOW)
    serials = [f"SN-{number}" for number in range(DEVICES)] + [f"MORE-{number}" for number in range(960)]
    moved: list[str] = []

    def ask(first: int) -> None:
        for serial in serials[first::4]:
            attended = fleet.attend(ledger, "secret", serial, "2.1.0", now=NOW)
            attended.answered(now=NOW)
            moved.append(fleet.report(ledger, "failed" if serial.endswith("7") else "installed", "secret", serial, now=NOW + SECOND))

    threads = [threading.Thread(target=ask, args=(number % 4,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    account = ledger.statistics(fleet, "lamp", "stable")["waves"][0]
    assert sum(account.values()) == 1_000, account
    assert moved.count("moved") >= 1_000 and len(moved) == 2_000
    assert account["installed"] + account["failed"] + account["offered"] == 1_000


def test_a_ledger_goes_when_nobody_holds_it() -> None:
    world = World(rolling())
    world.round()
    attended = world.fleet.attend(world.ledger, "secret", "SN-1", "2.1.0", now=NOW)
    gone = [weakref.ref(each) for each in (world.fleet, world.ledger)]
    del world
    gc.collect()
    assert [each() for each in gone] == [None, None]
    attended.answered(now=NOW)  # holds what it needs
    assert attended.delivered(now=NOW) in ("moved", "known", "foreign")
    with pytest.raises(otagate.NotFound):
        otagate.Ledger().statistics(otagate.Fleet(), "lamp", "stable")


def test_who_was_attended() -> None:
    fleet, ledger = rolling(), otagate.Ledger()
    attended = fleet.attend(ledger, b"secret", b"SN-1", b"2.1.0", now=NOW)
    assert (attended.product, attended.serial, attended.group) == ("lamp", "SN-1", "stable")
    match attended:
        case otagate.Attended(otagate.Decision(304, reason)):
            assert reason == "wave-not-open"
        case _:
            pytest.fail("not matched")
    stranger = fleet.attend(ledger, "guess", "SN-1", now=NOW)
    assert (stranger.product, stranger.serial, stranger.group, stranger.decision.reason) == (None, None, None, "key-unknown")
    assert "key-unknown" in repr(stranger) and stranger.delivered() == "foreign"
    # What a device reports is seen by the fleet, once.
    before = fleet.revision
    attended = fleet.attend(ledger, "secret", "SN-1", "2.0.0", "rev-b", now=NOW)
    attended.answered(now=NOW)
    attended.answered(now=NOW)
    found = fleet.device("lamp", "SN-1")
    assert found is not None and (found.version, found.hardware, fleet.revision) == ("2.0.0", "rev-b", before + 1)
