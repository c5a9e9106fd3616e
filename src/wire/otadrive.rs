//! The OTAdrive device protocol, as its public Arduino client speaks it.
//!
//! | call | methods | wants | answers 200 with |
//! |---|---|---|---|
//! | `/deviceapi/update` | GET, HEAD | firmware | the image; 206 for a range |
//! | `/deviceapi/alive` | GET, POST | questions 1 to 4 | nothing |
//! | `/deviceapi/config`, `/deviceapi/getconfig` | GET | config | JSON, or with `plain` lines of `key=value` |
//! | `/deviceapi/resource/list` | GET | resources | JSON, or with `plain` three lines each: name, key, MD5 |
//! | `/deviceapi/resource/get` | GET, HEAD | one resource | the file; 206 for a range |
//!
//! Query: `k` API key, `s` serial, `v` version, in either case; `fk` the file key of a resource, which is the hex of its name. Refusals carry nothing but their
//! status, so that all 401 look the same. A 304 carries `X-Version` of the meant firmware, never that of a withheld target. `If-None-Match` means nothing
//! here: clients send a constant.

mod documents;
mod reply;

use super::{Body, FilePart, Malformed, Query, Range, Response, parse_range};
use crate::check_in::{CheckIn, Want};
use crate::fleet::{DigestKind, Digests, SentDigest};
use crate::verdict::{Decision, Offer, Verdict};
use documents::{json_list, name_of_file_key, plain_config, plain_list};
pub use reply::{After, Host, HostFault, LeaseTimes, Reply, answer, answer_async};

/// A request that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    call: Call,
    key: Vec<u8>,
    serial: Vec<u8>,
    version: Vec<u8>,
    /// The name of the resource that is asked for.
    resource: Vec<u8>,
    digest: Option<SentDigest>,
    range: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Update { head: bool },
    Alive,
    Config { plain: bool },
    ResourceList { plain: bool },
    ResourceGet { head: bool },
}

impl Request {
    /// Reads a request: its method, its target (`/deviceapi/update?k=...`), and a look-up of headers by lower-case name.
    ///
    /// # Errors
    /// What it is instead, with the status to answer.
    pub fn parse<'h>(method: &str, target: &str, header: impl Fn(&str) -> Option<&'h [u8]>) -> Result<Self, Malformed> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let head = method == "HEAD";
        let call = match path {
            "/deviceapi/update" => Call::Update { head },
            "/deviceapi/alive" => Call::Alive,
            "/deviceapi/config" | "/deviceapi/getconfig" => Call::Config { plain: false },
            "/deviceapi/resource/list" => Call::ResourceList { plain: false },
            "/deviceapi/resource/get" => Call::ResourceGet { head },
            _ => return Err(Malformed::Path),
        };
        let fits = match call {
            Call::Update { .. } | Call::ResourceGet { .. } => matches!(method, "GET" | "HEAD"),
            Call::Alive => matches!(method, "GET" | "POST"),
            Call::Config { .. } | Call::ResourceList { .. } => method == "GET",
        };
        if !fits {
            return Err(Malformed::Method);
        }
        let query = Query::parse(query)?;
        let call = match call {
            Call::Config { .. } => Call::Config { plain: query.has("plain")? },
            Call::ResourceList { .. } => Call::ResourceList { plain: query.has("plain")? },
            other => other,
        };
        // A version decides about firmware alone; elsewhere clients may leave it out.
        let version = if matches!(call, Call::Update { .. }) { Some(query.need("v")?) } else { query.get("v")? };
        let resource = match call {
            Call::ResourceGet { .. } => name_of_file_key(query.need("fk")?).ok_or(Malformed::Foreign("fk"))?,
            _ => Vec::new(),
        };
        Ok(Self {
            call,
            key: query.need("k")?.to_vec(),
            serial: query.need("s")?.to_vec(),
            version: version.unwrap_or_default().to_vec(),
            resource,
            digest: sketch_digest(
                header("x-check-sketch-md5"),
                [header("x-esp32-sketch-md5"), header("x-esp8266-sketch-md5")],
            ),
            range: header("range").map(<[u8]>::to_vec),
        })
    }

    /// What the device asks.
    pub fn check_in(&self) -> CheckIn<'_> {
        let want = match self.call {
            Call::Update { .. } | Call::Alive => Want::Firmware,
            Call::Config { .. } => Want::Config,
            Call::ResourceList { .. } => Want::Resources,
            Call::ResourceGet { .. } => Want::Resource(&self.resource),
        };
        CheckIn {
            key: &self.key,
            serial: &self.serial,
            version: &self.version,
            hardware: b"",
            digest: self.digest,
            want,
        }
    }

    /// The call, as it is written in a log.
    pub const fn call(&self) -> &'static str {
        match self.call {
            Call::Update { head: false } => "update",
            Call::Update { head: true } => "update-head",
            Call::Alive => "alive",
            Call::Config { .. } => "config",
            Call::ResourceList { .. } => "resource-list",
            Call::ResourceGet { head: false } => "resource-get",
            Call::ResourceGet { head: true } => "resource-head",
        }
    }

    /// Whether the body is to be left out: the length in the headers is that of the file all the same.
    pub const fn is_head(&self) -> bool {
        matches!(self.call, Call::Update { head: true } | Call::ResourceGet { head: true })
    }

    /// The response to a decision.
    pub fn respond(&self, decision: &Decision<'_>) -> Response {
        match &decision.verdict {
            Verdict::Serve(offer) => self.serve(offer),
            Verdict::UpToDate => {
                let mut response = Response::empty(304);
                if let (Call::Update { .. }, Some(meant)) = (self.call, decision.meant) {
                    response.headers.push(("X-Version", meant.version().text().to_owned()));
                }
                response.headers.extend(decision.retry_after_secs.map(|secs| ("Retry-After", secs.to_string())));
                response
            }
            Verdict::Unauthorized | Verdict::Unavailable => Response::empty(decision.status()),
        }
    }

    fn serve(&self, offer: &Offer<'_>) -> Response {
        match offer {
            Offer::Firmware(offer) => {
                let artifact = offer.artifact;
                let version = ("X-Version", offer.firmware.version().text().to_owned());
                self.file(artifact.locator(), artifact.size_bytes(), artifact.digests(), Some(version))
            }
            Offer::Resource(resource) => self.file(resource.locator(), resource.size_bytes(), resource.digests(), None),
            Offer::Config(config) if self.call == (Call::Config { plain: true }) => {
                Response::text("text/plain; charset=utf-8", plain_config(config.document()))
            }
            Offer::Config(config) => Response::text("application/json", config.document().to_owned()),
            Offer::Resources(list) if self.call == (Call::ResourceList { plain: true }) => {
                Response::text("text/plain; charset=utf-8", plain_list(list))
            }
            Offer::Resources(list) => Response::text("application/json", json_list(list)),
        }
    }

    fn file(
        &self,
        locator: &str,
        size_bytes: u64,
        digests: &Digests,
        version: Option<(&'static str, String)>,
    ) -> Response {
        // The length of a HEAD is that of the whole file: clients take it for the image's.
        let range = if self.is_head() { Range::Whole } else { parse_range(self.range.as_deref(), size_bytes) };
        let (status, start, len) = match range {
            Range::Whole => (200, 0, size_bytes),
            Range::Part { first, last } => (206, first, last - first + 1),
            Range::Unsatisfiable => {
                let mut response = Response::empty(416);
                response.headers.push(("Content-Range", format!("bytes */{size_bytes}")));
                return response;
            }
        };
        let mut headers =
            vec![("Content-Type", "application/octet-stream".to_owned()), ("Content-Length", len.to_string())];
        headers.extend(version);
        // Some client versions compare the name byte for byte: the x is small.
        headers.extend(digests.md5.map(|md5| ("x-MD5", md5.to_string())));
        headers.push(("Accept-Ranges", "bytes".to_owned()));
        if let Range::Part { first, last } = range {
            headers.push(("Content-Range", format!("bytes {first}-{last}/{size_bytes}")));
        }
        let body =
            if self.is_head() { Body::Empty } else { Body::File(FilePart { locator: locator.to_owned(), start, len }) };
        Response { status, headers, body }
    }
}

