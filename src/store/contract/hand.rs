//! The hand that asks: the few things that the suite does to a store, for a synchronous and for an asynchronous one. All else is written once.

use super::{AsyncSubject, Changed, Subject};
use crate::check_in::CheckIn;
use crate::decide::trace::Recorder;
use crate::fleet::{CanonicalSerial, Catalogue, Change, Device, Fleet, Group, KeyHash, Product, ProductId, Revision};
use crate::lease::Lease;
use crate::store::{self, AsyncStore, AsyncView, GroupRecord, Held, Registered, StandingRecord, Store, View};
use crate::time::Timestamp;
use crate::verdict::Decision;
use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

/// How many ask at once.
pub(super) const AT_ONCE: usize = 8;
/// How long a view is held while somebody writes. A store whose views block writers makes them wait for so long, and is not the worse for it.
const VIEW_LASTS: Duration = Duration::from_millis(200);
/// How often a refused change is tried, and how long the writer waits in between: longer, together, than a view lasts.
const TRIES: usize = 10;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How many views are taken at most while somebody writes.
const VIEWS_MAX: usize = 2_000;

/// What to look up in one view.
#[derive(Clone, Default)]
pub(super) struct LookUps {
    pub(super) keys: Vec<KeyHash>,
    pub(super) devices: Vec<(ProductId, String)>,
    pub(super) groups: Vec<(Product, Device)>,
}

/// What one view gave, in the order of the look-ups.
pub(super) struct Seen {
    pub(super) revision: Revision,
    pub(super) products: Vec<Option<Product>>,
    pub(super) devices: Vec<Option<Device>>,
    pub(super) groups: Vec<GroupSeen>,
}

/// What a view gave of a device's group.
pub(super) struct GroupSeen {
    pub(super) found: Option<(Group, Catalogue, StandingRecord)>,
    pub(super) lease: Option<Lease>,
}

/// A batch, and the fleet that it leads to.
pub(super) struct Step {
    pub(super) changes: Vec<Change>,
    pub(super) after: Fleet,
}

/// A decision as JSON, and its trace as text.
pub(super) type Told = (String, String);

/// What the suite does to a store. Errors are sentences.
pub(super) trait Hand {
    type Store;

    async fn open(&self, fleet: &Fleet) -> Result<Self::Store, String>;

    /// Looks everything up in one view.
    async fn look(&self, store: &Self::Store, ups: &LookUps) -> Result<Seen, String>;

