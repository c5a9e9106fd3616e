//! Versions: when two are equal, and which is higher (W1, W2).
//!
//! ```text
//!   bytes ── trim, fold, strip prefix, trim ──▶ Reading ── one grammar per scheme ──▶ equal, order
//!            (W1; borrowed, no allocation)      Empty, Readable or Unreadable
//! ```
//!
//! The grammars are our own: numbers have any length, as semver.org's own list of valid versions wants, case is folded, and
//! nothing is allocated on the way to a 304. The `semver` crate is the yardstick in `tests/real_versions.rs`.

use super::name::{TextFault, check_text};
use super::problem::Problems;
use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, fmt};

mod grammar;

/// The longest version of a firmware, in bytes. What a device reports has no limit here: reading it is linear.
pub const VERSION_BYTES_MAX: usize = 256;
/// The most prefixes that a product may declare.
pub const VERSION_PREFIXES_MAX: usize = 16;

/// How the versions of a product are compared (W1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VersionScheme {
    /// Equal texts are equal; there is no order.
    #[default]
    Exact,
    /// semver.org 2.0.0, numbers of any length.
    Semver,
    /// Numeric parts joined by dots; missing parts are 0, leading zeros do not count.
    Dotted,
}

impl VersionScheme {
    /// Whether one version can be higher than another.
    pub const fn has_order(self) -> bool {
        !matches!(self, Self::Exact)
    }
}

/// Whether semver build metadata (`+...`) makes two versions differ (W2). It never counts for order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuildMetadata {
    /// `1.0.0+a` equals `1.0.0+b`.
    #[default]
    Ignored,
    /// They are two versions of the same rank.
    CountsForEquality,
}

/// What an empty or missing version is (W4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmptyVersion {
    /// A factory device: below every version, reaching no minimum.
    #[default]
    Lowest,
    /// Held: 304 `version-unreadable`, right after question 8.
    Hold,
}

/// What a version that does not parse is, where an order is needed (W5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnreadableVersion {
    /// Held: 304 `version-unreadable`.
    #[default]
    Held,
    /// Below every version, reaching no minimum, never `ahead`.
    Lowest,
}

/// The rules by which a product's versions are read and compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VersionRulesSpec {
    /// The scheme.
    pub scheme: VersionScheme,
    /// Prefixes that are no part of the version, such as `v` and `fw-`; the longest that matches is stripped once (W1).
    pub prefixes: Vec<String>,
    /// Whether build metadata counts for equality.
    pub build_metadata: BuildMetadata,
    /// What an empty version is.
    pub empty: EmptyVersion,
    /// What an unreadable version is.
    pub unreadable: UnreadableVersion,
}

/// Checked [`VersionRulesSpec`]: what [`read`](VersionRules::read)s and compares versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionRules {
    spec: VersionRulesSpec,
    /// Folded, the longest first.
    prefixes: Vec<Box<[u8]>>,
}

/// What a version says under its product's rules: canonical but for case, which every comparison folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading<'a> {
    /// Nothing is left in canonical form.
    Empty,
    /// It parses; the bytes are valid UTF-8.
    Readable(&'a [u8]),
    /// It does not parse.
    Unreadable(&'a [u8]),
}

impl<'a> Reading<'a> {
    /// The canonical bytes, case not yet folded.
    pub const fn bytes(self) -> &'a [u8] {
        match self {
            Self::Empty => b"",
            Self::Readable(bytes) | Self::Unreadable(bytes) => bytes,
        }
    }
}

/// A version that its product's rules can read: of a firmware, a requirement, a cap.
///
/// Equality and order are not properties of the text but of the rules: see [`VersionRules::equal`] and [`VersionRules::order`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Version {
    /// As the operator wrote it, blanks trimmed.
    text: Box<str>,
    /// Where in `text` the canonical form starts: past the prefix. It ends where `text` ends.
    canonical_from: u16,
}

