//! Check-ins and answers as Arrow columns, by the PyCapsule interface: pyarrow, polars, pandas, DuckDB, nanoarrow and whoever else speaks it. Texts are read
//! where they stand.

use crate::failure::{guard, invalid, plant};
use crate::input::Text;
use crate::readers::Readers;
use arrow_array::builder::{StringBuilder, StringDictionaryBuilder, TimestampMillisecondBuilder};
use arrow_array::cast::AsArray;
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi, to_ffi};
use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use arrow_array::types::{Int32Type, UInt8Type};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Int32Array, RecordBatch, RecordBatchIterator, RecordBatchReader, StringArray,
    StructArray, UInt8Array, UInt16Array, UInt32Array,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema};
use otagate::{CheckIn, Decision as Decided, Index, Reason, Snapshot, Timestamp};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyTuple};
use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::Arc;

const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";
const STREAM: &CStr = c"arrow_array_stream";

fn failed(error: ArrowError) -> PyErr {
    invalid(format!("the Arrow data cannot be read: {error}"))
}

/// Takes what a capsule holds, leaving a released structure behind, as the interface has it.
fn take<T>(capsule: &Bound<'_, PyAny>, name: &CStr, from_raw: impl FnOnce(*mut T) -> T) -> PyResult<T> {
    let capsule = capsule.cast::<PyCapsule>()?;
    let pointer = capsule.pointer_checked(Some(name))?;
    Ok(from_raw(pointer.as_ptr().cast::<T>()))
}

/// The tables of anything that speaks the interface; None for what does not.
pub(crate) fn read(given: &Bound<'_, PyAny>) -> PyResult<Option<Tables>> {
    if let Some(method) = given.getattr_opt("__arrow_c_stream__")? {
        let capsule = method.call0()?;
        // SAFETY: a capsule of that name holds that structure; what is taken is marked as released.
        let stream = take(&capsule, STREAM, |raw| unsafe { FFI_ArrowArrayStream::from_raw(raw) })?;
        // Without the GIL: whoever produces it may need that on another thread.
        let tables = given.py().detach(|| pull(stream));
        // An interrupt may be why it ended.
        given.py().check_signals()?;
        return Ok(Some(Tables(tables.map_err(|error| invalid(format!("the Arrow stream failed: {error}")))?)));
    }
    let Some(method) = given.getattr_opt("__arrow_c_array__")? else { return Ok(None) };
    let (schema, array): (Bound<'_, PyAny>, Bound<'_, PyAny>) = method.call0()?.extract()?;
    // SAFETY: capsules of these names hold these structures; what is taken is marked as released.
    let schema = take(&schema, SCHEMA, |raw| unsafe { FFI_ArrowSchema::from_raw(raw) })?;
    // SAFETY: as above.
    let array = take(&array, ARRAY, |raw| unsafe { FFI_ArrowArray::from_raw(raw) })?;
    if array.is_released() {
        return Err(invalid("the capsules were used before: ask for `__arrow_c_array__` again"));
    }
    // SAFETY: the producer vouches for its buffers, as the interface asks of it.
    let data = unsafe { from_ffi(array, &schema) }.map_err(failed)?;
    match data.data_type() {
        DataType::Struct(_) => Ok(Some(Tables(vec![StructArray::from(data)]))),
        other => Err(invalid(format!(
            "a table of check-ins is wanted, with columns `key`, `serial`, `version` and `hardware`; found an array of {other}"
        ))),
    }
}

/// Every batch of a stream.
fn pull(mut stream: FFI_ArrowArrayStream) -> Result<Vec<StructArray>, ArrowError> {
    // SAFETY: the structure is ours alone; it is taken out of here, and a released one is left.
    let reader = unsafe { RecordBatchStreamReader::from_raw(&raw mut stream) }?;
    let schema = reader.schema();
    let mut tables = reader.map(|batch| batch.map(StructArray::from)).collect::<Result<Vec<_>, _>>()?;
    if tables.is_empty() {
        // A table without chunks has columns all the same.
        tables.push(RecordBatch::new_empty(schema).into());
    }
    Ok(tables)
}

/// Record batches of check-ins.
pub(crate) struct Tables(Vec<StructArray>);

