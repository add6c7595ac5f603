//! A run that breaks off and goes on is a run without a break.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ltxc_bundle::{Manifest, Settings};
use ltxc_runtime::run::{Aside, Condition, Job, State, StateError};
use ltxc_runtime::tensor::Tensor;
use tempfile::TempDir;

use super::bench::{Bench, at, image};
use super::beside::{Keeps, bench, in_windows, run, same};
use super::fake::one;
use super::plans::{manifest, model, two_passes};
use super::takes::mixing;

/// Counts the calls of a transformer, and makes one of them fail.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<(usize, Option<usize>)>>);

impl Calls {
    fn of(bench: &Bench) -> Self {
        let calls = Self::default();
        let counting = calls.clone();
        bench.fake.set("transformer", move |inputs| {
            let (count, fails) = &mut *counting.0.lock().unwrap();
            *count += 1;
            match fails.take_if(|fails| *fails + 1 == *count) {
                Some(_) => one("nothing", Tensor::new([1], vec![0.0f32]).unwrap()),
                None => mixing(inputs),
            }
        });
        calls
    }

    /// How many there were, after which they are counted anew.
    fn take(&self, fails: Option<usize>) -> usize {
        std::mem::replace(&mut *self.0.lock().unwrap(), (0, fails)).0
    }
}

fn state(folder: &Path, bench: &Bench, job: &Job, seeds: &[u64]) -> Result<State, StateError> {
    let takes: Vec<_> = seeds.iter().map(|seed| ("a cat", *seed)).collect();
    State::open(folder, bench.runner.bundle(), job, &takes)
}

fn stateful(folder: &Path, bench: &Bench, job: &Job, seeds: &[u64]) -> Option<Keeps> {
    let (state, mut keeps) = (state(folder, bench, job, seeds).unwrap(), Keeps::default());
    let aside = Aside {
        state: Some(&state),
        preview: None,
    };
    run(bench, job, seeds, &mut keeps, aside)
        .ok()
        .map(|()| keeps)
}

/// Breaks off at every call of the transformer in turn, goes on, and compares; each window makes so many calls.
fn check(
    plan: &Manifest,
    settings: &Settings,
    conditions: &[Condition],
    seeds: &[u64],
    window: usize,
) {
    for sequential in [false, true] {
        let bench = bench(plan.clone(), sequential);
        let job = bench.conditioned(settings.clone(), conditions.to_vec());
        let calls = Calls::of(&bench);
        let mut expected = Keeps::default();
        run(&bench, &job, seeds, &mut expected, Aside::default()).unwrap();
        let all = calls.take(None);
        for fails in (0..all).step_by(2) {
            let folder = TempDir::new().unwrap();
            let folder = folder.path().join("work");
            calls.take(Some(fails));
            assert!(stateful(&folder, &bench, &job, seeds).is_none());
            calls.take(None);
            let found = stateful(&folder, &bench, &job, seeds).unwrap();
            same(&found, &expected);
            let again = calls.take(None);
            assert_eq!(
                again,
                all - fails / window * window,
                "broken off at {fails}"
            );
            let kept = state(&folder, &bench, &job, seeds).unwrap();
            assert_eq!(State::windows_in(kept.folder()).unwrap(), all / window);
            kept.remove().unwrap();
            assert!(!folder.exists());
        }
    }
}

#[test]
fn a_run_that_goes_on_is_the_same() {
    let plan = manifest(model(), true, &[2]);
    let drawing = Settings {
        stochastic_sampling: Some(true),
        image_cond_noise_scale: Some(0.2),
        window_adain_factor: Some(0.5),
        ..in_windows()
    };
    let conditions = [at(image(0.5), 0, 1.0), at(image(0.3), 19, 0.7)];
    check(&plan, &in_windows(), &[], &[1], 3);
    check(&plan, &drawing, &conditions, &[1, 2], 3);
}

#[test]
fn a_run_of_two_passes_that_goes_on_is_the_same() {
    let settings = Settings {
        height: Some(192),
        width: Some(192),
        timesteps: None,
        steps: Some(2),
        stochastic_sampling: Some(true),
        second_pass: Some(Box::new(Settings {
            timesteps: Some(vec![0.5, 0.2]),
            ..Settings::default()
        })),
        ..in_windows()
    };
    check(&two_passes("spatial_upscaler"), &settings, &[], &[3], 2);
}

