//! Windows against diffusers' `LTXI2VLongMultiPromptPipeline`; `tests/data/make_windows.py` makes the goldens.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::geometry::{VideoSize, to_tokens};
use super::super::start::Start;
use super::{Made, Windows};
use crate::tensor::{Tensor, file};

const CHANNELS: usize = 3;
const LENGTH: usize = 6;
const SIDE: [usize; 2] = [2, 3];

fn golden() -> BTreeMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/windows.safetensors");
    file::read(&path).expect("goldens")
}

fn values<'t>(golden: &'t BTreeMap<String, Tensor>, name: &str) -> &'t [f32] {
    golden[name].values().expect("numbers")
}

fn size(frames: usize) -> VideoSize {
    let [height, width] = SIDE;
    VideoSize {
        frames,
        height,
        width,
    }
}

/// diffusers adds 1e-6 to standard deviations; we do not.
#[test]
fn statistics_and_cross_fades_are_those_of_diffusers() {
    let golden = golden();
    let tokens = |name: &str| to_tokens(values(&golden, name), CHANNELS);
    for overlap in [2, 3, 5] {
        for factor in [0.0_f32, 0.25, 1.0] {
            let step = LENGTH - overlap;
            let frames = 2 * step + LENGTH;
            let windows = Windows {
                spans: [0, step, 2 * step]
                    .map(|start| start..start + LENGTH)
                    .to_vec(),
                strength: 0.5,
                adain_factor: factor,
                anchors: 0,
            };
            let mut made = Made::new(size(frames), CHANNELS);
            for (span, name) in windows.spans.iter().zip(["first", "second", "third"]) {
                made.take(&tokens(name), &windows, span).expect("taken");
            }
            let found = made.leave(frames).expect("latents").expect("some");
            let found = found.values::<f32>().expect("numbers");
            let expected = values(&golden, &format!("overlap{overlap}.factor{factor:?}"));
            assert_eq!(found.len(), expected.len());
            let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
            let apart = apart.fold(0.0, f32::max);
            assert!(apart < 1e-5, "{overlap}, {factor}: {apart}");
        }
    }
}

/// In pixel frames: what is one frame a second here.
#[test]
fn anchors_lie_where_diffusers_puts_negative_indices() {
    let golden = golden();
    let mut whole = Start::of_noise(size(4), vec![0.0; size(4).count()], 1);
    for anchors in 1..=3 {
        let windows = Windows {
            spans: vec![0..3, 1..4],
            strength: 1.0,
            adain_factor: 0.0,
            anchors,
        };
        let mut made = Made::new(size(4), 1);
        made.take(&[0.0; 18], &windows, &windows.spans[0])
            .expect("taken");
        let start = made
            .start(&mut whole, &windows, &windows.spans[1])
            .expect("a start");
        let (found, all) = (
            start.coords.values::<f32>().expect("numbers"),
            18 + anchors * 6,
        );
        let expected = values(&golden, &format!("anchors{anchors}"));
        for axis in 0..3 {
            let count = anchors * 6;
            assert_eq!(
                found[axis * all..][..count],
                expected[axis * count..][..count]
            );
        }
    }
}
