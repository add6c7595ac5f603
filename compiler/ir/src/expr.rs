//! Size expressions as they are written: `+`, `-`, `*`, whole `/`, parentheses, names with dots.

use std::str::FromStr;

use thiserror::Error;

use crate::size::Size;

/// Longest expression that is read; nothing real comes near it.
const MAX_LENGTH: usize = 1000;
/// Most terms of a size.
const MAX_TERMS: usize = 64;
/// Most names in a term of a size.
const MAX_DEGREE: usize = 16;

/// A parsed expression, not yet tied to the meaning of its names.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A whole number.
    Number(i64),
    /// A name, possibly with dots (`item.num_layers`).
    Name(String),
    /// An operation on two expressions.
    Binary(Box<Expr>, Sign, Box<Expr>),
}

/// The four operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`, exact but for a constant term, which rounds down.
    Div,
}

/// Why a text is no size.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ExprError {
    /// The text does not follow the grammar.
    #[error("`{text}` is no size expression: {why}")]
    Syntax {
        /// The whole text.
        text: String,
        /// What was found or missed.
        why: String,
    },
    /// A name that means nothing here.
    #[error("unknown name `{0}`")]
    Unknown(String),
    /// A number or a sum that no tensor's size comes near.
    #[error(
        "this size grows too large: numbers stay below 2^53, sums below {MAX_TERMS} terms of {MAX_DEGREE} names"
    )]
    Large,
    /// A division with a remainder that depends on run-time sizes.
    #[error("`{0}` cannot be divided by `{1}` for every size: declare the size as a multiple")]
    Division(String, String),
}

impl Expr {
    /// The size this means when `value` gives each name's.
    pub fn size(&self, value: &dyn Fn(&str) -> Option<Size>) -> Result<Size, ExprError> {
        match self {
            Self::Number(number) => Ok((*number).into()),
            Self::Name(name) => value(name).ok_or_else(|| ExprError::Unknown(name.clone())),
            Self::Binary(a, sign, b) => {
                let (a, b) = (a.size(value)?, b.size(value)?);
                if [&a, &b].into_iter().any(is_large) {
                    return Err(ExprError::Large);
                }
                let size = match sign {
                    Sign::Add => a + b,
                    Sign::Sub => a - b,
                    Sign::Mul => a * b,
                    Sign::Div => divide(&a, &b)?,
                };
                if is_large(&size) {
                    Err(ExprError::Large)
                } else {
                    Ok(size)
                }
            }
        }
    }
}

/// Sizes saturate, so a number that is too large stays so.
fn is_large(size: &Size) -> bool {
    let large = |(coefficient, names): (i64, &[String])| {
        coefficient.unsigned_abs() >= 1 << 53 || names.len() > MAX_DEGREE
    };
    size.terms().count() > MAX_TERMS || size.terms().any(large)
}

fn divide(a: &Size, b: &Size) -> Result<Size, ExprError> {
    let quotient = match b.as_const() {
        Some(divisor) => a.div_floor(divisor),
        None => a.div_exact(b),
    };
    quotient.ok_or_else(|| ExprError::Division(a.to_string(), b.to_string()))
}

impl FromStr for Expr {
    type Err = ExprError;
    fn from_str(text: &str) -> Result<Self, ExprError> {
        let mut parser = Parser {
            text,
            rest: text,
            depth: 0,
        };
        if text.len() > MAX_LENGTH {
            return Err(parser.error("too long"));
        }
        let expr = parser.sum()?;
        parser.skip_space();
        if parser.rest.is_empty() {
            Ok(expr)
        } else {
            Err(parser.error(&format!("`{}` is left over", parser.rest)))
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn error(&self, why: &str) -> ExprError {
        ExprError::Syntax {
            text: self.text.chars().take(80).collect(),
            why: why.to_owned(),
        }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, signs: &[(char, Sign)]) -> Option<Sign> {
        self.skip_space();
        let first = self.rest.chars().next()?;
        let (_, sign) = signs.iter().find(|(c, _)| *c == first)?;
        self.rest = &self.rest[first.len_utf8()..];
        Some(*sign)
    }

    fn sum(&mut self) -> Result<Expr, ExprError> {
        let mut left = self.product()?;
        while let Some(sign) = self.take(&[('+', Sign::Add), ('-', Sign::Sub)]) {
            left = Expr::Binary(Box::new(left), sign, Box::new(self.product()?));
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Expr, ExprError> {
        let mut left = self.factor()?;
        while let Some(sign) = self.take(&[('*', Sign::Mul), ('/', Sign::Div)]) {
            left = Expr::Binary(Box::new(left), sign, Box::new(self.factor()?));
        }
        Ok(left)
    }

    fn factor(&mut self) -> Result<Expr, ExprError> {
        self.skip_space();
        self.depth += 1;
        if self.depth > 100 {
            return Err(self.error("nested too deep"));
        }
        let factor = match self.rest.chars().next() {
            Some('-') => {
                self.rest = &self.rest[1..];
                Expr::Binary(
                    Box::new(Expr::Number(0)),
                    Sign::Sub,
                    Box::new(self.factor()?),
                )
            }
            Some('(') => self.parenthesis()?,
            Some(c) if c.is_ascii_digit() => self.number()?,
            Some(c) if c.is_ascii_alphabetic() || c == '_' => Expr::Name(self.word()),
            Some(c) => {
                return Err(self.error(&format!("`{c}` stands where a number or a name must")));
            }
            None => return Err(self.error("a number or a name is missing at the end")),
        };
        self.depth -= 1;
        Ok(factor)
    }

    fn parenthesis(&mut self) -> Result<Expr, ExprError> {
        self.rest = &self.rest[1..];
        let inner = self.sum()?;
        self.skip_space();
        self.rest = self
            .rest
            .strip_prefix(')')
            .ok_or_else(|| self.error("a `)` is missing"))?;
        Ok(inner)
    }

    fn number(&mut self) -> Result<Expr, ExprError> {
        let word = self.word();
        word.parse()
            .map(Expr::Number)
            .map_err(|_| self.error(&format!("`{word}` is no whole number")))
    }

    fn word(&mut self) -> String {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word.to_owned()
    }
}
