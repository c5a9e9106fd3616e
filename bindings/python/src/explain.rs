//! Why a device is told what it is told, by the same code that tells it (V6).

use crate::books::Ledger;
use crate::decision::Decision;
use crate::failure::{Imported, garbage, guard, invalid};
use crate::fleet_words::loads;
use crate::given::{Flat, Given};
use otagate::store::{Found, Store, fetch};
use otagate::{CheckIn, Index, Recorder, Timestamp, decide};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use serde::Serialize;
use serde_json::json;

static STEP: Imported = Imported::new("otagate._values", "Step");

/// What was asked and compared on the way to a decision.
#[pyclass(frozen, module = "otagate", weakref)]
pub(crate) struct Explanation {
    given: Given,
    trace: Recorder,
}

impl Explanation {
    pub(crate) fn of(index: &Index, ledger: Option<&Ledger>, ask: &CheckIn<'_>, now: Timestamp) -> PyResult<Self> {
        let Ok(view) = index.view();
        let mut found = fetch(&view, ask).map_err(|fault| garbage(fault.to_string()))?;
        Ok(Self::of_found(&mut found, ledger, ask, now))
    }

    pub(crate) fn of_found(found: &mut Found<'_>, ledger: Option<&Ledger>, ask: &CheckIn<'_>, now: Timestamp) -> Self {
        if let Some(ledger) = ledger {
            let Ok(()) = ledger.books.look(found, now);
        }
        let mut trace = Recorder::default();
        let given = Given::of(&decide(&found.facts(), ask, now, &mut trace), ask);
        Self { given, trace }
    }
}

#[pymethods]
impl Explanation {
    /// The decision that is explained.
    #[getter]
    fn decision(&self, py: Python<'_>) -> PyResult<Py<Decision>> {
        guard(|| Decision::new(py, self.given.clone()))
    }

    /// Every question that was asked, in order.
    #[getter]
    fn steps<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        guard(|| {
            let one = |step: &otagate::Step| {
                let values = json!(
                    step.values
                        .iter()
                        .map(|(name, value)| ((*name).to_owned(), json!(value)))
                        .collect::<serde_json::Map<_, _>>()
                );
                let values = loads(py, &values.to_string())?;
                let answer = step.answer.map(|reason| reason.name());
                STEP.get(py)?.call1((step.question.number(), step.question.name(), answer, values))
            };
            PyTuple::new(py, self.trace.steps().iter().map(one).collect::<PyResult<Vec<_>>>()?)
        })
    }

    /// When the device would become eligible, in words; None, where nothing but a change would make it so.
    #[getter]
    fn eligible(&self) -> Option<&str> {
        self.trace.eligible()
    }

    /// The whole as a dict: `decision`, `steps` and `eligible`; `json.dumps` takes it.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guard(|| {
            #[derive(Serialize)]
            struct Told<'t> {
                decision: Flat<'t>,
                steps: &'t Recorder,
                eligible: Option<&'t str>,
            }
            let told = Told { decision: Flat(&self.given), steps: &self.trace, eligible: self.trace.eligible() };
            let text = serde_json::to_string(&told).map_err(|error| invalid(error.to_string()))?;
            Ok(loads(py, &text)?.cast_into::<PyDict>()?)
        })
    }

    /// A line for each question, and one for the answer; what the device sent stands escaped in it, its key not at all.
    fn __str__(&self) -> PyResult<String> {
        guard(|| {
            let reason = self.given.reason();
            Ok(format!("{}{} {}: {}", self.trace, reason.status(), reason, reason.sentence()))
        })
    }

    fn __repr__(&self) -> String {
        let reason = self.given.reason();
        format!("<otagate.Explanation {} {:?} steps={}>", reason.status(), reason.name(), self.trace.steps().len())
    }
}
