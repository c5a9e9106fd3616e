//! What goes between a fleet and Python besides decisions: changes and specifications as JSON, and values as the dataclasses of the package.

use crate::decision::digests;
use crate::failure::{Imported, Wrong, invalid, refused};
use crate::time::datetime;
use otagate::fleet_file::Loaded;
use otagate::rollout::{Moved, Noted, Outcome};
use otagate::store::Registered;
use otagate::{Census, Change, DeviceCount, DeviceRow, DeviceSpec, DeviceState, Problem, Timestamp, VerdictCount};
use pyo3::exceptions::{PyAttributeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMapping, PyString, PyTuple};
use std::path::PathBuf;

const VALUES: &str = "otagate._values";
static ENCODE: Imported = Imported::new(VALUES, "encode");
static FSDECODE: Imported = Imported::new("os", "fsdecode");
static LOADS: Imported = Imported::new("json", "loads");
static PATH: Imported = Imported::new("pathlib", "Path");
static DEVICE: Imported = Imported::new(VALUES, "Device");
static LOADED: Imported = Imported::new(VALUES, "Loaded");
static FILE: Imported = Imported::new(VALUES, "FirmwareFile");
static MOVED: Imported = Imported::new(VALUES, "Moved");
static CENSUS: Imported = Imported::new(VALUES, "Census");
static DEVICE_COUNT: Imported = Imported::new(VALUES, "DeviceCount");
static VERDICT_COUNT: Imported = Imported::new(VALUES, "VerdictCount");
static PROBLEM: Imported = Imported::new("otagate._errors", "Problem");

/// A path, as Python takes them: str, bytes, or what has a path.
pub(crate) fn path(given: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    FSDECODE.get(given.py())?.call1((given,))?.extract()
}

/// JSON: as it stands, where it is text; else as the package writes what it is given.
pub(crate) fn text_of(given: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let py = given.py();
    let text = match given.is_instance_of::<PyString>() || given.is_instance_of::<PyBytes>() {
        true => given.clone(),
        false => ENCODE.get(py)?.call1((given,))?,
    };
    Ok(match text.cast::<PyBytes>() {
        Ok(bytes) => bytes.as_bytes().to_vec(),
        Err(_) => text.cast::<PyString>()?.to_str()?.as_bytes().to_vec(),
    })
}

pub(crate) fn loads<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    LOADS.get(py)?.call1((text,))
}

/// One change, several, or JSON of either; what is wrong with any of them is told with its place.
pub(crate) fn changes(given: &Bound<'_, PyAny>) -> PyResult<Vec<Change>> {
    let json = given.is_instance_of::<PyString>() || given.is_instance_of::<PyBytes>();
    let given = match json {
        true => LOADS.get(given.py())?.call1((given,)).map_err(no_json)?,
        false => given.clone(),
    };
    let change = |each: &Bound<'_, PyAny>| -> PyResult<Result<Change, String>> {
        match text_of(each) {
            Ok(text) => Ok(serde_json::from_slice(&text).map_err(|error| told(&error))),
            // What JSON cannot say: a number that is none, half a character, a circle, a naive datetime.
            Err(error) if error.is_instance_of::<PyValueError>(each.py()) => {
                Ok(Err(error.value(each.py()).to_string()))
            }
            Err(error) => Err(error),
        }
    };
    if given.cast::<PyMapping>().is_ok() {
        let one = change(&given)?;
        return one.map(|change| vec![change]).map_err(|message| refused([("".to_owned(), &*message)]));
    }
    let mut read = Vec::new();
    let mut wrong = Vec::new();
    for (at, each) in given.try_iter()?.enumerate() {
        match change(&each?)? {
            Ok(change) => read.push(change),
            Err(message) => wrong.push((format!("changes[{at}]"), message)),
        }
    }
    match wrong.is_empty() {
        true => Ok(read),
        false => Err(refused(wrong.iter().map(|(place, message)| (place.clone(), &**message)))),
    }
}

fn no_json(error: PyErr) -> PyErr {
    refused([("".to_owned(), &*format!("the text is no JSON: {error}"))])
}

/// Without line and column: the text is not the caller's.
fn told(error: &serde_json::Error) -> String {
    let all = error.to_string();
    match all.rfind(" at line ") {
        Some(at) => all[..at].to_owned(),
        None => all,
    }
}

/// 0001-01-01T00:00:00Z, and the last millisecond of 9999.
const YEAR_1: i64 = -62_135_596_800_000;
const YEAR_9999: i64 = 253_402_300_799_999;

