"""Across processes: pickles, children of every kind, and a fork in the middle of it all."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable

import otagate
import otagate.asyncio
import pytest
from conftest import NOW
from otagate import otadrive

# Long for a child that decides, short for whoever waits for one that never will.
PATIENCE_SECS = 30
KINDS = multiprocessing.get_all_start_methods()
ROWS = [("secret", f"SN-{number % 1000}", "2.0.0") for number in range(6_000)]

# Newer Pythons warn of every fork of a process with threads: that is what is asked here.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def everything(fleet: otagate.Fleet) -> list[otagate.Decision]:
    """Every way to a decision, and a change."""
    ledger = otagate.Ledger()
    told = [fleet.decide("secret", "SN-1", "2.0.0", now=NOW), fleet.explain("secret", "SN-1", "2.0.0", now=NOW).decision]
    told += fleet.decide_many(ROWS[:10], now=NOW) + fleet.decide_many(ROWS, now=NOW)
    told.append(fleet.attend(ledger, "secret", "SN-1", "2.1.0", now=NOW).decision)
    otadrive.answer(fleet, ledger, "GET", "/deviceapi/update?k=secret&s=SN-1&v=2.0.0", now=NOW)
    return told


def child(fleet: otagate.Fleet, answers: Any) -> None:
    told = everything(fleet)
    fleet.apply({"change": "deny-firmware", "product": "lamp", "firmware": "2.1.0", "denied": True})
    answers.put((told, fleet.decide("secret", "SN-1", "2.0.0", now=NOW), os.getpid()))


def run(process: Any) -> None:
    """Starts a child, and ends it if it never ends."""
    process.start()
    process.join(PATIENCE_SECS)
    if process.is_alive():
        process.kill()
        process.join()
        pytest.fail("the child hangs")
    assert process.exitcode == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_decides_as_its_parent_does(fleet: otagate.Fleet, kind: str) -> None:
    context: Any = multiprocessing.get_context(kind)
    want = everything(fleet)
    answers = context.SimpleQueue()
    got: list[Any] = []
    reader = threading.Thread(target=lambda: got.append(answers.get()), daemon=True)
    reader.start()
    run(context.Process(target=child, args=(fleet, answers)))
    reader.join(PATIENCE_SECS)
    [(told, after, pid)] = got
    assert told == want and pid != os.getpid()
    assert (after.reason, after.revision) == ("firmware-denied", fleet.revision + 1)
    assert fleet.decide("secret", "SN-1", "2.0.0", now=NOW).status == 200, "what a child changes is its own"


@pytest.mark.parametrize("kind", KINDS)
def test_a_pool_decides(fleet: otagate.Fleet, kind: str) -> None:
    context = multiprocessing.get_context(kind)
    with context.Pool(2) as pool:
        asked = [pool.apply_async(fleet.decide, row, {"now": NOW}) for row in ROWS[:40]]
        assert [each.get(PATIENCE_SECS) for each in asked] == [fleet.decide(*row, now=NOW) for row in ROWS[:40]]
        with pytest.raises(otagate.Refused) as caught:
            pool.apply_async(fleet.apply, ([{"change": "paint"}, {"change": "pin-device"}],)).get(PATIENCE_SECS)
    assert [problem.place for problem in caught.value.problems] == ["changes[0]", "changes[1]"]


def values(fleet: otagate.Fleet) -> list[Any]:
    """One of each value that goes through a pickle."""
    fleet.apply({"change": "cap-downloads", "product": "lamp", "group": "stable", "downloads_max": 3})
    claimed = fleet.decide("secret", "SN-1", "2.0.0", now=NOW)
    assert isinstance(claimed.effect, otagate.Claim) and claimed.artifact is not None
    attended = fleet.attend(otagate.Ledger(), "secret", "SN-1", "2.0.0", now=NOW).decision
    explained = fleet.explain("secret", "SN-1", "2.0.0", now=NOW)
    return [
        claimed,
        claimed.refused("downloads"),
        attended,
        claimed.artifact,
        claimed.effect,
        fleet.device("lamp", "SN-1"),
        otagate.Standing(claim_expires_at=NOW, attempts=3),
        list(explained.steps),
        fleet.counts(),
        fleet.verdicts(),
        otagate.reasons(),
        otagate.parse_range("bytes=0-9", 100),
        otagate.compare_versions("1", "2"),
    ]


ERRORS: list[otagate.Error] = [
    otagate.Refused("changes[0]: no", [otagate.Problem("changes[0]", "no")]),
    otagate.InvalidArgument("a"),
    otagate.NotFound("b"),
    otagate.Changed("c"),
    otagate.StoreGarbage("d"),
    otagate.InternalError("e"),
    otagate.SerialMalformed("f"),
    otagate.SerialPlaceholder("g"),
]

ECHO = """
import pickle, sys
said = sys.stdin.buffer.read()
held = pickle.loads(said)
fleet, values, errors = held
assert fleet.decide("secret", "SN-1", "2.0.0").status == 200
print([type(each).__name__ for each in errors], file=sys.stderr)
sys.stdout.buffer.write(pickle.dumps((fleet.to_json(), values, errors, repr(values))))
"""


def test_pickles_go_to_another_process_and_back(fleet: otagate.Fleet, tmp_path: Path) -> None:
    held = values(fleet)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        done = subprocess.run(
            [sys.executable, "-c", ECHO], input=pickle.dumps((fleet, held, ERRORS), protocol), capture_output=True, timeout=PATIENCE_SECS, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr.decode()
        text, back, errors, told = pickle.loads(done.stdout)
        assert text == fleet.to_json() and back == held and told == repr(held)
        assert [hash(each) for each in back[:7]] == [hash(each) for each in held[:7]]
        for before, after in zip(ERRORS, errors):
            assert type(after) is type(before) and after.args == before.args and str(after) == str(before)
        assert errors[0].problems == (otagate.Problem("changes[0]", "no"),)


def busy(calls: list[Callable[[], Any]], stop: threading.Event) -> tuple[list[threading.Thread], list[int]]:
    ticks = [0] * len(calls)

    def go(place: int) -> None:
        while not stop.is_set():
            calls[place]()
            ticks[place] += 1

    threads = [threading.Thread(target=go, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    return threads, ticks


def wait_for(pid: int) -> int | None:
    """The exit code of a child; None, and the child is ended, where it hangs."""
    until = time.monotonic() + PATIENCE_SECS
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


@pytest.mark.skipif("fork" not in KINDS, reason="there is no fork here")
def test_a_fork_while_others_decide(fleet: otagate.Fleet) -> None:
    """Whatever another thread was in the middle of, the child decides: there is nobody in it who could finish that."""
    large = ROWS * 10
    calls: list[Callable[[], Any]] = [
        lambda: [fleet.decide(*ROWS[0]) for _ in range(50)],
        lambda: fleet.decide_many(large, into="reason"),
        lambda: fleet.decide_many(large),
        lambda: fleet.decide_many(ROWS[:100]),
    ]
    stop = threading.Event()
    threads, ticks = busy(calls, stop)
    try:
        while min(ticks) < 1:
            time.sleep(0.001)
        for _ in range(40):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    one = fleet.decide("secret", "SN-1", "2.0.0", now=NOW)
                    many = fleet.decide_many(ROWS, now=NOW)
                    some = fleet.decide_many(ROWS[:3], into="status")
                    code = 0 if one.status == 200 and many[1] == one and len(some) == 6 else 2
                finally:
                    os._exit(code)
            assert wait_for(pid) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.skipif("fork" not in KINDS, reason="there is no fork here")
def test_a_fork_inside_a_look_up() -> None:
    """A worker that is forked out of a task goes on deciding."""

    class Forks:
        pid = -1

        async def revision(self) -> int:
            return 1

        async def product_of_key(self, _: bytes) -> None:
            self.pid = os.fork()

        async def device(self, *_: str) -> None:
            return None

        def view(self) -> Forks:
            return self

        async def __aenter__(self) -> Forks:
            return self

        async def __aexit__(self, *_: object) -> None:
            return None

    forks: Any = Forks()
    decision = None
    try:
        decision = asyncio.run(otagate.asyncio.decide(forks, "guess", "SN-1"))
    finally:
        if forks.pid == 0:
            os._exit(0 if decision is not None and decision.reason == "key-unknown" else 1)
    assert decision is not None and decision.reason == "key-unknown"
    assert wait_for(forks.pid) == 0
