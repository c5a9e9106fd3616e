//! The promises of accounts as a whole: that they begin empty, stay apart, keep what they are given, and are forgotten.

use super::desk::{Desk, HOP, LIFE, Seen, at, download, of, offer, offer_hop, offer_of, report, run, run_of, same};
use super::hand::{Hand, name};
use crate::fleet::{Penalty, Run, WAVES_MAX};
use crate::rollout::{ClaimAsk, Claimed, Of, OfferAsk, Outcome, Report, Statistics};
use crate::store::contract::{Kept, NEAR_TEXTS, TEXTS};
use crate::time::Timestamp;
use crate::verdict::ClaimRefused;

pub(super) async fn begins_empty<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    let nothing = async |when: &str| {
        for of in [of(&run, "a"), Of { run: None, ..of(&run, "a") }, of(&run, "")] {
            same(&format!("{when}, what is held about a device"), &desk.seen(of, at(0)).await?, &Seen::default())?;
        }
        for resumes in [0, 1, u32::MAX] {
            let statistics = desk.statistics(&run, resumes).await?;
            same(&format!("{when}, the account of a run"), &statistics, &Statistics::default())?;
        }
        Kept::Ok(())
    };
    nothing("in a new ledger").await?;
    for attempt in [None, Some(0), Some(1)] {
        desk.note(&Report { attempt, ..report(&run, "a", Outcome::Failed) }, at(0)).await?;
        nothing("after a report about a run that was never offered to anybody").await?;
    }
    desk.forget(&run).await?;
    nothing("after a run was forgotten that was never offered to anybody").await?;

    // The first device stands in a run alone, and alone in its group.
    desk.granted(offer(&run, "a", at(0)), at(0)).await?;
    let seen = desk.seen(of(&run, "b"), at(0)).await?;
    let should = Seen { slots_taken: 1, ..Seen::default() };
    same("what is held about a device, where another was offered something", &seen, &should)
}

pub(super) async fn runs_are_apart<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let started_at = at(0);
    let runs = [
        run_of("lamp", "stable", "r7", started_at)?,
        run_of("pump", "stable", "r7", started_at)?,
        run_of("lamp", "beta", "r7", started_at)?,
        run_of("lamp", "stable", "r8", started_at)?,
        run_of("lamp", "stable", "r7", Timestamp::from_millis(started_at.millis() + 1))?,
        // Whoever joins the names with a separator joins these to the first's.
        run_of("lamp/stable", "r7", "r7", started_at)?,
        run_of("lamp", "stable/r7", "r7", started_at)?,
        run_of("l", "ampstable", "r7", started_at)?,
    ];
    let which = |run: &Run| format!("{run}, started at {}", run.started_at);
    for (before, run) in runs.iter().enumerate() {
        let seen = desk.seen(of(run, "a"), at(0)).await?;
        same(&format!("after {before} other runs, what is held of {}", which(run)), &seen, &Seen::default())?;
        // One slot, and the same device in each.
        let ask =
            offer_of(run, "a", OfferAsk { wave: 0, hop: HOP, slots_max: Some(1), missing: None, after: None }, at(0));
        let claimed = desk.claim(ask, at(0)).await?;
        let should = Ok(Claimed { attempt: Some(1), new: true });
        same(&format!("after {before} other runs, the first offer of {}", which(run)), &claimed, &should)?;
    }
    // What becomes of it in one becomes of it in no other.
    for (at_run, outcome) in [(0, Outcome::Failed), (4, Outcome::Installed)] {
        if let Some(run) = runs.get(at_run) {
            desk.note(&report(run, "a", outcome), at(10)).await?;
        }
    }
    for (number, run) in runs.iter().enumerate() {
        let should = match number {
            0 => Outcome::Failed,
            4 => Outcome::Installed,
            _ => Outcome::Offered,
        };
        let tried = desk.tried(run, "a", at(10)).await?;
        same(&format!("the outcome in {}", which(run)), &tried.outcome, &should)?;
        desk.counts(&format!("of {}", which(run)), run, &[(should, 1)]).await?;
        let penalty = desk.seen(of(run, "a"), at(10)).await?.penalty.filter(|_| number > 0);
        same(&format!("the penalty owed in {}", which(run)), &penalty, &None)?;
    }
    Ok(())
}

