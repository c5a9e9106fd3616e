//! `[[product.firmware]]` and `[[product.firmware.artifact]]`.

use super::folder::Folder;
use super::found::Found;
use super::table::Section;
use crate::{ArtifactSpec, Digests, FirmwareSpec};

pub(super) fn read_firmware(mut table: Section<'_>, folder: &mut Folder, found: &mut Found) -> FirmwareSpec {
    table.require("version", "it is how groups and devices name this firmware", found);
    let version = table.text("version", found).map(|text| text.value).unwrap_or_default();
    let from = table.text("from", found).map(|text| text.value);
    let stone = table.flag("stone", found).unwrap_or_default();
    let denied = table.flag("denied", found).unwrap_or_default();
    if !table.has("artifact") {
        let message = "has no `[[product.firmware.artifact]]`: a firmware has at least one file";
        found.missing(&table.span, &[table.place_of("artifacts")], message);
    }
    let artifacts = table.tables("artifact", "artifacts", "an artifact", found).unwrap_or_default();
    let artifacts = artifacts.into_iter().map(|artifact| read_artifact(artifact, folder, found)).collect();
    table.finish(found);
    FirmwareSpec { version, from, stone, denied, artifacts }
}

fn read_artifact(mut table: Section<'_>, folder: &mut Folder, found: &mut Found) -> ArtifactSpec {
    let hardware = table.texts("hardware", found).unwrap_or_default();
    table.stands_for("delta_from", "from", found);
    let from = table.text("delta_from", found).map(|text| text.value);
    let (size_bytes, digests, locator) = read_content(&mut table, folder, found);
    let base = read_base(&mut table, folder, found);
    table.finish(found);
    ArtifactSpec { hardware, from, base, size_bytes, digests, locator }
}

/// What artifacts and resources share: a `file` of the firmware folder, or all that would be read from one.
pub(super) fn read_content(table: &mut Section<'_>, folder: &mut Folder, found: &mut Found) -> (u64, Digests, String) {
    const STATED: [&str; 5] = ["locator", "size_bytes", "blake3", "sha256", "md5"];
    let parts = ["size_bytes", "digests.blake3", "locator"].map(|part| table.place_of(part));
    let stated = STATED.into_iter().find(|key| table.has(key));
    let file = table.text("file", found);
    if table.has("file") {
        parts.iter().for_each(|part| found.place(part.clone(), table.span_of("file"), "`file`"));
    } else if stated.is_none() {
        found.missing(
            &table.span,
            &parts,
            "has no `file`: name one in the firmware folder, or give `locator`, `size_bytes` and `blake3`",
        );
    } else {
        for (key, why) in [
            ("locator", "without `file`, it says where the host finds the file"),
            ("size_bytes", "without `file`, the size must be given"),
        ] {
            table.require(key, why, found);
        }
        if !table.has("blake3") {
            let message = "`blake3` is missing: without `file`, every artifact and resource has at least this digest";
            found.missing(&table.span, &parts[1..2], message);
        }
    }
    let locator = table.text("locator", found).map(|text| text.value).unwrap_or_default();
    let size_bytes = table.number("size_bytes", "of bytes", found).map(|size| size.value).unwrap_or_default();
    let digests = read_digests(table, found);
    match (file, stated) {
        (Some(_), Some(key)) => {
            let message = format!("`{key}` and `file` exclude each other: what a file has is read from it");
            found.add(table.span_of(key), message);
            found.fault(&parts);
            (0, Digests::default(), String::new())
        }
        (Some(file), None) => match folder.firmware_file(&file, found) {
            Some(file) => {
                if file.size_bytes == 0 {
                    found.add(table.span_of("file"), format!("`{}` is empty", super::problem::shown(&file.locator)));
                }
                (file.size_bytes, file.digests, file.locator)
            }
            None => (0, Digests::default(), String::new()),
        },
        (None, _) => {
            table.stands_for("blake3", "digests.blake3", found);
            (size_bytes, digests, locator)
        }
    }
}

/// The digests of the image that a delta applies to, from the image or as stated.
fn read_base(table: &mut Section<'_>, folder: &mut Folder, found: &mut Found) -> Digests {
    let file = table.text("base_file", found);
    let span = table.span_of("base");
    let stated = table.table("base", "a base", found).map(|mut base| {
        let digests = read_digests(&mut base, found);
        base.finish(found);
        digests
    });
    match (file, stated) {
        (Some(_), Some(_)) => {
            found.add(span, "`base` and `base_file` exclude each other: give one of them");
            Digests::default()
        }
        (Some(file), None) => {
            found.place(table.place_of("base"), file.span.clone(), "`base_file`");
            folder.digested(&file, found).map(|(_, _, digests)| digests).unwrap_or_default()
        }
        (None, stated) => stated.unwrap_or_default(),
    }
}

fn read_digests(table: &mut Section<'_>, found: &mut Found) -> Digests {
    Digests { blake3: table.hex("blake3", found), sha256: table.hex("sha256", found), md5: table.hex("md5", found) }
}
