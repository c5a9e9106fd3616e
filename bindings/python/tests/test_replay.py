"""Threads: every answer is held against a replay, and the GIL is let go where it should be, and nowhere else."""

from __future__ import annotations

import random
import shutil
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator

import otagate
import pyarrow as pa
import pytest
from conftest import NOW

ROWS = [("secret", serial, version) for serial in ("SN-1", "SN-2", "EDGE-1", "EMPTY-1", "BLOCKED-1", "nobody") for version in ("2.0.0", "2.1.0", "3.0.0")]
MANY = ROWS * 300
TABLE = pa.table({name: [row[place] for row in MANY] for place, name in enumerate(("key", "serial", "version"))})
EXAMPLE = Path(sys.modules["conftest"].__file__ or "").resolve().parents[3] / "src" / "fleet_file" / "example" / "fleet.toml"
SECONDS = 8


def chances(chance: random.Random) -> dict[str, Any]:
    """A change of what those rows are told; now and then of much at once."""
    version = chance.choice(["2.0.0", "2.1.0", "3.0.0"])
    product = {"product": "lamp"}
    return chance.choice([
        {"change": "assign-firmware", **product, "group": chance.choice(["stable", "edge", "empty"]), "firmware": version},
        {"change": "deny-firmware", **product, "firmware": version, "denied": chance.random() < 0.5},
        {"change": "pin-device", **product, "serial": chance.choice(["SN-1", "SN-2", "EDGE-1"]), "firmware": chance.choice([None, version])},
        {"change": "set-device-state", **product, "serial": "BLOCKED-1", "state": chance.choice(["blocked", "verified", "new"])},
        {"change": "move-device", **product, "serial": "SN-2", "group": chance.choice(["stable", "edge"]), "at": NOW},
    ])  # fmt: skip


def said(decision: otagate.Decision) -> tuple[Any, ...]:
    return decision.status, decision.reason, decision.meant


def test_each_answer_is_that_of_its_revision(fleet: otagate.Fleet) -> None:
    replay, seed = otagate.Fleet.from_spec(fleet.spec()), random.randrange(1 << 32)
    chance, stop, ledger = random.Random(seed), threading.Event(), otagate.Ledger()
    # By revision and row; of a table, of all rows.
    answers: list[dict[tuple[int, int], Any]] = [{} for _ in range(8)]
    back: list[Any] = []
    columns: list[list[Any]] = []

    def one(place: int) -> list[tuple[int, otagate.Decision]]:
        at = place % len(ROWS)
        return [(at, fleet.decide(*ROWS[at], now=NOW))]

    def small(place: int) -> list[tuple[int, otagate.Decision]]:
        return list(enumerate(fleet.decide_many(ROWS, now=NOW)))

    def large(place: int) -> list[tuple[int, otagate.Decision]]:
        told = fleet.decide_many(MANY, now=NOW)
        assert len({each.revision for each in told}) == 1, "a batch of two revisions"
        return [(at % len(ROWS), told[at]) for at in range(place % 7, len(told), 101)]

    def explained(place: int) -> list[tuple[int, otagate.Decision]]:
        at = place % len(ROWS)
        return [(at, fleet.explain(*ROWS[at], now=NOW).decision)]

    def attended(place: int) -> list[tuple[int, otagate.Decision]]:
        # A lease keeps an offer alive: so by a device that is served nothing, or by a ledger of its own.
        at = place % len(ROWS)
        return [(at, fleet.attend(otagate.Ledger(), *ROWS[at], now=NOW).decision)]

    def arrow(place: int) -> list[tuple[int, otagate.Decision]]:
        batch = pa.record_batch(fleet.decide_many(TABLE, now=NOW))
        told = list(zip(*(batch.column(name).to_pylist() for name in ("status", "reason", "meant"))))
        assert all(told[at] == told[at % len(ROWS)] for at in range(len(told))), "a table of two revisions"
        columns.append(told[: len(ROWS)])
        return []

    kinds: list[Callable[[int], list[tuple[int, otagate.Decision]]]] = [one, one, small, large, large, explained, attended, arrow]

    def ask(place: int) -> None:
        last, turn = 0, place
        try:
            while not stop.is_set():
                turn += 1
                for at, decision in kinds[place](turn):
                    assert decision.revision >= last, "a revision went back"
                    last = decision.revision
                    held = answers[place].setdefault((decision.revision, at), decision)
                    assert held == decision, "two answers of one revision"
        except BaseException as error:  # noqa: BLE001
            back.append(error)

    threads = [threading.Thread(target=ask, args=(place,), daemon=True) for place in range(8)]
    for thread in threads:
        thread.start()
    history: list[tuple[int, list[dict[str, Any]]]] = []
    begun = time.monotonic()

    def is_enough() -> bool:
        """What the end of this test asks to have met, with room; a busy machine is given longer, not less to do."""
        past = time.monotonic() - begun
        if past < SECONDS:
            return False
        met = {revision for revision, _ in list(answers[2])}
        return past > 20 * SECONDS or bool(all(answers[:7]) and columns and len(met) > 100 and sum(map(len, answers)) > 3_000)

    while not is_enough() and not back:
        some = [chances(chance) for _ in range(chance.choice([1, 1, 1, 5]))]
        before, revision = fleet.revision, fleet.apply(some)
        if revision != before:
            history.append((revision, some))
        if chance.random() < 0.1:
            fleet.reclaim()
        time.sleep(0)
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not back, (seed, back[0])
    assert not any(thread.is_alive() for thread in threads)

    wanted: dict[int, list[tuple[int, int]]] = {}
    for each in answers:
        for revision, at in each:
            wanted.setdefault(revision, []).append((revision, at))
    everything, checked, seen = set[tuple[Any, ...]](), 0, 0

    def hold(revision: int) -> None:
        nonlocal checked, seen
        truth = [replay.decide(*row, now=NOW) for row in ROWS]
        everything.add(tuple(said(decision) for decision in truth))
        seen += revision in wanted
        for place, each in enumerate(answers):
            for key in set(wanted.get(revision, ())):
                if key in each:
                    told, want = each[key], truth[key[1]]
                    assert said(told) == said(want) and told.artifact == want.artifact, (seed, place, told, want)
                    checked += 1

    hold(replay.revision)
    for revision, some in history:
        assert replay.apply(some) == revision
        hold(revision)
    assert all(tuple(each) in everything for each in columns), (seed, "a table of no revision")
    assert set(wanted) <= {revision for revision, _ in history} | {history[0][0] - 1}
    assert seen > 50 and checked > 1_000 and columns and all(answers[place] for place in range(7)), (seen, checked)


