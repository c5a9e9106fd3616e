"""The native part of :mod:`otagate`. Import :mod:`otagate` itself: names here may move.

What holds for all of it. Every class may be used by any thread, several at once, with a GIL or without. Texts of a device are ``str`` or ``bytes``; anything else
is a ``TypeError``. Times are aware datetimes, rounded down to the millisecond; a naive one is an :class:`otagate.InvalidArgument`, and no ``now`` means the clock.
A number below 0, or too large for its field, is an ``OverflowError``. A fault inside is an :class:`otagate.InternalError`.

One decision holds the GIL: it takes less than letting go would. Loads, changes, censuses, counts, exports and batches of 4,096 check-ins or more let go of it.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from os import PathLike
from typing import Any, Final, Literal, Protocol, final, overload, type_check_only

from ._errors import Problem
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
    FilePart,
    Loaded,
    Moved,
    ReasonInfo,
    Register,
    Resource,
    Seen,
    Step,
    VerdictCount,
)
from .typing import (
    ArrowArray,
    ArrowStream,
    Change,
    DigestKind,
    Noted,
    Outcome,
    ReasonName,
    Registered,
    Row,
    SerialScheme,
    Text,
    Verdict,
    Want,
)

__all__ = [
    "Asked",
    "Attended",
    "Columns",
    "Decision",
    "Explanation",
    "Fleet",
    "Group",
    "Ledger",
    "Product",
    "Reply",
    "compare_versions",
    "key_hash",
    "otadrive_answer",
    "parse_range",
    "rank",
    "read_serial",
    "reasons",
    "rollout_step",
    "share_threshold",
    "version",
]

# JSON as text, or what says the same in Python.
_Json = Mapping[str, Any] | str | bytes

@type_check_only
class _DeviceLike(Protocol):
    """A device: an :class:`otagate.Device`, or a row of an ORM with its attributes."""

    @property
    def serial(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def group(self) -> str: ...

@final
class Decision:
    """The one answer to a check-in: a verdict, its reason, and what is served.

    Frozen, comparable, hashable, picklable. Decisions that say nothing of one device alone may be one and the same object. There is no constructor.

    ``case Decision(200, artifact=artifact)`` matches one: by position stand ``status``, ``reason``, ``artifact``.
    """

    __match_args__: Final = ("status", "reason", "artifact")

    @property
    def status(self) -> Literal[200, 304, 401, 404]:
        """401, 404, 304 or 200: the HTTP status that says the same (V1)."""

    @property
    def verdict(self) -> Verdict:
        """``unauthorized``, ``unavailable``, ``up-to-date`` or ``serve`` (V1)."""

    @property
    def reason(self) -> ReasonName:
        """The stable kebab-case name of the reason (V2). More may come. It is for the operator: a 401 looks the same to the device, whatever its reason."""

    @property
    def number(self) -> int:
        """The stable number of the reason, below 256, never used again for another (V2)."""

    @property
    def sentence(self) -> str:
        """The reason in a sentence for people (V2)."""

    @property
    def revision(self) -> int:
        """The revision of the fleet that was seen, and no other (V5)."""

    @property
    def retry_after(self) -> int | None:
        """After how many seconds asking again makes sense, at most 86,400 and spread by the device's rank; None where that is not known (R12)."""

    @property
    def meant(self) -> str | None:
        """The version of the firmware that is meant for the device, from question 6 on; never a withheld target."""

    @property
    def rollout(self) -> str | None:
        """The rollout on whose account something is served (R9)."""

    @property
    def firmware(self) -> str | None:
        """The version of the firmware that is served: the meant one, or a stone on the way to it (question 10). None: no firmware is served."""

    @property
    def artifact(self) -> Artifact | None:
        """The one file of the firmware that is served (question 12). None: no firmware is served. Made at the first look."""

    @property
    def leased(self) -> bool:
        """Whether the offer continues one that was made before, by its lease."""

    @property
    def config(self) -> Config | None:
        """The configuration that is served, where that was asked for."""

    @property
    def resources(self) -> tuple[Resource, ...] | None:
        """The list of resources that is served, where that was asked for."""

    @property
    def resource(self) -> Resource | None:
        """The one resource that is served, where that was asked for."""

    @property
    def effect(self) -> Register | Claim | Seen | None:
        """What the host must do besides answering (V7): a claim before the answer, the others after it. An :class:`Attended` does it for you."""

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that the offer is, by the ledger that it was attended with: what a later report names (R9)."""

    def refused(self, by: Literal["slots", "downloads"]) -> Decision:
        """The decision to give where the host's own ledger refuses the claim that this one needs: ``wave-not-open`` or ``downloads-full`` (V7).

        Without a claim it is the same decision.

        :param by: what there are no more of.
        :raises InvalidArgument: ``by`` is neither.
        """

    def to_dict(self) -> dict[str, Any]:
        """All of it as a dict, with what is served under ``offer``, the same as in every language; ``json.dumps`` takes it. What is not there is left out."""

    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Callable[[str], Decision], tuple[str]]: ...
    @staticmethod
    def _of(state: str) -> Decision:
        """What a pickle says.

        :raises TypeError: the text is no decision.
        """

    def __copy__(self) -> Decision: ...
    def __deepcopy__(self, _memo: Any) -> Decision: ...

@final
class Explanation:
    """What was asked and compared on the way to a decision (V6). There is no constructor; see :meth:`Fleet.explain`.

    ``str(explanation)`` has a line for each question and one for the answer. What the device sent stands escaped in it; its key does not stand in it at all.
    """

    @property
    def decision(self) -> Decision:
        """The decision that is explained: the one that :meth:`Fleet.decide` gives."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every question that was asked, in the order of section 3, with the values compared."""

    @property
    def eligible(self) -> str | None:
        """When the device would become eligible, in words; None, where nothing but a change would make it so."""

    def to_dict(self) -> dict[str, Any]:
        """The whole as a dict: ``decision``, ``steps`` and ``eligible``; ``json.dumps`` takes it."""

