//! A fleet and a question in plain words: what the reference reads, and what the generators draw.
//!
//! Nothing here comes from the crate. Texts are what an operator or a device would write; ids are unique inside their list.
//! The translation into the crate's own types stands in `translate.rs`, so that the reference (`reference.rs`) shares
//! no helper with the code that it judges. Times are milliseconds since 1970-01-01T00:00:00Z.

#[derive(Clone, Debug, Default)]
pub struct World {
    pub products: Vec<Product>,
}

#[derive(Clone, Debug)]
pub struct Product {
    pub id: String,
    pub keys: Vec<Key>,
    /// "opaque", "opaque-nocase", "mac", "hex" or "decimal".
    pub serial_scheme: &'static str,
    /// In canonical form.
    pub placeholders: Vec<String>,
    /// "exact", "semver" or "dotted".
    pub version_scheme: &'static str,
    pub prefixes: Vec<String>,
    /// Semver build metadata counts for equality (W2).
    pub build_counts: bool,
    /// W4: `true` is `hold`.
    pub hold_empty: bool,
    /// W5: `true` is held, `false` is lowest.
    pub hold_unreadable: bool,
    /// W6: "either", "version" or "digest".
    pub already_there: &'static str,
    pub registers: bool,
    pub spread_secs: u64,
    pub poll_secs: Option<u64>,
    pub groups: Vec<Group>,
    pub firmware: Vec<Firmware>,
    pub devices: Vec<Device>,
}

#[derive(Clone, Debug)]
pub struct Key {
    pub secret: Vec<u8>,
    pub revoked: bool,
    pub not_before: Option<i64>,
    pub not_after: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct Device {
    /// Canonical.
    pub serial: String,
    /// "new", "verified", "blocked", "disabled" or "quota".
    pub state: &'static str,
    /// May name a group that does not exist (question 5).
    pub group: String,
    pub pin: Option<String>,
    pub cap: Option<String>,
    /// When it entered its group for the first time (R4).
    pub entered_at: i64,
    /// The ledger's claim of this device in its group's rollout: when it expires.
    pub claim_expires_at: Option<i64>,
    /// The ledger's place of this device among its group's downloads: when it expires.
    pub download_expires_at: Option<i64>,
    /// Penalty: the hop's version as the firmware names it, and when it ends.
    pub penalty: Option<(String, i64)>,
}

#[derive(Clone, Debug, Default)]
pub struct Group {
    pub id: String,
    pub baseline: Option<String>,
    pub forward_only: bool,
    pub cap: Option<String>,
    /// None: no window is set, always open. Weekly spans.
    pub window: Option<Vec<Span>>,
    /// The cap on concurrent downloads, and how many run now.
    pub downloads: Option<(u32, u32)>,
    pub rollout: Option<Rollout>,
    /// The last abort: its target, and whether the fate is `downgrade` (else `leave`).
    pub aborted: Option<(String, bool)>,
    pub config: Option<Document>,
    /// None: no resources are assigned.
    pub resources: Option<Vec<Document>>,
}

/// Opens on `weekday` (0 is Monday) at `from` minutes after midnight UTC, shuts at `to` (1..=1440) minutes after midnight:
/// of the same day where `from < to`, else of the next day. `from` and `to` are never equal.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub weekday: u8,
    pub from: u32,
    pub to: u32,
}

#[derive(Clone, Debug)]
pub struct Rollout {
    pub id: String,
    pub salt: Option<String>,
    pub target: Target,
    /// "draft", "running", "paused", "cut" (paused, and the operator cuts), "completed" or "aborted".
    pub state: &'static str,
    /// Waves open from the first one on without gaps; the last one is the last.
    pub waves: Vec<Wave>,
    /// R4: `true` is `tail`.
    pub tail: bool,
    pub started_at: i64,
    /// Canonical serials (R6).
    pub first: Vec<String>,
    pub excluded: Vec<String>,
    /// R5, first come: how many slots the ledger has recorded. None: admission is by rank.
    pub first_come_taken: Option<u32>,
}

#[derive(Clone, Debug)]
pub enum Target {
    Firmware(String),
    Config(Document),
    Resources(Vec<Document>),
}

#[derive(Clone, Copy, Debug)]
pub struct Wave {
    /// The cumulative size, used by first-come rollouts only; None is `all`.
    pub count: Option<u32>,
    pub open: bool,
    /// Frozen when it opened; None: nobody was counted. Means nothing for `all`, which admits everybody.
    pub threshold: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Firmware {
    pub version: String,
    pub from: Option<String>,
    pub stone: bool,
    pub denied: bool,
    pub artifacts: Vec<Artifact>,
}

#[derive(Clone, Debug)]
pub struct Artifact {
    pub hardware: Vec<String>,
    /// A delta's `from`.
    pub from: Option<String>,
    /// A delta's base image digests.
    pub base: Digests,
    pub digests: Digests,
    pub locator: String,
}

/// Lower-case hex; "" where not on record.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    pub blake3: String,
    pub sha256: String,
    pub md5: String,
}

/// A configuration (its name is empty) or a resource.
#[derive(Clone, Debug)]
pub struct Document {
    pub name: String,
    pub digests: Digests,
}

#[derive(Clone, Debug)]
pub struct Ask {
    pub key: Vec<u8>,
    pub serial: Vec<u8>,
    pub version: Vec<u8>,
    pub hardware: Vec<u8>,
    /// The kind ("blake3", "sha256" or "md5") and the hex that the device sent, whatever it is: of the running image, or of
    /// the config or resource that it holds.
    pub digest: Option<(&'static str, Vec<u8>)>,
    pub want: Want,
    pub now: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Want {
    Firmware,
    Config,
    /// The list of resources: served whenever resources are assigned, unless held back.
    ResourceList,
    /// By name.
    Resource(Vec<u8>),
}

/// What both sides must agree on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The kebab-case name of V2.
    pub reason: &'static str,
    pub retry_after_secs: Option<u64>,
    /// On `serve` of firmware the hop's version, as the firmware names it.
    pub serves: Option<String>,
    /// On `serve` of firmware the artifact's locator; of config or a resource its BLAKE3; of the list "".
    pub artifact: Option<String>,
    /// "register", "claim" or "seen".
    pub effect: Option<&'static str>,
}
