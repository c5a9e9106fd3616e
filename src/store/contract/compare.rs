//! Whether what a store gave is what it was given, as far as a device or an operator can tell, and if not, where it differs.
//!
//! Both sides become plain JSON of their specifications, so that a difference has a place like `rollout.waves[0].opened.threshold`. What nobody can tell
//! apart is put into one order: keys, prefixes, placeholders, artifacts and their hardware. The order of resources is seen by devices, and counts.

use crate::fleet::{Device, Firmware, Group, Product};
use serde::Serialize;
use serde_json::Value;

/// A product: everything.
pub(super) fn product(product: &Product) -> Result<Value, String> {
    let mut spec = product.spec();
    spec.keys.sort_by_key(|key| key.hash);
    spec.placeholders.sort();
    spec.versions.prefixes.sort();
    plain(&spec)
}

/// A device: what look-ups give.
pub(super) fn device(device: &Device) -> Result<Value, String> {
    let mut spec = device.spec();
    (spec.version, spec.hardware, spec.earlier_groups) = (None, None, Vec::new());
    plain(&spec)
}

/// A group: its rollout only while that is under way, and the salt that is in force.
pub(super) fn group(group: &Group) -> Result<Value, String> {
    let mut spec = group.spec();
    spec.rollout = group.rollout().filter(|rollout| rollout.is_active()).map(|rollout| {
        let mut spec = rollout.spec();
        spec.salt = Some(rollout.salt().to_owned());
        spec
    });
    plain(&spec)
}

/// A firmware: everything.
pub(super) fn firmware(firmware: &Firmware) -> Result<Value, String> {
    let mut spec = firmware.spec();
    spec.artifacts.iter_mut().for_each(|artifact| artifact.hardware.sort());
    spec.artifacts.sort_by(|a, b| (&a.from, &a.hardware).cmp(&(&b.from, &b.hardware)));
    plain(&spec)
}

fn plain(spec: &impl Serialize) -> Result<Value, String> {
    serde_json::to_value(spec).map_err(|error| format!("it cannot be written as JSON: {error}"))
}

/// The first place at which `is` is not what it should be: `device `7` of `lamp`: pin is missing, should be "1.0"`.
pub(super) fn difference(what: &str, should: &Value, is: &Value) -> Option<String> {
    let (place, message) = differ("", should, is)?;
    let space = if place.is_empty() { "" } else { " " };
    Some(format!("{what}:{space}{place} {message}"))
}

fn differ(place: &str, should: &Value, is: &Value) -> Option<(String, String)> {
    match (should, is) {
        (Value::Object(should), Value::Object(is)) => {
            let names = should.keys().chain(is.keys().filter(|name| !should.contains_key(*name)));
            let dot = if place.is_empty() { "" } else { "." };
            names.into_iter().find_map(|name| differ_in(format!("{place}{dot}{name}"), should.get(name), is.get(name)))
        }
        (Value::Array(should), Value::Array(is)) => (0..should.len().max(is.len()))
            .find_map(|index| differ_in(format!("{place}[{index}]"), should.get(index), is.get(index))),
        _ if should == is => None,
        _ => Some((place.to_owned(), format!("is {}, should be {}", short(is), short(should)))),
    }
}

fn differ_in(place: String, should: Option<&Value>, is: Option<&Value>) -> Option<(String, String)> {
    match (should, is) {
        (Some(should), Some(is)) => differ(&place, should, is),
        (Some(should), None) => Some((place, format!("is missing, should be {}", short(should)))),
        (None, Some(is)) => Some((place, format!("is {}, should not be there", short(is)))),
        (None, None) => None,
    }
}

/// No longer than a line, and without anything that a terminal would obey.
fn short(value: &Value) -> String {
    const CHARS_MAX: usize = 160;
    let text = value.to_string();
    let mut short: String =
        text.chars().take(CHARS_MAX).flat_map(|char| char.escape_debug().collect::<Vec<_>>()).collect();
    // `escape_debug` escapes the quotes of the JSON as well, which would be hard to read.
    short = short.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(CHARS_MAX).is_some() { short + "..." } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_difference_names_its_place() {
        let (should, is) = (json!({"a": [{"b": 1}, 2], "c": "x"}), json!({"a": [{"b": 1}, 3], "c": "x"}));
        assert_eq!(difference("it", &should, &is).unwrap(), "it: a[1] is 3, should be 2");
        assert_eq!(
            difference("it", &should, &json!({"a": [{"b": 1}, 2]})).unwrap(),
            "it: c is missing, should be \"x\""
        );
        assert_eq!(difference("it", &json!({}), &json!({"d": [0]})).unwrap(), "it: d is [0], should not be there");
        assert_eq!(difference("it", &should, &should), None);
    }

    #[test]
    fn an_empty_list_is_not_nothing_and_numbers_keep_their_width() {
        assert!(difference("it", &json!({"a": []}), &json!({})).is_some());
        assert!(difference("it", &json!(u64::MAX), &json!(u64::MAX - 1)).is_some());
        assert!(difference("it", &json!(u64::MAX), &json!(-1)).is_some());
    }
}
