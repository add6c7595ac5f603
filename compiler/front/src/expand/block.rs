//! `call`, `repeat` and `sequence`: copying blocks into the graph.

use std::collections::BTreeMap;

use ltxc_ir::NodeId;
use serde_json::Value as Json;

use super::choice::Target;
use super::{Expander, Frame};
use crate::diagnostic::Span;
use crate::reader::{Fields, Read};
use crate::scope::{Value, split_item};
use crate::tree::{Key, Kind, Tree};

/// Most turns of a `repeat` or items of a `sequence`.
const MAX_TURNS: i64 = 1024;

/// Values by port name.
pub(super) type Values = BTreeMap<String, Option<NodeId>>;

impl<'f> Expander<'f> {
    /// `{block: .., with: {port: value}, params: {..}, prefix: ".."}`.
    pub(super) fn call(&mut self, frame: &mut Frame, key: &'f Key, body: &'f Tree) -> Read<()> {
        let mut fields = self.reader.map(body, "`call`")?;
        let prefix = self.prefix(&mut fields, frame)?;
        let mut target = Target::default();
        let block = fields.need(&mut self.reader, "block")?;
        self.take_arguments(&mut fields, &mut target)?;
        self.reader.close(fields)?;
        self.choose(frame, block, &mut target)?;
        let outputs = self.instance(
            frame,
            key,
            &format!("{}.", key.name),
            &prefix,
            &target,
            Values::new(),
        )?;
        bind_results(frame, key, outputs);
        Ok(())
    }

    /// `{block: .., times: N, index: i, prefix: "..{i}.", carry: {port: first}, with: ..}`.
    pub(super) fn repeat(&mut self, frame: &mut Frame, key: &'f Key, body: &'f Tree) -> Read<()> {
        let mut fields = self.reader.map(body, "`repeat`")?;
        let times = fields
            .need(&mut self.reader, "times")
            .and_then(|t| Ok((t, frame.scope.need_size(&mut self.reader, t)?)));
        let block = fields.need(&mut self.reader, "block")?;
        let turn = self.turn(frame, &mut fields)?;
        let mut target = Target::default();
        self.take_arguments(&mut fields, &mut target)?;
        self.reader.close(fields)?;
        let (tree, times) = times?;
        let Some(times) = times.as_const().filter(|n| (0..=MAX_TURNS).contains(n)) else {
            return Err(self.reader.mistake(
                "graph::repeat",
                tree.span,
                format!("{times} turns are not possible; `times` must be known when the graph is compiled, 0 to {MAX_TURNS}"),
            ));
        };
        let mut carried = turn.carry.clone();
        for index in 0..times {
            carried = self.one_turn(frame.clone(), key, &turn, &target, block, index, carried)?;
            if let (1, Some(value)) = (carried.len(), carried.values().next()) {
                frame.locals.insert(format!("{}.{index}", key.name), *value);
            }
        }
        bind_results(frame, key, carried);
        Ok(())
    }

    /// `{items: LIST, order: reversed, index: i, prefix: .., carry: .., case: {NAME: block}}`.
    pub(super) fn sequence(&mut self, frame: &mut Frame, key: &'f Key, body: &'f Tree) -> Read<()> {
        let mut fields = self.reader.map(body, "`sequence`")?;
        let items = fields
            .need(&mut self.reader, "items")
            .and_then(|t| Ok((t, frame.scope.evaluate(&mut self.reader, t)?)));
        let order = fields
            .take("order")
            .map_or(Ok("forward".to_owned()), |t| self.reader.text(t, "`order`"))?;
        let cases = fields.need(&mut self.reader, "case")?;
        let turn = self.turn(frame, &mut fields)?;
        let mut common = Target::default();
        self.take_arguments(&mut fields, &mut common)?;
        self.reader.close(fields)?;
        let (at, items) = items?;
        let items = self.ordered_items(at, &items, &order, body.span)?;
        let mut carried = turn.carry.clone();
        for (index, item) in items.iter().enumerate() {
            let (name, settings) = split_item(item);
            let Some(case) = cases.get(&name) else {
                return Err(self.no_case(at, cases, &name));
            };
            let mut inner = frame.clone();
            inner.scope.item = self.item_settings(case, settings).into();
            let block = case.get("then").unwrap_or(case);
            let index = index as i64;
            carried = self.one_turn(inner, key, &turn, &common, block, index, carried)?;
        }
        bind_results(frame, key, carried);
        Ok(())
    }

