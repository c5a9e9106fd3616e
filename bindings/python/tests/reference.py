"""What a decision means, once more: in plain Python, slow and obvious, from the numbered rules alone.

:func:`decide` takes a fleet as its specification says it, in JSON, and a check-in, and gives the whole answer as :meth:`otagate.Decision.to_dict` does. It
shares no line with the crate: nothing is built, checked or indexed, every question looks at the specification anew. Where the rules are silent it does what
the chapter "Decisions that the rules leave open" of ``ARCHITECTURE.md`` says. There is no ledger here: nobody holds a claim or a penalty.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

Spec = Dict[str, Any]
Answer = Dict[str, Any]

KEY_BYTES_MAX = 1024
SERIAL_BYTES_MAX = 64
DAY_SECS = 86_400

NUMBERS = {
    "key-unknown": (401, 1), "key-revoked": (401, 2), "key-not-yet-valid": (401, 3), "key-expired": (401, 4),
    "serial-malformed": (401, 5), "serial-placeholder": (401, 6), "device-unknown": (401, 7), "device-new": (401, 8),
    "device-blocked": (401, 9), "device-disabled": (401, 10), "device-quota": (401, 11),
    "group-missing": (404, 21), "nothing-assigned": (404, 22), "firmware-missing": (404, 23), "firmware-denied": (404, 24),
    "hardware": (404, 25), "no-path": (404, 26), "no-artifact": (404, 27),
    "current": (304, 41), "wave-not-open": (304, 42), "rollout-paused": (304, 43), "left": (304, 44), "held": (304, 45),
    "ahead": (304, 46), "version-unreadable": (304, 47), "window-shut": (304, 48), "downloads-full": (304, 49), "penalty": (304, 50),
    "serve": (200, 61),
}  # fmt: skip
"""Status and number of each reason (V2). Neither is ever used for another."""
VERDICTS = {401: "unauthorized", 404: "unavailable", 304: "up-to-date", 200: "serve"}
NOT_YET = {"wave-not-open", "rollout-paused", "window-shut", "downloads-full", "penalty"}
"""The reasons that come with a ``retry_after`` (V1, R12)."""


# BLAKE3: the plain one of the vectors.


def _blake3_of_the_vectors() -> Any:
    path = Path(__file__).resolve().parents[3] / "tests" / "vectors" / "blake3_reference.py"
    spec = importlib.util.spec_from_file_location("blake3_reference", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_BLAKE3 = _blake3_of_the_vectors()


@lru_cache(maxsize=None)
def blake3(data: bytes) -> str:
    return bytes(_BLAKE3.blake3(data)).hex()


@lru_cache(maxsize=None)
def rank(salt: str, product: str, serial: str) -> int:
    """R2."""
    return int(_BLAKE3.rank(salt, product, serial))


# Serials (S1).


def read_serial(scheme: str, sent: bytes) -> Tuple[str, Optional[str]]:
    """``("ok", canonical)``, ``("malformed", None)`` or ``("placeholder", None)``."""
    if sent == b"":
        return "placeholder", None
    try:
        text = sent.decode("utf-8")
    except UnicodeDecodeError:
        return "malformed", None
    if any(byte < 0x20 or byte == 0x7F for byte in sent):
        return "malformed", None
    if scheme == "mac":
        pair = "[0-9A-Fa-f]{2}"
        shapes = [":".join([pair] * 6), "-".join([pair] * 6), r"\.".join(["[0-9A-Fa-f]{4}"] * 3), "[0-9A-Fa-f]{12}"]
        if not any(re.fullmatch(shape, text) for shape in shapes):
            return "malformed", None
        text = lower(re.sub("[:.-]", "", text))
    elif scheme == "hex":
        if not re.fullmatch("[0-9A-Fa-f]+", text):
            return "malformed", None
        text = lower(text)
    elif scheme == "decimal":
        if not re.fullmatch("[0-9]+", text):
            return "malformed", None
    elif scheme == "opaque-nocase":
        text = lower(text)
    else:
        assert scheme == "opaque", scheme
    if len(text.encode()) > SERIAL_BYTES_MAX:
        return "malformed", None
    if set(text) <= {"0"} or set(text) <= {"f", "F"}:
        return "placeholder", None
    return "ok", text


def lower(text: str) -> str:
    """ASCII alone is folded."""
    return "".join(chr(ord(letter) + 32) if "A" <= letter <= "Z" else letter for letter in text)


# Versions (W1, W2).

SEMVER = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(?:-((?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)
DOTTED = re.compile(r"[0-9]+(?:\.[0-9]+)*")


class Read(NamedTuple):
    """What a version says under the rules of its product."""

    kind: str
    """``empty``, ``readable`` or ``unreadable``."""
    raw: bytes
    """Canonical."""
    same: Any
    """Equal versions have equal ones."""
    order: Any
    """What is higher is greater; None without an order."""


def fold(sent: bytes) -> bytes:
    return bytes(byte + 32 if 0x41 <= byte <= 0x5A else byte for byte in sent)


def read_version(rules: Spec, sent: bytes) -> Read:
    raw = fold(sent.strip(b" \t"))
    prefixes = [fold(prefix.encode().strip(b" \t")) for prefix in rules.get("prefixes", [])]
    matching = [prefix for prefix in prefixes if raw.startswith(prefix)]
    raw = raw[len(max(matching, key=len, default=b"")) :].strip(b" \t")
    if raw == b"":
        return Read("empty", raw, ("empty",), None)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return Read("unreadable", raw, ("bytes", raw), None)
    scheme = rules.get("scheme", "exact")
    if scheme == "exact":
        return Read("readable", raw, ("text", text), None)
    if scheme == "dotted":
        if not DOTTED.fullmatch(text):
            return Read("unreadable", raw, ("bytes", raw), None)
        parts = [int(part) for part in text.split(".")]
        while parts and parts[-1] == 0:
            parts.pop()
        return Read("readable", raw, ("dotted", tuple(parts)), tuple(parts))
    assert scheme == "semver", scheme
    found = SEMVER.fullmatch(text)
    if not found:
        return Read("unreadable", raw, ("bytes", raw), None)
    core = tuple(int(found[at]) for at in (1, 2, 3))
    # Numbers are below words, and a shorter list of equal beginning below a longer one; what has no list is above them all (semver.org, 11).
    words = [] if found[4] is None else found[4].split(".")
    placed = tuple((0, int(word), "") if word.isdigit() else (1, 0, word) for word in words)
    order = (core, found[4] is None, placed)
    build = found[5] if rules.get("build_metadata", "ignored") == "counts-for-equality" else None
    return Read("readable", raw, ("semver", order, build), order)


def equal(a: Read, b: Read) -> bool:
    return bool(a.same == b.same)


def above(a: Read, b: Read) -> bool:
    """Whether both have an order, and the first is higher."""
    return a.order is not None and b.order is not None and bool(a.order > b.order)


def compare(rules: Spec, a: Read, b: Read) -> Optional[int]:
    """The order of the first against the second: an empty version is below every other (W4), one that does not parse has none."""
    if rules.get("scheme", "exact") == "exact" or "unreadable" in (a.kind, b.kind):
        return None
    if "empty" in (a.kind, b.kind):
        return (b.kind == "empty") - (a.kind == "empty")
    return int(above(a, b)) - int(above(b, a))


# Times (R12).

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
MINUTE = 60_000
DAY = 24 * 60 * MINUTE
WEEK = 7 * DAY


def spans(window: List[str]) -> List[Tuple[int, int]]:
    """The openings of a week that begins on Monday, and how long each lasts, in milliseconds."""
    found = []
    for text in window:
        days, times = text.split(" ")
        opens, shuts = [int(time[:2]) * 60 + int(time[3:]) for time in times.split("-")]
        if shuts <= opens:
            shuts += 24 * 60
        listed: List[int] = []
        for part in ["mon-sun"] if days == "daily" else days.lower().split(","):
            first, last = part.split("-") if "-" in part else (part, part)
            day = DAYS.index(first)
            listed.append(day)
            while day != DAYS.index(last):
                day = (day + 1) % 7
                listed.append(day)
        found += [(day * DAY + opens * MINUTE, (shuts - opens) * MINUTE) for day in listed]
    return found


def opens_in(window: List[str], now: int) -> int:
    """Milliseconds until it is open; 0 while it is."""
    # 1970 began on a Thursday.
    week_began = (now + 3 * DAY) // WEEK * WEEK - 3 * DAY
    waits = []
    for opens, lasts in spans(window):
        for week in (-1, 0, 1):
            start = week_began + week * WEEK + opens
            if start <= now < start + lasts:
                return 0
            if start > now:
                waits.append(start - now)
    return min(waits)


# The fleet, looked at.


@dataclass(frozen=True)
class Ask:
    """A check-in, as the bytes that came."""

    key: bytes
    serial: bytes
    version: bytes = b""
    hardware: bytes = b""
    digest: Optional[Tuple[str, bytes]] = None
    want: str = "firmware"
    resource: bytes = b""


def sent_digest(ask: Ask) -> Optional[Tuple[str, str]]:
    """The digest in lower-case hex; what is none is not sent (W6)."""
    if ask.digest is None:
        return None
    kind, sent = ask.digest
    length = 32 if kind == "md5" else 64
    if not re.fullmatch(rb"[0-9A-Fa-f]{%d}" % length, sent):
        return None
    return kind, sent.decode().lower()


def key_of(spec: Spec, key: bytes) -> Optional[Tuple[Spec, Spec]]:
    if len(key) > KEY_BYTES_MAX:
        return None
    digest = blake3(key)
    for part in spec["products"]:
        for each in part["product"].get("keys", []):
            if each["hash"] == digest:
                return part, each
    return None


def device_of(part: Spec, serial: str) -> Optional[Spec]:
    for device in part.get("devices", []):
        if read_serial(scheme_of(part), device["serial"].encode())[1] == serial:
            found: Spec = device
            return found
    return None


def scheme_of(part: Spec) -> str:
    return str(part["product"].get("serial_scheme", "opaque"))


class Answered(Exception):
    """The first question that fails answers."""

    def __init__(self, reason: str, retry: Optional[int] = None, effect: Optional[Spec] = None, offer: Optional[Spec] = None) -> None:
        super().__init__(reason)
        self.reason, self.retry, self.effect, self.offer = reason, retry, effect, offer


class Question:
    """One check-in on its way."""

    def __init__(self, spec: Spec, ask: Ask, now: int) -> None:
        self.spec, self.ask, self.now = spec, ask, now
        self.meant: Optional[Spec] = None
        self.account: Optional[str] = None
        """The rollout on whose account it is served."""

    def answer(self) -> Answer:
        try:
            self.identify()
            self.find_group()
            if self.ask.want == "firmware":
                self.firmware()
            else:
                self.document()
        except Answered as answered:
            return self.said(answered)
        raise AssertionError("a decision is total (V4)")

    def said(self, answered: Answered) -> Answer:
        status, number = NUMBERS[answered.reason]
        said: Answer = {"status": status, "verdict": VERDICTS[status], "reason": answered.reason, "number": number}
        said["revision"] = self.spec["revision"]
        retry = answered.retry
        if retry is None and answered.reason in NOT_YET:
            retry = self.poll()
        if retry is not None:
            said["retry_after_secs"] = retry
        if self.meant is not None:
            said["meant"] = self.meant["version"].strip(" \t")
        if answered.reason == "serve" and self.account is not None:
            said["rollout"] = self.account
        if answered.effect is not None:
            said["effect"] = answered.effect
        if answered.offer is not None:
            said["offer"] = answered.offer
        return said

    def poll(self) -> Optional[int]:
        return self.product.get("poll_interval_secs") if hasattr(self, "part") else None

    # Questions 1 to 5.

    def identify(self) -> None:
        found = key_of(self.spec, self.ask.key)
        if found is None:
            raise Answered("key-unknown")
        self.part, key = found
        self.product: Spec = self.part["product"]
        self.rules: Spec = self.product.get("versions", {})
        if key.get("revoked", False):
            raise Answered("key-revoked")
        if key.get("not_before") is not None and self.now < key["not_before"]:
            raise Answered("key-not-yet-valid")
        if key.get("not_after") is not None and self.now >= key["not_after"]:
            raise Answered("key-expired")
        verdict, serial = read_serial(scheme_of(self.part), self.ask.serial)
        listed = [read_serial(scheme_of(self.part), each.encode())[1] for each in self.product.get("placeholders", [])]
        if verdict == "placeholder" or (serial is not None and serial in listed):
            raise Answered("serial-placeholder")
        if serial is None:
            raise Answered("serial-malformed")
        self.serial = serial
        device = device_of(self.part, serial)
        if device is None:
            registers = self.product.get("register_on_first_contact", False)
            raise Answered("device-unknown", effect={"do": "register", "product": self.product["id"]} if registers else None)
        self.device = device
        if device["state"] != "verified":
            raise Answered(f"device-{device['state']}")

    def find_group(self) -> None:
        groups = [group for group in self.part.get("groups", []) if group["id"] == self.device["group"]]
        if not groups:
            raise Answered("group-missing")
        self.group: Spec = groups[0]

    # The rollout.

    def rollout(self, kind: str) -> Optional[Spec]:
        """The running or paused rollout of the group to something of that kind, unless the device is excluded from it."""
        rollout: Optional[Spec] = self.group.get("rollout")
        if rollout is None or kind not in rollout["target"] or rollout.get("state", {"is": "draft"})["is"] not in ("running", "paused"):
            return None
        return None if is_listed(self.part, rollout, "excluded", self.serial) else rollout

    def admission(self, rollout: Spec) -> Tuple[bool, Optional[int]]:
        """Whether the device is in an open wave, or may claim a slot of one; and of how many slots it must get one."""
        return admission(self.part, rollout, self.serial, self.device.get("entered_at", 0))

    # Questions 6 to 12.

    def read(self, text: str) -> Read:
        return read_version(self.rules, text.encode())

    def find(self, version: str) -> Optional[Spec]:
        for firmware in self.part.get("firmware", []):
            if equal(self.read(firmware["version"]), self.read(version)):
                found: Spec = firmware
                return found
        return None

    def is_capped(self, version: str) -> bool:
        caps = [self.device.get("cap"), self.group.get("cap")]
        return any(cap is not None and above(self.read(version), self.read(cap)) for cap in caps)

    def fitting(self, firmware: Spec) -> List[Spec]:
        """Question 7."""
        said = self.ask.hardware
        return [
            each
            for each in firmware["artifacts"]
            if not each.get("hardware") or any(name.encode() == said for name in each["hardware"])
        ]

    def is_there(self, firmware: Spec) -> bool:
        """W6."""
        same = equal(self.version, self.read(firmware["version"]))
        sent = sent_digest(self.ask)
        if sent is None or self.product.get("already_there", "either") == "version":
            return same
        kind, hex_ = sent
        full = [each for each in self.fitting(firmware) if each.get("from") is None]
        records = [each["digests"][kind] for each in full if each["digests"].get(kind) is not None]
        if self.product.get("already_there", "either") == "either":
            return same or hex_ in records
        return hex_ in records if records else same

    def firmware(self) -> None:
        self.version = read_version(self.rules, self.ask.version)
        self.withheld: Optional[str] = None
        self.slots: Optional[int] = None
        self.seen: Optional[str] = None
        self.is_baseline = False
        pinned = self.device.get("pin") is not None
        self.mean()
        assert self.meant is not None
        if not self.fitting(self.meant):
            raise Answered("hardware")
        if self.is_there(self.meant):
            if self.withheld is not None:
                raise Answered(self.withheld)
            raise Answered("current", effect={"do": "seen", "rollout": self.seen} if self.seen is not None else None)
        if self.version.kind == "empty" and self.rules.get("empty", "lowest") == "hold":
            raise Answered("version-unreadable")
        meant = self.read(self.meant["version"])
        if not pinned and self.group.get("policy", "any-difference") == "forward-only":
            self.need_order()
            if above(self.version, meant) and not self.is_lifted(meant):
                raise Answered("ahead")
        hop = self.path()
        self.turn()
        self.serve(hop)

    def mean(self) -> None:
        """Question 6."""
        pin, baseline = self.device.get("pin"), self.group.get("firmware")
        if pin is not None:
            self.meant = self.servable(pin)
            return
        rollout = self.rollout("firmware")
        target = None if rollout is None else self.find(rollout["target"]["firmware"])
        if rollout is not None and target is not None and not target.get("denied", False) and not self.is_capped(target["version"]):
            is_paused = rollout["state"]["is"] == "paused"
            if self.is_there(target):
                self.meant, self.seen = target, rollout["id"]
                return
            inside, slots = self.admission(rollout)
            if inside and not is_paused:
                self.meant, self.seen = target, rollout["id"]
                self.account, self.slots = rollout["id"], slots
                return
            self.withheld = "rollout-paused" if is_paused else "wave-not-open"
            # Inside a wave of slots is who holds one, and without a ledger nobody does.
            if is_paused and inside and slots is None and baseline is not None and above(self.version, self.read(baseline)):
                raise Answered("rollout-paused")
        aborted = self.group.get("aborted")
        if aborted is not None and aborted["fate"] == "leave" and equal(self.version, self.read(aborted["target"])):
            raise Answered("left")
        if baseline is None:
            raise Answered(self.withheld or "nothing-assigned")
        self.meant, self.is_baseline = self.servable(baseline), True
        if self.is_capped(baseline):
            raise Answered("held")

    def servable(self, version: str) -> Spec:
        firmware = self.find(version)
        if firmware is None:
            raise Answered("firmware-missing")
        if firmware.get("denied", False):
            raise Answered("firmware-denied")
        return firmware

    def need_order(self) -> None:
        """W5."""
        if self.version.kind == "unreadable" and self.rules.get("unreadable", "held") == "held":
            raise Answered("version-unreadable")

    def is_lifted(self, meant: Read) -> bool:
        """R10: an abort with ``downgrade`` takes devices above the baseline and up to the target back to it."""
        aborted = self.group.get("aborted")
        if aborted is None or aborted["fate"] != "downgrade" or not self.is_baseline:
            return False
        return above(self.version, meant) and not above(self.version, self.read(aborted["target"]))

    def reaches(self, at: Read, firmware: Spec) -> bool:
        least = firmware.get("from")
        return least is None or (at.order is not None and not above(self.read(least), at))

    def path(self) -> Spec:
        """Question 10: what it is served now, on its way to what is meant."""
        assert self.meant is not None
        meant = self.read(self.meant["version"])
        if self.meant.get("from") is not None:
            self.need_order()
        first: Optional[Spec] = None
        at = self.version
        while not self.reaches(at, self.meant):
            stones = []
            for stone in self.part.get("firmware", []):
                version = self.read(stone["version"])
                is_between = (at.order is None or above(version, at)) and above(meant, version)
                if stone.get("stone", False) and is_between and self.reaches(at, stone):
                    if not stone.get("denied", False) and self.fitting(stone):
                        # Those that differ in build metadata alone are equally high: the last by its text.
                        stones.append(((version.order, version.raw), stone))
            if not stones:
                raise Answered("no-path")
            hop = max(stones, key=lambda each: each[0])[1]
            first, at = first or hop, self.read(hop["version"])
        return first or self.meant

    def turn(self) -> None:
        """Question 11."""
        window = self.group.get("window")
        wait = 0 if window is None else opens_in(window, self.now)
        if wait > 0:
            spread = self.product.get("retry_spread_secs", 600)
            jitter = rank("jitter", self.product["id"], self.serial) % spread if spread else 0
            raise Answered("window-shut", retry=min(ceil(Fraction(wait, 1000)) + jitter, DAY_SECS))
        if self.group.get("downloads_max") == 0:
            raise Answered("downloads-full")

    def claim(self, counts_downloads: bool = True) -> Optional[Spec]:
        """What the host must claim before it serves, where a ledger may refuse it (V7)."""
        downloads = self.group.get("downloads_max") if counts_downloads else None
        if self.slots is None and downloads is None:
            return None
        needed = [("wave-not-open", self.slots), ("downloads-full", downloads)]
        refused = [
            {"status": 304, "reason": reason, "number": NUMBERS[reason][1], "retry_after_secs": self.poll()}
            for reason, at_most in needed
            if at_most is not None
        ]
        return {"do": "claim", "rollout": self.account, "slots_max": needed[0][1], "downloads_max": downloads, "refused": refused}

    def serve(self, hop: Spec) -> None:
        """Question 12."""
        sent = sent_digest(self.ask)
        fitting = self.fitting(hop)
        deltas = [each for each in fitting if each.get("from") is not None and equal(self.version, self.read(each["from"]))]
        if sent is not None:
            deltas = [each for each in deltas if each.get("base", {}).get(sent[0], sent[1]) == sent[1]]
        chosen = deltas or [each for each in fitting if each.get("from") is None]
        if not chosen:
            raise Answered("no-artifact")
        assert len(chosen) == 1, "a load refuses what could be two (L3)"
        [artifact] = chosen
        offer = {"firmware": hop["version"].strip(" \t")}
        offer.update({name: artifact[name] for name in ("locator", "size_bytes", "digests")})
        if artifact.get("from") is not None:
            offer["from"] = artifact["from"].strip(" \t")
        raise Answered("serve", effect=self.claim(), offer=offer)

    # Config and resources.

    def document(self) -> None:
        kind = "config" if self.ask.want == "config" else "resources"
        rollout, withheld = self.rollout(kind), None
        assigned = self.group.get(kind)
        self.slots = None
        if rollout is not None:
            inside, slots = self.admission(rollout)
            if inside and rollout["state"]["is"] == "running":
                assigned, self.account, self.slots = rollout["target"][kind], rollout["id"], slots
            else:
                withheld = "rollout-paused" if rollout["state"]["is"] == "paused" else "wave-not-open"
                # One that is not in the target either is kept from nobody.
                if self.ask.want == "resource" and self.ask.resource not in [each["name"].encode() for each in rollout["target"][kind]]:
                    withheld = None
        if assigned is None:
            raise Answered(withheld or "nothing-assigned")
        found = assigned
        if self.ask.want == "resource":
            named = [each for each in assigned if each["name"].encode() == self.ask.resource]
            if not named:
                raise Answered(withheld or "nothing-assigned")
            [found] = named
        sent = sent_digest(self.ask)
        if self.ask.want != "resources" and sent is not None and digests_of(found).get(sent[0]) == sent[1]:
            if withheld is not None:
                raise Answered(withheld)
            installs = self.ask.want == "config" and self.account is not None
            raise Answered("current", effect={"do": "seen", "rollout": self.account} if installs else None)
        is_staged = rollout is not None
        if is_staged:
            self.turn()
        if self.ask.want == "config":
            offer = {"config": found["document"], "digests": digests_of(found)}
        elif self.ask.want == "resources":
            offer = {"resources": [each["name"] for each in found]}
        else:
            offer = {"resource": found["name"], **{name: found[name] for name in ("locator", "size_bytes", "digests")}}
        raise Answered("serve", effect=self.claim(is_staged), offer=offer)


def digests_of(found: Spec) -> Dict[str, str]:
    """Those on record; a config's BLAKE3 always is, since it is computed."""
    digests: Dict[str, str] = dict(found.get("digests", {}))
    if "document" in found:
        digests["blake3"] = blake3(found["document"].encode())
    return digests


