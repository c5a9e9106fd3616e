//! The promises of slots and of places among the downloads, asked one after another.

use super::desk::{Desk, HOP, LIFE, Seen, at, download, of, offer, report, run, run_of, same, slot};
use super::hand::{Hand, name};
use crate::fleet::{GroupId, ProductId, Run};
use crate::rollout::{ClaimAsk, Claimed, Of, Outcome, Statistics};
use crate::store::contract::Kept;
use crate::time::Timestamp;
use crate::verdict::ClaimRefused::{Downloads, Slots};

pub(super) async fn slots_are_limited<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    for (taken, serial) in ["a", "b", "c"].into_iter().enumerate() {
        let seen = desk.seen(of(&run, serial), at(0)).await?;
        same("how many slots are taken", &(seen.slots_taken as usize), &taken)?;
        desk.granted(slot(&run, serial, 3, at(0)), at(0)).await?;
    }
    desk.refused(slot(&run, "d", 3, at(0)), Slots, at(0)).await?;
    // R5: who vanished, failed or arrived was admitted all the same.
    desk.note(&report(&run, "a", Outcome::Failed), at(10)).await?;
    desk.note(&report(&run, "b", Outcome::Installed), at(10)).await?;
    for secs in [10, LIFE - 1, LIFE, 86_400, 365 * 86_400] {
        desk.refused(slot(&run, "d", 3, at(secs)), Slots, at(secs)).await?;
        let seen = desk.seen(of(&run, "d"), at(secs)).await?;
        same("how many slots are taken, lapsed ones included", &seen.slots_taken, &3)?;
    }
    // Who has one keeps it, and is offered again; also where there would be fewer now.
    let later = at(LIFE + 1);
    for (serial, max) in [("a", 3), ("b", 1), ("c", 0)] {
        let claimed = desk.granted(slot(&run, serial, max, later), later).await?;
        let again = Claimed { attempt: Some(2), new: true };
        same(&format!("a new offer to {}, which has a slot", name(serial)), &claimed, &again)?;
    }
    let seen = desk.seen(of(&run, "d"), later).await?;
    same("how many slots are taken, after their owners were offered again", &seen.slots_taken, &3)?;
    // A later wave has more. One who was offered without a limit takes one too.
    desk.granted(slot(&run, "d", 4, later), later).await?;
    desk.granted(offer(&run, "e", later), later).await?;
    desk.refused(slot(&run, "f", 5, later), Slots, later).await?;
    desk.granted(slot(&run, "f", 6, later), later).await?;
    desk.refused(slot(&run, "g", 0, later), Slots, later).await?;
    let seen = desk.seen(of(&run, "g"), later).await?;
    same("how many slots are taken, in the end", &seen.slots_taken, &6)
}

pub(super) async fn places_are_limited<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    let place = |serial, max, end| download(of(&run, serial), max, at(end));
    let just_before = |end| Timestamp::from_millis(at(end).millis() - 1);
    let live = async |now| desk.seen(of(&run, "somebody"), now).await.map(|seen| seen.downloads_now);

    desk.refused(place("a", 0, 100), Downloads, at(0)).await?;
    let claimed = desk.granted(place("a", 2, 100), at(0)).await?;
    same("a place alone, on no run's account", &claimed, &Claimed { attempt: None, new: false })?;
    desk.granted(place("b", 2, 200), at(0)).await?;
    desk.refused(place("c", 2, 300), Downloads, at(0)).await?;
    desk.refused(place("c", 2, 300), Downloads, just_before(100)).await?;
    for (now, should) in [(just_before(100), 2), (at(100), 1)] {
        same(&format!("how many downloads are live at {now}"), &live(now).await?, &should)?;
    }
    // One place ends at this very moment, so it is free.
    desk.granted(place("c", 2, 300), at(100)).await?;
    desk.refused(place("a", 2, 400), Downloads, at(150)).await?;
    desk.granted(place("a", 3, 400), at(150)).await?;
    let seen = desk.seen(of(&run, "a"), at(150)).await?;
    same("the end of a place", &seen.place, &Some(at(400)))?;
    for (now, should) in [(at(150), 3), (at(200), 2), (at(300), 1), (just_before(400), 1), (at(400), 0)] {
        same(&format!("how many downloads are live at {now}"), &live(now).await?, &should)?;
    }
    let seen = desk.seen(of(&run, "a"), at(400)).await?;
    same("what is held of a place at the moment at which it ends", &seen.place, &None)
}

