"""Values: plain data, frozen, comparable, hashable, picklable."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Iterable, Literal, Mapping, Optional, cast

from ._errors import InvalidArgument, Problem

if TYPE_CHECKING:
    from .typing import DeviceState, ReasonName

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Digests:
    """The digests on record of one file, in lower-case hex; which ones are known differs."""

    blake3: Optional[str] = None
    sha256: Optional[str] = None
    md5: Optional[str] = None


@dataclass(frozen=True)
class Artifact:
    """One file of a firmware."""

    locator: str
    """Where the host finds it; only the host understands it."""
    size_bytes: int
    digests: Digests
    hardware: tuple[str, ...] = ()
    """The hardware that it fits; none fits all."""
    from_version: Optional[str] = None
    """For a delta, the version that it applies to."""
    base: Digests = field(default_factory=Digests)
    """For a delta, the digests of the image that it applies to, where known."""


@dataclass(frozen=True)
class Config:
    """A group's configuration."""

    document: str
    """The JSON document, as the operator wrote it."""
    digests: Digests

    @property
    def value(self) -> Any:
        """The document, read."""
        return json.loads(self.document)


@dataclass(frozen=True)
class Resource:
    """A named file of a group."""

    name: str
    locator: str
    size_bytes: int
    digests: Digests


@dataclass(frozen=True)
class Register:
    """After the answer: register the device (question 3)."""

    product: str
    serial: Optional[str]
    """The canonical serial."""


@dataclass(frozen=True)
class Claim:
    """Before the answer: claim in the ledger, and where that refuses give ``decision.refused(by)`` instead (V7)."""

    rollout: Optional[str]
    """The rollout on whose account it is served; without it a place among the group's downloads is all that is claimed."""
    slots_max: Optional[int]
    """The claim must be one of at most so many of the rollout: a first-come wave."""
    downloads_max: Optional[int]
    """The claim must be one of at most so many live ones of the group."""


@dataclass(frozen=True)
class Seen:
    """After the answer: the device reported the target version of this rollout (R9)."""

    rollout: str


@dataclass(frozen=True)
class Attempt:
    """What a report of what became of an offer names, so that it is not booked on another."""

    number: int
    rollout: Optional[str]
    group: str
    started_at: datetime


@dataclass(frozen=True)
class Device:
    """One unit of a product. A store may give any object with these attributes instead: a row of an ORM, say."""

    serial: str
    """Its serial, in any spelling of the product's scheme."""
    state: DeviceState
    group: str
    pin: Optional[str] = None
    """The version of the firmware that it is pinned to."""
    cap: Optional[str] = None
    """The highest version that it is given."""
    entered_at: Optional[datetime] = None
    """When it entered the group for the first time (R4). Without it the device is as old as time."""
    version: Optional[str] = None
    """The version that it reported last, as far as known (R3)."""
    hardware: Optional[str] = None
    """Its hardware, as far as known (R3)."""


@dataclass(frozen=True)
class Standing:
    """What a host's own ledger holds about a device, in its group and that group's rollout."""

    claim_expires_at: Optional[datetime] = None
    """The device's claim on the target of the group's rollout, live or lapsed."""
    download_expires_at: Optional[datetime] = None
    """Its place among the group's concurrent downloads, live or lapsed."""
    attempts: int = 0
    """How often it was offered this target or a hop to it."""
    penalty_hop: Optional[str] = None
    """The hop that it failed at."""
    penalty_until: Optional[datetime] = None
    """Until when it waits for that."""
    place: Optional[int] = None
    """Its place by the census of the rollout, from 1."""
    downloads_now: int = 0
    """How many downloads of the group run now."""
    slots_taken: int = 0
    """How many slots of a first-come rollout are taken, lapsed ones included."""


@dataclass(frozen=True)
class Census:
    """Who would be admitted by a wave (R3)."""

    eligible: int
    """How many devices could be given the target by this wave."""
    counted: int
    """How many it admits."""
    newcomers: int
    """How many of those no wave before has admitted."""
    threshold: Optional[int]
    """The highest rank that is in; None: nobody."""


