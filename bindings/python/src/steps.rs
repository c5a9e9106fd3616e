//! A check-in by a host's store in Python, step by step, so that one fetch serves synchronous stores and asynchronous ones.
//!
//! ```text
//!   Python:  request = asked.start()
//!            while request:                          the crate's own fetch, a future that is polled here
//!                name, args = request                  waits for `product_of_key`, `device`, `group`, `standing`
//!                request = asked.answer(await getattr(view, name)(*args))
//!            asked.outcome()
//! ```
//!
//! An exception of the store leaves by Python's own way and never comes here, so it comes through unchanged, and nothing is served.

use crate::books::{Ledger, Source};
use crate::decision::Decision;
use crate::explain::Explanation;
use crate::failure::{Raised, guard, invalid, of_fault, plant};
use crate::fleet_words::{noted, outcome};
use crate::given::Given;
use crate::host;
use crate::input::Said;
use crate::time::now;
use otagate::rollout::Outcome;
use otagate::store::{AsyncView, Fault, Found, GroupRecord, Lent, StandingRecord, fetch_async};
use otagate::{
    CheckIn, Device, Group, KeyHash, Lease, NoTrace, Product, ProductEntry, ProductId, Revision, SentDigest, Timestamp,
    Want, decide,
};
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

/// What is asked of the host's view, by which method, with what.
type Request = (&'static str, Py<PyTuple>);

/// What lies between the future and Python.
#[derive(Default)]
struct Desk {
    request: Option<Request>,
    answer: Option<Py<PyAny>>,
}

/// The host's view, as the crate sees it.
struct StepView {
    desk: Arc<Mutex<Desk>>,
    has_standing: bool,
    /// The product of the key, which the device and the group are read by.
    entry: OnceLock<(Arc<ProductEntry>, Py<PyAny>)>,
    /// The device as the host gave it, which it is given back.
    row: Mutex<Option<Py<PyAny>>>,
    group: OnceLock<Arc<Group>>,
}

impl StepView {
    /// Asks Python, and waits until it has answered.
    async fn ask(
        &self,
        name: &'static str,
        args: impl for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyTuple>> + Send,
    ) -> Result<Py<PyAny>, Raised> {
        let args = Python::attach(|py| args(py).map(Bound::unbind))?;
        self.desk.lock().request = Some((name, args));
        Ok(poll_fn(|_| self.desk.lock().answer.take().map_or(Poll::Pending, Poll::Ready)).await)
    }
}

impl AsyncView for StepView {
    type Error = Raised;

    async fn revision(&self) -> Result<Revision, Raised> {
        let given = self.ask("revision", |py| Ok(PyTuple::empty(py))).await?;
        Ok(Python::attach(|py| host::revision(given.bind(py)))?)
    }

    async fn product_of_key(&self, key: &KeyHash) -> Result<Option<Lent<'_, Product>>, Raised> {
        let hash = key.0.0;
        let given = self.ask("product_of_key", move |py| PyTuple::new(py, [PyBytes::new(py, &hash)])).await?;
        let Some(entry) = Python::attach(|py| host::product(given.bind(py)))? else { return Ok(None) };
        Ok(Some(Lent::Borrowed(self.entry.get_or_init(|| (entry, given)).0.product())))
    }

    async fn device(&self, product: &ProductId, serial: &str) -> Result<Option<Lent<'_, Device>>, Raised> {
        let (id, serial) = (product.as_str().to_owned(), serial.to_owned());
        let given = self.ask("device", move |py| PyTuple::new(py, [id, serial])).await?;
        let entry = self.entry.get().map(|(entry, _)| &**entry).filter(|entry| entry.product().id() == product);
        let device = Python::attach(|py| host::device(given.bind(py), entry))?;
        *self.row.lock() = Some(given);
        Ok(device.map(Lent::from))
    }

    async fn group(&self, product: &Product, _: &Device, _: Option<&Lease>) -> Result<Option<GroupRecord<'_>>, Raised> {
        let Some((entry, held)) = self.entry.get().filter(|(entry, _)| entry.product().id() == product.id()) else {
            return Ok(None);
        };
        let row = self.row.lock().take();
        let (one, two) = Python::attach(|py| {
            let row = row.unwrap_or_else(|| py.None());
            ((held.clone_ref(py), row.clone_ref(py)), (held.clone_ref(py), row))
        });
        let given = self.ask("group", move |py| PyTuple::new(py, [one.0, one.1])).await?;
        let Some(group) = Python::attach(|py| host::group(given.bind(py)))? else { return Ok(None) };
        let group = self.group.get_or_init(|| group);
        let standing = match self.has_standing {
            false => StandingRecord::default(),
            true => {
                let given = self.ask("standing", move |py| PyTuple::new(py, [two.0, given, two.1])).await?;
                Python::attach(|py| host::standing(given.bind(py)))?
            }
        };
        let catalogue = Lent::Borrowed(entry.catalogue());
        Ok(Some(GroupRecord { group: Lent::Borrowed(group), catalogue, standing }))
    }
}