impl Version {
    /// As the operator wrote it, blanks around it trimmed: what a header carries.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The canonical form as a reading.
    pub fn reading(&self) -> Reading<'_> {
        Reading::Readable(self.text.as_bytes().get(usize::from(self.canonical_from)..).unwrap_or_default())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Why a text is no version of its product.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VersionFault {
    /// It cannot be any product's version.
    #[error("version `{}` {fault}", .text.escape_debug())]
    Text {
        /// What was given.
        text: String,
        /// What is wrong with it.
        fault: TextFault,
    },
    /// Nothing is left in canonical form, or it does not parse under the scheme.
    #[error("version `{}` does not parse as {}", .text.escape_debug(), scheme_sentence(*.scheme))]
    Unreadable {
        /// What was given.
        text: String,
        /// The product's scheme.
        scheme: VersionScheme,
    },
    /// An order is asked for where there is none (L3).
    #[error("version `{}` is a limit, and `exact` versions have no order: declare `semver` or `dotted`", .text.escape_debug())]
    NoOrder {
        /// What was given.
        text: String,
    },
}

fn scheme_sentence(scheme: VersionScheme) -> &'static str {
    match scheme {
        VersionScheme::Exact => "`exact`: it is empty once blanks and prefixes are gone",
        VersionScheme::Semver => "`semver`: write it like 1.2.3, 1.2.3-rc.1 or 1.2.3+5, or declare its prefix",
        VersionScheme::Dotted => "`dotted`: write numbers joined by dots, like 1.2.3.4, or declare its prefix",
    }
}

impl VersionRulesSpec {
    /// Checks the rules.
    ///
    /// # Errors
    /// More than [`VERSION_PREFIXES_MAX`] prefixes; one that is blank or has a control character.
    pub fn build(self) -> Result<VersionRules, Problems> {
        let mut problems = Problems::default();
        if self.prefixes.len() > VERSION_PREFIXES_MAX {
            problems.add("prefixes", format!("are more than {VERSION_PREFIXES_MAX}"));
        }
        // Blanks around a prefix say nothing: the version is trimmed before and after it is stripped.
        let trimmed = |prefix: &'_ String| prefix.trim_matches([' ', '\t']).to_ascii_lowercase();
        for (index, prefix) in self.prefixes.iter().enumerate() {
            problems.check_one(&format!("prefixes[{index}]"), check_text(&trimmed(prefix), VERSION_BYTES_MAX));
        }
        let mut prefixes: Vec<Box<[u8]>> =
            self.prefixes.iter().map(|prefix| trimmed(prefix).into_bytes().into()).collect();
        prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
        problems.finish(Some(VersionRules { spec: self, prefixes }))
    }
}

impl VersionRules {
    /// The rules as they were given.
    pub fn spec(&self) -> &VersionRulesSpec {
        &self.spec
    }

    /// The scheme.
    pub fn scheme(&self) -> VersionScheme {
        self.spec.scheme
    }

