//! A long history, and the plain account that it is held against: written from the rules, one list, nothing shared with any ledger.

use super::desk::{Desk, Seen, at, of, run_of, same};
use super::hand::{Hand, name};
use crate::fleet::{Penalty, Run};
use crate::rollout::{ClaimAsk, Claimed, Noted, Of, OfferAsk, Outcome, Outcomes, Report, Statistics, Tried};
use crate::store::contract::Kept;
use crate::time::Timestamp;
use crate::verdict::ClaimRefused;
use std::fmt::Write;

/// How many things happen.
const STEPS: usize = 2_500;
/// How many of them are told with a finding.
const TOLD: usize = 12;

pub(super) async fn accounts_agree<H: Hand>(desk: &Desk<'_, H>) -> Kept {
    let mut dice = Dice(0x6f74_6167_6174_6500);
    let mut plain = Plain::default();
    let runs = [
        run_of("lamp", "stable", "r7", at(0))?,
        run_of("lamp", "stable", "r7", at(1))?,
        run_of("lamp", "beta", "r7", at(0))?,
        run_of("pump", "stable", "r7", at(0))?,
    ];
    let serials = ["a", "b", "c", "d", "e", "f", "g"];
    let mut secs = 0;
    let mut told: Vec<String> = Vec::new();
    for step in 0..STEPS {
        secs += *dice.one(&[0, 0, 1, 7, 30, 30, 60, 200]);
        // The clocks of replicas differ by seconds.
        let now = at(secs - dice.below(4));
        let (run, serial) = (dice.one(&runs), *dice.one(&serials));
        let mut happened = String::new();
        let agrees = match dice.below(100) {
            0..55 => {
                let hop = *dice.one(&["2.0.0", "2.0.0", "2.0.0", "3.0.0", ""]);
                let slots_max = *dice.one(&[None, None, Some(2), Some(4), Some(6)]);
                let offer = OfferAsk {
                    wave: dice.below(3) as u32,
                    hop,
                    slots_max,
                    missing: *dice.one(&[None, None, None, Some(1)]),
                    after: match dice.below(4) {
                        0 => plain.attempt(run, serial).map(|number| (number, *dice.one(&Outcome::ALL))),
                        1 => plain
                            .made(run, serial)
                            .last()
                            .map(|made| (plain.made(run, serial).len() as u32, made.outcome())),
                        _ => None,
                    },
                };
                let downloads_max = *dice.one(&[None, None, Some(0), Some(1), Some(2), Some(3)]);
                let mut ask = ClaimAsk {
                    of: of(run, serial),
                    offer: Some(offer),
                    downloads_max,
                    until: now.plus_secs(*dice.one(&[5, 60, 120, 600])),
                };
                if dice.below(8) == 0 {
                    ask.offer = None;
                    ask.of.run = ask.of.run.filter(|_| dice.below(2) == 0);
                }
                let _ = write!(happened, "at {now}: {ask:?}");
                same("what is said to the claim", &desk.claim(ask, now).await?, &plain.claim(&ask, now))
            }
            55..99 => {
                let penalty = Penalty { secs: *dice.one(&[0, 20, 60]), secs_max: *dice.one(&[0, 100, 1_000]) };
                let report = Report {
                    run: run.clone(),
                    serial: serial.into(),
                    attempt: match dice.below(4) {
                        0 => Some(dice.below(12) as u32),
                        1 => None,
                        _ => plain.attempt(run, serial),
                    },
                    outcome: *dice.one(&Outcome::ALL),
                    resumes: dice.below(4) as u32,
                    penalty,
                    grace_secs: *dice.one(&[0, 10, 60]),
                };
                let _ = write!(happened, "at {now}: {report:?}");
                same("what is said to the report", &desk.note(&report, now).await?, &plain.note(&report, now))
            }
            _ => {
                let _ = write!(happened, "at {now}: forget {run:?}");
                plain.forget(run);
                desk.forget(run).await
            }
        };
        told.push(happened);
        let agrees = match agrees {
            Ok(()) => looks_the_same(desk, &plain, run, serial, now, dice.below(5) as u32).await,
            Err(fault) => Err(fault),
        };
        agrees.map_err(|finding| finding.after(step, &told))?;
    }
    Ok(())
}

async fn looks_the_same<H: Hand>(
    desk: &Desk<'_, H>,
    plain: &Plain,
    run: &Run,
    serial: &str,
    now: Timestamp,
    resumes: u32,
) -> Kept {
    let of = of(run, serial);
    same(&format!("what is held about {}", name(serial)), &desk.seen(of, now).await?, &plain.seen(of, now))?;
    let statistics = desk.statistics(run, resumes).await?;
    same(&format!("the account of the run since {resumes} resumes"), &statistics, &plain.statistics(run, resumes))
}

