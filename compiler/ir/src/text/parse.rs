//! Text to graph.

use serde_json::Value;
use thiserror::Error;

use crate::attrs::parse_attributes;
use crate::fact::Fact;
use crate::graph::{Graph, NodeId, Origin, Reuse};
use crate::op::Op;
use crate::sizes::SizeRange;

/// Why a text is no graph.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line}: {why}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

/// Reads what [`super::print`] wrote; empty lines and lines that start with `;` are skipped.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let mut graph = Graph::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with(';') {
            parse_line(&mut graph, line).map_err(|why| ParseError {
                line: number + 1,
                why,
            })?;
        }
    }
    Ok(graph)
}

fn parse_line(graph: &mut Graph, line: &str) -> Result<(), String> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "graph" => rest.clone_into(&mut graph.name),
        "doc" => rest.clone_into(&mut graph.doc),
        "size" => parse_size(graph, rest)?,
        "return" => parse_return(graph, rest)?,
        "reuse" => parse_reuse(graph, rest)?,
        _ if word.starts_with('%') => parse_node(graph, line)?,
        _ => {
            return Err(format!(
                "`{word}` starts no line; graph, doc, size, reuse, return and %name do"
            ));
        }
    }
    Ok(())
}

fn parse_size(graph: &mut Graph, rest: &str) -> Result<(), String> {
    let wrong = || format!("`size {rest}` should read `size NAME MIN..MAX`");
    let (name, range) = rest.split_once(' ').ok_or_else(wrong)?;
    let (bounds, choices) = range.split_once(" one of ").unwrap_or((range, ""));
    let bounds = bounds.trim();
    let plain = bounds.strip_suffix(" in time");
    let (min, max) = plain.unwrap_or(bounds).split_once("..").ok_or_else(wrong)?;
    let one_of = choices.split(',').map(str::trim).filter(|c| !c.is_empty());
    let one_of = one_of
        .map(|c| c.parse().map_err(|e| format!("{e}")))
        .collect::<Result<_, String>>()?;
    let number = |text: &str| text.parse().map_err(|_| wrong());
    graph.sizes.0.insert(
        name.to_owned(),
        SizeRange {
            min: number(min)?,
            max: number(max)?,
            one_of,
            time: plain.is_some(),
        },
    );
    Ok(())
}

fn parse_return(graph: &mut Graph, rest: &str) -> Result<(), String> {
    let (name, value) = rest
        .split_once('=')
        .ok_or("`return NAME = %value` is meant")?;
    let value = find(graph, value.trim())?;
    graph.output(name.trim(), value);
    Ok(())
}

fn parse_reuse(graph: &mut Graph, rest: &str) -> Result<(), String> {
    let names = rest.split(',').map(|text| {
        let id = find(graph, text.trim())?;
        Ok(graph.node(id).name.clone())
    });
    let names = names.collect::<Result<Vec<_>, String>>()?;
    let [start, first, last] = names.try_into().map_err(|_| "`reuse` names three values")?;
    graph.reuse = Some(Reuse { start, first, last });
    Ok(())
}

fn find(graph: &Graph, text: &str) -> Result<NodeId, String> {
    let name = text
        .strip_prefix('%')
        .ok_or_else(|| format!("`{text}` is no value; values start with %"))?;
    graph
        .find(name)
        .ok_or_else(|| format!("`%{name}` is not defined above"))
}

fn parse_node(graph: &mut Graph, line: &str) -> Result<(), String> {
    let (definition, comment) = line.split_once(" ; ").unwrap_or((line, ""));
    let (name, rest) = definition[1..]
        .split_once(" : ")
        .ok_or("a ` : ` is missing after the name")?;
    let (fact, rest) = rest
        .split_once(" = ")
        .ok_or("a ` = ` is missing after the type")?;
    let fact: Fact = fact.parse()?;
    let end = rest.find(['(', ' ', '{']).unwrap_or(rest.len());
    let (op_name, rest) = rest.split_at(end);
    let (inputs, attributes) = match rest.strip_prefix('(') {
        Some(rest) => rest.split_once(')').ok_or("a `)` is missing")?,
        None => ("", rest),
    };
    let inputs = inputs.split(',').map(str::trim).filter(|i| !i.is_empty());
    let inputs = inputs.map(|i| {
        if i == "_" {
            Ok(None)
        } else {
            find(graph, i).map(Some)
        }
    });
    let inputs = inputs.collect::<Result<Vec<_>, String>>()?;
    let op = Op::from_parts(
        op_name,
        with_type(op_name, parse_attributes(attributes)?, &fact),
    )?;
    let id = graph
        .add(name, op, &inputs, origin(comment))
        .map_err(|e| e.to_string())?;
    let found = &graph.node(id).fact;
    if *found == fact {
        Ok(())
    } else {
        Err(format!(
            "`%{name}` is written {fact}, its operation makes {found}"
        ))
    }
}

fn with_type(op: &str, mut attributes: Value, fact: &Fact) -> Value {
    if let (true, Value::Object(map)) = (
        matches!(op, "input" | "weight" | "constant"),
        &mut attributes,
    ) {
        map.insert("dtype".to_owned(), Value::String(fact.dtype.to_string()));
        map.insert(
            "shape".to_owned(),
            serde_json::to_value(&fact.shape).expect("sizes are numbers or text"),
        );
    }
    attributes
}

fn origin(comment: &str) -> Origin {
    let (source, rule) = match comment.split_once("by ") {
        Some((source, rule)) => (source.trim(), Some(rule.trim().to_owned())),
        None => (comment.trim(), None),
    };
    Origin {
        source: (!source.is_empty()).then(|| source.to_owned()),
        rule,
    }
}
