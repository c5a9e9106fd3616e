//! The hand for an asynchronous store: one task, no runtime, and a timer made of a thread.

use super::{
    AT_ONCE, GroupSeen, Hand, LookUps, Seen, Step, TRIES, TRY_AGAIN_AFTER, Told, VIEW_LASTS, VIEWS_MAX, failed,
    look_up, name, own, refused, told,
};
use crate::check_in::CheckIn;
use crate::decide::trace::Recorder;
use crate::fleet::{CanonicalSerial, Fleet, ProductId};
use crate::store::contract::{AsyncSubject, Changed};
use crate::store::{self, AsyncStore, AsyncView, GroupRecord, Registered};
use crate::time::Timestamp;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

/// Asks an asynchronous store.
pub(crate) struct Awaiting<'s, S>(pub(crate) &'s S);

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
            loop {
                views.extend(self.look(store, ups).await.ok());
                let_others().await;
                if views.len() >= VIEWS_MAX || done.load(Ordering::Acquire) {
                    break views;
                }
            }
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