pub(super) async fn text_survives<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let serials = TEXTS;
    // Each device is offered its own name in a run; every third takes a place; every second fails then.
    let run = run("r7")?;
    let kept = |at: usize| if at.is_multiple_of(2) { Outcome::Failed } else { Outcome::Offered };
    for (number, text) in serials.iter().enumerate() {
        let ask = offer_hop(&run, text, text, at(0));
        let ask = ClaimAsk { downloads_max: number.is_multiple_of(3).then_some(u32::MAX), ..ask };
        let claimed = desk.granted(ask, at(0)).await?;
        let first = Claimed { attempt: Some(1), new: true };
        same(&format!("the first offer to {}", name(text)), &claimed, &first)?;
    }
    let texts = u32::try_from(serials.len()).unwrap_or(u32::MAX);
    for (number, text) in serials.iter().enumerate() {
        let seen = desk.seen(of(&run, text), at(1)).await?;
        same(
            "how many slots and places are taken",
            &(seen.slots_taken, seen.downloads_now),
            &(texts, texts.div_ceil(3)),
        )?;
        same(&format!("whether {} has a place", name(text)), &seen.place.is_some(), &number.is_multiple_of(3))?;
    }
    for (_, text) in serials.iter().enumerate().filter(|(number, _)| kept(*number) == Outcome::Failed) {
        desk.note(&report(&run, text, Outcome::Failed), at(1)).await?;
    }
    for (number, text) in serials.iter().enumerate() {
        let seen = desk.seen(of(&run, text), at(1)).await?;
        let tried = desk.tried(&run, text, at(1)).await?;
        same(&format!("the hop of {}", name(text)), &&*tried.hop, text)?;
        same(&format!("the outcome of {}", name(text)), &tried.outcome, &kept(number))?;
        let hop = seen.penalty.map(|(hop, _)| hop);
        let owed = (kept(number) == Outcome::Failed).then(|| Box::from(*text));
        same(&format!("the hop at which {} has to wait", name(text)), &hop, &owed)?;
    }
    for text in NEAR_TEXTS {
        let seen = desk.seen(of(&run, text), at(1)).await?;
        let what = format!("what is held about {}, that was never offered anything", name(text));
        same(&what, &(seen.tried, seen.place, seen.penalty), &(None, None, None))?;
    }
    hops_differ(desk).await?;
    names_differ(desk).await
}

/// A hop is another hop where it differs in a letter's case or a blank.
async fn hops_differ<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r8")?;
    let hops = ["1.0-rc", "1.0-RC", "1.0-RC ", "1.0-rc", "1.00", "1.0", "", "käfer", "kafer", "ka\u{308}fer"];
    for (hop, number) in hops.into_iter().zip(1..) {
        let claimed = desk.granted(offer_hop(&run, "a", hop, at(0)), at(0)).await?;
        let what = format!("the offer of `{hop}` to a device that was offered another hop before");
        same(&what, &claimed, &Claimed { attempt: Some(number), new: true })?;
    }
    Ok(())
}

/// Products, groups and rollouts have names of the same kind.
async fn names_differ<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let now = at(0);
    for (number, text) in TEXTS.iter().enumerate() {
        // Turns, so that each text is each kind of name.
        let run = match number % 3 {
            0 => run_of(text, "stable", "r9", now)?,
            1 => run_of("lamp", text, "r9", now)?,
            _ => run_of("lamp", "stable", text, now)?,
        };
        let seen = desk.seen(of(&run, "a"), now).await?;
        let what = format!("how many slots of {run} are taken, before anybody was offered anything in it");
        same(&what, &seen.slots_taken, &0)?;
        desk.granted(offer(&run, "a", now), now).await?;
        desk.note(&report(&run, "a", Outcome::Installed), now).await?;
        desk.counts(&format!("of {run}"), &run, &[(Outcome::Installed, 1)]).await?;
    }
    Ok(())
}

pub(super) async fn numbers_survive<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let (first, last) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
    let just_before = Timestamp::from_millis(i64::MAX - 1);
    let odd = Timestamp::from_millis(-62_135_596_800_001);
    let times = [
        (first, first.plus_secs(1)),
        (first, last),
        (odd, Timestamp::from_millis(odd.millis() + 1)),
        (Timestamp::from_millis(-1), Timestamp::from_millis(0)),
        (Timestamp::from_millis(0), Timestamp::from_millis(1)),
        (Timestamp::from_millis(253_402_300_799_999), just_before),
        (just_before, last),
    ];
    for (number, (now, until)) in times.into_iter().enumerate() {
        // A run of its own, started at that time, and a group of its own.
        let run = run_of("lamp", &format!("stable {number}"), "r7", now)?;
        let ask = ClaimAsk { until, downloads_max: Some(1), ..offer(&run, "a", now) };
        desk.granted(ask, now).await?;
        let seen = desk.seen(of(&run, "a"), now).await?;
        let when = format!("of a claim from {} to {} ms", now.millis(), until.millis());
        let ends = (seen.claim, seen.place, seen.downloads_now);
        same(
            &format!("the ends {when}, of claim and place, and the downloads"),
            &ends,
            &(Some(until), Some(until), 1),
        )?;
        let tried = seen.tried.map(|tried| tried.first_offered_at);
        same(&format!("the time {when}, first offered"), &tried, &Some(now))?;
        let full = download(of(&run, "b"), 1, until);
        desk.refused(full, ClaimRefused::Downloads, now).await?;
        desk.counts(&format!("of a run that was started at {} ms", now.millis()), &run, &[(Outcome::Offered, 1)])
            .await?;
    }

    wide_numbers(desk).await?;
    // A wait that ends beyond the end of time ends there.
    let run = run("r8")?;
    desk.granted(ClaimAsk { until: last, ..offer(&run, "a", just_before) }, just_before).await?;
    desk.note(&report(&run, "a", Outcome::Failed), just_before).await?;
    let seen = desk.seen(of(&run, "a"), just_before).await?;
    same("a penalty at the end of time", &seen.penalty, &Some((HOP.into(), last)))
}

