"""Nothing stays behind: not of a million check-ins, not of those that fail, not of the fleets themselves.

Two ways of looking. ``tracemalloc`` sees every object of Python's, and finds one that is kept at each call within a few thousand calls. The resident memory
of the process sees what Rust keeps too, and wants many calls before it is sure.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import sys
import tracemalloc
import weakref
from datetime import datetime, timezone
from typing import Any, Callable

import otagate
import otagate.asyncio
import pyarrow as pa
import pytest
from conftest import NOW, changes
from otagate import otadrive, store
from test_store import Awaited, Rows

MIB = 1 << 20
# A leak of 16 bytes in a million calls is 16 MiB; of a decision in a hundred thousand it is more.
GROWTH_MAX = 6 * MIB
TRACED_MAX = 24_000
TRACED_CALLS = 2_000
LOOKS = 4

Call = Callable[[], object]


def trim() -> None:
    """Gives back what is free already, so that a leak cannot hide in it; where the C library has no such call, nothing is."""
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)


def resident() -> int:
    gc.collect()
    trim()
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def repeat(call: Call, times: int) -> None:
    for _ in range(times):
        call()


def kept_in_all(call: Call, times: int) -> int:
    """By how many bytes the process grows, in the best of a few rounds: what leaks does so in each of them."""
    repeat(call, max(times // 10, 1))
    least = sys.maxsize
    for _ in range(LOOKS):
        before = resident()
        repeat(call, times)
        least = min(least, resident() - before)
        if least <= GROWTH_MAX:
            break
    return least


def kept_of_python(call: Call, times: int = TRACED_CALLS) -> int:
    """How many bytes of Python's are kept, in the best of a few rounds."""
    repeat(call, 50)
    tracemalloc.start()
    try:
        least = sys.maxsize
        for _ in range(LOOKS):
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            repeat(call, times)
            gc.collect()
            least = min(least, tracemalloc.get_traced_memory()[0] - before)
            if least <= TRACED_MAX:
                break
    finally:
        tracemalloc.stop()
    return least


def check(call: Call, times: int, traced: int = TRACED_CALLS) -> None:
    of_python = kept_of_python(call, traced)
    assert of_python <= TRACED_MAX, f"{of_python} bytes of Python's are kept by {traced} calls"
    if os.path.exists("/proc/self/statm"):
        in_all = kept_in_all(call, times)
        assert in_all <= GROWTH_MAX, f"{in_all / MIB:.1f} MiB are kept by {times} calls"


def failing(kind: type[BaseException], call: Call) -> Call:
    def caught() -> None:
        try:
            call()
        except kind:
            return
        raise AssertionError(f"no {kind.__name__}")

    return caught


def a_fleet() -> otagate.Fleet:
    made = otagate.Fleet.from_changes(changes())
    made.add_devices("lamp", (otagate.Device(f"SN-{number}", "verified", "stable") for number in range(1_000)))
    return made


FLEET, LEDGER, ROLLING = a_fleet(), otagate.Ledger(), a_fleet()
ROLLING.apply({"change": "cap-downloads", "product": "lamp", "group": "stable", "downloads_max": 5})
SMALL = [("secret", f"SN-{number}", "2.0.0") for number in range(1_000)]
LARGE = SMALL * 10
TABLE = pa.table({"serial": [row[1] for row in LARGE], "version": [row[2] for row in LARGE]})
VIEWS = pa.table({name: column.cast(pa.string_view()) for name, column in zip(TABLE.column_names, TABLE.columns)})
DOCUMENT = FLEET.to_json()
NAIVE = datetime(2026, 1, 1)
VERSIONS = ["2.0.0", "2.1.0"]


def fresh_now() -> datetime:
    return datetime(2026, 11, 23, 10, 0, tzinfo=timezone.utc)


def assign() -> None:
    """Another revision, seen by a decision, and gone."""
    VERSIONS.reverse()
    FLEET.apply({"change": "assign-firmware", "product": "lamp", "group": "stable", "firmware": VERSIONS[0]})
    FLEET.decide("secret", "SN-1", "1.0.0")
    FLEET.reclaim()


