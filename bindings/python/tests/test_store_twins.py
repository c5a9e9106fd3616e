"""A store of the host's own: twins agree with a fleet, views are left once, and look-ups may decide themselves."""

from __future__ import annotations

import asyncio
import random
import traceback
from contextlib import asynccontextmanager, contextmanager
from typing import Any, AsyncIterator, Callable, Iterator

import otagate
import otagate.asyncio
import pytest
from conftest import NOW, changes
from otagate import store
from test_store import LOOK_UPS, Awaited, Rows, by_async, by_sync


class Mirror:
    """What a fleet holds, as a database would."""

    def __init__(self, fleet: otagate.Fleet) -> None:
        spec = fleet.spec()
        self.number, self.asked = spec["revision"], 0
        self.products, self.devices = {}, {}
        for part in spec["products"]:
            made = otagate.Product(part["product"], firmware=part.get("firmware", ()), groups=part.get("groups", ()))
            for key in part["product"]["keys"]:
                self.products[bytes.fromhex(key["hash"])] = made
            for device in part.get("devices", ()):
                self.devices[made.id, device["serial"]] = fleet.device(made.id, device["serial"])

    def revision(self) -> int:
        self.asked += 1
        return int(self.number)

    def product_of_key(self, key_hash: bytes) -> Any:
        self.asked += 1
        return self.products.get(key_hash)

    def device(self, product: str, serial: str) -> Any:
        self.asked += 1
        return self.devices.get((product, serial))

    def group(self, product: otagate.Product, device: Any) -> Any:
        self.asked += 1
        return product.group(device.group)

    @contextmanager
    def view(self) -> Iterator[Mirror]:
        yield self


class AwaitedMirror(Awaited):
    def __getattr__(self, name: str) -> Any:
        if name == "standing":
            raise AttributeError(name)
        return super().__getattr__(name)

    @asynccontextmanager
    async def view(self) -> AsyncIterator[Any]:
        yield self


def rich() -> otagate.Fleet:
    """Pins, caps, a second product of the same serials, a rollout, states of every kind."""
    first: Any = changes()
    first[0]["product"] |= {"register_on_first_contact": True}
    fleet = otagate.Fleet.from_changes(first)
    states: list[Any] = ["new", "verified", "blocked", "disabled", "quota"]
    some = [otagate.Device(f"SN-{n}", states[n % 5] if n < 20 else "verified", ["stable", "edge"][n % 2]) for n in range(80)]
    fleet.add_devices("lamp", some)
    other: Any = changes()[:6]
    other[0]["product"] |= {"id": "plug", "keys": [{"hash": otagate.key_hash("other")}]}
    fleet.apply([each | ({"product": "plug"} if "product" in each and isinstance(each["product"], str) else {}) for each in other])
    fleet.add_devices("plug", [otagate.Device(f"SN-{n}", "verified", "edge") for n in range(40)])
    at = {"product": "lamp", "group": "stable"}
    fleet.apply([
        {"change": "pin-device", "product": "lamp", "serial": "SN-30", "firmware": "2.0.0"},
        {"change": "cap-device", "product": "lamp", "serial": "SN-31", "cap": "2.0.5"},
        {"change": "put-rollout", **at, "rollout": {"id": "r", "target": {"firmware": "3.0.0"}, "waves": [{"size": {"first": 9}}, {"size": "all", "gate": {"min_finished": 2}}]}},
        {"change": "start-rollout", **at, "rollout": "r", "at": NOW},
    ])  # fmt: skip
    fleet.advance(otagate.Ledger(), now=NOW)
    return fleet


def test_both_twins_say_what_a_fleet_says() -> None:
    fleet = rich()
    mirror, chance = Mirror(fleet), random.Random(7)
    asked: list[tuple[tuple[str, str, str], dict[str, Any]]] = []
    for _ in range(2_400):
        serial = chance.choice([f"SN-{chance.randrange(90)}", "EDGE-1", "BLOCKED-1", "", "\0", "SN-3\udcff"])
        words = (chance.choice(["secret", "secret", "other", "guess", ""]), serial, chance.choice(["", "1.0.0", "2.0.0", "2.1.0", "3.0.0", "no"]))
        asked.append((words, {"want": chance.choice([None, "config", "resources"])} if chance.random() < 0.2 else {}))

    async def awaited() -> list[otagate.Decision]:
        one = AwaitedMirror(mirror)  # type: ignore[arg-type]
        return list(await asyncio.gather(*(otagate.asyncio.decide(one, *words, now=NOW, **more) for words, more in asked)))

    told = asyncio.run(awaited())
    reasons = set()
    for (words, more), by_task in zip(asked, told):
        want = fleet.decide(*words, now=NOW, **more)
        assert store.decide(mirror, *words, now=NOW, **more) == want == by_task, (words, more)
        assert store.explain(mirror, *words, now=NOW, **more).to_dict() == fleet.explain(*words, now=NOW, **more).to_dict()
        reasons.add(want.reason)
    assert len(reasons) >= 12, reasons


