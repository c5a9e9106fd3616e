"""The asynchronous twin of :mod:`otagate.store`: the same look-ups, awaited.

>>> import asyncio
>>> from contextlib import asynccontextmanager
>>> import otagate.asyncio
>>> class Nobody:
...     async def revision(self): return 1
...     async def product_of_key(self, key_hash): return None
...     async def device(self, product, serial): return None
...     async def group(self, product, device): return None
>>> class Empty:
...     @asynccontextmanager
...     async def view(self): yield Nobody()
>>> asyncio.run(otagate.asyncio.decide(Empty(), "guess", "SN-1")).reason
'key-unknown'

The order of the look-ups, and what is made of them, is the same code; between two of them other tasks run. A task that is cancelled serves nothing.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import datetime, timezone
from typing import Any, Optional, Protocol, Tuple

from ._native import Asked, Attended, Decision, Explanation, Group, Ledger, Product
from .store import swallowed
from .typing import DigestKind, Noted, Outcome, Registered, Text, Want

__all__ = ["Registers", "Stands", "Store", "View", "answered", "attend", "decide", "explain", "report"]


class View(Protocol):
    """:class:`otagate.store.View`, awaited."""

    async def revision(self) -> int:
        """See :meth:`otagate.store.View.revision`."""
        ...

    async def product_of_key(self, key_hash: bytes, /) -> Optional[Product]:
        """See :meth:`otagate.store.View.product_of_key`."""
        ...

    async def device(self, product: str, serial: str, /) -> Any:
        """See :meth:`otagate.store.View.device`."""
        ...

    async def group(self, product: Product, device: Any, /) -> Optional[Group]:
        """See :meth:`otagate.store.View.group`."""
        ...


class Stands(Protocol):
    """:class:`otagate.store.Stands`, awaited."""

    async def standing(self, product: Product, group: Group, device: Any, /) -> Any:
        """See :meth:`otagate.store.Stands.standing`."""
        ...


class Store(Protocol):
    """:class:`otagate.store.Store`, awaited."""

    def view(self) -> AbstractAsyncContextManager[Any]:
        """An asynchronous context that gives a :class:`View`."""
        ...


class Registers(Protocol):
    """:class:`otagate.store.Registers`, awaited."""

    async def register(self, product: str, serial: str, at: datetime, /) -> Registered:
        """See :meth:`otagate.store.Registers.register`."""
        ...


async def _drive(view: Any, asked: Asked) -> Any:
    request = asked.start()
    while request is not None:
        name, args = request
        request = asked.answer(await getattr(view, name)(*args))
    return asked.outcome()


async def decide(
    store: Store,
    key: Text,
    serial: Text,
    version: Optional[Text] = None,
    hardware: Optional[Text] = None,
    *,
    digest: Optional[Tuple[DigestKind, Text]] = None,
    want: Optional[Want] = None,
    resource: Optional[Text] = None,
    now: Optional[datetime] = None,
) -> Decision:
    """Decides a check-in by your store; see :func:`otagate.store.decide`.

    :raises StoreGarbage: it gave what cannot be.
    :raises Exception: whatever the store raises. Nothing is served in either case.
    """
    async with store.view() as view:
        asked = Asked(
            "decide", hasattr(view, "standing"), key, serial, version, hardware,
            digest=digest, want=want, resource=resource, now=now,
        )  # fmt: skip
        decision: Decision = await _drive(view, asked)
        return decision
    raise swallowed()


async def explain(
    store: Store,
    key: Text,
    serial: Text,
    version: Optional[Text] = None,
    hardware: Optional[Text] = None,
    *,
    digest: Optional[Tuple[DigestKind, Text]] = None,
    want: Optional[Want] = None,
    resource: Optional[Text] = None,
    ledger: Optional[Ledger] = None,
    now: Optional[datetime] = None,
) -> Explanation:
    """Explains a check-in by your store; see :func:`otagate.store.explain`."""
    async with store.view() as view:
        asked = Asked(
            "explain", hasattr(view, "standing"), key, serial, version, hardware,
            digest=digest, want=want, resource=resource, now=now, ledger=ledger,
        )  # fmt: skip
        explanation: Explanation = await _drive(view, asked)
        return explanation
    raise swallowed()


async def attend(
    store: Store,
    ledger: Ledger,
    key: Text,
    serial: Text,
    version: Optional[Text] = None,
    hardware: Optional[Text] = None,
    *,
    digest: Optional[Tuple[DigestKind, Text]] = None,
    want: Optional[Want] = None,
    resource: Optional[Text] = None,
    lease_secs: int = 3600,
    now: Optional[datetime] = None,
) -> Attended:
    """Decides a check-in by your store with a ledger of otagate's; see :func:`otagate.store.attend`. After the answer comes :func:`answered`."""
    async with store.view() as view:
        asked = Asked(
            "attend", hasattr(view, "standing"), key, serial, version, hardware,
            digest=digest, want=want, resource=resource, now=now, ledger=ledger, lease_secs=lease_secs,
        )  # fmt: skip
        attended: Attended = await _drive(view, asked)
        return attended
    raise swallowed()


async def report(
    store: Store,
    ledger: Ledger,
    outcome: Outcome,
    key: Text,
    serial: Text,
    *,
    want: Optional[Want] = None,
    resource: Optional[Text] = None,
    now: Optional[datetime] = None,
) -> Noted:
    """Takes down what a device tells of what it was offered; see :func:`otagate.store.report`."""
    async with store.view() as view:
        asked = Asked(
            "report", hasattr(view, "standing"), key, serial,
            want=want, resource=resource, now=now, ledger=ledger, outcome=outcome,
        )  # fmt: skip
        noted: Noted = await _drive(view, asked)
        return noted
    raise swallowed()


async def answered(store: Any, attended: Attended, *, now: Optional[datetime] = None) -> None:
    """Does what comes after the answer: what :meth:`otagate.Attended.answered` does, and awaits the store's ``register`` where the device is to be registered.

    What failed is done by the next call.
    """
    at = datetime.now(timezone.utc) if now is None else now
    attended._noted(now=at)
    registration = attended._registration()
    if registration is not None:
        register = getattr(store, "register", None)
        if register is not None:
            await register(*registration, at)
        attended._registered()
