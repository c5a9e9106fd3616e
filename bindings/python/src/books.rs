//! A check-in with a ledger, and what is left to do about it.

use crate::decision::Decision;
use crate::failure::{garbage, guard, invalid, not_found, of_problems, refused};
use crate::fleet::Fleet;
use crate::fleet_words::{loads, noted, text_of};
use crate::given::{Given, GivenAttempt};
use crate::time::{datetime, now, timestamp};
use otagate::rollout::{
    Attended as Settled, Books, Ends, Ledger as _, LedgerRows, MemoryLedger, Outcome, Report, TellFault, Told,
};
use otagate::store::{Found, Store, fetch};
use otagate::{
    CanonicalSerial, Change, CheckIn, GroupId, Index, NoTrace, ProductId, Reason, RolloutId, Run, Snapshot, Timestamp,
};
use parking_lot::Mutex;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyType;
use std::sync::Arc;

/// The ledger of one process, in memory: who was offered what and what became of it, and the leases by which an offer stays the same through a
/// ranged download.
#[pyclass(frozen, module = "otagate", weakref)]
pub(crate) struct Ledger {
    pub(crate) books: Arc<Books<MemoryLedger>>,
}

/// By whom it is done what is left to do.
pub(crate) enum Source {
    Fleet(Index),
    /// A host's store, in Python.
    Store(Py<PyAny>),
    /// An asynchronous one: whoever can await registers.
    Awaited,
}

/// What attending gives: the answer, and what is to be counted.
pub(crate) type Answered = (Attended, Option<ProductId>, Reason);

impl Ledger {
    pub(crate) fn ledger(&self) -> &MemoryLedger {
        &self.books.ledger
    }

    pub(crate) fn attend(
        &self,
        py: Python<'_>,
        index: &Index,
        source: Source,
        ask: &CheckIn<'_>,
        lease_secs: u32,
        now: Timestamp,
    ) -> PyResult<Answered> {
        let Ok(view) = index.view();
        let mut found = fetch(&view, ask).map_err(|fault| garbage(fault.to_string()))?;
        self.settle(py, &mut found, source, ask, lease_secs, now)
    }

    /// Decides what was fetched, with what the ledger holds.
    pub(crate) fn settle(
        &self,
        py: Python<'_>,
        found: &mut Found<'_>,
        source: Source,
        ask: &CheckIn<'_>,
        lease_secs: u32,
        now: Timestamp,
    ) -> PyResult<Answered> {
        if lease_secs == 0 {
            return Err(invalid("`lease_secs` is 0: give longer than the slowest download takes"));
        }
        let until = now.plus_secs(lease_secs.into());
        let Ok(settled) = self.books.attend(found, ask, until, now, &mut NoTrace);
        let Settled { found, decision, .. } = &settled;
        let attempt = settled.attempt_served().map(|attempt| GivenAttempt {
            number: attempt.number,
            group: attempt.run.group.to_string(),
            started_at: attempt.run.started_at.millis(),
        });
        let given = Given { attempt, ..Given::of(decision, ask) };
        let reported = found.reported(ask).filter(|_| matches!(source, Source::Fleet(_)));
        let registration = decision.effect.as_ref().and_then(|effect| effect.registration(ask));
        let left = Left {
            seen: settled.seen.clone(),
            reported,
            register: registration.map(|(product, serial)| (product.id().clone(), serial)),
            // Its grace is said when the last byte was sent.
            ends: settled.ends(0),
        };
        let product = found.facts().key.map(|key| key.product.id().clone());
        let device = found.identity().map(|(_, device)| device);
        let attended = Attended {
            decision: Decision::new(py, given)?,
            product: product.as_ref().map(ToString::to_string),
            serial: device.map(|device| device.serial().to_owned()),
            group: device.map(|device| device.group().to_string()),
            books: self.books.clone(),
            source,
            left: Mutex::new(left),
        };
        Ok((attended, product, decision.reason))
    }

    pub(crate) fn report(
        &self,
        index: &Index,
        ask: &CheckIn<'_>,
        outcome: Outcome,
        now: Timestamp,
    ) -> PyResult<&'static str> {
        let Ok(view) = index.view();
        let found = fetch(&view, ask).map_err(|fault| garbage(fault.to_string()))?;
        let Ok(told) = self.books.note_of_device(&found, ask, outcome, now);
        Ok(noted(told))
    }

    pub(crate) fn tell(&self, fleet: &Snapshot, told: &Told<'_>, now: Timestamp) -> PyResult<&'static str> {
        self.books.tell(fleet, told, now).map(noted).map_err(|fault| match fault {
            TellFault::Nothing(message) => not_found(message),
            other => invalid(other.to_string()),
        })
    }
}