pub(super) async fn live_place_is_kept<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    let place = |serial, max, end| download(of(&run, serial), max, at(end));
    desk.granted(place("a", 1, 100), at(0)).await?;
    for (max, end) in [(1, 500), (0, 500), (1, 60)] {
        desk.granted(place("a", max, end), at(50)).await?;
        let seen = desk.seen(of(&run, "a"), at(50)).await?;
        let what = format!("the end of a live place that was asked for again, until {}", at(end));
        same(&what, &seen.place, &Some(at(100)))?;
        same("how many downloads are live, where one was asked for again", &seen.downloads_now, &1)?;
    }
    // Once it ended it is like any other.
    desk.granted(place("b", 1, 200), at(100)).await?;
    desk.refused(place("a", 1, 300), Downloads, at(101)).await?;
    desk.granted(place("a", 1, 300), at(200)).await?;
    let seen = desk.seen(of(&run, "a"), at(200)).await?;
    same("the end of a place that was taken anew", &seen.place, &Some(at(300)))
}

pub(super) async fn places_are_the_groups<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let (first, second) = (run("r7")?, run("r8")?);
    let nowhere = |serial| Of { run: None, ..of(&first, serial) };
    let now = at(0);
    desk.granted(download(of(&first, "a"), 3, at(LIFE)), now).await?;
    desk.granted(download(nowhere("b"), 3, at(LIFE)), now).await?;
    desk.granted(download(of(&second, "c"), 3, at(LIFE)), now).await?;
    for of in [of(&first, "d"), of(&second, "d"), nowhere("d")] {
        desk.refused(download(of, 3, at(LIFE)), Downloads, now).await?;
        let seen = desk.seen(of, now).await?;
        same("how many downloads of the group are live, whatever the run", &seen.downloads_now, &3)?;
    }
    // A device's place is its own under any run, and it takes no second one.
    for of in [of(&second, "a"), nowhere("a"), of(&first, "b"), of(&first, "c")] {
        desk.granted(download(of, 3, at(2 * LIFE)), now).await?;
        let seen = desk.seen(of, now).await?;
        let what = format!("the end of the place of {}, asked for under another run", name(of.serial));
        same(&what, &(seen.place, seen.downloads_now), &(Some(at(LIFE)), 3))?;
    }
    // Other groups and products have their own.
    let (group, product) = (run_of("lamp", "beta", "r7", at(0))?, run_of("pump", "stable", "r7", at(0))?);
    for other in [&group, &product] {
        let of = of(other, "a");
        let seen = desk.seen(of, now).await?;
        same(&format!("what is held about downloads of {other}"), &(seen.place, seen.downloads_now), &(None, 0))?;
        desk.granted(download(of, 1, at(LIFE)), now).await?;
    }
    let seen = desk.seen(of(&first, "a"), now).await?;
    same("how many downloads are live, after other groups had some", &seen.downloads_now, &3)
}

pub(super) async fn release_ends_place<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    let nowhere = |serial| Of { run: None, ..of(&run, serial) };
    let beta = run_of("lamp", "beta", "r7", at(0))?;
    let pump = run_of("pump", "stable", "r7", at(0))?;
    for of in [of(&beta, "a"), of(&pump, "a"), of(&run, "b"), nowhere("c")] {
        desk.granted(download(of, 9, at(LIFE)), at(0)).await?;
    }
    desk.granted(ClaimAsk { downloads_max: Some(9), ..offer(&run, "a", at(0)) }, at(0)).await?;

    let before = desk.seen(of(&run, "a"), at(100)).await?;
    desk.release(of(&run, "a"), at(100)).await?;
    let after = desk.seen(of(&run, "a"), at(100)).await?;
    let should = Seen { place: None, downloads_now: before.downloads_now - 1, ..before };
    same("what is held about a device whose place was released", &after, &should)?;
    desk.counts("after a place was released", &run, &[(Outcome::Offered, 1)]).await?;
    for of in [of(&beta, "a"), of(&pump, "a"), of(&run, "b"), nowhere("c")] {
        let seen = desk.seen(of, at(100)).await?;
        same("the end of a place after another was released", &seen.place, &Some(at(LIFE)))?;
    }
    // It is free for somebody else, and a place is a device's whatever the run.
    desk.refused(download(of(&run, "d"), 2, at(LIFE)), Downloads, at(100)).await?;
    desk.release(nowhere("b"), at(100)).await?;
    desk.granted(download(of(&run, "d"), 2, at(LIFE)), at(100)).await?;
    // From a moment to come; and too late, twice, or for who has none.
    desk.release(of(&run, "c"), at(300)).await?;
    let seen = desk.seen(nowhere("c"), at(200)).await?;
    same("the end of a place that is released from a moment on", &seen.place, &Some(at(300)))?;
    for serial in ["c", "b", "nobody"] {
        desk.release(of(&run, serial), at(900)).await?;
        let seen = desk.seen(of(&run, serial), at(300)).await?;
        let what = format!("what is held of the place of {}, that was released before or never taken", name(serial));
        same(&what, &(seen.place, seen.downloads_now), &(None, 1))?;
    }
    Ok(())
}

