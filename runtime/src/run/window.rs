//! Long videos in windows: each is given the last latent frames of the one before.
//!
//! A pass draws its noise and places its conditions for the whole video; its windows are then denoised one after the
//! other, so that what is computed and held at a time has the size of a window, however long the video. Windows have one length.
//! Where a window begins, the latents that are there already take part as given tokens, and latents are handed on, never
//! encoded pixels. Positions are those of the video, moved so that a later window begins where the second latent frame
//! of a video lies: the first stands for a single pixel frame, which nothing within a video does.

#[cfg(test)]
mod parity;

use std::ops::Range;

use super::RunError;
use super::geometry::{VideoSize, to_channels_first, to_tokens};
use super::job::wrong;
use super::start::{Start, Tokens, lerp};
use super::upscale::adain;
use crate::tensor::Tensor;

/// How a pass is cut into windows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Windows {
    /// Latent frames of each, in order; they overlap.
    pub spans: Vec<Range<usize>>,
    /// How strongly what is there already is given, 0 to 1.
    pub strength: f32,
    /// How far later windows are moved to the statistics of the first, 0 to 1.
    pub adain_factor: f32,
    /// Latent frames of the first that all later windows are given as well, at times before their own.
    pub anchors: usize,
}

impl Windows {
    /// Windows of `length` of `frames` latent frames that share `overlap` with the one before; the last shares more
    /// where the video ends earlier. One window where the video is no longer.
    pub fn spans(
        frames: usize,
        length: usize,
        overlap: usize,
    ) -> Result<Vec<Range<usize>>, RunError> {
        if frames <= length {
            return Ok(std::iter::once(0..frames).collect());
        }
        if overlap == 0 || overlap >= length {
            let help = format!(
                "a window has {length} latent frames here; share 1 to {} of them",
                length.saturating_sub(1)
            );
            return Err(wrong("window_overlap", overlap, help));
        }
        let mut spans: Vec<Range<usize>> = Vec::new();
        let mut end = 0;
        while end < frames {
            let start = end.saturating_sub(overlap).min(frames - length);
            end = start + length;
            spans.push(start..end);
        }
        Ok(spans)
    }

    /// Latent frames that are computed at a time.
    pub fn length(&self) -> usize {
        self.spans.first().map_or(0, |span| span.len())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.spans.len()
    }

    /// The first latent frame that a window adds to those before.
    pub fn first_new(&self, window: usize) -> usize {
        let before = window
            .checked_sub(1)
            .and_then(|before| self.spans.get(before));
        before.map_or(0, |before| before.end)
    }

    /// Whether a window is given anchors.
    pub fn anchored(&self, span: &Range<usize>) -> bool {
        self.anchors > 0 && span.start > 0
    }

    /// The latent frame up to which nothing changes after a window; the next one mixes with what lies behind.
    pub fn final_after(&self, window: usize) -> usize {
        match self.spans.get(window + 1) {
            Some(next) => next.start,
            None => self.spans.get(window).map_or(0, |last| last.end),
        }
    }
}

/// The prompts of a video's windows: `a | b | c` is three, told one after the other.
pub(super) fn segments(prompt: &str) -> Vec<String> {
    prompt
        .split('|')
        .map(|part| part.trim().to_owned())
        .collect()
}

/// What a window shows: the prompts share the windows out evenly.
pub(super) fn segment(prompt: &str, window: usize, windows: usize) -> Result<String, RunError> {
    let mut parts = segments(prompt);
    if parts.len() > windows {
        let help = format!(
            "the video has {windows} windows; give a longer one, shorter windows, or as many prompts at most"
        );
        return Err(wrong("prompt", format!("{} prompts", parts.len()), help));
    }
    Ok(parts.swap_remove(window * parts.len() / windows.max(1)))
}

/// A pass at work: what its windows have made of a take, as far as later windows need it.
pub(super) struct Made {
    /// The latent frames that are there and may still change, (N, C).
    tokens: Vec<f32>,
    /// The first of them, and the first that is not there yet.
    open: Range<usize>,
    /// What later windows are given of the first as it is now, (N, C).
    anchors: Vec<f32>,
    channels: usize,
    size: VideoSize,
    /// What the first window made, (1, C, N), where later ones get its statistics.
    first: Option<Tensor>,
}

impl Made {
    /// Nothing yet of latents of this size.
    pub fn new(size: VideoSize, channels: usize) -> Self {
        Self {
            tokens: Vec::new(),
            open: 0..0,
            anchors: Vec::new(),
            channels,
            size,
            first: None,
        }
    }

    /// What a window starts from: its part of the pass's start, and what is there already.
    pub fn start(
        &self,
        whole: &mut Start,
        windows: &Windows,
        span: &Range<usize>,
    ) -> Result<Tokens, RunError> {
        let mut start = whole.window(span)?;
        if windows.anchored(span) {
            self.give_anchors(&mut start, whole, windows.anchors)?;
        }
        self.give(&mut start, span, windows.strength);
        Ok(start)
    }

