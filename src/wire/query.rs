//! The query of a request target, as devices write it: not URL-encoded, or encoded all the same.

use super::Malformed;

/// The parameters of a query. Names are compared in either case, values decoded: `%40` and a raw `@` are the same, and `+` is a plus,
/// since clients that do not encode send versions such as `1.0+5` raw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, Vec<u8>)>,
}

impl Query {
    /// Takes a query apart: what follows the `?`. `O(length)`.
    ///
    /// # Errors
    /// [`Malformed::Percent`].
    pub fn parse(query: &str) -> Result<Self, Malformed> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((name.to_ascii_lowercase(), decode(value.as_bytes())?))
        });
        Ok(Self { pairs: pairs.collect::<Result<_, _>>()? })
    }

    /// The value of a parameter, `name` in lower case.
    ///
    /// # Errors
    /// [`Malformed::Twice`]: it stands more than once, in either case.
    pub fn get(&self, name: &'static str) -> Result<Option<&[u8]>, Malformed> {
        let mut values = self.pairs.iter().filter(|(held, _)| held == name).map(|(_, value)| value.as_slice());
        let value = values.next();
        if values.next().is_some() { Err(Malformed::Twice(name)) } else { Ok(value) }
    }

    /// The value of a parameter that must be there.
    ///
    /// # Errors
    /// [`Malformed::Missing`], [`Malformed::Twice`].
    pub fn need(&self, name: &'static str) -> Result<&[u8], Malformed> {
        self.get(name)?.ok_or(Malformed::Missing(name))
    }

    /// Whether a bare flag is there, whatever its value.
    ///
    /// # Errors
    /// [`Malformed::Twice`].
    pub fn has(&self, name: &'static str) -> Result<bool, Malformed> {
        Ok(self.get(name)?.is_some())
    }
}

fn decode(value: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let digits = rest.get(..2).ok_or(Malformed::Percent)?;
        let crate::Hex([byte]) = crate::Hex::parse(digits).ok_or(Malformed::Percent)?;
        decoded.push(byte);
        rest = &rest[2..];
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_encode_or_not() {
        let query = Query::parse("k=a%26b&S=00+1&v=v@2.5.5&plain&e=").unwrap();
        assert_eq!(query.need("k"), Ok(&b"a&b"[..]));
        assert_eq!(query.need("s"), Ok(&b"00+1"[..]), "a plus is no blank");
        assert_eq!(query.need("v"), Ok(&b"v@2.5.5"[..]));
        assert_eq!(query.need("e"), Ok(&b""[..]), "empty is not missing");
        assert_eq!(query.need("fk"), Err(Malformed::Missing("fk")));
        assert_eq!(query.has("plain"), Ok(true));
    }

    #[test]
    fn a_parameter_given_twice_is_malformed_in_either_case() {
        let query = Query::parse("s=1&S=2&k=1").unwrap();
        assert_eq!(query.need("s"), Err(Malformed::Twice("s")));
        assert_eq!(query.need("k"), Ok(&b"1"[..]));
    }

    #[test]
    fn a_lone_percent_is_malformed() {
        for query in ["k=%", "k=%4", "k=%4g", "k=100%&s=1"] {
            assert_eq!(Query::parse(query), Err(Malformed::Percent), "{query}");
        }
    }
}
