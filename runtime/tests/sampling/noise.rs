//! Noise layouts against the draws recorded from the reference pipeline.

use super::support::{load, pipelines, same_bits};
use ltxc_runtime::sampling::{NoiseError, NoiseLayout, NoiseSource, Purpose, Seeded, TorchRng};

/// What a recorded draw was for, and the shape to ask for.
fn request(name: &str, shape: &[usize]) -> (Purpose, Vec<usize>) {
    let token_order = |s: &[usize]| vec![s[0], s[2], s[3], s[4], s[1]];
    match (name, shape) {
        (name, shape) if name.contains("strides") => (Purpose::Decode, token_order(shape)),
        (name, shape) if name.ends_with("randn_like") => (Purpose::Step, shape.to_vec()),
        (name, &[b, n, c]) if name.contains("000.generator") => {
            (Purpose::Initial, vec![b, n, 1, 1, c])
        }
        (name, shape) if name.contains("generator") => (Purpose::Condition, shape.to_vec()),
        (_, shape) if shape.len() == 2 => (Purpose::Plane, shape.to_vec()),
        (_, shape) => (Purpose::Posterior, shape.to_vec()),
    }
}

#[test]
fn the_original_layout_repeats_every_draw_of_the_reference_pipelines() {
    let (mut draws, mut decodes) = (0, 0);
    for (path, golden) in pipelines() {
        let seed = |key: &str| golden.meta[key].as_u64().expect(key);
        let (generator, global) = (seed("generator_seed"), seed("global_seed"));
        let mut noise = Seeded::new(NoiseLayout::Original, generator, global);
        for (name, expected) in golden.tensors.range("rng.".to_owned().."rng/".to_owned()) {
            let (purpose, shape) = request(name, &expected.shape);
            let drawn = noise.draw(purpose, &shape).expect("a valid shape");
            assert!(same_bits(&drawn, &expected.values), "{path} {name}");
            draws += 1;
            decodes += usize::from(purpose == Purpose::Decode);
        }
    }
    assert!(
        draws >= 50 && decodes >= 7,
        "{draws} draws, {decodes} for decoding"
    );
}

#[test]
fn original_decode_noise_is_drawn_serially_in_token_order() {
    let vectors = load("rng_vectors.safetensors");
    let mut noise = Seeded::new(NoiseLayout::Original, 0, 11);
    let drawn = noise
        .draw(Purpose::Decode, &[1, 3, 2, 3, 16])
        .expect("a valid shape");
    assert!(same_bits(
        &drawn,
        vectors.values("randn_like.strided_bcfhw.seed11")
    ));
}

#[test]
fn original_decode_noise_of_a_single_token_is_contiguous() {
    let mut noise = Seeded::new(NoiseLayout::Original, 0, 11);
    let drawn = noise.draw(Purpose::Decode, &[1, 1, 1, 1, 32]);
    assert_eq!(drawn, Ok(TorchRng::new(11).normal(32)));
}

#[test]
fn the_other_layouts_draw_channels_first_and_hand_out_tokens() {
    for layout in [NoiseLayout::Diffusers, NoiseLayout::ComfyUi] {
        let channels_first = TorchRng::new(4).normal(2 * 3 * 20);
        let mut noise = Seeded::new(layout, 4, 5);
        let tokens = noise
            .draw(Purpose::Initial, &[2, 5, 2, 2, 3])
            .expect("a valid shape");
        for (index, value) in tokens.iter().enumerate() {
            let (batch, token, channel) = (index / 60, index % 60 / 3, index % 3);
            assert_eq!(*value, channels_first[batch * 60 + channel * 20 + token]);
        }
    }
}

#[test]
fn the_other_layouts_draw_everything_from_the_generator() {
    let side = [
        Purpose::Posterior,
        Purpose::Step,
        Purpose::Plane,
        Purpose::Condition,
    ];
    let mut noise = Seeded::new(NoiseLayout::ComfyUi, 4, 5);
    let mut generator = TorchRng::new(4);
    for purpose in side {
        assert_eq!(noise.draw(purpose, &[4, 8]), Ok(generator.normal(32)));
    }
    let decode = noise.draw(Purpose::Decode, &[1, 2, 2, 2, 4]);
    assert_eq!(decode, Ok(generator.normal(32)));
}

