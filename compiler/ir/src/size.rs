//! Symbolic sizes: integer polynomials over named run-time sizes.
//!
//! `8*frames - 7` and `B*frames*height*width` are sizes. They are kept in one canonical form, so equality is
//! structural. Whole division is defined only where it is exact for every value of the symbols (the constant term
//! rounds down); anything else is an error, because a shape that depends on a rounding cannot be checked.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::expr::{Expr, ExprError};

/// A product of symbols, sorted, with repetition; empty for the constant term.
type Monomial = Vec<String>;

/// A polynomial with integer coefficients over named sizes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size {
    terms: BTreeMap<Monomial, i64>,
}

impl Size {
    /// The size named `name`.
    pub fn symbol(name: impl Into<String>) -> Self {
        Self {
            terms: BTreeMap::from([(vec![name.into()], 1)]),
        }
    }

    /// The number, if no symbol occurs.
    pub fn as_const(&self) -> Option<i64> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&Vec::new() as &Monomial).copied(),
            _ => None,
        }
    }

    /// The name, if this is one bare symbol.
    pub fn as_symbol(&self) -> Option<&str> {
        let (monomial, coefficient) = self.terms.first_key_value()?;
        (self.terms.len() == 1 && *coefficient == 1 && monomial.len() == 1)
            .then(|| monomial[0].as_str())
    }

    /// Every symbol that occurs, sorted, once.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<&str> = self.terms.keys().flatten().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter()
    }

    /// The terms as (coefficient, symbols), highest degree last.
    pub fn terms(&self) -> impl Iterator<Item = (i64, &[String])> {
        self.terms
            .iter()
            .map(|(monomial, coefficient)| (*coefficient, monomial.as_slice()))
    }

    /// Whole division by a positive constant; `None` where it is not exact but for the constant term.
    pub fn div_floor(&self, divisor: i64) -> Option<Self> {
        if divisor <= 0 {
            return None;
        }
        let mut terms = BTreeMap::new();
        for (monomial, coefficient) in &self.terms {
            if !monomial.is_empty() && coefficient % divisor != 0 {
                return None;
            }
            terms.insert(monomial.clone(), coefficient.div_euclid(divisor));
        }
        Some(Self::canonical(terms))
    }

    /// Exact division by another size, where that is a single term that divides every term.
    pub fn div_exact(&self, divisor: &Self) -> Option<Self> {
        let (by, coefficient) =
            (divisor.terms.len() == 1).then(|| divisor.terms.first_key_value())??;
        let mut terms = BTreeMap::new();
        for (monomial, c) in &self.terms {
            let mut rest = monomial.clone();
            for symbol in by {
                let at = rest.iter().position(|s| s == symbol)?;
                rest.remove(at);
            }
            if *coefficient == 0 || c % coefficient != 0 {
                return None;
            }
            terms.insert(rest, c / coefficient);
        }
        Some(Self::canonical(terms))
    }

    /// The value for given symbols; `None` if one is missing or the value overflows.
    pub fn eval(&self, value: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
        self.terms
            .iter()
            .try_fold(0i64, |sum, (monomial, coefficient)| {
                let term = monomial.iter().try_fold(*coefficient, |product, symbol| {
                    product.checked_mul(value(symbol)?)
                })?;
                sum.checked_add(term)
            })
    }

    /// Replaces symbols by sizes; symbols that `with` does not know stay.
    pub fn substitute(&self, with: &dyn Fn(&str) -> Option<Size>) -> Self {
        self.terms
            .iter()
            .fold(Self::default(), |sum, (monomial, coefficient)| {
                let term = monomial
                    .iter()
                    .fold(Self::from(*coefficient), |product, symbol| {
                        product * with(symbol).unwrap_or_else(|| Self::symbol(symbol.clone()))
                    });
                sum + term
            })
    }

    fn canonical(mut terms: BTreeMap<Monomial, i64>) -> Self {
        terms.retain(|_, coefficient| *coefficient != 0);
        Self { terms }
    }
}

