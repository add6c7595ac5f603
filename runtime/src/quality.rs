//! How good a video is, in numbers: likeness to another, and whether it shows what was asked.
//!
//! [`psnr`] and [`ssim`] compare two clips. A [`Scene`] is a prompt of the tiny model together with the clip it stands
//! for; [`observe`] reads colours, shape and motion back from a clip, and [`Drift`] tells how much a long one loses
//! them. [`Seams`] compares the windows of a long one. [`Share`] puts a confidence interval around counts.

mod clip;
mod drift;
mod mask;
mod observe;
mod scene;
mod seams;
mod share;
mod similarity;
#[cfg(test)]
mod tests;

pub use clip::Clip;
pub use drift::Drift;
pub use observe::{Observed, observe};
pub use scene::{Colour, Motion, Scene, Shape};
pub use seams::{Look, Seams};
pub use share::Share;
pub use similarity::{psnr, ssim};
