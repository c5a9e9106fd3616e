"""A store of the host's own, in Python: its exceptions come through, and nothing is served."""

from __future__ import annotations

import asyncio
import traceback
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, AsyncIterator, Callable, Iterator

import otagate
import otagate.asyncio
import pytest
from conftest import NOW, firmware
from otagate import store

KEY = bytes.fromhex(otagate.key_hash("secret"))
LOOK_UPS = ["revision", "product_of_key", "device", "group", "standing"]


class Rows:
    """One product with one group and one device; any look-up may be told to raise or to give something else."""

    def __init__(self) -> None:
        self.product = otagate.Product(
            {"id": "lamp", "keys": [{"hash": KEY.hex()}], "register_on_first_contact": True},
            firmware=[firmware("2.0.0")],
            groups=[{"id": "stable", "firmware": "2.0.0", "downloads_max": 2}],
        )
        self.asked: list[str] = []
        self.left: list[BaseException | None] = []
        self.instead: dict[str, Callable[[], Any]] = {}
        self.registered: list[tuple[str, str, datetime]] = []

    def give(self, name: str, made: Any) -> Any:
        self.asked.append(name)
        return self.instead[name]() if name in self.instead else made

    def revision(self) -> Any:
        return self.give("revision", 7)

    def product_of_key(self, key_hash: bytes) -> Any:
        assert isinstance(key_hash, bytes) and len(key_hash) == 32
        return self.give("product_of_key", self.product if key_hash == KEY else None)

    def device(self, product: str, serial: str) -> Any:
        known = (product, serial) == ("lamp", "SN-1")
        return self.give("device", otagate.Device("SN-1", "verified", "stable") if known else None)

    def group(self, product: otagate.Product, device: Any) -> Any:
        assert product.id == "lamp"
        return self.give("group", product.group(device.group))

    def standing(self, product: otagate.Product, group: otagate.Group, device: Any) -> Any:
        assert group.id == "stable"
        return self.give("standing", None)

    def register(self, product: str, serial: str, at: datetime) -> Any:
        self.registered.append((product, serial, at))
        return self.give("register", "new")

    @contextmanager
    def view(self) -> Iterator[Rows]:
        try:
            yield self
        except BaseException as error:
            self.left.append(error)
            raise
        else:
            self.left.append(None)


