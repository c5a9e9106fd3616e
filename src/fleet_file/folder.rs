//! The files beside the fleet file: firmware, resources and configs, each only from inside its folder.
//!
//! A path in the fleet file is relative and goes only downwards, so that a fleet file from elsewhere cannot have a host publish what lies around its
//! firmware. Symbolic links are followed: who can make one in the folder could have put the file there.

use super::digest::{Digested, digest_bytes, read_bytes};
use super::found::Found;
use super::problem::{FileProblems, Positions, shown, shown_path};
use super::table::Placed;
use crate::{CONFIG_BYTES_MAX, ConfigSpec, Digests};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// A file of the firmware folder that an artifact or a resource names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareFile {
    /// What artifacts and resources have as their locator: the path inside the firmware folder, joined by `/`.
    pub locator: String,
    /// Where it was read.
    pub path: PathBuf,
    /// Its size in bytes when it was read.
    pub size_bytes: u64,
    /// Its digests when it was read, all three.
    pub digests: Digests,
}

/// The folder of the fleet file, the firmware folder, and what was read from them.
pub(super) struct Folder {
    /// Where the fleet file is.
    pub(super) base: PathBuf,
    /// Where artifacts and resources are.
    pub(super) firmware: PathBuf,
    /// By locator.
    pub(super) files: BTreeMap<String, FirmwareFile>,
    /// What is wrong in config documents.
    pub(super) problems: FileProblems,
    digested: Digested,
}

impl Folder {
    pub(super) fn new(base: PathBuf, firmware: PathBuf) -> Self {
        Self {
            base,
            firmware,
            files: BTreeMap::new(),
            problems: FileProblems::default(),
            digested: Digested::default(),
        }
    }

    /// A file of the firmware folder, digested.
    pub(super) fn firmware_file(&mut self, name: &Placed<String>, found: &mut Found) -> Option<FirmwareFile> {
        let (locator, size_bytes, digests) = self.digested(name, found)?;
        let file = FirmwareFile { path: self.firmware.join(&locator), locator, size_bytes, digests };
        self.files.insert(file.locator.clone(), file.clone());
        Some(file)
    }

    /// Locator, size and digests of a file of the firmware folder, without noting that it is to be served.
    pub(super) fn digested(&mut self, name: &Placed<String>, found: &mut Found) -> Option<(String, u64, Digests)> {
        let locator = inside(name, found)?;
        let path = self.firmware.join(&locator);
        match self.digested.of(&path) {
            Ok((size_bytes, digests)) => Some((locator, size_bytes, digests)),
            Err(error) => {
                found.add(name.span.clone(), cannot_read(&path, &error));
                None
            }
        }
    }

    /// A config document beside the fleet file. What is wrong with its JSON has its place in it.
    pub(super) fn config(&mut self, name: &Placed<String>, found: &mut Found) -> Option<ConfigSpec> {
        let path = self.base.join(inside(name, found)?);
        let bytes = read_bytes(&path, CONFIG_BYTES_MAX as u64)
            .map_err(|error| found.add(name.span.clone(), cannot_read(&path, &error)))
            .ok()?;
        let document = match String::from_utf8(bytes) {
            Ok(document) => document,
            Err(error) => {
                let position = Positions::of(error.as_bytes()).at(error.utf8_error().valid_up_to());
                self.problems.add(&path, position, "this byte is no UTF-8, which a config document must be");
                return None;
            }
        };
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&document) {
            let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
            let message = error.to_string();
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
            let position = (number(error.line()), number(error.column()));
            self.problems.add(&path, position, format!("is no JSON, which a config document must be: {message}"));
            return None;
        }
        let digests = digest_bytes(document.as_bytes());
        Some(ConfigSpec { document, digests })
    }

    /// The path of the devices of a product, beside the fleet file.
    pub(super) fn devices(&self, name: &Placed<String>, found: &mut Found) -> Option<PathBuf> {
        Some(self.base.join(inside(name, found)?))
    }
}

pub(super) fn cannot_read(path: &Path, error: &impl std::fmt::Display) -> String {
    format!("cannot read `{}`: {error}", shown_path(path))
}

/// The path in one spelling, or the problem that it leaves its folder.
fn inside(name: &Placed<String>, found: &mut Found) -> Option<String> {
    let mut parts = Vec::new();
    for component in Path::new(&name.value).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                let text = shown(&name.value);
                found.add(
                    name.span.clone(),
                    format!("`{text}` leaves its folder: give a relative path without `..`, and put the file inside"),
                );
                return None;
            }
        }
    }
    if parts.is_empty() || name.value.contains('\0') {
        found.add(name.span.clone(), format!("`{}` names no file", shown(&name.value)));
        return None;
    }
    Some(parts.join("/"))
}
