//! Decoding beside denoising: the same video, sooner, whatever stops.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use ltxc_bundle::{Manifest, Settings};
use ltxc_runtime::run::{
    Aside, Decoded, Event, Frames, Job, Order, Pieces, RunError, Sink, Stop, Take, Tensors,
};
use ltxc_runtime::sampling::NoiseSource;
use ltxc_runtime::tensor::Tensor;

use super::bench::{Bench, Telling, at, image, settings};
use super::fake::{self, one};
use super::plans::{manifest, model, streaming, two_passes};
use super::takes::mixing;

/// Longest that anything here may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Keeps what comes; fails where it is told to.
#[derive(Default)]
pub struct Keeps {
    pub video: Vec<Vec<f32>>,
    pub finished: Vec<(usize, Decoded)>,
    latents: Vec<Decoded>,
    pub sizes: Vec<[usize; 2]>,
    /// Which piece is refused.
    pub fails: Option<usize>,
}

impl Sink for Keeps {
    fn frames(&mut self, _: usize, frames: Frames) -> Result<(), Stop> {
        if self.fails == Some(self.video.len()) {
            return Err("the disk is full".into());
        }
        self.sizes.push([frames.width, frames.height]);
        self.video.push(frames.video);
        Ok(())
    }

    fn latents(&mut self, _: usize, latents: Decoded, _: usize) -> Result<(), Stop> {
        self.latents.push(latents);
        Ok(())
    }

    fn finished(&mut self, take: usize) -> Result<(), Stop> {
        let decoded = Decoded::joined(&std::mem::take(&mut self.latents))?;
        self.finished.push((take, decoded));
        Ok(())
    }
}

/// A run in windows of 17 frames, decoded one latent frame at a time.
pub fn bench(manifest: Manifest, sequential: bool) -> Bench {
    let mut bench = Bench::new(streaming(manifest));
    for (model, function) in [
        ("decode_first", fake::decode as fn(Tensors) -> Tensors),
        ("decode_only", fake::decode),
        ("decode_next", fake::decode_on),
        ("decode_last", fake::decode_on),
    ] {
        bench.fake.set(model, function);
    }
    bench.fake.set("transformer", mixing);
    let pieces = Pieces::Frames(std::num::NonZeroUsize::MIN);
    bench.runner = bench.runner.with_pieces(pieces).with_sequential(sequential);
    bench
}

pub fn in_windows() -> Settings {
    Settings {
        window: Some(17),
        window_overlap: Some(8),
        ..settings(41)
    }
}

/// The same for two passes, of which the second takes one step.
pub fn in_two_passes() -> Settings {
    Settings {
        height: Some(192),
        width: Some(192),
        timesteps: None,
        steps: Some(2),
        second_pass: Some(Box::new(Settings {
            timesteps: Some(vec![0.5]),
            ..Settings::default()
        })),
        ..in_windows()
    }
}

pub fn run(
    bench: &Bench,
    job: &Job,
    seeds: &[u64],
    sink: &mut dyn Sink,
    aside: Aside<'_>,
) -> Result<(), RunError> {
    let mut noises: Vec<_> = seeds.iter().map(|seed| job.noise_of(*seed)).collect();
    let takes = noises.iter_mut().map(|noise| Take {
        prompt: "a cat".to_owned(),
        noise: noise as &mut dyn NoiseSource,
        shift: 0,
    });
    let takes = takes.collect();
    let stages = bench
        .runner
        .generate_into(job, takes, &mut |_| {}, sink, aside)?;
    assert_eq!(stages.len(), bench.runner.manifest().plan.stages.len());
    Ok(())
}

fn made(bench: &Bench, job: &Job, seeds: &[u64]) -> Keeps {
    let mut keeps = Keeps::default();
    run(bench, job, seeds, &mut keeps, Aside::default()).unwrap();
    keeps
}

