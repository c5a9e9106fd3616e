//! A fleet in memory: built, loaded, changed, asked, counted, and moved on.

use crate::arrow::Columns;
use crate::books::{Attended, Ledger, Source};
use crate::decision::Decision;
use crate::explain::Explanation;
use crate::failure::{Wrong, guard, invalid, not_found, of_problems, of_replace, plant, refused};
use crate::fleet_words::{Rows, changes, described, device, outcome, path, registered, row, text_of};
use crate::given::Given;
use crate::input::{Said, Text};
use crate::many;
use crate::readers::Readers;
use crate::time::now;
use otagate::fleet_file::{self, LoadError, Loaded};
use otagate::rollout::{Conductor, Told};
use otagate::store::{Store, fetch};
use otagate::{Change, CheckIn, Fleet as Plain, FleetSpec, Index, NoTrace, Problems, ProductId, identify};
use parking_lot::Mutex;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyType};
use std::cell::OnceCell;
use std::sync::Arc;

/// How often a reload looks again, where the fleet is changed meanwhile.
const LOOKS_MAX: usize = 8;
/// From so many check-ins on a batch lets go of the GIL: below, getting it back costs more than it gives.
pub(crate) const LARGE: usize = 4_096;

/// A fleet of up to millions of devices in memory.
#[pyclass(frozen, module = "otagate", weakref)]
pub(crate) struct Fleet {
    pub(crate) index: Index,
    pub(crate) readers: Arc<Readers>,
    /// What the file said besides the fleet, where it came from one.
    loaded: Mutex<Option<Arc<Loaded>>>,
}

impl Fleet {
    fn of(index: Index) -> Self {
        Self { index, readers: Arc::default(), loaded: Mutex::new(None) }
    }

    fn build(py: Python<'_>, spec: FleetSpec) -> PyResult<Self> {
        let built = py.detach(|| spec.build().map(|fleet| Index::new(&fleet)));
        built.map(Self::of).map_err(|problems| of_problems(&problems))
    }

    fn write(&self, py: Python<'_>, changes: &[Change]) -> PyResult<u64> {
        py.detach(|| self.index.apply(changes)).map(|revision| revision.0).map_err(|problems| of_problems(&problems))
    }
}

/// The index holds the fleet; twice would be too much.
fn without_fleet(mut loaded: Loaded) -> Arc<Loaded> {
    loaded.fleet = Plain::default();
    Arc::new(loaded)
}

fn load_failed(error: LoadError) -> PyErr {
    match error {
        LoadError::Io { ref path, ref source } => {
            // With an `errno` Python makes it a FileNotFoundError, a PermissionError, ...
            match source.raw_os_error() {
                Some(code) => {
                    let said = source.to_string();
                    let said = said.split(" (os error").next().unwrap_or_default().to_owned();
                    PyOSError::new_err((code, said, path.clone().into_os_string()))
                }
                None => PyOSError::new_err(error.to_string()),
            }
        }
        LoadError::Problems(problems) => {
            let at = |problem: &fleet_file::FileProblem| {
                format!("{}:{}:{}", problem.file.display(), problem.line, problem.column)
            };
            let more = (problems.more() > 0).then(|| format!("and {} more", problems.more()));
            let listed = problems.iter().map(|problem| (at(problem), problem.message.as_str()));
            refused(listed.chain(more.as_deref().map(|more| (String::new(), more))))
        }
        other => PyOSError::new_err(other.to_string()),
    }
}

#[pymethods]
impl Fleet {
    /// A fleet without products.
    #[new]
    fn new() -> PyResult<Self> {
        guard(|| Ok(Self::of(Index::new(&Plain::default()))))
    }

    /// Loads a fleet from its file in TOML, with what that names: devices in CSV, configs, firmware.
    #[classmethod]
    #[pyo3(signature = (path, *, now=None))]
    fn load(
        _: &Bound<'_, PyType>,
        py: Python<'_>,
        path: &Bound<'_, PyAny>,
        now: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        guard(|| {
            let (path, at) = (self::path(path)?, self::now(now)?);
            let loaded = py.detach(|| {
                let loaded = fleet_file::load(&path, at)?;
                let index = Index::new(&loaded.fleet);
                Ok((index, without_fleet(loaded)))
            });
            let (index, loaded) = loaded.map_err(load_failed)?;
            let fleet = Self::of(index);
            *fleet.loaded.lock() = Some(loaded);
            Ok(fleet)
        })
    }