/// The highest of what is counted.
async fn wide_numbers<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    let last_wave = u32::try_from(WAVES_MAX - 1).unwrap_or(u32::MAX);
    let offer = OfferAsk { wave: last_wave, hop: HOP, slots_max: Some(u32::MAX), missing: None, after: None };
    let ask = ClaimAsk { downloads_max: Some(u32::MAX), ..offer_of(&run, "a", offer, at(0)) };
    desk.granted(ask, at(0)).await?;
    let wave = desk.tried(&run, "a", at(0)).await?.wave;
    same("the last wave that a rollout can have", &wave, &last_wave)?;

    desk.note(&Report { attempt: Some(u32::MAX), ..report(&run, "a", Outcome::Failed) }, at(1)).await?;
    desk.counts("after a report of attempt 4294967295", &run, &[(Outcome::Offered, 1)]).await?;
    let long = Penalty { secs: u32::MAX, secs_max: u32::MAX };
    let failed =
        Report { resumes: u32::MAX, penalty: long, grace_secs: u32::MAX, ..report(&run, "a", Outcome::Failed) };
    // The longest grace prolongs nothing.
    desk.note(&Report { outcome: Outcome::Downloaded, ..failed.clone() }, at(1)).await?;
    let seen = desk.seen(of(&run, "a"), at(1)).await?;
    same(
        "the end of claim and place after the longest grace",
        &(seen.claim, seen.place),
        &(Some(at(LIFE)), Some(at(LIFE))),
    )?;
    desk.note(&failed, at(2)).await?;
    let seen = desk.seen(of(&run, "a"), at(2)).await?;
    let end = at(2).plus_secs(u32::MAX.into());
    same("the longest penalty", &seen.penalty, &Some((HOP.into(), end)))?;
    let statistics = desk.statistics(&run, u32::MAX).await?;
    let is = (statistics.waves.len(), statistics.wave(WAVES_MAX - 1).failed, statistics.recent.failed);
    same("waves, failures in the last one, and recent failures at the highest resumes", &is, &(WAVES_MAX, 1, 1))
}

pub(super) async fn forgets_one_run<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let started_at = at(0);
    let gone = run("r7")?;
    let others = [
        run_of("pump", "stable", "r7", started_at)?,
        run_of("lamp", "beta", "r7", started_at)?,
        run_of("lamp", "stable", "r8", started_at)?,
        run_of("lamp", "stable", "r7", at(1))?,
    ];
    for run in [&gone].into_iter().chain(&others) {
        for serial in ["a", "b", "c"] {
            let ask = ClaimAsk { downloads_max: Some(9), ..offer(run, serial, at(0)) };
            desk.granted(ask, at(0)).await?;
        }
        desk.note(&report(run, "b", Outcome::Failed), at(1)).await?;
        desk.note(&report(run, "c", Outcome::Installed), at(1)).await?;
    }
    let look = async || {
        let mut looks = Vec::new();
        for run in &others {
            for serial in ["a", "b", "c"] {
                looks.push(desk.seen(of(run, serial), at(2)).await?);
            }
        }
        let mut accounts = Vec::new();
        for run in &others {
            accounts.push(desk.statistics(run, 0).await?);
        }
        Ok::<_, crate::store::contract::Finding>((looks, accounts))
    };
    let before = look().await?;
    for times in ["once", "twice"] {
        desk.forget(&gone).await?;
        let when = format!("after a run was forgotten {times}");
        same(&format!("{when}, its account"), &desk.statistics(&gone, 0).await?, &Statistics::default())?;
        for serial in ["a", "b", "c"] {
            let seen = desk.seen(of(&gone, serial), at(2)).await?;
            // The places are the group's, not the run's.
            let place = (serial == "a").then(|| at(LIFE));
            let should = Seen { place, downloads_now: 1, ..Seen::default() };
            same(&format!("{when}, what is held about {}", name(serial)), &seen, &should)?;
        }
        same(&format!("{when}, what is held of others"), &look().await?, &before)?;
    }
    // A report that was late comes to nothing, and who is offered it again begins anew.
    desk.note(&report(&gone, "a", Outcome::Failed), at(3)).await?;
    desk.counts("after a late report about a run that was forgotten", &gone, &[]).await?;
    let claimed = desk.granted(offer(&gone, "b", at(4)), at(4)).await?;
    same("the first offer in a run that was forgotten", &claimed, &Claimed { attempt: Some(1), new: true })?;
    desk.counts("after an offer in a run that was forgotten", &gone, &[(Outcome::Offered, 1)]).await
}