fn run(product: &str, group: &str, rollout: &str, started_at: &Bound<'_, PyAny>) -> PyResult<Run> {
    let wrong = |fault: otagate::TextFault| invalid(fault.to_string());
    Ok(Run {
        product: ProductId::new(product).map_err(wrong)?,
        group: GroupId::new(group).map_err(wrong)?,
        rollout: RolloutId::new(rollout).map_err(wrong)?,
        started_at: timestamp(started_at, "started_at")?,
    })
}

#[pymethods]
impl Ledger {
    /// An empty ledger, with leases for at most so many devices at once.
    #[new]
    #[pyo3(signature = (*, leases_max=100_000))]
    fn new(leases_max: u32) -> PyResult<Self> {
        guard(|| Ok(Self { books: Arc::new(Books::new(MemoryLedger::default(), leases_max as usize)) }))
    }

    /// The ledger that `to_json` wrote down; without leases, which go with the process.
    #[classmethod]
    #[pyo3(signature = (rows, *, leases_max=100_000))]
    fn from_json(_: &Bound<'_, PyType>, py: Python<'_>, rows: &Bound<'_, PyAny>, leases_max: u32) -> PyResult<Self> {
        guard(|| {
            let text = text_of(rows)?;
            let read = py.detach(|| {
                let rows: LedgerRows = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
                MemoryLedger::of_rows(rows).map_err(|fault| fault.to_string())
            });
            let ledger = read.map_err(|message| refused([("".to_owned(), &*message)]))?;
            Ok(Self { books: Arc::new(Books::new(ledger, leases_max as usize)) })
        })
    }

    /// Everything but the leases as JSON, to be kept over a restart.
    fn to_json(&self, py: Python<'_>) -> PyResult<String> {
        guard(|| {
            py.detach(|| serde_json::to_string(&self.books.ledger.rows())).map_err(|error| invalid(error.to_string()))
        })
    }

    /// How many devices hold a lease.
    #[getter]
    fn leases(&self) -> usize {
        self.books.leases.len()
    }

    /// The account of the rollout of a group: how many devices stand at which outcome, by wave.
    fn statistics<'py>(
        &self,
        py: Python<'py>,
        fleet: &Fleet,
        product: &str,
        group: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let snapshot = fleet.index.snapshot();
            let found = snapshot.product(product).zip(snapshot.group(product, group));
            let run = found.and_then(|(product, group)| {
                let rollout = group.rollout()?;
                Some((rollout.run(product.id(), group.id())?, rollout.resumes()))
            });
            let (run, resumes) = run.ok_or_else(|| {
                let (product, group) = (product.escape_debug(), group.escape_debug());
                not_found(format!("product `{product}` has no group `{group}` with a rollout that was started"))
            })?;
            self.account(py, &run, resumes)
        })
    }

    /// The account of one run by its name: for rollouts of a host's own store, and for those that are over.
    #[pyo3(signature = (product, group, rollout, started_at, *, resumes=0))]
    fn run_statistics<'py>(
        &self,
        py: Python<'py>,
        product: &str,
        group: &str,
        rollout: &str,
        started_at: &Bound<'py, PyAny>,
        resumes: u32,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(|| self.account(py, &run(product, group, rollout, started_at)?, resumes))
    }

    /// Forgets a rollout that is over, whose devices need no account any more.
    fn forget(&self, product: &str, group: &str, rollout: &str, started_at: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(|| {
            let Ok(()) = self.books.ledger.forget(&run(product, group, rollout, started_at)?);
            Ok(())
        })
    }

    fn __repr__(&self) -> String {
        format!("<otagate.Ledger leases={}>", self.books.leases.len())
    }
}

fn register_by(store: &Bound<'_, PyAny>, product: &ProductId, serial: &CanonicalSerial, at: Timestamp) -> PyResult<()> {
    let Some(method) = store.getattr_opt("register")? else { return Ok(()) };
    method.call1((product.as_str(), serial.as_str(), datetime(store.py(), at)?)).map(drop)
}

impl Attended {
    fn note(&self, py: Python<'_>, at: Timestamp) -> PyResult<()> {
        // Taken out, so that nothing is held while somebody is waited for.
        let seen = self.left.lock().seen.take();
        if let Some(seen) = seen {
            let Ok(_) = self.books.ledger.note(&seen, at);
        }
        let reported = self.left.lock().reported.take();
        if let (Some(reported), Source::Fleet(index)) = (reported, &self.source) {
            let applied = py.detach(|| index.apply(std::slice::from_ref(&reported)));
            if let Err(problems) = applied {
                self.left.lock().reported = Some(reported);
                return Err(of_problems(&problems));
            }
        }
        Ok(())
    }
}

