"""The package against a reference in plain Python: drawn fleets, changes and check-ins (``reference.py``).

A failure prints its seed, the fleet, the check-in and the time as JSON. ``HYPOTHESIS_PROFILE=search`` draws others each time, and ``OTAGATE_EXAMPLES=20``
twenty times as many.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
from collections import Counter
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any, Callable, Dict, List, Optional, Tuple, cast

import otagate
import pyarrow
import pytest
import reference
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from otagate.typing import DigestKind, SerialScheme, Want
from reference import Ask, Spec

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
START = 1_795_392_000_000
"""A Monday, 00:00 UTC: when the rollouts started."""

TIMES = int(os.environ.get("OTAGATE_EXAMPLES", "1"))
COMMON = settings(deadline=None, database=None, print_blob=True, phases=(Phase.generate,), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
# A fleet is drawn from one number: drawn choice by choice the fleets resemble each other, rare reasons stay rare, and shrinking one takes minutes.
SEEDS = st.integers(0, 2**64 - 1)
IS_SEARCH = os.environ.get("HYPOTHESIS_PROFILE") == "search"


def drawn(examples: int) -> settings:
    """The same examples each time, but for who searches."""
    return settings(COMMON, derandomize=not IS_SEARCH, max_examples=examples * TIMES)


def at(millis: int) -> datetime:
    return EPOCH + timedelta(milliseconds=millis)


# What fleets are drawn from: little of each, so that things meet.

SERIALS: Dict[str, List[str]] = {
    "opaque": ["SN-1", "SN-2", "sn-1", "\u00e9", "x y", "7", "0b", "SN-3"],
    "opaque-nocase": ["SN-1", "SN-2", "\u00c9a", "7", "x y", "SN-3"],
    "mac": ["a4cf12345678", "a4cf12345679", "000000000001", "0000000000ff", "deadbeef0001"],
    "hex": ["a0", "00a0", "beef", "1f", "0b", "f0"],
    "decimal": ["12", "012", "7", "42", "12345678"],
}
VERSIONS: Dict[str, List[str]] = {
    "exact": ["1", "1.0", "Beta", "2024-11-03", "x y", "\u00e9"],
    "semver": ["1.0.0", "1.0.0-rc.1", "1.0.0-rc.1.1", "1.0.0+a", "1.0.0+b", "1.1.0", "1.2.0-2", "1.2.0-10", "1.2.0-x", "2.0.0", "10.0.0"],
    "dotted": ["1", "1.0", "1.0.1", "1.1", "1.2.3.4", "1.10", "2", "010", "99999999999999999999"],
}
ODD = [b"", b" ", b"\t\t", b"\xff", b"\x00", b"latest", b"v", b"1\r\n", b"\xc3", b"9" * 300, b"-1", b"1.", b"01.0.0", b"1.0.0-", b"\xe2\x80\xae"]
ODD_SERIALS = [b"", b"0", b"000000", b"F", b"ffFFff", b"\xff\xfe", b"SN\n1", b"z" * 64, b"z" * 65, b"a4:cf-12:34:56:78", b"00:00:00:00:00:00", b"\x7f"]
ODD_SERIALS += [b"nobody", b"99", b"abba", b"a4cf12345000"]
KEYS = ["good", "revoked", "later", "over", "both"]
BYTES = ["00", "a1", "b2"]
LENGTHS = {"blake3": 32, "sha256": 32, "md5": 16}
HARDWARE = ["a", "b", "c"]
WINDOWS = [["Mon-Fri 22:00-04:00"], ["daily 01:30-03:00"], ["Sun 23:00-01:00"], ["Sat-Mon 00:00-24:00"], ["Wed 12:00-13:00", "daily 23:59-00:01"]]
NOW = [START + hours * 3_600_000 for hours in (-1, 0, 1, 2, 12, 22, 84, 100, 162, 167)]
NOW += [START + 22 * 3_600_000 - 1, START + 3 * 3_600_000 - 1, START + 3 * 3_600_000, START + 90_061_001, -1, 0]


def often(draw: Random, percent: int) -> bool:
    return draw.randrange(100) < percent


def some(draw: Random, pool: List[Any], at_most: int, at_least: int = 0) -> List[Any]:
    return draw.sample(pool, min(draw.randint(at_least, at_most), len(pool)))


def one(draw: Random, pool: List[Any]) -> Any:
    return draw.choice(pool)


def digests(draw: Random, always: str = "blake3") -> Spec:
    kinds = [kind for kind in LENGTHS if kind == always or often(draw, 35)]
    return {kind: one(draw, BYTES) * LENGTHS[kind] for kind in kinds}


def distinct(rules: Spec, versions: List[str]) -> List[str]:
    """The first of those that are equal."""
    found: Dict[Any, str] = {}
    for version in versions:
        found.setdefault(reference.read_version(rules, version.encode()).same, version)
    return list(found.values())


def artifacts(draw: Random, rules: Spec, versions: List[str], version: str) -> List[Spec]:
    """Full ones for hardware that does not overlap, and a delta from each of some versions."""
    full = one(draw, [[[]], [[]], [["a"]], [["a"], ["b", "c"]], [["b"]], []])
    made: List[Spec] = [{"hardware": fits} for fits in full]
    for base in distinct(rules, some(draw, versions, 2, 0 if full else 1)):
        delta: Spec = {"hardware": one(draw, [[], [], ["a"], ["b", "c"]]), "from": base}
        if often(draw, 40):
            delta["base"] = digests(draw, one(draw, list(LENGTHS)))
        made.append(delta)
    for number, each in enumerate(made):
        each.update(size_bytes=number + 1, digests=digests(draw), locator=f"{version.strip()}/{number}")
    return made


def configs(draw: Random) -> Spec:
    return {"document": one(draw, ["{}", '{"a": 1}', " [] "]), "digests": {"md5": "a1" * 16} if often(draw, 30) else {}}


def resources(draw: Random) -> List[Spec]:
    names = some(draw, ["ca.pem", "logo.png", "\u00e9"], 3)
    return [{"name": name, "size_bytes": 1, "digests": digests(draw), "locator": f"at/{name}"} for name in names]


def rollouts(draw: Random, part: Spec, versions: List[str], names: List[str]) -> Spec:
    what = one(draw, ["firmware"] * 6 + ["config", "resources"])
    target: Any = one(draw, versions) if what == "firmware" else configs(draw) if what == "config" else resources(draw)
    by_claim = often(draw, 20)
    sizes: List[Any] = [{"first": count} for count in sorted(some(draw, [1, 2, 3, 10], 2))]
    if not by_claim:
        sizes += [{"share-bps": share} for share in sorted(some(draw, [1, 2_500, 5_000, 10_000], 2))]
    if not sizes or often(draw, 50):
        sizes.append("all")
    rollout: Spec = {
        "id": one(draw, ["r7", "spring"]),
        "target": {what: target},
        "waves": [{"size": size} for size in sizes],
        "late": one(draw, ["open", "tail"]),
        "admission": "first-come" if by_claim else "rank",
    }
    if often(draw, 30):
        rollout["salt"] = one(draw, ["", "salt"])
    listed = some(draw, names, 3)
    split = draw.randint(0, len(listed))
    rollout["first"], rollout["excluded"] = listed[:split][:1] if often(draw, 50) else [], listed[split:][:1]
    is_ = one(draw, ["running"] * 9 + ["paused"] * 6 + ["draft", "completed", "aborted"])
    rollout["state"] = {"is": is_, "cut": often(draw, 50)} if is_ == "paused" else {"is": is_}
    if is_ == "draft":
        return rollout
    rollout["started_at"] = START
    serials = [reference.read_serial(reference.scheme_of(part), name.encode())[1] for name in names]
    ranks = [reference.rank(rollout.get("salt", rollout["id"]), part["product"]["id"], serial) for serial in serials if serial is not None]
    pool = sorted(rank + more for rank in ranks for more in (-1, 0, 0, 0))
    threshold: Optional[int] = None
    for wave in rollout["waves"][: draw.randint(0, len(sizes))]:
        wave["opened"] = {"at": START}
        if wave["size"] == "all" or by_claim or (threshold is None and often(draw, 10)):
            continue
        threshold = one(draw, [each for each in pool if threshold is None or each >= threshold] + [max(threshold or 0, 2**63), 2**64 - 1])
        wave["opened"]["threshold"] = threshold
    return rollout


def groups(draw: Random, part: Spec, id_: str, versions: List[str], names: List[str]) -> Spec:
    has_order = part["product"]["versions"]["scheme"] != "exact"
    known = [firmware["version"] for firmware in part["firmware"]]
    group: Spec = {"id": id_}
    if often(draw, 92):
        group["firmware"] = one(draw, known * 8 + versions)
    if has_order and often(draw, 35):
        group["policy"] = "forward-only"
    if has_order and often(draw, 10):
        group["cap"] = one(draw, versions)
    if often(draw, 15):
        group["window"] = one(draw, WINDOWS)
    if often(draw, 20):
        group["downloads_max"] = one(draw, [0, 1, 5])
    if often(draw, 40):
        group["config"] = configs(draw)
    if often(draw, 40):
        group["resources"] = resources(draw)
    if often(draw, 75):
        group["rollout"] = rollouts(draw, part, known * 3 + versions, names)
    if often(draw, 25) and has_order:
        group["aborted"] = {"target": one(draw, known + versions), "fate": one(draw, ["leave", "downgrade"])}
    return group


def is_capped(part: Spec, device: Spec) -> bool:
    rules = part["product"]["versions"]
    caps = [device.get("cap"), *(group.get("cap") for group in part["groups"] if group["id"] == device["group"])]
    read = [reference.read_version(rules, cap.encode()) for cap in caps if cap is not None]
    return any(reference.above(reference.read_version(rules, device["pin"].encode()), cap) for cap in read)


def devices(draw: Random, part: Spec, serial: str, versions: List[str]) -> Spec:
    device: Spec = {
        "serial": serial,
        "state": one(draw, ["verified"] * 16 + ["new", "blocked", "disabled", "quota"]),
        "group": one(draw, ["default"] * 8 + ["canary"] * 8 + ["gone"]),
        "entered_at": one(draw, [0, START - 1, START, START + 1]),
    }
    if part["product"]["versions"]["scheme"] != "exact" and often(draw, 10):
        device["cap"] = one(draw, versions)
    if often(draw, 12):
        device["pin"] = one(draw, [firmware["version"] for firmware in part["firmware"]] * 2 + versions)
        if is_capped(part, device):
            del device["pin"]
    if often(draw, 50):
        device["version"] = one(draw, [*versions, "latest"])
    if often(draw, 30):
        device["hardware"] = one(draw, HARDWARE)
    return device


def products(draw: Random, id_: str) -> Spec:
    scheme = one(draw, ["exact"] + ["semver"] * 3 + ["dotted"] * 3)
    rules: Spec = {
        "scheme": scheme,
        "prefixes": one(draw, [[], ["v"], ["V", "fw-", "fw-b"]]),
        "build_metadata": one(draw, ["ignored", "counts-for-equality"]),
        "empty": one(draw, ["lowest", "hold"]),
        "unreadable": one(draw, ["held", "lowest"]),
    }
    limits: List[Spec] = [{}, {"revoked": True}, {"not_before": START + 1}, {"not_after": START}, {"not_before": START - 3_600_000, "not_after": START + 7_200_000}]
    serials = one(draw, list(SERIALS))
    product: Spec = {
        "id": id_,
        "keys": [{"hash": reference.blake3(f"{id_} {name}".encode()), **limit} for name, limit in zip(KEYS, limits)],
        "serial_scheme": serials,
        "versions": rules,
        "already_there": one(draw, ["either", "version", "digest"]),
        "register_on_first_contact": often(draw, 50),
        "retry_spread_secs": one(draw, [0, 1, 600, 86_400]),
    }
    if often(draw, 25):
        product["placeholders"] = [one(draw, SERIALS[serials])]
    if often(draw, 50):
        product["poll_interval_secs"] = one(draw, [1, 3_600, 86_400])
    part: Spec = {"product": product, "firmware": [], "groups": [], "devices": []}
    versions = [(one(draw, ["", *rules["prefixes"]]) if often(draw, 15) else "") + version for version in VERSIONS[scheme]]
    for version in distinct(rules, some(draw, versions, 5, 2)):
        firmware: Spec = {"version": version, "denied": often(draw, 10), "artifacts": artifacts(draw, rules, versions, version)}
        if scheme != "exact" and often(draw, 45):
            firmware["from"] = one(draw, [each["version"] for each in part["firmware"]] * 4 + versions)
        if scheme != "exact":
            firmware["stone"] = often(draw, 50)
        part["firmware"].append(firmware)
    names = [name for name in some(draw, SERIALS[serials], 5, 2) if name not in product.get("placeholders", [])]
    part["groups"] = [groups(draw, part, group, versions, names) for group in ("default", "canary")]
    part["devices"] = [devices(draw, part, name, versions) for name in names]
    return part


def fleets(draw: Random) -> Spec:
    ids = ["p", "q"] if often(draw, 15) else ["p"]
    return {"revision": draw.randint(1, 9), "products": [products(draw, each) for each in ids]}


def spell_serial(draw: Random, scheme: str, serial: str) -> bytes:
    if scheme == "mac":
        pairs = [serial[place : place + 2] for place in range(0, 12, 2)]
        fours = ".".join(serial[place : place + 4] for place in (0, 4, 8))
        serial = one(draw, [serial, ":".join(pairs), "-".join(pairs), fours, "-".join(pairs) + " "])
    return (serial.upper() if serial.isascii() and often(draw, 20) else serial).encode()


def check_ins(draw: Random, spec: Spec) -> Ask:
    part = one(draw, spec["products"])
    scheme = part["product"]["versions"]["scheme"]
    key = f"{part['product']['id']} {one(draw, ['good'] * 30 + KEYS + ['none'])}".encode() if often(draw, 98) else one(draw, ODD)
    names = [device["serial"] for device in part["devices"]] * 4 + part["product"].get("placeholders", [])
    serial = spell_serial(draw, reference.scheme_of(part), one(draw, names)) if names and often(draw, 94) else one(draw, ODD_SERIALS)
    if often(draw, 70):
        version = one(draw, [firmware["version"] for firmware in part["firmware"]] * 2 + VERSIONS[scheme]).encode()
    else:
        version = one(draw, ODD) if often(draw, 70) else draw.randbytes(draw.randint(0, 8))
    if often(draw, 15):
        version = one(draw, [b" ", b"\t", b"v", b"FW-", b"fw-b"]) + version
    hardware = one(draw, [b"", b"", b"a", b"a", b"a", b"b", b"c", b"z", b"A", b"\xff", b"a "])
    digest = None
    if often(draw, 30):
        name = one(draw, list(LENGTHS))
        values = [(each * LENGTHS[name]).encode() for each in BYTES]
        if name == "blake3":
            held = [group.get("config") for group in part["groups"]]
            held += [group.get("rollout", {}).get("target", {}).get("config") for group in part["groups"]]
            values += [reference.blake3(each["document"].encode()).encode() for each in held if each is not None]
        digest = (name, one(draw, [*values, values[0].upper(), values[0][:-1], b"", b"\xff" * 64, b"zz" * LENGTHS[name]]))
    want = one(draw, ["firmware"] * 16 + ["config"] * 3 + ["resources", "resource", "resource"])
    resource = one(draw, [b"ca.pem", b"logo.png", "\u00e9".encode(), b"none", b"\xff"]) if want == "resource" else b""
    return Ask(key, serial, version, hardware, digest, want, resource)


# What is compared.


class Met:
    """What a run has seen: a test that never met what it is about proves nothing."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def note(self, *what: str) -> None:
        self.counts.update(what)

    def needs(self, at_least: Dict[str, int]) -> None:
        few = {name: (self.counts[name], least) for name, least in at_least.items() if self.counts[name] < least}
        assert not few, f"met too rarely (met, needed): {few} in {dict(self.counts)}"


