//! Sizes at run time: constants where they are known, else computed from the shapes of the graph's inputs.

use ltxc_ir::{NodeId, Size};

use super::emit::{Emitter, OnnxError};
use super::proto::AttributeProto;

impl Emitter<'_> {
    /// The name of an i64 vector that holds a shape for `Reshape` of `input`: a constant with 0 (as in the input)
    /// and one -1 (the rest) where that says enough, else a computed one.
    pub(super) fn reshape_target(
        &mut self,
        node: NodeId,
        input: &[Size],
        to: &[Size],
    ) -> Result<String, OnnxError> {
        let copied = |axis: usize| input.get(axis) == Some(&to[axis]);
        let open: Vec<usize> = (0..to.len())
            .filter(|axis| to[*axis].as_const().is_none() && !copied(*axis))
            .collect();
        if open.len() <= 1 {
            let entry = |axis: usize| match to[axis].as_const() {
                Some(n) => n,
                None if copied(axis) => 0,
                None => -1,
            };
            let entries: Vec<i64> = (0..to.len()).map(entry).collect();
            return Ok(self.ints(&entries));
        }
        self.shape_vector(node, to)
    }

    /// The name of an i64 vector with the values of `sizes`.
    pub(super) fn shape_vector(
        &mut self,
        node: NodeId,
        sizes: &[Size],
    ) -> Result<String, OnnxError> {
        let parts = sizes
            .iter()
            .map(|size| self.size_value(node, size))
            .collect::<Result<Vec<_>, _>>()?;
        let content = format!("shape {}", parts.join(" "));
        if let Some(name) = self.shared.get(&content) {
            return Ok(name.clone());
        }
        let name = format!("shape.{}", self.shared.len());
        self.push(
            "Concat",
            &parts,
            &name,
            vec![AttributeProto::int("axis", 0)],
        );
        self.shared.insert(content, name.clone());
        Ok(name)
    }

    /// The name of an i64 vector of one element with the value of `size`.
    pub(super) fn size_value(&mut self, node: NodeId, size: &Size) -> Result<String, OnnxError> {
        if let Some(n) = size.as_const() {
            return Ok(self.ints(&[n]));
        }
        let content = format!("size {size}");
        if let Some(name) = self.shared.get(&content) {
            return Ok(name.clone());
        }
        let name = match size.as_symbol() {
            Some(symbol) => self.symbol_value(node, symbol)?,
            None => self.sum(node, size)?,
        };
        self.shared.insert(content, name.clone());
        Ok(name)
    }

    fn sum(&mut self, node: NodeId, size: &Size) -> Result<String, OnnxError> {
        let mut total: Option<String> = None;
        let terms: Vec<(i64, Vec<String>)> = size
            .terms()
            .map(|(c, symbols)| (c, symbols.to_vec()))
            .collect();
        for (coefficient, symbols) in terms {
            let mut term = self.ints(&[coefficient]);
            for symbol in symbols {
                let factor = self.size_value(node, &Size::symbol(symbol))?;
                term = self.binary("Mul", term, factor);
            }
            total = Some(match total {
                Some(sum) => self.binary("Add", sum, term),
                None => term,
            });
        }
        total.ok_or_else(|| self.unknown(node, size))
    }

    fn binary(&mut self, op: &str, a: String, b: String) -> String {
        let content = format!("{op} {a} {b}");
        if let Some(name) = self.shared.get(&content) {
            return name.clone();
        }
        let name = format!("size.{}", self.shared.len());
        self.push(op, &[a, b], &name, Vec::new());
        self.shared.insert(content, name.clone());
        name
    }

    /// A named size from the first input that has it as an axis, alone or as `a*size + b`.
    fn symbol_value(&mut self, node: NodeId, symbol: &str) -> Result<String, OnnxError> {
        let wanted = Size::symbol(symbol);
        let inputs = self.graph.graph_inputs().to_vec();
        let axes = inputs.iter().flat_map(|id| {
            let shape = &self.graph.node(*id).fact.shape;
            shape
                .iter()
                .enumerate()
                .map(|(axis, size)| (*id, axis, size.clone()))
        });
        let axes: Vec<(NodeId, usize, Size)> = axes.collect();
        if let Some((input, axis, _)) = axes.iter().find(|(_, _, size)| *size == wanted) {
            return Ok(self.axis_value(*input, *axis));
        }
        let affine = |size: &Size| affine(size, symbol);
        let found = axes
            .iter()
            .find_map(|(input, axis, size)| affine(size).map(|(a, b)| (*input, *axis, a, b)));
        let (input, axis, a, b) = found.ok_or_else(|| self.unknown(node, &wanted))?;
        let value = self.axis_value(input, axis);
        let (minus, by) = (self.ints(&[-b]), self.ints(&[a]));
        let shifted = self.binary("Add", value, minus);
        Ok(self.binary("Div", shifted, by))
    }

    fn axis_value(&mut self, input: NodeId, axis: usize) -> String {
        let source = self.graph.node(input).name.clone();
        let content = format!("axis {source} {axis}");
        if let Some(name) = self.shared.get(&content) {
            return name.clone();
        }
        let name = format!("size.{}", self.shared.len());
        let (start, end) = (axis as i64, axis as i64 + 1);
        self.push(
            "Shape",
            &[source],
            &name,
            vec![
                AttributeProto::int("start", start),
                AttributeProto::int("end", end),
            ],
        );
        self.shared.insert(content, name.clone());
        name
    }

    fn unknown(&self, node: NodeId, size: &Size) -> OnnxError {
        OnnxError::Size {
            node: self.graph.node(node).name.clone(),
            size: size.to_string(),
        }
    }
}

/// `size` as `a*symbol + b`, if it is that.
fn affine(size: &Size, symbol: &str) -> Option<(i64, i64)> {
    let (mut a, mut b) = (0, 0);
    for (coefficient, symbols) in size.terms() {
        match symbols {
            [] => b = coefficient,
            [only] if only == symbol => a = coefficient,
            _ => return None,
        }
    }
    (a > 0).then_some((a, b))
}
