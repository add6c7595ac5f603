//! Plain operations: ports, attributes, and the weights that `linear`, `conv3d` and the norms imply.

use ltxc_ir::op::{Arity, OpReference, Port, REFERENCE};
use ltxc_ir::{NodeId, Op, Size};
use serde_json::{Map, Value as Json};

use super::{Expander, Frame};
use crate::diagnostic::Span;
use crate::reader::{Fields, Read, Reported, in_words};
use crate::tree::{Key, Kind, Tree};

/// An operation with its ports, as it is written.
fn usage(reference: &OpReference) -> String {
    let port = |port: &Port| match (port.name, port.arity) {
        ("w", _) => "w: NAME".to_owned(),
        (name, Arity::Many) => format!("{name}: [VALUE, ..]"),
        (name, Arity::One | Arity::Optional) => format!("{name}: VALUE"),
    };
    let ports = reference
        .ports
        .iter()
        .filter(|port| port.name != "b" || reference.ports[1].name == "b");
    let fields = ports.map(port);
    let attributes = reference
        .attributes
        .iter()
        .map(|name| format!("{name}: .."));
    let all: Vec<String> = fields.chain(attributes).collect();
    format!("write {}: {{{}}}", reference.name, all.join(", "))
}

/// Words of the language that are no operations.
const FORMS: [&str; 5] = ["call", "repeat", "sequence", "unbind", "draw"];

/// Inputs by port, filled step by step.
type Ports = Vec<Option<NodeId>>;

impl<'f> Expander<'f> {
    pub(super) fn operation(
        &mut self,
        frame: &Frame,
        key: &Key,
        op: &Key,
        body: &'f Tree,
    ) -> Read<NodeId> {
        let known = |reference: &&OpReference| {
            reference.name == op.name && !matches!(reference.name, "input" | "weight")
        };
        let Some(reference) = REFERENCE.iter().find(known) else {
            let names = REFERENCE
                .iter()
                .map(|r| r.name)
                .chain(FORMS)
                .filter(|n| !matches!(*n, "input" | "weight"));
            let diagnostic = self.reader.at(
                "graph::unknown-op",
                op.span,
                format!("there is no operation `{}`", op.name),
            );
            return Err(self.reader.report(diagnostic.suggest(&op.name, names)));
        };
        let mut fields = self.reader.map(body, &format!("`{}`", op.name))?;
        let mut ports = self.ports(frame, &key.name, reference, &mut fields)?;
        self.implied_weights(frame, &key.name, reference, &mut fields, &mut ports)?;
        let mut attributes = Map::new();
        for name in reference.attributes {
            if let Some(tree) = fields.take(name) {
                attributes.insert((*name).to_owned(), self.attribute(frame, tree)?);
            }
        }
        self.reader.close(fields)?;
        let parsed = Op::from_parts(reference.name, Json::Object(attributes.clone()));
        let parsed =
            parsed.map_err(|why| self.wrong_attribute(reference, body, &attributes, &why))?;
        self.add(frame, &key.name, parsed, &ports, key.span)
    }

    /// Places a mistake at the attribute without which nothing but its own lack is wrong.
    fn wrong_attribute(
        &mut self,
        reference: &OpReference,
        body: &Tree,
        attributes: &Map<String, Json>,
        why: &str,
    ) -> Reported {
        let is_wrong = |name: &&String| {
            let mut others = attributes.clone();
            others.remove(*name);
            let rest = Op::from_parts(reference.name, Json::Object(others));
            rest.map_or_else(|why| why.starts_with("missing field"), |_| true)
        };
        let wrong = attributes.keys().find(is_wrong);
        let (span, what) = match wrong.filter(|_| !why.starts_with("missing field")) {
            Some(name) => (
                body.get(name).map_or(body.span, |tree| tree.span),
                format!("`{name}` of `{}`", reference.name),
            ),
            None => (body.span, format!("`{}`", reference.name)),
        };
        self.reader.mistake(
            "graph::attribute",
            span,
            format!("{what}: {}", in_words(why)),
        )
    }

