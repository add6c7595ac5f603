//! Looping GIF animations.
//!
//! Each frame has its own palette: exact up to 256 colours, quantised above. GIF counts time in
//! hundredths of a second, so delays vary by one to keep the whole on time. Players slow down
//! frames shorter than 2/100 s; above 50 frames per second frames are left out instead.

use std::path::{Path, PathBuf};

use gif::{Encoder, EncodingError, Frame, Repeat};

use super::output::Output;
use super::rate::Rate;
use super::{FrameWriter, MediaError, VideoSpec};

/// How many pixels the quantiser should learn a palette from: fewer look bad, more take long.
const LEARNED_PIXELS: usize = 40_000;
/// The shortest delay that browsers keep, in hundredths of a second.
const SHORTEST_DELAY: u64 = 2;

pub struct Gif {
    encoder: Encoder<Output>,
    path: PathBuf,
    spec: VideoSpec,
    width: u16,
    height: u16,
    rate: Rate,
    frames: u64,
    shown_until: u64,
}

impl Gif {
    pub fn create(path: &Path, spec: VideoSpec, rate: Rate) -> Result<Self, MediaError> {
        let (Ok(width), Ok(height)) = (u16::try_from(spec.width), u16::try_from(spec.height))
        else {
            return Err(MediaError::size("a GIF", spec, "a side is at most 65535"));
        };
        let fail = |error| failure(path, error);
        let mut encoder = Encoder::new(Output::create(path)?, width, height, &[]).map_err(fail)?;
        encoder.set_repeat(Repeat::Infinite).map_err(fail)?;
        Ok(Self {
            encoder,
            path: path.into(),
            spec,
            width,
            height,
            rate,
            frames: 0,
            shown_until: 0,
        })
    }

    /// The delay of the next frame in hundredths; `None` when it is too short to be shown.
    fn next_delay(&self) -> Option<u16> {
        let end = self.rate.start(self.frames + 1, 100);
        let delay = end.saturating_sub(self.shown_until);
        let delay = if self.frames == 0 {
            delay.max(SHORTEST_DELAY)
        } else {
            delay
        };
        (delay >= SHORTEST_DELAY).then(|| u16::try_from(delay).unwrap_or(u16::MAX))
    }
}

impl FrameWriter for Gif {
    fn write(&mut self, rgb: &[u8]) -> Result<(), MediaError> {
        self.spec.check_frame(rgb)?;
        if let Some(delay) = self.next_delay() {
            let mut frame = quantised(rgb, self.width, self.height);
            frame.delay = delay;
            self.encoder
                .write_frame(&frame)
                .map_err(|e| failure(&self.path, e))?;
            self.shown_until += u64::from(delay);
        }
        self.frames += 1;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), MediaError> {
        if self.frames == 0 {
            return Err(MediaError::NoFrames { path: self.path });
        }
        let output = self
            .encoder
            .into_inner()
            .map_err(|e| failure(&self.path, e))?;
        output.commit()
    }
}

/// A frame with its own palette; a small picture is shown to the quantiser several times.
fn quantised(rgb: &[u8], width: u16, height: u16) -> Frame<'static> {
    let pixels = rgb.len() / 3;
    let copies = (LEARNED_PIXELS / pixels).clamp(1, usize::from(u16::MAX / height));
    let step = (pixels / LEARNED_PIXELS).clamp(1, 10);
    let mut frame = Frame::from_rgb_speed(
        width,
        height * copies as u16,
        &rgb.repeat(copies),
        step as i32,
    );
    frame.buffer.to_mut().truncate(pixels);
    frame.height = height;
    frame
}

fn failure(path: &Path, error: EncodingError) -> MediaError {
    match error {
        EncodingError::Io(source) => MediaError::io("write", path)(source),
        other => MediaError::encode(path, other),
    }
}
