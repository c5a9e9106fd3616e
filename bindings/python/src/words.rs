//! What serials, versions, ranks and shares mean (S1, W1 to W5, R2, R3), and the pure step of a rollout (R7, R8): for hosts that sort, show or simulate by the
//! same rules.

use crate::failure::{Imported, guard, invalid, of_problems, refused};
use crate::fleet_words::{loads, text_of};
use crate::input::Text;
use crate::time::now;
use otagate::rollout::{Statistics, Step, step};
use otagate::wire::Range;
use otagate::{
    FleetSpec, GroupSpec, KeyHash, ProductFleetSpec, ProductSpec, Reason, RolloutSpec, SerialFault, SerialScheme,
    VersionRulesSpec,
};
use pyo3::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::cmp::Ordering;

const VALUES: &str = "otagate._values";
static COMPARISON: Imported = Imported::new(VALUES, "Comparison");
static RANGE: Imported = Imported::new(VALUES, "ByteRange");
static REASON: Imported = Imported::new(VALUES, "ReasonInfo");
static MALFORMED: Imported = Imported::new("otagate._errors", "SerialMalformed");
static PLACEHOLDER: Imported = Imported::new("otagate._errors", "SerialPlaceholder");

/// The version of the package and of the crate in it.
#[pyfunction]
pub(crate) fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The rank of a device in a rollout (R2): where its place is fixed by chance.
#[pyfunction]
pub(crate) fn rank(salt: &str, product: &str, serial: &str) -> PyResult<u64> {
    guard(|| Ok(otagate::rank(salt, product, serial)))
}

/// The BLAKE3 of an API key in hex: all that a fleet holds of it.
#[pyfunction]
pub(crate) fn key_hash(key: Text<'_>) -> PyResult<String> {
    guard(|| {
        let hash = KeyHash::of(key.bytes());
        let hash = hash.ok_or_else(|| invalid("that is no key: it is empty, or longer than 1,024 bytes"))?;
        Ok(hash.0.to_string())
    })
}

/// Reads a serial under a scheme (S1), with the placeholders that every product has.
#[pyfunction]
pub(crate) fn read_serial(py: Python<'_>, scheme: &str, serial: Text<'_>) -> PyResult<String> {
    guard(|| {
        let scheme = match scheme {
            "opaque" => SerialScheme::Opaque,
            "opaque-nocase" => SerialScheme::OpaqueNocase,
            "mac" => SerialScheme::Mac,
            "hex" => SerialScheme::Hex,
            "decimal" => SerialScheme::Decimal,
            other => return Err(invalid(format!("serial scheme `{}` is none", other.escape_debug()))),
        };
        scheme.read(serial.bytes()).map(|serial| serial.as_str().to_owned()).or_else(|fault| {
            let class = match fault {
                SerialFault::Malformed => &MALFORMED,
                SerialFault::Placeholder => &PLACEHOLDER,
            };
            Err(PyErr::from_value(class.get(py)?.call1((format!("the serial {fault}"),))?))
        })
    })
}

fn parsed<T: DeserializeOwned>(given: &Bound<'_, PyAny>, place: &str) -> PyResult<T> {
    serde_json::from_slice(&text_of(given)?).map_err(|error| refused([(place.to_owned(), &*error.to_string())]))
}

/// Compares two versions under a product's rules (W1, W2).
#[pyfunction]
#[pyo3(signature = (a, b, rules=None))]
pub(crate) fn compare_versions<'py>(
    py: Python<'py>,
    a: Text<'_>,
    b: Text<'_>,
    rules: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    guard(|| {
        let spec: VersionRulesSpec = rules.map(|rules| parsed(rules, "rules")).transpose()?.unwrap_or_default();
        let rules = spec.build().map_err(|problems| of_problems(&problems))?;
        let (a, b) = (rules.read(a.bytes()), rules.read(b.bytes()));
        let order = rules.order(a, b).map(|order| match order {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        });
        COMPARISON.get(py)?.call1((rules.equal(a, b), order))
    })
}

/// The threshold of a share in basis points, for a host that cannot count (R3).
#[pyfunction]
pub(crate) fn share_threshold(bps: u32) -> PyResult<u64> {
    guard(|| {
        let share = u16::try_from(bps).ok().filter(|bps| *bps <= otagate::SHARE_BPS_MAX);
        let threshold = share.and_then(otagate::share_threshold);
        threshold.ok_or_else(|| invalid(format!("a share of {bps} basis points is none: give 1 to 10000")))
    })
}

/// Which bytes of a file of `size_bytes` a `Range` header asks for, as download clients write it.
#[pyfunction]
pub(crate) fn parse_range<'py>(
    py: Python<'py>,
    header: Option<Text<'_>>,
    size_bytes: u64,
) -> PyResult<Bound<'py, PyAny>> {
    guard(|| {
        let (kind, first, len) = match otagate::wire::parse_range(header.as_ref().map(Text::bytes), size_bytes) {
            Range::Whole => ("whole", 0, size_bytes),
            Range::Part { first, last } => ("part", first, last - first + 1),
            Range::Unsatisfiable => ("unsatisfiable", 0, 0),
        };
        RANGE.get(py)?.call1((kind, first, len))
    })
}

/// What is to be done about a rollout, given its account and the time (R7, R8): a pure function.
#[pyfunction]
#[pyo3(signature = (rollout, statistics, *, product=None, now=None))]
pub(crate) fn rollout_step<'py>(
    py: Python<'py>,
    rollout: &Bound<'py, PyAny>,
    statistics: &Bound<'py, PyAny>,
    product: Option<&Bound<'py, PyAny>>,
    now: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    guard(|| {
        let nameless = || ProductSpec { id: "product".into(), ..ProductSpec::default() };
        let product = product.map(|product| parsed(product, "product")).transpose()?.unwrap_or_else(nameless);
        let rollout: RolloutSpec = parsed(rollout, "rollout")?;
        let statistics: Statistics = parsed(statistics, "statistics")?;
        let group = GroupSpec { id: "group".into(), rollout: Some(rollout), ..GroupSpec::default() };
        let part = ProductFleetSpec { product, groups: vec![group], ..ProductFleetSpec::default() };
        let fleet = FleetSpec { products: vec![part], ..FleetSpec::default() }.build();
        let fleet = fleet.map_err(|problems| of_problems(&problems))?;
        let rollout = fleet.products().next().and_then(|entry| entry.group("group")?.rollout());
        let rollout = rollout.ok_or_else(|| invalid("there is no rollout"))?;
        let Step { progress, transition } = step(rollout, &statistics, self::now(now)?);
        loads(py, &json!({ "transition": transition, "progress": progress }).to_string())
    })
}

/// Every reason, by number (V2).
#[pyfunction]
pub(crate) fn reasons<'py>(py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    guard(|| {
        let one = |reason: &Reason| {
            REASON.get(py)?.call1((reason.number(), reason.name(), reason.status(), reason.sentence()))
        };
        Reason::ALL.iter().map(one).collect()
    })
}
