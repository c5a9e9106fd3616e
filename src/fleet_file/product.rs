//! `[[product]]`: the product itself, its keys, and the order in which the rest of it is read.

use super::firmware::read_firmware;
use super::folder::Folder;
use super::found::Found;
use super::group::{GroupLines, read_group};
use super::problem::shown;
use super::table::{Placed, Section};
use crate::{ApiKey, KEY_BYTES_MAX, KeyHash, ProductFleetSpec, ProductSpec, VersionRules, VersionRulesSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

/// A product as it was read, all but its devices.
pub(super) struct ProductLines {
    pub(super) spec: ProductFleetSpec,
    /// Its path in the words of the specification.
    pub(super) place: String,
    pub(super) span: Range<usize>,
    pub(super) id_span: Range<usize>,
    pub(super) groups: Vec<GroupLines>,
    /// The file of its devices.
    pub(super) devices: Option<Placed<PathBuf>>,
    /// Whether its rules for serials and versions could be read: where not, what hangs on them is not looked at.
    pub(super) rules_are_known: bool,
}

pub(super) fn read_product(mut table: Section<'_>, folder: &mut Folder, found: &mut Found) -> ProductLines {
    let defaults = ProductSpec::default();
    table.require("id", "it is part of every rank, and never changes", found);
    let id = table.text("id", found).map(|text| text.value).unwrap_or_default();
    let before_rules = found.count();
    table.stands_for("serials", "serial_scheme", found);
    let serial_scheme = table.word("serials", found).unwrap_or_default();
    let placeholders = table.texts("placeholders", found).unwrap_or_default();
    let versions = table.table("versions", "a product's `versions`", found).map(|table| read_versions(table, found));
    let rules_are_known = found.count() == before_rules;
    let already_there = table.word("already_there", found).unwrap_or_default();
    let register_on_first_contact = table.flag("register_on_first_contact", found).unwrap_or_default();
    let new_devices_max = table.count("new_devices_max", found).unwrap_or(defaults.new_devices_max);
    let default_group = table.text("default_group", found).map_or(defaults.default_group, |text| text.value);
    let retry_spread_secs = table.count("retry_spread_secs", found).unwrap_or(defaults.retry_spread_secs);
    let poll_interval_secs = table.count("poll_interval_secs", found);
    let devices = table.text("devices", found).and_then(|name| {
        let path = folder.devices(&name, found)?;
        Some(Placed { value: path, span: name.span })
    });
    let keys = table.tables("key", "keys", "a key", found).unwrap_or_default();
    let keys = keys.into_iter().map(|key| read_key(key, found)).collect();
    let firmware = table.tables("firmware", "firmware", "a firmware", found).unwrap_or_default();
    let firmware = firmware.into_iter().map(|firmware| read_firmware(firmware, folder, found)).collect();
    let groups = table.tables("group", "groups", "a group", found).unwrap_or_default();
    let groups: Vec<GroupLines> = groups.into_iter().map(|group| read_group(group, folder, found)).collect();
    let (place, span, id_span) = (table.place.clone(), table.span.clone(), table.span_of("id"));
    note_lint_places(&id, &span, devices.as_ref(), &groups, found);
    table.finish(found);
    let product = ProductSpec {
        id,
        keys,
        serial_scheme,
        placeholders,
        versions: versions.unwrap_or_default(),
        already_there,
        register_on_first_contact,
        new_devices_max,
        default_group,
        retry_spread_secs,
        poll_interval_secs,
    };
    let spec = ProductFleetSpec { product, firmware, groups: Vec::new(), devices: Vec::new() };
    ProductLines { spec, place, span, id_span, groups, devices, rules_are_known }
}

fn read_versions(mut table: Section<'_>, found: &mut Found) -> VersionRulesSpec {
    let rules = VersionRulesSpec {
        scheme: table.word("scheme", found).unwrap_or_default(),
        prefixes: table.texts("prefixes", found).unwrap_or_default(),
        build_metadata: table.word("build_metadata", found).unwrap_or_default(),
        empty: table.word("empty", found).unwrap_or_default(),
        unreadable: table.word("unreadable", found).unwrap_or_default(),
    };
    table.finish(found);
    rules
}

/// The hash alone goes on from here. No message quotes a secret.
fn read_key(mut table: Section<'_>, found: &mut Found) -> ApiKey {
    let stated = table.secret_hex("key_blake3", found).map(KeyHash);
    let secret = table.text("key", found);
    let hashed = secret.and_then(|secret| match secret.value.as_bytes() {
        [] => {
            found.add(secret.span, "`key` is empty, and so no secret");
            None
        }
        bytes => {
            let hash = KeyHash::of(bytes);
            if hash.is_none() {
                found.add(secret.span, format!("`key` is longer than {KEY_BYTES_MAX} bytes"));
            }
            hash
        }
    });
    match (table.has("key_blake3"), table.has("key")) {
        (true, true) => {
            found.add(table.span_of("key"), "`key` and `key_blake3` exclude each other: leave out the secret");
        }
        (false, false) => {
            let message = "has no `key_blake3`: give the BLAKE3 of the secret in hex, or the secret itself as `key`";
            found.missing(&table.span, &[], message);
        }
        _ => {}
    }
    let key = ApiKey {
        // One that could not be read stands for a hash of its own: two of them are not the same key.
        hash: stated
            .or(hashed)
            .unwrap_or_else(|| KeyHash(crate::Hex(*blake3::hash(table.place.as_bytes()).as_bytes()))),
        revoked: table.flag("revoked", found).unwrap_or_default(),
        not_before: table.moment("not_before", found),
        not_after: table.moment("not_after", found),
    };
    table.finish(found);
    key
}

/// Where the lint's words for a place lead to.
fn note_lint_places(
    id: &str,
    span: &Range<usize>,
    devices: Option<&Placed<PathBuf>>,
    groups: &[GroupLines],
    found: &mut Found,
) {
    let product = format!("product `{id}`");
    found.lint_place(product.clone(), span.clone());
    if let Some(devices) = devices {
        found.lint_place(format!("{product}, device"), devices.span.clone());
    }
    for group in groups {
        let place = format!("{product}, group `{}`", group.spec.id);
        let rollout = group.spec.rollout.as_ref().map(|rollout| rollout.id.as_str()).unwrap_or_default();
        for (index, wave) in group.rollout.waves.iter().enumerate() {
            found.lint_place(format!("{place}, rollout `{rollout}`, wave {}", index + 1), wave.span.clone());
        }
        found.lint_place(place, group.span.clone());
    }
}

/// Names and keys that stand twice. The fleet's own checks see that only of parts that are right in themselves.
pub(super) fn note_twins(products: &[ProductLines], found: &mut Found) {
    let mut ids = BTreeSet::new();
    let mut owners: BTreeMap<KeyHash, &ProductLines> = BTreeMap::new();
    for lines in products {
        let id = &lines.spec.product.id;
        if !id.is_empty() && !ids.insert(id) {
            found.add(lines.id_span.clone(), format!("product `{}` stands twice", shown(id)));
            found.fault(&[format!("{}.id", lines.place)]);
        }
        let mut groups = BTreeSet::new();
        for (index, group) in lines.groups.iter().enumerate() {
            if !group.spec.id.is_empty() && !groups.insert(&group.spec.id) {
                found.add(group.id_span.clone(), format!("group `{}` stands twice", shown(&group.spec.id)));
                found.fault(&[format!("{}.groups[{index}]", lines.place)]);
            }
        }
        for (index, key) in lines.spec.product.keys.iter().enumerate() {
            let owner = *owners.entry(key.hash).or_insert(lines);
            if owner.place != lines.place {
                let place = format!("{}.keys[{index}]", lines.place);
                let owner = shown(&owner.spec.product.id);
                let message = format!("is a key of product `{owner}` too: a key proves one product");
                found.add(found.span_at(&place), message);
                found.fault(&[place]);
            }
        }
    }
}

/// L3: versions that are equal under the rules, each with its place. The catalogue's own check knows the versions and not where they stand.
pub(super) fn note_same_versions(lines: &ProductLines, rules: &VersionRules, found: &mut Found) {
    let mut read: Vec<_> = (lines.spec.firmware.iter().enumerate())
        .filter_map(|(index, firmware)| Some((rules.version(&firmware.version).ok()?, index)))
        .collect();
    read.sort_by(|(a, _), (b, _)| rules.search_order(a.reading(), b.reading()));
    for (at, (version, index)) in read.iter().enumerate() {
        let run = read.iter().skip(at + 1);
        let run = run.take_while(|(next, _)| rules.search_order(version.reading(), next.reading()).is_eq());
        let twin = run.into_iter().find(|(next, _)| rules.equal(version.reading(), next.reading()));
        if let Some((twin, twin_index)) = twin {
            let (first, second) = if index < twin_index { (version, twin) } else { (twin, version) };
            let span = found.span_at(&format!("{}.firmware[{}].version", lines.place, index.max(twin_index)));
            found.add(span, format!("firmware `{second}` is the same version as `{first}` before it"));
        }
    }
}