def shown(spec: Spec, ask: Ask, now: int) -> str:
    return f"to replay: {json.dumps({'fleet': spec, 'now': now})}\nfleet.decide: {ask!r}"


def asked(fleet: otagate.Fleet, ask: Ask, now: int) -> otagate.Decision:
    resource = ask.resource if ask.want == "resource" else None
    digest = None if ask.digest is None else (cast(DigestKind, ask.digest[0]), ask.digest[1])
    want = cast(Want, ask.want)
    return fleet.decide(ask.key, ask.serial, ask.version, ask.hardware, digest=digest, want=want, resource=resource, now=at(now))


def parts(decision: otagate.Decision) -> Tuple[Any, ...]:
    """What the attributes say."""
    effect: Any = decision.effect
    if isinstance(effect, otagate.Register):
        effect = ("register", effect.product)
    elif isinstance(effect, otagate.Seen):
        effect = ("seen", effect.rollout)
    elif effect is not None:
        refused = [decision.refused("slots").reason] * (effect.slots_max is not None)
        refused += [decision.refused("downloads").reason] * (effect.downloads_max is not None)
        effect = ("claim", effect.rollout, effect.slots_max, effect.downloads_max, refused)
    locator = decision.artifact.locator if decision.artifact is not None else decision.resource.locator if decision.resource is not None else None
    held = [decision.status, decision.verdict, decision.reason, decision.number, decision.revision, decision.retry_after, decision.meant, decision.rollout]
    return (*held, decision.firmware, locator, effect)


