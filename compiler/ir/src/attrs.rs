//! Attribute values that need more than plain numbers: literals, and the text form of attribute maps.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::fact::Dtype;
use crate::op::{GeluKind, PadMode, RopePairs};
use crate::size::Size;

/// What an attribute says of sizes: every type that stands in the table of operations answers.
pub(crate) trait HasSizes {
    fn collect_sizes<'a>(&'a mut self, _: &mut Vec<&'a mut Size>) {}
}

impl HasSizes for Size {
    fn collect_sizes<'a>(&'a mut self, sizes: &mut Vec<&'a mut Size>) {
        sizes.push(self);
    }
}

impl HasSizes for Vec<Size> {
    fn collect_sizes<'a>(&'a mut self, sizes: &mut Vec<&'a mut Size>) {
        sizes.extend(self);
    }
}

macro_rules! without_sizes {
    ($($ty:ty),*) => { $(impl HasSizes for $ty {})* };
}

without_sizes!(
    i64,
    u8,
    usize,
    f64,
    String,
    Dtype,
    Literal,
    Per,
    GeluKind,
    PadMode,
    RopePairs,
    [usize; 3],
    Vec<i64>,
    Vec<usize>,
    Option<i64>,
    Option<u16>,
    Option<usize>,
    Option<f64>,
    Option<Dtype>,
    Option<Source>
);

/// What fills an input when nobody gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Standard normal noise, drawn from the run's noise source in the order of the graph.
    Normal,
}

/// How often something changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// From step to step.
    #[default]
    Step,
    /// From video to video.
    Video,
}

impl Per {
    /// Whether nothing is said of it.
    pub fn is_step(&self) -> bool {
        *self == Self::Step
    }
}

/// The elements of a constant: floats for float types, integers for the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Literal {
    /// Whole numbers (and truth values as 0 and 1).
    Ints(Vec<i64>),
    /// Floats. Printed with the shortest digits that read back to the same value.
    Floats(#[serde(serialize_with = "shortest")] Vec<f32>),
}

/// Writes each float as the f64 whose digits are the fewest that read back to it.
fn shortest<S: Serializer>(values: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
    let widen = |x: &f32| match x.to_string().parse::<f64>() {
        Ok(wide) if wide as f32 == *x => wide,
        _ => f64::from(*x),
    };
    serializer.collect_seq(values.iter().map(widen))
}

impl Literal {
    /// Number of elements written.
    pub fn len(&self) -> usize {
        match self {
            Self::Ints(values) => values.len(),
            Self::Floats(values) => values.len(),
        }
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The single value that fills the constant, if it is one.
    pub fn splat(&self) -> Option<f64> {
        match self {
            Self::Ints(values) => (values.len() == 1).then(|| values[0] as f64),
            Self::Floats(values) => (values.len() == 1).then(|| f64::from(values[0])),
        }
    }
}

/// Prints an attribute map as `{heads: 32, to: [B, 4*S]}`; nothing for an empty one.
pub fn print_attributes(attributes: &Value) -> String {
    match attributes {
        Value::Object(map) if map.is_empty() => String::new(),
        other => print_value(other),
    }
}

fn print_value(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let fields: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}: {}", print_value(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(print_value).collect::<Vec<_>>().join(", ")
        ),
        Value::String(text) if is_bare(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether a string reads back as a string without quotes.
fn is_bare(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || "_.*+-() ".contains(c);
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let reads_as_text = serde_json::from_str::<Value>(text).is_err();
    reads_as_text && text.starts_with(first) && !text.ends_with(' ') && text.chars().all(word)
}

/// Reads what [`print_attributes`] wrote.
pub fn parse_attributes(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let mut reader = Reader {
        rest: text.trim_start(),
        depth: 0,
    };
    let value = reader.value()?;
    if reader.rest.trim().is_empty() {
        Ok(value)
    } else {
        Err(format!("`{}` is left over", reader.rest))
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Value, String> {
        self.rest = self.rest.trim_start();
        self.depth += 1;
        if self.depth > 32 {
            return Err("nested too deep".to_owned());
        }
        let value = match self.rest.chars().next() {
            Some('{') => self.object()?,
            Some('[') => self.array()?,
            Some('"') => self.quoted()?,
            Some(_) => self.bare()?,
            None => return Err("a value is missing".to_owned()),
        };
        self.depth -= 1;
        Ok(value)
    }

    fn eat(&mut self, sign: char) -> bool {
        self.rest = self.rest.trim_start();
        let eaten = self.rest.strip_prefix(sign);
        self.rest = eaten.unwrap_or(self.rest);
        eaten.is_some()
    }

    fn object(&mut self) -> Result<Value, String> {
        let mut map = serde_json::Map::new();
        self.eat('{');
        while !self.eat('}') {
            let (key, rest) = self
                .rest
                .trim_start()
                .split_once(':')
                .ok_or("a `:` is missing")?;
            let key = key.trim().to_owned();
            self.rest = rest;
            map.insert(key, self.value()?);
            if !self.eat(',') && !self.rest.trim_start().starts_with('}') {
                return Err("a `,` or `}` is missing".to_owned());
            }
        }
        Ok(Value::Object(map))
    }

    fn array(&mut self) -> Result<Value, String> {
        let mut items = Vec::new();
        self.eat('[');
        while !self.eat(']') {
            items.push(self.value()?);
            if !self.eat(',') && !self.rest.trim_start().starts_with(']') {
                return Err("a `,` or `]` is missing".to_owned());
            }
        }
        Ok(Value::Array(items))
    }

    fn quoted(&mut self) -> Result<Value, String> {
        let mut stream = serde_json::Deserializer::from_str(self.rest).into_iter::<Value>();
        let value = stream
            .next()
            .ok_or("a string is missing")?
            .map_err(|e| e.to_string())?;
        self.rest = &self.rest[stream.byte_offset()..];
        Ok(value)
    }

    fn bare(&mut self) -> Result<Value, String> {
        let end = self.rest.find([',', ']', '}']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        let word = word.trim();
        if word.is_empty() {
            return Err("a value is missing".to_owned());
        }
        Ok(serde_json::from_str(word).unwrap_or_else(|_| Value::String(word.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn attribute_maps_read_back() {
        let map = json!({"to": ["B", "8*frames - 7", 3], "eps": 1e-6, "mode": "edge", "key": "a/b:c", "flag": true});
        let text = print_attributes(&map);
        assert_eq!(
            text,
            "{to: [B, 8*frames - 7, 3], eps: 1e-6, mode: edge, key: \"a/b:c\", flag: true}"
        );
        assert_eq!(parse_attributes(&text), Ok(map));
    }

    #[test]
    fn floats_have_the_fewest_digits_that_read_back() {
        let data = Literal::Floats(vec![1e-8, 0.1, 1.0, -0.0, f32::MAX]);
        let value = serde_json::to_value(&data).expect("floats are plain data");
        assert_eq!(value.to_string(), "[1e-8,0.1,1.0,-0.0,3.4028235e+38]");
        assert_eq!(serde_json::from_value(value).ok(), Some(data));
    }

    #[test]
    fn broken_maps_are_refused() {
        for text in ["{a: }", "{a 1}", "[1", "{a: 1} b", &"[".repeat(100)] {
            assert!(parse_attributes(text).is_err(), "{text}");
        }
    }
}
