//! The promises of reports (R9), one after another, and in every order.

use super::desk::{Desk, HOP, LIFE, at, download, of, offer, offer_hop, outcomes, report, run, run_of, same};
use super::hand::Hand;
use crate::fleet::{Penalty, Run};
use crate::rollout::{ClaimAsk, Claimed, Noted, Of, Outcome, Report, Statistics};
use crate::store::contract::{Finding, Kept};
use crate::verdict::ClaimRefused;

use Outcome::{Confirmed, Downloaded, Failed, Installed, Missing, Offered};

pub(super) async fn latest_attempt_counts<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    let told =
        async |attempt, outcome, secs| desk.note(&Report { attempt, ..report(&run, "a", outcome) }, at(secs)).await;
    desk.granted(offer(&run, "a", at(0)), at(0)).await?;
    told(Some(1), Failed, 10).await?;
    desk.counts("after an attempt failed", &run, &[(Failed, 1)]).await?;
    let next = 2 * LIFE;
    desk.granted(offer(&run, "a", at(next)), at(next)).await?;
    desk.counts("after a new attempt of a device that failed", &run, &[(Offered, 1)]).await?;
    same("the outcome of a new attempt", &desk.tried(&run, "a", at(next)).await?.outcome, &Offered)?;
    // Late reports of the earlier attempt come to nothing, and end nothing.
    for outcome in Outcome::ALL {
        told(Some(1), outcome, next + 10).await?;
        let when = format!("after a late report that an earlier attempt is {}", outcome.name());
        desk.counts(&when, &run, &[(Offered, 1)]).await?;
        let seen = desk.seen(of(&run, "a"), at(next + 10)).await?;
        same(&format!("{when}, the end of the claim"), &seen.claim, &Some(at(next + LIFE)))?;
    }
    told(Some(2), Downloaded, next + 20).await?;
    desk.counts("after the latest attempt was downloaded", &run, &[(Downloaded, 1)]).await?;
    // Without a number: the latest.
    told(None, Installed, next + 30).await?;
    desk.counts("after a report without a number", &run, &[(Installed, 1)]).await?;
    told(Some(1), Failed, next + 40).await?;
    desk.counts("after a late report that an earlier attempt failed", &run, &[(Installed, 1)]).await
}

pub(super) async fn strongest_outcome_counts<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    let mut should = Vec::new();
    for first in Outcome::ALL {
        for second in Outcome::ALL {
            let serial = format!("{} {}", first.name(), second.name());
            desk.granted(offer(&run, &serial, at(0)), at(0)).await?;
            for outcome in [first, second] {
                desk.note(&report(&run, &serial, outcome), at(10)).await?;
            }
            let strongest = first.max(second);
            let tried = desk.tried(&run, &serial, at(10)).await?;
            let what = format!("what stands of an attempt that is {} and then {}", first.name(), second.name());
            same(&what, &tried.outcome, &strongest)?;
            should.push((strongest, 1));
            desk.counts(&format!("after a device is {} and then {}", first.name(), second.name()), &run, &should)
                .await?;
        }
    }
    Ok(())
}

pub(super) async fn strangers_do_not_count<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let known = run("r7")?;
    desk.granted(offer(&known, "a", at(0)), at(0)).await?;
    let was = (desk.seen(of(&known, "a"), at(10)).await?, desk.statistics(&known, 0).await?);
    let other = run("r8")?;
    let restarted = run_of("lamp", "stable", "r7", at(1))?;
    let mut strange = Vec::new();
    for outcome in Outcome::ALL {
        let about = |run: &Run, serial: &str, attempt| Report { attempt, ..report(run, serial, outcome) };
        strange.extend([
            ("a device that was never offered anything", about(&known, "b", None)),
            ("attempt 1 of a device that was never offered anything", about(&known, "b", Some(1))),
            ("a run that nobody was offered", about(&other, "a", None)),
            ("attempt 1 in a run that nobody was offered", about(&other, "a", Some(1))),
            ("a run that was started at another time", about(&restarted, "a", Some(1))),
            ("attempt 0", about(&known, "a", Some(0))),
            ("attempt 2 of 1", about(&known, "a", Some(2))),
            ("attempt 4294967295 of 1", about(&known, "a", Some(u32::MAX))),
        ]);
    }
    for (what, report) in &strange {
        desk.note(report, at(10)).await?;
        let when = format!("after a report that {what} is {}", report.outcome.name());
        let is = (desk.seen(of(&known, "a"), at(10)).await?, desk.statistics(&known, 0).await?);
        same(&format!("{when}, the account"), &is, &was)?;
        for run in [&other, &restarted] {
            same(&format!("{when}, the account of {run}"), &desk.statistics(run, 0).await?, &Statistics::default())?;
        }
        let seen = desk.seen(of(&known, "b"), at(10)).await?;
        same(&format!("{when}, what is held about it"), &(seen.tried, seen.penalty), &(None, None))?;
    }
    Ok(())
}

