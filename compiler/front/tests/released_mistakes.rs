//! Every mistake in a released config has a place, and says what to write.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use ltxc_bundle::Settings;
use ltxc_front::{Diagnostic, PresetFile, library};

/// The wrong configs that are refused while they are read: the mistakes with their places, and what helps.
const MISTAKES: &str = "\
block_lists_of_another_length 21:20
    `skip_block_list` has 6 values for 7 `guidance_timesteps`
    write one value for all steps, or one for each of the guidance timesteps
blocks_below_zero 6:1
    `skip_block_list` of a released config: it must be one value or a list of values
checkpoint_is_a_number 2:18
    `checkpoint_path` must be text, not a number
defaults_of_a_preset 18:1
    a released config has no key `defaults`
    known here: pipeline_type, checkpoint_path, text_encoder_model_name_or_path
first_pass_is_a_list 17:3
    `first_pass` must be a map, not a list
list_of_another_length 18:14
    `stg_scale` has 6 values for 7 `guidance_timesteps`
    write one value for all steps, or one for each of the guidance timesteps
list_without_timesteps 3:17
    `guidance_scale` is a list, but there are no `guidance_timesteps` for its values
    write one value for all steps, or one for each of the guidance timesteps
many_mistakes 1:16
    there is no `pipeline_type: multi`
    known here: base, multi-scale
many_mistakes 5:11
    `stg_mode` must be text, not a whole number
many_mistakes 9:12
    there is no `precision: b`
    known here: bfloat16, float16, float32
many_mistakes 28:3
    `second_pass` has no key `stg_scales`
    did you mean `stg_scale`?
passes_of_a_base 3:1
    `pipeline_type: base` has one pass and no `downscale_factor`
    write `pipeline_type: multi-scale`, or leave this out
passes_of_a_base 15:1
    `pipeline_type: base` has one pass and no `first_pass`
    write `pipeline_type: multi-scale`, or leave this out
passes_of_a_base 25:1
    `pipeline_type: base` has one pass and no `second_pass`
    write `pipeline_type: multi-scale`, or leave this out
run_setting_in_first_pass 23:3
    `first_pass` has no key `sampler`
    known here: guidance_scale, stg_scale, rescaling_scale
scale_is_text 27:3
    `guidance_scale` of `second_pass` of a released config: it must be one value or a list of values
threshold_is_text 14:37
    `prompt_enhancement_words_threshold` must be a whole number, not text
unknown_key 3:1
    a released config has no key `guidence_scale`
    did you mean `guidance_scale`?
unknown_key_in_first_pass 19:3
    `first_pass` has no key `rescale_scale`
    did you mean `rescaling_scale`?
unknown_pipeline_type 1:16
    there is no `pipeline_type: multi_scale`
    did you mean `multi-scale`?
unknown_precision 12:12
    there is no `precision: bfloat61`
    did you mean `bfloat16`?
unknown_sampler 13:10
    there is no `sampler: karras`
    known here: from_checkpoint, uniform, linear-quadratic
unknown_stg_mode 8:11
    there is no `stg_mode: attention_value`
    did you mean `attention_values`?
without_second_pass 1:16
    `pipeline_type: multi-scale` needs the key `second_pass`
without_upscaler 1:16
    `pipeline_type: multi-scale` needs the key `spatial_upscaler_model_path`
    name the upscaler of the release, such as ltxv-spatial-upscaler-0.9.8.safetensors, or write `pipeline_type: base`
";

/// Those that are refused later, when the files that they name are opened.
const LATER: [&str; 3] = [
    "checkpoint_is_not_here",
    "text_encoder_is_not_here",
    "text_encoder_is_on_the_hub",
];

fn wrong_configs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/bad/presets");
    let listed = fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml") && name_of(path).is_some());
    files.sort();
    files
}

fn name_of(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    stem.strip_prefix("released_").map(str::to_owned)
}

/// Reads a config with all of its settings, as a compile does.
fn mistakes(path: &Path) -> Vec<Diagnostic> {
    let source = library::read_path(path).unwrap();
    let settings =
        PresetFile::read(&source, &[]).and_then(|preset| preset.defaults.read::<Settings>());
    settings.err().unwrap_or_default()
}

/// In the form of the table, a help of several names cut short.
fn shown(name: &str, mistake: &Diagnostic) -> String {
    let help = mistake.help.as_deref().unwrap_or_default();
    let help: Vec<&str> = help.split(", ").take(3).collect();
    let (place, message, help) = (mistake.span, &mistake.message, help.join(", "));
    format!(
        "{name} {}:{}\n    {message}\n    {help}",
        place.line, place.column
    )
    .trim_end()
    .to_owned()
}

#[test]
fn mistakes_have_a_place_and_say_what_to_write() {
    let mut said = Vec::new();
    for path in wrong_configs() {
        let name = name_of(&path).unwrap();
        let mistakes = mistakes(&path);
        assert_eq!(
            mistakes.is_empty(),
            LATER.contains(&name.as_str()),
            "{name}"
        );
        said.extend(mistakes.iter().map(|mistake| shown(&name, mistake)));
    }
    let said = said.join("\n") + "\n";
    assert!(said == MISTAKES, "{said}");
}
