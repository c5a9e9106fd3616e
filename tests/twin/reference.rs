//! The slow, obvious twin: the crate's decision, written a second time from `semantics.md` alone, to judge the crate.
//! Rule numbers are those of `semantics.md`; "question n" is one of its section 3.
use super::world::*;
use std::cmp::Ordering::{self, Greater, Less};

/// R2; also the jitter of R12.
pub fn rank(salt: &str, product: &str, serial: &str) -> u64 {
    let framed = |text: &str| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let hash = blake3::derive_key("otagate rollout rank v1", &[salt, product, serial].map(framed).concat());
    hash[..8].iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

/// S1. None is malformed; an empty serial is well-formed, and a placeholder.
pub fn canonical_serial(scheme: &str, bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.bytes().any(|b| b.is_ascii_control()))?;
    let shape = text.replace(|c: char| c.is_ascii_hexdigit(), "0");
    let macs = ["", "00:00:00:00:00:00", "00-00-00-00-00-00", "0000.0000.0000", "000000000000"];
    let (good, canonical) = match scheme {
        "opaque" => (true, text.to_string()),
        "mac" => (macs.contains(&&shape[..]), text.replace([':', '-', '.'], "").to_ascii_lowercase()),
        "hex" => (shape.bytes().all(|b| b == b'0'), text.to_ascii_lowercase()),
        "decimal" => (text.bytes().all(|b| b.is_ascii_digit()), text.to_string()),
        _ => (true, text.to_ascii_lowercase()),
    };
    (good && canonical.len() <= 64).then_some(canonical)
}

/// W1, W2: what has an order, and what else counts for equality. None does not parse. The order is that of lists:
/// (0, "") begins every version but the empty one (W4); a number goes by its length without leading zeros, plus 1, and
/// then by its digits; a word is above every number; "~" is above every word and stands for "no pre-release".
fn parse(p: &Product, bytes: &[u8]) -> Option<(Vec<(usize, String)>, String)> {
    let folded = std::str::from_utf8(bytes).ok()?.to_ascii_lowercase();
    let text = folded.trim_matches([' ', '\t']);
    let matching = p.prefixes.iter().filter(|prefix| text.starts_with(&prefix.to_ascii_lowercase()));
    let text = text[matching.map(String::len).max().unwrap_or(0)..].trim_matches([' ', '\t']);
    let start = vec![(0, String::new())];
    let is_number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let is_word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let digits = |s: &str| s.trim_start_matches('0').to_string();
    let part = |s: &str| if is_number(s) { (1 + digits(s).len(), digits(s)) } else { (usize::MAX, s.to_string()) };
    match p.version_scheme {
        _ if text.is_empty() => Some((vec![], String::new())),
        "exact" => Some((start, text.to_string())),
        "dotted" => {
            let numbers: Vec<_> = text.split('.').map(part).collect();
            let end = numbers.iter().rposition(|n| n.0 > 1).map_or(0, |last| last + 1);
            text.split('.').all(is_number).then(|| ([&start, &numbers[..end]].concat(), String::new()))
        }
        _ => {
            let (rest, build) = text.split_once('+').unwrap_or((text, "none"));
            let (core, pre) = rest.split_once('-').unwrap_or((rest, "~"));
            let strict = |s: &str| is_word(s) && (s == "0" || !s.starts_with('0') || !is_number(s));
            let numbers = core.split('.').count() == 3 && core.split('.').all(|s| is_number(s) && strict(s));
            let good = numbers && (pre.split('.').all(strict) || rest == core) && build.split('.').all(is_word);
            let counted = if p.build_counts { text[rest.len()..].to_string() } else { String::new() };
            good.then(|| ([start, core.split('.').chain(pre.split('.')).map(part).collect()].concat(), counted))
        }
    }
}
pub fn equal(p: &Product, device: &[u8], firmware: &str) -> bool {
    parse(p, device).is_some_and(|version| parse(p, firmware.as_bytes()) == Some(version))
}
pub fn compare(p: &Product, a: &[u8], b: &[u8]) -> Option<Ordering> {
    let (a, b) = (parse(p, a)?.0, parse(p, b)?.0);
    (p.version_scheme != "exact" || a.is_empty() || b.is_empty()).then(|| a.cmp(&b))
}
fn no(status: u16, reason: &'static str) -> Answer {
    Answer { status, reason, ..Answer::default() }
}
fn refuse_if(wrong: bool, answer: Answer) -> Result<(), Answer> {
    if wrong { Err(answer) } else { Ok(()) }
}
pub fn answer(world: &World, ask: &Ask) -> Answer {
    decide(world, ask).unwrap_or_else(|refusal| refusal)
}