def raising(kind: type[BaseException], name: str) -> Rows:
    rows = Rows()

    def fail() -> None:
        raise kind("the database is gone")

    rows.instead[name] = fail
    rows.asked, rows.left = Forgets(), Forgets()
    return rows


class Forgets(list[Any]):
    """A list that keeps nothing: what the store of the tests notes would be a leak of theirs."""

    def append(self, _: Any) -> None:
        pass


def forgetful() -> Rows:
    rows = Rows()
    rows.asked, rows.left, rows.registered = Forgets(), Forgets(), Forgets()
    return rows


STORE = forgetful()
GARBAGE = forgetful()
GARBAGE.instead["device"] = lambda: otagate.Device("SN-2", "verified", "stable")
LOOP = asyncio.new_event_loop()


def awaited() -> None:
    LOOP.run_until_complete(otagate.asyncio.decide(Awaited(STORE), "secret", "SN-1", "1.0", now=NOW))


def cancelled() -> None:
    async def both() -> None:
        task = asyncio.ensure_future(otagate.asyncio.decide(Awaited(STORE), "secret", "SN-1", "1.0", now=NOW))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    LOOP.run_until_complete(both())


def attend() -> None:
    attended = FLEET.attend(LEDGER, "secret", "SN-1", "2.0.0", now=NOW)
    attended.answered(now=NOW)
    attended.delivered(now=NOW)


def serve() -> None:
    reply = otadrive.answer(FLEET, LEDGER, "GET", "/deviceapi/update?k=secret&s=SN-2&v=2.0.0", [("Range", "bytes=0-")], now=NOW)
    reply.answered(now=NOW)
    assert reply.headers is not None and reply.delivered(now=NOW)


def refuse_apply() -> None:
    wrong = {"change": "pin-device", "product": "lamp", "serial": "nobody", "firmware": "2.0.0"}
    FLEET.apply([wrong, {"change": "remove-group", "product": "no", "group": "g"}])


def all_of(decision: otagate.Decision) -> object:
    return decision.artifact, decision.effect, decision.to_dict(), repr(decision), hash(decision), decision.attempt, decision.sentence


