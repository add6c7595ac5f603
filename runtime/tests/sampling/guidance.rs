//! Guidance against the velocities recorded from the reference pipeline.

use super::support::{Golden, guided_steps, max_error};
use ltxc_bundle::Scheduled;
use ltxc_runtime::sampling::{Guidance, GuidanceError, GuidanceSchedule, Predictions, Row};
use serde_json::json;

const BOTH: Guidance = Guidance {
    guidance_scale: 3.0,
    stg_scale: 1.0,
    rescaling_scale: 0.7,
    cfg_star: true,
};

/// The steps whose rows are on record, the first few of every run.
fn recorded_steps(golden: &Golden) -> Vec<&str> {
    let names = golden.tensors.keys();
    names
        .filter_map(|name| name.strip_suffix(".dit_velocity"))
        .collect()
}

fn settings(golden: &Golden) -> GuidanceSchedule {
    let args = &golden.meta["args"];
    let mut settings = args.as_object().expect("arguments").clone();
    settings.extend(args["first_pass"].as_object().cloned().unwrap_or_default());
    serde_json::from_value(settings.into()).expect("guidance settings")
}

#[test]
fn follows_the_reference_pipelines() {
    let (mut checked, mut worst) = ([0; 4], 0.0_f32);
    for (path, golden) in guided_steps() {
        let settings = settings(&golden);
        for step in recorded_steps(&golden) {
            let t = golden.values(&format!("{step}.t"))[0];
            let guidance = settings.at(t).expect("settings for every timestep");
            let rows = guidance.rows();
            let stacked = golden.values(&format!("{step}.dit_velocity"));
            let predictions = Predictions::from_stacked(&rows, stacked).expect("rows");
            let expected = golden.values(&format!("{step}.guided_velocity"));
            let mut guided = vec![0.0; expected.len()];
            let combined = guidance.combine(predictions, &mut guided);
            assert_eq!(combined, Ok(()), "{path} {step}");
            let error = max_error(&guided, expected);
            assert!(error < 5e-6, "{path} {step}: {error:e}");
            worst = worst.max(error);
            checked[rows.len()] += 1;
        }
    }
    println!("steps by number of rows {checked:?}, worst error {worst:e}");
    assert!(checked[1..].iter().all(|count| *count >= 2), "{checked:?}");
}

#[test]
fn computes_only_the_rows_it_needs() {
    let rows = |guidance_scale, stg_scale| {
        Guidance {
            guidance_scale,
            stg_scale,
            ..BOTH
        }
        .rows()
    };
    assert_eq!(
        rows(3.0, 1.0),
        [Row::Negative, Row::Positive, Row::Perturbed]
    );
    assert_eq!(rows(1.0, 1.0), [Row::Positive, Row::Perturbed]);
    assert_eq!(rows(1.5, 0.0), [Row::Negative, Row::Positive]);
    assert_eq!(rows(1.0, 0.0), [Row::Positive]);
}

#[test]
fn rescales_only_under_stg() {
    let (negative, positive) = ([0.0, 1.0], [1.0, 3.0]);
    let rows = Predictions {
        negative: Some(&negative),
        positive: &positive,
        perturbed: None,
    };
    let guidance = Guidance {
        stg_scale: 0.0,
        cfg_star: false,
        ..BOTH
    };
    let mut out = [0.0; 2];
    assert_eq!(guidance.combine(rows, &mut out), Ok(()));
    assert_eq!(out, [3.0, 7.0]);
}

#[test]
fn projects_the_negative_velocity() {
    let (negative, positive) = ([2.0, 0.0], [1.0, 1.0]);
    let rows = Predictions {
        negative: Some(&negative),
        positive: &positive,
        perturbed: None,
    };
    let mut out = [0.0; 2];
    let guidance = Guidance {
        stg_scale: 0.0,
        ..BOTH
    };
    assert_eq!(guidance.combine(rows, &mut out), Ok(()));
    assert!(max_error(&out, &[1.0, 3.0]) < 1e-6);
}

#[test]
fn names_the_row_that_is_missing_or_too_short() {
    let rows = Predictions {
        negative: None,
        positive: &[0.0; 2],
        perturbed: None,
    };
    let missing = GuidanceError::Missing { row: Row::Negative };
    assert_eq!(BOTH.combine(rows, &mut [0.0; 2]), Err(missing));
    let short = Predictions {
        negative: Some(&[0.0]),
        ..rows
    };
    let length = GuidanceError::Length {
        what: "negative row",
        expected: 2,
        found: 1,
    };
    assert_eq!(BOTH.combine(short, &mut [0.0; 2]), Err(length));
    let stack = Predictions::from_stacked(&BOTH.rows(), &[0.0; 4]).err();
    assert_eq!(stack, Some(GuidanceError::Stack { found: 4, rows: 3 }));
}

#[test]
fn a_list_follows_the_guidance_timesteps() {
    let listed = Scheduled::Listed(vec![1, 2, 3]);
    let timesteps = [1.0, 0.99, 0.6];
    assert_eq!(listed.at(&timesteps, 1.0), Some(&1));
    assert_eq!(listed.at(&timesteps, 0.995), Some(&2));
    assert_eq!(listed.at(&timesteps, 0.6), Some(&3));
    assert_eq!(listed.at(&timesteps, 0.1), Some(&3));
    assert_eq!(Scheduled::Constant(7).at(&[], 0.1), Some(&7));
    assert_eq!(Scheduled::<u8>::Listed(Vec::new()).at(&[], 0.1), None);
    let schedule = GuidanceSchedule {
        guidance_scale: Scheduled::Listed(vec![1.0, 2.0, 3.0]),
        stg_scale: Scheduled::Constant(0.0),
        rescaling_scale: Scheduled::Constant(1.0),
        cfg_star_rescale: false,
        guidance_timesteps: Vec::new(),
    };
    let list = GuidanceError::List {
        expected: 0,
        found: 3,
    };
    assert_eq!(schedule.at(0.1), Err(list));
}

#[test]
fn reads_values_and_lists_of_values() {
    let blocks = |value| serde_json::from_value::<Scheduled<Vec<usize>>>(value).expect("blocks");
    assert_eq!(blocks(json!([27])), Scheduled::Constant(vec![27]));
    assert_eq!(
        blocks(json!([[], [1, 2]])),
        Scheduled::Listed(vec![vec![], vec![1, 2]])
    );
}
