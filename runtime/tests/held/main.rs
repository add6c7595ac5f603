//! What a run holds does not grow with its video. Bytes are counted where they are allocated, so that nothing hides in
//! what a process keeps for later; there is one test in this program, since nothing else may allocate beside it.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use ltxc_bundle::{Manifest, Settings};
use ltxc_runtime::run::{
    Aside, Condition, Frames, Job, Order, Pieces, Sink, State, Stop, Take, Tensors,
};
use ltxc_runtime::tensor::Tensor;

use self::bench::{Bench, at, clip};
use self::fake::one;

#[path = "../run/bench.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod bench;
#[path = "../run/fake.rs"]
#[expect(unused_imports, dead_code, reason = "other tests need more of it")]
mod fake;
#[path = "../run/plans.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod plans;

/// Bytes that are there, and the most that were.
static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator that counts")]
// SAFETY: all work is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

/// Rows and columns of latents.
const SIDE: usize = 8;
/// Bytes of a latent frame.
const FRAME: usize = SIDE * SIDE * plans::CHANNELS * 4;
/// Frames of a video and of a longer one, a latent frame each.
const SHORT: [usize; 2] = [41, 401];
/// The same, where more waits than memory is for.
const LONG: [usize; 2] = [1201, 1601];

/// Lets everything go.
struct Drops;

impl Sink for Drops {
    fn frames(&mut self, _: usize, _: Frames) -> Result<(), Stop> {
        Ok(())
    }

    fn finished(&mut self, _: usize) -> Result<(), Stop> {
        Ok(())
    }
}

/// A latent stands for one pixel of one frame, so that latents are what counts.
fn manifest() -> Manifest {
    let mut facts = plans::model();
    (facts.frames_per_latent, facts.pixels_per_latent) = (1, 1);
    let mut manifest = plans::streaming(plans::manifest(facts, true, &[1]));
    for name in ["vae_decoder", "vae_encoder"] {
        let component = manifest.components.get_mut(name).unwrap();
        let ports = component.inputs.iter_mut().chain(&mut component.outputs);
        for port in ports.filter(|port| port.name == "video") {
            port.shape = ["B", "3", "frames", "rows", "columns"]
                .map(str::to_owned)
                .into();
        }
        for stage in component
            .stream
            .iter_mut()
            .flat_map(|stream| &mut stream.stages)
        {
            (stage.outputs[0].rate, stage.outputs[0].offset) = (1, 0);
        }
    }
    manifest
}

fn bench(sequential: bool) -> Bench {
    let mut bench = Bench::new(manifest());
    bench.fake.set("transformer", |inputs| {
        one("velocity", inputs["latents"].clone())
    });
    bench.fake.set("vae_encoder", |inputs| {
        let shape = inputs["noise"].shape().to_vec();
        let count = shape.iter().product();
        one("latents", Tensor::new(shape, vec![0.5_f32; count]).unwrap())
    });
    for step in ["first", "next", "last", "only"] {
        bench.fake.set(&format!("decode_{step}"), decode);
    }
    let pieces = Pieces::Frames(std::num::NonZeroUsize::MIN);
    bench.runner = bench.runner.with_pieces(pieces).with_sequential(sequential);
    bench
}

/// The first three channels.
fn decode(inputs: Tensors) -> Tensors {
    one("video", inputs["latents"].along(1, 0, 3).unwrap())
}

fn settings(frames: usize) -> Settings {
    Settings {
        height: Some(SIDE),
        width: Some(SIDE),
        window: Some(8),
        window_overlap: Some(2),
        stochastic_sampling: Some(true),
        image_cond_noise_scale: Some(0.1),
        tone_map_compression_ratio: Some(0.5),
        window_adain_factor: Some(0.5),
        window_anchors: Some(2),
        ..bench::settings(frames)
    }
}

/// The most bytes that a run holds beside what there was before it.
fn peak(bench: &Bench, job: &Job, aside: Aside<'_>) -> usize {
    let mut noise = job.noise();
    let take = Take {
        prompt: "a cat".to_owned(),
        noise: &mut noise,
        shift: 0,
    };
    let before = HELD.load(Ordering::SeqCst);
    PEAK.store(before, Ordering::SeqCst);
    let ran = bench
        .runner
        .generate_into(job, vec![take], &mut |_| {}, &mut Drops, aside);
    ran.unwrap();
    PEAK.load(Ordering::SeqCst) - before
}

/// How much more is held for the long video than for the short one, in copies of the latents that it has more.
fn growth(
    sequential: bool,
    layout: &str,
    conditions: &[Condition],
    kept: bool,
    shown: bool,
    lengths: [usize; 2],
) -> f64 {
    let bench = bench(sequential);
    let [short, long] = lengths.map(|frames| {
        let settings = Settings {
            noise: Some(layout.to_owned()),
            ..settings(frames)
        };
        let job = bench.conditioned(settings, conditions.to_vec());
        let order = bench.runner.order(&job, 1).unwrap();
        assert_eq!(order == Order::Beside, !sequential, "{order:?}");
        let folder = tempfile::tempdir().unwrap();
        let bundle = bench.runner.bundle();
        let state = State::open(folder.path(), bundle, &job, &[("a cat", 1)]).unwrap();
        let mut drops = Drops;
        let first = Aside {
            state: kept.then_some(&state),
            preview: shown.then_some(&mut drops as &mut dyn Sink),
        };
        let again = Aside {
            state: kept.then_some(&state),
            preview: None,
        };
        // The second run finds what the first one kept.
        peak(&bench, &job, first).max(peak(&bench, &job, again))
    });
    (long as f64 - short as f64) / ((lengths[1] - lengths[0]) * FRAME) as f64
}

/// Beside denoising, nothing of a video is held whole. Where decoding waits, its latents wait, for a preview a quarter of
/// them, and more than a mebibyte of either waits in a file. A few pieces more or less are at work at a time, a tenth of a
/// copy at most.
#[test]
fn what_is_held_does_not_grow_with_the_video() {
    let nothing = Vec::new();
    let given = vec![
        at(clip(0.5, 1, SIDE, SIDE), 0, 1.0),
        at(clip(0.3, 2, SIDE, SIDE), 30, 0.7),
    ];
    for (layout, conditions, kept) in [
        ("original", &nothing, false),
        ("original", &given, true),
        ("diffusers", &given, false),
        ("comfyui", &nothing, true),
    ] {
        let beside = growth(false, layout, conditions, kept, false, SHORT);
        assert!(beside < 0.1, "beside: {layout}, {kept}, {beside}");
    }
    let after = growth(true, "original", &given, false, false, LONG);
    assert!(after < 0.1, "after: {after}");
    let shown = growth(false, "original", &nothing, false, true, LONG);
    assert!(shown < 0.1, "with a preview: {shown}");
}
