//! Many check-ins at once, from rows of Python's: read where they stand, held while they are decided.

use crate::decision::Decision;
use crate::failure::{invalid, plant};
use crate::fleet::LARGE;
use crate::given::Given;
use crate::input::Text;
use crate::readers::Readers;
use otagate::{CheckIn, Decision as Decided, Index, Timestamp};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

/// Rows of (key, serial), (key, serial, version) or (key, serial, version, hardware).
///
/// A tuple never changes, and neither do its texts: as long as the tuples are held, what was read of them stands, whatever becomes of the list.
pub(crate) struct Held<'py> {
    rows: Vec<Bound<'py, PyTuple>>,
}

/// Holds the rows.
pub(crate) fn hold<'py>(given: &Bound<'py, PyAny>) -> PyResult<Held<'py>> {
    let one = |row: Bound<'py, PyAny>| match row.cast_into::<PyTuple>() {
        Ok(tuple) => Ok(tuple),
        Err(other) => {
            let other = other.into_inner();
            match other.cast::<PyList>() {
                Ok(list) => Ok(list.to_tuple()),
                Err(_) => {
                    Err(PyTypeError::new_err(format!("a check-in must be a tuple, not {}", other.get_type().name()?)))
                }
            }
        }
    };
    let rows = match given.cast_exact::<PyList>() {
        Ok(list) => list.iter().map(one).collect::<PyResult<_>>()?,
        Err(_) => given.try_iter()?.map(|row| one(row?)).collect::<PyResult<_>>()?,
    };
    Ok(Held { rows })
}

impl<'py> Held<'py> {
    /// What the rows say.
    pub(crate) fn texts(&self) -> PyResult<Vec<[Text<'_>; 4]>> {
        self.rows.iter().enumerate().map(|(at, row)| texts(at, row)).collect()
    }
}

#[inline]
fn texts<'a>(at: usize, row: &'a Bound<'_, PyTuple>) -> PyResult<[Text<'a>; 4]> {
    let len = row.len();
    if !(2..=4).contains(&len) {
        return Err(invalid(format!(
            "check-in {at} has {len} fields: give (key, serial), (key, serial, version) or (key, serial, version, hardware)"
        )));
    }
    let field = |place: usize| -> PyResult<Text<'a>> {
        if place >= len {
            return Ok(Text::EMPTY);
        }
        let field = row.get_borrowed_item(place)?;
        if place >= 2 && field.is_none() {
            return Ok(Text::EMPTY);
        }
        Text::of(field).map_err(|error| {
            let py = row.py();
            let message = format!("check-in {at}, field {place}: {}", error.value(py));
            if error.is_instance_of::<PyTypeError>(py) { PyTypeError::new_err(message) } else { error }
        })
    };
    Ok([field(0)?, field(1)?, field(2)?, field(3)?])
}

#[inline]
fn check_in<'s>([key, serial, version, hardware]: &'s [Text<'_>; 4]) -> CheckIn<'s> {
    CheckIn { version: version.bytes(), hardware: hardware.bytes(), ..CheckIn::new(key.bytes(), serial.bytes()) }
}

/// The check-ins of such texts.
#[cfg(feature = "bench")]
pub(crate) fn check_ins<'s>(texts: &'s [[Text<'_>; 4]]) -> Vec<CheckIn<'s>> {
    texts.iter().map(check_in).collect()
}

/// A batch, and by whom it is decided.
pub(crate) struct Many<'a, 'py> {
    pub(crate) py: Python<'py>,
    pub(crate) index: &'a Index,
    pub(crate) readers: &'a Readers,
    pub(crate) texts: &'a [[Text<'a>; 4]],
    pub(crate) now: Timestamp,
}

impl<'a> Many<'a, '_> {
    fn asks(&self) -> impl Iterator<Item = CheckIn<'a>> + use<'a> {
        self.texts.iter().map(|texts| {
            let ask = check_in(texts);
            plant(ask.version);
            ask
        })
    }

    /// Of each decision what `give` makes of it; without the GIL, where there are many: the rows are held, so what the texts point at stays.
    fn decide<R: Send>(&self, mut give: impl FnMut(&CheckIn<'_>, &Decided<'_>) -> R + Send) -> Vec<R> {
        let Self { py, index, readers, texts, now } = *self;
        let asks = self.asks();
        let call = || {
            let mut answers = Vec::with_capacity(texts.len());
            readers.decide_all(index, asks, now, |ask, decided| answers.push(give(ask, decided)));
            answers
        };
        if texts.len() >= LARGE { py.detach(call) } else { call() }
    }

    /// Two bytes each, in the machine's order: `numpy.frombuffer(statuses, "uint16")`, `memoryview(statuses).cast("H")`.
    pub(crate) fn statuses(&self) -> Vec<u8> {
        self.decide(|_, decided| decided.status().to_ne_bytes()).into_flattened()
    }

    /// One byte each: the number of the reason, of which all are below 256.
    pub(crate) fn reasons(&self) -> Vec<u8> {
        self.decide(|_, decided| u8::try_from(decided.reason.number()).unwrap_or(0))
    }

    pub(crate) fn decisions(&self) -> PyResult<Vec<Py<Decision>>> {
        let Self { py, index, readers, texts, now } = *self;
        if texts.len() < LARGE {
            return readers.decide_objects(py, index, self.asks(), now);
        }
        // Decided without the GIL, into what needs none; then one object for those that say the same.
        let mut memory = Memory::default();
        let places = self.decide(|ask, decided| memory.of(decided, ask));
        let objects = memory.all.into_iter().map(|given| Decision::new(py, given)).collect::<PyResult<Vec<_>>>()?;
        let object = |place: usize| objects.get(place).map(|object| object.clone_ref(py));
        places.into_iter().map(|place| object(place).ok_or_else(|| invalid("a decision was lost"))).collect()
    }
}

/// The decisions of a batch, those that say the same once.
#[derive(Default)]
struct Memory {
    all: Vec<Given>,
    /// By what they point at, which stands for the length of the batch.
    known: std::collections::HashMap<(u16, usize, usize, usize, Option<u32>), usize>,
}

impl Memory {
    fn of(&mut self, decided: &Decided<'_>, ask: &CheckIn<'_>) -> usize {
        let place = self.all.len();
        if !crate::readers::is_shared(decided) {
            self.all.push(Given::of(decided, ask));
            return place;
        }
        let at = |pointer: Option<usize>| pointer.unwrap_or(0);
        let rollout = match decided.effect {
            Some(otagate::Effect::Seen(rollout)) => Some(rollout),
            _ => decided.rollout,
        };
        let key = (
            decided.reason.number(),
            at(decided.meant.map(|meant| std::ptr::from_ref(meant) as usize)),
            at(decided.firmware_offer().map(|offer| std::ptr::from_ref(offer.artifact) as usize)),
            at(rollout.map(|rollout| std::ptr::from_ref(rollout) as usize)),
            decided.retry_after_secs,
        );
        let all = &mut self.all;
        *self.known.entry(key).or_insert_with(|| {
            all.push(Given::of(decided, ask));
            place
        })
    }
}