    async fn ask(&self, store: &Self::Store, ask: &CheckIn<'_>, now: Timestamp) -> Result<Told, String>;

    async fn register(
        &self,
        store: &Self::Store,
        product: &ProductId,
        serial: &CanonicalSerial,
        at: Timestamp,
    ) -> Result<Registered, String>;

    /// Registers them all, [`AT_ONCE`] at a time; the outcomes stand beside the serials.
    async fn race(
        &self,
        store: &Self::Store,
        product: &ProductId,
        serials: &[CanonicalSerial],
        at: Timestamp,
    ) -> Vec<(CanonicalSerial, Result<Registered, String>)>;

    async fn change(&self, store: &Self::Store, step: &Step) -> Result<Changed, String>;

    /// Looks twice in one view, and has the store changed in between, or at least waiting for the view to go. When it returns, it is changed.
    async fn look_while_changed(&self, store: &Self::Store, ups: &LookUps, step: &Step)
    -> Result<(Seen, Seen), String>;

    /// Takes view after view while the store is changed step by step. A view that fails is none: a store that is not sure fails.
    async fn look_and_look(&self, store: &Self::Store, ups: &LookUps, steps: &[Step]) -> Result<Vec<Seen>, String>;
}

/// Asks everything of one view; with `await` of an asynchronous one.
macro_rules! look_up {
    ($view:expr, $ups:expr $(, $await:tt)?) => {{
        let mut seen = Seen {
            revision: $view.revision()$(.$await)?.map_err(|error| failed("the revision", &error))?,
            products: Vec::new(),
            devices: Vec::new(),
            groups: Vec::new(),
        };
        for key in &$ups.keys {
            let found = $view.product_of_key(key)$(.$await)?;
            let found = found.map_err(|error| failed(&format!("the product of key hash {}", key.0), &error))?;
            seen.products.push(found.map(own));
        }
        for (product, serial) in &$ups.devices {
            let found = $view.device(product, serial)$(.$await)?.map_err(|error| failed(&name(product.as_str(), serial), &error))?;
            seen.devices.push(found.map(own));
        }
        for (product, device) in &$ups.groups {
            let whose = || format!("the group of {}", name(product.id().as_str(), device.serial()));
            let found = $view.group(product, device)$(.$await)?.map_err(|error| failed(&whose(), &error))?;
            let found = found.map(|GroupRecord { group, catalogue, standing }| (own(group), own(catalogue), standing));
            let lease = $view.lease(product, device)$(.$await)?.map_err(|error| failed(&whose(), &error))?;
            seen.groups.push(GroupSeen { found, lease: lease.map(own) });
        }
        Ok(seen)
    }};
}

fn own<T: Clone>(held: Held<'_, T>) -> T {
    T::clone(&held)
}

/// A device as it is named in a finding.
pub(super) fn name(product: &str, serial: &str) -> String {
    format!("device `{}` of product `{}`", serial.escape_debug(), product.escape_debug())
}

/// An error with all that lies behind it.
fn failed(what: &str, error: &dyn Error) -> String {
    let mut text = format!("asked for {what}, the store failed: {error}");
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

fn told(decision: &Decision<'_>) -> String {
    serde_json::to_string(decision).unwrap_or_else(|error| error.to_string())
}

/// Asks a synchronous store. Its futures are ready at once.
pub(super) struct Calling<'s, S>(pub(super) &'s S);

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

fn refused(fault: String) -> String {
    format!("a change was refused {TRIES} times: {fault}")
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
            while views.len() < VIEWS_MAX && !done.load(Ordering::Acquire) && !writer.is_finished() {
                views.extend(store.view().ok().and_then(|view| look_now(&view, ups).ok()));
                thread::yield_now();
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

/// Asks an asynchronous store.
pub(super) struct Awaiting<'s, S>(pub(super) &'s S);

impl<S: AsyncSubject> Awaiting<'_, S> {
    async fn patiently(&self, store: &S::Store, step: &Step) -> Result<Changed, String> {
        let mut outcome = self.0.change(store, &step.changes, &step.after).await;
        for _ in 1..TRIES {
            if outcome.is_ok() {
                break;
            }
            pause(TRY_AGAIN_AFTER).await;
            outcome = self.0.change(store, &step.changes, &step.after).await;
        }
        outcome.map_err(refused)
    }
}

async fn look_soon<V: AsyncView>(view: &V, ups: &LookUps) -> Result<Seen, String> {
    look_up!(view, ups, await)
}

impl<S: AsyncSubject> Hand for Awaiting<'_, S> {
    type Store = S::Store;

    async fn open(&self, fleet: &Fleet) -> Result<S::Store, String> {
        self.0.open(fleet).await
    }

    async fn look(&self, store: &S::Store, ups: &LookUps) -> Result<Seen, String> {
        let view = store.view().await.map_err(|error| failed("a view", &error))?;
        look_soon(&view, ups).await
    }

    async fn ask(&self, store: &S::Store, ask: &CheckIn<'_>, now: Timestamp) -> Result<Told, String> {
        let mut trace = Recorder::default();
        let decision = store::answer_async(store, ask, now, &mut trace, told).await;
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
        store.register(product, serial, at).await.map_err(|error| failed(&whom(), &error))
    }

    async fn race(
        &self,
        store: &S::Store,
        product: &ProductId,
        serials: &[CanonicalSerial],
        at: Timestamp,
    ) -> Vec<(CanonicalSerial, Result<Registered, String>)> {
        let lane = |lane| async move {
            let mut outcomes = Vec::new();
            for serial in serials.iter().skip(lane).step_by(AT_ONCE) {
                let outcome = store.register(product, serial, at).await.map_err(|error| error.to_string());
                outcomes.push((*serial, outcome));
            }
            outcomes
        };
        all((0..AT_ONCE).map(lane).collect()).await.into_iter().flatten().collect()
    }