/// `x-check-sketch-md5: 1` asks to compare the digest of the running image; without it the digest is not meant to be.
fn sketch_digest(check: Option<&[u8]>, sketches: [Option<&[u8]>; 2]) -> Option<SentDigest> {
    let sketch = sketches.into_iter().flatten().next().filter(|_| check == Some(b"1"))?;
    SentDigest::parse(DigestKind::Md5, sketch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, target: &str) -> Result<Request, Malformed> {
        Request::parse(method, target, |_| None)
    }

    #[test]
    fn a_request_is_one_of_the_calls_or_malformed() {
        assert_eq!(parse("GET", "/deviceapi/update?k=a&s=b&v=v@1").unwrap().check_in().version, b"v@1");
        assert_eq!(parse("POST", "/deviceapi/alive?K=a&S=b&V=").unwrap().call(), "alive");
        for (method, target, malformed) in [
            ("GET", "/", Malformed::Path),
            ("GET", "/deviceapi/update/", Malformed::Path),
            ("POST", "/deviceapi/update?k=a&s=b&v=c", Malformed::Method),
            ("GET", "/deviceapi/update?k=a&s=b", Malformed::Missing("v")),
            ("GET", "/deviceapi/update?k=a&v=b", Malformed::Missing("s")),
            ("GET", "/deviceapi/update?k=a&s=1&s=2&v=b", Malformed::Twice("s")),
            ("GET", "/deviceapi/update?k=a&s=%&v=b", Malformed::Percent),
            ("GET", "/deviceapi/resource/get?k=a&s=1", Malformed::Missing("fk")),
            ("GET", "/deviceapi/resource/get?k=a&s=1&fk=6g", Malformed::Foreign("fk")),
            ("GET", "/deviceapi/resource/get?k=a&s=1&fk=616", Malformed::Foreign("fk")),
        ] {
            assert_eq!(parse(method, target), Err(malformed), "{method} {target}");
        }
    }

    #[test]
    fn the_digest_counts_only_when_it_is_asked_to() {
        let md5 = b"D41D8CD98F00B204E9800998ECF8427E";
        assert!(sketch_digest(Some(b"1"), [None, Some(md5)]).is_some());
        assert!(sketch_digest(None, [None, Some(md5)]).is_none());
        assert!(sketch_digest(Some(b"0"), [Some(md5), None]).is_none());
    }
}