/// A check-in that outlives the call that brought it.
struct Ask {
    key: Vec<u8>,
    serial: Vec<u8>,
    version: Vec<u8>,
    hardware: Vec<u8>,
    digest: Option<SentDigest>,
    want: &'static str,
    resource: Vec<u8>,
}

impl Ask {
    fn of(ask: &CheckIn<'_>) -> Self {
        let CheckIn { key, serial, version, hardware, digest, want } = *ask;
        Self {
            key: key.to_vec(),
            serial: serial.to_vec(),
            version: version.to_vec(),
            hardware: hardware.to_vec(),
            digest,
            want: want.name(),
            resource: if let Want::Resource(name) = want { name.to_vec() } else { Vec::new() },
        }
    }

    fn check_in(&self) -> CheckIn<'_> {
        let want = match self.want {
            "config" => Want::Config,
            "resources" => Want::Resources,
            "resource" => Want::Resource(&self.resource),
            _ => Want::Firmware,
        };
        let Self { key, serial, version, hardware, digest, .. } = self;
        CheckIn { key, serial, version, hardware, digest: *digest, want }
    }
}

/// What is to be made of what was fetched.
enum Purpose {
    Decide,
    Explain(Option<Py<Ledger>>),
    Attend { ledger: Py<Ledger>, store: Option<Py<PyAny>>, lease_secs: u32 },
    Report { ledger: Py<Ledger>, outcome: Outcome },
}

impl Purpose {
    fn finish(self, py: Python<'_>, found: &mut Found<'_>, ask: &CheckIn<'_>, now: Timestamp) -> PyResult<Py<PyAny>> {
        Ok(match self {
            Self::Decide => {
                let decided = decide(&found.facts(), ask, now, &mut NoTrace);
                Decision::new(py, Given::of(&decided, ask))?.into_any()
            }
            Self::Explain(ledger) => {
                let ledger = ledger.as_ref().map(|ledger| ledger.bind(py).get());
                Py::new(py, Explanation::of_found(found, ledger, ask, now))?.into_any()
            }
            Self::Attend { ledger, store, lease_secs } => {
                let ledger = ledger.bind(py).get();
                let source = store.map_or(Source::Awaited, Source::Store);
                let (attended, ..) = ledger.settle(py, found, source, ask, lease_secs, now)?;
                Py::new(py, attended)?.into_any()
            }
            Self::Report { ledger, outcome } => {
                let Ok(told) = ledger.bind(py).get().books.note_of_device(found, ask, outcome, now);
                noted(told).into_pyobject(py)?.into_any().unbind()
            }
        })
    }
}

type Fetching = Pin<Box<dyn Future<Output = Result<PyResult<Py<PyAny>>, Fault<Raised>>> + Send>>;