impl crate::store::contract::Finding {
    /// With what happened last.
    fn after(self, step: usize, told: &[String]) -> Self {
        match self {
            Self::Broken(found) => {
                let last = told[told.len().saturating_sub(TOLD)..].join("\n      ");
                Self::Broken(format!("{found}, after step {step} of a history that ends:\n      {last}"))
            }
            skipped => skipped,
        }
    }
}

/// The same history every time.
struct Dice(u64);

impl Dice {
    /// SplitMix64.
    fn below(&mut self, count: u64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % count) as i64
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// Every offer that was ever recorded, and every place that was ever taken, in lists.
#[derive(Default)]
struct Plain {
    /// By run and device, in the order of the attempts.
    offers: Vec<(Run, String, Vec<Made>)>,
    /// The last place of each device of a product's group, and its end.
    places: Vec<([String; 3], Timestamp)>,
}

/// One attempt.
struct Made {
    wave: u32,
    hop: String,
    at: Timestamp,
    until: Timestamp,
    /// What was told of it, in the order in which it was.
    told: Vec<Told>,
}

struct Told {
    outcome: Outcome,
    resumes: u32,
    at: Timestamp,
    penalty: Penalty,
}

impl Made {
    fn outcome(&self) -> Outcome {
        self.told.iter().map(|told| told.outcome).max().unwrap_or(Outcome::Offered)
    }

    fn arrived(&self) -> bool {
        matches!(self.outcome(), Outcome::Installed | Outcome::Confirmed)
    }

    /// The fewest resumes of what counts; nothing of an offer.
    fn resumes(&self) -> Option<u32> {
        let outcome = self.outcome();
        let said = self.told.iter().filter(|told| told.outcome == outcome && outcome != Outcome::Offered);
        said.map(|told| told.resumes).min()
    }
}

impl Plain {
    fn made(&self, run: &Run, serial: &str) -> &[Made] {
        let found = self.offers.iter().find(|(of, device, _)| of == run && device == serial);
        found.map_or(&[], |(.., made)| made)
    }

    fn attempt(&self, run: &Run, serial: &str) -> Option<u32> {
        Some(self.made(run, serial).len() as u32).filter(|number| *number > 0)
    }

    fn slots_taken(&self, run: &Run) -> u32 {
        self.offers.iter().filter(|(of, ..)| of == run).count() as u32
    }

    fn place(&mut self, key: &[String; 3]) -> Option<&mut Timestamp> {
        self.places.iter_mut().find(|(of, _)| of == key).map(|(_, end)| end)
    }

    fn downloads_now(&self, key: &[String; 3], now: Timestamp) -> u32 {
        let live = self.places.iter().filter(|(of, end)| of[..2] == key[..2] && now < *end);
        live.count() as u32
    }

    fn claim(&mut self, ask: &ClaimAsk<'_>, now: Timestamp) -> Result<Claimed, ClaimRefused> {
        let account = ask.of.run.zip(ask.offer);
        // It was decided by what is so no more.
        if let Some((run, OfferAsk { after: Some(after), hop, .. })) = account
            && let Some(last) = self.made(run, ask.of.serial).last()
            && (now >= last.until || last.hop != hop)
            && (self.made(run, ask.of.serial).len() as u32, last.outcome()) != after
        {
            return Ok(Claimed { attempt: None, new: false });
        }
        let key = key(&ask.of);
        if let Some((run, OfferAsk { slots_max: Some(max), .. })) = account
            && self.made(run, ask.of.serial).is_empty()
            && self.slots_taken(run) >= max
        {
            return Err(ClaimRefused::Slots);
        }
        if let Some(max) = ask.downloads_max
            && self.place(&key).is_none_or(|end| now >= *end)
        {
            if self.downloads_now(&key, now) >= max {
                return Err(ClaimRefused::Downloads);
            }
            self.places.retain(|(of, _)| *of != key);
            self.places.push((key, ask.until));
        }
        let Some((run, offer)) = account else { return Ok(Claimed { attempt: None, new: false }) };
        let serial = ask.of.serial;
        if let Some(last) = self.made(run, serial).last()
            && now < last.until
            && last.hop == offer.hop
        {
            return Ok(Claimed { attempt: self.attempt(run, serial), new: false });
        }
        if self.made(run, serial).is_empty() {
            self.offers.push((run.clone(), serial.to_owned(), Vec::new()));
        }
        let OfferAsk { wave, hop, missing, .. } = offer;
        let mut made = Made { wave, hop: hop.to_owned(), at: now, until: ask.until, told: Vec::new() };
        let again = !self.made(run, serial).is_empty();
        made.told.extend(missing.filter(|_| again).map(|resumes| Told {
            outcome: Outcome::Missing,
            resumes,
            at: now,
            penalty: Penalty { secs: 0, secs_max: 0 },
        }));
        if let Some((.., all)) = self.offers.iter_mut().find(|(of, device, _)| of == run && device == serial) {
            all.push(made);
        }
        Ok(Claimed { attempt: self.attempt(run, serial), new: true })
    }

