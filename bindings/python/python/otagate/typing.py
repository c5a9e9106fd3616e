"""Types for those who check theirs: names of verdicts, reasons and states, and the protocols that otagate asks of others."""

from __future__ import annotations

from typing import Any, List, Literal, Mapping, Optional, Protocol, Tuple, Union

Text = Union[str, bytes]
"""What a device sent: as text, or as the bytes that came."""

Verdict = Literal["unauthorized", "unavailable", "up-to-date", "serve"]
"""One of four (V1): 401, 404, 304, 200."""

ReasonName = Literal[
    "key-unknown",
    "key-revoked",
    "key-not-yet-valid",
    "key-expired",
    "serial-malformed",
    "serial-placeholder",
    "device-unknown",
    "device-new",
    "device-blocked",
    "device-disabled",
    "device-quota",
    "group-missing",
    "nothing-assigned",
    "firmware-missing",
    "firmware-denied",
    "hardware",
    "no-path",
    "no-artifact",
    "current",
    "wave-not-open",
    "rollout-paused",
    "left",
    "held",
    "ahead",
    "version-unreadable",
    "window-shut",
    "downloads-full",
    "penalty",
    "serve",
]
"""The stable names of the reasons (V2). More may come."""

DeviceState = Literal["new", "verified", "blocked", "disabled", "quota"]
"""Where a device stands."""

Want = Literal["firmware", "config", "resources", "resource"]
"""What a device asks for."""

DigestKind = Literal["blake3", "sha256", "md5"]
"""The kinds of digests that a device may send (W6)."""

Outcome = Literal["downloaded", "missing", "installed", "confirmed", "failed"]
"""What may be reported of an offer (R9)."""

Noted = Literal["moved", "known", "foreign"]
"""What a report changed: the device stands at another outcome; it was known; the rollout never offered it anything (R9)."""

Registered = Literal["new", "known", "refused"]
"""What became of a registration: the device is ``new`` now; it was known; there is no room for it, or no registering."""

SerialScheme = Literal["opaque", "opaque-nocase", "mac", "hex", "decimal"]
"""How a product's serials are read (S1)."""

Change = Mapping[str, Any]
"""One thing that happens to a fleet: ``{"change": "assign-firmware", "product": ..., "group": ..., "firmware": ...}``."""

Row = Union[
    Tuple[Text, Text],
    Tuple[Text, Text, Optional[Text]],
    Tuple[Text, Text, Optional[Text], Optional[Text]],
    List[str],
    List[bytes],
    List[Optional[Text]],
]
"""A check-in of a batch: (key, serial), (key, serial, version) or (key, serial, version, hardware)."""


class ArrowArray(Protocol):
    """A record batch of Arrow's, by the PyCapsule interface."""

    def __arrow_c_array__(self, requested_schema: object | None = None, /) -> Tuple[object, object]: ...


class ArrowStream(Protocol):
    """A table or a stream of Arrow's, by the PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema: object | None = None, /) -> object: ...
