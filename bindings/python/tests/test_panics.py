"""A fault inside is an exception, and everything works afterwards. Needs a build with faults planted: the feature `planted-panic`."""

from __future__ import annotations

from typing import Any, Callable

import otagate
import pyarrow
import pytest
from otagate import otadrive, store
from test_store import Rows

PANIC = "planted panic"
TABLE = pyarrow.table({"serial": ["SN-1", "SN-2"], "version": ["2.1.0", PANIC]})

CALLS: dict[str, Callable[[otagate.Fleet, otagate.Ledger], Any]] = {
    "decide": lambda fleet, ledger: fleet.decide("secret", "SN-1", PANIC),
    "decide at a time": lambda fleet, ledger: fleet.decide("secret", "SN-1", PANIC.encode()),
    "a small batch": lambda fleet, ledger: fleet.decide_many([("secret", "SN-1", "1"), ("secret", "SN-1", PANIC)]),
    "a large batch": lambda fleet, ledger: fleet.decide_many([("secret", "SN-1", "1")] * 9_999 + [("secret", "SN-1", PANIC)]),
    "statuses": lambda fleet, ledger: fleet.decide_many([("secret", "SN-1", PANIC)] * 9_999, into="status"),
    "arrow": lambda fleet, ledger: fleet.decide_many(TABLE, key="secret"),
    "explain": lambda fleet, ledger: fleet.explain("secret", "SN-1", PANIC),
    "attend": lambda fleet, ledger: fleet.attend(ledger, "secret", "SN-1", PANIC),
    "otadrive": lambda fleet, ledger: otadrive.answer(
        fleet, ledger, "GET", "/deviceapi/update?k=secret&s=SN-1&v=planted%20panic"
    ),
    "a store": lambda fleet, ledger: store.decide(Rows(), "secret", "SN-1", PANIC),
    "apply": lambda fleet, ledger: fleet.apply(
        {"change": "remove-device", "product": PANIC, "serial": "1"}
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_panic_is_an_internal_error(fleet: otagate.Fleet, name: str) -> None:
    ledger = otagate.Ledger()
    for _ in range(20):
        with pytest.raises(otagate.InternalError, match="planted") as caught:
            CALLS[name](fleet, ledger)
        assert isinstance(caught.value, Exception)
        assert fleet.decide("secret", "SN-1", "2.1.0").status == 304
        assert fleet.decide_many([("secret", "SN-1", "2.1.0")] * 5_000, into="reason") == bytes([41]) * 5_000
        assert fleet.attend(ledger, "secret", "SN-1", "2.0.0").decision.status == 200
    assert fleet.apply({"change": "pin-device", "product": "lamp", "serial": "SN-1", "firmware": None}) == fleet.revision
