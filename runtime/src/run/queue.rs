//! Decoding and handing out, each on a thread of its own, beside whatever makes the latents.
//!
//! What makes latents stays on the caller's thread, since it draws and is observed. Queues of one entry lie between the
//! three, so that none runs far ahead of the next and memory does not grow with the video. Whoever ends early leaves its
//! ends of the queues; its neighbours find nobody there and end too, and what ended the first of them is the run's error.
//! A video whose latents did not all come is never given out as finished.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, scope};
use std::time::Duration;

use super::RunError;
use super::component::Tensors;
use super::decoder::Decoder;
use super::geometry::VideoSize;
use super::video::{Decoded, Frames, Sink};

/// Entries that wait in a queue at most.
const WAITING: usize = 1;

/// What the decoder gets.
pub(super) enum Ready {
    /// A take begins.
    Take(Order),
    /// Its next latent frames.
    Latents(Decoded),
}

/// A take to decode.
pub(super) struct Order {
    pub take: usize,
    /// Everything but the latents that its decoder is given.
    pub given: Tensors,
    /// The size of its latents.
    pub size: VideoSize,
}

/// What the sink gets.
enum Made {
    /// And how many latent frames there will be.
    Latents(usize, Decoded, usize),
    Frames(usize, Frames),
    Finished(usize),
}

/// The decoder's end of the queue to the sink.
pub(super) struct ToSink(SyncSender<Made>);

impl ToSink {
    pub fn latents(&self, take: usize, latents: Decoded, whole: usize) -> Result<(), RunError> {
        self.send(Made::Latents(take, latents, whole))
    }

    pub fn frames(&self, take: usize, frames: Frames) -> Result<(), RunError> {
        self.send(Made::Frames(take, frames))
    }

    pub fn finished(&self, take: usize) -> Result<(), RunError> {
        self.send(Made::Finished(take))
    }

    fn send(&self, made: Made) -> Result<(), RunError> {
        self.0.send(made).map_err(|_| gone())
    }
}

/// The end of the queue to the decoder that latents go into.
pub(super) struct Feed<'s> {
    queue: SyncSender<Ready>,
    first: &'s First,
}

impl Feed<'_> {
    pub fn send(&self, ready: Ready) -> Result<(), RunError> {
        self.queue.send(ready).map_err(|_| gone())
    }

    /// Whether work on latents still has a sense.
    pub fn check(&self) -> Result<(), RunError> {
        match self.first.lock().is_some() {
            true => Err(gone()),
            false => Ok(()),
        }
    }
}

/// The next latents of a take that has begun.
pub(super) fn next_latents(ready: &Receiver<Ready>) -> Result<Decoded, RunError> {
    match ready.recv() {
        Ok(Ready::Latents(latents)) => Ok(latents),
        Ok(Ready::Take(_)) | Err(_) => Err(gone()),
    }
}

/// Decodes what `feed` makes and hands the frames to `sink`, all three at once; says how long loading the decoder took.
pub(super) fn decoding(
    decoder: &Decoder<'_>,
    sink: &mut dyn Sink,
    feed: impl FnOnce(&Feed<'_>) -> Result<(), RunError>,
) -> Result<Duration, RunError> {
    let first = First::default();
    let loading = scope(|scope| {
        let (latents, ready) = sync_channel(WAITING);
        let (frames, made) = sync_channel(WAITING);
        let first = &first;
        let hands_out = move || first.keep(hand_out(&made, sink)).map(|()| Duration::ZERO);
        let decodes = move || first.keep(decoder.run(&ready, &ToSink(frames)));
        let named = |name: &str| Builder::new().name(name.to_owned());
        let threads = [
            named("frames").spawn_scoped(scope, hands_out)?,
            named("decoder").spawn_scoped(scope, decodes)?,
        ];
        let queue = latents;
        first.keep(feed(&Feed { queue, first }));
        let ended = threads.into_iter().map(|thread| thread.join());
        let ended = ended.map(|ended| ended.unwrap_or_else(|panic| resume_unwind(panic)));
        Ok(ended.flatten().sum())
    });
    let loading = loading.map_err(RunError::Thread)?;
    first.into_result(loading)
}

fn hand_out(made: &Receiver<Made>, sink: &mut dyn Sink) -> Result<(), RunError> {
    for made in made {
        match made {
            Made::Latents(take, latents, whole) => sink.latents(take, latents, whole)?,
            Made::Frames(take, frames) => sink.frames(take, frames)?,
            Made::Finished(take) => sink.finished(take)?,
        }
    }
    Ok(())
}

/// What ended one of several threads first.
#[derive(Default)]
pub(super) struct First(Mutex<Option<RunError>>);

impl First {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<RunError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep<T>(&self, ended: Result<T, RunError>) -> Option<T> {
        match ended {
            Ok(value) => Some(value),
            Err(RunError::Stopped(why)) if why.is::<Gone>() => None,
            Err(error) => {
                self.lock().get_or_insert(error);
                None
            }
        }
    }

    fn into_result<T>(self, value: T) -> Result<T, RunError> {
        let error = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        error.map_or(Ok(value), Err)
    }
}

/// A neighbour has ended, for a reason that it has told.
#[derive(Debug)]
struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another part of the run has ended")
    }
}

impl std::error::Error for Gone {}

fn gone() -> RunError {
    RunError::Stopped(Box::new(Gone))
}
