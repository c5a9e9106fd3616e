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

use super::{Body, FilePart, Malformed, Query, Range, Response, parse_range};
use crate::check_in::{CheckIn, Want};
use crate::decide::trace::Trace;
use crate::decide::{decide, identify};
use crate::fleet::{
    CanonicalSerial, Device, DigestKind, Digests, Product, ProductId, Resource, Revision, RolloutId, SentDigest,
};
use crate::lease::Lease;
use crate::leases::Leases;
use crate::store::{Fault, Store, fetch};
use crate::time::Timestamp;
use crate::verdict::{ClaimRefused, Decision, Effect, Offer, Reason, Verdict};

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

/// How long offers are leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// From the offer on: longer than the slowest download, in seconds.
    pub lease_secs: u32,
    /// What is left of it once the last byte was sent, for a device whose connection broke just then, in seconds.
    pub grace_secs: u32,
}

impl Default for LeaseTimes {
    /// An hour, and a minute.
    fn default() -> Self {
        Self { lease_secs: 3_600, grace_secs: 60 }
    }
}

/// The response to a request, and what else a host does about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// What the device is sent.
    pub response: Response,
    /// Why; for the log, never for the device. `None` for a sign of life that was taken: nothing was decided.
    pub reason: Option<Reason>,
    /// The revision of the fleet that was seen.
    pub revision: Revision,
    /// The product and the canonical serial, where both are known.
    pub device: Option<(ProductId, Box<str>)>,
    /// The answer continues an offer that was made before.
    pub leased: bool,
    /// Before the answer: the offer to keep for the device, so that it stays the same through a ranged download.
    pub lease: Option<Lease>,
    /// After the body: it ends the file, so the device's lease can be shortened ([`Leases::finish`]).
    pub ends_lease: bool,
    /// After the answer, whatever becomes of it: it must not change the answer, nor its time.
    pub after: Option<After>,
}

/// What is carried out after the answer (V7).
#[derive(Clone, Debug, PartialEq)]
pub enum After {
    /// Register the device (question 3).
    Register(ProductId, CanonicalSerial),
    /// The device reported the target version of this rollout (R9).
    Seen(RolloutId),
}

impl Request {
    /// The reply to a decision: a pure function. `who` is the product and device that the store found. Claims are settled before: give what
    /// [`Decision::refused`] gives where the ledger refused.
    pub fn reply(
        &self,
        decision: &Decision<'_>,
        who: Option<(&Product, &Device)>,
        times: LeaseTimes,
        now: Timestamp,
    ) -> Reply {
        let response = self.respond(decision);
        let offer = decision.firmware_offer();
        let fresh = offer.filter(|offer| !offer.leased).zip(who);
        let expires_at = now.plus_secs(times.lease_secs.into());
        let lease = fresh.and_then(|(offer, (_, device))| Lease::of(offer, device.group(), &self.version, expires_at));
        let ends_lease = offer.is_some_and(|offer| sends_last_byte(&response, offer.artifact.size_bytes()));
        let leased = offer.is_some_and(|offer| offer.leased);
        self.finish(response, decision, who, lease, leased, ends_lease)
    }

    /// The reply to a sign of life, where the refusal of questions 1 to 4 is one.
    fn reply_alive(
        &self,
        refusal: Option<Decision<'_>>,
        who: Option<(&Product, &Device)>,
        revision: Revision,
    ) -> Reply {
        match &refusal {
            Some(refusal) => self.finish(Response::empty(refusal.status()), refusal, who, None, false, false),
            None => Reply {
                response: Response::empty(200),
                reason: None,
                revision,
                device: device_of(who),
                leased: false,
                lease: None,
                ends_lease: false,
                after: None,
            },
        }
    }

    fn finish(
        &self,
        response: Response,
        decision: &Decision<'_>,
        who: Option<(&Product, &Device)>,
        lease: Option<Lease>,
        leased: bool,
        ends_lease: bool,
    ) -> Reply {
        let register = || decision.effect.as_ref()?.registration(&self.check_in());
        let after = match decision.effect {
            Some(Effect::Seen(rollout)) => Some(After::Seen(rollout.clone())),
            _ => register().map(|(product, serial)| After::Register(product.id().clone(), serial)),
        };
        let (reason, revision, device) = (Some(decision.reason), decision.revision, device_of(who));
        Reply { response, reason, revision, device, leased, lease, ends_lease, after }
    }
}

fn device_of(who: Option<(&Product, &Device)>) -> Option<(ProductId, Box<str>)> {
    who.map(|(product, device)| (product.id().clone(), device.serial().into()))
}