#[test]
fn nothing_is_loaded_for_what_is_there() {
    let bench = bench(manifest(model(), false, &[]), false);
    let (job, folder) = (bench.job(in_windows()), TempDir::new().unwrap());
    stateful(folder.path(), &bench, &job, &[1]).unwrap();
    let again = self::bench(manifest(model(), false, &[]), false);
    fs::write(
        again.runner.bundle().path("manifest.json"),
        fs::read(bench.runner.bundle().path("manifest.json")).unwrap(),
    )
    .unwrap();
    stateful(folder.path(), &again, &job, &[1]).unwrap();
    let loads = again.fake.loads();
    assert!(
        loads.iter().all(|load| load.starts_with("decode")),
        "{loads:?}"
    );
}

#[test]
fn the_state_of_another_run_is_refused_with_what_differs() {
    let bench = bench(manifest(model(), false, &[]), false);
    let folder = TempDir::new().unwrap();
    let settings = || Settings {
        fps: Some(25.0),
        ..in_windows()
    };
    let first = bench.job(settings());
    drop(state(folder.path(), &bench, &first, &[1]).unwrap());
    let refused = |settings, conditions, seeds: &[u64]| {
        let job = bench.conditioned(settings, conditions);
        state(folder.path(), &bench, &job, seeds)
            .unwrap_err()
            .to_string()
    };
    for (settings, seeds, why) in [
        (settings(), vec![2], "seed of video 1 was 1, now 2"),
        (settings(), vec![1, 2], "seed of video 2 was nothing, now 2"),
        (
            Settings {
                fps: Some(24.0),
                ..settings()
            },
            vec![1],
            "fps was 25, now 24",
        ),
        (
            Settings {
                timesteps: Some(vec![1.0, 0.5]),
                ..settings()
            },
            vec![1],
            "timesteps of pass 1 was [1.0, 0.6, 0.4], now [1.0, 0.5]",
        ),
    ] {
        let words = refused(settings, Vec::new(), &seeds);
        assert!(words.contains(why), "{words}");
    }
    let words = refused(settings(), vec![at(image(0.5), 0, 1.0)], &[1]);
    assert!(words.contains("condition 1 was nothing, now"), "{words}");
    state(folder.path(), &bench, &first, &[1]).unwrap();
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let bench = bench(manifest(model(), false, &[]), false);
    let (job, folder) = (bench.job(in_windows()), TempDir::new().unwrap());
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let words = state(folder.path(), &bench, &job, &[1]).unwrap_err();
    assert!(words.to_string().contains("`notes.txt`"), "{words}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    // What a killed run leaves of a beginning is no hindrance, and what others put in later stays.
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(".partial-x"), "{").unwrap();
    fs::write(folder.path().join("lock"), "").unwrap();
    let begun = state(folder.path(), &bench, &job, &[1]).unwrap();
    assert!(!folder.path().join(".partial-x").exists());
    let busy = state(folder.path(), &bench, &job, &[1]).unwrap_err();
    assert!(busy.to_string().contains("another run works"), "{busy}");
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    begun.remove().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn damaged_work_is_named() {
    let bench = bench(manifest(model(), false, &[]), false);
    let (job, folder) = (bench.job(in_windows()), TempDir::new().unwrap());
    stateful(folder.path(), &bench, &job, &[1]).unwrap();
    let window = folder.path().join("pass0-take0-window1.safetensors");
    let whole = fs::read(&window).unwrap();
    for damaged in [
        &whole[..whole.len() / 2],
        b"",
        b"\x08\0\0\0\0\0\0\0{}      ",
    ] {
        fs::write(&window, damaged).unwrap();
        let (state, mut keeps) = (
            state(folder.path(), &bench, &job, &[1]).unwrap(),
            Keeps::default(),
        );
        let aside = Aside {
            state: Some(&state),
            preview: None,
        };
        let words = run(&bench, &job, &[1], &mut keeps, aside)
            .unwrap_err()
            .to_string();
        assert!(words.contains("window1.safetensors: "), "{words}");
        assert!(
            words.contains("remove it to make that window again"),
            "{words}"
        );
    }
    fs::remove_file(&window).unwrap();
    stateful(folder.path(), &bench, &job, &[1]).unwrap();
    assert_eq!(fs::read(&window).unwrap(), whole);
}
