//! The hand for a synchronous store: threads, and futures that are ready at once.

use super::{
    AT_ONCE, GroupSeen, Hand, LookUps, Seen, Step, TRIES, TRY_AGAIN_AFTER, Told, VIEW_LASTS, VIEWS_MAX, failed,
    look_up, name, own, refused, told,
};
use crate::check_in::CheckIn;
use crate::decide::trace::Recorder;
use crate::fleet::{CanonicalSerial, Fleet, ProductId};
use crate::store::contract::{Changed, Subject};
use crate::store::{self, GroupRecord, Registered, Store, View};
use crate::time::Timestamp;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

/// Asks a synchronous store. Its futures are ready at once.
pub(crate) struct Calling<'s, S>(pub(crate) &'s S);

impl<S: Subject> Calling<'_, S> {
    fn patiently(&self, store: &S::Store, step: &Step) -> Result<Changed, String> {
        let mut outcome = self.0.change(store, &step.changes, &step.after);
        for _ in 1..TRIES {
            if outcome.is_ok() {
                break;
            }
            thread::sleep(TRY_AGAIN_AFTER);
            outcome = self.0.change(store, &step.changes, &step.after);
        }
        outcome.map_err(refused)
    }
}

fn look_now<V: View>(view: &V, ups: &LookUps) -> Result<Seen, String> {
    look_up!(view, ups)
}

impl<S: Subject> Hand for Calling<'_, S> {
    type Store = S::Store;

    async fn open(&self, fleet: &Fleet) -> Result<S::Store, String> {
        self.0.open(fleet)
    }

    async fn look(&self, store: &S::Store, ups: &LookUps) -> Result<Seen, String> {
        let view = store.view().map_err(|error| failed("a view", &error))?;
        look_now(&view, ups)
    }

    async fn ask(&self, store: &S::Store, ask: &CheckIn<'_>, now: Timestamp) -> Result<Told, String> {
        let mut trace = Recorder::default();
        let decision = store::answer(store, ask, now, &mut trace, told);
        decision.map(|decision| (decision, trace.to_string())).map_err(|fault| failed("a decision", &fault))
    }

    async fn register(
        &self,
        store: &S::Store,
        product: &ProductId,
        serial: &CanonicalSerial,
        at: Timestamp,
    ) -> Result<Registered, String> {
        let whom = || format!("the registration of {}", name(product.as_str(), serial.as_str()));
        store.register(product, serial, at).map_err(|error| failed(&whom(), &error))
    }

    async fn race(
        &self,
        store: &S::Store,
        product: &ProductId,
        serials: &[CanonicalSerial],
        at: Timestamp,
    ) -> Vec<(CanonicalSerial, Result<Registered, String>)> {
        let (outcomes, all) = mpsc::channel();
        let start = std::sync::Barrier::new(AT_ONCE);
        thread::scope(|scope| {
            for lane in 0..AT_ONCE {
                let (outcomes, start) = (outcomes.clone(), &start);
                scope.spawn(move || {
                    start.wait();
                    for serial in serials.iter().skip(lane).step_by(AT_ONCE) {
                        let outcome = store.register(product, serial, at).map_err(|error| error.to_string());
                        // The receiver lives as long as the race.
                        let _ = outcomes.send((*serial, outcome));
                    }
                });
            }
        });
        drop(outcomes);
        all.into_iter().collect()
    }

    async fn change(&self, store: &S::Store, step: &Step) -> Result<Changed, String> {
        self.patiently(store, step)
    }

    async fn look_while_changed(&self, store: &S::Store, ups: &LookUps, step: &Step) -> Result<(Seen, Seen), String> {
        thread::scope(|scope| {
            let view = store.view().map_err(|error| failed("a view", &error))?;
            let before = look_now(&view, ups)?;
            let (done, writer_is_done) = mpsc::channel();
            let writer = scope.spawn(move || {
                let outcome = self.patiently(store, step);
                let _ = done.send(());
                outcome
            });
            let _ = writer_is_done.recv_timeout(VIEW_LASTS);
            let during = look_now(&view, ups)?;
            drop(view);
            joined(writer.join())?;
            Ok((before, during))
        })
    }

    async fn look_and_look(&self, store: &S::Store, ups: &LookUps, steps: &[Step]) -> Result<Vec<Seen>, String> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let outcome = steps.iter().try_for_each(|step| self.patiently(store, step).map(drop));
                done.store(true, Ordering::Release);
                outcome
            });
            let mut views = Vec::new();
            loop {
                views.extend(store.view().ok().and_then(|view| look_now(&view, ups).ok()));
                thread::yield_now();
                if views.len() >= VIEWS_MAX || done.load(Ordering::Acquire) || writer.is_finished() {
                    break;
                }
            }
            joined(writer.join())?;
            Ok(views)
        })
    }
}

/// What a thread came to; where it panicked, so does the test.
fn joined<T>(outcome: thread::Result<Result<T, String>>) -> Result<T, String> {
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
