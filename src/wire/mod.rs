//! Device protocols as pure functions: request to check-in, decision to response.
//!
//! ```text
//!   method, target, headers ──▶ Request ──▶ CheckIn ──▶ decide ──▶ Response: status, headers spelled as sent, body
//!                                  └─ Malformed: 400, 404, 405                      └─ a file is named, not read
//! ```
//!
//! Nothing here reads a socket or a file; a host with any HTTP library copies bytes. What a device sends is bounded by the host, decoded once, and
//! never ends up in a response.

pub mod otadrive;
mod query;
mod range;

pub use query::Query;
pub use range::{Range, parse_range};

/// What a device is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers, in order, with names spelled as they must stand on the wire: some clients compare them byte for byte.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
}

/// The body of a response. Its length is in the `Content-Length` header in every case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Empty,
    /// This text.
    Text(String),
    /// A part of a file.
    File(FilePart),
}

/// `len` bytes from `start` on of the file that the host knows by `locator`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePart {
    /// The locator of the artifact or resource.
    pub locator: String,
    /// The first byte.
    pub start: u64,
    /// How many.
    pub len: u64,
}

impl Response {
    pub(crate) fn empty(status: u16) -> Self {
        let mut response = Self { status, headers: Vec::new(), body: Body::Empty };
        // A 304 has no body by definition, and names no length.
        if status != 304 {
            response.headers.push(("Content-Length", "0".to_owned()));
        }
        response
    }

    pub(crate) fn text(content_type: &str, text: String) -> Self {
        let headers = vec![("Content-Type", content_type.to_owned()), ("Content-Length", text.len().to_string())];
        Self { status: 200, headers, body: Body::Text(text) }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| *held == name).map(|(_, value)| value.as_str())
    }
}

/// Why a request is none, and what it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// 404: no call of the protocol has this path.
    #[error("no call has this path")]
    Path,
    /// 405: the call is not made by this method.
    #[error("the call is not made by this method")]
    Method,
    /// 400: a parameter stands twice, also in upper and lower case.
    #[error("parameter `{0}` stands twice")]
    Twice(&'static str),
    /// 400: a parameter is missing; empty is not missing.
    #[error("parameter `{0}` is missing")]
    Missing(&'static str),
    /// 400: a `%` without two hex digits after it.
    #[error("a `%` in the query is not followed by two hex digits")]
    Percent,
    /// 400: a parameter that the server made is not what it made.
    #[error("parameter `{0}` is not what the server gave out")]
    Foreign(&'static str),
}

impl Malformed {
    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::Path => 404,
            Self::Method => 405,
            _ => 400,
        }
    }

    /// The response: the status alone.
    pub fn response(self) -> Response {
        Response::empty(self.status())
    }
}
