//! What comes from Python, read without copying: texts, digests, what is wanted.

use crate::failure::invalid;
use otagate::{CheckIn, DigestKind, SentDigest, Want};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use std::borrow::Cow;

/// `str | bytes`, as bytes. A `str` that no UTF-8 can say (a lone surrogate, as `surrogateescape` makes them) is encoded all the same, since a decision is total
/// (V4): it is malformed then, or unknown.
pub(crate) struct Text<'a>(Cow<'a, [u8]>);

impl<'a> Text<'a> {
    pub(crate) const EMPTY: Self = Self(Cow::Borrowed(b""));

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

    #[inline]
    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match given.is_exact_instance_of::<PyString>() {
            true => of_str(given),
            false => of_other(given),
        }
    }
}

#[inline]
fn of_str<'a>(given: Borrowed<'a, '_, PyAny>) -> PyResult<Text<'a>> {
    match <&'a str>::extract(given) {
        Ok(text) => Ok(Text(Cow::Borrowed(text.as_bytes()))),
        Err(_) => of_surrogates(given),
    }
}

#[cold]
fn of_surrogates<'a>(given: Borrowed<'_, '_, PyAny>) -> PyResult<Text<'a>> {
    let encoded = given.call_method1("encode", ("utf-8", "surrogatepass"))?;
    Ok(Text(Cow::Owned(encoded.cast_into::<PyBytes>()?.as_bytes().to_vec())))
}

#[inline(never)]
fn of_other<'a>(given: Borrowed<'a, '_, PyAny>) -> PyResult<Text<'a>> {
    if given.is_instance_of::<PyBytes>() {
        return Ok(Text(Cow::Borrowed(<&'a [u8]>::extract(given)?)));
    }
    if given.is_instance_of::<PyString>() {
        return of_str(given);
    }
    Err(PyTypeError::new_err(format!("expected str or bytes, found {}", given.get_type().name()?)))
}

/// What a check-in says besides who it is; what is not said is empty.
pub(crate) struct More<'a> {
    pub(crate) version: Option<Text<'a>>,
    pub(crate) hardware: Option<Text<'a>>,
    pub(crate) digest: Option<(String, Text<'a>)>,
    pub(crate) want: Option<&'a str>,
    pub(crate) resource: Option<Text<'a>>,
}

impl More<'_> {
    #[inline]
    pub(crate) fn check_in<'s>(&'s self, key: &'s Text<'_>, serial: &'s Text<'_>) -> PyResult<CheckIn<'s>> {
        let version = self.version.as_ref().map_or(&b""[..], Text::bytes);
        let hardware = self.hardware.as_ref().map_or(&b""[..], Text::bytes);
        let mut ask = CheckIn { version, hardware, ..CheckIn::new(key.bytes(), serial.bytes()) };
        if self.digest.is_some() || self.want.is_some() || self.resource.is_some() {
            self.rare(&mut ask)?;
        }
        Ok(ask)
    }

    #[cold]
    fn rare<'s>(&'s self, ask: &mut CheckIn<'s>) -> PyResult<()> {
        if let Some((kind, hex)) = &self.digest {
            // What is not hex, or of another length, is not sent (W6).
            ask.digest = SentDigest::parse(digest_kind(kind)?, hex.bytes());
        }
        ask.want = match (self.want, &self.resource) {
            (None | Some("firmware"), None) => Want::Firmware,
            (Some("config"), None) => Want::Config,
            (Some("resources"), None) => Want::Resources,
            (None | Some("resource"), Some(name)) => Want::Resource(name.bytes()),
            (Some("resource"), None) => return Err(invalid("`want` is `resource`: name it by `resource`")),
            (Some(want), Some(_)) => {
                return Err(invalid(format!("`resource` is given, and `want` is `{want}`: leave one out")));
            }
            (Some(other), None) => {
                return Err(invalid(format!(
                    "`want` is `{other}`: give `firmware`, `config`, `resources` or `resource`"
                )));
            }
        };
        Ok(())
    }
}

fn digest_kind(name: &str) -> PyResult<DigestKind> {
    match name {
        "blake3" => Ok(DigestKind::Blake3),
        "sha256" => Ok(DigestKind::Sha256),
        "md5" => Ok(DigestKind::Md5),
        other => Err(invalid(format!("`digest` is of kind `{other}`: give `blake3`, `sha256` or `md5`"))),
    }
}
