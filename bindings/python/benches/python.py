"""What the boundary to Python costs: the same decisions from Python and in Rust, in one process, of one fleet, turn by turn.

Medians of rounds in which both take part; the difference is the boundary's. Needs a build with the feature ``bench``: `make bench ONLY=python`.
Keys go into target/bench/summary.json.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from itertools import repeat
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any, Callable

import otagate
import pyarrow
from otagate import _native

DEVICES, ROUNDS, TIMES, ROWS, BATCHES = 1_000, 31, 100_000, 10_000, 10


def fleet() -> otagate.Fleet:
    file = {"size_bytes": 917504, "digests": {"blake3": "00" * 32}, "locator": "lamp-2.1.0.bin"}
    made = otagate.Fleet.from_changes(
        [
            {"change": "put-product", "product": {"id": "lamp", "keys": [{"hash": otagate.key_hash("secret")}]}},
            {"change": "put-firmware", "product": "lamp", "firmware": {"version": "2.1.0", "artifacts": [file]}},
            {"change": "put-group", "product": "lamp", "group": {"id": "stable", "firmware": "2.1.0"}},
        ]
    )
    made.add_devices("lamp", [otagate.Device(f"SN-{number:05}", "verified", "stable") for number in range(DEVICES)])
    return made


def per_call(call: Callable[..., Any], serials: list[str], key: str, version: str) -> float:
    """Nanoseconds of a call, the loop's own taken off."""
    since = perf_counter_ns()
    for serial in serials:
        call(key, serial, version)
    between = perf_counter_ns()
    for serial in serials:
        pass
    return (2 * between - since - perf_counter_ns()) / len(serials)


def per_call_at(call: Callable[..., Any], serials: list[str], key: str, version: str, now: datetime) -> float:
    since = perf_counter_ns()
    for serial in serials:
        call(key, serial, version, now=now)
    between = perf_counter_ns()
    for serial in serials:
        pass
    return (2 * between - since - perf_counter_ns()) / len(serials)


def per_item(call: Callable[[], Any], items: int) -> float:
    since = perf_counter_ns()
    for _ in repeat(None, BATCHES):
        call()
    return (perf_counter_ns() - since) / items / BATCHES


class Plain:
    """The same decision as plain Python has it: dicts of what a load would have checked, the same questions in the same order, for a fleet like this one."""

    def __init__(self, made: otagate.Fleet) -> None:
        spec = made.spec()
        self.products: dict[str, dict[str, Any]] = {}
        for part in spec["products"]:
            product = dict(part["product"])
            product["devices"] = {device["serial"]: device for device in part["devices"]}
            product["groups"] = {group["id"]: group for group in part["groups"]}
            product["firmwares"] = {firmware["version"]: firmware for firmware in part["firmware"]}
            for key in product["keys"]:
                self.products[key["hash"]] = product | {"the_key": key}
        self.known: dict[str, str] = {}
        self.revision = spec["revision"]

    def decide(self, key: str, serial: str, version: str = "", hardware: str = "", now: int | None = None) -> dict[str, Any]:
        def told(status: int, reason: str, **more: Any) -> dict[str, Any]:
            return {"status": status, "reason": reason, "revision": self.revision} | more

        # Hashed once for each key, as a reader of the package does.
        digest = self.known.get(key) or self.known.setdefault(key, otagate.key_hash(key))
        product = self.products.get(digest)
        if product is None:
            return told(401, "key-unknown")
        at = perf_counter_ns() // 1_000_000 if now is None else now
        held = product["the_key"]
        if held.get("revoked"):
            return told(401, "key-revoked")
        if held.get("not_before") is not None and at < held["not_before"]:
            return told(401, "key-not-yet-valid")
        if held.get("not_after") is not None and at >= held["not_after"]:
            return told(401, "key-expired")
        canonical = serial
        if len(canonical) > 64 or any(letter < " " or letter == "\x7f" for letter in canonical):
            return told(401, "serial-malformed")
        if not canonical.strip("0") or not canonical.strip("Ff") or canonical in product.get("placeholders", ()):
            return told(401, "serial-placeholder")
        device = product["devices"].get(canonical)
        if device is None:
            return told(401, "device-unknown")
        if device["state"] != "verified":
            return told(401, "device-" + device["state"])
        group = product["groups"].get(device["group"])
        if group is None:
            return told(404, "group-missing")
        meant = device.get("pin") or group.get("firmware")
        if meant is None:
            return told(404, "nothing-assigned")
        firmware = product["firmwares"].get(meant)
        if firmware is None:
            return told(404, "firmware-missing")
        if firmware.get("denied"):
            return told(404, "firmware-denied")
        fitting = [file for file in firmware["artifacts"] if not file.get("hardware") or hardware in file["hardware"]]
        if not fitting:
            return told(404, "hardware", meant=meant)
        if version.strip(" \t").lower() == meant.strip(" \t").lower():
            return told(304, "current", meant=meant)
        delta = [file for file in fitting if file.get("from") == version] or [file for file in fitting if "from" not in file]
        return told(200, "serve", meant=meant, artifact=delta[0]) if delta else told(404, "no-artifact", meant=meant)