    async fn change(&self, store: &S::Store, step: &Step) -> Result<Changed, String> {
        self.patiently(store, step).await
    }

    async fn look_while_changed(&self, store: &S::Store, ups: &LookUps, step: &Step) -> Result<(Seen, Seen), String> {
        let view = store.view().await.map_err(|error| failed("a view", &error))?;
        let before = look_soon(&view, ups).await?;
        let mut writer = pin!(self.patiently(store, step));
        let mut written = None;
        beside(writer.as_mut(), &mut written, pause(VIEW_LASTS)).await;
        let during = beside(writer.as_mut(), &mut written, look_soon(&view, ups)).await?;
        drop(view);
        match written {
            Some(outcome) => outcome?,
            None => writer.await?,
        };
        Ok((before, during))
    }

    async fn look_and_look(&self, store: &S::Store, ups: &LookUps, steps: &[Step]) -> Result<Vec<Seen>, String> {
        let done = AtomicBool::new(false);
        let mut writer = pin!(async {
            let mut outcome = Ok(Changed::Done);
            for step in steps {
                outcome = outcome.and(self.patiently(store, step).await);
            }
            done.store(true, Ordering::Release);
            outcome
        });
        let reader = async {
            let mut views = Vec::new();
            while views.len() < VIEWS_MAX && !done.load(Ordering::Acquire) {
                views.extend(self.look(store, ups).await.ok());
                let_others().await;
            }
            views
        };
        let mut written = None;
        let views = beside(writer.as_mut(), &mut written, reader).await;
        match written {
            Some(outcome) => outcome?,
            None => writer.await?,
        };
        Ok(views)
    }
}

/// Drives `main` to its end, and `aside` with it as far as that comes.
async fn beside<A: Future, M: Future>(mut aside: Pin<&mut A>, done: &mut Option<A::Output>, main: M) -> M::Output {
    let mut main = pin!(main);
    std::future::poll_fn(|context| {
        if done.is_none()
            && let Poll::Ready(output) = aside.as_mut().poll(context)
        {
            *done = Some(output);
        }
        main.as_mut().poll(context)
    })
    .await
}

/// Drives all of them at once, in one task: between two of their waits, others go on.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut lanes: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, done) in lanes.iter_mut().filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                *done = Some(output);
            }
        }
        if lanes.iter().all(|(_, done)| done.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    lanes.into_iter().filter_map(|(_, done)| done).collect()
}

/// Comes back in the next round.
async fn let_others() {
    let mut again = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut again, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// A timer that needs no runtime: a thread that sleeps, and wakes.
async fn pause(lasts: Duration) {
    let shared = Arc::new(parking_lot::Mutex::new((false, None::<Waker>)));
    let sleeper = shared.clone();
    thread::spawn(move || {
        thread::sleep(lasts);
        let mut shared = sleeper.lock();
        shared.0 = true;
        if let Some(waker) = shared.1.take() {
            waker.wake();
        }
    });
    std::future::poll_fn(|context| {
        let mut shared = shared.lock();
        shared.1 = Some(context.waker().clone());
        if shared.0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::task::Context;

    #[test]
    fn what_races_is_under_way_at_once() {
        let (now, most) = (Cell::new(0), Cell::new(0));
        let lane = |number| {
            let (now, most) = (&now, &most);
            async move {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                let_others().await;
                now.set(now.get() - 1);
                number
            }
        };
        let mut race = pin!(all((0..AT_ONCE).map(lane).collect()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(race.as_mut().poll(&mut context).is_pending());
        let Poll::Ready(outcomes) = race.poll(&mut context) else { panic!("both rounds are over") };
        assert_eq!(outcomes, Vec::from_iter(0..AT_ONCE));
        assert_eq!(most.get(), AT_ONCE);
    }
}
