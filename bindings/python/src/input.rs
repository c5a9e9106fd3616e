//! What comes from Python, read without copying: texts, digests, what is wanted.
//!
//! Nearly every check-in is of `str` and `bytes` alone, and says nothing but key, serial, version and hardware: it is read where it stands, in a few
//! instructions. Whatever else is allowed is read by the long way.

use crate::failure::invalid;
use otagate::{CheckIn, DigestKind, SentDigest, Want};
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use std::borrow::Cow;

/// The bytes of an object that is exactly a `str` or a `bytes`; None for any other, and for a `str` that no UTF-8 can say.
///
/// # Safety
/// The object is alive, and stays so for `'a`; this thread is attached. Both kinds never change, and keep their bytes where they are.
#[inline(always)]
pub(crate) unsafe fn span<'a>(object: *mut ffi::PyObject) -> Option<&'a [u8]> {
    // SAFETY: the caller's; what is asked for belongs to a kind that was looked at before.
    unsafe {
        let mut len = 0;
        let start = if ffi::PyUnicode_CheckExact(object) != 0 {
            ffi::PyUnicode_AsUTF8AndSize(object, &raw mut len)
        } else if ffi::PyBytes_CheckExact(object) != 0 {
            len = ffi::PyBytes_Size(object);
            ffi::PyBytes_AsString(object).cast_const()
        } else {
            return None;
        };
        if start.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        Some(std::slice::from_raw_parts(start.cast::<u8>(), usize::try_from(len).ok()?))
    }
}

/// `str | bytes`, as bytes. A `str` that no UTF-8 can say (a lone surrogate, as `surrogateescape` makes them) is encoded all the same, since a decision is total
/// (V4): it is malformed then, or unknown.
pub(crate) struct Text<'a>(Cow<'a, [u8]>);

impl<'a> Text<'a> {
    pub(crate) const EMPTY: Self = Self(Cow::Borrowed(b""));

    pub(crate) fn owned(bytes: Vec<u8>) -> Self {
        Self(Cow::Owned(bytes))
    }

    #[inline]
    pub(crate) fn of(given: Borrowed<'a, '_, PyAny>) -> PyResult<Self> {
        Self::extract(given)
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Text<'a> {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        // SAFETY: it is borrowed for `'a`, by a thread that is attached.
        match unsafe { span(given.as_ptr()) } {
            Some(bytes) => Ok(Self(Cow::Borrowed(bytes))),
            None => of_other(given),
        }
    }
}

#[inline(never)]
fn of_other<'a>(given: Borrowed<'a, '_, PyAny>) -> PyResult<Text<'a>> {
    if given.is_instance_of::<PyBytes>() {
        return Ok(Text(Cow::Borrowed(<&'a [u8]>::extract(given)?)));
    }
    if !given.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(format!("expected str or bytes, found {}", given.get_type().name()?)));
    }
    match <&'a str>::extract(given) {
        Ok(text) => Ok(Text(Cow::Borrowed(text.as_bytes()))),
        Err(_) => {
            // By the type's own method: a class of somebody's may have another.
            let encode = given.py().get_type::<PyString>().getattr("encode")?;
            let encoded = encode.call1((given, "utf-8", "surrogatepass"))?;
            Ok(Text(Cow::Owned(encoded.cast_into::<PyBytes>()?.as_bytes().to_vec())))
        }
    }
}

/// What a check-in says, as it came.
pub(crate) struct Said<'a, 'py> {
    pub(crate) key: &'a Bound<'py, PyAny>,
    pub(crate) serial: &'a Bound<'py, PyAny>,
    pub(crate) version: Option<&'a Bound<'py, PyAny>>,
    pub(crate) hardware: Option<&'a Bound<'py, PyAny>>,
    pub(crate) digest: Option<&'a Bound<'py, PyAny>>,
    pub(crate) want: Option<&'a Bound<'py, PyAny>>,
    pub(crate) resource: Option<&'a Bound<'py, PyAny>>,
}

impl<'a> Said<'a, '_> {
    /// Reads it, and hands it over.
    #[inline(always)]
    pub(crate) fn with<R>(&self, take: impl FnOnce(&CheckIn<'_>) -> PyResult<R>) -> PyResult<R> {
        match self.plain() {
            Some(ask) => take(&ask),
            None => self.with_any(take),
        }
    }

    #[inline(always)]
    fn plain(&self) -> Option<CheckIn<'a>> {
        if self.digest.is_some() || self.want.is_some() || self.resource.is_some() {
            return None;
        }
        // SAFETY: each is borrowed for `'a`, by a thread that is attached.
        let read = |given: &Bound<'_, PyAny>| unsafe { span(given.as_ptr()) };
        let read_if = |given: Option<&Bound<'_, PyAny>>| given.map_or(Some(&b""[..]), read);
        let (version, hardware) = (read_if(self.version)?, read_if(self.hardware)?);
        Some(CheckIn { version, hardware, ..CheckIn::new(read(self.key)?, read(self.serial)?) })
    }