/// One column, as bytes.
enum Column<'a> {
    Small {
        offsets: &'a [i32],
        data: &'a [u8],
        nulls: Option<&'a NullBuffer>,
    },
    Large {
        offsets: &'a [i64],
        data: &'a [u8],
        nulls: Option<&'a NullBuffer>,
    },
    /// Views, dictionaries and whatever is rarer: texts were looked up once.
    Listed(Vec<&'a [u8]>),
    Same(&'a [u8]),
}

impl<'a> Column<'a> {
    fn of(array: &'a ArrayRef, name: &str) -> PyResult<Self> {
        let nulls = array.nulls();
        Ok(match array.data_type() {
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                Self::Small { offsets: array.value_offsets(), data: array.value_data(), nulls }
            }
            DataType::Binary => {
                let array = array.as_binary::<i32>();
                Self::Small { offsets: array.value_offsets(), data: array.value_data(), nulls }
            }
            DataType::LargeUtf8 => {
                let array = array.as_string::<i64>();
                Self::Large { offsets: array.value_offsets(), data: array.value_data(), nulls }
            }
            DataType::LargeBinary => {
                let array = array.as_binary::<i64>();
                Self::Large { offsets: array.value_offsets(), data: array.value_data(), nulls }
            }
            DataType::Utf8View => {
                let array = array.as_string_view();
                Self::Listed(array.iter().map(|text| text.unwrap_or("").as_bytes()).collect())
            }
            DataType::BinaryView => {
                Self::Listed(array.as_binary_view().iter().map(|text| text.unwrap_or(b"")).collect())
            }
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                // Of nothing but nulls.
                if dictionary.values().is_empty() {
                    return Ok(Self::Same(b""));
                }
                let values = Self::of(dictionary.values(), name)?;
                let keys = dictionary.normalized_keys();
                let listed = keys
                    .into_iter()
                    .enumerate()
                    .map(|(at, key)| if array.is_null(at) { &b""[..] } else { values.get(key) });
                Self::Listed(listed.collect())
            }
            DataType::Null => Self::Same(b""),
            other => return Err(invalid(format!("column `{name}` is of {other}: texts or bytes are wanted"))),
        })
    }

    /// What stands there; null is empty.
    #[inline(always)]
    fn get(&self, at: usize) -> &'a [u8] {
        match self {
            Self::Small { offsets, data, nulls } => match nulls {
                Some(nulls) if nulls.is_null(at) => b"",
                _ => &data[offsets[at] as usize..offsets[at + 1] as usize],
            },
            Self::Large { offsets, data, nulls } => match nulls {
                Some(nulls) if nulls.is_null(at) => b"",
                _ => &data[offsets[at] as usize..offsets[at + 1] as usize],
            },
            Self::Listed(listed) => listed[at],
            Self::Same(same) => same,
        }
    }
}

/// The columns of one record batch.
struct Batch<'a> {
    len: usize,
    key: Column<'a>,
    serial: Column<'a>,
    version: Column<'a>,
    hardware: Column<'a>,
}

impl<'a> Batch<'a> {
    fn of(table: &'a StructArray, key: Option<&'a Text<'_>>) -> PyResult<Self> {
        if table.null_count() > 0 {
            return Err(invalid("the table has rows that are null: who asks there?"));
        }
        for name in ["key", "serial", "version", "hardware"] {
            if table.column_names().iter().filter(|held| **held == name).count() > 1 {
                return Err(invalid(format!("the table has more than one column `{name}`")));
            }
        }
        let column = |name: &str| table.column_by_name(name).map(|array| Column::of(array, name)).transpose();
        let missing = |name: &str| {
            let names = table.column_names().iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            invalid(format!("the table has no column `{name}`; it has {names}"))
        };
        let key = match (column("key")?, key) {
            (Some(_), Some(_)) => {
                return Err(invalid("`key` is given, and the table has a column `key`: leave one out"));
            }
            (Some(column), None) => column,
            (None, Some(key)) => Column::Same(key.bytes()),
            (None, None) => return Err(missing("key")),
        };
        Ok(Self {
            len: table.len(),
            key,
            serial: column("serial")?.ok_or_else(|| missing("serial"))?,
            version: column("version")?.unwrap_or(Column::Same(b"")),
            hardware: column("hardware")?.unwrap_or(Column::Same(b"")),
        })
    }

    #[inline(always)]
    fn check_in(&self, at: usize) -> CheckIn<'a> {
        CheckIn {
            version: self.version.get(at),
            hardware: self.hardware.get(at),
            ..CheckIn::new(self.key.get(at), self.serial.get(at))
        }
    }
}

/// The rows of all batches, one after the other.
struct Rows<'b, 'a> {
    batches: &'b [Batch<'a>],
    /// The row that the first of them begins with.
    from: usize,
}