@final
class Columns:
    """Columns of equal length, for whoever speaks Arrow's PyCapsule interface: ``pyarrow.table(columns)``, polars, pandas, DuckDB. There is no constructor."""

    def __len__(self) -> int:
        """How many rows."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order.

        Of decisions: ``status`` (uint16), ``reason`` (dictionary of uint8), ``meant`` (dictionary of int32), ``retry_after`` (uint32, seconds). Of devices: ``serial``,
        ``state``, ``group``, ``version``, ``hardware``, ``entered_at`` (milliseconds, UTC).
        """

    def buffer(self, name: str) -> bytes:
        """The numbers of a column as they stand in memory, in the machine's order, for ``numpy.frombuffer``; of a column of texts the places in its dictionary. A copy.

        A null is some number here: read by Arrow what may be null.

        :raises KeyError: there is no such column.
        :raises InvalidArgument: it is of texts without a dictionary, such as ``serial``.
        """

    def __arrow_c_schema__(self) -> object:
        """The type of the rows, by Arrow's PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows as a stream of one batch."""

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """The rows, by Arrow's PyCapsule interface: shared, not copied. There is one shape; ``requested_schema`` is not looked at, as the interface allows."""

@final
class Fleet:
    """A fleet of up to millions of devices in memory, with readers that wait for nobody.

    Picklable: a pickle is the whole fleet as JSON, without counters and without what its file said. ``len(fleet)`` is the number of its devices.
    """

    def __new__(cls) -> Fleet: ...
    @classmethod
    def load(cls, path: str | PathLike[str], *, now: datetime | None = None) -> Fleet:
        """Loads a fleet from its file in TOML, with what that names: devices in CSV, configs, firmware. Lets go of the GIL.

        What the file said besides the fleet is in :attr:`loaded`.

        :param now: the time at which waves are opened and lints are looked for.
        :raises Refused: the file is wrong; ``problems`` has everything, each with file, line and column (L1, L3).
        :raises OSError: a file cannot be read, as ``FileNotFoundError`` and its like.
        """

    @classmethod
    def from_changes(cls, changes: Change | Iterable[Change | str | bytes] | str | bytes) -> Fleet:
        """A fleet of these changes alone; see :meth:`apply`.

        :raises Refused: what is wrong, each with its place, such as ``changes[2].firmware``.
        """

    @classmethod
    def from_spec(cls, spec: _Json) -> Fleet:
        """Builds a fleet from what :meth:`spec` or :meth:`to_json` gave: a dict, or JSON as text. Lets go of the GIL.

        :raises Refused: what is wrong, each with its place (L1, L3).
        """

    def reload(self, path: str | PathLike[str], *, now: datetime | None = None) -> int:
        """Loads the file of the fleet anew over what is held, as after an edit, and gives the revision. Lets go of the GIL.

        Decisions go on meanwhile, by the fleet as it was. Where it fails, the fleet stays as it was.

        :raises Refused: the file is wrong (L1, L3).
        :raises Changed: the fleet was changed each time while its file was read, or the file's revision is not above what is held (L2).
        :raises OSError: a file cannot be read.
        """

    @property
    def loaded(self) -> Loaded | None:
        """What the file said besides the fleet: lints, waves that were counted, and where the file of each locator is. None: it came from no file."""

    def apply(self, changes: Change | Iterable[Change | str | bytes] | str | bytes) -> int:
        """Applies changes, whole or not at all (L1), and gives the revision. The very next decision of any thread sees it. Lets go of the GIL; takes microseconds.

        :param changes: one change as a dict, several, or JSON of either. Aware datetimes and dataclasses of this package may stand in them.
        :raises Refused: what is wrong with any of them, each with its place (L3, R7, R11). Nothing was changed.
        :raises InvalidArgument: a datetime in them is naive.
        """

    def replace(self, spec: _Json, *, force: bool = False) -> int:
        """Puts another fleet in the place of this one, as after a restore, and gives the revision. Lets go of the GIL.

        :param force: also where the revision is not above the one that is held.
        :raises Changed: it is not, and it is not forced (L2).
        :raises Refused: what is wrong with the fleet, each with its place (L3).
        """

    def add_devices(self, product: str, rows: Iterable[_DeviceLike]) -> int:
        """Adds many devices that are not there yet, as one revision, and gives that. Lets go of the GIL once the rows are read, and uses all processors.

        :param rows: :class:`otagate.Device`, or anything with its attributes. A pin or a cap comes by a change.
        :raises Refused: what is wrong, each with its place (S1, S2). None is added.
        :raises InvalidArgument: a row has no serial, state or group, or has a pin or a cap; the product cannot be.
        """

    def decide(
        self,
        key: Text,
        serial: Text,
        version: Text | None = None,
        hardware: Text | None = None,
        *,
        digest: tuple[DigestKind, Text] | None = None,
        want: Want | None = None,
        resource: Text | None = None,
        now: datetime | None = None,
    ) -> Decision:
        """Decides a check-in: a pure function of what the fleet knows, the check-in and the time (V3). Any text gets an answer (V4). Holds the GIL.

        :param key: the API key.
        :param serial: as the device spells it (S1).
        :param version: the version that it runs; None and empty are a factory device (W4).
        :param hardware: what it says it is (question 7).
        :param digest: the digest of its image (W6), or of the config that it holds: kind and hex. What is not hex, or of wrong length, is not sent.
        :param want: what it asks for; firmware, if nothing is said.
        :param resource: the name of the one resource that it asks for.
        :raises InvalidArgument: ``digest`` or ``want`` is of no such kind, ``want`` and ``resource`` do not go together, or ``now`` is naive.
        :raises TypeError: what should be text is not, or ``now`` is no datetime.
        """

    @overload
    def decide_many(
        self,
        check_ins: ArrowArray | ArrowStream,
        *,
        into: Literal["arrow"] | None = None,
        key: Text | None = None,
        now: datetime | None = None,
    ) -> Columns:
        """Decides many check-ins at one time, all from one revision (V5), in their order. From 4,096 on it lets go of the GIL.

        Nothing of the kind of :meth:`decide`'s ``digest`` and ``want`` is asked here: firmware, by version.

        :param check_ins: a table of Arrow with columns ``key``, ``serial``, and perhaps ``version`` and ``hardware``, of texts or bytes; or rows, each a tuple of
            (key, serial), (key, serial, version) or (key, serial, version, hardware).
        :param into: for rows, what to make of each decision. ``decisions``, or nothing: a list of :class:`Decision`. ``status``: bytes, two each, in the machine's
            order, for ``memoryview(statuses).cast("H")`` or ``numpy.frombuffer(statuses, "uint16")``. ``reason``: bytes, the number of the reason each. A table is answered
            by :class:`Columns`, of as many rows.
        :param key: for a table without a column ``key``: the key of all.
        :raises InvalidArgument: a row has too few or too many fields; a column is missing, twice there or of no texts; ``into`` or ``key`` does not fit.
        :raises TypeError: what should be a row or a text is not.
        """

    @overload
    def decide_many(
        self,
        check_ins: Iterable[Row],
        *,
        into: Literal["decisions"] | None = None,
        key: None = None,
        now: datetime | None = None,
    ) -> list[Decision]: ...
    @overload
    def decide_many(
        self,
        check_ins: Iterable[Row],
        *,
        into: Literal["status", "reason"],
        key: None = None,
        now: datetime | None = None,
    ) -> bytes: ...
    def attend(
        self,
        ledger: Ledger,
        key: Text,
        serial: Text,
        version: Text | None = None,
        hardware: Text | None = None,
        *,
        digest: tuple[DigestKind, Text] | None = None,
        want: Want | None = None,
        resource: Text | None = None,
        lease_secs: int = 3600,
        now: datetime | None = None,
    ) -> Attended:
        """Decides a check-in with a ledger: what is offered is claimed before it is given (V7, R5), and leased, so that it stays the same through a ranged download.

        Holds the GIL. Give ``attended.decision``, then call :meth:`Attended.answered`, and after the last byte :meth:`Attended.delivered`.

        :param lease_secs: how long the offer stays the same, in seconds: longer than the slowest download.
        :raises InvalidArgument: as :meth:`decide`; or ``lease_secs`` is 0.
        :raises TypeError: as :meth:`decide`.
        """

    def identify(self, key: Text, serial: Text, *, now: datetime | None = None) -> Decision | None:
        """Asks questions 1 to 4 alone, as for a sign of life: None, where the device may ask; else the 401 to give. Nothing is counted. Holds the GIL."""

    def report(
        self,
        ledger: Ledger,
        outcome: Outcome,
        key: Text,
        serial: Text,
        *,
        want: Want | None = None,
        resource: Text | None = None,
        now: datetime | None = None,
    ) -> Noted:
        """Takes down what a device tells of what it was offered (R9). Questions 1 to 4 are asked first: who may not ask may not tell. Holds the GIL.

        :param want: what the report is about; firmware, if nothing is said.
        :returns: ``moved``: it stands at another outcome now; ``known``: it was known; ``foreign``: the rollout never offered the device anything, or it may not tell.
        :raises InvalidArgument: ``outcome`` is none that can be reported.
        """

    def tell(
        self,
        ledger: Ledger,
        outcome: Outcome,
        *,
        product: str,
        serial: Text,
        group: str | None = None,
        rollout: str | None = None,
        started_at: datetime | None = None,
        attempt: int | None = None,
        now: datetime | None = None,
    ) -> Noted:
        """Takes down what a back end tells of a device (R9), by names instead of a key. Holds the GIL.

        :param group: the group of the offer; that of the device, if nothing is said.
        :param rollout: the rollout of the offer; that of the group, if nothing is said.
        :param started_at: when that rollout started, as :class:`otagate.Attempt` has it.
        :param attempt: the number of the attempt; the latest, if nothing is said.
        :returns: as :meth:`report`.
        :raises NotFound: there is no such product, device, group or rollout.
        :raises InvalidArgument: ``outcome``, ``serial`` or a time cannot be, or the names do not go together.
        """

    def advance(self, ledger: Ledger, *, now: datetime | None = None) -> list[Moved]:
        """Moves every rollout on that is due, by the account of that ledger: opens waves, halts, completes (R7, R8). Lets go of the GIL.

        Call it on a timer. Opening a wave takes a census, which looks at every device of the product.

        :returns: what was due, and what became of it; nothing, where nothing was due.
        """

    def explain(
        self,
        key: Text,
        serial: Text,
        version: Text | None = None,
        hardware: Text | None = None,
        *,
        digest: tuple[DigestKind, Text] | None = None,
        want: Want | None = None,
        resource: Text | None = None,
        ledger: Ledger | None = None,
        now: datetime | None = None,
    ) -> Explanation:
        """Explains a check-in: every question that was asked, with the values compared (V6). Changes and counts nothing. Holds the GIL.

        :param ledger: as if it were attended with this ledger.
        :raises InvalidArgument: as :meth:`decide`.
        :raises TypeError: as :meth:`decide`.
        """

    def register(self, product: str, serial: Text, *, now: datetime | None = None) -> Registered:
        """Registers a device on first contact (question 3), as an effect asks for it: ``new``, in the product's default group. Twice is once.

        :returns: ``new``; ``known``, where it was there; ``refused``, where the product registers nobody or has as many new devices as it may.
        :raises NotFound: there is no such product.
        :raises InvalidArgument: the serial is malformed or a placeholder (S1).
        """

    @property
    def revision(self) -> int:
        """The revision that new decisions see (V5)."""

    def __len__(self) -> int:
        """How many devices there are."""

    def __bool__(self) -> bool:
        """True: a fleet without devices is a fleet."""

    def to_json(self) -> str:
        """The whole fleet as JSON, from which :meth:`from_spec` builds it again. Lets go of the GIL."""

    def spec(self) -> dict[str, Any]:
        """The whole fleet as a dict, from which :meth:`from_spec` builds it again. Times are in milliseconds since 1970."""

    def __reduce__(self) -> tuple[Callable[[str], Fleet], tuple[str]]: ...
    def device(self, product: str, serial: Text) -> Device | None:
        """One device, by its serial in any spelling (S1); None, where there is none. Holds the GIL."""

    def devices(self, product: str, group: str | None = None) -> Columns:
        """Every device of a product, or of one of its groups, as Arrow columns. Lets go of the GIL; looks at every device.

        :raises NotFound: there is no such product.
        """

    def counts(self) -> list[DeviceCount]:
        """How many devices are in each group and state. Lets go of the GIL; looks at every device."""

    def verdicts(self) -> list[VerdictCount]:
        """How often each reason was given, by product, since this fleet was made in this process: by :meth:`decide`, :meth:`decide_many`, :meth:`attend` and :func:`otagate.otadrive.answer`."""

    def census(self, product: str, group: str, wave: int) -> Census:
        """Who would be admitted if that wave of the rollout of a group were opened now (R3). Changes nothing. Lets go of the GIL; looks at every device.

        :param wave: from 0.
        :raises NotFound: there is no such wave, rollout, group or product.
        :raises Refused: it cannot be counted, as with more always-first devices than the wave admits (R6).
        """

    def lint(self, *, now: datetime | None = None) -> list[Problem]:
        """What is legal in the fleet but surely not meant (L4). Lets go of the GIL; makes a copy of the whole fleet."""

    def reclaim(self) -> int:
        """Drops old revisions that nobody looks at any more, and says how many are held still. Worth a call after many changes without a check-in."""

    @property
    def age(self) -> float:
        """How old the revision is that new decisions see, in seconds."""