def main(out: Path) -> None:
    held = fleet()
    plain = Plain(held)
    serials = [f"SN-{number % DEVICES:05}" for number in range(TIMES)]
    rows = [("secret", f"SN-{number % DEVICES:05}", "2.1.0" if number % 10 else "2.0.0") for number in range(ROWS)]
    table = pyarrow.table(dict(zip(("key", "serial", "version"), map(list, zip(*rows)))))
    now = datetime.now(timezone.utc)
    for row in rows[:100]:
        ours, theirs = held.decide(*row), plain.decide(*row)
        assert (ours.status, ours.reason, ours.meant) == (theirs["status"], theirs["reason"], theirs["meant"])

    kinds = {"": ("secret", "2.1.0"), "_serve": ("secret", "2.0.0"), "_401": ("nobody's", "2.1.0")}
    seen: dict[str, list[float]] = {}

    def note(name: str, figure: float) -> None:
        seen.setdefault(name, []).append(figure)

    for _ in repeat(None, ROUNDS):
        for kind, (key, version) in kinds.items():
            rust = _native.bench_decide(held, key, serials[17], version, TIMES)  # type: ignore[attr-defined]
            note(f"rust_decide_ns{kind}", rust)
            # One device, as in Rust: what is measured is the boundary.
            one = [serials[17]] * TIMES
            note(f"py_decide_overhead_ns{kind}", per_call(held.decide, one, key, version) - rust)
            note(f"py_decide_overhead_at_ns{kind}", per_call_at(held.decide, one, key, version, now) - rust)
            if not kind:
                python = per_call(plain.decide, one[: TIMES // 10], key, version)
                note("pure_python_ns", python)
                note("py_vs_pure_python", (per_call(held.decide, one, key, version)) / python)
        rust = _native.bench_many(held, rows, BATCHES)  # type: ignore[attr-defined]
        note("rust_many_ns_per_item", rust)
        note("py_many_ns_per_item", per_item(lambda: held.decide_many(rows, into="status"), ROWS))
        note("py_many_objects_ns_per_item", per_item(lambda: held.decide_many(rows), ROWS))
        note("py_arrow_ns_per_item", per_item(lambda: held.decide_many(table), ROWS))
        for name in ("py_many", "py_many_objects", "py_arrow"):
            note(f"{name}_above_rust_ns", seen[f"{name}_ns_per_item"][-1] - rust)

    figures = {name: round(median(all_), 3 if "vs" in name else 1) for name, all_ in seen.items()}
    # The answers that are shared are these three; the larger of those with a device behind them is told as the figure.
    figures["py_decide_overhead_shared_ns"] = max(figures["py_decide_overhead_ns"], figures["py_decide_overhead_ns_serve"])
    summary = json.loads(out.read_text()) if out.exists() else {}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(summary | figures, indent=2, sort_keys=True) + "\n")
    for name, figure in figures.items():
        print(f"{name:36} {figure}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
