//! The latents of a video as far as they are there: pieces in a row, of which those that nobody needs any more are let go,
//! and those that would take much memory wait in a file.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::RunError;
use super::generate::missing;
use super::geometry::VideoSize;
use crate::tensor::Tensor;
use crate::tensor::file::{Aside, Place};

/// Bytes that wait in memory; what comes beyond them waits in a file.
const HELD: usize = 1 << 20;

/// Latent frames in a row, (1, C, frames, H, W) each piece.
#[derive(Clone, Default)]
pub(super) struct Latents {
    pieces: VecDeque<Piece>,
    /// Latent frames that were let go.
    gone: usize,
    /// Latent frames that came.
    end: usize,
    aside: Option<Arc<Aside>>,
}

#[derive(Clone)]
enum Piece {
    Held(Arc<Tensor>),
    Aside(Place),
}

impl Piece {
    fn shape(&self) -> &[usize] {
        match self {
            Self::Held(tensor) => tensor.shape(),
            Self::Aside(place) => place.shape(),
        }
    }

    fn frames(&self) -> usize {
        self.shape().get(2).copied().unwrap_or(0)
    }
}

impl Latents {
    /// Adds the next frames.
    pub fn push(&mut self, piece: Arc<Tensor>) {
        self.end += frames_in(&piece);
        self.pieces.push_back(Piece::Held(piece));
    }

    /// Adds the next frames, which nobody needs soon.
    pub fn push_to_wait(&mut self, piece: Arc<Tensor>) {
        let full = !self.pieces.is_empty() && self.held() + bytes_of(&piece) > HELD;
        match full.then(|| self.lay(&piece)) {
            Some(Ok(place)) => {
                self.end += frames_in(&piece);
                self.pieces.push_back(Piece::Aside(place));
            }
            // What cannot be laid aside waits in memory.
            Some(Err(_)) | None => self.push(piece),
        }
    }

    /// Bytes of the pieces in memory.
    fn held(&self) -> usize {
        let bytes = |piece: &Piece| match piece {
            Piece::Held(tensor) => bytes_of(tensor),
            Piece::Aside(_) => 0,
        };
        self.pieces.iter().map(bytes).sum()
    }

    fn lay(&mut self, piece: &Tensor) -> io::Result<Place> {
        let aside = match &self.aside {
            Some(aside) => Arc::clone(aside),
            None => Arc::new(Aside::new()?),
        };
        self.aside.insert(aside).lay(piece)
    }

    fn tensor(&self, piece: &Piece) -> Result<Arc<Tensor>, RunError> {
        match (piece, &self.aside) {
            (Piece::Held(tensor), _) => Ok(Arc::clone(tensor)),
            (Piece::Aside(place), Some(aside)) => {
                Ok(Arc::new(aside.read(place).map_err(RunError::Aside)?))
            }
            (Piece::Aside(_), None) => Err(missing("latents")),
        }
    }

    /// How many latent frames came.
    pub fn frames(&self) -> usize {
        self.end
    }

    /// Latent frames, rows and columns.
    pub fn size(&self) -> Result<VideoSize, RunError> {
        match self.pieces.front().map(Piece::shape) {
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
            let end = before + piece.frames();
            let (from, to) = (start.max(before), end.min(start + count));
            if (from, to) == (before, end) {
                parts.push(self.tensor(piece)?);
            } else if from < to {
                let tensor = self.tensor(piece)?;
                parts.push(Arc::new(tensor.along(2, from - before, to - from)?));
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
            let end = self.gone + piece.frames();
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

fn bytes_of(tensor: &Tensor) -> usize {
    tensor.data().len() * tensor.dtype().bytes()
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

    #[test]
    fn what_is_much_waits_in_a_file() {
        let mut latents = Latents::default();
        let side = 128;
        for frame in 0..20 {
            let values = vec![frame as f32; 2 * side * side];
            let piece = Tensor::new([1, 1, 2, side, side], values).expect("latents");
            latents.push_to_wait(Arc::new(piece));
        }
        let held = |latents: &Latents| {
            let held = latents.pieces.iter();
            held.filter(|piece| matches!(piece, Piece::Held(_))).count()
        };
        assert_eq!((held(&latents), latents.held()), (8, HELD));
        let copy = latents.clone();
        latents.forget(12);
        assert_eq!((held(&latents), latents.held()), (2, HELD / 4));
        latents.push_to_wait(Arc::new(
            Tensor::new([1, 1, 1, side, side], vec![20.0; side * side]).expect("latents"),
        ));
        assert_eq!(held(&latents), 3);
        for (latents, start, end) in [(&copy, 0, 40), (&latents, 12, 41)] {
            let along = latents.along(start, end - start).expect("latents");
            let frames = along.values::<f32>().expect("numbers");
            let frames = frames.chunks(side * side).map(|frame| frame[0] as usize);
            assert!(frames.eq((start..end).map(|frame| frame / 2)));
        }
    }
}