@final
class Ledger:
    """The ledger of one process, in memory: who was offered what and what became of it (R5, R9), and the leases by which an offer stays the same through a ranged
    download. It is behind one lock. It does not go through a pickle: :meth:`to_json` keeps it.
    """

    def __new__(cls, *, leases_max: int = 100000) -> Ledger: ...
    @classmethod
    def from_json(cls, rows: _Json, *, leases_max: int = 100000) -> Ledger:
        """The ledger that :meth:`to_json` wrote down; without leases, which go with the process. Lets go of the GIL.

        :raises Refused: the text is no ledger, or says one thing twice.
        """

    def to_json(self) -> str:
        """Everything but the leases as JSON, to be kept over a restart. Lets go of the GIL."""

    @property
    def leases(self) -> int:
        """How many devices hold a lease."""

    def statistics(self, fleet: Fleet, product: str, group: str) -> dict[str, Any]:
        """The account of the rollout of a group: how many devices stand at which outcome, by wave (R8, R9). :func:`rollout_step` takes it.

        :raises NotFound: the group has no rollout that was started.
        """

    def run_statistics(
        self, product: str, group: str, rollout: str, started_at: datetime, *, resumes: int = 0
    ) -> dict[str, Any]:
        """The account of one run by its name: for rollouts of a host's own store, and for those that are over.

        :param started_at: when it started; a rollout of that name may have run before.
        :param resumes: how often it was resumed, since each begins the count of failures anew (R8).
        :raises InvalidArgument: a name cannot be, or ``started_at`` is naive.
        """

    def forget(self, product: str, group: str, rollout: str, started_at: datetime) -> None:
        """Forgets a rollout that is over, whose devices need no account any more. What was never there is forgotten too.

        :raises InvalidArgument: a name cannot be, or ``started_at`` is naive.
        """

