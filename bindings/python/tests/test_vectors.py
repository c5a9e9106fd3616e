"""The golden files that every language runs: ``tests/vectors`` of the repository."""

from __future__ import annotations

import asyncio
import json
import pickle
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, AsyncIterator, Iterator

import otagate
import otagate.asyncio
import pyarrow
import pytest
from otagate import store

VECTORS = Path(__file__).resolve().parents[3] / "tests" / "vectors"
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def read(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


def at(millis: int) -> datetime:
    return EPOCH + timedelta(milliseconds=millis)


def said(row: dict[str, Any], name: str) -> bytes:
    """``"input"`` as text, or ``"input_hex"`` as bytes."""
    text = row.get(name)
    return text.encode() if isinstance(text, str) else bytes.fromhex(row[f"{name}_hex"])


def test_ranks() -> None:
    rows = read("ranks.json")["ranks"]
    assert len(rows) >= 200
    for row in rows:
        assert str(otagate.rank(row["salt"], row["product"], row["serial"])) == row["rank"], row


def test_serials() -> None:
    rows = read("serials.json")["serials"]
    assert len(rows) >= 381
    for row in rows:
        try:
            canonical = otagate.read_serial(row["scheme"], said(row, "input"))
            assert (row["verdict"], row["canonical"]) == ("ok", canonical), row
        except otagate.SerialMalformed:
            assert row["verdict"] == "malformed", row
        except otagate.SerialPlaceholder:
            assert row["verdict"] == "placeholder", row


def test_versions_both_ways() -> None:
    rows = read("versions.json")["equal_and_order"]
    assert len(rows) >= 595
    for row in rows:
        counts = row.get("build_metadata") == "counts"
        rules = {
            "scheme": row["scheme"],
            "prefixes": row["prefixes"],
            "build_metadata": "counts-for-equality" if counts else "ignored",
        }
        a, b = said(row, "a"), said(row, "b")
        there, back = otagate.compare_versions(a, b, rules), otagate.compare_versions(b, a, rules)
        order = row["order"]
        assert (there.equal, there.order) == (row["equal"], order), row
        assert (back.equal, back.order) == (row["equal"], None if order is None else -order), row


class Rows:
    """A host's database, as far as a decision asks it."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.at = spec["revision"]
        self.products: dict[bytes, otagate.Product] = {}
        self.devices: dict[tuple[str, str], otagate.Device] = {}
        for part in spec["products"]:
            product = otagate.Product(part["product"], firmware=part.get("firmware", ()), groups=part.get("groups", ()))
            for key in part["product"].get("keys", ()):
                self.products[bytes.fromhex(key["hash"])] = product
            for device in part.get("devices", ()):
                row = {name: value for name, value in device.items() if name not in ("entered_at", "earlier_groups")}
                row["entered_at"] = at(device.get("entered_at", 0))
                made = otagate.Device(**row)
                scheme = part["product"]["serial_scheme"]
                self.devices[product.id, otagate.read_serial(scheme, made.serial)] = made

    def revision(self) -> int:
        return int(self.at)

    def product_of_key(self, key_hash: bytes) -> otagate.Product | None:
        return self.products.get(key_hash)

    def device(self, product: str, serial: str) -> otagate.Device | None:
        return self.devices.get((product, serial))

    def group(self, product: otagate.Product, device: otagate.Device) -> otagate.Group | None:
        return product.group(device.group)

    @contextmanager
    def view(self) -> Iterator[Rows]:
        yield self


class Awaited:
    """The same, awaited."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    async def revision(self) -> int:
        await asyncio.sleep(0)
        return self.rows.revision()

    async def product_of_key(self, key_hash: bytes) -> otagate.Product | None:
        await asyncio.sleep(0)
        return self.rows.product_of_key(key_hash)

    async def device(self, product: str, serial: str) -> otagate.Device | None:
        return self.rows.device(product, serial)

    async def group(self, product: otagate.Product, device: otagate.Device) -> otagate.Group | None:
        return self.rows.group(product, device)

    @asynccontextmanager
    async def view(self) -> AsyncIterator[Awaited]:
        yield self


def check_in(case: dict[str, Any]) -> tuple[list[bytes], dict[str, Any]]:
    digest = case.get("digest")
    words = [said(case, name) for name in ("key", "serial", "version", "hardware")]
    more = {
        "digest": (digest["kind"], digest["hex"]) if digest else None,
        "want": case["want"],
        "resource": case.get("resource"),
        "now": at(case["now"]),
    }
    return words, more


def test_whole_answers() -> None:
    fleets = read("decisions.json")["fleets"]
    cases, batched, met = 0, 0, set()
    for each in fleets:
        spec = each["fleet"]
        fleet = otagate.Fleet.from_spec(spec)
        rows = Rows(fleet.spec())
        awaited = Awaited(rows)
        for case in each["cases"]:
            words, more = check_in(case)
            decision = fleet.decide(*words, **more)
            assert decision.to_dict() == case["answer"], case
            assert pickle.loads(pickle.dumps(decision)) == decision
            assert pickle.loads(pickle.dumps(decision)).to_dict() == case["answer"]
            explained = fleet.explain(*words, **more)
            assert explained.decision == decision and explained.to_dict()["decision"] == case["answer"], case
            # With a ledger that knows nobody, each on its own, the answers agree but for places that are taken at once.
            attended = fleet.attend(otagate.Ledger(), *words, **more).decision
            assert attended.to_dict() == case["answer"], case
            for ours in (store.decide(rows, *words, **more), asyncio.run(otagate.asyncio.decide(awaited, *words, **more))):
                assert ours.to_dict() == case["answer"], case
            if all(step is None for step in (more["digest"], more["resource"])) and more["want"] == "firmware":
                key, serial, version, hardware = words
                row = (key, serial, version, hardware)
                statuses = fleet.decide_many([row], into="status", now=more["now"])
                reasons = fleet.decide_many([row], into="reason", now=more["now"])
                assert memoryview(statuses).cast("H")[0] == decision.status and reasons[0] == decision.number
                assert fleet.decide_many([row], now=more["now"]) == [decision]
                names = ("key", "serial", "version", "hardware")
                table = pyarrow.table({name: pyarrow.array([word], pyarrow.binary()) for name, word in zip(names, words)})
                [column] = pyarrow.record_batch(fleet.decide_many(table, now=more["now"])).to_pylist()
                told = (decision.status, decision.reason, decision.meant, decision.retry_after)
                assert (column["status"], column["reason"], column["meant"], column["retry_after"]) == told
                batched += 1
            met.add(decision.reason)
            cases += 1
    # Without a ledger in the file, nobody holds a penalty.
    expected = {reason.name for reason in otagate.reasons()} - {"penalty"}
    assert cases >= 400 and batched >= 200 and met == expected, (cases, batched, expected - met)


def test_thresholds() -> None:
    rows = read("thresholds.json")["thresholds"]
    refused = 0
    for row in rows:
        waves: list[dict[str, Any]] = [{"size": row["size"]}]
        if row["previous"] is not None:
            # A threshold is of some wave before: of the other kind of size, since sizes are cumulative.
            size = {"share-bps": 1} if "first" in row["size"] else {"first": 1}
            waves.insert(0, {"size": size, "opened": {"at": 0, "threshold": int(row["previous"])}})
        rollout = {
            "id": "any",
            "salt": row["salt"],
            "target": {"firmware": "2.0.0"},
            "state": {"is": "running"},
            "started_at": 0,
            "waves": waves,
            "first": row.get("first", []),
        }
        devices = [{"serial": serial, "state": "verified", "group": "field"} for serial in row["serials"]]
        part = {"product": {"id": row["product"]}, "groups": [{"id": "field", "rollout": rollout}], "devices": devices}
        fleet = otagate.Fleet.from_spec({"revision": 1, "products": [part]})
        if row.get("refused"):
            with pytest.raises(otagate.Refused):
                fleet.census(row["product"], "field", len(waves) - 1)
            refused += 1
            continue
        census = fleet.census(row["product"], "field", len(waves) - 1)
        threshold = None if row["threshold"] is None else int(row["threshold"])
        assert (census.threshold, census.counted, census.newcomers) == (threshold, row["counted"], row["newcomers"]), row
        assert census.eligible == len(row["serials"]), row
    assert len(rows) >= 65 and refused >= 3


@pytest.mark.parametrize("scheme", ["exact", "semver", "dotted"])
def test_real_versions(scheme: str) -> None:
    """A device that reports what it was served is up to date, in the letters of it and in lower case."""
    lines = [line for line in (VECTORS / "real_versions.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) >= 300
    served = 0
    for prefixes in ([], ["v"], ["v", "fw-", "release-", "version "]):
        for version in lines:
            file = {"size_bytes": 5, "digests": {"blake3": "00" * 32}, "locator": "image"}
            part = {
                "product": {
                    "id": "p",
                    "keys": [{"hash": otagate.key_hash("k")}],
                    "versions": {"scheme": scheme, "prefixes": prefixes},
                },
                "firmware": [{"version": version, "artifacts": [file]}],
                "groups": [{"id": "g", "firmware": version}],
                "devices": [{"serial": "s", "state": "verified", "group": "g"}],
            }
            try:
                fleet = otagate.Fleet.from_spec({"revision": 1, "products": [part]})
            except otagate.Refused as refused:
                assert refused.problems
                continue
            offered = fleet.decide("k", "s").firmware
            assert offered is not None, version
            ascii_lower = "".join(letter.lower() if letter.isascii() else letter for letter in offered)
            assert [fleet.decide("k", "s", said).status for said in (offered, ascii_lower)] == [304, 304], version
            served += 1
    assert served > (900 if scheme == "exact" else 150)


def test_transitions() -> None:
    cases = 0
    for row in read("transitions.json")["transitions"]:
        step = otagate.rollout_step(row["rollout"], row["statistics"], product=row.get("product"), now=at(row["now"]))
        assert step["transition"] == row["transition"] and step["progress"] == row["progress"], row
        cases += 1
    assert cases >= 133


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__]))
