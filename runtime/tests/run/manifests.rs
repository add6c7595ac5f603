//! Manifests that contradict themselves are refused, and none of them makes the program fail.

use ltxc_bundle::{Manifest, Settings, StageOp};
use ltxc_runtime::run::Job;

use super::bench::settings;
use super::plans::{port, two_passes, upscale};

type Change = fn(&mut Manifest);

fn refused(change: Change) -> String {
    let mut manifest = two_passes("spatial_upscaler");
    change(&mut manifest);
    let mut settings = settings(17);
    settings.timesteps = None;
    settings.second_pass = Some(Box::new(Settings {
        timesteps: Some(vec![0.5]),
        ..Settings::default()
    }));
    (settings.height, settings.width) = (Some(192), Some(192));
    Job::new(&manifest, settings).unwrap_err().to_string()
}

fn output(manifest: &mut Manifest, shape: [&str; 5]) {
    let upscaler = manifest.components.get_mut("spatial_upscaler").unwrap();
    upscaler.outputs = vec![port("upscaled", "f32", &shape)];
}

#[test]
fn stages_find_what_they_ask_for() {
    let changes: [(Change, &str); 8] = [
        (
            |m| m.plan.stages.clear(),
            "single components without a pipeline",
        ),
        (
            |m| m.plan.stages.swap(1, 2),
            "stage `small`: no stage before it prepares `small_start`",
        ),
        (
            |m| m.plan.stages.swap(2, 3),
            "stage `upscaled`: no stage before it makes latents `small`",
        ),
        (
            |m| m.plan.stages[3].op = upscale("spatial_upscaler", "small_start"),
            "stage `upscaled`: no stage before it makes latents `small_start`",
        ),
        (
            |m| drop(m.plan.stages.remove(3)),
            "stage `start`: no stage before it makes latents `upscaled`",
        ),
        (
            |m| drop(m.components.remove("latent_statistics")),
            "stage `upscaled`: there is no component `latent_statistics`",
        ),
        (
            |m| drop(m.components.get_mut("vae_encoder").unwrap().inputs.pop()),
            "`vae_encoder` has no input `noise`",
        ),
        (
            |m| m.model.scheduler = serde_json::json!({"sampler": "Cosine"}),
            "its scheduler is not known",
        ),
    ];
    for (change, expected) in changes {
        let message = refused(change);
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn an_upscaler_says_what_it_makes() {
    let unknown = "the sizes of `spatial_upscaler`'s latents are not known";
    let changes: [(Change, &str); 7] = [
        (
            |m| output(m, ["B", "16", "frames", "new", "columns"]),
            unknown,
        ),
        (
            |m| output(m, ["B", "16", "frames", "1", "2*columns"]),
            unknown,
        ),
        (
            |m| output(m, ["B", "16", "0", "2*rows", "2*columns"]),
            unknown,
        ),
        (
            |m| output(m, ["B", "16", "frames - 9", "2*rows", "2*columns"]),
            unknown,
        ),
        (
            |m| output(m, ["B", "16", "a/b", "rows", "columns"]),
            unknown,
        ),
        (
            |m| {
                output(
                    m,
                    ["B", "16", "frames", "9000000000000000000*rows", "2*columns"],
                )
            },
            unknown,
        ),
        (
            |m| {
                m.components.get_mut("spatial_upscaler").unwrap().outputs[0]
                    .shape
                    .truncate(3)
            },
            unknown,
        ),
    ];
    for (change, expected) in changes {
        let message = refused(change);
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

/// The number of tokens of such a pass has no place in 64 bits.
#[test]
fn upscalers_of_enormous_videos_are_refused() {
    let huge = |m: &mut Manifest| {
        output(
            m,
            [
                "B",
                "16",
                "4000000000*frames",
                "4000000000*rows",
                "4000000000*columns",
            ],
        );
    };
    let message = refused(huge);
    assert!(!message.contains("skip_initial"), "{message}");
}

/// 192 x 192 pixels are 3 x 3 latents in the first pass.
#[test]
fn an_upscaler_takes_what_it_was_compiled_for() {
    let small: Change = |m| {
        let upscaler = m.components.get_mut("spatial_upscaler").unwrap();
        upscaler.sizes.get_mut("rows").unwrap().max = 2;
    };
    let expected = "`spatial_upscaler` cannot take this: input `latents`, axis 3: expected from 1 to 2 (`rows`), found 3";
    assert_eq!(refused(small), expected);
}

#[test]
fn settings_of_no_pass_are_refused() {
    let change: Change = |m| {
        for stage in &mut m.plan.stages {
            if let StageOp::PrepareLatents(op) = &mut stage.op {
                op.pass = None;
            }
        }
    };
    assert_eq!(
        refused(change),
        "`second_pass` is set: the pipeline `two_passes` has no such pass"
    );
}