@final
class Attended:
    """A decision whose claim is settled, and what is left to do about it (V7). There is no constructor; see :meth:`Fleet.attend`."""

    __match_args__: Final = ("decision",)

    @property
    def decision(self) -> Decision:
        """The decision to give. Where its effect is a claim, that is granted."""

    @property
    def product(self) -> str | None:
        """The product of the key; None: the key is nobody's."""

    @property
    def serial(self) -> str | None:
        """The canonical serial (S1); None: the device is not known."""

    @property
    def group(self) -> str | None:
        """The group of the device; None: the device is not known."""

    def answered(self, *, now: datetime | None = None) -> None:
        """Does what comes after the answer (V7): registers the device, takes down that it reached the target, and keeps the version that it reported.

        What was done is done once; what failed is done by the next call. Of a store of your own it calls ``register``; of an asynchronous one
        :func:`otagate.asyncio.answered` does.

        :raises Exception: whatever the store's ``register`` raises.
        """

    def delivered(self, *, grace_secs: int = 60, now: datetime | None = None) -> Noted:
        """The last byte of what was served has been sent: takes down ``downloaded`` (R9), and ends the lease. A second call does nothing.

        :param grace_secs: what is left of the lease then, in seconds.
        :returns: as :meth:`Fleet.report`; ``foreign`` where there was nothing to take down.
        """

    def _noted(self, *, now: datetime | None = None) -> None: ...
    def _registration(self) -> tuple[str, str] | None:
        """Whom an asynchronous store has to register still: product and canonical serial."""

    def _registered(self) -> None:
        """It has."""