    /// The items of a `sequence` in the order they are taken.
    fn ordered_items(
        &mut self,
        at: &Tree,
        items: &Value,
        order: &str,
        span: Span,
    ) -> Read<Vec<Json>> {
        let why = match (items.as_list(), order) {
            (Some(list), "forward" | "reversed") if list.len() as i64 <= MAX_TURNS => {
                let mut list = list.clone();
                if order == "reversed" {
                    list.reverse();
                }
                return Ok(list);
            }
            (None, _) => format!("`items` must be a list; the config has {}", items.to_text()),
            (Some(list), "forward" | "reversed") => {
                let count = list.len();
                format!("{count} items are too many; 0 to {MAX_TURNS} are possible")
            }
            (Some(_), _) => {
                let why = format!("`order: {order}` must be forward or reversed");
                return Err(self.reader.mistake("graph::sequence", span, why));
            }
        };
        Err(self.reader.mistake("graph::sequence", at.span, why))
    }

    /// One turn of a `repeat` or `sequence`: what it carries on is what it returns.
    #[allow(
        clippy::too_many_arguments,
        reason = "a turn is where everything meets"
    )]
    fn one_turn(
        &mut self,
        mut frame: Frame,
        key: &'f Key,
        turn: &Turn,
        common: &Target<'f>,
        block: &'f Tree,
        index: i64,
        carried: Values,
    ) -> Read<Values> {
        let outer = frame.prefix.clone();
        let index = Value::Size(index.into());
        frame.scope.names.insert(turn.index.clone(), index);
        let mut target = Target {
            with: common.with.clone(),
            params: common.params.clone(),
            ..Target::default()
        };
        self.choose(&frame, block, &mut target)?;
        let label = self.interpolate(&frame, &turn.prefix, turn.span)?;
        let prefix = format!("{outer}{label}");
        self.instance(&frame, key, &label, &prefix, &target, carried)
    }

    fn no_case(&mut self, at: &Tree, cases: &Tree, name: &str) -> crate::reader::Reported {
        let known: Vec<String> = match &cases.kind {
            Kind::Map(fields) => fields.iter().map(|(key, _)| key.name.clone()).collect(),
            _ => Vec::new(),
        };
        let diagnostic = self.reader.at(
            "graph::sequence",
            at.span,
            format!("the config lists a block `{name}` that this sequence has no case for"),
        );
        self.reader
            .report(diagnostic.help(format!("cases: {}", known.join(", "))))
    }

    /// `{scalar: FIELD, then: ..}` gives a bare number of an item (`[res_x, 4]`) the name FIELD.
    fn item_settings(&mut self, case: &Tree, settings: Json) -> Json {
        let scalar = case.get("scalar").and_then(Tree::as_text);
        match (settings, scalar) {
            (settings @ Json::Object(_), _) => settings,
            (Json::Null, _) | (_, None) => Json::Object(serde_json::Map::new()),
            (value, Some(field)) => Json::Object([(field.to_owned(), value)].into_iter().collect()),
        }
    }

    fn take_arguments(&mut self, fields: &mut Fields<'f>, target: &mut Target<'f>) -> Read<()> {
        for (name, list) in [("with", &mut target.with), ("params", &mut target.params)] {
            if let Some(tree) = fields.take(name) {
                list.extend(self.reader.map(tree, name)?.rest());
            }
        }
        Ok(())
    }

    fn prefix(&mut self, fields: &mut Fields<'f>, frame: &Frame) -> Read<String> {
        let Some(tree) = fields.take("prefix") else {
            return Ok(frame.prefix.clone());
        };
        let text = self.reader.text(tree, "`prefix`")?;
        let text = self.interpolate(frame, &text, tree.span)?;
        Ok(format!("{}{text}", frame.prefix))
    }

    fn turn(&mut self, frame: &Frame, fields: &mut Fields<'f>) -> Read<Turn> {
        let index = fields
            .take("index")
            .map_or(Ok("i".to_owned()), |t| self.reader.text(t, "`index`"))?;
        let text = fields.need(&mut self.reader, "prefix")?;
        let prefix = self.reader.text(text, "`prefix`")?;
        let mut carry = Values::new();
        let tree = fields.need(&mut self.reader, "carry")?;
        for (port, tree) in self.reader.map(tree, "`carry`")?.rest() {
            let value = self.value(frame, tree, &port.name)?;
            carry.insert(port.name.clone(), Some(value));
        }
        Ok(Turn {
            index,
            prefix,
            span: text.span,
            carry,
        })
    }
}

struct Turn {
    index: String,
    prefix: String,
    span: Span,
    carry: Values,
}

/// A single output goes by the statement's name, each also by `name.port`.
fn bind_results(frame: &mut Frame, key: &Key, outputs: Values) {
    if let (1, Some((_, value))) = (outputs.len(), outputs.first_key_value()) {
        frame.locals.insert(key.name.clone(), *value);
    }
    for (port, value) in outputs {
        frame.locals.insert(format!("{}.{port}", key.name), value);
    }
}
