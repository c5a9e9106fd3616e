//! Typed reading of one TOML table, with the place of everything in it.
//!
//! Asking a table for a key is what makes that key known: [`Section::finish`] refuses every other and names those that were asked for, so
//! that the list cannot differ from what is read.

use super::found::Found;
use super::problem::shown;
use crate::{Hex, Timestamp};
use serde::de::{DeserializeOwned, IntoDeserializer, value::Error as WordError};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it stands.
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// One table being read.
pub(super) struct Section<'t> {
    /// For messages, such as `a product`.
    what: &'static str,
    /// Its path in the words of the specification.
    pub(super) place: String,
    /// Its header, or all of it where it is written inline.
    pub(super) span: Range<usize>,
    table: &'t DeTable<'t>,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    pub(super) fn new(what: &'static str, place: String, span: Range<usize>, table: &'t DeTable<'t>) -> Self {
        Self { what, place, span, table, known: Vec::new() }
    }

    /// The path of a part of it.
    pub(super) fn place_of(&self, part: &str) -> String {
        if self.place.is_empty() { part.to_owned() } else { format!("{}.{part}", self.place) }
    }

    /// Says that `key` is called `part` in the specification, if it is there.
    pub(super) fn stands_for(&self, key: &str, part: &str, found: &mut Found) {
        if let Some(value) = self.table.get(key) {
            found.place(self.place_of(part), value.span(), format!("`{key}`"));
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where the value of `key` stands; the table, where it has none.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or(self.span.clone(), Spanned::span)
    }

    fn value(&mut self, key: &'static str, found: &mut Found) -> Option<&'t Spanned<DeValue<'t>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let value = self.table.get(key)?;
        found.place(self.place_of(key), value.span(), format!("`{key}`"));
        Some(value)
    }

    /// Notes that a key is missing which there must be.
    pub(super) fn require(&mut self, key: &'static str, why: &str, found: &mut Found) {
        if !self.has(key) {
            let message = format!("`{key}` is missing: {why}");
            found.missing(&self.span, &[self.place_of(key)], message);
        }
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str, found: &mut Found) -> Option<Placed<String>> {
        let value = self.value(key, found)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Placed { value: text.to_string(), span: value.span() }),
            other => {
                found.add(value.span(), format!("`{key}` must be a text in quotes, and is {}", a(other)));
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, found: &mut Found) -> Option<bool> {
        let value = self.value(key, found)?;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            other => {
                found.add(value.span(), format!("`{key}` must be `true` or `false`, and is {}", a(other)));
                None
            }
        }
    }

    /// A whole number that fits `T`; `range` says which do.
    pub(super) fn number<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: &str,
        found: &mut Found,
    ) -> Option<Placed<T>> {
        let value = self.value(key, found)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str().trim_start_matches('+'), number.radix())
                .ok()
                .and_then(|number| T::try_from(number).ok())
                .ok_or_else(|| format!("`{}`", shown(&number.to_string()))),
            other => Err(a(other).to_owned()),
        };
        number
            .map(|number| Placed { value: number, span: value.span() })
            .map_err(|found_instead| {
                found.add(value.span(), format!("`{key}` must be a whole number {range}, and is {found_instead}"));
            })
            .ok()
    }

    /// A number of 32 bits.
    pub(super) fn count(&mut self, key: &'static str, found: &mut Found) -> Option<u32> {
        self.number(key, "from 0 to 4294967295", found).map(|number| number.value)
    }

    /// A moment, always with its offset.
    pub(super) fn moment(&mut self, key: &'static str, found: &mut Found) -> Option<Timestamp> {
        let value = self.value(key, found)?;
        let moment = match value.get_ref() {
            DeValue::Datetime(moment) if moment.offset.is_none() => Err(format!(
                "`{key}` has no offset, so what it means would depend on who reads it: add `Z` for UTC, or one such as `+01:00`"
            )),
            DeValue::Datetime(moment) => (|| {
                let (date, time, offset) = (moment.date?, moment.time?, moment.offset?);
                // Written again, since TOML 1.1 lets seconds be left out, which RFC 3339 does not.
                let (hour, minute, second) = (time.hour, time.minute, time.second.unwrap_or(0));
                let nanosecond = time.nanosecond.unwrap_or(0);
                Timestamp::parse(&format!("{date}T{hour:02}:{minute:02}:{second:02}.{nanosecond:09}{offset}"))
            })()
            .ok_or_else(|| {
                format!("`{key}` is no moment: write a day that the calendar has, and seconds from 0 to 59")
            }),
            DeValue::String(text) if Timestamp::parse(text).is_some() => {
                Err(format!("`{key}` must be a date and time, and is a text: leave out the quotes"))
            }
            other => Err(format!("`{key}` must be a date and time such as 2026-11-01T08:00:00Z, and is {}", a(other))),
        };
        moment.map_err(|message| found.add(value.span(), message)).ok()
    }

    /// One of the words that the fleet's own type knows.
    pub(super) fn word<T: DeserializeOwned>(&mut self, key: &'static str, found: &mut Found) -> Option<T> {
        let text = self.text(key, found)?;
        match read_word(&text.value) {
            Ok(word) => Some(word),
            Err(message) => {
                found.add(text.span, format!("`{key}`: {message}"));
                None
            }
        }
    }

    /// A digest in hex.
    pub(super) fn hex<const N: usize>(&mut self, key: &'static str, found: &mut Found) -> Option<Hex<N>> {
        let text = self.text(key, found)?;
        let hex = Hex::parse(text.value.as_bytes());
        if hex.is_none() {
            found.add(text.span, format!("`{key}` must be {} hex digits, and is `{}`", 2 * N, shown(&text.value)));
        }
        hex
    }

    /// The hash of a secret, in hex. What is written instead may be the secret, and is never quoted.
    pub(super) fn secret_hex<const N: usize>(&mut self, key: &'static str, found: &mut Found) -> Option<Hex<N>> {
        let text = self.text(key, found)?;
        let hex = Hex::parse(text.value.as_bytes());
        if hex.is_none() {
            found.add(text.span, format!("`{key}` must be {} hex digits: a secret itself goes into `key`", 2 * N));
        }
        hex
    }

    /// A list of texts. One that is none leaves an empty text in its place, so that the others keep their numbers.
    pub(super) fn texts(&mut self, key: &'static str, found: &mut Found) -> Option<Vec<String>> {
        let value = self.value(key, found)?;
        let DeValue::Array(items) = value.get_ref() else {
            found.add(value.span(), format!("`{key}` must be a list of texts, and is {}", a(value.get_ref())));
            return None;
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            found.place(format!("{}[{index}]", self.place_of(key)), item.span(), format!("`{key}`"));
            match item.get_ref() {
                DeValue::String(text) => texts.push(text.to_string()),
                other => {
                    found.add(item.span(), format!("`{key}` must be a list of texts, and this is {}", a(other)));
                    texts.push(String::new());
                }
            }
        }
        Some(texts)
    }

    /// One table.
    pub(super) fn table(&mut self, key: &'static str, what: &'static str, found: &mut Found) -> Option<Section<'t>> {
        let value = self.value(key, found)?;
        match value.get_ref() {
            DeValue::Table(table) => {
                found.table_place(self.place_of(key), value.span(), format!("`{key}`"));
                Some(Section::new(what, self.place_of(key), value.span(), table))
            }
            other => {
                found.add(value.span(), format!("`{key}` must be a table, and is {}", a(other)));
                None
            }
        }
    }

    /// A list of tables, under the path `part[0]`, `part[1]`, ... of the specification. What is no table is noted and left out.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        part: &str,
        what: &'static str,
        found: &mut Found,
    ) -> Option<Vec<Section<'t>>> {
        let value = self.value(key, found)?;
        found.place(self.place_of(part), value.span(), format!("`{key}`"));
        let DeValue::Array(items) = value.get_ref() else {
            match value.get_ref() {
                // After a header that is no TOML, tables end up where nobody put them.
                DeValue::Table(_) => {
                    let message = format!("there can be several `{key}`: write double brackets, `[[...{key}]]`");
                    found.missing(&value.span(), &[], message);
                }
                other => found.add(value.span(), format!("`{key}` must be a list of tables, and is {}", a(other))),
            }
            return None;
        };
        let mut sections = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    let place = format!("{}[{}]", self.place_of(part), sections.len());
                    found.table_place(place.clone(), item.span(), "");
                    sections.push(Section::new(what, place, item.span(), table));
                }
                other => {
                    found.add(item.span(), format!("`{key}` must be a list of tables, and this is {}", a(other)));
                }
            }
        }
        Some(sections)
    }

    /// Whichever form the value has, for keys that may have several.
    pub(super) fn any(&mut self, key: &'static str, found: &mut Found) -> Option<Placed<&'t DeValue<'t>>> {
        let value = self.value(key, found)?;
        Some(Placed { value: value.get_ref(), span: value.span() })
    }

    /// Refuses every key that was not asked for.
    pub(super) fn finish(self, found: &mut Found) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let nearest = nearest(name, &self.known);
            let nearest = nearest.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
            found.add(
                key.span(),
                format!("unknown key `{}`: {nearest}{} has `{}`", shown(name), self.what, self.known.join("`, `")),
            );
        }
    }
}

/// A word of one of the fleet's own types, or which ones there are.
pub(super) fn read_word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let word: Result<T, WordError> = T::deserialize(text.into_deserializer());
    // `unknown variant `x`, expected one of ...`: the list is the type's own.
    word.map_err(|error| {
        let known = error.to_string();
        let known = known.rsplit_once("expected ").map_or("", |(_, known)| known);
        format!("`{}` is not known, expected {known}", shown(text))
    })
}

/// The known word that is nearest to a mistyped one, if any is near.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // A longer word is no slip of the pen, and comparing it would cost its length.
    if word.len() > 64 {
        return None;
    }
    let near = known.iter().map(|known| (distance(word, known), *known)).min()?;
    (near.0 <= 1 + word.len() / 4).then_some(near.1)
}

/// How many letters must be put in, left out or replaced to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// What a value is, for messages.
fn a(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised_and_another_word_is_not() {
        let known = ["firmware", "policy", "id"];
        assert_eq!(nearest("firmwares", &known), Some("firmware"));
        assert_eq!(nearest("polcy", &known), Some("policy"));
        assert_eq!(nearest("rollout", &known), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), &known), None);
    }
}
