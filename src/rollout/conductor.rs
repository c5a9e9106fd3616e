//! The driver: looks at every rollout that runs, takes the step that is due, and carries it out. Called on a timer, or after outcomes, on as many replicas as
//! there are.

use super::ledger::{AsyncLedger, Ledger};
use super::step::{Step, Transition, step};
use super::store::{AsyncRolloutStore, RolloutStore, UnderWay};
use crate::fleet::{
    Admission, CensusFault, Change, GroupId, Opened, Problems, ProductId, Revision, Rollout, RolloutId, RolloutState,
    WAVES_MAX, WaveSize, share_threshold,
};
use crate::time::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::fmt;

/// Moves rollouts on. Safe to run on several replicas at once: each step names the edition of the rollout that it was decided by, so one is let through and the
/// others see that they lost.
///
/// Give all replicas one clock, such as the database's. One that is ahead opens a wave as much too early; one that is ahead or behind ends a soak as much too soon.
///
/// ```
/// use otagate::rollout::{Conductor, MemoryLedger};
/// use otagate::{FleetSpec, Index, Timestamp};
/// let (index, ledger) = (Index::new(&FleetSpec::default().build().unwrap()), MemoryLedger::default());
/// let conductor = Conductor::new(&index, &ledger);
/// for moved in conductor.advance(Timestamp::from_millis(1_795_428_000_000)).unwrap() {
///     println!("{moved}");
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Conductor<'h, S, L> {
    store: &'h S,
    ledger: &'h L,
}

/// [`Conductor`] for an asynchronous host.
#[derive(Clone, Copy, Debug)]
pub struct AsyncConductor<'h, S, L> {
    store: &'h S,
    ledger: &'h L,
}

/// Why rollouts could not be moved on: nothing is lost, the next call goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault<S, L> {
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] S),
    /// The ledger failed.
    #[error("the ledger failed")]
    Ledger(#[source] L),
}

/// A step of a rollout that was due, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// The product.
    pub product: ProductId,
    /// The group.
    pub group: GroupId,
    /// The rollout.
    pub rollout: RolloutId,
    /// What was due.
    pub transition: Transition,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a step that was due.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was taken, at this revision; with what was frozen, where a wave was opened.
    Done(Revision, Option<Opened>),
    /// The rollout was changed meanwhile, by another replica or an operator: it is looked at anew the next time.
    Lost,
    /// Nobody could be given the target now, so no wave opens for it, and it completes nothing: an operator has to see to it. Why, in words.
    Held(&'static str),
    /// The wave cannot be counted: an operator has to see to it.
    Uncounted(CensusFault),
    /// It is refused, such as completing with a denied target (R7): an operator has to see to it.
    Refused(Problems),
}

