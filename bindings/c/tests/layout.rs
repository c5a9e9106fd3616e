//! Structs are laid out in Rust, in C and in the golden table alike: `layout.h`, which names every field of the header.

#![cfg(target_pointer_width = "64")]

mod common;

use common::Way;
use otagate_c::*;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// By struct and field: where it stands, and how large it is. The struct itself stands under an empty field.
type Table = BTreeMap<(String, String), (usize, usize)>;

/// What `layout.h` says.
fn golden() -> Table {
    let text = std::fs::read_to_string(common::beside("layout.h")).unwrap();
    let (_, rows) = text.split_once("*/").unwrap();
    let mut table = Table::new();
    for line in rows.lines().filter(|line| !line.is_empty()) {
        let (kind, arguments) = line.strip_suffix(')').and_then(|line| line.split_once('(')).unwrap();
        let arguments: Vec<_> = arguments.split(", ").collect();
        let number = |at: usize| arguments[at].parse().unwrap();
        let (field, row) = match (kind, arguments.len()) {
            ("OTAGATE_LAYOUT_STRUCT", 2) => ("", (0, number(1))),
            ("OTAGATE_LAYOUT_FIELD", 4) => (arguments[1], (number(2), number(3))),
            _ => panic!("layout.h has a row that is none: {line}"),
        };
        let before = table.insert((arguments[0].to_owned(), field.to_owned()), row);
        assert!(before.is_none(), "layout.h has a row twice: {line}");
    }
    table
}

