//! The hand that asks: the calls of a ledger, and many of them at once. All else in the suite is written over it, so that a synchronous ledger and an
//! asynchronous one are asked the same.

use super::{AsyncSubject, Subject};
use crate::fleet::Run;
use crate::rollout::{AsyncLedger, ClaimAsk, Claimed, Held, Ledger, Noted, Of, Report, Statistics};
use crate::time::Timestamp;
use crate::verdict::ClaimRefused;
use std::error::Error;
use std::sync::Barrier;
use std::task::Poll;
use std::thread;

/// How many ask at once.
pub(super) const AT_ONCE: usize = 8;

/// One of the calls that race.
#[derive(Clone, Copy)]
pub(super) enum Call<'a> {
    Claim(ClaimAsk<'a>, Timestamp),
    Note(&'a Report, Timestamp),
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Done {
    Claimed(Result<Claimed, ClaimRefused>),
    Noted(Noted),
}

/// What the suite does to a ledger. Errors are sentences.
pub(super) trait Hand {
    type Ledger;

    async fn open(&self) -> Result<Self::Ledger, String>;

    async fn held(&self, ledger: &Self::Ledger, of: &Of<'_>, now: Timestamp) -> Result<Held, String>;

    async fn claim(
        &self,
        ledger: &Self::Ledger,
        ask: &ClaimAsk<'_>,
        now: Timestamp,
    ) -> Result<Result<Claimed, ClaimRefused>, String>;

    async fn note(&self, ledger: &Self::Ledger, report: &Report, at: Timestamp) -> Result<Noted, String>;

    async fn release(&self, ledger: &Self::Ledger, of: &Of<'_>, at: Timestamp) -> Result<(), String>;

    async fn statistics(&self, ledger: &Self::Ledger, run: &Run, resumes: u32) -> Result<Statistics, String>;

    async fn forget(&self, ledger: &Self::Ledger, run: &Run) -> Result<(), String>;

    /// Makes the calls, [`AT_ONCE`] at a time: whoever is number i makes every call that stands i places after the first of a row of so many. What came
    /// of them stands in the order of the calls.
    async fn race(&self, ledger: &Self::Ledger, calls: &[Call<'_>]) -> Vec<Result<Done, String>>;
}

/// The calls that are made one by one, written once; with `await` those of an asynchronous ledger.
macro_rules! calls {
    ($($await:tt)?) => {
    async fn held(&self, ledger: &S::Ledger, of: &Of<'_>, now: Timestamp) -> Result<Held, String> {
        let what = || format!("what it holds about {}", name(of.serial));
        ledger.held(of, now)$(.$await)?.map_err(|error| failed(&what(), &error))
    }

    async fn claim(
        &self,
        ledger: &S::Ledger,
        ask: &ClaimAsk<'_>,
        now: Timestamp,
    ) -> Result<Result<Claimed, ClaimRefused>, String> {
        ledger.claim(ask, now)$(.$await)?.map_err(|error| failed(&format!("a claim of {}", name(ask.of.serial)), &error))
    }

    async fn note(&self, ledger: &S::Ledger, report: &Report, at: Timestamp) -> Result<Noted, String> {
        let what = || format!("to note that {} is {}", name(&report.serial), report.outcome.name());
        ledger.note(report, at)$(.$await)?.map_err(|error| failed(&what(), &error))
    }

    async fn release(&self, ledger: &S::Ledger, of: &Of<'_>, at: Timestamp) -> Result<(), String> {
        ledger.release(of, at)$(.$await)?.map_err(|error| failed(&format!("to release the place of {}", name(of.serial)), &error))
    }

    async fn statistics(&self, ledger: &S::Ledger, run: &Run, resumes: u32) -> Result<Statistics, String> {
        ledger.statistics(run, resumes)$(.$await)?.map_err(|error| failed("the statistics of a run", &error))
    }

    async fn forget(&self, ledger: &S::Ledger, run: &Run) -> Result<(), String> {
        ledger.forget(run)$(.$await)?.map_err(|error| failed("to forget a run", &error))
    }
    };
}

/// Asks a synchronous ledger. Its futures are ready at once.
pub(super) struct Calling<'s, S>(pub(super) &'s S);

impl<S: Subject> Hand for Calling<'_, S> {
    type Ledger = S::Ledger;

    async fn open(&self) -> Result<S::Ledger, String> {
        self.0.open()
    }

    calls!();

    async fn race(&self, ledger: &S::Ledger, calls: &[Call<'_>]) -> Vec<Result<Done, String>> {
        let start = Barrier::new(AT_ONCE);
        let lane = |lane: usize| {
            start.wait();
            calls.iter().skip(lane).step_by(AT_ONCE).map(|call| one(ledger, call)).collect::<Vec<_>>()
        };
        let mut lanes: Vec<_> = thread::scope(|scope| {
            let lane = &lane;
            let threads: Vec<_> = (0..AT_ONCE).map(|number| scope.spawn(move || lane(number))).collect();
            threads.into_iter().map(|thread| joined(thread.join()).into_iter()).collect()
        });
        (0..calls.len()).filter_map(|at| lanes[at % AT_ONCE].next()).collect()
    }
}

/// Asks an asynchronous ledger, on whatever polls the suite.
pub(super) struct Awaiting<'s, S>(pub(super) &'s S);

impl<S: AsyncSubject> Hand for Awaiting<'_, S> {
    type Ledger = S::Ledger;

    async fn open(&self) -> Result<S::Ledger, String> {
        self.0.open().await
    }

    calls!(await);

    /// All lanes are polled in turn, so that each call of one is under way while the others wait.
    async fn race(&self, ledger: &S::Ledger, calls: &[Call<'_>]) -> Vec<Result<Done, String>> {
        let lane = |lane: usize| async move {
            let mut done = Vec::new();
            for call in calls.iter().skip(lane).step_by(AT_ONCE) {
                done.push(match call {
                    Call::Claim(ask, now) => {
                        ledger.claim(ask, *now).await.map(Done::Claimed).map_err(|error| error.to_string())
                    }
                    Call::Note(report, at) => {
                        ledger.note(report, *at).await.map(Done::Noted).map_err(|error| error.to_string())
                    }
                });
            }
            done
        };
        let mut lanes: Vec<_> = (0..AT_ONCE).map(|number| (Box::pin(lane(number)), None)).collect();
        let done = std::future::poll_fn(|context| {
            let mut pending = false;
            for (lane, done) in lanes.iter_mut().filter(|(_, done)| done.is_none()) {
                match lane.as_mut().poll(context) {
                    Poll::Ready(all) => *done = Some(all),
                    Poll::Pending => pending = true,
                }
            }
            if pending {
                return Poll::Pending;
            }
            Poll::Ready(
                lanes.iter_mut().map(|(_, done)| done.take().unwrap_or_default().into_iter()).collect::<Vec<_>>(),
            )
        });
        let mut lanes = done.await;
        (0..calls.len()).filter_map(|at| lanes[at % AT_ONCE].next()).collect()
    }
}

fn one<L: Ledger>(ledger: &L, call: &Call<'_>) -> Result<Done, String> {
    match call {
        Call::Claim(ask, now) => ledger.claim(ask, *now).map(Done::Claimed).map_err(|error| error.to_string()),
        Call::Note(report, at) => ledger.note(report, *at).map(Done::Noted).map_err(|error| error.to_string()),
    }
}

/// What a thread came to; where it panicked, so does the test.
fn joined<T>(outcome: thread::Result<T>) -> T {
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A device as it is named in a finding.
pub(super) fn name(serial: &str) -> String {
    format!("device `{}`", serial.escape_debug())
}

/// An error with all that lies behind it.
fn failed(what: &str, error: &dyn Error) -> String {
    let mut text = format!("asked for {what}, the ledger failed: {error}");
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