pub fn same(found: &Keeps, expected: &Keeps) {
    assert_eq!(found.video, expected.video);
    assert_eq!(found.finished.len(), expected.finished.len());
    for ((take, found), (expected_take, expected)) in found.finished.iter().zip(&expected.finished)
    {
        assert_eq!(take, expected_take);
        assert_eq!(found.latents, expected.latents);
        assert_eq!(found.decoder_latents, expected.decoder_latents);
    }
}

/// Settings with and without draws at every step, in every layout of noise.
#[test]
fn a_video_decoded_beside_denoising_is_the_same() {
    for (stochastic, noised) in [(false, 0.0), (true, 0.0), (false, 0.2), (true, 0.2)] {
        for layout in ["original", "diffusers", "comfyui"] {
            let settings = Settings {
                stochastic_sampling: Some(stochastic),
                image_cond_noise_scale: Some(noised),
                noise: Some(layout.to_owned()),
                tone_map_compression_ratio: Some(0.5),
                ..in_windows()
            };
            let conditions = || vec![at(image(0.5), 0, 1.0), at(image(0.3), 19, 0.7)];
            for conditions in [conditions(), Vec::new()] {
                let plan = manifest(model(), true, &[2, 1]);
                let [beside, after] = [false, true].map(|after| bench(plan.clone(), after));
                let job = beside.conditioned(settings.clone(), conditions);
                assert_eq!(beside.runner.order(&job, 1).unwrap(), Order::Beside);
                assert_eq!(after.runner.order(&job, 1).unwrap(), Order::After(None));
                same(&made(&beside, &job, &[7]), &made(&after, &job, &[7]));
                same(
                    &made(&beside, &job, &[7, 8, 9]),
                    &made(&after, &job, &[7, 8, 9]),
                );
            }
        }
    }
}

#[test]
fn the_last_of_two_passes_is_decoded_beside() {
    let settings = Settings {
        height: Some(192),
        width: Some(192),
        timesteps: None,
        steps: Some(2),
        second_pass: Some(Box::new(Settings {
            timesteps: Some(vec![0.5, 0.2]),
            stochastic_sampling: Some(true),
            ..Settings::default()
        })),
        ..in_windows()
    };
    let [beside, after] = [false, true].map(|after| bench(two_passes("spatial_upscaler"), after));
    let job = beside.job(settings);
    assert_eq!(beside.runner.order(&job, 1).unwrap(), Order::Beside);
    same(&made(&beside, &job, &[3]), &made(&after, &job, &[3]));
}

/// The end of the second window waits until frames of the first were decoded; after denoising it would wait in vain.
#[test]
fn the_first_frames_are_there_before_denoising_ends() {
    let bench = bench(manifest(model(), true, &[2]), false);
    let seen = Arc::new((Mutex::new(false), Condvar::new()));
    let (tells, waits) = (Arc::clone(&seen), seen);
    bench.fake.set("decode_first", move |inputs| {
        *tells.0.lock().unwrap() = true;
        tells.1.notify_all();
        fake::decode(inputs)
    });
    let job = bench.job(in_windows());
    let mut told = Vec::new();
    let mut tell = |event: Event<'_>| match event {
        Event::Step { step, .. } => {
            told.push(format!("step {step}"));
            if step == 6 {
                let decoded = waits.0.lock().unwrap();
                let waited = waits
                    .1
                    .wait_timeout_while(decoded, LIMIT, |decoded| !*decoded);
                assert!(!waited.unwrap().1.timed_out(), "nothing was decoded");
            }
        }
        Event::StageStarted { stage, .. } => told.push(format!("{stage} begins")),
        _ => {}
    };
    let mut noise = job.noise();
    let take = Take {
        prompt: "a cat".to_owned(),
        noise: &mut noise,
        shift: 0,
    };
    let (mut keeps, aside) = (Keeps::default(), Aside::default());
    let made = bench
        .runner
        .generate_into(&job, vec![take], &mut tell, &mut keeps, aside);
    let stages: Vec<_> = made.unwrap().into_iter().map(|time| time.stage).collect();
    assert_eq!(stages, ["prompts", "start", "latents", "pixels"]);
    assert_eq!(
        told.iter().filter(|word| word.starts_with("step")).count(),
        9
    );
    assert_eq!(keeps.finished.len(), 1);
}

