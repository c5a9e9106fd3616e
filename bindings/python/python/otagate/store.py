"""A store of your own: otagate asks your database three look-ups of one state, and decides.

>>> from contextlib import nullcontext
>>> import otagate
>>> from otagate import store
>>> class Nobody:
...     def revision(self): return 1
...     def product_of_key(self, key_hash): return None
...     def device(self, product, serial): return None
...     def group(self, product, device): return None
>>> class Empty:
...     def view(self): return nullcontext(Nobody())
>>> store.decide(Empty(), "guess", "SN-1").reason
'key-unknown'

**Which wrong answers are safe.** A stale view is: a decision of an older revision was right a moment ago. A lost assignment, a lost block or deny flag, a device
of another product are not. A store that is not sure raises: its exception comes through as it is, and nothing is served (V4). What a load would refuse
raises :class:`otagate.StoreGarbage`.

The asynchronous twin is :mod:`otagate.asyncio`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Optional, Protocol, Tuple

from ._errors import StoreGarbage
from ._native import Asked, Attended, Decision, Explanation, Group, Ledger, Product
from .typing import DigestKind, Noted, Outcome, Registered, Text, Want

__all__ = ["Registers", "Stands", "Store", "View", "attend", "decide", "explain", "report"]


class View(Protocol):
    """One state of a store: all look-ups of one decision see it (V5). A method ``standing`` may be there too, see :class:`Stands`."""

    def revision(self) -> int:
        """Which state this is. It only grows."""
        ...

    def product_of_key(self, key_hash: bytes, /) -> Optional[Product]:
        """The product that has the key of this BLAKE3, 32 bytes; build a :class:`otagate.Product` once, and again when its rows change."""
        ...

    def device(self, product: str, serial: str, /) -> Any:
        """The device of this product and canonical serial: an :class:`otagate.Device`, any object with its attributes, or None.

        On a key that nobody has, this is asked with a product that does not exist, so that an unknown key takes as long as an unknown serial:
        do the same work in both cases.
        """
        ...

    def group(self, product: Product, device: Any, /) -> Optional[Group]:
        """The group of this device, as ``device`` gave it. Asked for verified devices alone. ``product.group(device.group)`` will do."""
        ...


class Stands(Protocol):
    """A view of a host that has a ledger of its own."""

    def standing(self, product: Product, group: Group, device: Any, /) -> Any:
        """What the ledger holds about the device: an :class:`otagate.Standing`, any object with its attributes, or None."""
        ...


class Store(Protocol):
    """Your database."""

    def view(self) -> AbstractContextManager[Any]:
        """A context that gives a :class:`View`: a read transaction, a snapshot. ``contextlib.nullcontext(view)`` where there is nothing to close."""
        ...


class Registers(Protocol):
    """A store that registers on first contact (question 3)."""

    def register(self, product: str, serial: str, at: datetime, /) -> Registered:
        """Registers a device: ``new``, in the product's default group. Twice is once; beyond the product's limit nothing happens, and the store
        counts and adds in one step."""
        ...


def swallowed() -> StoreGarbage:
    """What is raised where a view's context kept an exception to itself: nothing was decided."""
    return StoreGarbage("the context of `view` swallowed an exception: let it through")


def _drive(view: Any, asked: Asked) -> Any:
    request = asked.start()
    while request is not None:
        name, args = request
        request = asked.answer(getattr(view, name)(*args))
    return asked.outcome()


def decide(
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
    """Decides a check-in by your store; see :meth:`otagate.Fleet.decide`.

    :raises StoreGarbage: it gave what cannot be.
    :raises Exception: whatever the store raises. Nothing is served in either case.
    """
    with store.view() as view:
        asked = Asked(
            "decide", hasattr(view, "standing"), key, serial, version, hardware,
            digest=digest, want=want, resource=resource, now=now,
        )  # fmt: skip
        decision: Decision = _drive(view, asked)
        return decision
    raise swallowed()


def explain(
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
    """Explains a check-in by your store; see :meth:`otagate.Fleet.explain`."""
    with store.view() as view:
        asked = Asked(
            "explain", hasattr(view, "standing"), key, serial, version, hardware,
            digest=digest, want=want, resource=resource, now=now, ledger=ledger,
        )  # fmt: skip
        explanation: Explanation = _drive(view, asked)
        return explanation
    raise swallowed()


def attend(
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
    """Decides a check-in by your store with a ledger of otagate's; see :meth:`otagate.Fleet.attend`. ``answered`` calls the store's ``register``."""
    with store.view() as view:
        asked = Asked(
            "attend", hasattr(view, "standing"), key, serial, version, hardware,
            digest=digest, want=want, resource=resource, now=now, ledger=ledger, store=store, lease_secs=lease_secs,
        )  # fmt: skip
        attended: Attended = _drive(view, asked)
        return attended
    raise swallowed()


def report(
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
    """Takes down what a device tells of what it was offered; see :meth:`otagate.Fleet.report`."""
    with store.view() as view:
        asked = Asked(
            "report", hasattr(view, "standing"), key, serial,
            want=want, resource=resource, now=now, ledger=ledger, outcome=outcome,
        )  # fmt: skip
        noted: Noted = _drive(view, asked)
        return noted
    raise swallowed()
