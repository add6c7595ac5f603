//! Sizes as the manifest writes them: integer polynomials such as `8*frames - 7`.
//!
//! Only the written form of the compiler is read: terms joined by `+` and `-`, each a product of whole numbers and
//! names. Arithmetic that overflows has no value; it never wraps.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A polynomial over named sizes, with the text it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Size {
    text: String,
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    coefficient: i64,
    symbols: Vec<String>,
}

/// The value of a named size, if it is known.
pub(super) type Known<'a> = &'a dyn Fn(&str) -> Option<i64>;

impl Size {
    /// The value, if every name in it is known.
    pub fn value(&self, known: Known<'_>) -> Option<i64> {
        self.terms
            .iter()
            .try_fold(0_i64, |sum, term| sum.checked_add(term.value(known)?))
    }

    /// The names in it that are not known.
    pub fn unknown(&self, known: Known<'_>) -> BTreeSet<&str> {
        let symbols = self.terms.iter().flat_map(|term| &term.symbols);
        symbols
            .map(String::as_str)
            .filter(|symbol| known(symbol).is_none())
            .collect()
    }

    /// The value of its only unknown, `symbol`, that makes the whole `total`; `None` where the unknown is not linear
    /// or no whole number fits.
    pub fn solve(&self, symbol: &str, total: i64, known: Known<'_>) -> Option<i64> {
        let (mut slope, mut rest) = (0_i64, total);
        for term in &self.terms {
            match term.symbols.iter().filter(|name| *name == symbol).count() {
                0 => rest = rest.checked_sub(term.value(known)?)?,
                1 => slope = slope.checked_add(term.slope(symbol, known)?)?,
                _ => return None,
            }
        }
        (rest.checked_rem(slope)? == 0).then(|| rest / slope)
    }
}

impl Term {
    fn value(&self, known: Known<'_>) -> Option<i64> {
        self.symbols
            .iter()
            .try_fold(self.coefficient, |product, symbol| {
                product.checked_mul(known(symbol)?)
            })
    }

    /// The value of everything that multiplies `symbol`.
    fn slope(&self, symbol: &str, known: Known<'_>) -> Option<i64> {
        self.value(&|name| if name == symbol { Some(1) } else { known(name) })
    }

    fn parse(sign: i64, text: &str) -> Option<Self> {
        let mut term = Self {
            coefficient: sign,
            symbols: Vec::new(),
        };
        for factor in text.split('*').map(str::trim) {
            match factor.parse::<i64>() {
                Ok(number) => term.coefficient = term.coefficient.checked_mul(number)?,
                Err(_) if is_name(factor) => term.symbols.push(factor.to_owned()),
                Err(_) => return None,
            }
        }
        Some(term)
    }
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    let first = characters.next();
    first.is_some_and(|c| c.is_alphabetic() || c == '_')
        && characters.all(|c| c.is_alphanumeric() || c == '_' || c == '.')
}

fn terms(text: &str) -> Option<Vec<Term>> {
    let text = text.trim();
    let (mut sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let mut terms = Vec::new();
    while let Some(end) = rest.find(['+', '-']) {
        terms.push(Term::parse(sign, &rest[..end])?);
        sign = if rest[end..].starts_with('-') { -1 } else { 1 };
        rest = &rest[end + 1..];
    }
    terms.push(Term::parse(sign, rest)?);
    Some(terms)
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let terms = terms(text)
            .ok_or_else(|| format!("`{text}` is no size: a size is written like `8*frames - 7`"))?;
        Ok(Self {
            text: text.to_owned(),
            terms,
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Size {
        text.parse().expect("a size")
    }

    fn known(name: &str) -> Option<i64> {
        [("B", 2), ("frames", 3)]
            .into_iter()
            .find_map(|(known, value)| (known == name).then_some(value))
    }

    #[test]
    fn polynomials_have_values() {
        for (text, value) in [
            ("128", Some(128)),
            ("B", Some(2)),
            ("8*frames - 7", Some(17)),
            ("-B + 4*B*frames*frames - 1", Some(69)),
            ("rows", None),
            ("9223372036854775807*B", None),
        ] {
            assert_eq!(size(text).value(&known), value, "{text}");
        }
    }

    #[test]
    fn a_linear_unknown_is_solved_where_it_is_whole() {
        assert_eq!(size("8*n - 7").solve("n", 17, &known), Some(3));
        assert_eq!(size("8*n - 7").solve("n", 18, &known), None);
        assert_eq!(size("B*n + n - frames").solve("n", 9, &known), Some(4));
        assert_eq!(size("n*n").solve("n", 9, &known), None);
        assert_eq!(size("n - n").solve("n", 9, &known), None);
    }

    #[test]
    fn unknown_names_are_listed_once() {
        let size = size("rows*B + rows*columns");
        let expected = BTreeSet::from(["columns", "rows"]);
        assert_eq!(size.unknown(&known), expected);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "-",
            "2 3",
            "a+",
            "a**b",
            "(a)",
            "a/2",
            "1.5",
            "2a",
            "99999999999999999999",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