#[test]
fn initial_noise_needs_all_five_dimensions() {
    let mut noise = Seeded::new(NoiseLayout::Original, 0, 0);
    let refused = noise.draw(Purpose::Initial, &[1, 18, 16]);
    assert!(matches!(
        refused,
        Err(NoiseError::Rank {
            purpose: Purpose::Initial,
            ..
        })
    ));
}

#[test]
fn layouts_are_written_the_same_everywhere() {
    for (layout, name) in [
        (NoiseLayout::Original, "original"),
        (NoiseLayout::Diffusers, "diffusers"),
        (NoiseLayout::ComfyUi, "comfyui"),
    ] {
        assert_eq!(layout.to_string(), name);
        assert_eq!(name.parse(), Ok(layout));
        let json = serde_json::to_string(&layout).expect("a name");
        assert_eq!(json, format!("\"{name}\""));
    }
    let unknown = "comfy".parse::<NoiseLayout>().map_err(|e| e.to_string());
    let help = "unknown noise layout `comfy`: write `original`, `diffusers` or `comfyui`";
    assert_eq!(unknown, Err(help.to_owned()));
}

/// In windows that overlap, from the end backwards, and with draws of other kinds before and after.
#[test]
fn noise_by_frames_is_that_of_the_whole_video() {
    let shapes = [
        [1, 7, 2, 3, 16],
        [1, 1, 1, 1, 32],
        [1, 5, 3, 1, 1],
        [1, 4, 1, 1, 3],
    ];
    for layout in ["original", "diffusers", "comfyui"] {
        for shape in shapes {
            for purpose in [Purpose::Initial, Purpose::Decode] {
                let mut noise = Seeded::new(layout.parse().expect("a layout"), 3, 4);
                for purpose in [Purpose::Step, Purpose::Condition] {
                    noise.draw(purpose, &[7]).expect("noise");
                }
                let mut whole = noise.clone();
                let expected = whole.draw(purpose, &shape).expect("noise");
                let mut by_frames = noise.draw_frames(purpose, &shape).expect("noise");
                let mut held = Plain(expected.clone())
                    .draw_frames(purpose, &shape)
                    .expect("noise");
                let [_, frames, rows, columns, channels] = shape;
                let starts = (0..frames).chain((0..frames).rev());
                for start in starts {
                    let range = start..(start + 3).min(frames);
                    let part = match purpose {
                        Purpose::Decode => (0..channels)
                            .flat_map(|channel| {
                                let at = |frame| (channel * frames + frame) * rows * columns;
                                &expected[at(range.start)..at(range.end)]
                            })
                            .copied()
                            .collect::<Vec<f32>>(),
                        _ => {
                            let at = |frame| frame * rows * columns * channels;
                            expected[at(range.start)..at(range.end)].to_vec()
                        }
                    };
                    assert!(
                        same_bits(&by_frames.frames(range.clone()), &part),
                        "{layout} {purpose} {shape:?}"
                    );
                    assert!(same_bits(&held.frames(range), &part));
                }
                for purpose in [Purpose::Step, Purpose::Condition] {
                    let after = [&mut noise, &mut whole].map(|noise| noise.draw(purpose, &[40]));
                    assert_eq!(after[0], after[1], "{layout} {shape:?}");
                }
            }
        }
    }
}

/// A source that has one draw and knows nothing of parts.
struct Plain(Vec<f32>);

impl NoiseSource for Plain {
    fn draw(&mut self, _: Purpose, _: &[usize]) -> Result<Vec<f32>, NoiseError> {
        Ok(self.0.clone())
    }
}

#[test]
fn noise_by_frames_is_for_one_video() {
    let mut noise = Seeded::new(NoiseLayout::Original, 0, 0);
    let refused = noise.draw_frames(Purpose::Initial, &[2, 3, 1, 1, 4]);
    assert!(matches!(refused, Err(NoiseError::Rank { .. })));
}