/// A check-in by a host's view that is under way.
#[pyclass(frozen, module = "otagate._native")]
pub(crate) struct Asked {
    desk: Arc<Mutex<Desk>>,
    fetching: Mutex<Option<Fetching>>,
    outcome: Mutex<Option<Py<PyAny>>>,
}

#[pymethods]
impl Asked {
    #[new]
    #[pyo3(signature = (purpose, has_standing, key, serial, version=None, hardware=None, *, digest=None, want=None, resource=None, now=None, ledger=None, store=None, lease_secs=3600, outcome=None))]
    #[allow(clippy::too_many_arguments, reason = "they are what a device says")]
    fn new(
        purpose: &str,
        has_standing: bool,
        key: &Bound<'_, PyAny>,
        serial: &Bound<'_, PyAny>,
        version: Option<&Bound<'_, PyAny>>,
        hardware: Option<&Bound<'_, PyAny>>,
        digest: Option<&Bound<'_, PyAny>>,
        want: Option<&Bound<'_, PyAny>>,
        resource: Option<&Bound<'_, PyAny>>,
        now: Option<&Bound<'_, PyAny>>,
        ledger: Option<Py<Ledger>>,
        store: Option<Py<PyAny>>,
        lease_secs: u32,
        outcome: Option<&str>,
    ) -> PyResult<Self> {
        guard(|| {
            let said = Said { key, serial, version, hardware, digest, want, resource };
            let ask = said.with(|ask| Ok(Ask::of(ask)))?;
            plant(&ask.version);
            let now = self::now(now)?;
            let purpose = match (purpose, ledger, store, outcome) {
                ("decide", None, ..) => Purpose::Decide,
                ("explain", ledger, ..) => Purpose::Explain(ledger),
                ("attend", Some(ledger), store, _) => Purpose::Attend { ledger, store, lease_secs },
                ("report", Some(ledger), _, Some(outcome)) => {
                    Purpose::Report { ledger, outcome: self::outcome(outcome)? }
                }
                (other, ..) => return Err(invalid(format!("a check-in cannot be asked for `{other}`"))),
            };
            let desk = Arc::<Mutex<Desk>>::default();
            let view = StepView {
                desk: desk.clone(),
                has_standing,
                entry: OnceLock::new(),
                row: Mutex::default(),
                group: OnceLock::new(),
            };
            let fetching: Fetching = Box::pin(async move {
                let ask = ask.check_in();
                let mut found = fetch_async(&view, &ask).await?;
                Ok(Python::attach(|py| purpose.finish(py, &mut found, &ask, now)))
            });
            Ok(Self { desk, fetching: Mutex::new(Some(fetching)), outcome: Mutex::default() })
        })
    }

    /// The first request: the method of the view, and its arguments. None: nothing is asked.
    fn start(&self) -> PyResult<Option<Request>> {
        guard(|| self.go_on())
    }

    /// Takes what the view gave, and gives the next request.
    fn answer(&self, given: Py<PyAny>) -> PyResult<Option<Request>> {
        guard(|| {
            self.desk.lock().answer = Some(given);
            self.go_on()
        })
    }

    /// What came of it.
    fn outcome(&self) -> PyResult<Py<PyAny>> {
        guard(|| self.outcome.lock().take().ok_or_else(|| PyRuntimeError::new_err("the view was not asked to the end")))
    }
}

impl Asked {
    fn go_on(&self) -> PyResult<Option<Request>> {
        // Taken out, so that nothing is held while Python is called.
        let fetching = self.fetching.lock().take();
        let Some(mut fetching) = fetching else { return Ok(None) };
        match fetching.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => {
                *self.fetching.lock() = Some(fetching);
                Ok(self.desk.lock().request.take())
            }
            Poll::Ready(Ok(made)) => {
                let made = made?;
                *self.outcome.lock() = Some(made);
                Ok(None)
            }
            Poll::Ready(Err(fault)) => Err(of_fault(fault)),
        }
    }
}
