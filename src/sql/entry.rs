//! A device's account, as the columns of a row.

use crate::fleet::WAVES_MAX;
use crate::rollout::Outcome;
use crate::rollout::account::{Entry, FailedAt};
use crate::time::Timestamp;

/// The columns of an account, in their order, apart from run and serial.
pub(crate) const ENTRY: &str = "number, wave, hop, offers, first_offered_at, outcome, resumes, claim_expires_at, failed_hop, failed_times, failed_until, waits_until";

/// What stands in those columns.
#[derive(Debug)]
pub(crate) struct EntryColumns<'t> {
    pub(crate) number: i64,
    pub(crate) wave: i64,
    pub(crate) hop: &'t str,
    pub(crate) offers: i64,
    pub(crate) first_offered_at: i64,
    pub(crate) outcome: &'t str,
    pub(crate) resumes: i64,
    pub(crate) claim_expires_at: i64,
    pub(crate) failed_hop: Option<&'t str>,
    pub(crate) failed_times: Option<i64>,
    pub(crate) failed_until: Option<i64>,
    pub(crate) waits_until: Option<i64>,
}

impl<'t> EntryColumns<'t> {
    pub(crate) fn of(entry: &'t Entry) -> Self {
        let before = entry.before.as_deref();
        Self {
            number: entry.number.into(),
            wave: entry.wave.into(),
            hop: &entry.hop,
            offers: entry.offers.into(),
            first_offered_at: entry.first_offered_at.millis(),
            outcome: entry.outcome.name(),
            resumes: entry.resumes.into(),
            claim_expires_at: entry.claim_expires_at.millis(),
            failed_hop: before.map(|before| &*before.hop),
            failed_times: before.map(|before| before.times.into()),
            failed_until: before.and_then(|before| before.until).map(Timestamp::millis),
            waits_until: entry.waits_until.map(Timestamp::millis),
        }
    }

    /// The account, or what cannot be.
    pub(crate) fn read(self) -> Result<Entry, String> {
        let number = |what: &str, stored: i64| u32::try_from(stored).map_err(|_| format!("{what} {stored}"));
        let wave = number("wave", self.wave)?;
        if wave as usize >= WAVES_MAX {
            return Err(format!("wave {wave}, and no rollout has more than {WAVES_MAX}"));
        }
        let failed = |hop: &str| {
            Ok::<_, String>(Box::new(FailedAt {
                hop: hop.into(),
                times: number("failed_times", self.failed_times.unwrap_or(1))?,
                until: self.failed_until.map(Timestamp::from_millis),
            }))
        };
        Ok(Entry {
            number: number("number", self.number)?,
            wave,
            hop: self.hop.into(),
            offers: number("offers", self.offers)?,
            first_offered_at: Timestamp::from_millis(self.first_offered_at),
            outcome: outcome(self.outcome)?,
            resumes: number("resumes", self.resumes)?,
            claim_expires_at: Timestamp::from_millis(self.claim_expires_at),
            before: self.failed_hop.map(failed).transpose()?,
            waits_until: self.waits_until.map(Timestamp::from_millis),
        })
    }
}

/// A count of devices: wave, resumes, outcome, devices.
pub(crate) fn counted(wave: i64, resumes: i64, name: &str, devices: i64) -> Result<(u32, u32, Outcome, u64), String> {
    let wave = u32::try_from(wave).ok().filter(|wave| (*wave as usize) < WAVES_MAX);
    let found = wave.zip(u32::try_from(resumes).ok()).zip(u64::try_from(devices).ok());
    let ((wave, resumes), devices) =
        found.ok_or_else(|| format!("wave {wave:?}, resumes {resumes}, devices {devices}"))?;
    Ok((wave, resumes, outcome(name)?, devices))
}

fn outcome(name: &str) -> Result<Outcome, String> {
    Outcome::named(name).ok_or_else(|| format!("`{}`, which is no outcome", name.escape_debug()))
}
