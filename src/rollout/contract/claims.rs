//! The promises of one device's claims, one after another.

use super::desk::{Desk, HOP, LIFE, at, of, offer, offer_hop, offer_of, report, run, same};
use super::hand::Hand;
use crate::rollout::{ClaimAsk, Claimed, OfferAsk, Outcome, Tried};
use crate::store::contract::Kept;

/// That attempt, and it was not there before.
fn new(number: u32) -> Claimed {
    Claimed { attempt: Some(number), new: true }
}

/// That attempt, and it was there.
fn known(number: u32) -> Claimed {
    Claimed { attempt: Some(number), new: false }
}

pub(super) async fn attempts_count_from_one<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    // Long after the last claim ended, so that only the count is asked.
    let days = |days: i64| at(days * 86_400);
    let turns = [("a", 0, 1), ("b", 0, 1), ("a", 1, 2), ("a", 2, 3), ("b", 2, 2), ("a", 9, 4)];
    for (serial, day, number) in turns {
        let claimed = desk.granted(offer(&run, serial, days(day)), days(day)).await?;
        same(&format!("on day {day} the offer to device `{serial}`"), &claimed, &new(number))?;
        let seen = desk.seen(of(&run, serial), days(day)).await?;
        let numbers = (seen.attempts, seen.tried.map(|tried| tried.number));
        same(&format!("what is held of the attempts of device `{serial}`"), &numbers, &(number, Some(number)))?;
    }
    let serial = "a";
    let seen = desk.seen(of(&run, serial), days(30)).await?;
    same("the number of a device's attempts, long after the last", &seen.attempts, &4)
}

pub(super) async fn live_claim_is_kept<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    desk.granted(offer(&run, "a", at(0)), at(0)).await?;
    let first =
        Tried { number: 1, wave: 0, hop: HOP.into(), offers: 1, first_offered_at: at(0), outcome: Outcome::Offered };
    for secs in [0, 1, 60, LIFE - 1] {
        let again = OfferAsk { wave: 3, hop: HOP, slots_max: None, missing: None, after: None };
        let claimed = desk.granted(offer_of(&run, "a", again, at(secs)), at(secs)).await?;
        same(&format!("the same offer, {secs} seconds into a claim of {LIFE}"), &claimed, &known(1))?;
        let seen = desk.seen(of(&run, "a"), at(secs)).await?;
        same("the end of a claim that was asked for again", &seen.claim, &Some(at(LIFE)))?;
        same("an attempt that was asked for again", &seen.tried, &Some(first.clone()))?;
    }
    // Nor does asking for less shorten it.
    let sooner = ClaimAsk { until: at(LIFE / 2), ..offer(&run, "a", at(60)) };
    desk.granted(sooner, at(60)).await?;
    let seen = desk.seen(of(&run, "a"), at(60)).await?;
    same("the end of a claim that was asked for again, for a shorter time", &seen.claim, &Some(at(LIFE)))?;
    desk.counts("after one offer that was asked for many times", &run, &[(Outcome::Offered, 1)]).await
}

pub(super) async fn claim_lapses<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    desk.granted(offer(&run, "a", at(0)), at(0)).await?;
    let end = at(LIFE);
    let last = crate::time::Timestamp::from_millis(end.millis() - 1);
    let claimed = desk.granted(offer(&run, "a", last), last).await?;
    same("the same offer, in the last millisecond of its claim", &claimed, &known(1))?;
    let claimed = desk.granted(offer(&run, "a", end), end).await?;
    same("the same offer, at the moment at which its claim ended", &claimed, &new(2))?;
    let seen = desk.seen(of(&run, "a"), end).await?;
    same("the end of a new claim", &seen.claim, &Some(end.plus_secs(LIFE)))?;
    let seen = desk.seen(of(&run, "a"), end.plus_secs(LIFE)).await?;
    same("what is held of a claim at the moment at which it ends", &seen.claim, &None)?;
    same("whether there is a claim, also one that lapsed (R5)", &seen.claimed, &true)?;

    // To another hop while the claim lives, to and fro.
    for (secs, hop, number) in [(0, HOP, 1), (60, "3.0.0", 2), (120, HOP, 3), (180, "", 4)] {
        let secs = 3 * LIFE + secs;
        let claimed = desk.granted(offer_hop(&run, "b", hop, at(secs)), at(secs)).await?;
        same(&format!("the offer of `{hop}` while a claim for another hop lives"), &claimed, &new(number))?;
        let seen = desk.seen(of(&run, "b"), at(secs)).await?;
        same("the end of a claim for another hop", &seen.claim, &Some(at(secs + LIFE)))?;
        same("the hop that was offered last", &seen.tried.map(|tried| tried.hop), &Some(hop.into()))?;
    }
    desk.counts("after offers to two devices", &run, &[(Outcome::Offered, 2)]).await
}