    /// A fleet of these changes alone.
    #[classmethod]
    #[pyo3(signature = (changes))]
    fn from_changes(_: &Bound<'_, PyType>, py: Python<'_>, changes: &Bound<'_, PyAny>) -> PyResult<Self> {
        guard(|| {
            let fleet = Self::of(Index::new(&Plain::default()));
            fleet.write(py, &self::changes(changes)?)?;
            Ok(fleet)
        })
    }

    /// Builds a fleet from what `spec` or `to_json` gave: a dict, or JSON as str or bytes.
    #[classmethod]
    fn from_spec(_: &Bound<'_, PyType>, py: Python<'_>, spec: &Bound<'_, PyAny>) -> PyResult<Self> {
        guard(|| {
            let text = text_of(spec)?;
            let spec = py.detach(|| serde_json::from_slice(&text));
            Self::build(py, spec.map_err(|error| refused([("".to_owned(), &*error.to_string())]))?)
        })
    }

    /// Loads the file of the fleet anew over what is held, as after an edit.
    #[pyo3(signature = (path, *, now=None))]
    fn reload(&self, py: Python<'_>, path: &Bound<'_, PyAny>, now: Option<&Bound<'_, PyAny>>) -> PyResult<u64> {
        guard(|| {
            let (path, at) = (self::path(path)?, self::now(now)?);
            for _ in 0..LOOKS_MAX {
                let read = py.detach(|| {
                    let held = self.index.snapshot().to_fleet();
                    let loaded = fleet_file::load_over(&path, &held, at)?;
                    let revision = loaded.fleet.revision().0;
                    let replaced = self.index.replace_seen(held.revision(), &loaded.fleet);
                    Ok((replaced, revision, without_fleet(loaded)))
                });
                let (replaced, revision, loaded) = read.map_err(load_failed)?;
                if replaced.map_err(of_replace)? {
                    *self.loaded.lock() = Some(loaded);
                    return Ok(revision);
                }
            }
            Err(crate::failure::changed("the fleet was changed each time while its file was read: try again"))
        })
    }

