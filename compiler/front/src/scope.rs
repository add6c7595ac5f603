//! Compile-time values: parameters, config entries, list items, and expressions over them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ltxc_ir::Size;
use ltxc_ir::expr::{Expr, ExprError};
use serde_json::Value as Json;

use crate::reader::{Read, Reader, Reported};
use crate::tree::{Kind, Tree};

/// A compile-time value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number or a symbolic size.
    Size(Size),
    /// Anything else, as the config has it; shared, because every copy of a block knows every value.
    Json(Arc<Json>),
}

/// The names known at one place of a graph.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Values by name.
    pub names: BTreeMap<String, Value>,
    /// The section of the checkpoint's config that the graph reads.
    pub config: Arc<Json>,
    /// The list item of the innermost `sequence`.
    pub item: Arc<Json>,
    /// What the preset chose, by the name of the option.
    pub options: Arc<BTreeMap<String, String>>,
}

impl Value {
    fn from_json(json: Json) -> Self {
        match json.as_i64() {
            Some(number) => Self::Size(number.into()),
            None => Self::Json(Arc::new(json)),
        }
    }

    /// As an attribute of an operation.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Size(size) => serde_json::to_value(size).unwrap_or(Json::Null),
            Self::Json(json) => Json::clone(json),
        }
    }

    /// As a list of the config.
    pub fn as_list(&self) -> Option<&Vec<Json>> {
        match self {
            Self::Size(_) => None,
            Self::Json(json) => json.as_array(),
        }
    }

    /// As the text a `by` choice compares.
    pub fn to_text(&self) -> String {
        match self {
            Self::Size(size) => size.to_string(),
            Self::Json(json) => json
                .as_str()
                .map_or_else(|| json.to_string(), str::to_owned),
        }
    }
}

impl Scope {
    /// The size a name stands for.
    pub fn size(&self, name: &str) -> Option<Size> {
        match self.names.get(name) {
            Some(Value::Size(size)) => Some(size.clone()),
            _ => None,
        }
    }

    /// Evaluates a size expression.
    pub fn evaluate_size(&self, text: &str) -> Result<Size, ExprError> {
        text.parse::<Expr>()?.size(&|name| self.size(name))
    }

    /// Evaluates whatever stands at a place: a literal, a name, an expression, `{config: ..}`, `{item: ..}`,
    /// `{option: ..}`, `{product: ..}`.
    pub fn evaluate(&self, reader: &mut Reader, tree: &Tree) -> Read<Value> {
        match &tree.kind {
            Kind::Text(text) => self.evaluate_text(reader, tree, text),
            Kind::Map(_) => self.evaluate_map(reader, tree),
            Kind::Null => Err(reader.mistake("graph::value", tree.span, "a value is missing")),
            _ => Ok(Value::from_json(tree.to_json())),
        }
    }

    fn evaluate_text(&self, reader: &mut Reader, tree: &Tree, text: &str) -> Read<Value> {
        if let Some(value) = self.names.get(text) {
            return Ok(value.clone());
        }
        self.evaluate_size(text)
            .map(Value::Size)
            .map_err(|error| self.report(reader, tree, &error))
    }

    /// Evaluates where a size must stand.
    pub fn need_size(&self, reader: &mut Reader, tree: &Tree) -> Read<Size> {
        match self.evaluate(reader, tree)? {
            Value::Size(size) => Ok(size),
            Value::Json(json) => Err(reader.mistake(
                "graph::value",
                tree.span,
                format!("a size must stand here, not {json}"),
            )),
        }
    }

    /// Reports a failed expression with a near name.
    pub fn report(&self, reader: &mut Reader, tree: &Tree, error: &ExprError) -> Reported {
        let diagnostic = reader.at("graph::expression", tree.span, error.to_string());
        let diagnostic = match error {
            ExprError::Unknown(name) => {
                diagnostic.suggest(name, self.names.keys().map(String::as_str))
            }
            _ => diagnostic,
        };
        reader.report(diagnostic)
    }

