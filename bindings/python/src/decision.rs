//! The answer, as an object of Python's: frozen, hashable, comparable, picklable, and matched by `case Decision(200, artifact=artifact)`.

use crate::failure::{Imported, guard, invalid};
use crate::given::{Given, GivenAttempt, GivenEffect, GivenOffer, verdict_of};
use crate::time::datetime;
use otagate::{Digests, Reason, ResourceSpec, Timestamp};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};
use std::hash::{DefaultHasher, Hash, Hasher};

const VALUES: &str = "otagate._values";
static ARTIFACT: Imported = Imported::new(VALUES, "Artifact");
static CONFIG: Imported = Imported::new(VALUES, "Config");
static RESOURCE: Imported = Imported::new(VALUES, "Resource");
static DIGESTS: Imported = Imported::new(VALUES, "Digests");
static REGISTER: Imported = Imported::new(VALUES, "Register");
static CLAIM: Imported = Imported::new(VALUES, "Claim");
static SEEN: Imported = Imported::new(VALUES, "Seen");
static ATTEMPT: Imported = Imported::new(VALUES, "Attempt");
static LOADS: Imported = Imported::new("json", "loads");

/// The names of verdict and reason, by the number of the reason: a server looks at them each time.
struct Names(Vec<(Py<PyString>, Py<PyString>)>);

impl Names {
    fn of(&self, reason: Reason) -> &(Py<PyString>, Py<PyString>) {
        // Reasons are numbered below 256, and each has its place.
        &self.0[usize::from(reason.number())]
    }
}

fn names(py: Python<'_>) -> &'static Names {
    static NAMES: PyOnceLock<Names> = PyOnceLock::new();
    NAMES.get_or_init(py, || {
        let last = Reason::ALL.iter().map(|reason| usize::from(reason.number())).max().unwrap_or(0);
        let of = |number: usize| {
            let reason = u16::try_from(number).ok().and_then(Reason::from_number).unwrap_or(Reason::KeyUnknown);
            let name = |name: &str| PyString::intern(py, name).unbind();
            (name(verdict_of(reason)), name(reason.name()))
        };
        Names((0..=last).map(of).collect())
    })
}

/// The one answer to a check-in.
#[pyclass(frozen, module = "otagate", weakref)]
pub(crate) struct Decision {
    pub(crate) given: Given,
    /// What was made of the offer and the effect, once somebody asked.
    offer: PyOnceLock<Py<PyAny>>,
    effect: PyOnceLock<Py<PyAny>>,
}

impl Decision {
    pub(crate) fn new(py: Python<'_>, given: Given) -> PyResult<Py<Self>> {
        Py::new(py, Self { given, offer: PyOnceLock::new(), effect: PyOnceLock::new() })
    }

    /// What is served, as the dataclass that says it.
    fn served<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(offer) = &self.given.offer else { return Ok(None) };
        let made = self.offer.get_or_try_init(py, || make_offer(py, offer).map(Bound::unbind))?;
        Ok(Some(made.bind(py).clone()))
    }
}

/// Digests as a dataclass.
pub(crate) fn digests<'py>(py: Python<'py>, digests: &Digests) -> PyResult<Bound<'py, PyAny>> {
    DIGESTS.get(py)?.call1((
        digests.blake3.map(|digest| digest.to_string()),
        digests.sha256.map(|digest| digest.to_string()),
        digests.md5.map(|digest| digest.to_string()),
    ))
}

fn resource<'py>(py: Python<'py>, resource: &ResourceSpec) -> PyResult<Bound<'py, PyAny>> {
    let ResourceSpec { name, size_bytes, digests: held, locator } = resource;
    RESOURCE.get(py)?.call1((name, locator, size_bytes, digests(py, held)?))
}

fn make_offer<'py>(py: Python<'py>, offer: &GivenOffer) -> PyResult<Bound<'py, PyAny>> {
    match offer {
        GivenOffer::Firmware { artifact, .. } => {
            let base = digests(py, &artifact.base)?;
            let hardware = PyTuple::new(py, &artifact.hardware)?;
            ARTIFACT.get(py)?.call1((
                &artifact.locator,
                artifact.size_bytes,
                digests(py, &artifact.digests)?,
                hardware,
                &artifact.from,
                base,
            ))
        }
        GivenOffer::Config(config) => CONFIG.get(py)?.call1((&config.document, digests(py, &config.digests)?)),
        GivenOffer::Resource(one) => resource(py, one),
        GivenOffer::Resources(list) => {
            let list = list.iter().map(|one| resource(py, one)).collect::<PyResult<Vec<_>>>()?;
            Ok(PyTuple::new(py, list)?.into_any())
        }
    }
}