pub(super) async fn reports_are_answered<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    desk.granted(offer(&run, "a", at(0)), at(0)).await?;
    desk.granted(offer(&run, "a", at(LIFE)), at(LIFE)).await?;
    let turns = [
        (None, Offered, 0, Noted::Known),
        (Some(2), Offered, 0, Noted::Known),
        (Some(1), Failed, 0, Noted::Known),
        (Some(0), Failed, 0, Noted::Foreign),
        (Some(3), Failed, 0, Noted::Foreign),
        (Some(2), Downloaded, 1, Noted::Moved),
        (Some(2), Downloaded, 1, Noted::Known),
        (None, Offered, 1, Noted::Known),
        (None, Missing, 1, Noted::Moved),
        (None, Installed, 1, Noted::Moved),
        (None, Downloaded, 1, Noted::Known),
        // It says when the outcome came about, and moves nobody.
        (None, Installed, 0, Noted::Known),
        (Some(2), Confirmed, 1, Noted::Moved),
        (Some(1), Confirmed, 1, Noted::Known),
        (Some(2), Failed, 1, Noted::Moved),
        (Some(2), Confirmed, 1, Noted::Known),
        (None, Failed, 1, Noted::Known),
    ];
    for (attempt, outcome, resumes, should) in turns {
        let noted = desk.note(&Report { attempt, resumes, ..report(&run, "a", outcome) }, at(LIFE + 1)).await?;
        let which = attempt.map_or("its latest attempt".to_owned(), |number| format!("attempt {number} of 2"));
        same(&format!("what is said to a report that {which} is {}", outcome.name()), &noted, &should)?;
    }
    for (run, serial) in [(&run, "b"), (&self::run("r8")?, "a")] {
        let noted = desk.note(&report(run, serial, Failed), at(0)).await?;
        same("what is said to a report of what was never offered", &noted, &Noted::Foreign)?;
    }
    Ok(())
}

pub(super) async fn recent_is_since_resume<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    // By device: what is reported with how many resumes, and what is to count, with how many.
    type With = (Outcome, u32);
    let devices: [(&str, &[With], With); 7] = [
        ("a", &[(Failed, 0)], (Failed, 0)),
        ("b", &[(Failed, 1)], (Failed, 1)),
        ("c", &[(Missing, 0), (Failed, 2)], (Failed, 2)),
        ("d", &[(Failed, 2), (Installed, 0)], (Failed, 2)),
        ("e", &[(Installed, 2), (Installed, 1), (Installed, 2)], (Installed, 1)),
        ("f", &[(Confirmed, 3)], (Confirmed, 3)),
        ("g", &[(Offered, 3)], (Offered, 0)),
    ];
    for (serial, reports, _) in devices {
        desk.granted(offer(&run, serial, at(0)), at(0)).await?;
        for (outcome, resumes) in reports {
            desk.note(&Report { resumes: *resumes, ..report(&run, serial, *outcome) }, at(10)).await?;
        }
    }
    // Offers are in no recent account: what was only offered came about at no time.
    let counts = |since: u32| {
        let counted = devices.iter().map(|(.., counts)| *counts);
        let recent = counted.filter(|(outcome, resumes)| *resumes >= since && *outcome != Offered);
        outcomes(&recent.map(|(outcome, _)| (outcome, 1)).collect::<Vec<_>>())
    };
    for since in [0, 1, 2, 3, 4, u32::MAX] {
        let recent = desk.statistics(&run, since).await?.recent;
        same(&format!("what came about with at least {since} resumes"), &recent, &counts(since))?;
    }
    // Whoever is offered something anew is recent no more.
    desk.granted(offer(&run, "b", at(LIFE)), at(LIFE)).await?;
    let recent = desk.statistics(&run, 1).await?.recent.failed;
    same("how many failed with at least 1 resume, after one of three was offered anew", &recent, &2)
}