/// Rows to be added, owned, so that the GIL can go.
pub(crate) type Rows = Vec<Row>;

pub(crate) struct Row {
    serial: String,
    state: DeviceState,
    group: String,
    entered_at: Timestamp,
    version: Option<String>,
    hardware: Option<String>,
}

impl Row {
    pub(crate) fn borrowed(&self) -> DeviceRow<'_> {
        DeviceRow {
            serial: &self.serial,
            state: self.state,
            group: &self.group,
            entered_at: self.entered_at,
            version: self.version.as_deref(),
            hardware: self.hardware.as_deref(),
        }
    }
}

/// A `Device`, or anything with its attributes.
pub(crate) fn row(given: &Bound<'_, PyAny>) -> Result<Row, Wrong> {
    let DeviceSpec { serial, state, group, entered_at, pin, cap, version, hardware, .. } = device_spec(given)?;
    if pin.is_some() || cap.is_some() {
        let message = "a device that is added has a `pin` or a `cap`: apply `pin-device` or `cap-device`";
        return Err(Wrong::Value(message.to_owned()));
    }
    Ok(Row { serial, state, group, entered_at, version, hardware })
}

/// An attribute that is there, and is not None. One that its class has, and that fails all the same, is not taken for missing: without a pin or a cap more would be
/// served.
pub(crate) fn known<'py>(given: &Bound<'py, PyAny>, name: &str) -> Result<Option<Bound<'py, PyAny>>, Wrong> {
    match given.getattr(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_none())),
        Err(error) => match error.is_instance_of::<PyAttributeError>(given.py()) && !given.get_type().hasattr(name)? {
            true => Ok(None),
            false => Err(Wrong::Raised(error)),
        },
    }
}

/// An attribute of that kind, or of none.
pub(crate) fn known_as<T>(given: &Bound<'_, PyAny>, name: &str, kind: &str) -> Result<Option<T>, Wrong>
where
    for<'a, 'py> T: FromPyObject<'a, 'py, Error = PyErr>,
{
    known(given, name)?.map(|value| read_as(&value, name, kind)).transpose()
}

/// A value of that kind: what is another, or out of its range, is told by its name.
pub(crate) fn read_as<T>(value: &Bound<'_, PyAny>, name: &str, kind: &str) -> Result<T, Wrong>
where
    for<'a, 'py> T: FromPyObject<'a, 'py, Error = PyErr>,
{
    value.extract().map_err(|_: PyErr| match value.get_type().name() {
        Ok(found) => Wrong::Kind(format!("`{name}` must be {kind}, not {found}")),
        Err(error) => Wrong::Raised(error),
    })
}

/// An attribute that is a time, or nothing.
pub(crate) fn known_time(given: &Bound<'_, PyAny>, name: &str) -> Result<Option<Timestamp>, Wrong> {
    known(given, name)?.map(|at| crate::time::read(&at, name)).transpose()
}

/// Reads a `Device`, or anything with its attributes: a row of an ORM, say. What is not there is not known.
pub(crate) fn device_spec(given: &Bound<'_, PyAny>) -> Result<DeviceSpec, Wrong> {
    let text = |name: &str| known_as::<String>(given, name, "a str");
    let needed = |name: &str| text(name)?.ok_or_else(|| Wrong::Value(format!("a device has no `{name}`")));
    Ok(DeviceSpec {
        serial: needed("serial")?,
        state: state(&needed("state")?)?,
        group: needed("group")?,
        entered_at: known_time(given, "entered_at")?.unwrap_or_default(),
        pin: text("pin")?,
        cap: text("cap")?,
        version: text("version")?,
        hardware: text("hardware")?,
        earlier_groups: Vec::new(),
    })
}

fn state(name: &str) -> Result<DeviceState, Wrong> {
    Ok(match name {
        "new" => DeviceState::New,
        "verified" => DeviceState::Verified,
        "blocked" => DeviceState::Blocked,
        "disabled" => DeviceState::Disabled,
        "quota" => DeviceState::Quota,
        other => return Err(Wrong::Value(format!("a device is `{}`, which is no state", other.escape_debug()))),
    })
}

pub(crate) fn device<'py>(py: Python<'py>, spec: &DeviceSpec) -> PyResult<Bound<'py, PyAny>> {
    let DeviceSpec { serial, state, group, entered_at, pin, cap, version, hardware, .. } = spec;
    let said = PyDict::new(py);
    said.set_item("pin", pin)?;
    said.set_item("cap", cap)?;
    said.set_item("version", version)?;
    said.set_item("hardware", hardware)?;
    // Python knows the years 1 to 9999; who entered before is as old as time.
    let entered_at = match entered_at.millis() {
        millis if millis < YEAR_1 => None,
        millis => Some(datetime(py, Timestamp::from_millis(millis.min(YEAR_9999)))?),
    };
    said.set_item("entered_at", entered_at)?;
    DEVICE.get(py)?.call((serial, state.name(), group), Some(&said))
}

