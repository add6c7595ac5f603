//! Animations, read back with the `gif` crate's decoder.

use std::fs::File;
use std::path::Path;

use gif::{ColorOutput, DecodeOptions, Repeat};

use super::super::{VideoSpec, create};
use super::{psnr, smooth_frame, spec, write_smooth};

struct Animation {
    frames: Vec<Vec<u8>>,
    delays: Vec<u16>,
    repeat: Repeat,
}

fn read(path: &Path) -> Animation {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::RGBA);
    let mut decoder = options.read_info(File::open(path).unwrap()).unwrap();
    let (mut frames, mut delays) = (Vec::new(), Vec::new());
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        delays.push(frame.delay);
        let rgb = frame.buffer.chunks_exact(4).flat_map(|p| &p[..3]);
        frames.push(rgb.copied().collect());
    }
    Animation {
        frames,
        delays,
        repeat: decoder.repeat(),
    }
}

fn written(spec: VideoSpec, frames: usize) -> Animation {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.GIF");
    write_smooth(&path, spec, frames);
    read(&path)
}

#[test]
fn animations_loop_and_look_like_their_frames() {
    let animation = written(spec(65, 33, 25.0), 5);
    assert_eq!(animation.repeat, Repeat::Infinite);
    assert_eq!(animation.delays, [4; 5]);
    for (index, frame) in animation.frames.iter().enumerate() {
        let quality = psnr(frame, &smooth_frame(65, 33, index));
        assert!(quality > 32.0, "frame {index}: {quality:.1} dB");
    }
}

#[test]
fn few_colours_are_exact() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gif");
    let colours = [[250, 3, 7], [1, 200, 90], [12, 13, 14], [255, 255, 255]];
    let frame = colours.concat();
    let mut writer = create(&path, spec(2, 2, 8.0)).unwrap();
    writer.write(&frame).unwrap();
    writer.finish().unwrap();
    assert_eq!(read(&path).frames, [frame]);
}

#[test]
fn delays_vary_to_keep_the_whole_on_time() {
    let delays = written(spec(16, 16, 24.0), 48).delays;
    assert!(delays.iter().all(|delay| [4, 5].contains(delay)));
    assert_eq!(delays.iter().sum::<u16>(), 200);
}

#[test]
fn frames_too_short_for_players_are_left_out() {
    let delays = written(spec(16, 16, 100.0), 60).delays;
    assert_eq!(delays, [2; 30]);
    assert_eq!(written(spec(16, 16, 100.0), 1).delays, [2]);
}