/// What a conductor does, written once; with `async` and `await` it is that of an asynchronous host.
macro_rules! conduct {
    ($Conductor:ident, $Store:ident, $Ledger:ident $(, $async:tt, $await:tt)?) => {
        impl<'h, S: $Store, L: $Ledger> $Conductor<'h, S, L> {
            /// A conductor of the rollouts of that store, by the account of that ledger.
            pub fn new(store: &'h S, ledger: &'h L) -> Self {
                Self { store, ledger }
            }

            /// Takes every step that is due now, and notes the progress of the rest. Costs the statistics of each rollout that runs, and where a wave opens its census.
            ///
            /// # Errors
            /// Store or ledger failed for one of them, the first of which is given. The others were gone through all the same, and what was done stays done.
            pub $($async)? fn advance(&self, now: Timestamp) -> Result<Vec<Moved>, Fault<S::Error, L::Error>> {
                let (mut all, mut fault) = (Vec::new(), None);
                for at in self.store.under_way()$(.$await)?.map_err(Fault::Store)? {
                    // One that cannot be looked at must not keep the rest from halting.
                    fault = fault.or(self.advance_one(at, now, &mut all)$(.$await)?.err());
                }
                fault.map_or(Ok(all), Err)
            }

            /// The same for one group: after an outcome, say.
            ///
            /// # Errors
            /// As [`advance`](Self::advance).
            pub $($async)? fn advance_group(
                &self,
                product: &ProductId,
                group: &GroupId,
                now: Timestamp,
            ) -> Result<Vec<Moved>, Fault<S::Error, L::Error>> {
                let mut all = Vec::new();
                if let Some(at) = self.look(product, group)$(.$await)?? {
                    self.advance_one(at, now, &mut all)$(.$await)??;
                }
                Ok(all)
            }

            $($async)? fn look(&self, product: &ProductId, group: &GroupId) -> Result<Option<UnderWay>, Fault<S::Error, L::Error>> {
                self.store.under_way_in(product, group)$(.$await)?.map_err(Fault::Store)
            }

            /// Until nothing more is due. Each step opens a wave or ends the run, so there are few.
            $($async)? fn advance_one(&self, at: UnderWay, now: Timestamp, all: &mut Vec<Moved>) -> Result<(), Fault<S::Error, L::Error>> {
                let mut at = Some(at);
                for _ in 0..=WAVES_MAX {
                    let Some(current) = at.take() else { return Ok(()) };
                    let UnderWay { product, group, .. } = &current;
                    let Some(rollout) = group.rollout().filter(|rollout| *rollout.state() == RolloutState::Running) else {
                        return Ok(());
                    };
                    let Some(run) = rollout.run(product, group.id()) else { return Ok(()) };
                    let statistics = self.ledger.statistics(&run, rollout.resumes())$(.$await)?.map_err(Fault::Ledger)?;
                    let Step { progress, transition } = step(rollout, &statistics, now);
                    let Some(transition) = transition else {
                        if let Some(progress) = progress.filter(|progress| rollout.progress() != Some(progress)) {
                            let was = rollout.progress().copied();
                            let (group, rollout) = (group.id().clone(), rollout.id().clone());
                            // Who loses this is told nothing: the winner noted as much.
                            let change = Change::SetProgress { product: product.clone(), group, rollout, was, progress };
                            let _ = self.apply(&current, change)$(.$await)??;
                        }
                        return Ok(());
                    };
                    let outcome = match (current.held, &transition) {
                        (Some(why), Transition::OpenWave { .. } | Transition::Complete { .. }) => Outcome::Held(why),
                        _ => self.take(&current, rollout, &transition, now)$(.$await)??,
                    };
                    let done = matches!(outcome, Outcome::Done(..));
                    let (product, group, rollout) = (product.clone(), group.id().clone(), rollout.id().clone());
                    if done {
                        at = self.look(&product, &group)$(.$await)??;
                    }
                    all.push(Moved { product, group, rollout, transition, outcome });
                }
                Ok(())
            }

            $($async)? fn take(
                &self,
                at: &UnderWay,
                rollout: &Rollout,
                transition: &Transition,
                now: Timestamp,
            ) -> Result<Outcome, Fault<S::Error, L::Error>> {
                let (product, group, id) = (at.product.clone(), at.group.id().clone(), rollout.id().clone());
                let (change, opened) = match transition {
                    Transition::OpenWave { wave, .. } => {
                        let opened = match self.opened(at, rollout, *wave, now)$(.$await)?? {
                            Ok(opened) => opened,
                            // It is gone, or written anew, since it was looked at.
                            Err(CensusFault::NoWave { .. }) => return Ok(Outcome::Lost),
                            Err(fault) => return Ok(Outcome::Uncounted(fault)),
                        };
                        (Change::OpenWave { product, group, rollout: id, wave: *wave, opened }, Some(opened))
                    }
                    Transition::Halt { .. } => {
                        let why = transition.to_string();
                        (Change::PauseRollout { product, group, rollout: id, cut: false, why }, None)
                    }
                    Transition::Complete { .. } => (Change::CompleteRollout { product, group, rollout: id }, None),
                };
                match self.apply(at, change)$(.$await)?? {
                    Ok(revision) => Ok(Outcome::Done(revision, opened)),
                    Err(problems) => {
                        let same = self.look(&at.product, at.group.id())$(.$await)??.and_then(|now| {
                            Some(
                                now.group.rollout()?.edition() == rollout.edition()
                                    && now.group.rollout()?.id() == rollout.id(),
                            )
                        });
                        Ok(if same == Some(true) { Outcome::Refused(problems) } else { Outcome::Lost })
                    }
                }
            }

            /// Applies a change to the rollout as it was looked at, or not at all.
            $($async)? fn apply(&self, at: &UnderWay, change: Change) -> Result<Result<Revision, Problems>, Fault<S::Error, L::Error>> {
                let Some(rollout) = at.group.rollout() else { return Ok(Err(Problems::default())) };
                let expect = Change::ExpectRollout {
                    product: at.product.clone(),
                    group: at.group.id().clone(),
                    rollout: rollout.id().clone(),
                    edition: rollout.edition(),
                };
                self.store.apply(&[expect, change])$(.$await)?.map_err(Fault::Store)
            }

            /// What is frozen when the wave opens.
            $($async)? fn opened(
                &self,
                at: &UnderWay,
                rollout: &Rollout,
                wave: usize,
                now: Timestamp,
            ) -> Result<Result<Opened, CensusFault>, Fault<S::Error, L::Error>> {
                let size = rollout.waves().get(wave).map(|wave| wave.size);
                let uncounted = |threshold| Opened { at: now, threshold, counted: None, newcomers: None, eligible: None };
                // Who comes first is in, so nobody is counted.
                if rollout.admission() == Admission::FirstCome {
                    return Ok(Ok(uncounted(None)));
                }
                let census = self.store.census(&at.product, &at.group, wave)$(.$await)?.map_err(Fault::Store)?;
                let before = rollout.last_open().and_then(|(.., opened)| opened.threshold);
                Ok(match (census, size) {
                    (Ok(census), _) => Ok(census.opened(now)),
                    (Err(CensusFault::CannotCount), Some(WaveSize::ShareBps(bps))) => {
                        Ok(uncounted(share_threshold(bps).max(before)))
                    }
                    (Err(CensusFault::CannotCount), Some(WaveSize::All)) => Ok(uncounted(None)),
                    (Err(fault), _) => Err(fault),
                })
            }
        }
    };
}

