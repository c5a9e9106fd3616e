//! What one process keeps about the devices that it answers: its ledger, and the leases by which an offer stays the same through a download. A face, a gateway
//! or a test asks it instead of putting the two together anew.

use super::attend::{Attended, attend, look};
use super::ledger::{Ledger, Noted, Report};
use super::statistics::Outcome;
use crate::check_in::{CheckIn, Want};
use crate::decide::identify;
use crate::decide::trace::{NoTrace, Trace};
use crate::fleet::{GroupId, Penalty, Rollout, RolloutId, Run, Target, TextFault};
use crate::index::Snapshot;
use crate::leases::Leases;
use crate::store::Found;
use crate::time::Timestamp;

/// A ledger, and the leases of this process.
#[derive(Debug)]
pub struct Books<L> {
    /// Who was offered what, and what became of it.
    pub ledger: L,
    /// What is being downloaded.
    pub leases: Leases,
}

impl<L: Ledger> Books<L> {
    /// A ledger with leases for at most so many devices at once; see [`Leases::new`].
    pub fn new(ledger: L, leases_max: usize) -> Self {
        Self { ledger, leases: Leases::new(leases_max) }
    }

    /// Puts the lease of the device among the facts.
    pub fn lend(&self, found: &mut Found<'_>, now: Timestamp) {
        let lease = found.identity().and_then(|(product, device)| self.leases.of(product.id(), device.serial(), now));
        found.lend(lease);
    }