def is_listed(part: Spec, rollout: Spec, which: str, serial: str) -> bool:
    return serial in [read_serial(scheme_of(part), each.encode())[1] for each in rollout.get(which, [])]


def rank_in(part: Spec, rollout: Spec, serial: str) -> int:
    """R2, R6."""
    if is_listed(part, rollout, "first", serial):
        return 0
    salt = rollout["salt"] if rollout.get("salt") is not None else rollout["id"]
    return rank(salt, part["product"]["id"], serial)


def waves_for(part: Spec, rollout: Spec, serial: str, entered_at: int) -> List[Spec]:
    """The waves that a device may be in: a late joiner is kept to the last one under ``tail`` (R4), unless it is always first."""
    waves: List[Spec] = rollout["waves"]
    started = rollout.get("started_at")
    is_late = rollout.get("late", "open") == "tail" and started is not None and entered_at > started
    return waves[-1:] if is_late and not is_listed(part, rollout, "first", serial) else waves


def admission(part: Spec, rollout: Spec, serial: str, entered_at: int) -> Tuple[bool, Optional[int]]:
    waves = [wave for wave in waves_for(part, rollout, serial, entered_at) if wave.get("opened") is not None]
    if any(wave["size"] == "all" for wave in waves):
        return True, None
    if rollout.get("admission", "rank") == "first-come":
        counts = [wave["size"]["first"] for wave in waves]
        return bool(counts), max(counts, default=None)
    thresholds = [wave["opened"]["threshold"] for wave in waves if wave["opened"].get("threshold") is not None]
    return any(rank_in(part, rollout, serial) <= threshold for threshold in thresholds), None


