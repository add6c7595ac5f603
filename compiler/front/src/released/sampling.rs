//! The settings of a released config: the passes, the lists along the timesteps, and what holds in silence.

use super::{Passes, Pipeline, WHAT, word};
use crate::diagnostic::Span;
use crate::reader::{Fields, Read, Reader, Reported};
use crate::section::Section;
use crate::tree::{Key, Kind, Tree};

/// Settings that may differ between passes.
const OF_A_PASS: [&str; 14] = [
    "guidance_scale",
    "stg_scale",
    "rescaling_scale",
    "guidance_timesteps",
    "skip_block_list",
    "num_inference_steps",
    "timesteps",
    "skip_initial_inference_steps",
    "skip_final_inference_steps",
    "cfg_star_rescale",
    "stochastic_sampling",
    "tone_map_compression_ratio",
    "decode_timestep",
    "decode_noise_scale",
];
/// Settings of the original program's command line, which a config may state as well here.
const OF_A_RUN: [&str; 8] = [
    "negative_prompt",
    "seed",
    "height",
    "width",
    "num_frames",
    "frame_rate",
    "image_cond_noise_scale",
    "text_encoder_max_tokens",
];
/// How much smaller the first of two passes is.
const DOWNSCALE: &str = "downscale_factor";
/// What only a config of two passes has.
const OF_TWO_PASSES: [&str; 3] = [DOWNSCALE, "first_pass", "second_pass"];
/// Settings that take a list along `guidance_timesteps`.
const LISTS: [&str; 4] = [
    "guidance_scale",
    "stg_scale",
    "rescaling_scale",
    "skip_block_list",
];
/// Schedules by name; the original program takes any other word for the last one.
const SAMPLERS: [&str; 3] = ["from_checkpoint", "uniform", "linear-quadratic"];

type Entry = (Key, Tree);

/// Reads the settings; without a pipeline, which is a mistake by itself, passes may be there or not.
pub fn read(
    reader: &mut Reader,
    fields: &mut Fields<'_>,
    pipeline: Read<Pipeline>,
) -> Read<Section> {
    let sampler = sampler(reader, fields);
    let names = OF_A_PASS.iter().chain(&OF_A_RUN);
    let mut entries: Vec<Entry> = names
        .filter_map(|name| fields.take_entry(name).cloned())
        .collect();
    let passes = passes(reader, fields, pipeline);
    entries.extend(sampler?);
    let (shared, passes) = passes?;
    check_lists(reader, &entries, &passes)?;
    let silent = in_silence(&entries, &passes);
    entries.extend(shared);
    entries.extend(silent.into_iter().map(|(name, kind)| placeless(name, kind)));
    let (what, span) = (WHAT.to_owned(), fields.span);
    let kind = Kind::Map(entries);
    Ok(Section {
        what,
        tree: Tree { kind, span },
        source: reader.source.clone(),
    })
}

fn placeless(name: &str, kind: Kind) -> Entry {
    let (name, span) = (name.to_owned(), Span::default());
    (Key { name, span }, Tree { kind, span })
}

/// The schedule, in the word that settings have for it.
fn sampler(reader: &mut Reader, fields: &mut Fields<'_>) -> Read<Option<Entry>> {
    let Some((key, tree)) = fields.take_entry("sampler") else {
        return Ok(None);
    };
    let plain = |text: &str| text.replace(['-', '_', ' '], "").to_lowercase();
    let found = match tree.as_text() {
        Some("") => SAMPLERS[0],
        _ => word(reader, tree, "sampler", &SAMPLERS, |word, text| {
            plain(word) == plain(text)
        })?,
    };
    let kind = Kind::Text(found.replace('-', "_"));
    let span = tree.span;
    Ok(Some((key.clone(), Tree { kind, span })))
}

/// The keys of several passes as they are written, and the settings of each pass.
fn passes<'t>(
    reader: &mut Reader,
    fields: &mut Fields<'t>,
    pipeline: Read<Pipeline>,
) -> Read<(Vec<Entry>, Vec<&'t [Entry]>)> {
    let (mut written, mut passes, mut result) = (Vec::new(), Vec::new(), Ok(()));
    for name in OF_TWO_PASSES {
        let entry = fields.take_entry(name);
        written.extend(entry.cloned());
        match (entry, pipeline.map(|p| (p.passes, p.span))) {
            (Some((key, _)), Ok((Passes::One, _))) => {
                result = Err(one_pass_only(reader, key));
            }
            (None, Ok((Passes::Two, span))) => {
                let message = format!("`pipeline_type: multi-scale` needs the key `{name}`");
                result = Err(reader.mistake("yaml::missing-key", span, message));
            }
            (Some((key, tree)), _) if name != DOWNSCALE => match pass(reader, key, tree) {
                Ok(pass) => passes.push(pass),
                Err(reported) => result = Err(reported),
            },
            _ => {}
        }
    }
    result.map(|()| (written, passes))
}