    fn ports(
        &mut self,
        frame: &Frame,
        name: &str,
        reference: &OpReference,
        fields: &mut Fields<'f>,
    ) -> Read<Ports> {
        let mut ports = Vec::new();
        for port in reference.ports {
            match (port.arity, fields.take(port.name)) {
                (Arity::Many, Some(tree)) => {
                    for (i, item) in self
                        .reader
                        .list(tree, &format!("`{}`", port.name))?
                        .iter()
                        .enumerate()
                    {
                        ports.push(Some(self.value(frame, item, &format!("{name}.{i}"))?));
                    }
                }
                (_, Some(tree)) if port.name == "w" => {
                    ports.push(None);
                    self.reader.text(tree, "`w`")?;
                    fields.put_back("w", tree);
                }
                (_, Some(tree)) => ports.push(Some(self.value(
                    frame,
                    tree,
                    &format!("{name}.{}", port.name),
                )?)),
                (Arity::Optional, None) => ports.push(None),
                (_, None) if port.name == "w" => ports.push(None),
                (_, None) => {
                    let message = format!("`{}` needs the port `{}`", reference.name, port.name);
                    let diagnostic = self.reader.at("graph::port", fields.span, message);
                    return Err(self.reader.report(diagnostic.help(usage(reference))));
                }
            }
        }
        Ok(ports)
    }

    /// An attribute; texts that are expressions over known names become numbers or sizes.
    fn attribute(&mut self, frame: &Frame, tree: &Tree) -> Read<Json> {
        match &tree.kind {
            Kind::List(items) => items
                .iter()
                .map(|item| self.attribute(frame, item))
                .collect(),
            Kind::Text(text) => {
                match (frame.scope.names.get(text), frame.scope.evaluate_size(text)) {
                    (Some(value), _) => Ok(value.to_json()),
                    (None, Ok(size)) => Ok(serde_json::to_value(size).unwrap_or(Json::Null)),
                    (None, Err(error)) if text.contains(['*', '+', '/', ' ']) => {
                        Err(frame.scope.report(&mut self.reader, tree, &error))
                    }
                    (None, Err(_)) => Ok(Json::String(text.clone())),
                }
            }
            _ => Ok(tree.to_json()),
        }
    }

    /// `w: NAME` names a weight `NAME.weight` whose shape the operation decides, and `NAME.bias` beside it.
    fn implied_weights(
        &mut self,
        frame: &Frame,
        statement: &str,
        reference: &OpReference,
        fields: &mut Fields<'f>,
        ports: &mut Ports,
    ) -> Read<()> {
        let Some(port) = reference.ports.iter().position(|port| port.name == "w") else {
            return Ok(());
        };
        let Some(tree) = fields.take("w") else {
            let optional = reference.ports[port].arity == Arity::Optional;
            return if optional {
                Ok(())
            } else {
                Err(self.reader.mistake(
                    "graph::port",
                    fields.span,
                    format!("`{}` needs `w`, the name of its weight", reference.name),
                ))
            };
        };
        let name = self.reader.text(tree, "`w`")?;
        let shape = self.weight_shape(frame, reference, fields, ports)?;
        let has_bias = fields.take("bias").map_or(Ok(true), |tree| {
            frame
                .scope
                .evaluate(&mut self.reader, tree)
                .map(|v| v.to_text() == "true")
        })?;
        let out = shape[..1].to_vec();
        let flat = reference.name == "conv3d" && shape.len() == 4;
        let mut weight = self.weight(frame, &format!("{name}.weight"), shape, tree.span)?;
        if flat {
            weight = self.one_frame(frame, statement, weight, tree.span)?;
        }
        ports[port] = Some(weight);
        if has_bias
            && reference
                .ports
                .get(port + 1)
                .is_some_and(|port| port.name == "b")
        {
            ports[port + 1] = Some(self.weight(frame, &format!("{name}.bias"), out, tree.span)?);
        }
        Ok(())
    }

    /// A 2-D kernel as a 3-D one that sees one frame.
    fn one_frame(
        &mut self,
        frame: &Frame,
        statement: &str,
        weight: NodeId,
        span: Span,
    ) -> Read<NodeId> {
        let mut to = self.graph.node(weight).fact.shape.clone();
        to.insert(2, Size::from(1));
        let name = format!("{statement}.kernel");
        let op = ltxc_ir::op::Reshape { to };
        self.add(frame, &name, op.into(), &[Some(weight)], span)
    }

