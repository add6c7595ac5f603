//! What a pass did, and the difference between two printed graphs.

use std::collections::HashSet;
use std::fmt;

use crate::rule::{Fidelity, Meta};

/// Longest line of a difference; constants may have a million digits.
const MAX_LINE: usize = 400;

/// What one pass did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassReport {
    /// Id of the rule.
    pub pass: String,
    /// What the rule promises.
    pub fidelity: Fidelity,
    /// How often it fired.
    pub matched: usize,
    /// Where it did not, by reason, in the graph it left.
    pub declined: Vec<Decline>,
    /// Nodes before it, unused ones too.
    pub nodes_before: usize,
    /// Nodes after it.
    pub nodes_after: usize,
    /// Lines that went (`-`) and came (`+`), if asked for.
    pub difference: Option<Vec<String>>,
}

/// One reason not to fire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decline {
    /// The reason.
    pub reason: String,
    /// The nodes it holds for, in order.
    pub nodes: Vec<String>,
}

impl Decline {
    pub(crate) fn note(declined: &mut Vec<Self>, reason: String, node: &str) {
        match declined.iter_mut().find(|known| known.reason == reason) {
            Some(known) => known.nodes.push(node.to_owned()),
            None => declined.push(Self {
                reason,
                nodes: vec![node.to_owned()],
            }),
        }
    }
}

impl PassReport {
    pub(crate) fn new(meta: Meta, nodes_before: usize) -> Self {
        Self {
            pass: meta.id.to_owned(),
            fidelity: meta.fidelity,
            matched: 0,
            declined: Vec::new(),
            nodes_before,
            nodes_after: nodes_before,
            difference: None,
        }
    }

    /// Number of nodes the rule declined.
    pub fn declines(&self) -> usize {
        self.declined
            .iter()
            .map(|decline| decline.nodes.len())
            .sum()
    }
}

/// `rule: .. fidelity: .. matched: .. declined: ..`, the reasons, the difference.
impl fmt::Display for PassReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pass, fidelity) = (&self.pass, self.fidelity.word());
        let (matched, declines) = (self.matched, self.declines());
        writeln!(
            f,
            "rule: {pass}   fidelity: {fidelity}   matched: {matched}   declined: {declines}"
        )?;
        for Decline { reason, nodes } in &self.declined {
            let more = match nodes.len() {
                1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            writeln!(f, "declined: {reason} (%{}{more})", nodes[0])?;
        }
        for line in self.difference.iter().flatten() {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

/// Lines of `before` that `after` lacks and the other way round, between the lines both have.
pub fn difference(before: &str, after: &str) -> Vec<String> {
    let (old, new): (HashSet<_>, HashSet<_>) = (before.lines().collect(), after.lines().collect());
    let (mut before, mut after) = (before.lines().peekable(), after.lines().peekable());
    let mut lines = Vec::new();
    while before.peek().is_some() || after.peek().is_some() {
        while let Some(line) = before.next_if(|line| !new.contains(line)) {
            lines.push(shorten('-', line));
        }
        while let Some(line) = after.next_if(|line| !old.contains(line)) {
            lines.push(shorten('+', line));
        }
        before.next();
        after.next();
    }
    lines
}

fn shorten(sign: char, line: &str) -> String {
    let shown: String = line.chars().take(MAX_LINE).collect();
    let end = if shown.len() < line.len() { " .." } else { "" };
    format!("{sign}  {shown}{end}")
}