fn size_behind<T, F>(_: impl Fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// What Rust says of those structs and fields.
macro_rules! table {
    ($($type:ident { $($field:ident)* })*) => {{
        let mut table = Table::new();
        $(
            table.insert((stringify!($type).to_owned(), String::new()), (0, size_of::<$type>()));
            $(
                let size = size_behind(|whole: &$type| &whole.$field);
                let row = (std::mem::offset_of!($type, $field), size);
                table.insert((stringify!($type).to_owned(), stringify!($field).to_owned()), row);
            )*
        )*
        table
    }};
}

fn rust() -> Table {
    table! {
        otagate_text { data len }
        otagate_device { struct_size serial group version hardware pin cap entered_at_millis state reserved }
        otagate_census { struct_size eligible counted newcomers threshold has_threshold reserved }
        otagate_report { struct_size product group serial rollout rollout_started_at_millis attempt outcome }
        otagate_check_in { struct_size key serial version hardware digest_hex resource want digest_kind }
        otagate_decision { struct_size revision status reason retry_after_secs meant offer effect }
        otagate_who { struct_size product serial group state reserved }
        otagate_digests { kinds blake3 sha256 md5 reserved }
        otagate_offer {
            struct_size kind leased firmware from locator size_bytes document name rollout rollout_started_at_millis
            resources_len digests attempt reserved
        }
        otagate_resource { struct_size name locator size_bytes digests }
        otagate_effect { struct_size kind settled product serial rollout slots_max downloads_max }
        otagate_store_callbacks {
            struct_size user_data destroy open_view close_view product_of_key device group standing
            register_device
        }
        otagate_standing {
            struct_size claim_expires_at_millis download_expires_at_millis penalty_until_millis
            penalty_hop place attempts downloads_now slots_taken reserved
        }
    }
}

/// Structs and fields of the header, read from its text.
fn header() -> BTreeSet<(String, String)> {
    let text = std::fs::read_to_string(common::root().join("include/otagate.h")).unwrap();
    let mut found = BTreeSet::new();
    let text = without_comments(&text);
    for part in text.split("typedef struct ").skip(1) {
        // `NAME {`; without fields it is a handle, and nobody's concern here.
        let Some((name, body)) = part.split_once(" {\n").filter(|(name, _)| !name.contains(';')) else { continue };
        let (body, rest) = body.split_once("\n}").unwrap();
        assert_eq!(rest.split_once(';').unwrap().0.trim(), name, "the tag and the name of a struct");
        let name = name.to_owned();
        found.insert((name.clone(), String::new()));
        for declaration in body.split(';').map(str::trim).filter(|declaration| !declaration.is_empty()) {
            let field = match declaration.split_once("(*") {
                Some((_, callback)) => callback.split(')').next().unwrap(),
                None => declaration.split('[').next().unwrap().rsplit([' ', '*']).next().unwrap(),
            };
            assert!(field.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name}: {declaration}");
            found.insert((name.clone(), field.to_owned()));
        }
    }
    assert!(found.len() > 70, "{found:?}");
    found
}

/// The header without comments.
fn without_comments(text: &str) -> String {
    let mut code = String::new();
    for (index, part) in text.split("/*").enumerate() {
        code += if index == 0 { part } else { part.split_once("*/").unwrap().1 };
    }
    code
}

fn differences(a: &Table, b: &Table) -> Vec<String> {
    let names: BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let differs = names.into_iter().filter(|name| a.get(name) != b.get(name));
    differs.map(|name| format!("{}.{}: {:?} and {:?}", name.0, name.1, a.get(name), b.get(name))).collect()
}

#[test]
fn rust_lays_structs_out_as_the_table_says() {
    let differences = differences(&golden(), &rust());
    assert!(differences.is_empty(), "layout.h and Rust differ in (place, size):\n{}", differences.join("\n"));
}

#[test]
fn the_table_names_every_field_of_the_header_and_no_other() {
    let named: BTreeSet<_> = golden().into_keys().collect();
    let missing: Vec<_> = header().difference(&named).cloned().collect();
    let beyond: Vec<_> = named.difference(&header()).cloned().collect();
    assert!(missing.is_empty() && beyond.is_empty(), "layout.h does not name {missing:?}, and names {beyond:?}");
}

#[test]
fn c_lays_structs_out_as_the_table_says() {
    let into = common::scratch("layout");
    let program = common::build(&common::beside("layout.c"), &into, Way::Shared, &["-std=c11"]);
    common::run(&mut Command::new(program));
}

/// The fields of a struct stand one behind the other, from its first byte to its last: where padding is, a field could come in later that no `struct_size`
/// tells of, and bytes would cross that nobody wrote.
#[test]
fn no_struct_has_padding_anywhere() {
    let golden = golden();
    let mut seen = 0;
    for (name, (_, size)) in golden.iter().filter(|((_, field), _)| field.is_empty()) {
        let mut fields: Vec<_> =
            golden.iter().filter(|((of, field), _)| *of == name.0 && !field.is_empty()).map(|(_, row)| *row).collect();
        fields.sort_unstable();
        let end = fields.into_iter().fold(0, |end, (place, len)| {
            assert_eq!(end, place, "{}: a hole before the field there", name.0);
            end + len
        });
        assert_eq!(end, *size, "{}: padding behind its last field", name.0);
        seen += 1;
    }
    assert_eq!(seen, 13, "structs");
}

/// A table that agrees with everything would not be one.
#[test]
fn a_row_that_is_wrong_does_not_compile() {
    let into = common::scratch("layout-wrong");
    let table = std::fs::read_to_string(common::beside("layout.h")).unwrap();
    std::fs::copy(common::beside("layout.c"), into.join("layout.c")).unwrap();
    let wrongs = [
        ("(otagate_text, 16)", "(otagate_text, 24)", "the size of otagate_text"),
        ("(otagate_offer, leased, 12, 4)", "(otagate_offer, leased, 8, 4)", "the place of otagate_offer.leased"),
        ("(otagate_offer, leased, 12, 4)", "(otagate_offer, leased, 12, 8)", "the size of otagate_offer.leased"),
    ];
    for (right, wrong, message) in wrongs {
        assert!(table.contains(right), "{right}");
        std::fs::write(into.join("layout.h"), table.replace(right, wrong)).unwrap();
        let mut compiler = Command::new("gcc");
        compiler.args(["-std=c11", "-fsyntax-only", "-I"]).arg(common::root().join("include"));
        let output = compiler.arg(into.join("layout.c")).output().unwrap();
        let told = common::text(&output);
        assert!(!output.status.success() && told.contains(message), "{wrong}: {told}");
    }
}
