//! What stays in memory between stages, by a budget of weights.

use ltxc_bundle::Manifest;
use ltxc_runtime::run::{Aside, Order};

use super::bench::Bench;
use super::beside::{Keeps, bench, in_two_passes, run};
use super::plans::{streaming, two_passes};

const MB: u64 = 1_000_000;

/// Two passes whose components have so many bytes of weights; those of the transformer are stored in 16 bits.
fn weighed() -> Manifest {
    let mut manifest = two_passes("spatial_upscaler");
    for (name, dtype, bytes) in [
        ("text_encoder", "f32", 90),
        ("transformer", "bf16", 20),
        ("spatial_upscaler", "f32", 5),
        ("latent_statistics", "f32", 1),
        ("vae_decoder", "f32", 12),
    ] {
        let component = manifest.components.get_mut(name).unwrap();
        component.weight_dtypes = [(dtype.to_owned(), bytes * MB)].into();
    }
    manifest
}

fn within(budget: Option<u64>) -> Bench {
    let mut bench = bench(weighed(), false);
    // The bench's own runner keeps everything.
    let bundle = bench.runner.bundle().clone();
    let backend = Box::new(bench.fake.clone());
    let runner = ltxc_runtime::run::Runner::with_backend(bundle, backend, false).unwrap();
    let pieces = ltxc_runtime::run::Pieces::Frames(std::num::NonZeroUsize::MIN);
    bench.runner = runner.with_pieces(pieces).with_memory(budget);
    bench
}

/// The transformer has 40 MB in 32 bits; it stays over the upscaler's 6 MB where both fit, and never beside the text
/// encoder unless that fits too.
#[test]
fn what_is_needed_next_stays_as_far_as_memory_reaches() {
    for (budget, transformers, statistics, beside) in [
        (None, 2, 2, true),
        (Some(30 * MB), 2, 1, false),
        (Some(45 * MB), 2, 1, false),
        (Some(46 * MB), 1, 1, false),
        (Some(52 * MB), 1, 1, true),
        (Some(1000 * MB), 1, 1, true),
    ] {
        let bench = within(budget);
        let job = bench.job(in_two_passes());
        let order = bench.runner.order(&job, 1).unwrap();
        assert_eq!(order == Order::Beside, beside, "{budget:?}: {order:?}");
        let mut keeps = Keeps::default();
        run(&bench, &job, &[1], &mut keeps, Aside::default()).unwrap();
        let loads = bench.fake.loads();
        let times = |name: &str| loads.iter().filter(|load| *load == name).count();
        assert_eq!(times("transformer"), transformers, "{budget:?}: {loads:?}");
        assert_eq!(
            times("latent_statistics"),
            statistics,
            "{budget:?}: {loads:?}"
        );
    }
}

#[test]
fn the_choice_is_said() {
    let said = |budget| {
        let bench = within(Some(budget));
        let job = bench.job(in_two_passes());
        (
            bench.runner.memory_words(&job),
            bench.runner.order(&job, 1).unwrap(),
        )
    };
    let (words, order) = said(45 * MB);
    assert_eq!(
        words,
        [
            "text_encoder alone has 90.0 MB of weights",
            "transformer (40.0 MB) is loaded again for `latents`"
        ]
    );
    let why = "transformer (40.0 MB) and vae_decoder (12.0 MB) need more than 45.0 MB";
    assert_eq!(order, Order::After(Some(why.to_owned())));
    let (words, order) = said(100 * MB);
    assert_eq!(words, ["transformer (40.0 MB) stays loaded for `latents`"]);
    assert_eq!(order, Order::Beside);
}

/// A decoder of 12 MB in 16 bits has 24 MB when a processor has loaded it; what does not fit is decoded in pieces.
#[test]
fn a_budget_counts_weights_as_they_are_loaded() {
    for (dtype, budget, pieces) in [("f32", 20, false), ("bf16", 20, true), ("bf16", 24, false)] {
        let mut manifest = streaming(weighed());
        let decoder = manifest.components.get_mut("vae_decoder").unwrap();
        decoder.weight_dtypes = [(dtype.to_owned(), 12 * MB)].into();
        let mut bench = Bench::new(manifest);
        bench.runner = bench.runner.with_memory(Some(budget * MB));
        let job = bench.job(in_two_passes());
        let cuts = bench.runner.decodes_by(&job).unwrap();
        assert_eq!(cuts.is_some(), pieces, "{dtype}, {budget} MB");
    }
}