impl<'a> Rows<'_, 'a> {
    /// The check-in of that row; rows are asked for in order.
    #[inline(always)]
    fn check_in(&mut self, at: usize) -> CheckIn<'a> {
        while let [batch, rest @ ..] = self.batches {
            if at - self.from < batch.len {
                return batch.check_in(at - self.from);
            }
            (self.batches, self.from) = (rest, self.from + batch.len);
        }
        CheckIn::new(b"", b"")
    }
}

/// The reasons in their order, as a column's dictionary has them, and where each number stands in it.
struct Reasons {
    places: [u8; 256],
    names: StringArray,
}

impl Reasons {
    fn new() -> Self {
        let mut places = [0; 256];
        for (place, reason) in (0_u8..).zip(Reason::ALL) {
            if let Some(slot) = places.get_mut(usize::from(reason.number())) {
                *slot = place;
            }
        }
        Self { places, names: Reason::ALL.iter().map(|reason| Some(reason.name())).collect() }
    }
}

/// The versions that were meant, each once.
#[derive(Default)]
struct Meant {
    /// By where a firmware stands, for the length of the batch: several products may have one of the same version.
    places: HashMap<usize, i32>,
    last: Option<(usize, i32)>,
    names: Vec<String>,
}

impl Meant {
    #[inline]
    fn place(&mut self, decided: &Decided<'_>) -> Option<i32> {
        let meant = decided.meant?;
        let pointer = std::ptr::from_ref(meant) as usize;
        match self.last {
            Some((last, place)) if last == pointer => Some(place),
            _ => {
                let place = self.find(pointer, meant.version().text());
                self.last = Some((pointer, place));
                Some(place)
            }
        }
    }

    fn find(&mut self, pointer: usize, text: &str) -> i32 {
        let names = &mut self.names;
        *self.places.entry(pointer).or_insert_with(|| {
            let known = names.iter().position(|name| name == text);
            let place = known.unwrap_or_else(|| {
                names.push(text.to_owned());
                names.len() - 1
            });
            i32::try_from(place).unwrap_or(i32::MAX)
        })
    }
}

impl Tables {
    /// Decides every row, all from one revision, and gives a row for each.
    pub(crate) fn decide(
        &self,
        py: Python<'_>,
        index: &Index,
        readers: &Readers,
        key: Option<&Text<'_>>,
        now: Timestamp,
    ) -> PyResult<Columns> {
        let batches = self.0.iter().map(|table| Batch::of(table, key)).collect::<PyResult<Vec<_>>>()?;
        let len = batches.iter().map(|batch| batch.len).sum();
        let decide = || {
            let (mut statuses, mut reasons, mut versions) = (vec![0_u16; len], vec![0_u8; len], vec![-1_i32; len]);
            let mut retries = None::<(Vec<u32>, Vec<bool>)>;
            let (told, mut meant) = (Reasons::new(), Meant::default());
            let mut rows = Rows { batches: &batches, from: 0 };
            readers.decide_all(
                index,
                len,
                |at| rows.check_in(at),
                now,
                |at, ask, decided| {
                    plant(ask.version);
                    statuses[at] = decided.status();
                    reasons[at] = told.places[usize::from(decided.reason.number()) & 255];
                    if let Some(place) = meant.place(decided) {
                        versions[at] = place;
                    }
                    if let Some(secs) = decided.retry_after_secs {
                        let (retries, known) = retries.get_or_insert_with(|| (vec![0; len], vec![false; len]));
                        (retries[at], known[at]) = (secs, true);
                    }
                },
            );
            let (retries, retries_known) = retries.unwrap_or_else(|| (vec![0; len], vec![false; len]));
            let retries_known = NullBuffer::from(retries_known);
            // A row without a firmware that is meant is null.
            let none = versions.iter().any(|place| *place < 0);
            let nulls = none.then(|| NullBuffer::from_iter(versions.iter().map(|place| *place >= 0)));
            // -1 stays under the nulls, for who looks at the numbers alone.
            let versions = Int32Array::new(versions.into(), nulls);
            let names: StringArray = meant.names.iter().map(Some).collect();
            // A dictionary of nothing has no place 0.
            let names = if names.is_empty() { StringArray::from(vec![""]) } else { names };
            let columns: Vec<(&str, ArrayRef, bool)> = vec![
                ("status", Arc::new(UInt16Array::from(statuses)), false),
                (
                    "reason",
                    Arc::new(DictionaryArray::<UInt8Type>::try_new(UInt8Array::from(reasons), Arc::new(told.names))?),
                    false,
                ),
                ("meant", Arc::new(DictionaryArray::<Int32Type>::try_new(versions, Arc::new(names))?), true),
                ("retry_after", Arc::new(UInt32Array::new(retries.into(), Some(retries_known))), true),
            ];
            Columns::new(columns)
        };
        let decided = if len >= crate::fleet::LARGE { py.detach(decide) } else { decide() };
        decided.map_err(failed)
    }
}