@final
class Product:
    """A product with its firmware and groups, checked: build it once, and again when one of its rows changes. For stores of your own.

    :param product: the product, as a dict or JSON: the ``product`` of a ``put-product``.
    :param firmware: its firmware, each as a ``put-firmware`` has it.
    :param groups: its groups, each as a ``put-group`` has it. They may be left to :class:`Group`.
    :raises Refused: what is wrong, each with its place (L3).
    """

    def __new__(
        cls, product: _Json, *, firmware: Iterable[_Json] | None = None, groups: Iterable[_Json] | None = None
    ) -> Product: ...
    @property
    def id(self) -> str:
        """Its name."""

    def group(self, id: str) -> Group | None:
        """One of the groups that it was built with, or None."""

@final
class Group:
    """A group of a product, checked under its rules. For stores of your own.

    :param product: the product that it belongs to.
    :param spec: the group, as a dict or JSON.
    :raises Refused: what is wrong, each with its place (L3).
    """

    def __new__(cls, product: Product, spec: _Json) -> Group: ...
    @property
    def id(self) -> str:
        """Its name."""

@final
class Reply:
    """What a device is sent by the OTAdrive protocol, and what is left to do about it. There is no constructor; see :func:`otagate.otadrive.answer`."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers, in order, with names spelled as they must stand on the wire."""

    @property
    def body(self) -> bytes:
        """The body, where it is no file; else empty."""

    @property
    def file(self) -> FilePart | None:
        """The part of a file that is to be sent, where the body is one."""

    @property
    def reason(self) -> ReasonName | None:
        """Why (V2), for the log, never for the device; None for a sign of life that was taken, and for what is no request."""

    @property
    def revision(self) -> int:
        """The revision of the fleet that was seen (V5)."""

    @property
    def product(self) -> str | None:
        """The product of the key, where it is one's."""

    @property
    def serial(self) -> str | None:
        """The canonical serial (S1), where the device is known."""

    @property
    def leased(self) -> bool:
        """Whether the answer continues an offer that was made before."""

    def answered(self, *, now: datetime | None = None) -> None:
        """Does what comes after the answer, whatever becomes of it (V7). A second call does nothing.

        :raises Refused: the version that the device reported could not be kept.
        """

    def delivered(self, *, now: datetime | None = None) -> Noted:
        """The body has been sent to its last byte: takes down ``downloaded`` (R9). A second call does nothing.

        :returns: as :meth:`Fleet.report`; ``foreign`` where there was nothing to take down.
        """