pub(super) async fn reports_end_claims<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    // What is reported at 100 with a grace, and when claim and place end then.
    let rows = [
        ("downloaded", Downloaded, 60, 160),
        ("downloaded without grace", Downloaded, 0, 100),
        ("downloaded with more grace than they live", Downloaded, 86_400, LIFE),
        ("missing", Missing, 60, 100),
        ("installed", Installed, 60, 100),
        ("confirmed", Confirmed, 60, 100),
        ("failed", Failed, 60, 100),
    ];
    for (number, (what, outcome, grace_secs, end)) in rows.into_iter().enumerate() {
        // A group of its own, so that its places are.
        let run = run_of("lamp", &format!("stable {number}"), "r7", at(0))?;
        let ask = ClaimAsk { downloads_max: Some(1), ..offer(&run, "a", at(0)) };
        desk.granted(ask, at(0)).await?;
        desk.note(&Report { grace_secs, ..report(&run, "a", outcome) }, at(100)).await?;
        let ends = async |when: &str, secs: i64| {
            let seen = desk.seen(of(&run, "a"), at(secs)).await?;
            let left = (end > secs).then(|| at(end));
            let is = (seen.claim, seen.place, seen.downloads_now);
            let should = (left, left, u32::from(left.is_some()));
            same(&format!("{when}, the ends of claim and place, and the downloads"), &is, &should)
        };
        ends(&format!("right after it was {what}"), 100).await?;
        // Said again later, nothing lives longer.
        desk.note(&Report { grace_secs, ..report(&run, "a", outcome) }, at(130)).await?;
        ends(&format!("after it was said twice that it was {what}"), 150).await?;

        let other = download(of(&run, "b"), 1, at(LIFE + 60));
        if end > 155 {
            desk.refused(other, ClaimRefused::Downloads, at(155)).await?;
            let claimed = desk.granted(ask, at(155)).await?;
            let same_attempt = Claimed { attempt: Some(1), new: false };
            same(&format!("the same offer in the grace after it was {what}"), &claimed, &same_attempt)?;
            ends(&format!("just before the grace ends, of what was {what}"), 159).await?;
            ends(&format!("when the grace ends, of what was {what}"), 160).await?;
        } else {
            desk.granted(other, at(155)).await?;
            let claimed = desk.granted(offer(&run, "a", at(155)), at(155)).await?;
            let next = Claimed { attempt: Some(2), new: true };
            same(&format!("the offer after it was {what}"), &claimed, &next)?;
        }
    }
    no_other_ends(desk).await
}

/// What a report does not end: the claim of a later attempt, the place of another device, a claim that ended long before.
async fn no_other_ends<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    let both = |serial, secs| ClaimAsk { downloads_max: Some(9), ..offer(&run, serial, at(secs)) };
    desk.granted(both("a", 0), at(0)).await?;
    desk.granted(both("b", 0), at(0)).await?;
    let end = |end| (Some(at(end)), Some(at(end)));
    let ends = async |serial, now| {
        let seen = desk.seen(of(&run, serial), at(now)).await?;
        Ok::<_, Finding>((seen.claim, seen.place))
    };
    desk.note(&report(&run, "a", Failed), at(10)).await?;
    same("the ends of claim and place, after another device failed", &ends("b", 10).await?, &end(LIFE))?;

    desk.granted(both("a", 20), at(20)).await?;
    desk.note(&report(&run, "a", Failed).of_attempt(1), at(30)).await?;
    let late = report(&run, "a", Confirmed).of_attempt(1);
    desk.note(&late, at(30)).await?;
    same(
        "the ends of claim and place, after late reports of an earlier attempt",
        &ends("a", 30).await?,
        &end(20 + LIFE),
    )?;
    desk.note(&report(&run, "a", Failed).of_attempt(7), at(30)).await?;
    same("the ends of claim and place, after a report of no attempt", &ends("a", 30).await?, &end(20 + LIFE))?;

    // What had ended by then lives no longer for it.
    desk.note(&report(&run, "b", Downloaded), at(2 * LIFE)).await?;
    let lapsed = ends("b", 2 * LIFE).await?;
    same("the ends of claim and place that lapsed before a download", &lapsed, &(None, None))?;
    // A place that was taken without a run is given up as well: it is the device's.
    let late = 3 * LIFE;
    desk.granted(download(Of { run: None, ..of(&run, "c") }, 9, at(late + LIFE)), at(late)).await?;
    desk.granted(offer(&run, "c", at(late)), at(late)).await?;
    desk.note(&report(&run, "c", Installed), at(late + 10)).await?;
    same("the ends of claim and place of who arrived", &ends("c", late + 10).await?, &(None, None))
}