/// On a processor neither computes while the other does, so that what both need is never there at once.
#[test]
fn on_a_processor_transformer_and_decoder_take_turns() {
    let bench = bench(manifest(model(), true, &[2]), false);
    let (busy, met) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let alone = |compute: fn(Tensors) -> Tensors| {
        let (busy, met) = (Arc::clone(&busy), Arc::clone(&met));
        move |inputs: Tensors| {
            met.fetch_max(busy.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
            thread::sleep(Duration::from_millis(2));
            let made = compute(inputs);
            busy.fetch_sub(1, Ordering::SeqCst);
            made
        }
    };
    bench.fake.set("transformer", alone(mixing));
    bench.fake.set("decode_first", alone(fake::decode));
    for step in ["decode_next", "decode_last"] {
        bench.fake.set(step, alone(fake::decode_on));
    }
    let job = bench.job(Settings {
        frames: Some(161),
        ..in_windows()
    });
    assert_eq!(bench.runner.order(&job, 1).unwrap(), Order::Beside);
    made(&bench, &job, &[1]);
    assert_eq!(met.load(Ordering::SeqCst), 0);
}

/// Noise that cannot be copied is drawn in order, after denoising.
#[test]
fn noise_that_cannot_be_copied_is_drawn_in_the_references_order() {
    for (stochastic, beside) in [(true, false), (false, true)] {
        let bench = bench(manifest(model(), true, &[2]), false);
        let job = bench.job(Settings {
            stochastic_sampling: Some(stochastic),
            ..in_windows()
        });
        let (mut noise, mut keeps) = (Telling::default(), Keeps::default());
        let take = Take {
            prompt: "a cat".to_owned(),
            noise: &mut noise,
            shift: 0,
        };
        let early = Arc::new(AtomicUsize::new(0));
        let (steps, seen) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&early));
        let mut tell = |event: Event<'_>| match event {
            Event::Step { .. } => drop(steps.fetch_add(1, Ordering::SeqCst)),
            Event::StageStarted {
                stage: "pixels", ..
            } => {
                seen.store(steps.load(Ordering::SeqCst), Ordering::SeqCst);
            }
            _ => {}
        };
        let aside = Aside::default();
        let made = bench
            .runner
            .generate_into(&job, vec![take], &mut tell, &mut keeps, aside);
        made.unwrap();
        assert_eq!(early.load(Ordering::SeqCst), if beside { 0 } else { 9 });
        let purposes: Vec<_> = noise
            .0
            .iter()
            .map(|(purpose, _)| purpose.to_string())
            .collect();
        let steps = if stochastic { 9 } else { 0 };
        let expected = [
            vec!["initial"],
            vec!["step"; steps],
            vec!["decode", "plane"],
        ]
        .concat();
        assert_eq!(purposes, expected);
    }
}

/// Runs on another thread, so that a deadlock is a failure and not a wait without end.
fn ended(
    bench: Bench,
    settings: Settings,
    seeds: &'static [u64],
    fails: Option<usize>,
) -> (Keeps, Result<(), String>) {
    let (tell, told) = channel();
    thread::spawn(move || {
        let (job, fails) = (bench.job(settings), fails);
        let mut keeps = Keeps {
            fails,
            ..Keeps::default()
        };
        let ended = run(&bench, &job, seeds, &mut keeps, Aside::default());
        let _ = tell.send((keeps, ended.map_err(|e| e.to_string())));
    });
    told.recv_timeout(LIMIT).expect("the run hangs or panicked")
}