def expected_parts(answer: reference.Answer) -> Tuple[Any, ...]:
    effect: Any = answer.get("effect")
    if effect is not None and effect["do"] == "claim":
        effect = ("claim", effect["rollout"], effect["slots_max"], effect["downloads_max"], [each["reason"] for each in effect["refused"]])
    elif effect is not None:
        effect = (effect["do"], effect.get("product", effect.get("rollout")))
    names = ["status", "verdict", "reason", "number", "revision", "retry_after_secs", "meant", "rollout"]
    offer = answer.get("offer", {})
    return (*(answer.get(name) for name in names), offer.get("firmware"), offer.get("locator"), effect)


def agree_one_by_one(fleet: otagate.Fleet, spec: Spec, asks: List[Ask], now: int, met: Met) -> None:
    for ask in asks:
        decision, answer = asked(fleet, ask, now), reference.decide(spec, ask, now)
        assert decision.to_dict() == answer, shown(spec, ask, now)
        assert parts(decision) == expected_parts(answer), shown(spec, ask, now)
        met.note(answer["reason"], f"{ask.want}-{answer['status']}", "decided")
        if "effect" in answer:
            met.note(f"effect-{answer['effect']['do']}")
        if answer.get("rollout") is not None:
            met.note("served-by-rollout")
        if answer.get("offer", {}).get("from") is not None:
            met.note("delta")
        if answer.get("offer", {}).get("firmware", answer.get("meant")) != answer.get("meant"):
            met.note("hop")


