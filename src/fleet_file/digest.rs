//! The size and all three digests of a file, in one pass over it.
//!
//! A file that several artifacts name is read once. The three hashes run over the same buffer while it is in the cache; 512 MiB took 1.2 s, most of it
//! MD5 and SHA-256, which cannot be split among lanes.

use crate::{Digests, Hex};
use md5::Md5;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// What is read at a time: small enough for the cache of one core, large enough that calls to the system do not count.
const BUFFER_BYTES: usize = 128 * 1024;

/// The size of a file in bytes, and its BLAKE3, SHA-256 and MD5, in one pass.
///
/// # Errors
/// The file cannot be opened or read, or is no regular file (a pipe would be waited for, a device might never end).
pub fn digest_file(path: &Path) -> io::Result<(u64, Digests)> {
    require_regular(path)?;
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut hashes = Hashes::default();
    let mut size_bytes = 0;
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok((size_bytes, hashes.finish())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let part = buffer.get(..read).unwrap_or_default();
        hashes.update(part);
        size_bytes += part.len() as u64;
    }
}

/// The three digests of what is in memory already.
pub(super) fn digest_bytes(bytes: &[u8]) -> Digests {
    let mut hashes = Hashes::default();
    hashes.update(bytes);
    hashes.finish()
}

/// The contents of a regular file of at most `bytes_max` bytes.
pub(super) fn read_bytes(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    require_regular(path)?;
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("it is longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}

fn require_regular(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_file() { Ok(()) } else { Err(io::Error::other("it is no regular file")) }
}

#[derive(Default)]
struct Hashes {
    blake3: blake3::Hasher,
    sha256: Sha256,
    md5: Md5,
}

impl Hashes {
    fn update(&mut self, part: &[u8]) {
        self.blake3.update(part);
        self.sha256.update(part);
        self.md5.update(part);
    }

    fn finish(self) -> Digests {
        Digests {
            blake3: Some(Hex(*self.blake3.finalize().as_bytes())),
            sha256: Some(Hex(self.sha256.finalize().into())),
            md5: Some(Hex(self.md5.finalize().into())),
        }
    }
}

/// Files that were digested in this load, each once.
#[derive(Default)]
pub(super) struct Digested(BTreeMap<PathBuf, Result<(u64, Digests), String>>);

impl Digested {
    /// Size and digests of the file, or what the system said when it was read first.
    pub(super) fn of(&mut self, path: &Path) -> Result<(u64, Digests), String> {
        if let Some(known) = self.0.get(path) {
            return known.clone();
        }
        let known = digest_file(path).map_err(|error| error.to_string());
        self.0.insert(path.to_owned(), known.clone());
        known
    }
}