    #[inline(never)]
    fn with_any<R>(&self, take: impl FnOnce(&CheckIn<'_>) -> PyResult<R>) -> PyResult<R> {
        let text = |given: Option<&'a Bound<'_, PyAny>>, what: &str| -> PyResult<Text<'a>> {
            let Some(given) = given else { return Ok(Text::EMPTY) };
            Text::of(given.as_borrowed()).map_err(|error| {
                let py = given.py();
                match error.is_instance_of::<PyTypeError>(py) {
                    true => PyTypeError::new_err(format!("`{what}`: {}", error.value(py))),
                    false => error,
                }
            })
        };
        let (key, serial) = (text(Some(self.key), "key")?, text(Some(self.serial), "serial")?);
        let (version, hardware) = (text(self.version, "version")?, text(self.hardware, "hardware")?);
        let resource = self.resource.map(|given| text(Some(given), "resource")).transpose()?;
        let want = self.want.map(|want| want.extract::<String>()).transpose()?;
        let mut ask = CheckIn {
            version: version.bytes(),
            hardware: hardware.bytes(),
            want: wanted(want.as_deref(), resource.as_ref())?,
            ..CheckIn::new(key.bytes(), serial.bytes())
        };
        if let Some(digest) = self.digest {
            let (kind, hex) = two(digest, "`digest`")?;
            // What is not hex, or of another length, is not sent (W6).
            ask.digest = SentDigest::parse(digest_kind(&kind.extract::<String>()?)?, text_of(&hex)?.bytes());
        }
        take(&ask)
    }
}

/// A pair, as a tuple, a list or whatever gives two.
pub(crate) fn two<'py>(given: &Bound<'py, PyAny>, what: &str) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let wrong = || invalid(format!("{what} must be a pair"));
    if given.is_instance_of::<PyString>() || given.is_instance_of::<PyBytes>() {
        return Err(wrong());
    }
    let mut all = given.try_iter()?;
    match (all.next().transpose()?, all.next().transpose()?, all.next().transpose()?) {
        (Some(one), Some(other), None) => Ok((one, other)),
        _ => Err(wrong()),
    }
}

fn text_of<'a>(given: &'a Bound<'_, PyAny>) -> PyResult<Text<'a>> {
    Text::of(given.as_borrowed())
}

fn wanted<'s>(want: Option<&str>, resource: Option<&'s Text<'_>>) -> PyResult<Want<'s>> {
    Ok(match (want, resource) {
        (None | Some("firmware"), None) => Want::Firmware,
        (Some("config"), None) => Want::Config,
        (Some("resources"), None) => Want::Resources,
        (None | Some("resource"), Some(name)) => Want::Resource(name.bytes()),
        (Some("resource"), None) => return Err(invalid("`want` is `resource`: name it by `resource`")),
        (Some(want), Some(_)) => {
            return Err(invalid(format!("`resource` is given, and `want` is `{want}`: leave one out")));
        }
        (Some(other), None) => {
            return Err(invalid(format!("`want` is `{other}`: give `firmware`, `config`, `resources` or `resource`")));
        }
    })
}

fn digest_kind(name: &str) -> PyResult<DigestKind> {
    match name {
        "blake3" => Ok(DigestKind::Blake3),
        "sha256" => Ok(DigestKind::Sha256),
        "md5" => Ok(DigestKind::Md5),
        other => Err(invalid(format!("`digest` is of kind `{other}`: give `blake3`, `sha256` or `md5`"))),
    }
}
