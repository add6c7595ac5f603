//! The latents of a video as far as they are there: pieces in a row, of which those that nobody needs any more are let go.

use std::collections::VecDeque;
use std::sync::Arc;

use super::RunError;
use super::generate::missing;
use super::geometry::VideoSize;
use crate::tensor::Tensor;

/// Latent frames in a row, (1, C, frames, H, W) each piece.
#[derive(Clone, Default)]
pub(super) struct Latents {
    pieces: VecDeque<Arc<Tensor>>,
    /// Latent frames that were let go.
    gone: usize,
    /// Latent frames that came.
    end: usize,
}

impl Latents {
    /// Adds the next frames.
    pub fn push(&mut self, piece: Arc<Tensor>) {
        self.end += frames_in(&piece);
        self.pieces.push_back(piece);
    }

    /// How many latent frames came.
    pub fn frames(&self) -> usize {
        self.end
    }

    /// Latent frames, rows and columns.
    pub fn size(&self) -> Result<VideoSize, RunError> {
        match self.pieces.front().map(|piece| piece.shape()) {
            Some(&[1, _, _, height, width]) => Ok(VideoSize {
                frames: self.end,
                height,
                width,
            }),
            _ => Err(missing("latents")),
        }
    }

    /// Some of those that are there, without a copy where they are a piece.
    pub fn along(&self, start: usize, count: usize) -> Result<Arc<Tensor>, RunError> {
        if start < self.gone || start + count > self.end {
            return Err(missing("latents"));
        }
        let (mut parts, mut before) = (Vec::new(), self.gone);
        for piece in &self.pieces {
            let end = before + frames_in(piece);
            let (from, to) = (start.max(before), end.min(start + count));
            if (from, to) == (before, end) {
                parts.push(Arc::clone(piece));
            } else if from < to {
                parts.push(Arc::new(piece.along(2, from - before, to - from)?));
            }
            before = end;
        }
        match parts.len() {
            1 => Ok(parts.remove(0)),
            _ => Ok(Arc::new(Tensor::joined(2, &parts)?)),
        }
    }

    /// All, none of which was let go.
    pub fn whole(&self) -> Result<Arc<Tensor>, RunError> {
        self.along(0, self.end)
    }

    /// Lets go what ends before this frame.
    pub fn forget(&mut self, before: usize) {
        while let Some(piece) = self.pieces.front() {
            let end = self.gone + frames_in(piece);
            if end > before {
                break;
            }
            self.gone = end;
            self.pieces.pop_front();
        }
    }
}

impl From<Tensor> for Latents {
    fn from(whole: Tensor) -> Self {
        let mut latents = Self::default();
        latents.push(Arc::new(whole));
        latents
    }
}

/// Frames of (1, C, F, H, W).
pub(super) fn frames_in(tensor: &Tensor) -> usize {
    tensor.shape().get(2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_one_video_and_go_one_by_one() {
        let mut latents = Latents::default();
        for (start, frames) in [(0, 2), (2, 3), (5, 1)] {
            let values: Vec<f32> = (start..start + frames).map(|f| f as f32).collect();
            latents.push(Arc::new(
                Tensor::new([1, 1, frames, 1, 1], values).expect("latents"),
            ));
        }
        let along = |latents: &Latents, start, count| {
            let found = latents.along(start, count).map_err(|e| e.to_string());
            found.map(|tensor| tensor.values::<f32>().expect("numbers").to_vec())
        };
        assert_eq!(along(&latents, 1, 3), Ok(vec![1.0, 2.0, 3.0]));
        assert_eq!(
            along(&latents, 0, 6),
            Ok(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
        );
        latents.forget(4);
        assert_eq!((latents.pieces.len(), latents.frames()), (2, 6));
        assert_eq!(along(&latents, 4, 2), Ok(vec![4.0, 5.0]));
        assert!(along(&latents, 1, 3).is_err() && along(&latents, 5, 2).is_err());
        latents.forget(6);
        assert!(latents.pieces.is_empty());
    }
}