/// Section 3. `Err` is an answer too: that of the first question that failed.
fn decide<'a>(world: &'a World, ask: &Ask) -> Result<Answer, Answer> {
    let mut keys = world.products.iter().flat_map(|p| p.keys.iter().map(move |key| (p, key))); // Question 1
    let (p, key) = keys.find(|(_, key)| key.secret == ask.key).ok_or(no(401, "key-unknown"))?;
    refuse_if(key.revoked, no(401, "key-revoked"))?;
    refuse_if(key.not_before.is_some_and(|start| ask.now < start), no(401, "key-not-yet-valid"))?;
    refuse_if(key.not_after.is_some_and(|end| ask.now >= end), no(401, "key-expired"))?;
    let serial = canonical_serial(p.serial_scheme, &ask.serial).ok_or(no(401, "serial-malformed"))?; // Question 2
    let all = |digits: &[char]| serial.chars().all(|c| digits.contains(&c)); // An empty one is all of anything
    refuse_if(all(&['0']) || all(&['f', 'F']) || p.placeholders.contains(&serial), no(401, "serial-placeholder"))?;
    let unknown = Answer { effect: p.registers.then_some("register"), ..no(401, "device-unknown") };
    let d = p.devices.iter().find(|d| d.serial == serial).ok_or(unknown)?; // Question 3
    let mut bad_states = ["device-new", "device-blocked", "device-disabled", "device-quota"].into_iter();
    let bad = bad_states.find(|reason| reason.strip_prefix("device-") == Some(d.state));
    bad.map_or(Ok(()), |reason| Err(no(401, reason)))?; // Question 4
    let g = p.groups.iter().find(|g| g.id == d.group).ok_or(no(404, "group-missing"))?; // Question 5
    let (version, now) = (&ask.version[..], i128::from(ask.now));
    let order = |a: &[u8], b: &str| compare(p, a, b.as_bytes());
    let find = |name: &str| p.firmware.iter().find(|f| equal(p, name.as_bytes(), &f.version));
    let capped = |f: &Firmware| d.cap.iter().chain(&g.cap).any(|cap| order(f.version.as_bytes(), cap) == Some(Greater));
    let allowed = |f: &Firmware| !f.denied && !capped(f);
    let said = |hardware: &String| !hardware.is_empty() && hardware.as_bytes() == ask.hardware;
    let fitting = |f: &'a Firmware| f.artifacts.iter().filter(|a| a.hardware.is_empty() || a.hardware.iter().any(said));
    let agrees = |record: &Digests| {
        let kinds = [("blake3", &record.blake3, 64), ("sha256", &record.sha256, 64), ("md5", &record.md5, 32)];
        let (kind, sent) = ask.digest.as_ref()?;
        let (_, recorded, len) = kinds.into_iter().find(|(name, ..)| name == kind)?;
        let both = !recorded.is_empty() && sent.len() == len && sent.iter().all(u8::is_ascii_hexdigit);
        both.then(|| sent.eq_ignore_ascii_case(recorded.as_bytes())) // None: not sent (W6), or not on record
    };
    let already_there = |f: &'a Firmware| {
        let digests: Vec<bool> = fitting(f).filter(|a| a.from.is_none()).filter_map(|a| agrees(&a.digests)).collect();
        let versions = equal(p, version, &f.version) && (p.already_there != "digest" || digests.is_empty());
        versions || p.already_there != "version" && digests.contains(&true)
    };
    let named = |list: &Vec<Document>| match &ask.want {
        Want::Resource(name) => list.iter().find(|r| r.name.as_bytes() == name).map(|r| r.digests.clone()),
        _ => Some(Digests::default()), // the list itself
    };
    let jitter = i128::from(rank("jitter", &p.id, &serial).checked_rem(p.spread_secs).unwrap_or(0)); // R12
    let retry = |ms: Option<i128>| ms.map(|ms| ((ms + 999) / 1000 + jitter).min(86_400) as u64).or(p.poll_secs);
    let later = |reason, ms| Answer { retry_after_secs: retry(ms), ..no(304, reason) };
    let exists = |r: &&Rollout| ["running", "paused", "cut"].contains(&r.state) && !r.excluded.contains(&serial);
    let on = g.rollout.as_ref().filter(exists); // Section 5: the rollout, as far as it exists for this device
    let (rollout, target, document) = match (on.map(|r| &r.target), &ask.want) {
        (Some(Target::Firmware(v)), Want::Firmware) if find(v).is_some_and(allowed) => (on, find(v), None),
        (Some(Target::Config(config)), Want::Config) => (on, None, Some(config.digests.clone())),
        (Some(Target::Resources(list)), Want::ResourceList | Want::Resource(_)) => (on, None, named(list)),
        _ => (None, None, None),
    };
    let running = rollout.is_some_and(|r| r.state == "running");
    let wave = rollout.and_then(|r| r.waves.iter().rfind(|w| w.open).map(|w| (r, w)));
    let (claimed, live) = (d.claim_expires_at.is_some(), d.claim_expires_at.is_some_and(|end| ask.now < end));
    let inside = wave.is_some_and(|(r, w)| {
        let listed = r.first.contains(&serial); // R6: its rank is 0.
        let by_rank = |t| listed || rank(r.salt.as_ref().unwrap_or(&r.id), &p.id, &serial) <= t; // R2
        let first_come = |taken| claimed || running && w.count.is_some_and(|n| taken < n); // R5
        let late = r.tail && d.entered_at > r.started_at && !listed && r.waves.last().is_some_and(|w| !w.open); // R4
        !late && (w.count.is_none() || r.first_come_taken.map_or(w.threshold.is_some_and(by_rank), first_come))
    });
    let turn = running && inside || live && rollout.is_some_and(|r| r.state == "paused"); // 6c
    let why = if running { "wave-not-open" } else { "rollout-paused" };
    let withheld = rollout.filter(|_| !turn).map(|_| later(why, None));
    let slot = turn && !claimed && wave.is_some_and(|(r, w)| r.first_come_taken.is_some() && w.count.is_some()); // V7
    let going = live || d.download_expires_at.is_some_and(|end| ask.now < end); // in the middle of a download
    let download = g.downloads.is_some() && !going;
    let serve = |file, due: bool| Answer { artifact: Some(file), effect: due.then_some("claim"), ..no(200, "serve") };
    const DAY: i128 = 86_400_000; // Question 11 but for the penalty, in milliseconds. The first day was a Thursday (3).
    let since = |s: &Span| (now - (i128::from(s.weekday) - 3) * DAY - i128::from(s.from) * 60_000).rem_euclid(7 * DAY);
    let length = |s: &Span| (i128::from(s.to) - i128::from(s.from)) * 60_000 + if s.from < s.to { 0 } else { DAY };
    let shut = !going && g.window.iter().any(|spans| spans.iter().all(|s| since(s) >= length(s)));
    let next = g.window.iter().flatten().map(|s| 7 * DAY - since(s)).min();
    let full = !going && g.downloads.is_some_and(|(cap, taken)| taken >= cap);
    let busy = refuse_if(shut, later("window-shut", next)).and(refuse_if(full, later("downloads-full", None)));
    if ask.want != Want::Firmware {
        let config = g.config.as_ref().map(|config| config.digests.clone());
        let assigned = if ask.want == Want::Config { config } else { g.resources.as_ref().and_then(named) };
        let nothing = document.as_ref().and(withheld.clone()).unwrap_or(no(404, "nothing-assigned"));
        let meant = if turn { document } else { assigned }.ok_or(nothing)?;
        let arrived = (turn && ask.want == Want::Config).then_some("seen"); // R9: one resource of several tells nothing
        refuse_if(agrees(&meant) == Some(true), withheld.unwrap_or(Answer { effect: arrived, ..no(304, "current") }))?;
        rollout.map_or(Ok(()), |_| busy)?; // Question 11, only where staged
        return Ok(serve(meant.blake3, rollout.is_some() && download || slot));
    }
    let (by, meant) = match (&d.pin, target) {
        (Some(pin), _) => ("6a", find(pin)),
        (None, Some(target)) if already_there(target) => ("6b", Some(target)),
        (None, Some(target)) if turn => ("6c", Some(target)),
        _ => {
            let above = g.baseline.iter().any(|baseline| order(version, baseline) == Some(Greater));
            refuse_if(!running && inside && above, later("rollout-paused", None))?; // 6d
            refuse_if(g.aborted.iter().any(|(top, down)| !down && equal(p, version, top)), no(304, "left"))?; // 6e
            ("6f", find(g.baseline.as_ref().ok_or(withheld.clone().unwrap_or(no(404, "nothing-assigned")))?))
        }
    };
    let meant = meant.ok_or(no(404, "firmware-missing"))?; // Question 6
    refuse_if(meant.denied, no(404, "firmware-denied"))?;
    refuse_if(by == "6f" && capped(meant), no(304, "held"))?;
    refuse_if(fitting(meant).count() == 0, no(404, "hardware"))?; // Question 7
    let current = Answer { effect: (by == "6b").then_some("seen"), ..no(304, "current") };
    refuse_if(already_there(meant), withheld.filter(|_| by == "6f").unwrap_or(current))?; // Question 8
    // Question 9: direction, and W4, W5 before it. A `downgrade` lifts it up to the aborted target (R10).
    let (parsed, forward_only) = (parse(p, version), g.forward_only && by != "6a");
    let held = p.hold_unreadable && parsed.is_none() && (forward_only || meant.from.is_some());
    refuse_if(held || p.hold_empty && parsed.iter().any(|v| v.0.is_empty()), no(304, "version-unreadable"))?;
    let lift = by == "6f" && g.aborted.iter().any(|(v, down)| *down && order(version, v).is_some_and(|o| o.is_le()));
    refuse_if(forward_only && !lift && order(version, &meant.version) == Some(Greater), no(304, "ahead"))?;
    let (mut at, mut hop) = (if parsed.is_none() { b"" } else { version }, None); // Question 10; unreadable is lowest
    let reached = |at: &[u8], f: &Firmware| f.from.iter().all(|from| order(at, from).is_some_and(Ordering::is_ge));
    while !reached(at, meant) {
        let between = |v: &str| order(at, v) == Some(Less) && order(meant.version.as_bytes(), v) == Some(Greater);
        let passable = |f: &&'a Firmware| f.stone && !f.denied && fitting(f).count() > 0 && reached(at, f);
        let stones = p.firmware.iter().filter(passable).filter(|f| between(&f.version));
        let highest = stones.max_by_key(|f| parse(p, f.version.as_bytes())).ok_or(no(404, "no-path"))?;
        (at, hop) = (highest.version.as_bytes(), hop.or(Some(highest)));
    }
    let hop = hop.unwrap_or(meant);
    busy?; // Question 11
    let penalty = d.penalty.iter().find(|(name, end)| *end > ask.now && equal(p, name.as_bytes(), &hop.version));
    penalty.map_or(Ok(()), |(_, end)| Err(later("penalty", Some(i128::from(*end) - now))))?;
    let delta = |a: &&Artifact| a.from.iter().any(|from| equal(p, version, from)) && agrees(&a.base) != Some(false);
    let full = fitting(hop).find(|a| a.from.is_none());
    let artifact = fitting(hop).find(delta).or(full).ok_or(no(404, "no-artifact"))?; // Question 12
    Ok(Answer { serves: Some(hop.version.clone()), ..serve(artifact.locator.clone(), download || slot && by == "6c") })
}