/// The devices of a product, or of one of its groups.
pub(crate) fn devices(fleet: &Snapshot, product: &str, group: Option<&str>) -> Result<Columns, ArrowError> {
    let (mut serials, mut entered) = (StringBuilder::new(), TimestampMillisecondBuilder::new().with_timezone("UTC"));
    let mut states = StringDictionaryBuilder::<UInt8Type>::new();
    let mut texts = [(); 3].map(|()| StringDictionaryBuilder::<Int32Type>::new());
    fleet.scan(product, group, |member| {
        serials.append_value(member.serial().as_str());
        states.append_value(member.state().name());
        let [groups, versions, hardware] = &mut texts;
        groups.append_option(member.group().map(otagate::GroupId::as_str));
        versions.append_option(member.version());
        hardware.append_option(member.hardware());
        entered.append_value(member.entered_at().millis());
    });
    let [mut groups, mut versions, mut hardware] = texts;
    Columns::new(vec![
        ("serial", Arc::new(serials.finish()), false),
        ("state", Arc::new(states.finish()), false),
        ("group", Arc::new(groups.finish()), true),
        ("version", Arc::new(versions.finish()), true),
        ("hardware", Arc::new(hardware.finish()), true),
        ("entered_at", Arc::new(entered.finish()), false),
    ])
}

/// Columns of equal length, for whoever speaks the PyCapsule interface.
#[pyclass(frozen, module = "otagate", weakref)]
pub(crate) struct Columns {
    table: StructArray,
}

impl Columns {
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    fn new(columns: Vec<(&str, ArrayRef, bool)>) -> Result<Self, ArrowError> {
        let (fields, arrays): (Vec<_>, Vec<_>) = columns
            .into_iter()
            .map(|(name, array, nullable)| (Field::new(name, array.data_type().clone(), nullable), array))
            .unzip();
        Ok(Self { table: StructArray::try_new(Fields::from(fields), arrays, None)? })
    }
}

#[pymethods]
impl Columns {
    /// The rows as a stream of one batch, by Arrow's PyCapsule interface.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        guard(|| {
            let _ = requested_schema;
            let batch = RecordBatch::from(&self.table);
            let schema = batch.schema();
            let stream = FFI_ArrowArrayStream::new(Box::new(RecordBatchIterator::new([Ok(batch)], schema)));
            PyCapsule::new_with_value(py, stream, STREAM)
        })
    }

    /// How many rows.
    fn __len__(&self) -> usize {
        self.table.len()
    }

    /// The names of the columns, in order.
    #[getter]
    fn names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        guard(|| PyTuple::new(py, self.table.column_names()))
    }

    /// The numbers of a column as they stand in memory, for `numpy.frombuffer`; of a column of texts the places in its dictionary.
    fn buffer<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| {
            let array = self.table.column_by_name(name);
            let array = array.ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
            let keys = array.as_any_dictionary_opt().map(|dictionary| dictionary.keys().to_data());
            let data = keys.unwrap_or_else(|| array.to_data());
            let Some(width) = data.data_type().primitive_width() else {
                return Err(invalid(format!("column `{name}` is of texts: read it by Arrow")));
            };
            let bytes = data.buffers().first().map_or(&[][..], |buffer| buffer.as_slice());
            let from = data.offset() * width;
            Ok(PyBytes::new(py, bytes.get(from..from + data.len() * width).unwrap_or(&[])))
        })
    }

    /// The type of the rows, by Arrow's PyCapsule interface.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        guard(|| {
            let schema = FFI_ArrowSchema::try_from(Schema::new(self.table.fields().clone())).map_err(failed)?;
            PyCapsule::new_with_value(py, schema, SCHEMA)
        })
    }

    /// The rows, by Arrow's PyCapsule interface: shared, not copied.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        guard(|| {
            // There is one shape; a consumer casts what it wants otherwise, as the interface allows.
            let _ = requested_schema;
            let (array, schema) = to_ffi(&self.table.to_data()).map_err(failed)?;
            Ok((PyCapsule::new_with_value(py, schema, SCHEMA)?, PyCapsule::new_with_value(py, array, ARRAY)?))
        })
    }

    fn __repr__(&self) -> String {
        format!("<otagate.Columns rows={} columns={}>", self.table.len(), self.table.column_names().join(","))
    }
}
