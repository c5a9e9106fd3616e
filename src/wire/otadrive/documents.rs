//! Config and resources as the protocol writes them.

use crate::fleet::Resource;

/// The key of a resource in the protocol: the hex of its name, since clients put it into a URL as it is.
fn file_key(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn name_of_file_key(key: &[u8]) -> Option<Vec<u8>> {
    let pairs = key.chunks(2).map(|pair| crate::Hex::<1>::parse(pair).map(|crate::Hex([byte])| byte));
    pairs.collect()
}

pub(super) fn plain_list(list: &[Resource]) -> String {
    let md5 = |resource: &Resource| resource.digests().md5.map(|md5| md5.to_string()).unwrap_or_default();
    list.iter()
        .map(|resource| format!("{}\n{}\n{}\n", resource.name(), file_key(resource.name()), md5(resource)))
        .collect()
}

pub(super) fn json_list(list: &[Resource]) -> String {
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
pub(super) fn plain_config(document: &str) -> String {
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