    /// Reads what a device reports (W1). `O(length)`, allocates nothing, takes any bytes.
    ///
    /// ```
    /// use otagate::{Reading, VersionRulesSpec, VersionScheme};
    /// let rules = VersionRulesSpec { scheme: VersionScheme::Dotted, prefixes: vec!["v".into()], ..Default::default() };
    /// let rules = rules.build().unwrap();
    /// assert_eq!(rules.read(b" V1.2 "), Reading::Readable(b"1.2"));
    /// assert_eq!(rules.read(b"v"), Reading::Empty);
    /// assert_eq!(rules.read(b"latest"), Reading::Unreadable(b"latest"));
    /// assert!(rules.equal(rules.read(b"1.02"), rules.read(b"v1.2.0")));
    /// ```
    pub fn read<'a>(&self, bytes: &'a [u8]) -> Reading<'a> {
        let bytes = self.canonical(bytes);
        if bytes.is_empty() {
            Reading::Empty
        } else if self.parses(bytes) {
            Reading::Readable(bytes)
        } else {
            Reading::Unreadable(bytes)
        }
    }

    /// The same as [`read`](Self::read), sooner where the device reports, to the byte, a version that was read before.
    #[inline]
    pub(crate) fn read_likely<'r, 'a>(
        &self,
        bytes: &'r [u8],
        mut likely: impl Iterator<Item = &'a Version>,
    ) -> Reading<'r> {
        match likely.find(|version| version.text.as_bytes() == bytes) {
            Some(version) => Reading::Readable(bytes.get(usize::from(version.canonical_from)..).unwrap_or_default()),
            None => self.read(bytes),
        }
    }

    /// Takes a version that an operator wrote.
    ///
    /// # Errors
    /// It is empty, longer than [`VERSION_BYTES_MAX`], has control characters, or does not parse under the scheme (L3).
    pub fn version(&self, text: &str) -> Result<Version, VersionFault> {
        let trimmed = text.trim_matches([' ', '\t']);
        check_text(trimmed, VERSION_BYTES_MAX).map_err(|fault| VersionFault::Text { text: text.to_owned(), fault })?;
        match self.read(trimmed.as_bytes()) {
            // The canonical form is a tail of the trimmed text, at most 256 bytes in.
            Reading::Readable(bytes) => Ok(Version {
                text: trimmed.into(),
                canonical_from: (trimmed.len() - bytes.len()).try_into().unwrap_or_default(),
            }),
            _ => Err(VersionFault::Unreadable { text: text.to_owned(), scheme: self.spec.scheme }),
        }
    }

    /// Takes a version that is a limit: a minimum `from`, a cap.
    ///
    /// # Errors
    /// As [`version`](Self::version), and under `exact`, which has no order (L3).
    pub fn limit(&self, text: &str) -> Result<Version, VersionFault> {
        let version = self.version(text)?;
        if self.spec.scheme.has_order() { Ok(version) } else { Err(VersionFault::NoOrder { text: text.to_owned() }) }
    }

    /// Whether two readings are the same version (W2). What does not parse equals nothing but the same bytes, case folded; the
    /// empty version equals itself.
    pub fn equal(&self, a: Reading<'_>, b: Reading<'_>) -> bool {
        match (a, b) {
            (Reading::Empty, Reading::Empty) => true,
            (Reading::Unreadable(a), Reading::Unreadable(b)) => a.eq_ignore_ascii_case(b),
            // The same text is the same version in every scheme: the common case, and it costs no parsing.
            (Reading::Readable(a), Reading::Readable(b)) => {
                a == b
                    || a.eq_ignore_ascii_case(b)
                    || match self.spec.scheme {
                        VersionScheme::Exact => false,
                        VersionScheme::Dotted => grammar::dotted_order(a, b).is_eq(),
                        VersionScheme::Semver => {
                            grammar::semver_order(a, b).is_eq()
                                && (self.spec.build_metadata == BuildMetadata::Ignored
                                    || grammar::build_metadata(a).eq_ignore_ascii_case(grammar::build_metadata(b)))
                        }
                    }
            }
            _ => false,
        }
    }

    /// Which of two readings is higher: `None` under `exact` and where either does not parse. The empty version is the
    /// lowest (W4).
    pub fn order(&self, a: Reading<'_>, b: Reading<'_>) -> Option<Ordering> {
        let order = match self.spec.scheme {
            VersionScheme::Exact => return None,
            VersionScheme::Semver => grammar::semver_order,
            VersionScheme::Dotted => grammar::dotted_order,
        };
        match (a, b) {
            (Reading::Unreadable(_), _) | (_, Reading::Unreadable(_)) => None,
            (Reading::Empty, Reading::Empty) => Some(Ordering::Equal),
            (Reading::Empty, Reading::Readable(_)) => Some(Ordering::Less),
            (Reading::Readable(_), Reading::Empty) => Some(Ordering::Greater),
            (Reading::Readable(a), Reading::Readable(b)) if a.eq_ignore_ascii_case(b) => Some(Ordering::Equal),
            (Reading::Readable(a), Reading::Readable(b)) => Some(order(a, b)),
        }
    }

    /// Whether `a` is a higher version than `b`: never, where there is no order.
    pub fn above(&self, a: Reading<'_>, b: &Version) -> bool {
        self.order(a, b.reading()) == Some(Ordering::Greater)
    }

    /// A total order of firmware versions for searching: by rank, then by build metadata where that counts; under `exact` by folded text. Versions are
    /// equal here exactly when they are [`equal`](Self::equal).
    pub(crate) fn search_order<'a>(&self, a: Reading<'a>, b: Reading<'a>) -> Ordering {
        let folded = |bytes: &'a [u8]| bytes.iter().map(u8::to_ascii_lowercase);
        let counted = |reading: Reading<'a>| match self.spec.build_metadata {
            BuildMetadata::CountsForEquality if self.spec.scheme == VersionScheme::Semver => {
                folded(grammar::build_metadata(reading.bytes()))
            }
            _ => folded(b""),
        };
        match self.order(a, b) {
            Some(order) => order.then_with(|| counted(a).cmp(counted(b))),
            None => folded(a.bytes()).cmp(folded(b.bytes())),
        }
    }

    fn canonical<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let bytes = trim(bytes);
        let starts_with =
            |prefix: &[u8]| bytes.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        match self.prefixes.iter().find(|prefix| starts_with(prefix)) {
            Some(prefix) => trim(&bytes[prefix.len()..]),
            None => bytes,
        }
    }

    fn parses(&self, bytes: &[u8]) -> bool {
        match self.spec.scheme {
            VersionScheme::Exact => std::str::from_utf8(bytes).is_ok(),
            // What these accept is ASCII.
            VersionScheme::Semver => grammar::is_semver(bytes),
            VersionScheme::Dotted => grammar::is_dotted(bytes),
        }
    }
}

/// Strips blanks and tabs, and nothing else that Unicode or ASCII calls white.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}