    /// Puts the anchors before the tokens of a later window: before its time begins, in the order of the first window.
    fn give_anchors(
        &self,
        start: &mut Tokens,
        whole: &Start,
        anchors: usize,
    ) -> Result<(), RunError> {
        let (frame, second) = (whole.frame(), whole.time(2) - whole.time(1));
        let place = |axis: usize, token: usize| match axis {
            0 => (token / frame) as f32 * second - anchors as f32 * second,
            axis => whole.side(axis, token % frame),
        };
        let (anchored, coords) = (anchors * frame, start.coords.values::<f32>()?);
        let count = coords.len() / 3;
        let mut places = Vec::new();
        for axis in 0..3 {
            places.extend((0..anchored).map(|token| place(axis, token)));
            places.extend_from_slice(&coords[axis * count..][..count]);
        }
        let given = start.mask.take().unwrap_or_else(|| vec![0.0; count]);
        start.mask = Some([vec![1.0; anchored], given].concat());
        start.values.splice(0..0, self.anchors.iter().copied());
        start.coords = Tensor::new([1, 3, anchored + count], places)?;
        start.extra += anchored;
        Ok(())
    }

    /// Mixes what is there already into the window's first frames.
    fn give(&self, start: &mut Tokens, span: &Range<usize>, strength: f32) {
        let shared = self.open.end.saturating_sub(span.start) * self.size.height * self.size.width;
        if shared == 0 {
            return;
        }
        let known = &self.tokens[self.at(span.start)..self.at(self.open.end)];
        let to = start.extra * self.channels;
        lerp(&mut start.values[to..to + known.len()], known, strength);
        let tokens = start.values.len() / self.channels;
        let mask = start.mask.get_or_insert_with(|| vec![0.0; tokens]);
        for given in &mut mask[start.extra..start.extra + shared] {
            *given = given.max(strength);
        }
    }

    /// Takes the latents of a window, (N, C): moved to the statistics of the first window, and cross-faded with what is
    /// there already.
    pub fn take(
        &mut self,
        latents: &[f32],
        windows: &Windows,
        span: &Range<usize>,
    ) -> Result<(), RunError> {
        let moved = match windows.adain_factor > 0.0 {
            true => self.like_the_first(latents, windows.adain_factor)?,
            false => latents.to_vec(),
        };
        let shared = self.open.end.saturating_sub(span.start);
        self.open.end = span.end;
        self.tokens.resize(self.at(span.end), 0.0);
        let frame = self.at(self.open.start + 1);
        for (at, new) in moved.chunks_exact(frame).enumerate() {
            let to = self.at(span.start + at);
            let weight = match at < shared {
                true => (at + 1) as f32 / (shared + 1) as f32,
                false => 1.0,
            };
            lerp(&mut self.tokens[to..to + frame], new, weight);
        }
        if self.open.start < windows.anchors {
            let anchors = self.open.end.min(windows.anchors);
            self.anchors.truncate(self.open.start * frame);
            self.anchors.extend(&self.tokens[..self.at(anchors)]);
        }
        Ok(())
    }

    fn like_the_first(&mut self, latents: &[f32], factor: f32) -> Result<Vec<f32>, RunError> {
        let values = to_channels_first(latents, self.channels);
        let of_window = [1, self.channels, values.len() / self.channels.max(1)];
        let latents_of_window = Tensor::new(of_window, values)?;
        match &self.first {
            Some(first) => {
                let moved = adain(&latents_of_window, first, factor)?;
                Ok(to_tokens(moved.values()?, self.channels))
            }
            None => {
                self.first = Some(latents_of_window);
                Ok(latents.to_vec())
            }
        }
    }

    /// Hands out the latent frames before `until`, which are final, and lets them go; (1, C, frames, H, W).
    pub fn leave(&mut self, until: usize) -> Result<Option<Tensor>, RunError> {
        let count = until.saturating_sub(self.open.start);
        if count == 0 {
            return Ok(None);
        }
        let rest = self.tokens.split_off(self.at(until));
        let gone = std::mem::replace(&mut self.tokens, rest);
        self.open.start = until;
        let values = to_channels_first(&gone, self.channels);
        let shape = [1, self.channels, count, self.size.height, self.size.width];
        Ok(Some(Tensor::new(shape, values)?))
    }

    /// Where a latent frame begins in what is held.
    fn at(&self, frame: usize) -> usize {
        (frame - self.open.start) * self.size.height * self.size.width * self.channels
    }
}

#[cfg(test)]
mod tests {
    use super::super::start::Beside;
    use super::*;

