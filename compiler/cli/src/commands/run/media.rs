//! The images and clips that a run is conditioned on, as the command line names them.

use std::path::{Path, PathBuf};

use ltxc_bundle::{Manifest, Settings};
use ltxc_runtime::media::prepare::{Padding, Preparation, prepare};
use ltxc_runtime::media::read::{Clip, Decoder, ReadOptions, open};
use ltxc_runtime::media::resize::Size;
use ltxc_runtime::run::{Condition, Geometry, Job, Media, Place, VideoSize};

use crate::args::RunArgs;
use crate::failure::{Failure, Outcome};
use crate::output::note;

/// A medium of the command line.
#[derive(Clone, Debug, PartialEq)]
struct Named {
    path: PathBuf,
    /// The frame, from the end where negative.
    frame: i64,
    place: Place,
    strength: f32,
}

/// The job of a run with all its media.
pub fn job(args: &RunArgs, manifest: &Manifest, settings: Settings) -> Outcome<Job> {
    let refused = |e| Failure::Input(anyhow::Error::new(e));
    let mut named = Vec::new();
    for text in &args.conditions {
        named.push(condition(text)?);
    }
    for text in &args.parts {
        named.push(part(text)?);
    }
    for text in &args.references {
        let (path, strength) = strength(text, text)?;
        named.push(Named {
            path: path.into(),
            frame: 0,
            place: Place::Reference,
            strength,
        });
    }
    let mut job = Job::new(manifest, settings.clone()).map_err(refused)?;
    if let Some(path) = &args.input_video {
        job = with_input(path, args, manifest, settings, job)?;
    }
    let conditions = named
        .iter()
        .map(|named| loaded(named, args, &job))
        .collect::<Outcome<Vec<_>>>()?;
    job.with_conditions(manifest, conditions).map_err(refused)
}

/// `FILE@FRAME[:STRENGTH]`, or `FILE` for frame 0.
fn condition(text: &str) -> Outcome<Named> {
    let form = "must be FILE@FRAME[:STRENGTH], such as dog.png@0 or dog.mp4@-1:0.8";
    let wrong = || Failure::Misuse(format!("`--condition {text}` {form}"));
    let named = |path: &str, frame, strength| Named {
        path: path.into(),
        frame,
        place: Place::Frames,
        strength,
    };
    let Some((path, place)) = text.rsplit_once('@') else {
        return Ok(named(text, 0, 1.0));
    };
    if path.is_empty() {
        return Err(wrong());
    }
    let (frame, given) = strength(place, text)?;
    let frame = frame.parse().map_err(|_| wrong())?;
    Ok(named(path, frame, given))
}

/// `FILE@X,Y[:STRENGTH]`
fn part(text: &str) -> Outcome<Named> {
    let form = "must be FILE@X,Y[:STRENGTH], such as dog.png@64,32";
    let wrong = || Failure::Misuse(format!("`--place {text}` {form}"));
    let (path, place) = text.rsplit_once('@').ok_or_else(wrong)?;
    let (corner, strength) = strength(place, text)?;
    let (x, y) = corner.split_once(',').ok_or_else(wrong)?;
    let pixel = |text: &str| text.trim().parse().map_err(|_| wrong());
    Ok(Named {
        path: path.into(),
        frame: 0,
        place: Place::Part {
            x: pixel(x)?,
            y: pixel(y)?,
        },
        strength,
    })
}

/// What stands before a `:STRENGTH`, and the strength, 1 where there is none.
fn strength<'t>(text: &'t str, whole: &str) -> Outcome<(&'t str, f32)> {
    let Some((before, strength)) = text.rsplit_once(':') else {
        return Ok((text, 1.0));
    };
    match strength.trim().parse::<f32>() {
        Ok(strength) if (0.0..=1.0).contains(&strength) => Ok((before, strength)),
        _ => Err(Failure::Misuse(format!(
            "the strength of `{whole}` is `{strength}`; give a number from 0 to 1"
        ))),
    }
}

/// Reads what a run starts from. Where no number of frames was asked for, the clip's length decides.
fn with_input(
    path: &Path,
    args: &RunArgs,
    manifest: &Manifest,
    settings: Settings,
    job: Job,
) -> Outcome<Job> {
    let refused = |e| Failure::Input(anyhow::Error::new(e));
    let clip = read(path, job.geometry().padded.frames)?;
    let whole = job.geometry().compression.whole_frames(clip.frames.len());
    let job = match settings.frames.is_none() && whole < job.geometry().padded.frames {
        true => {
            note!(
                "{} has {} frames: making {whole}",
                path.display(),
                clip.frames.len()
            );
            let settings = Settings {
                frames: Some(whole),
                ..settings
            };
            Job::new(manifest, settings).map_err(refused)?
        }
        false => job,
    };
    let preparation = preparation(args, job.geometry(), true);
    job.with_input(prepared(path, &clip, &preparation)?)
        .map_err(refused)
}

