#!/usr/bin/env python3
"""Thresholds of waves (R3, R6) and steps of rollouts (R7, R8), from semantics.md alone, in plain Python.

Shares no code with the library: ranks come from blake3_reference.py, a census is a sort, a step is written from the rules.
    python3 rollout_reference.py check thresholds.json     recompute every row; non-zero exit names the first mismatch
    python3 rollout_reference.py check transitions.json
    python3 rollout_reference.py make thresholds > thresholds.json     write the vectors, the same bytes each time
    python3 rollout_reference.py make transitions > transitions.json
"""
import json
import pathlib
import sys

sys.dont_write_bytecode = True  # the folder is the vectors', and nothing else's
from blake3_reference import rank  # noqa: E402

BPS = 10_000
U32_MAX = (1 << 32) - 1
OUTCOMES = ("offered", "downloaded", "missing", "installed", "confirmed", "failed")  # weakest first (R9)
FAILURES = ("missing", "failed")
NOTES = {
    "thresholds": "Rules R3 and R6: a wave of `size` is opened for these serials, all of whom could be given the target, where `previous` is the "
                  "threshold so far. `n` is how many it asks for; whose rank is not above `threshold` is in, and those are `counted`, `newcomers` of them "
                  "not in before. Serials on `first` have rank 0; `refused`: more of them than the first wave counts. Ranks and thresholds are u64 as text: JSON "
                  "numbers may lose their low bits. From rollout_reference.py make thresholds.",
    "transitions": "Rules R7 and R8: what is due about a rollout (a RolloutSpec) whose account is `statistics`, at `now` (ms): `transition`, of which waves "
                   "are counted from 0, and what is known of the gate then, `progress`. From rollout_reference.py make transitions.",
}


# --- a census (R3, R6)