    /// Decides with ledger and lease, see [`attend`], and keeps the lease of what is newly offered until `until`. Where the table of leases is full, the device is
    /// decided anew on each request.
    ///
    /// # Errors
    /// The ledger failed: nothing is to be served.
    pub fn attend<'f, T: Trace>(
        &self,
        found: &'f mut Found<'_>,
        ask: &CheckIn<'_>,
        until: Timestamp,
        now: Timestamp,
        trace: &mut T,
    ) -> Result<Attended<'f>, L::Error> {
        self.lend(found, now);
        let attended = attend(&self.ledger, found, ask, until, now, trace)?;
        let lease = attended.lease(ask.version, until);
        if let (Some((product, device)), Some(lease)) = (attended.found.identity(), lease) {
            self.leases.keep(product.id(), device.serial(), lease, now);
        }
        Ok(attended)
    }

    /// Puts lease and standing among the facts for a look that claims and notes nothing: a trace, say.
    ///
    /// # Errors
    /// The ledger failed.
    pub fn look(&self, found: &mut Found<'_>, now: Timestamp) -> Result<(), L::Error> {
        self.lend(found, now);
        look(&self.ledger, found, now)
    }

    /// Notes what became of an attempt of that rollout; what is stronger than a download ends the lease of firmware too.
    ///
    /// # Errors
    /// The ledger failed.
    pub fn note(&self, report: &Report, of: Option<&Rollout>, now: Timestamp) -> Result<Noted, L::Error> {
        let noted = self.ledger.note(report, now)?;
        let settled = report.outcome > Outcome::Downloaded && noted == Noted::Moved;
        if settled && of.is_some_and(|rollout| rollout.target_version().is_some()) {
            self.leases.finish(&report.run.product, &report.serial, now);
        }
        Ok(noted)
    }

    /// Notes what a device tells of what its check-in wants. Questions 1 to 4 are asked: who may not ask tells nothing. It is about the latest attempt in the rollout
    /// of its group, where that moves what the check-in wants: a config that failed is no firmware that did.
    ///
    /// # Errors
    /// The ledger failed.
    pub fn note_of_device(
        &self,
        found: &Found<'_>,
        ask: &CheckIn<'_>,
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<Noted, L::Error> {
        let refused = identify(&found.facts(), ask, now, &mut NoTrace).is_some();
        let Some((product, device)) = found.identity().filter(|_| !refused) else { return Ok(Noted::Foreign) };
        let Some((group, rollout)) = found.group().and_then(|group| Some((group, group.rollout()?))) else {
            return Ok(Noted::Foreign);
        };
        let about = matches!(
            (rollout.target(), ask.want),
            (Target::Firmware(_), Want::Firmware)
                | (Target::Config(_), Want::Config)
                | (Target::Resources(_), Want::Resources | Want::Resource(_))
        );
        let report = Report::new(product.id(), group.id(), rollout, device.serial(), outcome).filter(|_| about);
        report.map_or(Ok(Noted::Foreign), |report| self.note(&report, Some(rollout), now))
    }

    /// Notes what a back end tells of a device by name.
    ///
    /// # Errors
    /// There is no such product, group or device; a name is none; the ledger failed. Nothing is noted then.
    pub fn tell(&self, fleet: &Snapshot, told: &Told<'_>, now: Timestamp) -> Result<Noted, TellFault<L::Error>> {
        let Told { product, group, serial, rollout, started_at, attempt, outcome } = *told;
        let nothing =
            |what: &str, name: &str| TellFault::Nothing(format!("there is no {what} `{}`", name.escape_debug()));
        let product = fleet.product(product).ok_or_else(|| nothing("product", product))?;
        let serial = product.read_serial(serial).map_err(|fault| TellFault::Argument(format!("the serial {fault}")))?;
        let device = fleet.device(product.id().as_str(), serial.as_str());
        let group = match (group, &device) {
            (Some(named), _) => named,
            (None, Some(device)) => device.group().as_str(),
            (None, None) => return Err(nothing("device", serial.as_str())),
        };
        let group = fleet.group(product.id().as_str(), group).ok_or_else(|| nothing("group", group))?;
        let named = group.rollout().filter(|held| rollout.is_none_or(|name| held.id().as_str() == name));
        let current = named.and_then(|held| Report::new(product.id(), group.id(), held, serial.as_str(), outcome));
        let about = match (started_at, rollout) {
            (None, _) => current,
            (Some(_), None) => return Err(TellFault::Argument("a start is told, and of no `rollout`".to_owned())),
            (Some(started_at), Some(rollout)) => {
                let (product, group): (_, GroupId) = (product.id().clone(), group.id().clone());
                let rollout =
                    RolloutId::new(rollout).map_err(|fault: TextFault| TellFault::Argument(fault.to_string()))?;
                let run = Run { product, group, rollout, started_at };
                let over = || Report {
                    run: run.clone(),
                    serial: serial.as_str().into(),
                    attempt: None,
                    outcome,
                    resumes: 0,
                    penalty: Penalty { secs: 0, secs_max: 0 },
                    grace_secs: 0,
                };
                // One that is over halts nobody, and makes nobody wait.
                Some(current.filter(|current| current.run == run).unwrap_or_else(over))
            }
        };
        let Some(about) = about else { return Ok(Noted::Foreign) };
        let about = attempt.map_or_else(|| about.clone(), |number| about.clone().of_attempt(number));
        self.note(&about, named, now).map_err(TellFault::Ledger)
    }
}

/// What a back end tells of a device, by name.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The product.
    pub product: &'a str,
    /// The group that it was offered in; without it the one that the device is in.
    pub group: Option<&'a str>,
    /// The serial, in any spelling of the product's scheme.
    pub serial: &'a [u8],
    /// The rollout; without it the one that the group has.
    pub rollout: Option<&'a str>,
    /// When that run of it was started: what comes late is not booked on another then.
    pub started_at: Option<Timestamp>,
    /// The attempt; without it the latest.
    pub attempt: Option<u32>,
    /// What became of it.
    pub outcome: Outcome,
}

/// Why nothing was noted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TellFault<E> {
    /// What is named is not there.
    #[error("{0}")]
    Nothing(String),
    /// What is told cannot be.
    #[error("{0}")]
    Argument(String),
    /// The ledger failed.
    #[error("the ledger failed")]
    Ledger(#[source] E),
}
