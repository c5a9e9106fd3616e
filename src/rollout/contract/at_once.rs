//! The promises that only many at once can break. A call that fails there is made again afterwards, when there is time: a ledger that is not sure may fail.

use super::desk::{Desk, HOP, LIFE, at, download, of, offer, offer_of, outcomes, report, run, same, slot};
use super::hand::{AT_ONCE, Call, Done, Hand, name};
use crate::fleet::{Penalty, Run};
use crate::rollout::{ClaimAsk, Claimed, Noted, OfferAsk, Outcome, Report};
use crate::store::contract::{Finding, Kept, broken_by};
use crate::verdict::ClaimRefused;

/// How many devices come at once, for [`ROOM`] slots or places.
const DEVICES: usize = 32;
const ROOM: u32 = 10;
/// How often they come.
const ROUNDS: usize = 24;
/// How often they are reported about.
const REPORTED: usize = 8;

/// Makes the calls at once, and those that failed again. What came of them, and how many failed at first.
async fn race<H: Hand>(desk: &Desk<'_, H>, calls: &[Call<'_>]) -> Result<(Vec<Done>, usize), Finding> {
    let mut done = Vec::new();
    let mut failed = 0;
    for (call, outcome) in calls.iter().zip(desk.hand.race(&desk.ledger, calls).await) {
        done.push(match (outcome, call) {
            (Ok(outcome), _) => outcome,
            (Err(_), Call::Claim(ask, now)) => {
                failed += 1;
                Done::Claimed(desk.claim(*ask, *now).await?)
            }
            (Err(_), Call::Note(report, at)) => {
                failed += 1;
                Done::Noted(desk.note(report, *at).await?)
            }
        });
    }
    Ok((done, failed))
}

fn serials() -> Vec<String> {
    (0..DEVICES).map(|number| format!("device {number}")).collect()
}

/// Which of the devices were granted what they asked for; the others must have been refused for want of that.
fn granted<'s>(serials: &'s [String], done: &[Done], want: ClaimRefused) -> Result<Vec<&'s str>, Finding> {
    let mut granted = Vec::new();
    for (serial, done) in serials.iter().zip(done) {
        match done {
            Done::Claimed(Ok(_)) => granted.push(serial.as_str()),
            Done::Claimed(Err(refused)) if *refused == want => {}
            other => {
                broken_by(Some(format!("of many at once, {} is told {other:?}", name(serial))))?;
            }
        }
    }
    let (count, all) = (granted.len(), serials.len());
    broken_by((count != ROOM as usize).then(|| {
        format!("of {all} devices that claimed at once, {count} were granted, and there was room for {ROOM} ({want:?})")
    }))?;
    Ok(granted)
}

pub(super) async fn slots_hold<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let serials = serials();
    for round in 0..ROUNDS {
        let run = run(&format!("r {round}"))?;
        let claims: Vec<_> = serials.iter().map(|serial| Call::Claim(slot(&run, serial, ROOM, at(0)), at(0))).collect();
        let (done, _) = race(desk, &claims).await?;
        let granted = granted(&serials, &done, ClaimRefused::Slots)?;
        desk.counts("after many claimed slots at once", &run, &[(Outcome::Offered, ROOM.into())]).await?;
        for serial in &serials {
            let seen = desk.seen(of(&run, serial), at(0)).await?;
            let should = granted.contains(&serial.as_str());
            let what =
                format!("after many claimed slots at once, whether {} has one, and how many are taken", name(serial));
            same(&what, &(seen.tried.is_some(), seen.slots_taken), &(should, ROOM))?;
        }
    }
    Ok(())
}

pub(super) async fn places_hold<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    let serials = serials();
    for round in 0..ROUNDS {
        // When all places of the round before have ended, some at this very moment.
        let (now, end) = (at(round as i64 * LIFE), at((round + 1) as i64 * LIFE));
        let claims: Vec<_> =
            serials.iter().map(|serial| Call::Claim(download(of(&run, serial), ROOM, end), now)).collect();
        let (done, _) = race(desk, &claims).await?;
        let granted = granted(&serials, &done, ClaimRefused::Downloads)?;
        for serial in &serials {
            let seen = desk.seen(of(&run, serial), now).await?;
            let should = granted.contains(&serial.as_str()).then_some(end);
            let what = format!("after many claimed places at once, that of {}, and how many are live", name(serial));
            same(&what, &(seen.place, seen.downloads_now), &(should, ROOM))?;
        }
    }
    Ok(())
}

pub(super) async fn one_device_is_one<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    for round in 0..ROUNDS {
        // A new device at the first of four, then a new attempt of it.
        let serial = format!("device {}", round / 4);
        let number = (round % 4) as u32 + 1;
        let slots = (round / 4) as u32 + 1;
        let now = at(round as i64 * LIFE);
        let ask = ClaimAsk { downloads_max: Some(1), ..slot(&run, &serial, slots, now) };
        let (done, failed) = race(desk, &[Call::Claim(ask, now); 2 * AT_ONCE]).await?;
        let mut new = 0;
        for done in done {
            match done {
                Done::Claimed(Ok(Claimed { attempt, new: is_new })) if attempt == Some(number) => {
                    new += u32::from(is_new)
                }
                other => {
                    return broken_by(Some(format!(
                        "a device that is claimed for by many at once is told {other:?}, should be told attempt {number}"
                    )));
                }
            }
        }
        // Whoever was told of a failure may have been the first.
        if new > 1 || (new == 0 && failed == 0) {
            return broken_by(Some(format!(
                "{new} of many at once were told that their attempt is new, should be one"
            )));
        }
        let seen = desk.seen(of(&run, &serial), now).await?;
        let is = (seen.attempts, seen.claim, seen.place, seen.downloads_now, seen.slots_taken);
        let end = Some(now.plus_secs(LIFE));
        let what =
            "after one device was claimed for by many at once: attempts, ends of claim and place, downloads, slots";
        same(what, &is, &(number, end, end, 1, slots))?;
        desk.counts("after one device was claimed for by many at once", &run, &[(Outcome::Offered, slots.into())])
            .await?;
    }
    Ok(())
}