impl From<i64> for Size {
    fn from(value: i64) -> Self {
        Self::canonical(BTreeMap::from([(Vec::new(), value)]))
    }
}

impl Add for Size {
    type Output = Size;
    fn add(self, other: Size) -> Size {
        let mut terms = self.terms;
        for (monomial, coefficient) in other.terms {
            let slot = terms.entry(monomial).or_insert(0);
            *slot = slot.saturating_add(coefficient);
        }
        Size::canonical(terms)
    }
}

impl Mul for Size {
    type Output = Size;
    fn mul(self, other: Size) -> Size {
        let mut terms: BTreeMap<Monomial, i64> = BTreeMap::new();
        for (a, ca) in &self.terms {
            for (b, cb) in &other.terms {
                let mut monomial: Monomial = a.iter().chain(b).cloned().collect();
                monomial.sort_unstable();
                let slot = terms.entry(monomial).or_insert(0);
                *slot = slot.saturating_add(ca.saturating_mul(*cb));
            }
        }
        Size::canonical(terms)
    }
}

impl Sub for Size {
    type Output = Size;
    fn sub(self, other: Size) -> Size {
        self + other * Size::from(-1)
    }
}

impl fmt::Display for Size {
    /// Highest degree first, so that `8*frames - 7` reads as it is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        let mut terms: Vec<_> = self.terms.iter().collect();
        terms.sort_by_key(|(monomial, _)| std::cmp::Reverse(monomial.len()));
        for (place, (monomial, coefficient)) in terms.into_iter().enumerate() {
            let sign = if *coefficient < 0 { "-" } else { "+" };
            match (place, *coefficient < 0) {
                (0, false) => {}
                (0, true) => f.write_str("-")?,
                _ => write!(f, " {sign} ")?,
            }
            write_term(f, coefficient.unsigned_abs(), monomial)?;
        }
        Ok(())
    }
}

fn write_term(f: &mut fmt::Formatter<'_>, coefficient: u64, monomial: &Monomial) -> fmt::Result {
    if monomial.is_empty() {
        return write!(f, "{coefficient}");
    }
    if coefficient != 1 {
        write!(f, "{coefficient}*")?;
    }
    f.write_str(&monomial.join("*"))
}

impl FromStr for Size {
    type Err = ExprError;
    /// Parses `8*frames - 7`; every identifier is a symbol.
    fn from_str(text: &str) -> Result<Self, ExprError> {
        text.parse::<Expr>()?.size(&|name| Some(Size::symbol(name)))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_const() {
            Some(number) => serializer.serialize_i64(number),
            None => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(i64),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Number(number) => Ok(number.into()),
            Raw::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Size {
        text.parse().expect("test sizes parse")
    }

    #[test]
    fn equal_expressions_have_one_form() {
        assert_eq!(size("2*(frames*2 - 1) - 1"), size("4*frames - 3"));
        assert_eq!(size("b*a + 0*c"), size("a*b"));
        assert_eq!(size("4*frames - 3").to_string(), "4*frames - 3");
    }

    #[test]
    fn division_is_exact_or_refused() {
        assert_eq!(
            size("8*f - 8").div_floor(2).map(|s| s + 1.into()),
            Some(size("4*f - 3"))
        );
        assert_eq!(size("8*f - 7").div_floor(2), Some(size("4*f - 4")));
        assert_eq!(size("3*f").div_floor(2), None);
        assert_eq!(size("4*f*h").div_exact(&size("2*h")), Some(size("2*f")));
    }

    #[test]
    fn values_follow_the_symbols() {
        assert_eq!(size("8*f - 7").eval(&|_| Some(3)), Some(17));
        assert_eq!(size("8*f - 7").eval(&|_| None), None);
        assert_eq!(
            size("f*h").substitute(&|s| (s == "f").then(|| size("g + 1"))),
            size("g*h + h")
        );
    }
}