pub(super) async fn all_or_nothing<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let run = run("r7")?;
    let both = |serial, slots, downloads_max, secs| ClaimAsk {
        downloads_max: Some(downloads_max),
        ..slot(&run, serial, slots, at(secs))
    };
    desk.granted(both("a", 1, 1, 0), at(0)).await?;
    let was = (desk.seen(of(&run, "a"), at(0)).await?, desk.statistics(&run, 0).await?);
    let nobody = Seen { downloads_now: 1, slots_taken: 1, ..Seen::default() };
    let unchanged = async |when: &str| {
        same(&format!("{when}, what is held about it"), &desk.seen(of(&run, "b"), at(0)).await?, &nobody)?;
        let is = (desk.seen(of(&run, "a"), at(0)).await?, desk.statistics(&run, 0).await?);
        same(&format!("{when}, the rest of the account"), &is, &was)
    };
    // Neither: slots are asked first.
    desk.refused(both("b", 1, 1, 0), Slots, at(0)).await?;
    unchanged("after a device found neither slot nor place").await?;
    // No slot, and no place is taken for that.
    desk.refused(both("b", 1, 9, 0), Slots, at(0)).await?;
    unchanged("after a device found a place and no slot").await?;
    // No place, and neither a slot nor an attempt is taken for that.
    desk.refused(both("b", 9, 1, 0), Downloads, at(0)).await?;
    unchanged("after a device found a slot and no place").await?;
    let unlimited = ClaimAsk { downloads_max: Some(1), ..offer(&run, "b", at(0)) };
    desk.refused(unlimited, Downloads, at(0)).await?;
    unchanged("after a device that needs no slot found no place").await?;

    // Nor is a run begun by it.
    let other = self::run("r8")?;
    desk.refused(ClaimAsk { downloads_max: Some(1), ..slot(&other, "b", 9, at(0)) }, Downloads, at(0)).await?;
    let statistics = desk.statistics(&other, 0).await?;
    same("the account of a run whose only claim was refused", &statistics, &Statistics::default())?;
    let seen = desk.seen(of(&other, "b"), at(0)).await?;
    same("what is held of a run whose only claim was refused", &seen.slots_taken, &0)?;

    has_an_attempt(desk, &run).await?;
    // With room for both, both are taken.
    let now = at(2 * LIFE);
    let claimed = desk.granted(both("b", 2, 1, 2 * LIFE), now).await?;
    same("the first offer of a device that was refused before", &claimed, &Claimed { attempt: Some(1), new: true })?;
    let seen = desk.seen(of(&run, "b"), now).await?;
    let should = (Some(at(3 * LIFE)), Some(at(3 * LIFE)), 1, 2);
    let is = (seen.claim, seen.place, seen.downloads_now, seen.slots_taken);
    same("what is held of a claim with a slot and a place: claim, place, downloads and slots", &is, &should)?;
    without_a_run(desk).await
}

/// A device whose claim lapsed is refused a place: its attempt is the one that it had.
async fn has_an_attempt<H: Hand>(desk: &Desk<'_, H>, run: &Run) -> Kept {
    let lapsed = at(LIFE + 1);
    let filler = Of { run: None, ..of(run, "filler") };
    desk.granted(download(filler, 1, at(LIFE + 10)), lapsed).await?;
    let was = desk.seen(of(run, "a"), lapsed).await?;
    for hop in [HOP, "3.0.0"] {
        let ask = ClaimAsk { downloads_max: Some(1), ..super::desk::offer_hop(run, "a", hop, lapsed) };
        desk.refused(ask, Downloads, lapsed).await?;
        let is = desk.seen(of(run, "a"), lapsed).await?;
        same("what is held about a device that was refused a place for its next attempt", &is, &was)?;
    }
    Ok(())
}

/// Without a run there is no account to record an offer on.
async fn without_a_run<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let (product, group) = (ProductId::new("pump"), GroupId::new("stable"));
    let (Ok(product), Ok(group)) = (product, group) else { return Ok(()) };
    let nowhere = Of { product: &product, group: &group, serial: "a", run: None };
    let some = run("r7")?;
    let ask = ClaimAsk { of: nowhere, downloads_max: Some(1), ..offer(&some, "a", at(0)) };
    let claimed = desk.granted(ask, at(0)).await?;
    same("a claim without a run", &claimed, &Claimed { attempt: None, new: false })?;
    let seen = desk.seen(nowhere, at(0)).await?;
    let should = Seen { place: Some(at(LIFE)), downloads_now: 1, ..Seen::default() };
    same("what is held after a claim without a run", &seen, &should)
}
