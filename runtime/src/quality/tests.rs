use super::*;

/// The scene of a seed, changed as a test needs it.
fn scene(seed: u64, change: impl Fn(&mut Scene)) -> Scene {
    let mut scene = Scene::of_seed(seed);
    change(&mut scene);
    scene
}

fn right(scene: &Scene, clip: &Clip) -> [bool; 4] {
    let seen = observe(clip);
    [
        seen.background == scene.background,
        seen.colour == Some(scene.colour),
        seen.shape == Some(scene.shape),
        seen.motion == Some(scene.motion),
    ]
}

#[test]
fn a_seed_stands_for_one_scene() {
    assert_eq!(
        Scene::of_seed(0).prompt(),
        "a black square stays still on a green background"
    );
    assert_eq!(Scene::of_seed(7), Scene::of_seed(7));
    let prompts: std::collections::BTreeSet<_> =
        (0..200).map(|seed| Scene::of_seed(seed).prompt()).collect();
    assert!(prompts.len() > 150, "{}", prompts.len());
}

#[test]
fn drawn_scenes_are_read_back() {
    for (frames, height, width) in [(9, 64, 64), (17, 64, 64), (25, 64, 96), (17, 128, 128)] {
        for seed in 0..120 {
            let scene = Scene::of_seed(seed);
            let read = right(&scene, &scene.draw(frames, height, width));
            assert_eq!(read, [true; 4], "{} in {frames} frames", scene.prompt());
        }
    }
}

#[test]
fn what_is_wrong_is_seen() {
    for seed in 0..60 {
        let asked = Scene::of_seed(seed);
        let other = |colour: Colour| {
            let free = Colour::ALL.into_iter().rev();
            let mut free = free.filter(|c| ![asked.colour, asked.background, colour].contains(c));
            free.next().unwrap()
        };
        let wrong = [
            scene(seed, |s| s.background = other(s.background)),
            scene(seed, |s| s.colour = other(s.colour)),
            scene(seed, |s| {
                s.shape = Shape::ALL[(s.shape as usize + 1) % 3];
            }),
            scene(seed, |s| {
                s.motion = Motion::ALL[(s.motion as usize + 1) % 7];
            }),
        ];
        for (at, scene) in wrong.iter().enumerate() {
            let mut expected = [true; 4];
            expected[at] = false;
            let read = right(&asked, &scene.draw(17, 64, 64));
            assert_eq!(read, expected, "{} for {}", scene.prompt(), asked.prompt());
        }
    }
}

#[test]
fn an_empty_clip_shows_a_background_only() {
    let empty = scene(3, |s| s.radius = 0.001).draw(9, 64, 64);
    let seen = observe(&empty);
    assert_eq!(seen.background, Scene::of_seed(3).background);
    assert_eq!((seen.colour, seen.motion), (None, None));
}

#[test]
fn a_way_askew_is_no_direction() {
    let askew = scene(0, |s| {
        (s.motion, s.middle) = (Motion::Right, [0.3, 0.3]);
    });
    let frames = (0..17)
        .map(|frame| {
            let mut at = askew.clone();
            at.motion = Motion::Still;
            at.middle = [0.3 + 0.02 * frame as f32, 0.3 + 0.018 * frame as f32];
            at.draw(1, 64, 64).frames.remove(0)
        })
        .collect();
    let clip = Clip {
        height: 64,
        width: 64,
        frames,
    };
    assert_eq!(observe(&clip).motion, None);
}

#[test]
fn likeness_has_known_values() {
    let clip = Scene::of_seed(1).draw(2, 32, 32);
    assert_eq!(psnr(&clip, &clip), Some(100.0));
    assert!((ssim(&clip, &clip).unwrap() - 1.0).abs() < 1e-6);
    let flat = |value: u8| Clip {
        height: 16,
        width: 16,
        frames: vec![vec![value; 16 * 16 * 3]],
    };
    let apart = psnr(&flat(100), &flat(110)).unwrap();
    assert!((apart - 28.1308).abs() < 1e-3, "{apart}");
    // Without structure only the brightness counts: (2ab + c) / (a² + b² + c).
    let same = ssim(&flat(100), &flat(110)).unwrap();
    assert!((same - 22006.5025 / 22106.5025).abs() < 1e-4, "{same}");
    assert_eq!(psnr(&clip, &flat(0)), None);
    assert_eq!(ssim(&clip, &flat(0)), None);
}

#[test]
fn noise_lowers_the_likeness() {
    let clip = Scene::of_seed(1).draw(2, 32, 32);
    let mut noisy = clip.clone();
    for (index, byte) in noisy.frames.iter_mut().flatten().enumerate() {
        *byte = byte.wrapping_add((index % 7) as u8).max(*byte);
    }
    let (psnr, ssim) = (psnr(&clip, &noisy).unwrap(), ssim(&clip, &noisy).unwrap());
    assert!((30.0..45.0).contains(&psnr), "{psnr}");
    assert!((0.3..0.99).contains(&ssim), "{ssim}");
}

#[test]
fn drift_is_nothing_in_a_still_clip_and_seen_elsewhere() {
    let still = scene(2, |s| (s.motion, s.middle) = (Motion::Still, [0.4, 0.5]));
    let mut clip = still.draw(48, 64, 64);
    let drift = Drift::of(&clip, 8);
    assert_eq!((drift.background, drift.colour), (0.0, 0.0));
    assert_eq!((drift.jump, drift.way, drift.lost), (0.0, 0.0, 0.0));
    let moved = scene(2, |s| {
        (s.motion, s.middle) = (Motion::Still, [0.6, 0.5]);
        s.colour = Colour::ALL
            .into_iter()
            .find(|c| ![s.colour, s.background].contains(c))
            .unwrap();
    });
    clip.frames[32..].clone_from_slice(&moved.draw(16, 64, 64).frames);
    let drift = Drift::of(&clip, 8);
    assert!(drift.background < 1.0 && drift.colour > 50.0, "{drift:?}");
    assert!((drift.jump - 0.2).abs() < 0.02, "{drift:?}");
}

#[test]
fn shares_have_wilsons_interval() {
    let share = Share::of((0..200).map(|i| i < 190));
    assert_eq!((share.count, share.of), (190, 200));
    assert!(
        (share.low - 0.9104).abs() < 5e-4 && (share.high - 0.9726).abs() < 5e-4,
        "{share:?}"
    );
    assert_eq!(Share::of([]).share, 0.0);
}