def as_text(said: bytes) -> Any:
    try:
        return said.decode()
    except UnicodeDecodeError:
        return said


def agree_in_batches(fleet: otagate.Fleet, spec: Spec, asks: List[Ask], now: int, met: Met) -> None:
    """The same asked for firmware without a digest, all at once."""
    asks = [Ask(ask.key, ask.serial, ask.version, ask.hardware) for ask in asks]
    answers = [reference.decide(spec, ask, now) for ask in asks]
    rows = [(ask.key, ask.serial, ask.version, ask.hardware) for ask in asks]
    given: List[Any] = [rows, [tuple(as_text(each) for each in row) for row in rows], [list(row) for row in rows], iter(rows)]
    for which, form in enumerate(given):
        decisions: List[otagate.Decision] = fleet.decide_many(form, now=at(now))
        assert len(decisions) == len(answers)
        for ask, decision, answer in zip(asks, decisions, answers):
            assert decision.to_dict() == answer, f"in form {which}; {shown(spec, ask, now)}\nin a batch of {rows}"
    say = f"{shown(spec, asks[0], now)}\nin a batch of {rows}"
    statuses = fleet.decide_many(rows, into="status", now=at(now))
    assert list(memoryview(statuses).cast("H")) == [answer["status"] for answer in answers], say
    reasons = fleet.decide_many(rows, into="reason", now=at(now))
    assert list(reasons) == [answer["number"] for answer in answers], say
    names = ("key", "serial", "version", "hardware")
    expected = [
        {"status": answer["status"], "reason": answer["reason"], "meant": answer.get("meant"), "retry_after": answer.get("retry_after_secs")}
        for answer in answers
    ]
    for type_ in (pyarrow.binary(), pyarrow.large_binary()):
        table = pyarrow.table({name: pyarrow.array([row[place] for row in rows], type_) for place, name in enumerate(names)})
        assert pyarrow.record_batch(fleet.decide_many(table, now=at(now))).to_pylist() == expected, say
    met.note(*["batched"] * len(asks))