@contextmanager
def nobody_takes_turns() -> Iterator[None]:
    """Another thread runs only if the GIL is let go by whoever has it: the interpreter takes it from nobody."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1_000)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def others_run_while(call: Callable[[], Any]) -> bool:
    """Whether another thread gets somewhere inside of the call."""
    ticks, stop, ready = [0], threading.Event(), threading.Event()

    def tick() -> None:
        ready.set()
        while not stop.is_set():
            ticks[0] += 1
            time.sleep(0)

    # From before the thread begins: it would ask for its turn at the old interval still.
    with nobody_takes_turns():
        thread = threading.Thread(target=tick)
        thread.start()
        ready.wait()
        before = ticks[0]
        call()
        after = ticks[0]
        stop.set()
        thread.join()
    return after > before


def ever(call: Callable[[], Any]) -> bool:
    return any(others_run_while(call) for _ in range(5))


def test_long_work_lets_go_of_the_gil(fleet: otagate.Fleet, tmp_path: Path) -> None:
    assert not ever(lambda: sorted(range(2_000_000, 0, -1))), "what keeps the GIL is seen to keep it"
    numbers = iter(range(1_000_000))
    many = [("secret", f"SN-{number % 1000}", "2.0.0") for number in range(200_000)]
    table = pa.table({"serial": [row[1] for row in many], "version": [row[2] for row in many]})
    rollout = {"id": "r", "target": {"firmware": "3.0.0"}, "waves": [{"size": {"first": 3}}]}
    fleet.apply({"change": "put-rollout", "product": "lamp", "group": "stable", "rollout": rollout})

    def add() -> None:
        fleet.add_devices("lamp", [otagate.Device(f"X-{next(numbers)}", "verified", "stable") for _ in range(30_000)])

    path = Path(shutil.copytree(EXAMPLE.parent, tmp_path / "fleet")) / "fleet.toml"
    (path.parent / "firmware" / "logo.txt").write_bytes(b"x" * 20_000_000)
    loads: dict[str, Callable[[], Any]] = {
        "add_devices": add,
        "apply": lambda: fleet.apply({"change": "put-device", "product": "lamp", "device": otagate.Device(f"Y-{next(numbers)}", "new", "stable")} for _ in range(3_000)),
        "census": lambda: [fleet.census("lamp", "stable", 0) for _ in range(20)],
        "load": lambda: otagate.Fleet.load(path, now=NOW),
        "reload": lambda: otagate.Fleet.load(path, now=NOW).reload(path, now=NOW),
        "to_json": fleet.to_json,
        "decisions": lambda: fleet.decide_many(many),
        "statuses": lambda: fleet.decide_many(many, into="status"),
        "reasons": lambda: fleet.decide_many(many, into="reason"),
        "arrow": lambda: fleet.decide_many(table, key="secret"),
        "devices": lambda: fleet.devices("lamp"),
        "counts": lambda: [fleet.counts() for _ in range(100)],
        "from_spec": lambda: otagate.Fleet.from_spec(fleet.to_json()),
    }  # fmt: skip
    add()
    assert [name for name, call in loads.items() if not ever(call)] == []


def test_one_decision_keeps_the_gil(fleet: otagate.Fleet) -> None:
    """To get it back costs more than the decision; and a few of them are no batch."""
    few = ROWS * 10
    ledger = otagate.Ledger()
    for call in (
        lambda: [fleet.decide("secret", "SN-1", "2.0.0") for _ in range(20_000)],
        lambda: [fleet.decide("secret", "SN-1", "2.0.0", now=NOW) for _ in range(20_000)],
        lambda: [fleet.decide_many(few, into="status") for _ in range(100)],
        lambda: [fleet.identify("secret", "SN-1") for _ in range(1_000)],
        lambda: [fleet.attend(ledger, "secret", "SN-1", "2.0.0") for _ in range(1_000)],
    ):
        assert not ever(call)


@pytest.mark.parametrize("kinds", [2, 8])
def test_decisions_that_are_shared_are_shared_by_threads(fleet: otagate.Fleet, kinds: int) -> None:
    """Groups of two products in turn, by many threads: nobody is given another's."""
    wrong: list[Any] = []

    def go(place: int) -> None:
        serial, version = [("SN-1", "2.1.0"), ("EDGE-1", "3.0.0")][place % 2]
        for _ in range(20_000):
            decision = fleet.decide("secret", serial, "1.0.0")
            if (decision.meant, decision.artifact and decision.artifact.locator) != (version, f"lamp-{version}.bin"):
                wrong.append(decision)

    threads = [threading.Thread(target=go, args=(place,)) for place in range(kinds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
