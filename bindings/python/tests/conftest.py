"""What the tests share: a small fleet, and times."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import otagate
import pytest

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=timezone.utc)
DEVICES = 1_000


def firmware(version: str, **more: Any) -> dict[str, Any]:
    file = {"size_bytes": 5, "digests": {"blake3": f"{len(version):02x}" * 32}, "locator": f"lamp-{version}.bin"}
    return {"version": version, "artifacts": [file], **more}


def changes() -> list[dict[str, Any]]:
    """Product `lamp` of key `secret`: groups `stable` (2.1.0), `edge` (3.0.0) and `empty`, 1,000 devices in the first."""
    return [
        {
            "change": "put-product",
            "product": {
                "id": "lamp",
                "keys": [{"hash": otagate.key_hash("secret")}],
                "default_group": "stable",
                "versions": {"scheme": "semver"},
            },
        },
        *({"change": "put-firmware", "product": "lamp", "firmware": firmware(each)} for each in ("2.0.0", "2.1.0", "3.0.0")),
        {"change": "put-group", "product": "lamp", "group": {"id": "stable", "firmware": "2.1.0"}},
        {"change": "put-group", "product": "lamp", "group": {"id": "edge", "firmware": "3.0.0"}},
        {"change": "put-group", "product": "lamp", "group": {"id": "empty"}},
        {"change": "put-device", "product": "lamp", "device": otagate.Device("EDGE-1", "verified", "edge")},
        {"change": "put-device", "product": "lamp", "device": otagate.Device("EMPTY-1", "verified", "empty")},
        {"change": "put-device", "product": "lamp", "device": otagate.Device("BLOCKED-1", "blocked", "stable")},
    ]


@pytest.fixture
def fleet() -> otagate.Fleet:
    made = otagate.Fleet.from_changes(changes())
    made.add_devices("lamp", (otagate.Device(f"SN-{number}", "verified", "stable") for number in range(DEVICES)))
    return made
