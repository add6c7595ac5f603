//! Long videos in windows: each is given the last latent frames of the one before.
//!
//! A pass draws its noise and places its conditions for the whole video; its windows are then denoised one after the
//! other, so that what is computed at a time has the size of a window, however long the video. Windows have one length.
//! Where a window begins, the latents that are there already take part as given tokens, and latents are handed on, never
//! encoded pixels. Positions are those of the video, moved so that a later window begins where the second latent frame
//! of a video lies: the first stands for a single pixel frame, which nothing within a video does.

use std::ops::Range;

use super::RunError;
use super::geometry::{VideoSize, to_channels_first, to_tokens};
use super::job::wrong;
use super::prepare::{Start, lerp};
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

/// A pass at work: what its windows have made of a take so far.
pub(super) struct Made {
    /// (N, C)
    tokens: Vec<f32>,
    channels: usize,
    size: VideoSize,
    /// Latent frames that are there.
    frames: usize,
}

impl Made {
    /// Nothing yet of latents of this size.
    pub fn new(size: VideoSize, channels: usize) -> Self {
        Self {
            tokens: vec![0.0; size.count() * channels],
            channels,
            size,
            frames: 0,
        }
    }

    /// What a window starts from: the pass's start, cut, and what is there already.
    pub fn start(
        &self,
        whole: &Start,
        windows: &Windows,
        span: &Range<usize>,
    ) -> Result<Start, RunError> {
        if windows.count() == 1 {
            return Ok(whole.clone());
        }
        let (frame, all) = (
            self.size.height * self.size.width,
            whole.tokens.len() / self.channels,
        );
        let coords = whole.coords.values::<f32>()?;
        let time = |latent: usize| match latent < self.size.frames {
            true => coords[whole.extra + latent * frame],
            false => f32::INFINITY,
        };
        let from = if span.start == 0 {
            f32::NEG_INFINITY
        } else {
            time(span.start)
        };
        let beside =
            (0..whole.extra).filter(|token| (from..time(span.end)).contains(&coords[*token]));
        let mut tokens: Vec<usize> = beside.collect();
        let extra = tokens.len();
        tokens.extend(whole.extra + span.start * frame..whole.extra + span.end * frame);
        let moved = if span.start == 0 {
            0.0
        } else {
            time(span.start) - time(1)
        };
        let of_axis = |axis: usize| {
            let moved = if axis == 0 { moved } else { 0.0 };
            let value = move |token: &usize| coords[axis * all + token] - moved;
            tokens.iter().map(value).collect::<Vec<f32>>()
        };
        let places: Vec<f32> = (0..3).flat_map(of_axis).collect();
        let given = whole
            .mask
            .as_ref()
            .map(|mask| tokens.iter().map(|token| mask[*token]).collect());
        let values = tokens
            .iter()
            .flat_map(|token| &whole.tokens[token * self.channels..][..self.channels]);
        let mut start = Start {
            tokens: values.copied().collect(),
            extra,
            coords: Tensor::new([1, 3, tokens.len()], places)?,
            mask: given,
        };
        self.give(&mut start, span, windows.strength);
        Ok(start)
    }

    /// Mixes what is there already into the window's first frames.
    fn give(&self, start: &mut Start, span: &Range<usize>, strength: f32) {
        let shared = self.frames.saturating_sub(span.start) * self.size.height * self.size.width;
        if shared == 0 {
            return;
        }
        let known = &self.tokens[self.at(span.start)..self.at(self.frames)];
        let to = start.extra * self.channels;
        lerp(&mut start.tokens[to..to + known.len()], known, strength);
        let tokens = start.tokens.len() / self.channels;
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
        let moved = match span.start > 0 && windows.adain_factor > 0.0 {
            true => self.like_the_first(latents, windows)?,
            false => latents.to_vec(),
        };
        let frame = self.at(1);
        let shared = self.frames.saturating_sub(span.start);
        for (at, new) in moved.chunks_exact(frame).enumerate() {
            let to = self.at(span.start + at);
            let weight = match at < shared {
                true => (at + 1) as f32 / (shared + 1) as f32,
                false => 1.0,
            };
            lerp(&mut self.tokens[to..to + frame], new, weight);
        }
        self.frames = span.end;
        Ok(())
    }

    fn like_the_first(&self, latents: &[f32], windows: &Windows) -> Result<Vec<f32>, RunError> {
        let tensor = |tokens: &[f32]| {
            let values = to_channels_first(tokens, self.channels);
            Tensor::new([1, self.channels, values.len() / self.channels], values)
        };
        let first = &self.tokens[..self.at(windows.length())];
        let moved = adain(&tensor(latents)?, &tensor(first)?, windows.adain_factor)?;
        Ok(to_tokens(moved.values()?, self.channels))
    }

    /// Some latent frames, (1, C, frames, H, W).
    pub fn latents(&self, frames: Range<usize>) -> Result<Tensor, RunError> {
        let tokens = &self.tokens[self.at(frames.start)..self.at(frames.end)];
        let values = to_channels_first(tokens, self.channels);
        let (height, width) = (self.size.height, self.size.width);
        let shape = [1, self.channels, frames.len(), height, width];
        Ok(Tensor::new(shape, values)?)
    }

    /// Where a latent frame begins.
    fn at(&self, frame: usize) -> usize {
        frame * self.size.height * self.size.width * self.channels
    }
}

#[cfg(test)]
mod tests {
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
        };
        let whole = Start {
            tokens: (0..10).map(|n| n as f32).collect(),
            extra: 2,
            coords: Tensor::new(
                [1, 3, 10],
                [
                    &[0.0, 8.5, 0.0, 0.0, 1.0, 1.0, 5.0, 5.0, 9.0, 9.0][..],
                    &[0.5; 20],
                ]
                .concat(),
            )
            .expect("coordinates"),
            mask: None,
        };
        let mut made = Made::new(size, 1);
        let first = made
            .start(&whole, &windows, &windows.spans[0])
            .expect("a start");
        assert_eq!((first.extra, first.mask.is_none()), (2, true));
        assert_eq!(first.tokens, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        made.take(
            &[20.0, 21.0, 22.0, 23.0, 24.0, 25.0],
            &windows,
            &windows.spans[0],
        )
        .expect("taken");
        let next = made
            .start(&whole, &windows, &windows.spans[1])
            .expect("a start");
        assert_eq!(
            (next.extra, &next.tokens[..]),
            (1, &[1.0, 22.0, 23.0, 24.0, 25.0, 8.0, 9.0][..])
        );
        assert_eq!(
            next.mask.as_deref(),
            Some(&[0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0][..])
        );
        assert_eq!(
            next.coords.values::<f32>().expect("numbers")[..7],
            [8.5, 1.0, 1.0, 5.0, 5.0, 9.0, 9.0]
        );
        made.take(
            &[22.0, 23.0, 24.0, 25.0, 30.0, 31.0],
            &windows,
            &windows.spans[1],
        )
        .expect("taken");
        assert_eq!(
            made.latents(0..4)
                .expect("latents")
                .values::<f32>()
                .expect("numbers"),
            [20.0, 21.0, 22.0, 23.0, 24.0, 25.0, 30.0, 31.0]
        );
    }
}