@dataclass(frozen=True)
class DeviceCount:
    """How many devices of a product are in a group and a state."""

    product: str
    group: str
    state: DeviceState
    devices: int


@dataclass(frozen=True)
class VerdictCount:
    """How often a reason was given."""

    product: Optional[str]
    """The product; None: the key was nobody's."""
    reason: ReasonName
    number: int
    status: int
    count: int


@dataclass(frozen=True)
class ReasonInfo:
    """A reason (V2)."""

    number: int
    name: ReasonName
    status: int
    sentence: str


@dataclass(frozen=True)
class Step:
    """One question on the way to a decision (V6), by the names of ``Explanation.to_dict``."""

    question: Optional[int]
    """The number in section 3 of the rules; None for the lease."""
    name: str
    answer: Optional[ReasonName]
    """The reason, where this question gave the answer."""
    values: Mapping[str, Any]
    """What was compared."""

    def __hash__(self) -> int:
        return hash((self.question, self.name, self.answer))


@dataclass(frozen=True)
class Moved:
    """A step of a rollout that was due, and what became of it."""

    product: str
    group: str
    rollout: str
    transition: Mapping[str, Any]
    """What was due: ``kind`` is ``open-wave``, ``halt`` or ``complete``."""
    outcome: Literal["done", "lost", "held", "uncounted", "refused"]
    revision: Optional[int]
    """The revision that it was done at."""
    opened: Optional[Mapping[str, Any]]
    """What was frozen, where a wave was opened."""
    line: str
    """The whole in words, for a log."""

    def __hash__(self) -> int:
        return hash((self.product, self.group, self.rollout, self.outcome, self.revision, self.line))


@dataclass(frozen=True)
class FirmwareFile:
    """A file that an artifact or a resource names."""

    locator: str
    path: Path
    size_bytes: int
    digests: Digests


@dataclass(frozen=True)
class Loaded:
    """What a fleet's file said besides the fleet."""

    lints: tuple[Problem, ...]
    """What is legal but surely not meant (L4)."""
    more: int
    """How many lints are not listed."""
    counted: tuple[str, ...]
    """The waves that this load opened by a census, with the line that keeps that over a restart."""
    firmware_dir: Path
    files: Mapping[str, FirmwareFile]
    """Where the file of each locator is."""

    def __hash__(self) -> int:
        return hash((self.lints, self.more, self.counted, self.firmware_dir))


@dataclass(frozen=True)
class Comparison:
    """How two versions compare (W1, W2). Equality is not order."""

    equal: bool
    order: Optional[Literal[-1, 0, 1]]
    """That of the first against the second; None, where one has no order."""


@dataclass(frozen=True)
class ByteRange:
    """Which bytes of a file are asked for."""

    kind: Literal["whole", "part", "unsatisfiable"]
    """200, 206 or 416."""
    start: int
    length: int


@dataclass(frozen=True)
class FilePart:
    """``length`` bytes from ``start`` on of the file that the host knows by ``locator``."""

    locator: str
    start: int
    length: int


def _plain(value: object) -> object:
    """What json does not know by itself."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise InvalidArgument(f"{value!r} is a naive datetime: give it a time zone")
        return (value - EPOCH) // MILLISECOND
    if is_dataclass(value) and not isinstance(value, type):
        said = {each.name: getattr(value, each.name) for each in fields(value)}
        if "from_version" in said:
            said["from"] = said.pop("from_version")
        return {name: held for name, held in said.items() if held is not None}
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    if isinstance(value, Iterable):
        return list(cast("Iterable[object]", value))
    raise TypeError(f"{type(value).__name__} has no place in a fleet")


def encode(value: object) -> str:
    """A change or a specification as JSON: aware datetimes as milliseconds, dataclasses as objects."""
    return json.dumps(value, default=_plain, allow_nan=False, ensure_ascii=False)
