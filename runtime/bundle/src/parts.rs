//! Whether the parts of a component fit one another.

use std::collections::BTreeMap;

use crate::manifest::{Component, Part, Per};

/// Most parts of a component; the compiler makes four.
const MOST: usize = 16;

/// Every part reads what is there before it, makes something of its own, and keeps for a video nothing that changes
/// from step to step.
pub fn check_parts(component: &Component) -> Result<(), String> {
    if component.parts.len() > MOST {
        let found = component.parts.len();
        return Err(format!("it has {found} parts, at most {MOST} are possible"));
    }
    let inputs = component.inputs.iter();
    let mut known: BTreeMap<&str, Per> = inputs
        .map(|port| (port.name.as_str(), Per::Video))
        .collect();
    let mut names = Vec::new();
    for part in &component.parts {
        let wrong = |why: String| format!("part `{}`: {why}", part.name);
        if names.contains(&&part.name) {
            return Err(wrong("its name is used twice".to_owned()));
        }
        names.push(&part.name);
        check_part(component, part, &mut known).map_err(wrong)?;
    }
    Ok(())
}

fn check_part<'a>(
    component: &Component,
    part: &'a Part,
    known: &mut BTreeMap<&'a str, Per>,
) -> Result<(), String> {
    for input in &part.inputs {
        match known.get(input.as_str()) {
            None => return Err(format!("it reads `{input}`, which nothing before it makes")),
            Some(Per::Step) if part.per == Per::Video => {
                return Err(format!(
                    "it is kept for a video and reads `{input}`, which changes at every step"
                ));
            }
            Some(_) => {}
        }
    }
    if let Some(compared) = &part.reuse {
        let is_input = component.inputs.iter().any(|port| port.name == *compared);
        if is_input || part.per == Per::Video || !known.contains_key(compared.as_str()) {
            return Err(format!(
                "whether it is used again cannot depend on `{compared}`"
            ));
        }
    }
    if part.outputs.is_empty() {
        return Err("it makes nothing".to_owned());
    }
    for output in &part.outputs {
        if component
            .outputs
            .iter()
            .any(|port| port.name == output.name)
        {
            return Err(format!(
                "it makes `{}`, an output of the whole",
                output.name
            ));
        }
        if known.insert(&output.name, part.per).is_some() {
            return Err(format!(
                "it makes `{}`, which is there before it",
                output.name
            ));
        }
    }
    Ok(())
}
