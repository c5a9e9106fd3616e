//! Digests: what is on record of a file, and what a device says of the one it holds.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;

/// The kinds of digest that devices in the field send (W6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DigestKind {
    /// 32 bytes; every artifact has one on record.
    Blake3,
    /// 32 bytes.
    Sha256,
    /// 16 bytes; what most ESP clients send and ask for.
    Md5,
}

impl DigestKind {
    /// The length of a digest of this kind, in bytes.
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::Blake3 | Self::Sha256 => 32,
            Self::Md5 => 16,
        }
    }

    /// As it is written in files and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3",
            Self::Sha256 => "sha256",
            Self::Md5 => "md5",
        }
    }
}

/// A digest of `N` bytes on record; hex in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> Hex<N> {
    /// Reads `2 * N` hex digits in either case.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != 2 * N {
            return None;
        }
        let mut bytes = [0; N];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Some(Self(bytes))
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Lower-case hex.
impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(text.as_bytes()).ok_or_else(|| {
            D::Error::custom(format_args!("expected {} hex digits, found `{}`", 2 * N, text.escape_debug()))
        })
    }
}

/// The digests on record of one file; which ones are known differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Digests {
    /// BLAKE3, 32 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Hex<32>>,
    /// SHA-256, 32 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Hex<32>>,
    /// MD5, 16 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub md5: Option<Hex<16>>,
}

impl Digests {
    /// The BLAKE3 of `bytes`, and no other.
    pub fn blake3_of(bytes: &[u8]) -> Self {
        Self { blake3: Some(Hex(*blake3::hash(bytes).as_bytes())), ..Self::default() }
    }

    /// Whether what a device sent is on record here: `None` where no digest of that kind is.
    pub fn agree_with(&self, sent: &SentDigest) -> Option<bool> {
        let SentDigest { kind, bytes } = sent;
        match kind {
            DigestKind::Blake3 => self.blake3.map(|Hex(own)| own == *bytes),
            DigestKind::Sha256 => self.sha256.map(|Hex(own)| own == *bytes),
            DigestKind::Md5 => self.md5.map(|Hex(own)| own == bytes[..16]),
        }
    }
}

/// A digest as a device sent it, decoded: the kind is named, never guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentDigest {
    kind: DigestKind,
    /// The first `kind.size_bytes()` count, the rest is zero.
    bytes: [u8; 32],
}

impl SentDigest {
    /// Decodes hex in either case. What is not hex or of the wrong length is not sent (W6): `None`.
    pub fn parse(kind: DigestKind, hex: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        match kind {
            DigestKind::Blake3 | DigestKind::Sha256 => bytes = Hex::<32>::parse(hex)?.0,
            DigestKind::Md5 => bytes[..16].copy_from_slice(&Hex::<16>::parse(hex)?.0),
        }
        Some(Self { kind, bytes })
    }

    /// The kind.
    pub const fn kind(&self) -> DigestKind {
        self.kind
    }
}

impl fmt::Display for SentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.kind.name())?;
        self.bytes[..self.kind.size_bytes()].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_hex_or_of_wrong_length_is_not_sent() {
        let md5 = b"D41D8CD98F00B204E9800998ECF8427E";
        let sent = SentDigest::parse(DigestKind::Md5, md5).unwrap();
        assert_eq!(sent.to_string(), "md5:d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(SentDigest::parse(DigestKind::Sha256, md5), None);
        assert_eq!(SentDigest::parse(DigestKind::Md5, &md5[1..]), None);
        assert_eq!(SentDigest::parse(DigestKind::Md5, b"D41D8CD98F00B204E9800998ECF8427G"), None);
    }

    #[test]
    fn a_record_answers_only_for_the_kinds_it_has() {
        let record = Digests { md5: Hex::parse(b"d41d8cd98f00b204e9800998ecf8427e"), ..Digests::blake3_of(b"") };
        let sent = |kind, hex: &[u8]| SentDigest::parse(kind, hex).unwrap();
        assert_eq!(record.agree_with(&sent(DigestKind::Md5, b"D41D8CD98F00B204E9800998ECF8427E")), Some(true));
        assert_eq!(record.agree_with(&sent(DigestKind::Md5, &[b'0'; 32])), Some(false));
        assert_eq!(record.agree_with(&sent(DigestKind::Blake3, &[b'0'; 64])), Some(false));
        assert_eq!(record.agree_with(&sent(DigestKind::Sha256, &[b'0'; 64])), None);
    }
}