    fn weight_shape(
        &mut self,
        frame: &Frame,
        reference: &OpReference,
        fields: &mut Fields<'f>,
        ports: &Ports,
    ) -> Read<Vec<Size>> {
        let input = ports
            .first()
            .copied()
            .flatten()
            .map(|id| self.graph.node(id).fact.clone());
        let size_at = |axis: i64| {
            input.as_ref().and_then(|fact| {
                fact.shape
                    .get(ltxc_ir::resolve_axis(axis, fact.rank())?)
                    .cloned()
            })
        };
        let axis = match reference.name {
            "conv3d" | "group_norm" => 1,
            "rms_norm" => self.norm_axis(fields),
            _ => -1,
        };
        let Some(features) = size_at(axis) else {
            return Err(self.reader.mistake(
                "graph::port",
                fields.span,
                format!("the input of `{}` has no axis {axis}", reference.name),
            ));
        };
        match reference.name {
            "linear" => Ok(vec![self.out_size(frame, fields)?, features]),
            "conv3d" => {
                let kernel = self.kernel(fields)?;
                Ok([self.out_size(frame, fields)?, features]
                    .into_iter()
                    .chain(kernel.into_iter().map(Size::from))
                    .collect())
            }
            _ => Ok(vec![features]),
        }
    }

    fn kernel(&mut self, fields: &mut Fields<'f>) -> Read<Vec<i64>> {
        let tree = fields.need(&mut self.reader, "kernel")?;
        let kernel: Vec<i64> = self.reader.plain(tree, "`kernel`")?;
        if matches!(kernel.len(), 2 | 3) {
            return Ok(kernel);
        }
        let message = format!(
            "`kernel` is [frames, rows, columns], or [rows, columns]; it has {} sizes here",
            kernel.len()
        );
        Err(self.reader.mistake("graph::attribute", tree.span, message))
    }

    fn norm_axis(&mut self, fields: &mut Fields<'f>) -> i64 {
        let Some(tree) = fields.take("axis") else {
            return -1;
        };
        fields.put_back("axis", tree);
        self.reader.int(tree, "`axis`").unwrap_or(-1)
    }

    fn out_size(&mut self, frame: &Frame, fields: &mut Fields<'f>) -> Read<Size> {
        let tree = fields.need(&mut self.reader, "to")?;
        frame.scope.need_size(&mut self.reader, tree)
    }

    /// `{x, axis, into: [names]}`: one value per position of the axis, named `statement.name`.
    pub(super) fn unbind(&mut self, frame: &mut Frame, key: &Key, body: &'f Tree) -> Read<()> {
        let mut fields = self.reader.map(body, "`unbind`")?;
        let x = fields
            .need(&mut self.reader, "x")
            .and_then(|t| self.value(frame, t, &key.name));
        let axis = fields
            .need(&mut self.reader, "axis")
            .and_then(|t| self.reader.int(t, "`axis`"));
        let into = fields
            .need(&mut self.reader, "into")
            .and_then(|t| self.reader.plain::<Vec<String>>(t, "`into`"));
        self.reader.close(fields)?;
        let (x, axis, into) = (x?, axis?, into?);
        let fact = self.graph.node(x).fact.clone();
        let size =
            ltxc_ir::resolve_axis(axis, fact.rank()).and_then(|axis| fact.shape[axis].as_const());
        if size != Some(into.len() as i64) {
            return Err(self.reader.mistake(
                "graph::port",
                key.span,
                format!(
                    "axis {axis} of {fact} does not have {} positions",
                    into.len()
                ),
            ));
        }
        for (index, name) in into.iter().enumerate() {
            let op = ltxc_ir::op::Select {
                axis,
                index: index as i64,
            };
            let name = format!("{}.{name}", key.name);
            let id = self.add(frame, &name, op.into(), &[Some(x)], key.span)?;
            frame.locals.insert(name, Some(id));
        }
        Ok(())
    }

    /// `{size: [..]}`: a graph input that the run fills with standard normal noise.
    pub(super) fn draw(&mut self, frame: &mut Frame, key: &Key, body: &'f Tree) -> Read<()> {
        let mut fields = self.reader.map(body, "`draw`")?;
        let size = fields.need(&mut self.reader, "size")?;
        self.reader.close(fields)?;
        let mut shape = Vec::new();
        for item in self.reader.list(size, "`size`")? {
            shape.push(frame.scope.need_size(&mut self.reader, item)?);
        }
        let source = Some(ltxc_ir::attrs::Source::Normal);
        let op = ltxc_ir::op::Input {
            dtype: ltxc_ir::Dtype::F32,
            shape,
            source,
            per: ltxc_ir::attrs::Per::Step,
        };
        let id = self.add(frame, &key.name, op.into(), &[], key.span)?;
        frame.locals.insert(key.name.clone(), Some(id));
        Ok(())
    }
}