@final
class Asked:
    """A check-in by a host's view that is under way. :mod:`otagate.store` and :mod:`otagate.asyncio` drive it; nobody else should.

    ``start`` gives the first look-up, ``answer`` takes what came of it and gives the next, and when there is none ``outcome`` has what was made of it all.
    """

    def __new__(
        cls,
        purpose: Literal["decide", "explain", "attend", "report"],
        has_standing: bool,
        key: Text,
        serial: Text,
        version: Text | None = None,
        hardware: Text | None = None,
        *,
        digest: tuple[DigestKind, Text] | None = None,
        want: Want | None = None,
        resource: Text | None = None,
        now: datetime | None = None,
        ledger: Ledger | None = None,
        store: object | None = None,
        lease_secs: int = 3600,
        outcome: Outcome | None = None,
    ) -> Asked: ...
    def start(self) -> tuple[str, tuple[Any, ...]] | None:
        """The first request: the method of the view, and its arguments. None: nothing is asked."""

    def answer(self, given: object) -> tuple[str, tuple[Any, ...]] | None:
        """Takes what the view gave, and gives the next request.

        :raises StoreGarbage: it gave what cannot be (V4).
        """

    def outcome(self) -> Any:
        """What came of it: a decision, an explanation, an :class:`Attended` or what was noted.

        :raises RuntimeError: the view was not asked to the end.
        """