def agree_on_censuses(fleet: otagate.Fleet, spec: Spec, met: Met) -> None:
    for part in spec["products"]:
        for group in part["groups"]:
            rollout = group.get("rollout", {"waves": []})
            if rollout.get("admission", "rank") != "rank":
                continue
            for wave in [place for place, each in enumerate(rollout["waves"]) if each.get("opened") is None]:
                say = f"to replay: {json.dumps(spec)}\nfleet.census({part['product']['id']!r}, {group['id']!r}, {wave})"
                expected = reference.census(part, group, wave)
                try:
                    census = fleet.census(part["product"]["id"], group["id"], wave)
                except otagate.Refused:
                    assert expected is None, say
                    met.note("census-refused")
                    continue
                assert (census.eligible, census.counted, census.newcomers, census.threshold) == expected, say
                met.note("census" if census.eligible else "census-of-nobody")


def normal(spec: Spec) -> Spec:
    """As a fleet gives itself back: defaults written out, serials canonical, everything in order of its name."""
    spec = copy.deepcopy(spec)
    for part in spec["products"]:
        product, scheme = part["product"], reference.scheme_of(part)
        canonical: Callable[[str], Any] = lambda text: reference.read_serial(scheme, text.encode())[1]
        if product.get("placeholders"):
            product["placeholders"] = sorted(str(canonical(each)) for each in product["placeholders"])
        for name, usual in (("new_devices_max", 1_000), ("default_group", "default"), ("keys", [])):
            product.setdefault(name, usual)
        for key in product["keys"]:
            key.setdefault("revoked", False)
        for firmware in part["firmware"]:
            firmware.setdefault("stone", False)
            for artifact in firmware["artifacts"]:
                put(artifact, "hardware", artifact.get("hardware") or None)
        for group in part["groups"]:
            group.setdefault("policy", "any-difference")
            rollout = group.get("rollout")
            for config in (group.get("config"), None if rollout is None else rollout["target"].get("config")):
                if config is not None:
                    config["digests"] = reference.digests_of(config)
            if rollout is not None:
                for name in ("first", "excluded"):
                    put(rollout, name, sorted(str(canonical(serial)) for serial in rollout.get(name, [])) or None)
                for wave in rollout["waves"]:
                    wave.setdefault("gate", {})
                rollout.pop("edition", None)
        for device in part["devices"]:
            device["serial"] = canonical(device["serial"])
            put(device, "earlier_groups", sorted(list(each) for each in device.get("earlier_groups", [])) or None)
        part["firmware"].sort(key=lambda each: each["version"])
        part["groups"].sort(key=lambda each: each["id"])
        part["devices"].sort(key=lambda each: each["serial"])
    spec["products"].sort(key=lambda each: each["product"]["id"])
    return spec


