//! What a host keeps of an offer that it makes, and what ends with its last byte.

use super::attend::Attended;
use super::ledger::{AsyncLedger, Ledger, Noted, Of, Report};
use super::statistics::Outcome;
use crate::fleet::{Attempt, GroupId, ProductId};
use crate::lease::Lease;
use crate::leases::Leases;
use crate::time::Timestamp;
use crate::verdict::{Effect, Offer, Verdict};

/// What is carried out once the last byte of an offer was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Ends {
    /// The product.
    pub product: ProductId,
    /// The device's group.
    pub group: GroupId,
    /// The canonical serial.
    pub serial: Box<str>,
    /// What is to be noted in the ledger, where it was offered on a rollout's account.
    pub downloaded: Option<Report>,
    /// It was firmware: its lease ends.
    pub ends_lease: bool,
    /// Its place among the downloads is given back: by firmware, and by a config or a resource that took one.
    pub gives_back: bool,
    /// How long the lease and the place among the downloads live on, in seconds: for a device whose connection broke just then.
    pub grace_secs: u32,
}

macro_rules! carry_out_by {
    ($ends:ident, $leases:ident, $ledger:ident, $now:ident $(, $await:tt)?) => {{
        let Self { product, group, serial, downloaded, ends_lease, gives_back, grace_secs } = $ends;
        let at = $now.plus_secs((*grace_secs).into());
        if *ends_lease {
            $leases.finish(product, serial, at);
        }
        // The note first: a place lapses, what is not noted is lost.
        let noted = match downloaded {
            Some(report) => Some($ledger.note(report, $now)$(.$await)??),
            None => None,
        };
        if *gives_back {
            $ledger.release(&Of { product, group, serial, run: None }, at)$(.$await)??;
        }
        Ok(noted)
    }};
}

impl Ends {
    /// Shortens the lease, notes the download, and gives back the device's place among the downloads; gives what became of the note.
    ///
    /// # Errors
    /// The ledger cannot be written: the place is given back when it lapses.
    pub fn carry_out<L: Ledger>(&self, leases: &Leases, ledger: &L, now: Timestamp) -> Result<Option<Noted>, L::Error> {
        carry_out_by!(self, leases, ledger, now)
    }

    /// [`carry_out`](Self::carry_out) for an asynchronous ledger.
    ///
    /// # Errors
    /// As [`carry_out`](Self::carry_out).
    pub async fn carry_out_async<L: AsyncLedger>(
        &self,
        leases: &Leases,
        ledger: &L,
        now: Timestamp,
    ) -> Result<Option<Noted>, L::Error> {
        carry_out_by!(self, leases, ledger, now, await)
    }
}

impl Attended<'_> {
    /// The attempt that what is served counts as: a new one, or that of the lease which it continues. A lease is of firmware: who fetches a config in the middle of
    /// a download does not continue that.
    pub fn attempt_served(&self) -> Option<&Attempt> {
        let continues = self.decision.firmware_offer().is_some_and(|offer| offer.leased);
        let leased = self.found.lease().filter(|_| continues).and_then(|lease| lease.attempt.as_ref());
        self.attempt.as_ref().or(leased)
    }

    /// The lease to keep for a new offer of firmware, so that it stays the same through a ranged download; see [`Lease::of`].
    pub fn lease(&self, version: &[u8], expires_at: Timestamp) -> Option<Lease> {
        let (_, device) = self.found.identity()?;
        let lease = Lease::of(&self.decision, device.group(), version, expires_at)?;
        Some(Lease { attempt: self.attempt.clone(), ..lease })
    }

    /// What ends with the last byte of what is served; nothing, where nothing is.
    pub fn ends(&self, grace_secs: u32) -> Option<Ends> {
        let Verdict::Serve(offer) = &self.decision.verdict else { return None };
        let (product, device) = self.found.identity()?;
        let firmware = matches!(offer, Offer::Firmware(_));
        // Else a place that it has is of a download that goes on beside this.
        let took_place = matches!(self.decision.effect, Some(Effect::Claim(claim)) if claim.downloads_max.is_some());
        // A list is no resource yet.
        let counts = self.attempt_served().filter(|_| !matches!(offer, Offer::Resources(_)));
        let rollout = self.found.group().and_then(|group| group.rollout());
        let downloaded = counts.zip(rollout).and_then(|(attempt, rollout)| {
            let report = attempt.report(rollout, device.serial(), Outcome::Downloaded)?;
            Some(Report { grace_secs, ..report })
        });
        Some(Ends {
            product: product.id().clone(),
            group: device.group().clone(),
            serial: device.serial().into(),
            downloaded,
            ends_lease: firmware,
            gives_back: firmware || took_place,
            grace_secs,
        })
    }
}
