//! The ledger: what was offered to whom, and what became of it (R5, R9).

use super::statistics::{Outcome, Statistics};
use crate::fleet::{Attempt, GroupId, Penalty, ProductId, Rollout, Run};
use crate::store::StandingRecord;
use crate::time::Timestamp;
use crate::verdict::ClaimRefused;
use serde::{Deserialize, Serialize};
use std::future::{Future, ready};

/// Where a host keeps what its devices were offered and what became of it. The same on every replica: each call is one atomic step, whoever makes it.
///
/// Nothing here decides: the rules of a rollout come with each call, and the ledger keeps account. [`MemoryLedger`](super::MemoryLedger) is the plain one;
/// the contract suite (feature `contract`) asks of any other whether it keeps the same account.
///
/// **Which wrong answers are safe.** None: a slot that is given twice, or an outcome that is counted twice or lost, moves a rollout that should stand. A ledger
/// that is not sure fails: an error serves nobody (V4).
pub trait Ledger {
    /// What can go wrong; nothing is served then.
    type Error: std::error::Error + Send + Sync + 'static;

    /// What it holds about a device, and of its group what a decision needs: how many slots of the run are taken, lapsed ones included, and how many downloads
    /// of the group are live at `now`.
    ///
    /// # Errors
    /// The ledger cannot be read.
    fn held(&self, of: &Of<'_>, now: Timestamp) -> Result<Held, Self::Error>;

    /// Takes what an offer needs, all of it or nothing, and records the offer:
    ///
    /// - `offer`: the device's claim and its attempt in the run. While its claim lives and the hop is the same, the offer is the one that was made already, and
    ///   nothing changes. Else it is a new attempt, the claim lives until `until`, and what became of earlier attempts does not count any more (R9). With
    ///   `slots_max` the run must have been offered to fewer devices than so many, or to this one, whether its claim lives or lapsed: the slots of a canary. With
    ///   `missing` a new attempt that is not the device's first begins at that outcome. With `after`, where the device stands elsewhere and the offer would be a new
    ///   attempt, nothing at all is claimed, and no attempt is given.
    /// - `downloads_max`: a place among the group's downloads, until `until`. Who holds a live one keeps it as it is; else fewer than so many must be live at
    ///   `now`.
    ///
    /// Slots are asked before downloads.
    ///
    /// # Errors
    /// The ledger cannot be written. A refusal is no error.
    fn claim(&self, ask: &ClaimAsk<'_>, now: Timestamp) -> Result<Result<Claimed, ClaimRefused>, Self::Error>;

    /// Takes down what became of an attempt. Late, twice, or out of order, it counts once: only the latest attempt counts, and in it
    ///
    /// - the strongest outcome; of several reports of that the fewest resumes.
    /// - the earliest end that any report says for the claim and the place: `downloaded`, `grace_secs` after `at`; what is stronger, `at`. It never prolongs them.
    /// - the penalty, if the strongest outcome is a failure: until the earliest end that any report of that outcome says. It is longer for each attempt in a row
    ///   that failed at the same hop; an attempt that failed at another hop, or arrived, begins anew.
    ///
    /// # Errors
    /// The ledger cannot be written.
    fn note(&self, report: &Report, at: Timestamp) -> Result<Noted, Self::Error>;

    /// Ends a device's place among its group's downloads at `at`, if it lives longer: all was sent of something that is on no run's account. What is, is
    /// [noted](Self::note) instead.
    ///
    /// # Errors
    /// The ledger cannot be written.
    fn release(&self, of: &Of<'_>, at: Timestamp) -> Result<(), Self::Error>;

    /// The account of a run; what is recent is what came about with at least so many resumes, offers apart. A run that nobody was offered has an empty one.
    ///
    /// # Errors
    /// The ledger cannot be read.
    fn statistics(&self, run: &Run, resumes: u32) -> Result<Statistics, Self::Error>;

    /// Forgets a run that is over, whose devices need no account any more. Forgetting twice is forgetting once.
    ///
    /// # Errors
    /// The ledger cannot be written.
    fn forget(&self, run: &Run) -> Result<(), Self::Error>;
}

/// [`Ledger`] for an asynchronous host; the same contract.
pub trait AsyncLedger {
    /// What can go wrong; nothing is served then.
    type Error: std::error::Error + Send + Sync + 'static;

    /// See [`Ledger::held`].
    fn held(&self, of: &Of<'_>, now: Timestamp) -> impl Future<Output = Result<Held, Self::Error>> + Send;

    /// See [`Ledger::claim`].
    fn claim(
        &self,
        ask: &ClaimAsk<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Result<Claimed, ClaimRefused>, Self::Error>> + Send;

    /// See [`Ledger::note`].
    fn note(&self, report: &Report, at: Timestamp) -> impl Future<Output = Result<Noted, Self::Error>> + Send;

    /// See [`Ledger::release`].
    fn release(&self, of: &Of<'_>, at: Timestamp) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// See [`Ledger::statistics`].
    fn statistics(&self, run: &Run, resumes: u32) -> impl Future<Output = Result<Statistics, Self::Error>> + Send;

    /// See [`Ledger::forget`].
    fn forget(&self, run: &Run) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Whom a question to the ledger is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Of<'a> {
    /// The product.
    pub product: &'a ProductId,
    /// The device's group.
    pub group: &'a GroupId,
    /// Its canonical serial.
    pub serial: &'a str,
    /// The run of the group's rollout, if one is under way.
    pub run: Option<&'a Run>,
}

/// What a ledger holds about a device.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// What a decision reads of it.
    pub standing: StandingRecord,
    /// Its latest attempt in the run.
    pub tried: Option<Tried>,
}

/// A device's latest attempt in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// Which one, from 1.
    pub number: u32,
    /// The wave that the device was first offered in, counted from 0.
    pub wave: u32,
    /// The version that was offered; empty for configs and resources.
    pub hop: Box<str>,
    /// How many attempts in a row were at this hop; who arrived there and is offered it again is counted on.
    pub offers: u32,
    /// When the first of those was made.
    pub first_offered_at: Timestamp,
    /// The strongest outcome of this attempt.
    pub outcome: Outcome,
}

impl Tried {
    /// R9: whether a device that is about to be offered the same hop again was offered it so often, and for so long.
    pub(super) fn was_offered_enough(&self, rollout: &Rollout, now: Timestamp) -> bool {
        let rule = rollout.missing();
        let waited = now.millis().saturating_sub(self.first_offered_at.millis());
        self.offers >= rule.offers && waited >= i64::from(rule.secs).saturating_mul(1_000)
    }
}

/// What is claimed before something is served (V7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimAsk<'a> {
    /// For whom. The run is one of its product and group; without one, `offer` is not looked at.
    pub of: Of<'a>,
    /// What is offered on the run's account.
    pub offer: Option<OfferAsk<'a>>,
    /// A place among the group's downloads is needed, one of so many live ones.
    pub downloads_max: Option<u32>,
    /// How long the claim and the place live.
    pub until: Timestamp,
}

/// An offer to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferAsk<'a> {
    /// The wave that the device is in, counted from 0, below [`WAVES_MAX`](crate::WAVES_MAX); that of its first offer is kept.
    pub wave: u32,
    /// The version that is offered; empty for configs and resources.
    pub hop: &'a str,
    /// A slot is needed, one of so many.
    pub slots_max: Option<u32>,
    /// It goes to a device that is missing, and that nothing makes wait: a new attempt begins as missing, which came about with so many resumes. Else the offer would
    /// hide at once what is to halt the rollout.
    pub missing: Option<u32>,
    /// The attempt, by number and outcome, that it was decided by. If the device stands elsewhere by now, and the offer would be a new attempt, nothing is claimed
    /// and no attempt is given: look again. So an outcome that comes in between is not passed over.
    pub after: Option<(u32, Outcome)>,
}

/// What was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The number of the device's attempt, where it is on a run's account; none where the offer was decided `after` what is so no more: look again.
    pub attempt: Option<u32>,
    /// It is an attempt that was not there before.
    pub new: bool,
}

/// What became of an attempt, for [`Ledger::note`]: a value that may wait in a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The run.
    pub run: Run,
    /// The device's canonical serial.
    pub serial: Box<str>,
    /// Which attempt; without it the latest.
    pub attempt: Option<u32>,
    /// What became of it.
    pub outcome: Outcome,
    /// How often the rollout had been resumed, as far as whoever reports knew: a failure halts only a rollout that was not resumed since.
    pub resumes: u32,
    /// How long the device waits if it failed.
    pub penalty: Penalty,
    /// How long after a download its claim and place live on, in seconds: for a device whose connection broke just then.
    pub grace_secs: u32,
}