    /// What the file said besides the fleet: lints, waves that were counted, and where the file of each locator is.
    #[getter]
    fn loaded<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard(|| {
            let loaded = self.loaded.lock().clone();
            loaded.map(|loaded| described(py, &loaded)).transpose()
        })
    }

    /// Applies changes, whole or not at all, and gives the revision.
    fn apply(&self, py: Python<'_>, changes: &Bound<'_, PyAny>) -> PyResult<u64> {
        guard(|| {
            let changes = self::changes(changes)?;
            if changes.iter().any(|change| change.product() == "planted panic") {
                plant(b"planted panic");
            }
            self.write(py, &changes)
        })
    }

    /// Puts another fleet in the place of this one, as after a restore; refused unless its revision is above the one held, or it is forced (L2).
    #[pyo3(signature = (spec, *, force=false))]
    fn replace(&self, py: Python<'_>, spec: &Bound<'_, PyAny>, force: bool) -> PyResult<u64> {
        guard(|| {
            let text = text_of(spec)?;
            let spec = py.detach(|| serde_json::from_slice::<FleetSpec>(&text));
            let spec = spec.map_err(|error| refused([("".to_owned(), &*error.to_string())]))?;
            // What is built is dropped where it is built, without the GIL.
            let replaced = py.detach(|| {
                let fleet = spec.build()?;
                Ok::<_, Problems>(self.index.replace(&fleet, force).map(|()| fleet.revision().0))
            });
            replaced.map_err(|problems| of_problems(&problems))?.map_err(of_replace)
        })
    }

    /// Adds many devices that are not there yet, as one revision.
    fn add_devices(&self, py: Python<'_>, product: &str, rows: &Bound<'_, PyAny>) -> PyResult<u64> {
        guard(|| {
            let product = ProductId::new(product).map_err(|fault| invalid(fault.to_string()))?;
            let rows =
                rows.try_iter()?.map(|each| row(&each?).map_err(Wrong::of_argument)).collect::<PyResult<Rows>>()?;
            let added = py.detach(|| {
                let rows: Vec<_> = rows.iter().map(|row| row.borrowed()).collect();
                self.index.add_devices(&product, &rows)
            });
            added.map(|revision| revision.0).map_err(|problems| of_problems(&problems))
        })
    }

    /// Decides a check-in: a pure function of what the fleet knows, the check-in and the time (V3).
    #[pyo3(signature = (key, serial, version=None, hardware=None, *, digest=None, want=None, resource=None, now=None))]
    #[allow(clippy::too_many_arguments, reason = "they are what a device says")]
    fn decide(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        serial: &Bound<'_, PyAny>,
        version: Option<&Bound<'_, PyAny>>,
        hardware: Option<&Bound<'_, PyAny>>,
        digest: Option<&Bound<'_, PyAny>>,
        want: Option<&Bound<'_, PyAny>>,
        resource: Option<&Bound<'_, PyAny>>,
        now: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<Decision>> {
        guard(|| {
            Said { key, serial, version, hardware, digest, want, resource }.with(|ask| {
                plant(ask.version);
                self.readers.decide(py, &self.index, ask, now)
            })
        })
    }

    /// Decides many check-ins, all from one revision.
    #[pyo3(signature = (check_ins, *, into=None, key=None, now=None))]
    fn decide_many<'py>(
        &self,
        py: Python<'py>,
        check_ins: &Bound<'py, PyAny>,
        into: Option<&str>,
        key: Option<Text<'_>>,
        now: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let at = self::now(now)?;
            if let Some(tables) = crate::arrow::read(check_ins)? {
                if let Some(other) = into.filter(|into| *into != "arrow") {
                    return Err(invalid(format!("`into` is `{other}`: Arrow is answered by Arrow, leave it out")));
                }
                let answers = tables.decide(py, &self.index, &self.readers, key.as_ref(), at)?;
                return Ok(Bound::new(py, answers)?.into_any());
            }
            if key.is_some() {
                return Err(invalid("`key` is for tables of Arrow: a row brings its own"));
            }
            let (rows, texts) = (many::Held::of(check_ins)?, OnceCell::new());
            let all =
                many::Many { py, index: &self.index, readers: &self.readers, rows: &rows.spans(&texts)?, now: at };
            match into {
                None | Some("decisions") => Ok(PyList::new(py, all.decisions()?)?.into_any()),
                Some("status") => Ok(PyBytes::new(py, &all.statuses()).into_any()),
                Some("reason") => Ok(PyBytes::new(py, &all.reasons()).into_any()),
                Some(other) => Err(invalid(format!("`into` is `{other}`: give `decisions`, `status` or `reason`"))),
            }
        })
    }

    /// Decides a check-in with a ledger: what is offered is claimed before it is given, and leased.
    #[pyo3(signature = (ledger, key, serial, version=None, hardware=None, *, digest=None, want=None, resource=None, lease_secs=3600, now=None))]
    #[allow(clippy::too_many_arguments, reason = "they are what a device says")]
    fn attend(
        &self,
        py: Python<'_>,
        ledger: &Ledger,
        key: &Bound<'_, PyAny>,
        serial: &Bound<'_, PyAny>,
        version: Option<&Bound<'_, PyAny>>,
        hardware: Option<&Bound<'_, PyAny>>,
        digest: Option<&Bound<'_, PyAny>>,
        want: Option<&Bound<'_, PyAny>>,
        resource: Option<&Bound<'_, PyAny>>,
        lease_secs: u32,
        now: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Attended> {
        guard(|| {
            let at = self::now(now)?;
            Said { key, serial, version, hardware, digest, want, resource }.with(|ask| {
                plant(ask.version);
                let source = Source::Fleet(self.index.clone());
                let (attended, product, reason) = ledger.attend(py, &self.index, source, ask, lease_secs, at)?;
                self.readers.count(py, &self.index, product.as_ref(), reason);
                Ok(attended)
            })
        })
    }

    /// Asks questions 1 to 4 alone, as for a sign of life: None, where the device may ask; else the 401 to give. Nothing is counted.
    #[pyo3(signature = (key, serial, *, now=None))]
    fn identify(
        &self,
        py: Python<'_>,
        key: Text<'_>,
        serial: Text<'_>,
        now: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<Decision>>> {
        guard(|| {
            let (ask, at) = (CheckIn::new(key.bytes(), serial.bytes()), self::now(now)?);
            let Ok(view) = self.index.view();
            let found = fetch(&view, &ask).map_err(|fault| crate::failure::garbage(fault.to_string()))?;
            let refused = identify(&found.facts(), &ask, at, &mut NoTrace);
            refused.map(|refused| Decision::new(py, Given::of(&refused, &ask))).transpose()
        })
    }

    /// Takes down what a device tells of what it was offered (R9); questions 1 to 4 are asked.
    #[pyo3(signature = (ledger, outcome, key, serial, *, want=None, resource=None, now=None))]
    #[allow(clippy::too_many_arguments, reason = "they are what a device says")]
    fn report(
        &self,
        ledger: &Ledger,
        outcome: &str,
        key: &Bound<'_, PyAny>,
        serial: &Bound<'_, PyAny>,
        want: Option<&Bound<'_, PyAny>>,
        resource: Option<&Bound<'_, PyAny>>,
        now: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<&'static str> {
        guard(|| {
            let (outcome, at) = (self::outcome(outcome)?, self::now(now)?);
            Said { key, serial, version: None, hardware: None, digest: None, want, resource }
                .with(|ask| ledger.report(&self.index, ask, outcome, at))
        })
    }

    /// Takes down what a back end tells of a device (R9), by names.
    #[pyo3(signature = (ledger, outcome, *, product, serial, group=None, rollout=None, started_at=None, attempt=None, now=None))]
    #[allow(clippy::too_many_arguments, reason = "each names what it is about")]
    fn tell(
        &self,
        ledger: &Ledger,
        outcome: &str,
        product: &str,
        serial: Text<'_>,
        group: Option<&str>,
        rollout: Option<&str>,
        started_at: Option<&Bound<'_, PyAny>>,
        attempt: Option<u32>,
        now: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<&'static str> {
        guard(|| {
            let started_at = started_at.map(|at| crate::time::timestamp(at, "started_at")).transpose()?;
            let (serial, outcome) = (serial.bytes(), self::outcome(outcome)?);
            let told = Told { product, group, serial, rollout, started_at, attempt, outcome };
            ledger.tell(&self.index.snapshot(), &told, self::now(now)?)
        })
    }

    /// Moves every rollout on that is due, by the account of that ledger (R8).
    #[pyo3(signature = (ledger, *, now=None))]
    fn advance<'py>(
        &self,
        py: Python<'py>,
        ledger: &Ledger,
        now: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let at = self::now(now)?;
            let moved = py.detach(|| Conductor::new(&self.index, ledger.ledger()).advance(at));
            let moved = moved.map_err(|fault| crate::failure::garbage(fault.to_string()))?;
            crate::fleet_words::moves(py, &moved)
        })
    }

    /// Explains a check-in: every question that was asked, with the values compared (V6). Changes and counts nothing.
    #[pyo3(signature = (key, serial, version=None, hardware=None, *, digest=None, want=None, resource=None, ledger=None, now=None))]
    #[allow(clippy::too_many_arguments, reason = "they are what a device says")]
    fn explain(
        &self,
        key: &Bound<'_, PyAny>,
        serial: &Bound<'_, PyAny>,
        version: Option<&Bound<'_, PyAny>>,
        hardware: Option<&Bound<'_, PyAny>>,
        digest: Option<&Bound<'_, PyAny>>,
        want: Option<&Bound<'_, PyAny>>,
        resource: Option<&Bound<'_, PyAny>>,
        ledger: Option<&Ledger>,
        now: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Explanation> {
        guard(|| {
            let at = self::now(now)?;
            Said { key, serial, version, hardware, digest, want, resource }.with(|ask| {
                plant(ask.version);
                Explanation::of(&self.index, ledger, ask, at)
            })
        })
    }

    /// Registers a device on first contact (question 3), as an effect asks for it.
    #[pyo3(signature = (product, serial, *, now=None))]
    fn register(
        &self,
        py: Python<'_>,
        product: &str,
        serial: Text<'_>,
        now: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<&'static str> {
        guard(|| {
            let snapshot = self.index.snapshot();
            let held = snapshot.product(product);
            let held = held.ok_or_else(|| not_found(format!("there is no product `{}`", product.escape_debug())))?;
            let serial = held.read_serial(serial.bytes());
            let serial = serial.map_err(|fault| invalid(format!("the serial {fault}")))?;
            let at = self::now(now)?;
            // Whoever writes is waited for without the GIL.
            Ok(registered(py.detach(|| self.index.register(held.id(), &serial, at))))
        })
    }

    /// The revision that new decisions see.
    #[getter]
    fn revision(&self) -> u64 {
        self.index.revision().0
    }

    fn __len__(&self) -> usize {
        self.index.snapshot().devices_len()
    }

    fn __bool__(&self) -> bool {
        true
    }

    fn __repr__(&self) -> String {
        let snapshot = self.index.snapshot();
        let products = snapshot.products().len();
        format!(
            "<otagate.Fleet revision={} products={products} devices={}>",
            snapshot.revision().0,
            snapshot.devices_len()
        )
    }

    /// The whole fleet as JSON, from which `from_spec` builds it again.
    fn to_json(&self, py: Python<'_>) -> PyResult<String> {
        guard(|| {
            let text = py.detach(|| serde_json::to_string(&self.index.snapshot().spec()));
            text.map_err(|error| invalid(error.to_string()))
        })
    }

    /// The whole fleet as a dict, from which `from_spec` builds it again. Times are in milliseconds.
    fn spec<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guard(|| Ok(crate::fleet_words::loads(py, &self.to_json(py)?)?.cast_into::<PyDict>()?))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        guard(|| Ok((slf.get_type().getattr("from_spec")?, (slf.get().to_json(slf.py())?,))))
    }

    /// One device, or None.
    fn device<'py>(&self, py: Python<'py>, product: &str, serial: Text<'_>) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard(|| {
            let snapshot = self.index.snapshot();
            let Some(held) = snapshot.product(product) else { return Ok(None) };
            let Ok(serial) = held.read_serial(serial.bytes()) else { return Ok(None) };
            snapshot.device(product, serial.as_str()).map(|found| device(py, &found.spec())).transpose()
        })
    }

    /// Every device of a product, or of one of its groups, as Arrow columns.
    #[pyo3(signature = (product, group=None))]
    fn devices(&self, py: Python<'_>, product: &str, group: Option<&str>) -> PyResult<Columns> {
        guard(|| {
            let snapshot = self.index.snapshot();
            if snapshot.product(product).is_none() {
                return Err(not_found(format!("there is no product `{}`", product.escape_debug())));
            }
            let found = py.detach(|| crate::arrow::devices(&snapshot, product, group));
            let found = found.map_err(|error| invalid(error.to_string()))?;
            match group.filter(|group| found.is_empty() && snapshot.group(product, group).is_none()) {
                Some(group) => Err(not_found(format!("there is no group `{}`", group.escape_debug()))),
                None => Ok(found),
            }
        })
    }

    /// How many devices are in each group and state.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let counts = py.detach(|| self.index.snapshot().counts());
            crate::fleet_words::counts(py, &counts)
        })
    }

    /// How often each reason was given, by product, since this fleet was made.
    fn verdicts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(|| crate::fleet_words::verdicts(py, &self.index.verdicts()))
    }

    /// Who would be admitted if that wave (from 0) of the rollout of a group were opened now (R3). Changes nothing.
    fn census<'py>(&self, py: Python<'py>, product: &str, group: &str, wave: usize) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let census = py.detach(|| self.index.snapshot().census(product, group, wave));
            let census = census.map_err(|fault| match fault {
                otagate::CensusFault::NoWave { .. } => not_found(fault.to_string()),
                other => refused([("".to_owned(), &*other.to_string())]),
            })?;
            crate::fleet_words::census(py, &census)
        })
    }

    /// What is legal in the fleet but surely not meant (L4).
    #[pyo3(signature = (*, now=None))]
    fn lint<'py>(&self, py: Python<'py>, now: Option<&Bound<'_, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let at = self::now(now)?;
            let found = py.detach(|| self.index.snapshot().to_fleet().lint(at));
            crate::fleet_words::problems(py, &found)
        })
    }

    /// Drops old revisions that nobody looks at any more, and says how many are held still.
    fn reclaim(&self, py: Python<'_>) -> PyResult<usize> {
        guard(|| {
            self.readers.refresh(py);
            Ok(py.detach(|| self.index.reclaim()))
        })
    }

    /// How old the revision is that new decisions see, in seconds.
    #[getter]
    fn age(&self) -> f64 {
        self.index.age().as_secs_f64()
    }
}
