"""Decides a device's firmware check-in: 401, 404, 304, or serve this artifact.

>>> import otagate
>>> fleet = otagate.Fleet.from_changes([
...     {"change": "put-product", "product": {"id": "lamp", "keys": [{"hash": otagate.key_hash("secret")}]}},
...     {"change": "put-firmware", "product": "lamp", "firmware": {"version": "2.1.0", "artifacts": [
...         {"size_bytes": 917504, "digests": {"blake3": "00" * 32}, "locator": "lamp-2.1.0.bin"}]}},
...     {"change": "put-group", "product": "lamp", "group": {"id": "stable", "firmware": "2.1.0"}},
...     {"change": "put-device", "product": "lamp", "device": otagate.Device("SN-17", "verified", "stable")},
... ])
>>> match fleet.decide("secret", "SN-17", "2.0.0"):
...     case otagate.Decision(200, artifact=artifact):
...         print("send", artifact.locator)
...     case otagate.Decision(status, reason):
...         print(status, reason)
send lamp-2.1.0.bin

Where to look:

- :class:`Fleet`: millions of devices in memory; :meth:`Fleet.decide`, :meth:`Fleet.decide_many`, :meth:`Fleet.explain`.
- :class:`Decision`: the one answer.
- :class:`Ledger`: who was offered what, for rollouts that move by themselves; :meth:`Fleet.attend`, :meth:`Fleet.advance`.
- :mod:`otagate.store` and :mod:`otagate.asyncio`: a database of your own.
- :mod:`otagate.otadrive`: a device protocol as a pure function.

Every class may be used by any thread, several at once. Nothing reads a clock but where you give no ``now``. What goes wrong is an :class:`Error`.
"""

from __future__ import annotations

from ._errors import (
    Changed,
    Error,
    InternalError,
    InvalidArgument,
    NotFound,
    Problem,
    Refused,
    SerialMalformed,
    SerialPlaceholder,
    StoreGarbage,
)
from ._native import (
    Attended,
    Columns,
    Decision,
    Explanation,
    Fleet,
    Group,
    Ledger,
    Product,
    compare_versions,
    key_hash,
    parse_range,
    rank,
    read_serial,
    reasons,
    rollout_step,
    share_threshold,
    version,
)
from ._values import (
    Artifact,
    Attempt,
    ByteRange,
    Census,
    Claim,
    Comparison,
    Config,
    Device,
    DeviceCount,
    Digests,
    FilePart,
    FirmwareFile,
    Loaded,
    Moved,
    ReasonInfo,
    Register,
    Resource,
    Seen,
    Standing,
    Step,
    VerdictCount,
)

__version__ = version()

__all__ = [
    "Artifact",
    "Attempt",
    "Attended",
    "ByteRange",
    "Census",
    "Changed",
    "Claim",
    "Columns",
    "Comparison",
    "Config",
    "Decision",
    "Device",
    "DeviceCount",
    "Digests",
    "Error",
    "Explanation",
    "FilePart",
    "FirmwareFile",
    "Fleet",
    "Group",
    "InternalError",
    "InvalidArgument",
    "Ledger",
    "Loaded",
    "Moved",
    "NotFound",
    "Problem",
    "Product",
    "ReasonInfo",
    "Refused",
    "Register",
    "Resource",
    "Seen",
    "SerialMalformed",
    "SerialPlaceholder",
    "Standing",
    "Step",
    "StoreGarbage",
    "VerdictCount",
    "__version__",
    "compare_versions",
    "key_hash",
    "parse_range",
    "rank",
    "read_serial",
    "reasons",
    "rollout_step",
    "share_threshold",
]