    #[test]
    fn windows_cover_the_video_and_have_one_length() {
        let spans = |frames, length, overlap| -> Vec<(usize, usize)> {
            let spans = Windows::spans(frames, length, overlap).expect("windows");
            spans.iter().map(|span| (span.start, span.end)).collect()
        };
        assert_eq!(spans(5, 9, 2), [(0, 5)]);
        assert_eq!(spans(9, 9, 2), [(0, 9)]);
        assert_eq!(spans(16, 9, 2), [(0, 9), (7, 16)]);
        assert_eq!(spans(17, 9, 2), [(0, 9), (7, 16), (8, 17)]);
        let windows = Windows {
            spans: Windows::spans(17, 9, 2).expect("windows"),
            strength: 1.0,
            adain_factor: 0.0,
            anchors: 0,
        };
        let finals: Vec<_> = (0..3).map(|window| windows.final_after(window)).collect();
        assert_eq!(finals, [7, 8, 17]);
        assert!(Windows::spans(17, 9, 0).is_err());
        assert!(Windows::spans(17, 9, 9).is_err());
    }

    #[test]
    fn prompts_share_the_windows_out() {
        let told: Vec<_> = (0..4)
            .map(|window| segment("a | b", window, 4).expect("a prompt"))
            .collect();
        assert_eq!(told, ["a", "a", "b", "b"]);
        assert!(segment("a|b|c", 0, 2).is_err());
    }

    #[test]
    fn a_window_is_given_what_is_there_and_hands_it_on() {
        let size = VideoSize {
            frames: 4,
            height: 1,
            width: 2,
        };
        let windows = Windows {
            spans: vec![0..3, 1..4],
            strength: 1.0,
            adain_factor: 0.0,
            anchors: 0,
        };
        let mut whole = Start {
            beside: vec![Beside {
                tokens: vec![0.0, 1.0],
                coords: vec![0, 8, 0, 0, 0, 0],
                strength: 0.0,
            }],
            ..Start::of_noise(size, (2..10).map(|n| n as f32).collect(), 1)
        };
        let mut made = Made::new(size, 1);
        let first = made
            .start(&mut whole, &windows, &windows.spans[0])
            .expect("a start");
        assert_eq!((first.extra, first.mask.is_none()), (2, true));
        assert_eq!(first.values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        made.take(
            &[20.0, 21.0, 22.0, 23.0, 24.0, 25.0],
            &windows,
            &windows.spans[0],
        )
        .expect("taken");
        let next = made
            .start(&mut whole, &windows, &windows.spans[1])
            .expect("a start");
        assert_eq!(
            (next.extra, &next.values[..]),
            (1, &[1.0, 22.0, 23.0, 24.0, 25.0, 8.0, 9.0][..])
        );
        assert_eq!(
            next.mask.as_deref(),
            Some(&[0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0][..])
        );
        assert_eq!(
            next.coords.values::<f32>().expect("numbers")[..7],
            [8.0, 1.0, 1.0, 9.0, 9.0, 17.0, 17.0]
        );
        assert_eq!(leave(&mut made, 1), [20.0, 21.0]);
        made.take(
            &[22.0, 23.0, 24.0, 25.0, 30.0, 31.0],
            &windows,
            &windows.spans[1],
        )
        .expect("taken");
        assert_eq!(leave(&mut made, 4), [22.0, 23.0, 24.0, 25.0, 30.0, 31.0]);
        assert!(made.tokens.is_empty() && made.leave(4).expect("latents").is_none());
    }

    fn leave(made: &mut Made, until: usize) -> Vec<f32> {
        let latents = made.leave(until).expect("latents").expect("some");
        latents.into_values().expect("numbers")
    }

    #[test]
    fn anchors_lie_before_a_later_window() {
        let size = VideoSize {
            frames: 4,
            height: 1,
            width: 2,
        };
        let windows = Windows {
            spans: vec![0..3, 1..4],
            strength: 0.5,
            adain_factor: 0.0,
            anchors: 2,
        };
        let mut whole = Start::of_noise(size, vec![0.0; 8], 1);
        let mut made = Made::new(size, 1);
        let start = made.start(&mut whole, &windows, &(0..3)).expect("a start");
        assert_eq!((start.extra, start.mask), (0, None));
        made.take(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &windows, &(0..3))
            .expect("taken");
        assert_eq!(leave(&mut made, 1), [1.0, 2.0]);
        let start = made.start(&mut whole, &windows, &(1..4)).expect("a start");
        assert_eq!(
            (start.extra, &start.values[..4]),
            (4, &[1.0, 2.0, 3.0, 4.0][..])
        );
        let coords = start.coords.values::<f32>().expect("numbers");
        assert_eq!(coords[..6], [-16.0, -16.0, -8.0, -8.0, 1.0, 1.0]);
        assert_eq!(coords[20..26], [0.0, 32.0, 0.0, 32.0, 0.0, 32.0]);
        let mask = start.mask.expect("a mask");
        assert_eq!(mask[..6], [1.0, 1.0, 1.0, 1.0, 0.5, 0.5]);
        assert_eq!((mask[9], mask.len()), (0.0, 10));
        made.take(&[9.0; 6], &windows, &(1..4)).expect("taken");
        assert_eq!(made.anchors[..2], [1.0, 2.0]);
        assert_eq!(
            made.anchors[2..],
            made.tokens[..2],
            "anchors are cross-faded too"
        );
    }
}