pub(super) async fn offers_count_per_hop<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    enum Turn {
        /// Of that hop; so many offers in a row, the first of them then.
        Offer(&'static str, u32, i64),
        Told(Outcome),
    }
    use Turn::{Offer, Told};
    let run = run("r7")?;
    let turns = [
        (0, Offer(HOP, 1, 0)),
        (60, Offer(HOP, 1, 0)),
        (4_000, Offer(HOP, 2, 0)),
        (8_000, Offer(HOP, 3, 0)),
        (8_100, Offer("3.0.0", 1, 8_100)),
        (8_200, Offer(HOP, 1, 8_200)),
        // It failed, or is missing, and is offered the same again, when its claim has lapsed in any case.
        (8_300, Told(Outcome::Failed)),
        (12_400, Offer(HOP, 2, 8_200)),
        (12_500, Told(Outcome::Missing)),
        (16_100, Offer(HOP, 3, 8_200)),
        (16_200, Told(Outcome::Downloaded)),
        (19_800, Offer(HOP, 4, 8_200)),
        // It arrived, and is elsewhere again: one that boots once and falls back is offered it again and again.
        (19_900, Told(Outcome::Installed)),
        (23_500, Offer(HOP, 5, 8_200)),
        (27_200, Offer(HOP, 6, 8_200)),
        (27_300, Told(Outcome::Confirmed)),
        (31_000, Offer(HOP, 7, 8_200)),
    ];
    let mut before = "nothing";
    for (secs, turn) in turns {
        match turn {
            Told(outcome) => {
                desk.note(&report(&run, "a", outcome), at(secs)).await?;
                before = outcome.name();
            }
            Offer(hop, offers, first) => {
                desk.granted(offer_hop(&run, "a", hop, at(secs)), at(secs)).await?;
                let tried = desk.tried(&run, "a", at(secs)).await?;
                let what = format!("after {before} and an offer of `{hop}`, how many were in a row, and the first");
                same(&what, &(tried.offers, tried.first_offered_at), &(offers, at(first)))?;
                before = "an offer";
            }
        }
    }
    Ok(())
}

pub(super) async fn stale_look_claims_nothing<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    let nothing = Claimed { attempt: None, new: false };
    let decided_by = |serial, after, now| {
        let offer = OfferAsk { wave: 0, hop: HOP, slots_max: None, missing: None, after };
        ClaimAsk { downloads_max: Some(9), ..offer_of(&run, serial, offer, at(now)) }
    };
    desk.granted(offer(&run, "a", at(0)), at(0)).await?;
    // While its claim lives the offer is the one that was made already, whatever was seen.
    let again = desk.granted(decided_by("a", Some((1, Outcome::Failed)), 10), at(10)).await?;
    same("the same offer while its claim lives", &again, &known(1))?;
    desk.note(&report(&run, "a", Outcome::Failed), at(20)).await?;
    let before = desk.seen(of(&run, "a"), at(30)).await?;
    for after in [(1, Outcome::Offered), (1, Outcome::Missing), (2, Outcome::Failed), (0, Outcome::Failed)] {
        let claimed = desk.granted(decided_by("a", Some(after), 30), at(30)).await?;
        same(&format!("an offer that was decided by {after:?}, after it failed"), &claimed, &nothing)?;
        let seen = desk.seen(of(&run, "a"), at(30)).await?;
        same("what is held after an offer that claimed nothing", &seen, &before)?;
    }
    let claimed = desk.granted(decided_by("a", Some((1, Outcome::Failed)), 30), at(30)).await?;
    same("an offer that was decided by what is so", &claimed, &new(2))?;
    // Nobody is held to what was never there.
    let claimed = desk.granted(decided_by("b", Some((1, Outcome::Offered)), 40), at(40)).await?;
    same("the first offer to a device", &claimed, &new(1))
}

pub(super) async fn wave_is_the_first<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    let turns = [("a", 1, 0), ("b", 3, 0), ("a", 3, 4_000), ("b", 0, 8_000), ("a", 0, 8_000)];
    for (serial, wave, secs) in turns {
        let offer = OfferAsk { wave, hop: HOP, slots_max: None, missing: None, after: None };
        desk.granted(offer_of(&run, serial, offer, at(secs)), at(secs)).await?;
    }
    for (serial, wave) in [("a", 1), ("b", 3)] {
        let tried = desk.tried(&run, serial, at(8_000)).await?;
        same(&format!("the wave of device `{serial}`, that was first offered in {wave}"), &tried.wave, &wave)?;
    }
    let statistics = desk.statistics(&run, 0).await?;
    let offered: Vec<_> = statistics.waves.iter().map(|wave| wave.offered).collect();
    same("how many stand at `offered`, by the wave of their first offer", &offered, &vec![0, 1, 0, 1])?;

    // What becomes of it stands there too.
    desk.note(&report(&run, "a", Outcome::Failed), at(8_001)).await?;
    let failed: Vec<_> = desk.statistics(&run, 0).await?.waves.iter().map(|wave| wave.failed).collect();
    same("how many stand at `failed`, by the wave of their first offer", &failed, &vec![0, 1, 0, 0])
}
