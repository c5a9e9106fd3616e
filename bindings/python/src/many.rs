//! Many check-ins at once, from rows of Python's: read where they stand, held while they are decided.

use crate::decision::Decision;
use crate::failure::{invalid, plant};
use crate::fleet::LARGE;
use crate::given::Given;
use crate::input::{Text, span};
use crate::readers::Readers;
use otagate::{CheckIn, Decision as Decided, Index, Timestamp};
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use std::cell::OnceCell;

/// Rows of (key, serial), (key, serial, version) or (key, serial, version, hardware).
///
/// A tuple never changes, and neither do its texts: as long as the rows are held, what was read of them stands, whatever becomes of the list.
pub(crate) struct Held<'py> {
    rows: Bound<'py, PyTuple>,
}

/// What a row says: key, serial, version, hardware.
pub(crate) type Row<'a> = [&'a [u8]; 4];

impl<'py> Held<'py> {
    pub(crate) fn of(given: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(list) = given.cast_exact::<PyList>() {
            return Ok(Self { rows: list.to_tuple() });
        }
        let rows = given.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        Ok(Self { rows: PyTuple::new(given.py(), rows)? })
    }

    /// What the rows say; `texts` keeps what had to be written anew.
    pub(crate) fn spans<'a>(&'a self, texts: &'a OnceCell<Vec<[Text<'a>; 4]>>) -> PyResult<Vec<Row<'a>>> {
        if let Some(rows) = self.plain() {
            return Ok(rows);
        }
        let read = self.rows.iter_borrowed().enumerate().map(|(at, row)| any_row(at, row)).collect::<PyResult<_>>()?;
        Ok(texts.get_or_init(|| read).iter().map(|row| row.each_ref().map(Text::bytes)).collect())
    }

    /// Tuples of `str` and `bytes`, as nearly all are.
    fn plain<'a>(&'a self) -> Option<Vec<Row<'a>>> {
        let len = self.rows.len();
        let mut all = Vec::with_capacity(len);
        for at in 0..len {
            // SAFETY: the place is there, and the tuple holds what stands there; each row is exactly a tuple, so that it holds its fields, for as long as
            // `self` is borrowed. This thread is attached.
            unsafe {
                let row = ffi::PyTuple_GetItem(self.rows.as_ptr(), at as ffi::Py_ssize_t);
                if ffi::PyTuple_CheckExact(row) == 0 {
                    return None;
                }
                let fields = ffi::PyTuple_Size(row);
                if !(2..=4).contains(&fields) {
                    return None;
                }
                let mut read: Row<'a> = [&b""[..]; 4];
                for (place, text) in (0..fields).zip(&mut read) {
                    let field = ffi::PyTuple_GetItem(row, place);
                    match span(field) {
                        Some(bytes) => *text = bytes,
                        None if place >= 2 && field == ffi::Py_None() => {}
                        None => return None,
                    }
                }
                all.push(read);
            }
        }
        Some(all)
    }
}

/// A row by the long way: a tuple or a list, of whatever a text may be.
fn any_row<'a>(at: usize, row: Borrowed<'a, '_, PyAny>) -> PyResult<[Text<'a>; 4]> {
    let py = row.py();
    if !row.is_instance_of::<PyTuple>() && !row.is_instance_of::<PyList>() {
        return Err(PyTypeError::new_err(format!("check-in {at} must be a tuple, not {}", row.get_type().name()?)));
    }
    let len = row.len()?;
    if !(2..=4).contains(&len) {
        return Err(invalid(format!(
            "check-in {at} has {len} fields: give (key, serial), (key, serial, version) or (key, serial, version, hardware)"
        )));
    }
    let mut read = [Text::EMPTY; 4];
    for (place, text) in read.iter_mut().enumerate().take(len) {
        let field = row.get_item(place)?;
        if place >= 2 && field.is_none() {
            continue;
        }
        // Copied: a list may lose it meanwhile.
        let owned = Text::of(field.as_borrowed()).map(|text| text.bytes().to_vec());
        *text = Text::owned(owned.map_err(|error| match error.is_instance_of::<PyTypeError>(py) {
            true => PyTypeError::new_err(format!("check-in {at}, field {place}: {}", error.value(py))),
            false => error,
        })?);
    }
    Ok(read)
}

#[inline(always)]
fn check_in<'s>(row: &Row<'s>) -> CheckIn<'s> {
    let [key, serial, version, hardware] = *row;
    CheckIn { version, hardware, ..CheckIn::new(key, serial) }
}

/// The check-ins of such rows.
#[cfg(feature = "bench")]
pub(crate) fn check_ins<'s>(rows: &[Row<'s>]) -> Vec<CheckIn<'s>> {
    rows.iter().map(check_in).collect()
}

/// A batch, and by whom it is decided.
pub(crate) struct Many<'a, 'py> {
    pub(crate) py: Python<'py>,
    pub(crate) index: &'a Index,
    pub(crate) readers: &'a Readers,
    pub(crate) rows: &'a [Row<'a>],
    pub(crate) now: Timestamp,
}

impl<'a> Many<'a, '_> {
    #[inline(always)]
    fn ask(&self) -> impl FnMut(usize) -> CheckIn<'a> + use<'a> {
        let rows = self.rows;
        move |at| {
            let ask = check_in(&rows[at]);
            plant(ask.version);
            ask
        }
    }

    /// Of each decision what `give` makes of it; without the GIL, where there are many: the rows are held, so what they point at stays.
    fn decide<R: Send>(&self, mut give: impl FnMut(&CheckIn<'_>, &Decided<'_>) -> R + Send) -> Vec<R> {
        let Self { py, index, readers, rows, now } = *self;
        let ask = self.ask();
        let call = || {
            let mut answers = Vec::with_capacity(rows.len());
            readers.decide_all(index, rows.len(), ask, now, |_, ask, decided| answers.push(give(ask, decided)));
            answers
        };
        if rows.len() >= LARGE { py.detach(call) } else { call() }
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
        let Self { py, index, readers, rows, now } = *self;
        if rows.len() < LARGE {
            return readers.decide_objects(py, index, rows.len(), self.ask(), now);
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