impl Ledger {
    fn account<'py>(&self, py: Python<'py>, run: &Run, resumes: u32) -> PyResult<Bound<'py, PyAny>> {
        let Ok(account) = self.books.ledger.statistics(run, resumes);
        loads(py, &serde_json::to_string(&account).map_err(|error| invalid(error.to_string()))?)
    }
}

/// A decision whose claim is settled, and what is left to do about it.
#[pyclass(frozen, module = "otagate", weakref)]
pub(crate) struct Attended {
    decision: Py<Decision>,
    product: Option<String>,
    serial: Option<String>,
    group: Option<String>,
    books: Arc<Books<MemoryLedger>>,
    source: Source,
    left: Mutex<Left>,
}

struct Left {
    seen: Option<Report>,
    reported: Option<Change>,
    register: Option<(ProductId, CanonicalSerial)>,
    ends: Option<Ends>,
}

#[pymethods]
impl Attended {
    #[classattr]
    fn __match_args__() -> (&'static str,) {
        ("decision",)
    }

    /// The decision to give. Where its effect is a claim, that is granted.
    #[getter]
    fn decision(&self, py: Python<'_>) -> Py<Decision> {
        self.decision.clone_ref(py)
    }

    /// The product of the key, if it is one's.
    #[getter]
    fn product(&self) -> Option<&str> {
        self.product.as_deref()
    }

    /// The canonical serial, if the device is known.
    #[getter]
    fn serial(&self) -> Option<&str> {
        self.serial.as_deref()
    }

    /// The group of the device, if it is known.
    #[getter]
    fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// Does what comes after the answer (V7). What was done is done once; what failed is done by the next call.
    #[pyo3(signature = (*, now=None))]
    fn answered(&self, py: Python<'_>, now: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        guard(|| {
            let at = self::now(now)?;
            self.note(py, at)?;
            let register = self.left.lock().register.take();
            let Some((product, serial)) = register else { return Ok(()) };
            let registered = match &self.source {
                Source::Fleet(index) => {
                    py.detach(|| index.register(&product, &serial, at));
                    Ok(())
                }
                Source::Store(store) => register_by(store.bind(py), &product, &serial, at),
                Source::Awaited => Err(invalid(
                    "the store is asynchronous: await otagate.asyncio.answered(store, attended), which registers the device",
                )),
            };
            registered.inspect_err(|_| self.left.lock().register = Some((product, serial)))
        })
    }

    /// A store may keep what it was attended by: the collector has to see that.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &self.source {
            Source::Store(store) => visit.call(store),
            _ => Ok(()),
        }
    }

    /// What of it needs no store.
    #[pyo3(signature = (*, now=None))]
    fn _noted(&self, py: Python<'_>, now: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        guard(|| self.note(py, self::now(now)?))
    }

    /// Whom an asynchronous store has to register still.
    fn _registration(&self) -> Option<(String, String)> {
        let left = self.left.lock();
        left.register.as_ref().map(|(product, serial)| (product.to_string(), serial.as_str().to_owned()))
    }

    /// It has.
    fn _registered(&self) {
        self.left.lock().register = None;
    }

    /// The last byte of what was served has been sent. A second call does nothing.
    #[pyo3(signature = (*, grace_secs=60, now=None))]
    fn delivered(&self, grace_secs: u32, now: Option<&Bound<'_, PyAny>>) -> PyResult<&'static str> {
        guard(|| {
            let at = self::now(now)?;
            let ends = self.left.lock().ends.take();
            let Some(mut ends) = ends else { return Ok("foreign") };
            ends.grace_secs = grace_secs;
            ends.downloaded.iter_mut().for_each(|report| report.grace_secs = grace_secs);
            let Ok(told) = ends.carry_out(&self.books.leases, &self.books.ledger, at);
            Ok(told.map_or("foreign", noted))
        })
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        guard(|| {
            let decision = self.decision.bind(py).repr()?;
            let text = |text: &Option<String>| text.as_ref().map_or("None".to_owned(), |text| format!("{text:?}"));
            let (product, serial, group) = (text(&self.product), text(&self.serial), text(&self.group));
            Ok(format!(
                "<otagate.Attended product={product} serial={serial} group={group} decision={}>",
                decision.to_cow()?
            ))
        })
    }
}