/// What a claim and a place live on for after a download, in seconds.
const GRACE_SECS: u32 = 60;

impl Report {
    /// A report of the latest attempt of a device in that rollout, with the rollout's rules and a minute of grace. `None`: it was never started, so it has no run.
    pub fn new(
        product: &ProductId,
        group: &GroupId,
        rollout: &Rollout,
        serial: &str,
        outcome: Outcome,
    ) -> Option<Self> {
        Some(Self {
            run: rollout.run(product, group)?,
            serial: serial.into(),
            attempt: None,
            outcome,
            resumes: rollout.resumes(),
            penalty: rollout.penalty(),
            grace_secs: GRACE_SECS,
        })
    }

    /// The same about that attempt.
    pub fn of_attempt(self, number: u32) -> Self {
        Self { attempt: Some(number), ..self }
    }
}

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// The device stands at another outcome now.
    Moved,
    /// It was known, or weaker than what is known, or of an earlier attempt.
    Known,
    /// The run never offered this device anything, or not that attempt: it does not count (R9).
    Foreign,
}

/// No ledger: holds nothing about anybody, refuses every slot and every place, and records no offer. Rollouts by rank work with it; they do not move by
/// themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLedger;

impl Ledger for NoLedger {
    type Error = std::convert::Infallible;