def census(row):
    first = row.get("first", [])
    ranks = sorted(0 if serial in first else rank(row["salt"], row["product"], serial) for serial in row["serials"])
    before = None if row["previous"] is None else int(row["previous"])
    size = row["size"]
    in_before = sum(before is not None and one <= before for one in ranks)
    if size == "all":
        return {"n": len(ranks), "threshold": None, "counted": len(ranks), "newcomers": len(ranks) - in_before}
    n = size["first"] if "first" in size else -(-len(ranks) * size["share-bps"] // BPS)
    if before is None and ranks.count(0) > n:
        return {"refused": True}
    nth = ranks[:n][-1:]
    threshold = max(nth + ([] if before is None else [before]), default=None)
    counted = sum(threshold is not None and one <= threshold for one in ranks)
    shown = None if threshold is None else str(threshold)
    return {"n": n, "threshold": shown, "counted": counted, "newcomers": counted - in_before}


def threshold_rows():
    rows = []

    def add(serials, size, previous=None, salt="r7", product="thermostat", first=()):
        row = {"product": product, "salt": salt, "serials": list(serials), "size": size, "previous": previous}
        if first:
            row["first"] = list(first)
        rows.append({**row, **census(row)})
        return rows[-1].get("threshold")

    macs = ["a4cf1234%04x" % (i * 2477 % 65536) for i in range(40)]
    ten = macs[:10]
    for n in (1, 2, 5, 9, 10):
        add(ten, {"first": n})
    add(reversed(ten), {"first": 5})  # the order in which they come is invisible
    for n in (11, 300, U32_MAX):  # fewer than n: the largest
        add(ten, {"first": n})
    for size in ({"first": 1}, {"first": 300}, {"share-bps": 1}, {"share-bps": BPS}, "all"):  # none
        add([], size)
        add([], size, previous="12863942186124156992")
    for bps in (1, 100, 2_500, 2_501, 3_333, 5_000, 9_999, BPS):  # rounded up
        add(macs, {"share-bps": bps})
    for count, bps in ((1, 1), (3, 3_333), (3, 3_334), (7, 1_429), (7, 1_428), (9, 1_111), (9, 1_112), (9, 9_999)):
        add(macs[:count], {"share-bps": bps})
    add(ten, "all")
    for salt, product in (("", "thermostat"), ("r8", "thermostat"), ("r7", "Thermostat"), ("größe", "câble-β"), ("r7 ", "p")):
        add(ten, {"first": 3}, salt=salt, product=product)
    add(["00:not-a-mac", "gerät-№7", "SN " + "9" * 61, "\U0001f600" * 16, "1", "a b"], {"first": 2}, salt="canary-2026", product="sensor")
    # Wave after wave, and devices that came or went meanwhile.
    three = add(ten, {"first": 3})
    add(ten, {"first": 6}, previous=three)
    add(ten, {"first": 3}, previous=three)  # adds nobody
    add(ten, {"share-bps": 2_000}, previous=three)  # a share below what is in
    add(ten, {"share-bps": 9_000}, previous=three)
    add(ten, "all", previous=three)
    add(macs[:20], {"first": 6}, previous=three)
    add(macs[10:13], {"first": 6}, previous=three)  # fewer than n
    add(ten[5:], {"first": 1}, previous=three)
    add(ten, {"first": 6}, previous=str((1 << 64) - 1))
    add(ten, {"first": 6}, previous="0")
    # Always first: rank 0 each.
    for n, first in ((2, ten[:3]), (3, ten[:3]), (5, ten[:3]), (1, ten[7:8]), (10, ten), (9, ten)):
        add(ten, {"first": n}, first=first)
    add(ten, {"share-bps": 1_000}, first=ten[:2])
    add(ten, {"share-bps": 2_000}, first=ten[:2])
    add(ten[1:], {"first": 1}, first=ten[:1])  # on the list, and not in the group
    add(ten, {"first": 1}, previous=three, first=ten[:2])  # the list has grown behind an open wave
    add(ten, {"first": 1}, previous="0", first=ten[:4])
    add(ten, "all", first=ten[:4])
    return rows


# --- a step (R7, R8)

def at(counts, outcomes):
    return sum(counts.get(outcome, 0) for outcome in outcomes)


def succeeded(counts, success):
    return at(counts, [one for one in OUTCOMES[OUTCOMES.index(success):] if one not in FAILURES])


def finished(counts, success):
    return at(counts, FAILURES) + succeeded(counts, success)


def admitted_somebody(rollout, wave):
    """By its census where one was taken, else as far as its size tells."""
    waves = rollout["waves"]
    opened, size = waves[wave]["opened"], waves[wave]["size"]
    if "newcomers" in opened:
        return opened["newcomers"] > 0
    if size == "all" or wave == 0 and rollout.get("admission") == "first-come":
        return True
    if rollout.get("admission") == "first-come":
        return size != waves[wave - 1]["size"]
    before = waves[wave - 1]["opened"].get("threshold", -1) if wave else -1
    return opened.get("threshold", -1) > before


def asks_for_health(gate):
    return any(name in gate for name in ("min_finished", "success_share_bps", "soak_secs"))


def is_good(gate, progress):
    enough = progress["finished"] >= max(1, gate.get("min_finished", 1))  # 0 of 0 is no data
    return enough and progress["succeeded"] * BPS >= gate.get("success_share_bps", 0) * progress["finished"]


def opens(gate, progress, now):
    if not gate or now < gate.get("opens_at", now):
        return False
    if not asks_for_health(gate):
        return True
    soak = gate.get("soak_secs", 0)
    return progress is not None and "good_since" in progress and now - progress["good_since"] >= 1_000 * soak


def step(row):
    rollout, statistics, now = row["rollout"], row["statistics"], row["now"]
    nothing = {"transition": None, "progress": None}
    if rollout.get("state", {"is": "draft"})["is"] != "running":
        return nothing
    success = rollout.get("success", "installed")
    of_wave = lambda wave: statistics.get("waves", [])[wave] if wave < len(statistics.get("waves", [])) else {}
    open_waves = [i for i, wave in enumerate(rollout["waves"]) if "opened" in wave]
    closed = [i for i, wave in enumerate(rollout["waves"]) if "opened" not in wave]
    gate = rollout["waves"][closed[0]].get("gate", {}) if closed else rollout.get("complete", {})

    # The last open wave that admitted somebody is judged.
    progress = None
    judged = [i for i in open_waves if admitted_somebody(rollout, i) or at(of_wave(i), OUTCOMES)]
    if judged:
        counts = of_wave(judged[-1])
        held = lambda count: min(count, U32_MAX)
        progress = {"wave": judged[-1], "offered": held(at(counts, OUTCOMES)), "finished": held(finished(counts, success)),
                    "succeeded": held(succeeded(counts, success))}
        if asks_for_health(gate) and is_good(gate, progress):
            before = rollout.get("progress", {})
            since = before.get("good_since", now) if before.get("wave") == judged[-1] else now
            progress["good_since"] = since if since <= now else now  # the clock was set back
    healthy = progress if asks_for_health(gate) else None

    halt, recent = rollout.get("halt", {}), statistics.get("recent", {})
    failed, done = at(recent, FAILURES), finished(recent, success)
    by_number = "failures" in halt and failed >= halt["failures"]
    sample = done >= max(1, halt.get("min_finished", 1))
    by_share = sample and "failure_share_bps" in halt and failed * BPS > halt["failure_share_bps"] * done
    transition = None
    if by_number or by_share:
        transition = {"kind": "halt", "failed": failed, "finished": done}
    elif closed and (not open_waves and not gate or opens(gate, progress, now)):
        transition = {"kind": "open-wave", "wave": closed[0], "progress": healthy}
    elif not closed and opens(gate, progress, now):
        transition = {"kind": "complete", "progress": healthy}
    return {"transition": transition, "progress": progress}


def transition_rows():
    rows, t0 = [], 1_795_392_000_000
    started = {"at": t0, "threshold": 7, "counted": 10, "newcomers": 10, "eligible": 100}
    nobody = {"at": t0, "counted": 0, "newcomers": 0, "eligible": 0}
    adds_nobody = {**started, "newcomers": 0}
    more = {"at": t0, "threshold": 9, "counted": 30, "newcomers": 20, "eligible": 100}

    def wave(size, gate=None, opened=None):
        size = size if isinstance(size, str) else {"first": size}
        return {"size": size, **({"gate": gate} if gate else {}), **({"opened": opened} if opened else {})}

    def add(case, waves, waves_counts=(), recent=None, secs=0, millis=0, state="running", **rest):
        rollout = {"id": "r7", "target": {"firmware": "2.0.0"}, "state": state if isinstance(state, dict) else {"is": state},
                   "started_at": t0, "waves": waves, **rest}
        if recent is None:
            recent = {one: at_one for one in OUTCOMES[1:] if (at_one := sum(counts.get(one, 0) for counts in waves_counts))}
        statistics = {"waves": list(waves_counts), "recent": recent}
        row = {"case": case, "rollout": rollout, "statistics": statistics, "now": t0 + 1_000 * secs + millis}
        rows.append({**row, **step(row)})

    def second(gate, opened=started):
        return [wave(10, None, opened), wave("all", gate)]

    done = [{"installed": 10}]
    timed = {"opens_at": t0}
    for state in ("draft", "completed", "aborted", {"is": "paused"}, {"is": "paused", "cut": True}, {"is": "paused", "why": "halted: 3 failed"}):
        waves = [wave(10, timed), wave("all", timed)] if state == "draft" else second(timed)
        add("only what runs moves", waves, [] if state == "draft" else [{"failed": 10}], state=state, halt={"failures": 1})
    add("it would, if it ran", second(timed), done)
    # The first wave.
    add("starting is the hand that opens the first wave", [wave(10), wave("all")])
    add("a time of its own: not yet", [wave(10, {"opens_at": t0 + 1})])
    add("a time of its own: now", [wave(10, timed)])
    add("a time of its own: past", [wave("all", timed)], secs=9)
    for gate in ({"min_finished": 0}, {"success_share_bps": 0}, {"soak_secs": 0}, {**timed, "min_finished": 1}):
        add("a first wave that asks for health never opens", [wave(10, gate), wave("all")], secs=9)
    add("a halt needs no open wave", [wave(10)], recent={"failed": 1}, halt={"failures": 1})
    add("in a first-come rollout as well", [wave(10), wave(20)], admission="first-come")
    # By hand and by time.
    add("a later wave without conditions opens by hand alone", second(None), done, secs=1_000_000)
    for secs, millis in ((0, 0), (59, 999), (60, 0), (60, 1)):
        add("a time: %d ms of 60 s" % (1_000 * secs + millis), second({"opens_at": t0 + 60_000}), secs=secs, millis=millis)
    for secs in (59, 60):
        add("time and health", second({"opens_at": t0 + 60_000, "min_finished": 10}), done, secs=secs)
    add("time without health", second({**timed, "min_finished": 11}), done, secs=60)
    # Whoever has finished.
    for success in ("downloaded", "installed", "confirmed"):
        for outcome in OUTCOMES:
            add("%s where %s is success" % (outcome, success), second({"min_finished": 2}), [{outcome: 2, "offered": 5 + 2 * (outcome == "offered")}],
                success=success, recent={})
    for count in (1, 2, 3):
        add("%d of 2 have finished" % count, second({"min_finished": 2}), [{"installed": count}])
    add("of both kinds", second({"min_finished": 2}), [{"installed": 1, "missing": 1}])
    # Shares.
    for bps, good, bad in ((9_000, 8, 2), (9_000, 9, 1), (9_000, 10, 0), (BPS, 9_999, 1), (BPS, 10_000, 0), (0, 0, 5), (1, 0, 5), (3_333, 1, 2),
                           (3_334, 1, 2), (5_000, 1, 1), (9_999, 9_998, 2), (9_999, 9_999, 1)):
        add("%d of %d, of %d basis points" % (good, good + bad, bps), second({"success_share_bps": bps}), [{"installed": good, "failed": bad}])
    add("more than 32 bits: held", second({"min_finished": U32_MAX}), [{"installed": 5_000_000_000, "offered": 1}])
    add("more than 32 bits: held", second({"success_share_bps": 9_000}), [{"installed": 5_000_000_000, "failed": 5_000_000_000}])
    # Soaking.
    soak = {"min_finished": 2, "soak_secs": 60}
    good = lambda since, wave=0: {"wave": wave, "offered": 2, "finished": 2, "succeeded": 2, "good_since": t0 + since}
    add("good from now on", second(soak), done)
    add("it was seen, and not good", second(soak), done, secs=60, progress={"wave": 0, "offered": 10, "finished": 1, "succeeded": 1})
    for secs, millis in ((59, 999), (60, 0), (61, 0)):
        add("good for %d ms" % (1_000 * secs + millis), second(soak), done, secs=secs, millis=millis, progress=good(0))
    add("the clock was set back", second(soak), done, secs=30, progress=good(31_000))
    add("the clock was set back by a year", second(soak), done, secs=-31_536_000, progress=good(0))
    add("of another wave", second(soak), done, secs=100, progress=good(0, 1))
    add("not good any more", second({**soak, "success_share_bps": 9_000}), [{"installed": 8, "failed": 2}], secs=100, progress=good(0))
    add("no time at all", second({"soak_secs": 0}), done)
    add("and a time", second({**soak, "opens_at": t0 + 90_000}), done, secs=89, progress=good(0))
    add("and a time", second({**soak, "opens_at": t0 + 90_000}), done, secs=90, progress=good(0))
    # 0 of 0.
    for gate in ({"min_finished": 0}, {"min_finished": 1}, {"success_share_bps": 0}, {"success_share_bps": BPS}, {"soak_secs": 0},
                 {**timed, "min_finished": 0, "success_share_bps": 0, "soak_secs": 0}):
        add("0 of 0", second(gate), secs=9)
        add("0 of 0", second(gate), [{"offered": 9}], secs=9)
    add("0 of 0 does not halt", second(None), [{"offered": 9, "downloaded": 1}], halt={"failures": 1, "failure_share_bps": 0})
    # Waves that add nobody.
    one = {"min_finished": 1}
    add("an empty canary never passes", second(one, nobody), secs=1_000_000)
    add("an empty canary, and a time", second(timed, nobody))
    add("someone came in after the census", second(one, nobody), [{"installed": 1}])
    twice = lambda first, then, gate=one: [wave(10, None, first), wave(20, gate, then), wave("all", gate)]
    add("the earlier one passed", twice(started, adds_nobody), done)
    add("the earlier one did not", twice(started, adds_nobody), [{"offered": 10}])
    add("the earlier one fails", twice(started, adds_nobody, {"success_share_bps": 5_000}), [{"failed": 6, "installed": 4}])
    add("both empty", twice(nobody, nobody))
    add("both empty, and someone came in", twice(nobody, nobody), [{}, {"installed": 1}])
    add("it added nobody, and someone was offered in it", twice(started, adds_nobody), [{"installed": 10}, {"offered": 1}])
    add("its own count alone", twice(started, more), done)
    add("its own count alone", twice(started, more), [{"failed": 10}, {"installed": 1}])
    add("the empty canary is passed over", twice(nobody, more), [{}, {"installed": 1}])
    plain = lambda **opened: {"at": t0, **opened}
    add("not counted: by a higher threshold", twice(plain(threshold=7), plain(threshold=9)), done)
    add("not counted: by the same threshold", twice(plain(threshold=7), plain(threshold=7)), done)
    add("not counted: all", [wave(10, None, plain(threshold=7)), wave("all", None, plain())], done, complete=one)
    add("counted: all, and nobody new", [wave(10, None, started), wave("all", None, {**nobody, "counted": 10})], done, complete=one)
    for sizes in ((10, 20), (10, 10)):
        waves = [wave(sizes[0], None, plain()), wave(sizes[1], None, plain()), wave("all", one)]
        add("first come, %d and %d" % sizes, waves, done, admission="first-come")
    # Halting.
    for failed in ({"failed": 2}, {"failed": 3}, {"missing": 3}, {"failed": 1, "missing": 2}, {"failed": 4, "installed": 6}):
        add("halts at three failures", second(timed), [failed], halt={"failures": 3})
    for failed, installed in ((1, 9), (2, 8), (2, 7), (0, 9), (1, 0)):
        add("halts above a share of 20 %", second(None), [{"failed": failed, "installed": installed}], halt={"failure_share_bps": 2_000})
    for installed in (2, 3):
        add("and at least four have finished", second(None), [{"failed": 1, "installed": installed}], halt={"failure_share_bps": 2_000, "min_finished": 4})
    add("a sample of none is one", second(None), [{"failed": 1}], halt={"failure_share_bps": 0, "min_finished": 0})
    add("downloads have not finished", second(None), [{"failed": 1, "downloaded": 9}], halt={"failure_share_bps": 9_999, "min_finished": 2})
    add("where they are success, they have", second(None), [{"failed": 1, "downloaded": 9}], halt={"failure_share_bps": 999}, success="downloaded")
    add("where confirming is, installing has not", second(None), [{"failed": 1, "installed": 9}], halt={"failure_share_bps": 5_000}, success="confirmed")
    add("before the last time that it was resumed", second(timed), [{"failed": 9}], recent={}, halt={"failures": 1}, resumes=1)
    add("since it was resumed", second(timed), [{"failed": 9}], recent={"failed": 1}, halt={"failures": 1}, resumes=1)
    add("late ones of an early wave", twice(started, more), [{"failed": 3}, {"installed": 20}], halt={"failures": 3})
    add("before anything opens", second(timed), [{"failed": 3, "installed": 7}], halt={"failures": 3})
    add("without a rule, never", second(None), [{"failed": 1_000_000}])
    # Completing.
    ended = [wave(10, None, started), wave("all", None, {**more, "newcomers": 90, "counted": 100})]
    add("completing by hand alone", ended, [{}, {"installed": 90}], secs=1_000_000)
    add("completing at a time: not yet", ended, complete={"opens_at": t0 + 1})
    add("completing at a time", ended, complete=timed)
    add("completing by health: not yet", ended, [{"installed": 10}, {"installed": 49}], complete={"min_finished": 50})
    add("completing by health", ended, [{"installed": 10}, {"installed": 50}], complete={"min_finished": 50})
    add("completing after a soak", ended, [{}, {"installed": 50}], complete=soak, secs=60, progress=good(0, 1))
    add("completing is not asked before the last wave is open", second(None), done, complete=timed)
    add("halts rather than completes", ended, [{}, {"failed": 1}], complete=timed, halt={"failures": 1})
    return rows


# --- files

MAKE = {"thresholds": (threshold_rows, census, 60), "transitions": (transition_rows, step, 120)}


def make(name):
    rows, _, least = MAKE[name]
    rows = rows()
    assert len(rows) >= least, len(rows)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    print('{\n  "note": %s,\n  "%s": [\n    %s\n  ]\n}' % (json.dumps(NOTES[name]), name, ",\n    ".join(lines)))


def check(path):
    (name, rows), = [(key, rows) for key, rows in json.loads(pathlib.Path(path).read_text("utf-8")).items() if key != "note"]
    _, compute, least = MAKE[name]
    for i, row in enumerate(rows):
        for key, expected in compute(row).items():
            if key not in row or row[key] != expected:
                sys.exit("%s: %s[%d].%s is %s, should be %s: %s" % (path, name, i, key, row.get(key), expected, json.dumps(row)[:600]))
    if len(rows) < least:
        sys.exit("%s: %d rows" % (path, len(rows)))
    print("%s: %d rows agree" % (path, len(rows)))


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "make" and sys.argv[2] in MAKE:
        sys.stdout.reconfigure(encoding="utf-8")
        make(sys.argv[2])
    elif len(sys.argv) == 3 and sys.argv[1] == "check":
        check(sys.argv[2])
    else:
        sys.exit(__doc__)