#[test]
fn a_sink_that_fails_anywhere_ends_the_run_with_its_reason() {
    let whole = 6;
    for piece in 0..whole {
        for sequential in [false, true] {
            let bench = bench(manifest(model(), true, &[2]), sequential);
            let (keeps, ended) = ended(bench, in_windows(), &[1, 2], Some(piece));
            assert_eq!(ended.unwrap_err(), "the disk is full");
            assert_eq!((keeps.video.len(), keeps.finished.len()), (piece, 0));
        }
    }
}

/// What comes after the failure is not denoised any more.
#[test]
fn a_sink_that_fails_stops_denoising() {
    let bench = bench(manifest(model(), false, &[]), false);
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    bench.fake.set("transformer", move |inputs| {
        if count.fetch_add(1, Ordering::SeqCst) > 3 {
            thread::sleep(Duration::from_millis(5));
        }
        mixing(inputs)
    });
    let long = Settings {
        frames: Some(1601),
        ..in_windows()
    };
    let (_, ended) = ended(bench, long, &[1], Some(0));
    assert_eq!(ended.unwrap_err(), "the disk is full");
    let (made, all) = (calls.load(Ordering::SeqCst), 100 * 3);
    assert!(made < all / 2, "{made} of {all} calls were made");
}

#[test]
fn a_component_that_fails_in_a_window_is_named_with_its_place() {
    for sequential in [false, true] {
        let bench = bench(manifest(model(), false, &[]), sequential);
        let mut calls = 0;
        bench.fake.set("transformer", move |inputs| {
            calls += 1;
            match calls {
                5 => one("velocity", nan(&inputs["latents"])),
                _ => mixing(inputs),
            }
        });
        let (keeps, ended) = ended(bench, in_windows(), &[1], None);
        let words = ended.unwrap_err();
        let place = "`latents`, window 2 of 3: `transformer` returned values that are not finite";
        assert!(words.starts_with(place), "{words}");
        assert_eq!(keeps.finished.len(), 0);
    }
}

fn nan(like: &Tensor) -> Tensor {
    let count = like.shape().iter().product();
    Tensor::new(like.shape(), vec![f32::NAN; count]).unwrap()
}

#[test]
fn a_decoder_that_fails_is_named_with_its_place() {
    for sequential in [false, true] {
        let bench = bench(manifest(model(), false, &[]), sequential);
        let mut calls = 0;
        bench.fake.set("decode_next", move |inputs| {
            calls += 1;
            match calls {
                2 => one("picture", inputs["latents"].clone()),
                _ => fake::decode_on(inputs),
            }
        });
        let (keeps, ended) = ended(bench, in_windows(), &[1], None);
        let words = ended.unwrap_err();
        assert!(
            words.starts_with("`pixels`, after 9 decoded frames: "),
            "{words}"
        );
        assert_eq!(keeps.finished.len(), 0);
    }
}

/// However slow the sink is, a few pieces wait for it and no more.
#[test]
fn what_waits_does_not_grow_with_the_video() {
    struct Slow<'a>(&'a AtomicUsize, usize, usize);
    impl Sink for Slow<'_> {
        fn frames(&mut self, _: usize, _: Frames) -> Result<(), Stop> {
            thread::sleep(Duration::from_millis(2));
            self.1 += 1;
            self.2 = self
                .2
                .max((self.0.load(Ordering::SeqCst) + 1).saturating_sub(self.1));
            Ok(())
        }

        fn finished(&mut self, _: usize) -> Result<(), Stop> {
            Ok(())
        }
    }
    for sequential in [false, true] {
        let bench = bench(manifest(model(), false, &[]), sequential);
        let decoded = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&decoded);
        bench.fake.set("decode_next", move |inputs| {
            count.fetch_add(1, Ordering::SeqCst);
            fake::decode_on(inputs)
        });
        let job = bench.job(Settings {
            frames: Some(401),
            ..in_windows()
        });
        let mut slow = Slow(&decoded, 0, 0);
        run(&bench, &job, &[1], &mut slow, Aside::default()).unwrap();
        assert_eq!(slow.1, 51);
        assert!(slow.2 <= 4, "{} pieces waited", slow.2);
    }
}