fn one_pass_only(reader: &mut Reader, key: &Key) -> Reported {
    let message = format!("`pipeline_type: base` has one pass and no `{}`", key.name);
    let diagnostic = reader.at("released::pass", key.span, message);
    reader.report(diagnostic.help("write `pipeline_type: multi-scale`, or leave this out"))
}

fn pass<'t>(reader: &mut Reader, key: &Key, tree: &'t Tree) -> Read<&'t [Entry]> {
    let mut fields = reader.map(tree, &format!("`{}`", key.name))?;
    for name in OF_A_PASS {
        fields.take(name);
    }
    reader.close(fields)?;
    match &tree.kind {
        Kind::Map(entries) => Ok(entries),
        _ => Ok(&[]),
    }
}

/// What a setting is in a pass: as the pass says, or as the file says for all.
fn value<'t>(name: &str, pass: &'t [Entry], shared: &'t [Entry]) -> Option<&'t Tree> {
    let mut entries = pass.iter().chain(shared);
    let found = entries.find(|(key, tree)| key.name == name && !matches!(tree.kind, Kind::Null));
    found.map(|(_, tree)| tree)
}

/// A list needs a timestep for each of its values, from which that value holds.
fn check_lists(reader: &mut Reader, shared: &[Entry], passes: &[&[Entry]]) -> Read<()> {
    let mut result = Ok(());
    for pass in or_one(passes) {
        let timesteps = value("guidance_timesteps", pass, shared).map_or(0, length);
        for name in LISTS {
            let listed = value(name, pass, shared).filter(|tree| is_listed(name, tree));
            let Some(tree) = listed.filter(|tree| length(tree) != timesteps) else {
                continue;
            };
            let message = match timesteps {
                0 => format!(
                    "`{name}` is a list, but there are no `guidance_timesteps` for its values"
                ),
                _ => format!(
                    "`{name}` has {} values for {timesteps} `guidance_timesteps`",
                    length(tree)
                ),
            };
            let diagnostic = reader.at("released::list", tree.span, message);
            let help = "write one value for all steps, or one for each of the guidance timesteps";
            result = Err(reader.report(diagnostic.help(help)));
        }
    }
    result
}

/// A config of one pass is checked as one pass that says nothing of its own.
fn or_one<'p, 't>(passes: &'p [&'t [Entry]]) -> &'p [&'t [Entry]] {
    match passes {
        [] => &[&[]],
        passes => passes,
    }
}

fn length(tree: &Tree) -> usize {
    match &tree.kind {
        Kind::List(items) => items.len(),
        _ => 0,
    }
}

/// A list of blocks is one value; a list of such lists follows the timesteps.
fn is_listed(name: &str, tree: &Tree) -> bool {
    match &tree.kind {
        Kind::List(items) if name == "skip_block_list" => {
            let first = items.first();
            first.is_some_and(|item| matches!(item.kind, Kind::List(_)))
        }
        Kind::List(_) => true,
        _ => false,
    }
}

/// The original program's defaults for what the file leaves open, in all passes or in one.
fn in_silence(shared: &[Entry], passes: &[&[Entry]]) -> Vec<(&'static str, Kind)> {
    let says = |pass: &[Entry], name: &str| value(name, pass, shared).is_some();
    let silent = |name: &str| or_one(passes).iter().any(|pass| !says(pass, name));
    let unscheduled =
        |pass: &&[Entry]| !says(pass, "timesteps") && !says(pass, "num_inference_steps");
    let mut found = own_defaults();
    found.retain(|(name, _)| match *name {
        "num_inference_steps" => or_one(passes).iter().any(unscheduled),
        name => silent(name),
    });
    if silent("decode_noise_scale") {
        let timestep = value("decode_timestep", &[], shared).map(|tree| tree.kind.clone());
        found.push(("decode_noise_scale", timestep.unwrap_or(Kind::Float(0.0))));
    }
    found
}

/// Of its command line first, then of its pipeline. The window is ours: that program makes no video longer than 257 frames.
fn own_defaults() -> Vec<(&'static str, Kind)> {
    let negative = "worst quality, inconsistent motion, blurry, jittery, distorted";
    vec![
        ("negative_prompt", Kind::Text(negative.to_owned())),
        ("seed", Kind::Int(171_198)),
        ("height", Kind::Int(704)),
        ("width", Kind::Int(1216)),
        ("num_frames", Kind::Int(121)),
        ("window", Kind::Int(257)),
        ("frame_rate", Kind::Int(30)),
        ("image_cond_noise_scale", Kind::Float(0.15)),
        ("text_encoder_max_tokens", Kind::Int(256)),
        ("noise", Kind::Text("original".to_owned())),
        ("num_inference_steps", Kind::Int(20)),
        ("guidance_scale", Kind::Float(4.5)),
        ("stg_scale", Kind::Float(1.0)),
        ("rescaling_scale", Kind::Float(0.7)),
        ("decode_timestep", Kind::Float(0.0)),
    ]
}