conduct!(Conductor, RolloutStore, Ledger);
conduct!(AsyncConductor, AsyncRolloutStore, AsyncLedger, async, await);

/// One line for the log.
impl Outcome {
    /// The stable name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Done(..) => "done",
            Self::Lost => "lost",
            Self::Held(_) => "held",
            Self::Uncounted(_) => "uncounted",
            Self::Refused(_) => "refused",
        }
    }
}

/// One flat object, the same in every language: `product`, `group`, `rollout`, `transition`, `outcome`, `revision` and `opened` (null, unless it was done), and
/// `line`, the whole in words.
impl Serialize for Moved {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (revision, opened) = match &self.outcome {
            Outcome::Done(revision, opened) => (Some(revision), opened.as_ref()),
            _ => (None, None),
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("product", &self.product)?;
        map.serialize_entry("group", &self.group)?;
        map.serialize_entry("rollout", &self.rollout)?;
        map.serialize_entry("transition", &self.transition)?;
        map.serialize_entry("outcome", self.outcome.name())?;
        map.serialize_entry("revision", &revision)?;
        map.serialize_entry("opened", &opened)?;
        map.serialize_entry("line", &self.to_string())?;
        map.end()
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { product, group, rollout, transition, outcome } = self;
        write!(f, "product `{product}`, group `{group}`, rollout `{rollout}`: {transition}")?;
        match outcome {
            Outcome::Done(revision, opened) => {
                if let Some(Opened { counted: Some(counted), eligible: Some(eligible), .. }) = opened {
                    write!(f, "; admits {counted} of {eligible} devices")?;
                }
                write!(f, " ({revision})")
            }
            Outcome::Held(why) => write!(f, "; not done: its target {why}"),
            Outcome::Lost => f.write_str("; not done: it was changed meanwhile"),
            Outcome::Uncounted(fault) => write!(f, "; not done: {fault}"),
            Outcome::Refused(problems) => write!(f, "; refused: {problems}"),
        }
    }
}