/// Half the size, after the first window and the second, and before the video's end; the video is not touched.
#[test]
fn a_preview_is_there_before_the_video() {
    for sequential in [false, true] {
        let bench = bench(manifest(model(), true, &[2]), sequential);
        let job = bench.job(Settings {
            height: Some(90),
            frames: Some(65),
            stochastic_sampling: Some(true),
            ..in_windows()
        });
        let (size, fps) = bench.runner.preview(&job).unwrap();
        assert_eq!((size.width, size.height, fps), (48, 45, 25.0));
        let (mut keeps, mut preview) = (Keeps::default(), Keeps::default());
        let aside = Aside {
            state: None,
            preview: Some(&mut preview),
        };
        run(&bench, &job, &[5], &mut keeps, aside).unwrap();
        same(&keeps, &made(&bench, &job, &[5]));
        assert!(preview.sizes.iter().all(|size| *size == [48, 45]));
        let latents: Vec<_> = preview
            .finished
            .iter()
            .map(|(_, decoded)| decoded.latents.shape().to_vec())
            .collect();
        assert_eq!(latents, [[1, 16, 2, 2, 2], [1, 16, 4, 2, 2]]);
        let (small, large) = (&preview.finished[1].1.latents, &keeps.finished[0].1.latents);
        let (small, large) = (
            small.values::<f32>().unwrap(),
            large.values::<f32>().unwrap(),
        );
        // Three rows and columns of latents in the video; the mean of the first four of them, and the last alone.
        let mean = (large[0] + large[1] + large[3] + large[4]) / 4.0;
        assert!((small[0] - mean).abs() < 1e-6 && (small[3] - large[8]).abs() < 1e-6);
    }
}

#[test]
fn a_preview_of_two_passes_shows_the_first() {
    let bench = bench(two_passes("spatial_upscaler"), false);
    let job = bench.job(in_two_passes());
    let (mut keeps, mut preview) = (Keeps::default(), Keeps::default());
    let aside = Aside {
        state: None,
        preview: Some(&mut preview),
    };
    run(&bench, &job, &[5], &mut keeps, aside).unwrap();
    assert_eq!(preview.finished.len(), 1);
    assert_eq!(preview.sizes[0], [96, 96]);
    assert_eq!(preview.finished[0].1.latents.shape(), [1, 16, 6, 3, 3]);
}

/// Why a video is decoded after denoising, where that might be otherwise.
#[test]
fn what_keeps_a_run_from_decoding_beside_is_said() {
    let job = |bench: &Bench| bench.job(in_windows());
    let order = |bench: &Bench, takes| bench.runner.order(&job(bench), takes).unwrap();
    let plain = || bench(manifest(model(), false, &[]), false);
    let after = |why: &str| Order::After(Some(why.to_owned()));
    let mut bench = plain();
    bench.runner = bench.runner.with_together(2);
    assert_eq!(
        order(&bench, 3),
        after("several videos are denoised in one call")
    );
    assert_eq!(order(&bench, 1), Order::Beside);
    bench.runner = bench.runner.with_pieces(Pieces::Whole);
    assert_eq!(order(&bench, 1), after("all of it is decoded at once"));
    let bench = plain();
    let short = bench.job(settings(17));
    assert_eq!(bench.runner.order(&short, 1).unwrap(), Order::After(None));
    assert_eq!(bench.runner.order(&short, 2).unwrap(), Order::Beside);
    let mut device = manifest(model(), false, &[]);
    device.target.provider = "cuda".to_owned();
    let bench = self::bench(device, false);
    let why = "transformer and vae_decoder would be on the device together, which needs a --memory-budget";
    assert_eq!(order(&bench, 1), after(why));
}