def decide(spec: Spec, ask: Ask, now: int) -> Answer:
    """The whole answer to a check-in (section 3), as one flat object."""
    return Question(spec, ask, now).answer()


def census(part: Spec, group: Spec, wave: int) -> Optional[Tuple[int, int, int, Optional[int]]]:
    """R3: how many could be given the target by this wave, how many it admits, how many no wave has admitted before, and the threshold. None is refused (R6)."""
    rollout, size = group["rollout"], group["rollout"]["waves"][wave]["size"]
    rules = part["product"].get("versions", {})
    version = rollout["target"].get("firmware")
    target = None if version is None else read_version(rules, version.encode())
    artifacts: List[Spec] = []
    for firmware in part.get("firmware", []):
        if target is not None and equal(target, read_version(rules, firmware["version"].encode())):
            artifacts = firmware["artifacts"]
    eligible = []
    for device in part.get("devices", []):
        serial = read_serial(scheme_of(part), device["serial"].encode())[1]
        assert serial is not None
        if device["group"] != group["id"] or device["state"] != "verified" or is_listed(part, rollout, "excluded", serial):
            continue
        waves = waves_for(part, rollout, serial, device.get("entered_at", 0))
        if all(each is not rollout["waves"][wave] for each in waves):
            continue
        inside = admission(part, rollout, serial, device.get("entered_at", 0))[0]
        earlier = {**rollout, "waves": [each if at < wave else {**each, "opened": None} for at, each in enumerate(rollout["waves"])]}
        before = admission(part, earlier, serial, device.get("entered_at", 0))[0]
        if target is not None:
            caps = [device.get("cap"), group.get("cap")]
            if any(cap is not None and above(target, read_version(rules, cap.encode())) for cap in caps) or device.get("pin") is not None:
                continue
            known = device.get("hardware")
            if known is not None and artifacts and not any(not each.get("hardware") or known in each["hardware"] for each in artifacts):
                continue
            runs = device.get("version")
            if not inside and runs is not None and equal(target, read_version(rules, runs.encode())):
                continue
        eligible.append((rank_in(part, rollout, serial), before, is_listed(part, rollout, "first", serial)))
    if size == "all":
        return len(eligible), len(eligible), sum(not before for _, before, _ in eligible), None
    opened = [each["opened"] for each in rollout["waves"][:wave] if each.get("opened") is not None]
    previous = max((each["threshold"] for each in opened if each.get("threshold") is not None), default=None)
    n = size["first"] if "first" in size else ceil(Fraction(size["share-bps"] * len(eligible), 10_000))
    if previous is None and sum(first for _, _, first in eligible) > n:
        return None
    ranks = sorted(each[0] for each in eligible)
    nth = ranks[min(n, len(ranks)) - 1] if ranks else None
    threshold = max((each for each in (previous, nth) if each is not None), default=None)
    counted = [each for each in eligible if threshold is not None and each[0] <= threshold]
    return len(eligible), len(counted), sum(not before for _, before, _ in counted), threshold