class Awaited:
    """The same, awaited."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __getattr__(self, name: str) -> Any:
        async def look_up(*arguments: Any) -> Any:
            await asyncio.sleep(0)
            return getattr(self.rows, name)(*arguments)

        if name not in (*LOOK_UPS, "register"):
            raise AttributeError(name)
        return look_up

    @asynccontextmanager
    async def view(self) -> AsyncIterator[Awaited]:
        with self.rows.view():
            yield self


def by_sync(rows: Rows, *words: str, **more: Any) -> otagate.Decision:
    return store.decide(rows, *words, **more)


def by_async(rows: Rows, *words: str, **more: Any) -> otagate.Decision:
    return asyncio.run(otagate.asyncio.decide(Awaited(rows), *words, **more))


both = pytest.mark.parametrize("decide", [by_sync, by_async])


@both
def test_the_same_as_a_fleet(decide: Callable[..., otagate.Decision]) -> None:
    for words, expected in [
        (("secret", "SN-1", "1.0"), (200, "serve")),
        (("secret", "SN-1", "2.0.0"), (304, "current")),
        (("secret", "SN-2", "1.0"), (401, "device-unknown")),
        (("guess", "SN-1", "1.0"), (401, "key-unknown")),
    ]:
        rows = Rows()
        decision = decide(rows, *words, now=NOW)
        assert (decision.status, decision.reason, decision.revision) == (*expected, 7)
        assert rows.left == [None]
    rows = Rows()
    assert decide(rows, "secret", "SN-1", now=NOW).status == 200
    assert sorted(rows.asked) == sorted(LOOK_UPS)


@both
def test_an_unknown_key_asks_for_a_device_too(decide: Callable[..., otagate.Decision]) -> None:
    rows = Rows()
    decide(rows, "guess", "SN-1")
    assert "device" in rows.asked and "group" not in rows.asked


class Ours(Exception):
    pass


@both
@pytest.mark.parametrize("name", LOOK_UPS)
@pytest.mark.parametrize("kind", [Ours, KeyboardInterrupt, OSError])
def test_an_exception_comes_through_as_it_is(
    decide: Callable[..., otagate.Decision], name: str, kind: type[BaseException]
) -> None:
    rows, error = Rows(), kind("the database is gone")

    def fail() -> None:
        raise error

    rows.instead[name] = fail
    with pytest.raises(kind) as caught:
        decide(rows, "secret", "SN-1", "1.0")
    assert caught.value is error and rows.left == [error]
    assert "fail" in [frame.name for frame in traceback.extract_tb(error.__traceback__)], "it leads to the host's line"


@both
@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("product_of_key", "lamp"),
        ("product_of_key", otagate.Product({"id": "other", "keys": [{"hash": otagate.key_hash("other")}]})),
        ("device", otagate.Device("SN-2", "verified", "stable")),
        ("device", otagate.Device("SN-1", "asleep", "stable")),  # type: ignore[arg-type]
        ("device", otagate.Device("SN-1", "verified", "stable", pin="a\nb")),
        ("device", object()),
        ("group", {"id": "stable"}),
    ],
)
def test_what_cannot_be_is_refused(decide: Callable[..., otagate.Decision], name: str, made: object) -> None:
    rows = Rows()
    rows.instead[name] = lambda: made
    with pytest.raises(otagate.StoreGarbage):
        decide(rows, "secret", "SN-1", "1.0")
    assert isinstance(rows.left[0], otagate.StoreGarbage)


def test_any_object_with_the_attributes_is_a_device() -> None:
    class Row:
        serial, state, group = "SN-1", "verified", "stable"

    rows = Rows()
    rows.instead["device"] = Row
    assert store.decide(rows, "secret", "SN-1", "1.0").status == 200


def test_standing_counts() -> None:
    rows = Rows()
    rows.instead["standing"] = lambda: otagate.Standing(downloads_now=2)
    assert store.decide(rows, "secret", "SN-1", "1.0").reason == "downloads-full"


def test_registering_after_the_answer() -> None:
    rows, ledger = Rows(), otagate.Ledger()
    attended = store.attend(rows, ledger, "secret", "SN-9", now=NOW)
    assert attended.decision.reason == "device-unknown" and not rows.registered
    rows.instead["register"] = lambda: (_ for _ in ()).throw(Ours())
    with pytest.raises(Ours):
        attended.answered(now=NOW)
    del rows.instead["register"]
    attended.answered(now=NOW)
    attended.answered(now=NOW)
    assert rows.registered == [("lamp", "SN-9", NOW)] * 2, "what failed is done by the next call, what was done is done once"

    async def awaited() -> None:
        attended = await otagate.asyncio.attend(Awaited(rows), ledger, "secret", "SN-8", now=NOW)
        await otagate.asyncio.answered(Awaited(rows), attended, now=NOW)
        await otagate.asyncio.answered(Awaited(rows), attended, now=NOW)

    asyncio.run(awaited())
    assert rows.registered[2:] == [("lamp", "SN-8", NOW)]


def test_tasks_take_turns_and_can_be_cancelled() -> None:
    async def many() -> None:
        rows = Rows()
        told = await asyncio.gather(*(otagate.asyncio.decide(Awaited(rows), "secret", "SN-1", "1.0") for _ in range(50)))
        assert {each.status for each in told} == {200}
        stuck = asyncio.Event()

        class Stuck(Awaited):
            async def device(self, *_: Any) -> Any:
                await stuck.wait()

        task = asyncio.create_task(otagate.asyncio.decide(Stuck(rows), "secret", "SN-1", "1.0"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert isinstance(rows.left[-1], asyncio.CancelledError)

    asyncio.run(many())
