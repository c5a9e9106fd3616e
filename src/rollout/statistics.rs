//! What became of offers: the typed outcomes of R9, and how many devices each befell.

use crate::fleet::Success;
use serde::{Deserialize, Serialize};

/// What became of an offer (R9), weakest first: of a device's latest attempt the strongest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was made.
    Offered,
    /// The last byte was sent.
    Downloaded,
    /// Inferred: offered again and again, and still elsewhere.
    Missing,
    /// The device reported the target.
    Installed,
    /// The host said that it is healthy.
    Confirmed,
    /// It was said to have failed.
    Failed,
}

impl Outcome {
    /// All of them, weakest first.
    pub const ALL: [Self; 6] =
        [Self::Offered, Self::Downloaded, Self::Missing, Self::Installed, Self::Confirmed, Self::Failed];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Downloaded => "downloaded",
            Self::Missing => "missing",
            Self::Installed => "installed",
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
        }
    }

    /// The outcome of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }

    /// Whether it is a failure: said so, or inferred.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Missing)
    }

    /// Whether it is success, where that is what the rollout calls so; or more.
    pub fn is_success(self, success: Success) -> bool {
        let least = match success {
            Success::Downloaded => Self::Downloaded,
            Success::Installed => Self::Installed,
            Success::Confirmed => Self::Confirmed,
        };
        self >= least && !self.is_failure()
    }

    /// Whether the device has finished: it failed, or succeeded.
    pub fn is_finished(self, success: Success) -> bool {
        self.is_failure() || self.is_success(success)
    }
}

/// How many devices stand at each outcome: each device once, by the strongest of its latest attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "they are the outcomes, documented there")]
pub struct Outcomes {
    pub offered: u64,
    pub downloaded: u64,
    pub missing: u64,
    pub installed: u64,
    pub confirmed: u64,
    pub failed: u64,
}

impl Outcomes {
    /// How many stand at that outcome.
    pub fn at(&self, outcome: Outcome) -> u64 {
        let mut copy = *self;
        *copy.at_mut(outcome)
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, outcome: Outcome) -> &mut u64 {
        match outcome {
            Outcome::Offered => &mut self.offered,
            Outcome::Downloaded => &mut self.downloaded,
            Outcome::Missing => &mut self.missing,
            Outcome::Installed => &mut self.installed,
            Outcome::Confirmed => &mut self.confirmed,
            Outcome::Failed => &mut self.failed,
        }
    }

    fn sum(&self, counts: impl Fn(Outcome) -> bool) -> u64 {
        Outcome::ALL.into_iter().filter(|outcome| counts(*outcome)).map(|outcome| self.at(outcome)).sum()
    }

    /// All devices that were offered something, whatever became of it.
    pub fn devices(&self) -> u64 {
        self.sum(|_| true)
    }

    /// Those that finished.
    pub fn finished(&self, success: Success) -> u64 {
        self.sum(|outcome| outcome.is_finished(success))
    }

    /// Those that succeeded.
    pub fn succeeded(&self, success: Success) -> u64 {
        self.sum(|outcome| outcome.is_success(success))
    }

    /// Those that failed.
    pub fn failures(&self) -> u64 {
        self.sum(Outcome::is_failure)
    }
}

/// The account of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Statistics {
    /// By the wave that each device was first offered in, counted from 0; waves beyond the last one with a device are left out.
    pub waves: Vec<Outcomes>,
    /// Over all waves, what came about since the rollout was started or resumed last: what halts it (R8). None is at `offered`.
    pub recent: Outcomes,
}

impl Statistics {
    /// Counts devices of a wave that stand at an outcome, which came about with so many resumes; what is recent came about with at least `resumes`.
    pub(crate) fn add(&mut self, wave: u32, with: u32, outcome: Outcome, devices: u64, resumes: u32) {
        if devices == 0 {
            return;
        }
        let wave = wave as usize;
        if self.waves.len() <= wave {
            self.waves.resize(wave + 1, Outcomes::default());
        }
        *self.waves[wave].at_mut(outcome) += devices;
        if with >= resumes && outcome != Outcome::Offered {
            *self.recent.at_mut(outcome) += devices;
        }
    }

    /// That wave's.
    pub fn wave(&self, wave: usize) -> Outcomes {
        self.waves.get(wave).copied().unwrap_or_default()
    }

    /// Over all waves.
    pub fn total(&self) -> Outcomes {
        let mut total = Outcomes::default();
        for outcome in Outcome::ALL {
            *total.at_mut(outcome) = self.waves.iter().map(|wave| wave.at(outcome)).sum();
        }
        total
    }
}