fn make_effect<'py>(py: Python<'py>, effect: &GivenEffect) -> PyResult<Bound<'py, PyAny>> {
    match effect {
        GivenEffect::Register { product, serial } => REGISTER.get(py)?.call1((&**product, serial.as_deref())),
        GivenEffect::Seen { rollout } => SEEN.get(py)?.call1((&**rollout,)),
        GivenEffect::Claim { rollout, slots_max, downloads_max, .. } => {
            CLAIM.get(py)?.call1((rollout.as_deref(), slots_max, downloads_max))
        }
    }
}

#[pymethods]
impl Decision {
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str, &'static str) {
        ("status", "reason", "artifact")
    }

    /// 401, 404, 304 or 200: the HTTP status that says the same.
    #[getter]
    fn status(&self) -> u16 {
        self.given.status()
    }

    /// `unauthorized`, `unavailable`, `up-to-date` or `serve` (V1).
    #[getter]
    fn verdict<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        names(py).of(self.given.reason()).0.bind(py).clone()
    }

    /// The stable kebab-case name of the reason (V2).
    #[getter]
    fn reason<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        names(py).of(self.given.reason()).1.bind(py).clone()
    }

    /// The stable number of the reason (V2).
    #[getter]
    fn number(&self) -> u16 {
        self.given.reason
    }

    /// The reason in a sentence for people.
    #[getter]
    fn sentence(&self) -> &'static str {
        self.given.reason().sentence()
    }

    /// The revision of the fleet that was seen, and no other (V5).
    #[getter]
    fn revision(&self) -> u64 {
        self.given.revision
    }

    /// After how many seconds asking again makes sense, where known (R12).
    #[getter]
    fn retry_after(&self) -> Option<u32> {
        self.given.retry_after_secs
    }

    /// The version of the firmware that is meant for the device, from question 6 on; never a withheld target.
    #[getter]
    fn meant(&self) -> Option<&str> {
        self.given.meant.as_deref()
    }

    /// The rollout on whose account something is served (R9).
    #[getter]
    fn rollout(&self) -> Option<&str> {
        self.given.rollout.as_deref()
    }

    /// The version of the firmware that is served: the meant one, or a stone on the way to it.
    #[getter]
    fn firmware(&self) -> Option<&str> {
        match &self.given.offer {
            Some(GivenOffer::Firmware { version, .. }) => Some(version),
            _ => None,
        }
    }

    /// The one file of the firmware that is served.
    #[getter]
    fn artifact<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard(|| match &self.given.offer {
            Some(GivenOffer::Firmware { .. }) => self.served(py),
            _ => Ok(None),
        })
    }

    /// Whether the offer continues one that was made before, by its lease.
    #[getter]
    fn leased(&self) -> bool {
        matches!(&self.given.offer, Some(GivenOffer::Firmware { leased: true, .. }))
    }

    /// The configuration that is served.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard(|| match &self.given.offer {
            Some(GivenOffer::Config(_)) => self.served(py),
            _ => Ok(None),
        })
    }

    /// The list of resources that is served.
    #[getter]
    fn resources<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard(|| match &self.given.offer {
            Some(GivenOffer::Resources(_)) => self.served(py),
            _ => Ok(None),
        })
    }

    /// The resource that is served.
    #[getter]
    fn resource<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard(|| match &self.given.offer {
            Some(GivenOffer::Resource(_)) => self.served(py),
            _ => Ok(None),
        })
    }

    /// What the host must do besides answering (V7): `Register`, `Claim` or `Seen`.
    #[getter]
    fn effect<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard(|| {
            let Some(effect) = &self.given.effect else { return Ok(None) };
            let made = self.effect.get_or_try_init(py, || make_effect(py, effect).map(Bound::unbind))?;
            Ok(Some(made.bind(py).clone()))
        })
    }

    /// The attempt that the offer is, by the ledger that it was attended with: what a report names.
    #[getter]
    fn attempt<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard(|| {
            let Some(GivenAttempt { number, group, started_at }) = &self.given.attempt else { return Ok(None) };
            let started_at = datetime(py, Timestamp::from_millis(*started_at))?;
            Ok(Some(ATTEMPT.get(py)?.call1((number, self.given.rollout.as_deref(), group, started_at))?))
        })
    }

    /// The decision to give where the host's own ledger refuses the claim that this one needs (V7).
    ///
    /// `by` is `slots` or `downloads`. Without a claim it is the same decision.
    fn refused(slf: &Bound<'_, Self>, by: &str) -> PyResult<Py<Self>> {
        guard(|| {
            let at = match by {
                "slots" => 0,
                "downloads" => 1,
                other => return Err(invalid(format!("`by` is `{other}`: give `slots` or `downloads`"))),
            };
            match &slf.get().given.effect {
                Some(GivenEffect::Claim { refused, .. }) => Self::new(slf.py(), refused[at].clone()),
                _ => Ok(slf.clone().unbind()),
            }
        })
    }

    /// All of it as a dict, with what is served under `offer`, the same as in every language; `json.dumps` takes it.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guard(|| {
            let told = LOADS.get(py)?.call1((self.given.json(),))?;
            Ok(told.cast_into::<PyDict>()?)
        })
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        guard(|| {
            let py = other.py();
            match other.cast::<Self>() {
                Ok(other) => Ok((self.given == other.get().given).into_pyobject(py)?.to_owned().into_any().unbind()),
                Err(_) => Ok(py.NotImplemented()),
            }
        })
    }

    fn __hash__(&self) -> PyResult<u64> {
        guard(|| {
            let mut hasher = DefaultHasher::new();
            let Given { reason, revision, retry_after_secs, meant, rollout, .. } = &self.given;
            (reason, revision, retry_after_secs, meant, rollout).hash(&mut hasher);
            Ok(hasher.finish())
        })
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        guard(|| {
            let given = &self.given;
            let mut told =
                format!("Decision({}, {:?}, revision={}", given.status(), given.reason().name(), given.revision);
            let mut add = |name: &str, value: Option<Bound<'_, PyAny>>| -> PyResult<()> {
                if let Some(value) = value {
                    told.push_str(&format!(", {name}={}", value.repr()?.to_cow()?));
                }
                Ok(())
            };
            let text = |text: Option<&str>| text.map(|text| PyString::new(py, text).into_any());
            add(
                "retry_after",
                given.retry_after_secs.map(|secs| secs.into_pyobject(py)).transpose()?.map(Bound::into_any),
            )?;
            add("meant", text(given.meant.as_deref()))?;
            add("rollout", text(given.rollout.as_deref()))?;
            let name = match &given.offer {
                Some(GivenOffer::Firmware { version, .. }) => {
                    add("firmware", text(Some(version)))?;
                    "artifact"
                }
                Some(GivenOffer::Config(_)) => "config",
                Some(GivenOffer::Resources(_)) => "resources",
                _ => "resource",
            };
            add(name, self.served(py)?)?;
            if self.leased() {
                told.push_str(", leased=True");
            }
            let mut add = |name: &str, value: Option<Bound<'_, PyAny>>| -> PyResult<()> {
                if let Some(value) = value {
                    told.push_str(&format!(", {name}={}", value.repr()?.to_cow()?));
                }
                Ok(())
            };
            add("effect", self.effect(py)?)?;
            add("attempt", self.attempt(py)?)?;
            told.push(')');
            Ok(told)
        })
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        guard(|| {
            let state = serde_json::to_string(&slf.get().given).map_err(|error| invalid(error.to_string()))?;
            Ok((slf.get_type().getattr("_of")?, (state,)))
        })
    }

    /// What a pickle says.
    #[staticmethod]
    fn _of(py: Python<'_>, state: &str) -> PyResult<Py<Self>> {
        guard(|| {
            let given =
                serde_json::from_str(state).map_err(|error| PyTypeError::new_err(format!("no decision: {error}")))?;
            Self::new(py, given)
        })
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }
}
