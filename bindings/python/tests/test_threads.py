"""Threads that decide while another changes the fleet: each answer is that of one revision, and none goes back."""

from __future__ import annotations

import threading
from typing import Callable

import otagate
from conftest import NOW

ROWS = [("secret", f"SN-{number % 1000}", "1.0.0") for number in range(6_000)]


def test_each_answer_is_of_one_revision(fleet: otagate.Fleet) -> None:
    # By the revision's number it is known what was assigned: it changes with each.
    start, stop, versions = fleet.revision, threading.Event(), ("2.0.0", "3.0.0")
    wrong: list[BaseException] = []
    fleet.apply({"change": "assign-firmware", "product": "lamp", "group": "stable", "firmware": versions[(start + 1) % 2]})

    def meant(revision: int) -> str:
        return versions[revision % 2]

    ledger = otagate.Ledger()
    calls: list[Callable[[], list[otagate.Decision]]] = [
        lambda: [fleet.decide("secret", "SN-7", "1.0.0") for _ in range(100)],
        lambda: [fleet.decide("secret", "SN-7", "1.0.0", now=NOW) for _ in range(100)],
        lambda: fleet.decide_many(ROWS[:50]),
        lambda: fleet.decide_many(ROWS),
        lambda: [fleet.explain("secret", "SN-7", "1.0.0").decision],
        lambda: [fleet.attend(ledger, "secret", "SN-8", "1.0.0").decision],
    ]

    def ask(call: Callable[[], list[otagate.Decision]], one: bool) -> None:
        last = 0
        try:
            while not stop.is_set():
                told = call()
                for each in told:
                    leased = each.leased
                    assert leased or each.meant == meant(each.revision) == each.firmware, each
                    assert each.revision >= last, (each.revision, last)
                    last = each.revision
                assert not one or len({each.revision for each in told}) == 1, "a batch of two revisions"
        except BaseException as error:  # noqa: BLE001
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(call, call in calls[2:4])) for call in calls]
    for thread in threads:
        thread.start()
    for _ in range(1_500):
        revision = fleet.revision
        change = {"change": "assign-firmware", "product": "lamp", "group": "stable", "firmware": meant(revision + 1)}
        assert fleet.apply(change) == revision + 1
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not wrong, wrong[0]
    assert not any(thread.is_alive() for thread in threads)


def test_a_time_zone_that_asks_the_fleet_itself(fleet: otagate.Fleet) -> None:
    from datetime import datetime, timedelta, tzinfo

    class Curious(tzinfo):
        asked = 0

        def utcoffset(self, _: datetime | None) -> timedelta:
            Curious.asked += 1
            assert fleet.decide("secret", "SN-1", "2.1.0").status == 304
            return timedelta(0)

        def dst(self, _: datetime | None) -> None:
            return None

        def tzname(self, _: datetime | None) -> str:
            return "curious"

    assert fleet.decide("secret", "SN-1", "2.1.0", now=datetime(2026, 1, 1, tzinfo=Curious())).status == 304
    assert Curious.asked


def test_slots_are_claimed_exactly(fleet: otagate.Fleet) -> None:
    fleet.apply({"change": "cap-downloads", "product": "lamp", "group": "stable", "downloads_max": 10})
    for _ in range(20):
        told: list[int] = []
        ledger, barrier = otagate.Ledger(), threading.Barrier(8)

        def ask(first: int, ledger: otagate.Ledger = ledger, told: list[int] = told, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            for number in range(first, first + 10):
                told.append(fleet.attend(ledger, "secret", f"SN-{number}", "2.0.0", now=NOW).decision.status)

        threads = [threading.Thread(target=ask, args=(10 * number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (told.count(200), told.count(304)) == (10, 70)