def otadrive_answer(
    fleet: Fleet,
    ledger: Ledger,
    method: str,
    target: Text,
    headers: Iterable[tuple[Text, Text]],
    *,
    lease_secs: int = 3600,
    grace_secs: int = 60,
    now: datetime | None = None,
) -> Reply:
    """Answers a request from a fleet and a ledger; see :func:`otagate.otadrive.answer`.

    :raises InvalidArgument: ``lease_secs`` is 0, or ``now`` is naive.
    """

def version() -> str:
    """The version of the package and of the crate in it."""

def rank(salt: str, product: str, serial: str) -> int:
    """The rank of a device in a rollout, of 64 bits (R2): where its place is fixed by chance.

    :param salt: the rollout's id, unless it has a salt of its own.
    :param serial: the canonical serial, as :func:`read_serial` gives it.
    """

def key_hash(key: Text) -> str:
    """The BLAKE3 of an API key in hex, 64 digits: all that a fleet holds of it.

    :raises InvalidArgument: it is empty, or longer than 1,024 bytes.
    """

def read_serial(scheme: SerialScheme, serial: Text) -> str:
    """Reads a serial under a scheme (S1), with the placeholders that every product has, and gives the canonical form.

    :raises SerialMalformed: it is not spelled as the scheme says, or longer than 64 bytes.
    :raises SerialPlaceholder: it names nobody: empty, all ``0``, all ``F`` (question 2).
    :raises InvalidArgument: there is no such scheme.
    """

def compare_versions(a: Text, b: Text, rules: _Json | None = None) -> Comparison:
    """Compares two versions under a product's rules (W1, W2).

    :param rules: the ``versions`` of a product, such as ``{"scheme": "semver"}``; the scheme is ``exact``, if nothing is said, which has no order.
    :raises Refused: the rules cannot be.
    """

def share_threshold(bps: int) -> int:
    """The threshold of a share, for a host that cannot count (R3): who has that rank or a lower one is in. In integers all the way.

    :param bps: basis points, 1 to 10,000.
    :raises InvalidArgument: it is none of these.
    """

def parse_range(header: Text | None, size_bytes: int) -> ByteRange:
    """Which bytes of a file of ``size_bytes`` a ``Range`` header asks for, as download clients write it. What is not understood asks for the whole.

    :param header: its value; None where there is none.
    """

def rollout_step(
    rollout: _Json, statistics: _Json, *, product: _Json | None = None, now: datetime | None = None
) -> dict[str, Any]:
    """What is to be done about a rollout, given its account and the time (R7, R8): a pure function, for hosts that keep rollouts in a store of their own.

    :param rollout: as a ``put-rollout`` has it, with its state.
    :param statistics: as :meth:`Ledger.run_statistics` gives it.
    :param product: the product, whose rules its versions are read by.
    :returns: ``transition``, None where nothing is due, and ``progress``, in what is waited for.
    :raises Refused: one of them cannot be.
    """

def reasons() -> list[ReasonInfo]:
    """Every reason, by number (V2)."""