    fn evaluate_map(&self, reader: &mut Reader, tree: &Tree) -> Read<Value> {
        let mut fields = reader.map(tree, "a value")?;
        if let Some(product) = fields.take("product") {
            let value = self.product(reader, product);
            reader.close(fields)?;
            return value;
        }
        if let Some(option) = fields.take("option") {
            let one_of = fields.need(reader, "one_of");
            reader.close(fields)?;
            return self.option(reader, option, one_of?);
        }
        let (config, item) = (fields.take("config"), fields.take("item"));
        let default = fields.take("default");
        reader.close(fields)?;
        let (root, path) = match (config, item) {
            (Some(path), None) => (&self.config, path),
            (None, Some(path)) => (&self.item, path),
            _ => return Err(reader.mistake("graph::value", tree.span, "write `{config: PATH}` or `{item: PATH}`, with `default` where it may be missing, `{option: NAME, one_of: [..]}` or `{product: ..}`")),
        };
        let text = reader.text(path, "the path")?;
        match (lookup(root, &text), default) {
            (Some(found), _) => Ok(Value::from_json(found.clone())),
            (None, Some(default)) => self.evaluate(reader, default),
            (None, None) => Err(reader.mistake(
                "graph::config",
                path.span,
                format!("the checkpoint's config has no `{text}` here"),
            )),
        }
    }

    /// What the preset chose of a list; its first entry where the preset says nothing.
    fn option(&self, reader: &mut Reader, option: &Tree, one_of: &Tree) -> Read<Value> {
        let name = reader.text(option, "the option")?;
        let known: Vec<String> = reader.plain(one_of, "`one_of`")?;
        let chosen = self.options.get(&name).or(known.first());
        let Some(chosen) = chosen else {
            return Err(reader.mistake("graph::option", one_of.span, "`one_of` is empty"));
        };
        if known.contains(chosen) {
            return Ok(Value::Json(Arc::new(Json::String(chosen.clone()))));
        }
        let message = format!("the option `{name}` cannot be `{chosen}`");
        let diagnostic = reader.at("graph::option", option.span, message);
        let known = known.iter().map(String::as_str);
        Err(reader.report(diagnostic.suggest(chosen, known)))
    }

    /// A product over a config list: `items` (path), `times` (start), `table` (factor by item name).
    fn product(&self, reader: &mut Reader, tree: &Tree) -> Read<Value> {
        let mut fields = reader.map(tree, "`product`")?;
        let items = fields
            .need(reader, "items")
            .and_then(|t| self.evaluate(reader, t));
        let start = fields
            .take("times")
            .map_or(Ok(Size::from(1)), |t| self.need_size(reader, t));
        let table = fields.need(reader, "table")?;
        reader.close(fields)?;
        let (items, mut product) = (items?, start?);
        let Some(items) = items.as_list() else {
            return Err(reader.mistake("graph::value", tree.span, "`items` must be a list"));
        };
        for item in items {
            let (name, settings) = split_item(item);
            if let Some(factor) = table.get(&name) {
                let scope = Scope {
                    item: Arc::new(settings),
                    ..self.clone()
                };
                product = product * scope.need_size(reader, factor)?;
            }
        }
        Ok(Value::Size(product))
    }
}

/// `[name, settings]` of a block list; bare settings count as an empty map.
pub fn split_item(item: &Json) -> (String, Json) {
    match item {
        Json::Array(pair) => {
            let name = pair.first().and_then(Json::as_str).unwrap_or_default();
            (name.to_owned(), pair.get(1).cloned().unwrap_or(Json::Null))
        }
        Json::String(name) => (name.clone(), Json::Null),
        other => (other.to_string(), Json::Null),
    }
}

/// A dotted path into plain data; `null` counts as missing.
pub fn lookup<'a>(root: &'a Json, path: &str) -> Option<&'a Json> {
    path.split('.')
        .try_fold(root, |at, key| at.get(key))
        .filter(|found| !found.is_null())
}