pub(super) async fn reports_add_up<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let serials = serials();
    for round in 0..REPORTED {
        let run = run(&format!("r {round}"))?;
        for (number, serial) in serials.iter().enumerate() {
            let ask = OfferAsk { wave: wave(number), hop: HOP, slots_max: None, missing: None, after: None };
            desk.granted(offer_of(&run, serial, ask, at(0)), at(0)).await?;
        }
        told_at_once(desk, &run, &serials).await?;
        told_while_offered(desk, &run, &serials).await?;
    }
    Ok(())
}

fn wave(number: usize) -> u32 {
    (number % 3) as u32
}

/// The last outcome of each device, which is its strongest too.
fn last(number: usize) -> Outcome {
    Outcome::ALL[number % Outcome::ALL.len()]
}

/// All outcomes of a device up to its last one, each twice, by different threads, and the strongest neither first nor last.
async fn told_at_once<H: Hand>(desk: &Desk<'_, H>, run: &Run, serials: &[String]) -> Kept {
    let penalty = Penalty { secs: 60, secs_max: 86_400 };
    let mut reports = Vec::new();
    for (place, outcome) in Outcome::ALL.iter().chain(Outcome::ALL.iter().rev()).enumerate() {
        for (number, serial) in serials.iter().enumerate() {
            // Whoever says so the second time knew of fewer resumes.
            let resumes = if place < Outcome::ALL.len() { 2 } else { 1 };
            if *outcome <= last(number) {
                reports.push(Report { penalty, resumes, ..report(run, serial, *outcome) });
            }
        }
    }
    let notes: Vec<_> = reports.iter().map(|report| Call::Note(report, at(10))).collect();
    let (done, failed) = race(desk, &notes).await?;
    for (number, serial) in serials.iter().enumerate().filter(|(number, _)| last(*number) != Outcome::Offered) {
        let strongest = |report: &Report| *report.serial == **serial && report.outcome == last(number);
        let told = reports.iter().zip(&done).filter(|(report, _)| strongest(report));
        let moved = told.filter(|(_, done)| matches!(done, Done::Noted(Noted::Moved))).count();
        // Whoever was told of a failure may have moved it.
        if moved > 1 || (moved == 0 && failed == 0) {
            let (whose, outcome) = (name(serial), last(number).name());
            return broken_by(Some(format!(
                "{moved} of many at once were told that they moved {whose} to {outcome}, should be one"
            )));
        }
    }

    let all = serials.len();
    for resumes in [0, 1, 2] {
        let statistics = desk.statistics(run, resumes).await?;
        for (wave, is) in statistics.waves.iter().enumerate() {
            let here = (0..all).filter(|number| self::wave(*number) as usize == wave);
            let should = outcomes(&here.map(|number| (last(number), 1)).collect::<Vec<_>>());
            same(&format!("after many reported at once, the account of wave {wave}"), is, &should)?;
        }
        let reported = (0..all).map(last).filter(|outcome| resumes <= 1 && *outcome != Outcome::Offered);
        let recent = outcomes(&reported.map(|outcome| (outcome, 1)).collect::<Vec<_>>());
        let what = format!("after many reported at once, what came about with at least {resumes} resumes");
        same(&what, &statistics.recent, &recent)?;
    }
    for (_, serial) in serials.iter().enumerate().filter(|(number, _)| last(*number) == Outcome::Missing) {
        let seen = desk.seen(of(run, serial), at(10)).await?;
        let should = Some((HOP.into(), at(70)));
        same(&format!("after many reported at once, the wait of {}", name(serial)), &seen.penalty, &should)?;
    }
    Ok(())
}

/// Each device is offered something anew, while others still say what became of its first attempt: whichever comes first, only the offer counts.
async fn told_while_offered<H: Hand>(desk: &Desk<'_, H>, run: &Run, serials: &[String]) -> Kept {
    let now = at(2 * LIFE);
    let late: Vec<_> = serials.iter().map(|serial| report(run, serial, Outcome::Failed).of_attempt(1)).collect();
    let mut calls = Vec::new();
    for (number, (serial, late)) in serials.iter().zip(&late).enumerate() {
        let (claim, note) = (Call::Claim(offer(run, serial, now), now), Call::Note(late, now));
        let turns = if number.is_multiple_of(2) { [note, claim, note] } else { [claim, note, claim] };
        calls.extend(turns);
    }
    race(desk, &calls).await?;
    let count = serials.len() as u64;
    let when = "after many were offered something anew, while their first attempts were reported";
    desk.counts(when, run, &[(Outcome::Offered, count)]).await?;
    for serial in serials {
        let tried = desk.tried(run, serial, now).await?;
        same(
            &format!("{when}, the attempt of {}", name(serial)),
            &(tried.number, tried.outcome),
            &(2, Outcome::Offered),
        )?;
    }
    Ok(())
}