def test_an_unknown_key_takes_as_many_look_ups_as_an_unknown_device() -> None:
    mirror = Mirror(rich())
    counts = []
    for words in [("guess", "SN-1"), ("secret", "nobody"), ("secret", "\0"), ("", "")]:
        mirror.asked = 0
        store.decide(mirror, *words)
        counts.append(mirror.asked)
    assert len(set(counts)) == 1


ANY: list[type[BaseException]] = [asyncio.CancelledError, otagate.Refused, ValueError]
# Of these asyncio itself makes something else.
SYNC: list[type[BaseException]] = [KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration]


@pytest.mark.parametrize(("decide", "kind"), [*((by_sync, kind) for kind in ANY + SYNC), *((by_async, kind) for kind in ANY)])
@pytest.mark.parametrize("name", LOOK_UPS)
def test_any_exception_at_any_look_up(decide: Callable[..., Any], name: str, kind: type[BaseException]) -> None:
    rows, cause, error = Rows(), KeyError("the row"), kind("the database is gone")

    def fail() -> None:
        try:
            raise cause
        except KeyError as inner:
            raise error from inner

    rows.instead[name] = fail
    with pytest.raises(kind) as caught:
        decide(rows, "secret", "SN-1", "1.0")
    if kind is not asyncio.CancelledError:
        assert caught.value is error and error.__cause__ is cause and rows.left == [error]
    assert rows.asked[-1] == name, "nothing is asked after it"
    assert len(rows.left) == 1, "left once"
    if kind is not asyncio.CancelledError or decide is by_sync:
        assert traceback.extract_tb(error.__traceback__)[-1].name == "fail"


def test_look_ups_may_decide_themselves(fleet: otagate.Fleet) -> None:
    depth = [0]

    class Curious(Rows):
        def give(self, name: str, made: Any) -> Any:
            assert fleet.decide("secret", "SN-1", "2.1.0").reason == "current"
            assert fleet.decide_many([("secret", "SN-1", "2.1.0")] * 5_000, into="reason") == bytes([41]) * 5_000
            if depth[0] < 3:
                depth[0] += 1
                inner = Curious()
                assert store.decide(inner, "secret", "SN-1", "2.0.0").reason == "current" and inner.left == [None]
                asked = store.explain(inner, "secret", "SN-1", "1.0")
                assert asked.decision.status == 200
                fleet.apply({"change": "pin-device", "product": "lamp", "serial": "SN-2", "firmware": None})
                depth[0] -= 1
            return super().give(name, made)

    curious = Curious()
    depth[0] = 1
    assert store.decide(curious, "secret", "SN-1", "1.0").status == 200 and curious.left == [None]


def test_hundreds_of_tasks_take_turns_and_some_are_cancelled() -> None:
    async def all_of_them() -> None:
        rows, tasks = Rows(), []
        for number in range(300):
            words = ("secret", "SN-1", "2.0.0") if number % 2 else ("guess", f"SN-{number}", "1")
            tasks.append(asyncio.create_task(otagate.asyncio.decide(Awaited(rows), *words)))
        await asyncio.sleep(0)
        for task in tasks[::7]:
            task.cancel()
        told = await asyncio.gather(*tasks, return_exceptions=True)
        for number, each in enumerate(told):
            if number % 7 == 0:
                assert isinstance(each, asyncio.CancelledError)
            else:
                assert isinstance(each, otagate.Decision) and each.reason == ("current" if number % 2 else "key-unknown")
        assert len(rows.left) == 300 and sum(left is not None for left in rows.left) == len(tasks[::7])

    asyncio.run(all_of_them())


def test_a_pin_above_a_cap_is_garbage() -> None:
    """Legal apart, and refused at load together (L3): the facts of a store are held to the same."""
    fleet = rich()
    mirror = Mirror(fleet)
    mirror.devices["lamp", "SN-40"] = otagate.Device("SN-40", "verified", "stable", pin="3.0.0", cap="2.0.0")
    mirror.devices["lamp", "SN-41"] = otagate.Device("SN-41", "verified", "edge")
    mirror.devices["lamp", "SN-42"] = otagate.Device("SN-42", "verified", "stable", pin="no version")
    for serial in ("SN-40", "SN-42"):
        with pytest.raises(otagate.StoreGarbage):
            store.decide(mirror, "secret", serial, "1.0.0")
    mirror.group = lambda product, device: product.group("stable")  # type: ignore[method-assign]
    with pytest.raises(otagate.StoreGarbage):
        store.decide(mirror, "secret", "SN-41", "1.0.0")


def test_protocols() -> None:
    """Held by a type checker; and at run time they ask for no more than what is called."""

    class Least:
        def revision(self) -> int:
            return 3

        def product_of_key(self, key_hash: bytes, /) -> otagate.Product | None:
            return None

        def device(self, product: str, serial: str, /) -> otagate.Device | None:
            return None

        def group(self, product: otagate.Product, device: Any, /) -> otagate.Group | None:
            return None

    class Whole:
        @contextmanager
        def view(self) -> Iterator[store.View]:
            yield Least()

    one: store.View = Least()
    whole: store.Store = Whole()
    assert one.revision() == 3 == store.decide(whole, "k", "s").revision
    rows: store.Stands = Rows()
    registers: store.Registers = Rows()
    assert rows and registers
