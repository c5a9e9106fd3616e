"""Faults inside, by an asynchronous store, within tables and batches of every size, from threads; and no lock stays taken."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import otagate
import otagate.asyncio
import pyarrow as pa
import pytest
from conftest import NOW
from otagate import otadrive, store
from test_store import Awaited, Rows

PANIC = "planted panic"


def calls(fleet: otagate.Fleet, ledger: otagate.Ledger, rows: Rows) -> dict[str, Any]:
    many = [("secret", "SN-1", "1")] * 4_999
    table = pa.table({"serial": ["SN-1"] * 5_000, "version": ["1"] * 4_999 + [PANIC]})
    return {
        "at a time": lambda: fleet.decide("secret", "SN-1", PANIC, now=NOW),
        "for a config": lambda: fleet.decide("secret", "SN-1", PANIC, want="config"),
        "reasons": lambda: fleet.decide_many([*many, ("secret", "SN-1", PANIC)], into="reason"),
        "few reasons": lambda: fleet.decide_many([("secret", "SN-1", PANIC)], into="reason"),
        "a large table": lambda: fleet.decide_many(table, key="secret"),
        "an explanation by a store": lambda: store.explain(rows, "secret", "SN-1", PANIC),
        "attending by a store": lambda: store.attend(rows, ledger, "secret", "SN-1", PANIC),
        "an asynchronous store": lambda: asyncio.run(otagate.asyncio.decide(Awaited(rows), "secret", "SN-1", PANIC)),
        "otadrive, as bytes": lambda: otadrive.answer(fleet, ledger, "GET", b"/deviceapi/update?k=secret&s=SN-1&v=planted%20panic"),
        "one of many changes": lambda: fleet.apply([
            {"change": "pin-device", "product": "lamp", "serial": "SN-1", "firmware": "3.0.0"},
            {"change": "remove-product", "product": PANIC},
        ]),
    }  # fmt: skip


def test_every_call_after_every_panic(fleet: otagate.Fleet) -> None:
    ledger, rows = otagate.Ledger(), Rows()
    before, told = fleet.revision, fleet.decide("secret", "SN-1", "2.0.0", now=NOW)
    for name, call in calls(fleet, ledger, rows).items():
        for _ in range(10):  # more often than there are readers
            with pytest.raises(otagate.InternalError) as caught:
                call()
            assert isinstance(caught.value, (otagate.Error, RuntimeError)) and "planted" in str(caught.value), name
        assert (fleet.revision, fleet.decide("secret", "SN-1", "2.0.0", now=NOW)) == (before, told), name
        assert all(isinstance(left, otagate.InternalError) for left in rows.left), "a view is left, and sees why"
    assert fleet.apply({"change": "pin-device", "product": "lamp", "serial": "SN-1", "firmware": "3.0.0"}) == before + 1
    assert fleet.reclaim() == 0 and fleet.attend(ledger, "secret", "SN-2", "2.0.0", now=NOW).decision.status == 200
    assert fleet.advance(ledger, now=NOW) == [] and fleet.counts() and fleet.to_json() and ledger.to_json()


def test_panics_by_eight_threads(fleet: otagate.Fleet) -> None:
    ledger = otagate.Ledger()
    wrong: list[BaseException] = []

    def go() -> None:
        try:
            for _ in range(5):
                for call in calls(fleet, ledger, Rows()).values():
                    with pytest.raises(otagate.InternalError):
                        call()
                    assert fleet.decide("secret", "SN-2", "2.1.0").reason == "current"
        except BaseException as error:  # noqa: BLE001
            wrong.append(error)

    threads = [threading.Thread(target=go, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong, wrong[0]
    assert not any(thread.is_alive() for thread in threads)