pub(crate) fn described<'py>(py: Python<'py>, loaded: &Loaded) -> PyResult<Bound<'py, PyAny>> {
    let files = PyDict::new(py);
    for file in &loaded.files {
        let path = PATH.get(py)?.call1((&file.path,))?;
        let made = FILE.get(py)?.call1((&file.locator, path, file.size_bytes, digests(py, &file.digests)?))?;
        files.set_item(&file.locator, made)?;
    }
    let lint = |lint: &otagate::fleet_file::FileProblem| {
        PROBLEM.get(py)?.call1((format!("{}:{}:{}", lint.file.display(), lint.line, lint.column), &lint.message))
    };
    let lints = loaded.lints.iter().map(lint).collect::<PyResult<Vec<_>>>()?;
    let counted: Vec<_> = loaded.counted.iter().map(ToString::to_string).collect();
    let dir = PATH.get(py)?.call1((&loaded.firmware_dir,))?;
    LOADED.get(py)?.call1((PyTuple::new(py, lints)?, loaded.lints.more(), PyTuple::new(py, counted)?, dir, files))
}

pub(crate) fn moves<'py>(py: Python<'py>, moved: &[Moved]) -> PyResult<Bound<'py, PyAny>> {
    let one = |moved: &Moved| {
        let told = serde_json::to_string(moved).map_err(|error| invalid(error.to_string()))?;
        MOVED.get(py)?.call((), Some(&loads(py, &told)?.cast_into::<PyDict>()?))
    };
    let all = moved.iter().map(one).collect::<PyResult<Vec<_>>>()?;
    Ok(all.into_pyobject(py)?.into_any())
}

pub(crate) fn counts<'py>(py: Python<'py>, counts: &[DeviceCount]) -> PyResult<Bound<'py, PyAny>> {
    let one = |count: &DeviceCount| {
        let DeviceCount { product, group, state, devices } = count;
        DEVICE_COUNT.get(py)?.call1((product.as_str(), group.as_str(), state.name(), *devices))
    };
    let all = counts.iter().map(one).collect::<PyResult<Vec<_>>>()?;
    Ok(all.into_pyobject(py)?.into_any())
}

pub(crate) fn verdicts<'py>(py: Python<'py>, counts: &[VerdictCount]) -> PyResult<Bound<'py, PyAny>> {
    let one = |counted: &VerdictCount| {
        let VerdictCount { product, reason, count } = counted;
        let product = product.as_ref().map(|product| product.as_str());
        VERDICT_COUNT.get(py)?.call1((product, reason.name(), reason.number(), reason.status(), *count))
    };
    let all = counts.iter().map(one).collect::<PyResult<Vec<_>>>()?;
    Ok(all.into_pyobject(py)?.into_any())
}

pub(crate) fn census<'py>(py: Python<'py>, census: &Census) -> PyResult<Bound<'py, PyAny>> {
    CENSUS.get(py)?.call1((census.eligible, census.counted, census.newcomers, census.threshold))
}

pub(crate) fn problems<'py>(py: Python<'py>, found: &[Problem]) -> PyResult<Bound<'py, PyAny>> {
    let one = |problem: &Problem| PROBLEM.get(py)?.call1((&problem.place, &problem.message));
    let all = found.iter().map(one).collect::<PyResult<Vec<_>>>()?;
    Ok(all.into_pyobject(py)?.into_any())
}

pub(crate) fn registered(registered: Registered) -> &'static str {
    match registered {
        Registered::New => "new",
        Registered::Known => "known",
        Registered::Refused => "refused",
    }
}

pub(crate) fn noted(noted: Noted) -> &'static str {
    match noted {
        Noted::Moved => "moved",
        Noted::Known => "known",
        Noted::Foreign => "foreign",
    }
}

/// The outcome of that name, if it can be reported.
pub(crate) fn outcome(name: &str) -> PyResult<Outcome> {
    let named = Outcome::ALL.into_iter().find(|outcome| outcome.name() == name && *outcome != Outcome::Offered);
    named.ok_or_else(|| {
        invalid(format!("outcome `{}` is none that can be reported: give `downloaded`, `missing`, `installed`, `confirmed` or `failed`", name.escape_debug()))
    })
}