    /// The attempt that a report is about, if it is the latest.
    fn latest(&mut self, report: &Report) -> Result<&mut Made, Noted> {
        let device =
            |(run, serial, _): &&mut (Run, String, Vec<Made>)| *run == report.run && **serial == *report.serial;
        let made = self.offers.iter_mut().find(device).map(|(.., made)| made).ok_or(Noted::Foreign)?;
        let latest = made.len() as u32;
        match report.attempt.unwrap_or(latest) {
            number if number == latest => made.last_mut().ok_or(Noted::Foreign),
            number if (1..latest).contains(&number) => Err(Noted::Known),
            _ => Err(Noted::Foreign),
        }
    }

    fn note(&mut self, report: &Report, at: Timestamp) -> Noted {
        let made = match self.latest(report) {
            Ok(made) => made,
            Err(noted) => return noted,
        };
        let Report { outcome, resumes, penalty, .. } = *report;
        let moved = outcome > made.outcome();
        made.told.push(Told { outcome, resumes, at, penalty });
        if outcome == Outcome::Offered {
            return Noted::Known;
        }
        let grace = if outcome == Outcome::Downloaded { report.grace_secs } else { 0 };
        let end = at.plus_secs(grace.into());
        made.until = made.until.min(end);
        let key = [report.run.product.to_string(), report.run.group.to_string(), report.serial.to_string()];
        if let Some(place) = self.place(&key) {
            *place = end.min(*place);
        }
        if moved { Noted::Moved } else { Noted::Known }
    }

    fn forget(&mut self, run: &Run) {
        self.offers.retain(|(of, ..)| of != run);
    }

    /// Where a device failed last, and until when it waits: told from its attempts, one after another.
    fn penalty(made: &[Made]) -> Option<(Box<str>, Timestamp)> {
        let mut owes: Option<(&str, u32, Option<Timestamp>)> = None;
        for made in made {
            if made.arrived() {
                owes = None;
            }
            if made.outcome().is_failure() {
                let times = owes.filter(|(hop, ..)| *hop == made.hop).map_or(0, |(_, times, _)| times) + 1;
                // Nothing to wait for is no penalty, by whatever clock.
                let ends = made.told.iter().filter(|told| told.outcome == made.outcome()).filter_map(|told| {
                    let secs = told.penalty.after(times);
                    (secs > 0).then(|| told.at.plus_secs(secs.into()))
                });
                owes = Some((&made.hop, times, ends.min()));
            }
        }
        owes.and_then(|(hop, _, until)| Some((hop.into(), until?)))
    }

    fn tried(made: &[Made]) -> Option<Tried> {
        let (first, last) = (made.first()?, made.last()?);
        // Back from the latest, as long as it was the same hop.
        let mut row = 1;
        while let Some(before) = made.len().checked_sub(row + 1).and_then(|before| made.get(before)) {
            if before.hop != last.hop {
                break;
            }
            row += 1;
        }
        Some(Tried {
            number: made.len() as u32,
            wave: first.wave,
            hop: last.hop.as_str().into(),
            offers: row as u32,
            first_offered_at: made.get(made.len() - row)?.at,
            outcome: last.outcome(),
        })
    }

    fn seen(&self, of: Of<'_>, now: Timestamp) -> Seen {
        let made = of.run.map_or(&[][..], |run| self.made(run, of.serial));
        let key = key(&of);
        let place = self.places.iter().find(|(of, _)| *of == key).map(|(_, end)| *end);
        Seen {
            claimed: !made.is_empty(),
            claim: made.last().map(|made| made.until).filter(|end| now < *end),
            place: place.filter(|end| now < *end),
            attempts: made.len() as u32,
            penalty: Self::penalty(made).filter(|(_, end)| now < *end),
            downloads_now: self.downloads_now(&key, now),
            slots_taken: of.run.map_or(0, |run| self.slots_taken(run)),
            tried: Self::tried(made),
        }
    }

    fn statistics(&self, run: &Run, resumes: u32) -> Statistics {
        let mut statistics = Statistics::default();
        for (.., made) in self.offers.iter().filter(|(of, ..)| of == run) {
            let (Some(first), Some(last)) = (made.first(), made.last()) else { continue };
            let wave = first.wave as usize;
            while statistics.waves.len() <= wave {
                statistics.waves.push(Outcomes::default());
            }
            *statistics.waves[wave].at_mut(last.outcome()) += 1;
            if last.resumes().is_some_and(|with| with >= resumes) {
                *statistics.recent.at_mut(last.outcome()) += 1;
            }
        }
        statistics
    }
}

fn key(of: &Of<'_>) -> [String; 3] {
    [of.product.to_string(), of.group.to_string(), of.serial.to_owned()]
}
