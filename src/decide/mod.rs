//! The pure core: twelve questions, the first that fails answers.
//!
//! The modules stand in the order of the questions. Nothing here knows a store, a clock or a lock; nothing allocates; nothing can panic.
//!
//! What takes a trace is inlined always: then a source with notes and one without come out within 4 % of each other in instructions, with the same calls
//! (`tests/trace_is_free.rs`; 6 % before).

pub(crate) mod facts;

mod documents; //       config and resources
mod identity; // 1-4    key, serial, device, state
mod meant; //    5-6    group, and the firmware that is meant
mod offer; //    12     which artifact
mod path; //     7-10   hardware, already there, direction, stepping stones
pub(crate) mod trace;
mod turn; //     6, 11  wave and claim; window, downloads, penalty

use crate::check_in::{CheckIn, Want};
use crate::fleet::{CanonicalSerial, Firmware, Product, Reading, Revision, RolloutId};
use crate::time::Timestamp;
use crate::verdict::{Decision, Effect, Offer, Reason, Verdict};
use facts::{DeviceFacts, Facts, GroupFacts};
use trace::Trace;

/// Goes on with what a question found, or gives the answer that it gave.
macro_rules! pass {
    ($question:expr) => {
        match $question {
            Ok(found) => found,
            Err(decision) => return decision,
        }
    };
}

/// Answers a check-in: a pure function of what the store knows, the check-in and the time (V3), total (V4).
///
/// Costs a few comparisons; one hash where a rank is needed, which is while a sized wave is the last open one. Allocates nothing, unless the
/// trace does. The stepping stones of question 10 are quadratic in the stones of the product, of which there are at most
/// [`STONES_MAX`](crate::STONES_MAX).
///
/// ```
/// use otagate::{CheckIn, Facts, NoTrace, Reason, Revision, Timestamp, decide};
/// let facts = Facts { revision: Revision(7), key: None, device: None, group: None };
/// let decision = decide(&facts, &CheckIn::new(b"guess", b"1"), Timestamp::from_millis(0), &mut NoTrace);
/// assert_eq!((decision.status(), decision.reason), (401, Reason::KeyUnknown));
/// ```
#[inline(always)]
pub fn decide<'a, T: Trace>(facts: &Facts<'a>, ask: &CheckIn<'_>, now: Timestamp, trace: &mut T) -> Decision<'a> {
    let who = pass!(identity::of(facts, ask, now, trace)); //              1-4
    let at = pass!(meant::group(facts, who, ask, trace)); //                    5
    if ask.want != Want::Firmware {
        return documents::of(&at, ask, now, trace);
    }
    if let Some(leased) = offer::leased(&at, ask, now, trace) {
        return leased; //                                                  6-12 were answered before
    }
    let meant = pass!(meant::of(&at, ask, now, trace)); //                 6
    let hop = pass!(path::toward(&at, ask, &meant, trace)); //             7-10
    let claim = pass!(turn::now(&at, &meant, hop, now, trace)); //         11
    offer::of(&at, ask, &meant, hop, claim, trace) //                      12
}

/// Answers questions 1 to 4 alone: who asks, and may it? For calls that tell the host something, such as a sign of life. Gives nothing where
/// the device is known and verified.
#[inline(always)]
pub fn identify<'a, T: Trace>(
    facts: &Facts<'a>,
    ask: &CheckIn<'_>,
    now: Timestamp,
    trace: &mut T,
) -> Option<Decision<'a>> {
    identity::of(facts, ask, now, trace).err()
}

/// Who asks: what questions 1 to 4 established.
#[derive(Clone, Copy)]
struct Who<'a> {
    revision: Revision,
    product: &'a Product,
    serial: &'a CanonicalSerial,
    device: DeviceFacts<'a>,
}

/// Who asks, and in which group: what questions 1 to 5 established.
#[derive(Clone, Copy)]
struct At<'a, 'r> {
    revision: Revision,
    product: &'a Product,
    serial: &'a CanonicalSerial,
    device: DeviceFacts<'a>,
    facts: GroupFacts<'a>,
    /// The version that the device reports, read once.
    reported: Reading<'r>,
}

impl At<'_, '_> {
    /// `retry_after` where no time is known: the product's poll interval, if it has one (R12).
    fn poll(&self) -> Option<u32> {
        self.product.poll_interval_secs
    }
}

/// An answer other than `serve`.
fn answer(revision: Revision, reason: Reason) -> Decision<'static> {
    let verdict = match reason.status() {
        401 => Verdict::Unauthorized,
        404 => Verdict::Unavailable,
        _ => Verdict::UpToDate,
    };
    Decision { verdict, reason, revision, retry_after_secs: None, meant: None, rollout: None, effect: None }
}

/// An answer other than `serve` about a firmware that is meant.
fn answer_about<'a>(revision: Revision, reason: Reason, meant: &'a Firmware) -> Decision<'a> {
    Decision { meant: Some(meant), ..answer(revision, reason) }
}

fn serve<'a>(
    revision: Revision,
    offer: Offer<'a>,
    meant: Option<&'a Firmware>,
    rollout: Option<&'a RolloutId>,
    effect: Option<Effect<'a>>,
) -> Decision<'a> {
    let (verdict, reason) = (Verdict::Serve(offer), Reason::Serve);
    Decision { verdict, reason, revision, retry_after_secs: None, meant, rollout, effect }
}