/// Reads and prepares a medium. A clip is cut to whole latent frames and to the video's end, as the reference does.
fn loaded(named: &Named, args: &RunArgs, job: &Job) -> Outcome<Condition> {
    let (geometry, path) = (job.geometry(), &named.path);
    let frames = geometry.asked.frames as i64;
    let given = named.frame;
    if !(-frames..frames).contains(&given) {
        return Err(Failure::Input(anyhow::anyhow!(
            "{} cannot lie at frame {given}: the video has frames 0 to {}, or -{frames} to -1 from its end",
            path.display(),
            frames - 1
        )));
    }
    let room = if given < 0 {
        frames + given + 1
    } else {
        frames - given
    } as usize;
    let clip = read(path, room)?;
    let whole = geometry.compression.whole_frames(clip.frames.len());
    if clip.more || whole < clip.frames.len() {
        note!("{}: its first {whole} frames are used", path.display());
    }
    let own = Size {
        height: clip.height as usize,
        width: clip.width as usize,
    };
    let usual = preparation(args, geometry, false);
    let preparation = match named.place {
        Place::Frames => usual,
        Place::Reference => Preparation {
            blur: false,
            quantiser: None,
            ..usual
        },
        Place::Part { .. } => Preparation {
            size: own,
            padding: Padding::default(),
            ..usual
        },
    };
    let clip = Clip {
        frames: clip.frames.into_iter().take(whole).collect(),
        ..clip
    };
    Ok(Condition {
        media: prepared(path, &clip, &preparation)?,
        frame: if given < 0 {
            room - whole
        } else {
            given as usize
        },
        strength: named.strength,
        place: named.place,
    })
}

fn read(path: &Path, frames: usize) -> Outcome<Clip> {
    let clip = open(path, &ReadOptions::frames(frames)).map_err(|e| Failure::Input(e.into()))?;
    if let Decoder::Ffmpeg { why } = &clip.decoder {
        note!("{} is read by ffmpeg: {why}", path.display());
    }
    Ok(clip)
}

/// What the reference does to media: they are cut to the shape asked for, blurred a little, and padded as the video.
fn preparation(args: &RunArgs, geometry: &Geometry, resize: bool) -> Preparation {
    let size = |video: VideoSize| Size {
        height: video.height,
        width: video.width,
    };
    Preparation {
        size: size(geometry.asked),
        resize,
        blur: true,
        quantiser: args.compress_conditions,
        padding: Padding::between(size(geometry.asked), size(geometry.padded)),
    }
}

fn prepared(path: &Path, clip: &Clip, preparation: &Preparation) -> Outcome<Media> {
    let name = path.display().to_string();
    let size = Size {
        height: clip.height as usize,
        width: clip.width as usize,
    };
    let planes = prepare(&clip.frames, size, preparation)
        .map_err(|e| Failure::Input(anyhow::anyhow!("{name}: {e}")))?;
    let size = VideoSize {
        frames: planes.frames,
        height: planes.size.height,
        width: planes.size.width,
    };
    Media::new(name, planes.values, size).map_err(|e| Failure::Input(e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_names_file_frame_and_strength() {
        let parts = |text| {
            condition(text)
                .map(|n| (n.path.display().to_string(), n.frame, n.strength))
                .ok()
        };
        let named = |path: &str, frame, strength| Some((path.to_owned(), frame, strength));
        assert_eq!(parts("a.png"), named("a.png", 0, 1.0));
        assert_eq!(parts("a.png@16"), named("a.png", 16, 1.0));
        assert_eq!(
            parts("me@home/a.png@-1:0.5"),
            named("me@home/a.png", -1, 0.5)
        );
        for wrong in ["a.png@", "a.png@x", "a.png@0:2", "a.png@0:", "@0"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_part_names_its_corner() {
        let named = part("a.png@64,32:0.5").expect("a part");
        assert_eq!(named.place, Place::Part { x: 64, y: 32 });
        assert_eq!(named.strength, 0.5);
        assert!(part("a.png@64").is_err() && part("a.png").is_err());
    }
}
