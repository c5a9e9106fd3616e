//! The OTAdrive calls: a request's line and headers in, what to send and what to do after it out.

use crate::books::Ledger;
use crate::failure::{Imported, garbage, guard, invalid, of_problems, plant};
use crate::fleet::Fleet;
use crate::fleet_words::noted;
use crate::input::{Text, two};
use crate::time::now;
use otagate::rollout::{Books, Ends, Ledger as _, MemoryLedger};
use otagate::wire::otadrive::{After, Host, LeaseTimes, Reply, Request, answer};
use otagate::wire::{Body, Response};
use otagate::{Index, NoTrace, Reason};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use std::sync::Arc;

static FILE_PART: Imported = Imported::new("otagate._values", "FilePart");

/// What a device is sent, and what is left to do about it.
#[pyclass(frozen, module = "otagate.otadrive", name = "Reply", weakref)]
pub(crate) struct OtadriveReply {
    response: Response,
    reason: Option<Reason>,
    revision: u64,
    product: Option<String>,
    serial: Option<String>,
    leased: bool,
    index: Index,
    books: Arc<Books<MemoryLedger>>,
    after: Mutex<Vec<After>>,
    ends: Mutex<Option<Ends>>,
}

/// Answers a request from a fleet and a ledger.
#[pyfunction]
#[pyo3(signature = (fleet, ledger, method, target, headers, *, lease_secs=3600, grace_secs=60, now=None))]
#[allow(clippy::too_many_arguments, reason = "they are what a request says")]
pub(crate) fn otadrive_answer(
    py: Python<'_>,
    fleet: &Fleet,
    ledger: &Ledger,
    method: &str,
    target: Text<'_>,
    headers: &Bound<'_, PyAny>,
    lease_secs: u32,
    grace_secs: u32,
    now: Option<&Bound<'_, PyAny>>,
) -> PyResult<OtadriveReply> {
    guard(|| {
        let now = self::now(now)?;
        if lease_secs == 0 {
            return Err(invalid("`lease_secs` is 0: give longer than the slowest download takes"));
        }
        let mut held = Vec::new();
        for pair in headers.try_iter()? {
            let (name, value) = two(&pair?, "a header")?;
            held.push((
                Text::of(name.as_borrowed())?.bytes().to_vec(),
                Text::of(value.as_borrowed())?.bytes().to_vec(),
            ));
        }
        let header = |wanted: &str| {
            held.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes())).map(|(_, value)| &**value)
        };
        let (index, books) = (fleet.index.clone(), ledger.books.clone());
        let of = |response| OtadriveReply {
            response,
            reason: None,
            revision: index.revision().0,
            product: None,
            serial: None,
            leased: false,
            index: index.clone(),
            books: books.clone(),
            after: Mutex::default(),
            ends: Mutex::default(),
        };
        // A target is ASCII on the wire; what is not UTF-8 is no request of this protocol.
        let Ok(target) = std::str::from_utf8(target.bytes()) else {
            return Ok(of(otagate::wire::Malformed::Percent.response()));
        };
        let request = match Request::parse(method, target, header) {
            Ok(request) => request,
            Err(malformed) => return Ok(of(malformed.response())),
        };
        plant(request.check_in().version);
        let host = Host {
            store: &index,
            ledger: &books.ledger,
            leases: &books.leases,
            times: LeaseTimes { lease_secs, grace_secs },
        };
        let reply = answer(&host, &request, now, &mut NoTrace).map_err(|fault| garbage(fault.to_string()))?;
        let Reply { response, reason, revision, product, device, leased, ends, after, .. } = reply;
        if let Some(reason) = reason {
            fleet.readers.count(py, &index, product.as_ref(), reason);
        }
        Ok(OtadriveReply {
            reason,
            revision: revision.0,
            product: product.map(|product| product.to_string()),
            serial: device.map(|(_, serial)| serial.into()),
            leased,
            after: Mutex::new(after),
            ends: Mutex::new(ends),
            ..of(response)
        })
    })
}

#[pymethods]
impl OtadriveReply {
    /// The HTTP status.
    #[getter]
    fn status(&self) -> u16 {
        self.response.status
    }

    /// The headers, in order, with names spelled as they must stand on the wire.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        guard(|| PyList::new(py, self.response.headers.iter().map(|(name, value)| (*name, value))))
    }

    /// The body, where it is no file.
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        match &self.response.body {
            Body::Text(text) => PyBytes::new(py, text.as_bytes()),
            _ => PyBytes::new(py, b""),
        }
    }

    /// The part of a file that is to be sent, where the body is one.
    #[getter]
    fn file<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard(|| match &self.response.body {
            Body::File(part) => FILE_PART.get(py)?.call1((&part.locator, part.start, part.len)).map(Some),
            _ => Ok(None),
        })
    }

    /// Why, for the log, never for the device; None for a sign of life that was taken, and for what is no request.
    #[getter]
    fn reason(&self) -> Option<&'static str> {
        self.reason.map(Reason::name)
    }

    /// The revision of the fleet that was seen.
    #[getter]
    fn revision(&self) -> u64 {
        self.revision
    }

    /// The product of the key, where it is one's.
    #[getter]
    fn product(&self) -> Option<&str> {
        self.product.as_deref()
    }

    /// The canonical serial, where the device is known.
    #[getter]
    fn serial(&self) -> Option<&str> {
        self.serial.as_deref()
    }

    /// Whether the answer continues an offer that was made before.
    #[getter]
    fn leased(&self) -> bool {
        self.leased
    }

    /// Does what comes after the answer, whatever becomes of it. What was done is done once; what failed is done by the next call.
    #[pyo3(signature = (*, now=None))]
    fn answered(&self, py: Python<'_>, now: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        guard(|| {
            let at = self::now(now)?;
            let after = std::mem::take(&mut *self.after.lock());
            let (mut left, mut wrong) = (Vec::new(), None);
            py.detach(|| {
                for each in after {
                    match each {
                        After::Register(product, serial) => {
                            let _ = self.index.register(&product, &serial, at);
                        }
                        After::Note(report) => {
                            let Ok(_) = self.books.ledger.note(&report, at);
                        }
                        After::See(change) => {
                            if let Err(problems) = self.index.apply(std::slice::from_ref(&change)) {
                                wrong = Some(problems);
                                left.push(After::See(change));
                            }
                        }
                    }
                }
            });
            self.after.lock().extend(left);
            wrong.map_or(Ok(()), |problems| Err(of_problems(&problems)))
        })
    }

    /// The body has been sent to its last byte. A second call does nothing.
    #[pyo3(signature = (*, now=None))]
    fn delivered(&self, now: Option<&Bound<'_, PyAny>>) -> PyResult<&'static str> {
        guard(|| {
            let at = self::now(now)?;
            let ends = self.ends.lock().take();
            let Some(ends) = ends else { return Ok("foreign") };
            let Ok(told) = ends.carry_out(&self.books.leases, &self.books.ledger, at);
            Ok(told.map_or("foreign", noted))
        })
    }

    fn __repr__(&self) -> String {
        let reason = self.reason.map_or("None".to_owned(), |reason| format!("{:?}", reason.name()));
        format!("<otagate.otadrive.Reply {} reason={reason}>", self.response.status)
    }
}