    fn held(&self, _: &Of<'_>, _: Timestamp) -> Result<Held, Self::Error> {
        Ok(Held::default())
    }

    fn claim(&self, ask: &ClaimAsk<'_>, _: Timestamp) -> Result<Result<Claimed, ClaimRefused>, Self::Error> {
        let limited = ask.of.run.and(ask.offer).is_some_and(|offer| offer.slots_max.is_some());
        Ok(match ask.downloads_max {
            _ if limited => Err(ClaimRefused::Slots),
            Some(_) => Err(ClaimRefused::Downloads),
            None => Ok(Claimed { attempt: None, new: false }),
        })
    }

    fn note(&self, _: &Report, _: Timestamp) -> Result<Noted, Self::Error> {
        Ok(Noted::Foreign)
    }

    fn release(&self, _: &Of<'_>, _: Timestamp) -> Result<(), Self::Error> {
        Ok(())
    }

    fn statistics(&self, _: &Run, _: u32) -> Result<Statistics, Self::Error> {
        Ok(Statistics::default())
    }

    fn forget(&self, _: &Run) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// A ledger behind a reference is one too.
impl<L: Ledger + ?Sized> Ledger for &L {
    type Error = L::Error;

    fn held(&self, of: &Of<'_>, now: Timestamp) -> Result<Held, Self::Error> {
        (**self).held(of, now)
    }

    fn claim(&self, ask: &ClaimAsk<'_>, now: Timestamp) -> Result<Result<Claimed, ClaimRefused>, Self::Error> {
        (**self).claim(ask, now)
    }

    fn note(&self, report: &Report, at: Timestamp) -> Result<Noted, Self::Error> {
        (**self).note(report, at)
    }

    fn release(&self, of: &Of<'_>, at: Timestamp) -> Result<(), Self::Error> {
        (**self).release(of, at)
    }

    fn statistics(&self, run: &Run, resumes: u32) -> Result<Statistics, Self::Error> {
        (**self).statistics(run, resumes)
    }

    fn forget(&self, run: &Run) -> Result<(), Self::Error> {
        (**self).forget(run)
    }
}

/// No ledger is none for an asynchronous host either.
impl AsyncLedger for NoLedger {
    type Error = std::convert::Infallible;

    fn held(&self, of: &Of<'_>, now: Timestamp) -> impl Future<Output = Result<Held, Self::Error>> + Send {
        ready(Ledger::held(self, of, now))
    }

    fn claim(
        &self,
        ask: &ClaimAsk<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Result<Claimed, ClaimRefused>, Self::Error>> + Send {
        ready(Ledger::claim(self, ask, now))
    }

    fn note(&self, report: &Report, at: Timestamp) -> impl Future<Output = Result<Noted, Self::Error>> + Send {
        ready(Ledger::note(self, report, at))
    }

    fn release(&self, of: &Of<'_>, at: Timestamp) -> impl Future<Output = Result<(), Self::Error>> + Send {
        ready(Ledger::release(self, of, at))
    }

    fn statistics(&self, run: &Run, resumes: u32) -> impl Future<Output = Result<Statistics, Self::Error>> + Send {
        ready(Ledger::statistics(self, run, resumes))
    }

    fn forget(&self, run: &Run) -> impl Future<Output = Result<(), Self::Error>> + Send {
        ready(Ledger::forget(self, run))
    }
}

/// A ledger behind a reference is one too.
impl<L: AsyncLedger> AsyncLedger for &L {
    type Error = L::Error;

    fn held(&self, of: &Of<'_>, now: Timestamp) -> impl Future<Output = Result<Held, Self::Error>> + Send {
        (**self).held(of, now)
    }

    fn claim(
        &self,
        ask: &ClaimAsk<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Result<Claimed, ClaimRefused>, Self::Error>> + Send {
        (**self).claim(ask, now)
    }

    fn note(&self, report: &Report, at: Timestamp) -> impl Future<Output = Result<Noted, Self::Error>> + Send {
        (**self).note(report, at)
    }

    fn release(&self, of: &Of<'_>, at: Timestamp) -> impl Future<Output = Result<(), Self::Error>> + Send {
        (**self).release(of, at)
    }

    fn statistics(&self, run: &Run, resumes: u32) -> impl Future<Output = Result<Statistics, Self::Error>> + Send {
        (**self).statistics(run, resumes)
    }

    fn forget(&self, run: &Run) -> impl Future<Output = Result<(), Self::Error>> + Send {
        (**self).forget(run)
    }
}

impl Attempt {
    /// A report of what became of it.
    pub fn report(&self, rollout: &Rollout, serial: &str, outcome: Outcome) -> Option<Report> {
        let report = Report::new(&self.run.product, &self.run.group, rollout, serial, outcome)?;
        (report.run == self.run).then(|| report.of_attempt(self.number))
    }
}