def differences(found: Any, wanted: Any, place: str = "") -> List[str]:
    """Where two specifications differ: a fleet is too long to be compared by eye."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return [each for name in sorted({*found, *wanted}) for each in differences(found.get(name), wanted.get(name), f"{place}.{name}")]
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        return [each for at in range(len(found)) for each in differences(found[at], wanted[at], f"{place}[{at}]")]
    return [] if found == wanted else [f"{place}: {found!r} is not {wanted!r}"]


def test_drawn_fleets_decide_as_the_reference() -> None:
    met = Met()

    @drawn(2_500)
    @given(SEEDS)
    def agree(seed: int) -> None:
        draw = Random(seed)
        spec = fleets(draw)
        try:
            fleet = otagate.Fleet.from_spec(spec)
        except otagate.Refused as refused:
            raise AssertionError(f"a fleet that is to be legal is refused: {refused}\n{json.dumps(spec)}") from refused
        differ = differences(normal(fleet.spec()), normal(spec))
        assert not differ, f"{differ}; to replay: {json.dumps(spec)}"
        again = otagate.Fleet.from_spec(fleet.spec())
        assert again.spec() == fleet.spec() and json.loads(again.to_json()) == fleet.spec()
        asks = [check_ins(draw, spec) for _ in range(10)]
        for now in some(draw, NOW, 2, 2):
            agree_one_by_one(fleet, spec, asks, now, met)
            agree_in_batches(fleet, spec, asks, now, met)
        agree_on_censuses(fleet, spec, met)
        for rollout in [group["rollout"] for part in spec["products"] for group in part["groups"] if "rollout" in group]:
            met.note(f"is-{rollout['state']['is']}", *["threshold" for wave in rollout["waves"] if "threshold" in wave.get("opened", {})])

    agree()
    print(sorted(met.counts.items()))
    # Without a ledger nobody waits for a penalty.
    met.needs({name: 15 for name in reference.NUMBERS if name != "penalty"})
    met.needs({"decided": 40_000, "batched": 40_000, "is-running": 1_000, "is-paused": 700, "is-aborted": 50, "threshold": 1_500})
    met.needs({"served-by-rollout": 200, "hop": 25, "delta": 100, "effect-claim": 200, "effect-seen": 100, "effect-register": 100, "census": 1_000})


# Changes: taken whole, with the meaning of their names, or not at all.


class Impossible(Exception):
    """A change about what is not there, or that the rules refuse."""


def part_of(spec: Spec, change: Spec) -> Spec:
    return sole([part for part in spec["products"] if part["product"]["id"] == change["product"]])


def sole(found: List[Spec]) -> Spec:
    if not found:
        raise Impossible
    return found[0]


def device_of(part: Spec, serial: str) -> Spec:
    device = reference.device_of(part, str(reference.read_serial(reference.scheme_of(part), serial.encode())[1]))
    return sole([] if device is None else [device])


def firmware_of(part: Spec, version: str) -> Spec:
    rules = part["product"]["versions"]
    wanted = reference.read_version(rules, version.encode())
    return sole([each for each in part["firmware"] if reference.equal(reference.read_version(rules, each["version"].encode()), wanted)])


def put(held: Spec, name: str, value: Any) -> None:
    if value is None:
        held.pop(name, None)
    else:
        held[name] = value


def set_baseline(part: Spec, group: Spec, version: Optional[str]) -> None:
    """R10: what was left behind is left until the baseline changes."""
    read = [None if each is None else reference.read_version(part["product"]["versions"], each.encode()).same for each in (group.get("firmware"), version)]
    if read[0] != read[1] and group.get("aborted", {}).get("fate") == "leave":
        del group["aborted"]
    put(group, "firmware", version)


def enter(device: Spec, before: Spec, group: str, at: int) -> None:
    """R4: who comes back keeps the first time."""
    earlier = {name: entered for name, entered in before.get("earlier_groups", [])}
    earlier[before["group"]] = before["entered_at"]
    device["entered_at"] = earlier.pop(group, at)
    device["group"] = group
    put(device, "earlier_groups", [[name, entered] for name, entered in earlier.items()] or None)


def after(spec: Spec, change: Spec) -> None:
    """Does to a specification what a change says, by the rules that need no look at the rest; a load refuses the rest."""
    kind, part = change["change"], part_of(spec, change)
    if kind == "put-device":
        serial = reference.read_serial(reference.scheme_of(part), change["device"]["serial"].encode())[1]
        written = {**change["device"], "serial": serial}
        held = [each for each in part["devices"] if each["serial"] == serial]
        if held and held[0]["group"] == written["group"]:
            # Without a time of entry it is as old as it was.
            written["entered_at"] = written["entered_at"] or held[0]["entered_at"]
            put(written, "earlier_groups", held[0].get("earlier_groups"))
        elif held:
            enter(written, held[0], written["group"], written["entered_at"])
        part["devices"] = [each for each in part["devices"] if each["serial"] != serial] + [written]
    elif kind == "remove-device":
        part["devices"].remove(device_of(part, change["serial"]))
    elif kind == "set-device-state":
        device_of(part, change["serial"])["state"] = change["state"]
    elif kind == "pin-device":
        put(device_of(part, change["serial"]), "pin", change["firmware"])
    elif kind == "cap-device":
        put(device_of(part, change["serial"]), "cap", change["cap"])
    elif kind == "see-device":
        put(device_of(part, change["serial"]), "version", change["version"])
        put(device_of(part, change["serial"]), "hardware", change["hardware"])
    elif kind == "move-device":
        device = device_of(part, change["serial"])
        if change["group"] != device["group"]:
            enter(device, device, change["group"], change["at"])
    elif kind == "deny-firmware":
        firmware_of(part, change["firmware"])["denied"] = change["denied"]
    elif kind == "remove-firmware":
        part["firmware"].remove(firmware_of(part, change["firmware"]))
    else:
        group = sole([each for each in part["groups"] if each["id"] == change["group"]])
        if kind == "remove-group":
            part["groups"].remove(group)
        elif kind == "assign-firmware":
            set_baseline(part, group, change["firmware"])
        elif kind in ("set-policy", "cap-group", "set-window", "cap-downloads"):
            name = {"set-policy": "policy", "cap-group": "cap", "set-window": "window", "cap-downloads": "downloads_max"}[kind]
            put(group, name, change[name])
        else:
            move_rollout(part, group, sole([each for each in [group.get("rollout")] if each and each["id"] == change["rollout"]]), change)


FROM_STATES = {"start": ["draft"], "open": ["running"], "pause": ["running", "paused"], "resume": ["paused"], "complete": ["running", "paused"]}


def move_rollout(part: Spec, group: Spec, rollout: Spec, change: Spec) -> None:
    """R7, R10."""
    kind, is_ = change["change"].split("-")[0], rollout["state"]["is"]
    version = rollout["target"].get("firmware")
    if is_ not in FROM_STATES.get(kind, ["draft", "running", "paused"]):
        raise Impossible
    if kind == "start":
        rollout.update(state={"is": "running"}, started_at=change["at"])
    elif kind == "open":
        following = [place for place, each in enumerate(rollout["waves"]) if each.get("opened") is None]
        if following[:1] != [change["wave"]]:
            raise Impossible
        rollout["waves"][change["wave"]]["opened"] = {name: value for name, value in change["opened"].items() if value is not None}
    elif kind == "pause":
        rollout["state"] = {"is": "paused", "cut": change["cut"], **({"why": change["why"]} if change["why"] else {})}
    elif kind == "resume":
        rollout.update(state={"is": "running"}, resumes=rollout.get("resumes", 0) + 1)
    elif kind == "complete":
        if version is not None and firmware_of(part, version)["denied"]:
            raise Impossible
        rollout["state"] = {"is": "completed"}
        if version is not None:
            set_baseline(part, group, version)
        else:
            group.update(copy.deepcopy(rollout["target"]))
    else:
        rollout["state"] = {"is": "aborted"}
        # Of a draft nobody is on the target.
        if version is not None and is_ != "draft":
            group["aborted"] = {"target": version, "fate": change["fate"]}


KINDS = ["move-device", "set-device-state", "pin-device", "cap-device", "see-device", "put-device", "remove-device", "deny-firmware", "remove-firmware"]
KINDS += ["remove-group", "assign-firmware", "set-policy", "cap-group", "set-window", "cap-downloads"]
KINDS += ["start-rollout", "pause-rollout", "resume-rollout", "complete-rollout", "abort-rollout", "open-wave"] * 2


def changes(draw: Random, spec: Spec) -> Spec:
    part = one(draw, spec["products"])
    scheme, serials = part["product"]["versions"]["scheme"], reference.scheme_of(part)
    versions = [firmware["version"] for firmware in part["firmware"]] * 2 + VERSIONS[scheme]
    names = [device["serial"] for device in part["devices"]] * 3 + ["nobody", "99"]
    group = one(draw, ["default"] * 6 + ["canary"] * 6 + ["gone"])
    rollout: Spec = next((each["rollout"] for each in part["groups"] if each["id"] == group and "rollout" in each), {})
    waves = rollout.get("waves", [])
    following = [place for place, wave in enumerate(waves) if wave.get("opened") is None][:1]
    thresholds = [wave["opened"].get("threshold") for wave in waves if wave.get("opened") is not None]
    kind = one(draw, KINDS)
    change: Spec = {"change": kind, "product": part["product"]["id"] if often(draw, 97) else "nothing"}
    if kind == "put-device":
        return {**change, "device": devices(draw, part, one(draw, SERIALS[serials]), VERSIONS[scheme])}
    if "device" in kind:
        change["serial"] = spell_serial(draw, serials, one(draw, names)).decode()
    elif kind not in ("deny-firmware", "remove-firmware"):
        change["group"] = group
    if kind.endswith(("-rollout", "-wave")):
        change["rollout"] = rollout.get("id", "r7") if often(draw, 95) else "another"
    more: Dict[str, Spec] = {
        "move-device": {"group": one(draw, ["default", "canary", "gone"]), "at": one(draw, [START - 1, START + 1, START + 2])},
        "set-device-state": {"state": one(draw, ["verified", "verified", "blocked", "new"])},
        "pin-device": {"firmware": one(draw, [None, *versions])},
        "cap-device": {"cap": one(draw, [None, *versions])},
        "see-device": {"version": one(draw, [None, "latest", *versions]), "hardware": one(draw, [None, *HARDWARE])},
        "deny-firmware": {"firmware": one(draw, versions), "denied": often(draw, 50)},
        "remove-firmware": {"firmware": one(draw, versions)},
        "assign-firmware": {"firmware": one(draw, [None, *versions])},
        "set-policy": {"policy": one(draw, ["any-difference", "forward-only"])},
        "cap-group": {"cap": one(draw, [None, *versions])},
        "set-window": {"window": one(draw, [None, *WINDOWS])},
        "cap-downloads": {"downloads_max": one(draw, [None, 0, 5])},
        "start-rollout": {"at": START},
        "open-wave": {"wave": one(draw, following * 8 + [0, 9]), "opened": {"at": START + 5, "threshold": one(draw, [None, 2**62, 2**63, 2**64 - 1, *thresholds])}},
        "pause-rollout": {"cut": often(draw, 50), "why": one(draw, ["", "smoke"])},
        "abort-rollout": {"fate": one(draw, ["leave", "downgrade"])},
    }
    return {**change, **more.get(kind, {})}


def test_drawn_changes_are_taken_whole_or_not_at_all() -> None:
    met = Met()

    @drawn(1_000)
    @given(SEEDS)
    def agree(seed: int) -> None:
        draw = Random(seed)
        spec = fleets(draw)
        fleet = otagate.Fleet.from_spec(spec)
        for _ in range(draw.randint(3, 6)):
            before, revision = fleet.spec(), fleet.revision
            batch = [changes(draw, before) for _ in range(draw.randint(1, 2))]
            say = f"to replay: {json.dumps({'fleet': before, 'changes': batch})}"
            wanted = copy.deepcopy(before)
            try:
                for change in batch:
                    after(wanted, change)
                is_possible = True
            except Impossible:
                is_possible = False
            given: Any = batch[0] if len(batch) == 1 and often(draw, 50) else json.dumps(batch) if often(draw, 50) else batch
            try:
                told = fleet.apply(given)
            except otagate.Refused as refused:
                assert refused.problems and all(problem.message for problem in refused.problems), say
                assert fleet.spec() == before and fleet.revision == revision, say
                met.note("refused" if is_possible else "impossible")
                continue
            assert is_possible, f"what cannot be is taken; {say}"
            found = fleet.spec()
            differ = differences(normal({**found, "revision": 0}), normal({**wanted, "revision": 0}))
            assert not differ, f"{differ}; {say}"
            is_changed = bool(differences(normal({**found, "revision": 0}), normal({**before, "revision": 0})))
            assert told == fleet.revision == found["revision"], say
            assert told > revision if is_changed else told >= revision, say
            met.note("changed" if is_changed else "the-same", *(change["change"] for change in batch))
            asks = [check_ins(draw, spec) for _ in range(5)]
            now = one(draw, NOW)
            agree_one_by_one(fleet, found, asks, now, met)
            agree_in_batches(fleet, found, asks, now, met)
            agree_on_censuses(fleet, found, met)
        assert pickle.loads(pickle.dumps(fleet)).spec() == fleet.spec()

    agree()
    print(sorted(met.counts.items()))
    met.needs({kind: 10 for kind in KINDS})
    met.needs({"changed": 700, "refused": 150, "impossible": 400, "decided": 4_000})


def test_serials_and_versions_are_read_as_by_the_reference() -> None:
    met = Met()
    texts = [each for scheme in VERSIONS for each in VERSIONS[scheme]] + ["V1.0.0", "fw-2", "1.0.0-RC.1", "1.0.0-rc.01", "1.0.0-rc..1", "1.0.0+", "007.1.0.0"]
    spellings = [each for scheme in SERIALS for each in SERIALS[scheme]] + ["A4:CF:12:34:56:78", "a4cf.1234.5678", "a4-cf-12-34-56-78", "A0", "0x1f", "\u0661"]
    letters = st.sampled_from([*"0123456789abcdefABCDEFxZ.:-+ \t\u00e9", "\x00", "\n"])
    words = st.lists(st.sampled_from(["0", "1", "10", "01", "rc", "RC", "x-y", "-", ""]), min_size=1, max_size=3).map(".".join)
    semver = st.tuples(st.sampled_from(["", "v", "FW-"]), st.sampled_from(["1.0.0", "1.2", "01.1.1", "18446744073709551616.0.0"]), st.sampled_from("-+"), words)
    version = st.one_of(st.sampled_from(texts).map(str.encode), semver.map("".join).map(str.encode), st.sampled_from(ODD), st.binary(max_size=6))
    serial = st.one_of(st.sampled_from(spellings).map(str.encode), st.text(letters, max_size=14).map(str.encode), st.sampled_from(ODD_SERIALS), st.binary(max_size=70))
    rules = st.fixed_dictionaries(
        {
            "scheme": st.sampled_from(list(VERSIONS)),
            "prefixes": st.sampled_from([[], ["v"], ["V", "fw-", "vv"]]),
            "build_metadata": st.sampled_from(["ignored", "counts-for-equality"]),
        }
    )

    @drawn(4_000)
    @given(rules, version, version, st.sampled_from(list(SERIALS)), serial)
    def agree(rules: Spec, a: bytes, b: bytes, scheme: str, sent: bytes) -> None:
        read_a, read_b = reference.read_version(rules, a), reference.read_version(rules, b)
        expected = (reference.equal(read_a, read_b), reference.compare(rules, read_a, read_b))
        found = otagate.compare_versions(a, b, rules)
        assert (found.equal, found.order) == expected, (rules, a, b)
        met.note(f"order {expected[1]}", f"equal {expected[0]}", read_a.kind)
        verdict, canonical = reference.read_serial(scheme, sent)
        met.note(f"{scheme} {verdict}")
        if verdict == "ok":
            assert otagate.read_serial(cast(SerialScheme, scheme), sent) == canonical, (scheme, sent)
        else:
            with pytest.raises(otagate.SerialMalformed if verdict == "malformed" else otagate.SerialPlaceholder):
                otagate.read_serial(cast(SerialScheme, scheme), sent)

    agree()
    print(sorted(met.counts.items()))
    met.needs({"order -1": 20, "order 0": 50, "order 1": 20, "order None": 200, "equal True": 100, "empty": 20, "unreadable": 100, "readable": 200})
    met.needs({f"{scheme} {verdict}": 10 for scheme in SERIALS for verdict in ("ok", "malformed", "placeholder")})