/// Answers a request from a synchronous store and this process's leases; the lease of a new offer is kept. What comes after the answer is the host's. A claim is
/// refused, since there is no ledger here. An asynchronous host does the same with [`fetch_async`](crate::store::fetch_async) and [`Request::reply`].
///
/// ```
/// use otagate::{FleetSpec, Leases, MemoryStore, NoTrace, Timestamp, wire::otadrive};
/// let store = MemoryStore::new(FleetSpec::default().build()?);
/// let request = otadrive::Request::parse("GET", "/deviceapi/update?k=guess&s=1&v=", |_| None).unwrap();
/// let now = Timestamp::from_millis(0);
/// let reply = otadrive::answer(&store, &Leases::new(100), Default::default(), &request, now, &mut NoTrace).unwrap();
/// assert_eq!((reply.response.status, reply.reason), (401, Some(otagate::Reason::KeyUnknown)));
/// # Ok::<(), otagate::Problems>(())
/// ```
///
/// # Errors
/// The store failed: answer 503, and serve nothing.
pub fn answer<S: Store, T: Trace>(
    store: &S,
    leases: &Leases,
    times: LeaseTimes,
    request: &Request,
    now: Timestamp,
    trace: &mut T,
) -> Result<Reply, Fault<S::Error>> {
    let ask = request.check_in();
    let view = store.view().map_err(Fault::Store)?;
    let mut found = fetch(&view, &ask)?;
    let lease = found.identity().and_then(|(product, device)| leases.of(product.id(), device.serial(), now));
    found.lend(lease);
    let facts = found.facts();
    if request.call == Call::Alive {
        return Ok(request.reply_alive(identify(&facts, &ask, now, trace), found.identity(), facts.revision));
    }
    let decided = decide(&facts, &ask, now, trace);
    let decision = match decided.effect {
        Some(Effect::Claim(claim)) if claim.slots_max.is_some() => decided.refused(ClaimRefused::Slots),
        Some(Effect::Claim(_)) => decided.refused(ClaimRefused::Downloads),
        _ => decided,
    };
    let mut reply = request.reply(&decision, found.identity(), times, now);
    if let (Some(lease), Some((product, serial))) = (reply.lease.clone(), &reply.device)
        && !leases.keep(product, serial, lease, now)
    {
        // The table is full: the device is decided anew on each request, and the host can see it.
        reply.lease = None;
    }
    Ok(reply)
}

fn sends_last_byte(response: &Response, size_bytes: u64) -> bool {
    matches!(&response.body, Body::File(part) if part.start + part.len == size_bytes)
}

/// `x-check-sketch-md5: 1` asks to compare the digest of the running image; without it the digest is not meant to be.
fn sketch_digest(check: Option<&[u8]>, sketches: [Option<&[u8]>; 2]) -> Option<SentDigest> {
    let sketch = sketches.into_iter().flatten().next().filter(|_| check == Some(b"1"))?;
    SentDigest::parse(DigestKind::Md5, sketch)
}

/// The key of a resource in the protocol: the hex of its name, since clients put it into a URL as it is.
fn file_key(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn name_of_file_key(key: &[u8]) -> Option<Vec<u8>> {
    let pairs = key.chunks(2).map(|pair| crate::Hex::<1>::parse(pair).map(|crate::Hex([byte])| byte));
    pairs.collect()
}

fn plain_list(list: &[Resource]) -> String {
    let md5 = |resource: &Resource| resource.digests().md5.map(|md5| md5.to_string()).unwrap_or_default();
    list.iter()
        .map(|resource| format!("{}\n{}\n{}\n", resource.name(), file_key(resource.name()), md5(resource)))
        .collect()
}

fn json_list(list: &[Resource]) -> String {
    let entries = list.iter().map(|resource| {
        serde_json::json!({
            "name": resource.name(),
            "key": file_key(resource.name()),
            "size": resource.size_bytes(),
            "md5": resource.digests().md5,
        })
    });
    serde_json::Value::Array(entries.collect()).to_string()
}

/// Lines of `key=value`, keys of nested objects and places in lists joined by dots, line breaks escaped.
fn plain_config(document: &str) -> String {
    let mut lines = String::new();
    // A checked config is JSON, so the empty text stands for nothing that can be.
    plain_value("", &serde_json::from_str(document).unwrap_or_default(), &mut lines);
    lines
}

fn plain_value(key: &str, value: &serde_json::Value, lines: &mut String) {
    let within = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    let text = match value {
        serde_json::Value::Object(map) => {
            return map.iter().for_each(|(name, value)| plain_value(&within(name), value, lines));
        }
        serde_json::Value::Array(list) => {
            return list
                .iter()
                .enumerate()
                .for_each(|(index, value)| plain_value(&within(&index.to_string()), value, lines));
        }
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    let escape = |text: &str| text.replace('\n', "\\n").replace('\r', "\\r");
    lines.push_str(&format!("{}={}\n", escape(key), escape(&text)));
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

    #[test]
    fn a_file_key_is_the_hex_of_the_name() {
        assert_eq!(name_of_file_key(file_key("é/lo go.png").as_bytes()).unwrap(), "é/lo go.png".as_bytes());
    }

    #[test]
    fn a_plain_config_has_dotted_keys_and_no_line_breaks_in_values() {
        let document = r#"{"wifi":{"ssid":"a\nb","keys":[1,true]},"x":null,"y":"c\rd"}"#;
        assert_eq!(plain_config(document), "wifi.keys.0=1\nwifi.keys.1=true\nwifi.ssid=a\\nb\nx=\ny=c\\rd\n");
    }
}