pub(super) async fn penalty_doubles<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    let penalty = Penalty { secs: 60, secs_max: 200 };
    let waits = async |when: &str, now: i64, should: Option<(&str, i64)>| {
        let seen = desk.seen(of(&run, "a"), at(now)).await?;
        let should = should.map(|(hop, end)| (Box::from(hop), at(end)));
        same(&format!("{when}, the hop at which a device has to wait, and until when"), &seen.penalty, &should)
    };
    let offered = async |hop: &str, now: i64| desk.granted(offer_hop(&run, "a", hop, at(now)), at(now)).await;
    let told = async |outcome, now: i64| desk.note(&Report { penalty, ..report(&run, "a", outcome) }, at(now)).await;
    let other = "3.0.0";

    offered(HOP, 0).await?;
    told(Downloaded, 5).await?;
    waits("before anything failed", 5, None).await?;
    told(Failed, 10).await?;
    waits("after it failed once", 10, Some((HOP, 70))).await?;
    // The same attempt fails once, however often it is said.
    told(Failed, 20).await?;
    waits("after the same failure was told twice", 20, Some((HOP, 70))).await?;
    waits("before the wait is over", 69, Some((HOP, 70))).await?;
    waits("when the wait is over", 70, None).await?;
    offered(HOP, 100).await?;
    waits("after the next offer", 100, None).await?;
    told(Missing, 110).await?;
    waits("after it failed at two attempts", 110, Some((HOP, 230))).await?;
    // Missing, and then failed: one failing attempt.
    told(Failed, 120).await?;
    waits("after what was missing failed", 120, Some((HOP, 240))).await?;
    told(Missing, 130).await?;
    waits("after what failed is missing", 130, Some((HOP, 240))).await?;
    // A late report of an earlier attempt, and one of no attempt.
    for number in [1, 7] {
        let late = Report { penalty, ..report(&run, "a", Failed).of_attempt(number) };
        desk.note(&late, at(140)).await?;
        waits("after a failure that is not the latest attempt's", 140, Some((HOP, 240))).await?;
    }
    offered(HOP, 300).await?;
    told(Failed, 310).await?;
    waits("after it failed at three attempts, with a longest wait of 200 seconds", 310, Some((HOP, 510))).await?;

    offered(other, 320).await?;
    waits("after an offer of another hop, at the first one", 320, Some((HOP, 510))).await?;
    told(Failed, 330).await?;
    waits("after it failed once at another hop", 330, Some((other, 390))).await?;
    offered(other, 400).await?;
    told(Failed, 410).await?;
    waits("after it failed twice at another hop", 410, Some((other, 530))).await?;

    for (arrived, now) in [(Installed, 1_000), (Confirmed, 2_000)] {
        let name = arrived.name();
        offered(other, now).await?;
        told(Failed, now + 10).await?;
        offered(other, now + 20).await?;
        told(arrived, now + 30).await?;
        waits(&format!("after it is {name}"), now + 30, None).await?;
        offered(other, now + 40).await?;
        told(Failed, now + 50).await?;
        waits(&format!("after it failed once since it was {name}"), now + 50, Some((other, now + 110))).await?;
    }
    // Without a penalty nobody waits, but the attempt failed all the same.
    offered(HOP, 3_000).await?;
    let none = Penalty { secs: 0, ..penalty };
    desk.note(&Report { penalty: none, ..report(&run, "a", Failed) }, at(3_010)).await?;
    waits("after a failure without penalty", 3_010, None).await?;
    offered(HOP, 3_020).await?;
    told(Failed, 3_030).await?;
    waits("after it failed twice, the first time without penalty", 3_030, Some((HOP, 3_150))).await
}