# How often each is called where the whole process is looked at. A batch counts its rows: a million check-ins each.
CALLS: dict[str, tuple[Call, int, int]] = {
    "decide": (lambda: FLEET.decide("secret", "SN-1", "2.0.0"), 1_000_000, 2_000),
    "decide at a time": (lambda: FLEET.decide("secret", "SN-1", "2.0.0", now=NOW), 1_000_000, 2_000),
    "decide at another time": (lambda: FLEET.decide("secret", "SN-1", "2.0.0", now=fresh_now()), 200_000, 2_000),
    "decide what nobody shares": (lambda: ROLLING.decide("secret", "SN-1", "2.0.0", now=NOW), 300_000, 2_000),
    "decide a surrogate": (lambda: FLEET.decide("secret", "\udcff" * 10, "\ud800"), 200_000, 2_000),
    "decide by words": (lambda: FLEET.decide("secret", "SN-1", "2", "x", digest=("md5", "00" * 16), want="firmware"), 200_000, 2_000),
    "a refused claim": (lambda: ROLLING.decide("secret", "SN-1", "2.0.0").refused("downloads"), 200_000, 2_000),
    "all of a decision": (lambda: all_of(ROLLING.decide("secret", "SN-1", "2.0.0")), 20_000, 1_000),
    "a small batch": (lambda: FLEET.decide_many(SMALL), 1_000, 50),
    "a large batch": (lambda: FLEET.decide_many(LARGE), 100, 10),
    "a large batch that nobody shares": (lambda: ROLLING.decide_many(LARGE), 20, 5),
    "statuses": (lambda: FLEET.decide_many(LARGE, into="status"), 100, 50),
    "reasons": (lambda: FLEET.decide_many(iter(SMALL), into="reason"), 1_000, 50),
    "arrow": (lambda: FLEET.decide_many(TABLE, key="secret"), 100, 300),
    "arrow views": (lambda: pa.record_batch(FLEET.decide_many(VIEWS, key="secret")), 100, 300),
    "arrow that is never taken": (lambda: FLEET.decide_many(TABLE, key="secret").__arrow_c_array__(), 100, 300),
    "devices": (lambda: pa.record_batch(FLEET.devices("lamp")), 1_000, 300),
    "explain": (lambda: FLEET.explain("secret", "SN-1", "2.0.0", ledger=LEDGER), 50_000, 2_000),
    "explain in words": (lambda: (str(FLEET.explain("secret", "SN-1")), FLEET.explain("secret", "SN-1").to_dict()), 5_000, 500),
    "attend": (attend, 50_000, 2_000),
    "report": (lambda: FLEET.report(LEDGER, "failed", "secret", "SN-1", now=NOW), 100_000, 2_000),
    "identify": (lambda: FLEET.identify("secret", "nobody"), 200_000, 2_000),
    "otadrive": (serve, 20_000, 1_000),
    "apply": (assign, 5_000, 300),
    "to_json and back": (lambda: otagate.Fleet.from_spec(FLEET.to_json()), 100, 30),
    "fleets": (otagate.Fleet, 5_000, 500),
    "ledgers": (lambda: otagate.Ledger.from_json(otagate.Ledger().to_json()), 10_000, 500),
    "a store": (lambda: store.decide(STORE, "secret", "SN-1", "1.0", now=NOW), 30_000, 1_000),
    "an asynchronous store": (awaited, 3_000, 500),
    "a task that is cancelled": (cancelled, 3_000, 500),
    "products": (lambda: Rows().product.group("stable"), 5_000, 500),
    "a naive time": (failing(ValueError, lambda: FLEET.decide("secret", "SN-1", now=NAIVE)), 50_000, 1_000),
    "a wrong type": (failing(TypeError, lambda: FLEET.decide("secret", 17)), 100_000, 1_000),  # type: ignore[arg-type, call-overload, unused-ignore]
    "a wrong row": (failing(TypeError, lambda: FLEET.decide_many([*SMALL, ("secret", 17)])), 1_000, 50),  # type: ignore[list-item, unused-ignore]
    "a refused change": (failing(otagate.Refused, refuse_apply), 10_000, 500),
    "a refused fleet": (failing(otagate.Refused, lambda: otagate.Fleet.from_spec('{"revision":1,"products":[{}]}')), 20_000, 500),
    "a wrong table": (failing(otagate.InvalidArgument, lambda: FLEET.decide_many(TABLE)), 20_000, 500),
    "a store that raises": (failing(OSError, lambda: store.decide(raising(OSError, "group"), "secret", "SN-1")), 3_000, 300),
    "a store that ends the process": (failing(KeyboardInterrupt, lambda: store.decide(raising(KeyboardInterrupt, "device"), "secret", "SN-1")), 3_000, 300),
    "a store that gives garbage": (failing(otagate.StoreGarbage, lambda: store.decide(GARBAGE, "secret", "SN-1")), 20_000, 500),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_kept(name: str) -> None:
    call, times, traced = CALLS[name]
    check(call, times, traced)


def test_a_leak_would_be_found() -> None:
    """The same two looks, at calls that keep what they got."""
    kept: list[Any] = []
    decide: Call = lambda: kept.append(ROLLING.decide("secret", "SN-1", "2.0.0", now=NOW))  # noqa: E731
    assert kept_of_python(decide) > TRACED_MAX
    assert kept_in_all(decide, 30_000) > GROWTH_MAX
    kept.clear()
    # Nor of what is shared, which costs no more than what holds it.
    chain: list[Any] = [None]

    def shared() -> None:
        chain[0] = (FLEET.decide("secret", "SN-1", "2.0.0"), chain[0])

    assert kept_of_python(shared) > TRACED_MAX
    assert kept_in_all(shared, 300_000) > GROWTH_MAX
    chain.clear()
    with pytest.raises(AssertionError, match="are kept"):
        check(lambda: kept.append(FLEET.decide_many(TABLE, key="secret")), 100, 300)


def test_arguments_are_let_go() -> None:
    texts: list[Any] = ["".join(["sec", "ret"]), "-".join(["SN", "1"]), b"2." + b"0.0", "\udcff" + "rev"]
    rows, words = [tuple(texts)], {"digest": ("md5", "".join(["00"] * 16)), "resource": None}
    texts += [rows, rows[0], words["digest"], TABLE]
    key, serial, version, hardware = texts[:4]

    def counts() -> list[int]:
        return [sys.getrefcount(each) for each in texts]

    before = counts()
    for _ in range(10):
        FLEET.decide(key, serial, version, hardware)
        FLEET.decide(key, serial, version, digest=words["digest"])  # type: ignore[arg-type]
        FLEET.explain(key, serial, version, hardware)
        FLEET.attend(LEDGER, key, serial, version, hardware, now=NOW)
        FLEET.decide_many(rows)
        FLEET.decide_many(rows * 5_000)
        FLEET.decide_many(rows * 5_000, into="status")
        FLEET.decide_many(TABLE, key=key)
        store.decide(STORE, key, serial, version, hardware)
        for wrong in (3, object()):
            with pytest.raises(TypeError):
                FLEET.decide(key, serial, version, wrong)  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                FLEET.decide_many([*rows, (key, wrong)])  # type: ignore[list-item]
    gc.collect()
    assert counts() == before


def test_at_most_the_last_time_is_held() -> None:
    """The time that was read last may be kept, so that it is read once; no other is."""
    times = [datetime(2026, 1, 1, second=second, tzinfo=timezone.utc) for second in range(20)]
    before = sys.getrefcount(times[0])
    fleet = a_fleet()
    for place in range(20):
        fleet.decide("secret", "SN-1", now=times[place])
    assert [sys.getrefcount(times[place]) for place in range(19)] == [before] * 19
    last = sys.getrefcount(times[19])
    del fleet
    after = sys.getrefcount(times[19])
    assert last - before in (0, 1) and after == before


def test_who_is_not_held_goes() -> None:
    fleet, ledger = a_fleet(), otagate.Ledger()
    rows = forgetful()
    held: list[Any] = [
        fleet,
        ledger,
        fleet.decide("secret", "SN-1", "2.0.0"),
        fleet.explain("secret", "SN-1"),
        fleet.attend(ledger, "secret", "SN-1", "2.0.0"),
        otadrive.answer(fleet, ledger, "GET", "/deviceapi/update?k=secret&s=SN-1&v=2.0.0"),
        fleet.devices("lamp"),
        rows,
        rows.product,
        rows.product.group("stable"),
        store.decide(rows, "secret", "SN-1"),
    ]
    gone = [weakref.ref(each) for each in held]
    del fleet, ledger, rows, held
    gc.collect()
    assert [each() for each in gone] == [None] * len(gone)


def test_what_arrow_took_goes_with_it() -> None:
    """The rows are the table's, not a copy; and gone with the last that holds them."""
    pool = pa.default_memory_pool()
    gc.collect()
    before = pool.bytes_allocated()
    table = pa.table({"serial": [f"SN-{number}" for number in range(50_000)], "version": ["2.0.0"] * 50_000})
    held = pool.bytes_allocated()
    columns = a_fleet().decide_many(table, key="secret")
    batch = pa.record_batch(columns)
    again = pa.record_batch(columns)
    assert pool.bytes_allocated() == held, "imported as it stands"
    for one, two in zip(batch.columns, again.columns):
        arrays = [each.indices if pa.types.is_dictionary(each.type) else each for each in (one, two)]
        assert arrays[0].buffers()[1].address == arrays[1].buffers()[1].address, "shared, not copied"
    gone = weakref.ref(columns)
    del columns, table
    gc.collect()
    assert gone() is None and pool.bytes_allocated() == before
    del again
    assert batch.column("status").to_pylist() == [200] * 1_000 + [401] * 49_000


def test_revisions_go_when_nobody_looks() -> None:
    fleet = a_fleet()
    held = []
    for number in range(200):
        fleet.apply({"change": "assign-firmware", "product": "lamp", "group": "stable", "firmware": VERSIONS[number % 2]})
        held.append(fleet.decide("secret", "SN-1", "1.0.0"))
    assert fleet.reclaim() == 0, "decisions hold no revision"
    assert [each.revision for each in held] == list(range(held[0].revision, held[0].revision + 200))
    columns = fleet.devices("lamp")
    fleet.apply({"change": "remove-product", "product": "lamp"})
    assert fleet.reclaim() == 0 and len(fleet) == 0 and len(columns) == 1_003