pub(super) async fn order_does_not_matter<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    type Row = (Option<u32>, Outcome, u32, Whom);
    #[derive(Clone, Copy, Debug)]
    enum Whom {
        Device,
        Stranger,
        OtherRun,
    }
    use Whom::{Device, OtherRun, Stranger};
    // What is reported about a device with two attempts: attempt, outcome, resumes; what is to stand in the end, with how many resumes.
    let sets: [(&[Row], Outcome, u32); 4] = [
        (
            &[
                (Some(1), Failed, 5, Device),
                (Some(2), Downloaded, 2, Device),
                (None, Missing, 0, Device),
                (Some(2), Installed, 2, Device),
                (Some(2), Installed, 1, Device),
                (Some(3), Failed, 0, Device),
            ],
            Installed,
            1,
        ),
        (
            &[
                (Some(2), Failed, 2, Device),
                (None, Failed, 1, Device),
                (Some(2), Confirmed, 0, Device),
                (Some(1), Failed, 0, Device),
                (None, Failed, 0, Stranger),
            ],
            Failed,
            1,
        ),
        (
            &[
                (Some(0), Failed, 0, Device),
                (Some(2), Confirmed, 3, Device),
                (None, Installed, 0, Device),
                (None, Failed, 0, OtherRun),
                (Some(2), Missing, 0, Device),
            ],
            Confirmed,
            3,
        ),
        (
            &[
                (Some(2), Downloaded, 1, Device),
                (Some(2), Downloaded, 1, Device),
                (None, Offered, 7, Device),
                (Some(1), Installed, 1, Device),
            ],
            Downloaded,
            1,
        ),
    ];
    for (set, (rows, outcome, resumes)) in sets.into_iter().enumerate() {
        let mut first = None;
        for (number, order) in orders(rows.len()).into_iter().enumerate() {
            let run = run(&format!("r {set} {number}"))?;
            let foreign = self::run(&format!("f {set} {number}"))?;
            desk.granted(offer(&run, "a", at(0)), at(0)).await?;
            let place = ClaimAsk { downloads_max: Some(u32::MAX), ..offer(&run, "a", at(LIFE)) };
            desk.granted(place, at(LIFE)).await?;
            let ordered: Vec<_> = order.iter().filter_map(|at| rows.get(*at)).collect();
            // What was told at which moment is the same in every order; only what comes first is not.
            for (row, (attempt, outcome, resumes, whom)) in order.iter().zip(&ordered) {
                let moment = at(LIFE + 10 + 7 * *row as i64);
                let (run, serial) = match whom {
                    Device => (&run, "a"),
                    Stranger => (&run, "b"),
                    OtherRun => (&foreign, "a"),
                };
                let report = Report { attempt: *attempt, resumes: *resumes, ..report(run, serial, *outcome) };
                desk.note(&report, moment).await?;
            }
            let is = desk.seen(of(&run, "a"), at(LIFE)).await?;
            desk.release(Of { run: None, ..of(&run, "a") }, at(0)).await?;
            let should = first.get_or_insert_with(|| is.clone());
            same(&format!("after reports (attempt, outcome, resumes) {ordered:?}, what is held"), &is, should)?;
            // Asked with what tells whether it is recent; and beyond.
            for since in [resumes, resumes + 1] {
                let mut should = Statistics { waves: vec![outcomes(&[(outcome, 1)])], ..Statistics::default() };
                if since == resumes {
                    should.recent = outcomes(&[(outcome, 1)]);
                }
                let is = desk.statistics(&run, since).await?;
                same(&format!("after reports (attempt, outcome, resumes) {ordered:?}, the account"), &is, &should)?;
            }
        }
    }
    Ok(())
}

/// Every order of so many.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for next in 0..count {
        let longer = |order: Vec<usize>| {
            (0..=order.len()).map(move |place| {
                let mut order = order.clone();
                order.insert(place, next);
                order
            })
        };
        orders = orders.into_iter().flat_map(longer).collect();
    }
    orders
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_order_is_there_once() {
        let orders = orders(6);
        assert_eq!(orders.len(), 720);
        assert_eq!(orders.iter().collect::<BTreeSet<_>>().len(), 720);
        let sorted = |order: &Vec<usize>| order.iter().copied().collect::<BTreeSet<_>>().len() == 6;
        assert!(orders.iter().all(sorted));
    }
}
