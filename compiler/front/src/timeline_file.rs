//! What a long video shows from when on: a list of prompts with the moment each begins.

use crate::diagnostic::{Diagnostic, Source, Span};
use crate::reader::{Read, Reader};
use crate::tree::{Kind, Tree, parse};

const MOMENT: &str = "write a frame such as 60, or seconds such as 2.5s";

/// A timeline file.
#[derive(Clone, Debug)]
pub struct TimelineFile {
    /// The prompts in the order written, at least one.
    pub entries: Vec<TimelineEntry>,
    source: Source,
}

/// A prompt, and from when on it holds.
#[derive(Clone, Debug)]
pub struct TimelineEntry {
    /// When.
    pub from: Moment,
    /// What the video shows then.
    pub prompt: String,
    /// Seed of the noise of what it shows.
    pub seed: Option<u64>,
    span: Span,
}

/// A moment of a video.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moment {
    /// A frame, from 0.
    Frame(u64),
    /// Seconds from the start.
    Seconds(f64),
}

impl Moment {
    /// The first frame that is not before it.
    pub fn frame(self, fps: f64) -> u64 {
        match self {
            Self::Frame(frame) => frame,
            Self::Seconds(seconds) => (seconds * fps - 1e-6).ceil().max(0.0) as u64,
        }
    }
}

impl TimelineFile {
    /// Reads the text of a file.
    pub fn parse(source: Source) -> Result<Self, Vec<Diagnostic>> {
        let tree = parse(&source).map_err(|mistake| vec![mistake])?;
        let mut reader = Reader::new(source.clone());
        let entries = entries(&mut reader, &tree);
        let entries = reader.finish(entries)?;
        Ok(Self { entries, source })
    }

    /// A mistake at the moment of an entry.
    pub fn mistake(&self, entry: usize, message: impl Into<String>) -> Diagnostic {
        let span = self.entries.get(entry).map_or(Span::default(), |e| e.span);
        Diagnostic::new("timeline::moment", &self.source, span, message)
    }
}

fn entries(reader: &mut Reader, tree: &Tree) -> Read<Vec<TimelineEntry>> {
    let items = reader.list(tree, "a timeline")?;
    if items.is_empty() {
        let help = "write `- {from: 0, prompt: ..}`";
        let empty = reader.at("timeline::empty", tree.span, "there is no prompt in it");
        return Err(reader.report(empty.help(help)));
    }
    let read: Vec<Read<TimelineEntry>> = items.iter().map(|item| entry(reader, item)).collect();
    read.into_iter().collect()
}

fn entry(reader: &mut Reader, tree: &Tree) -> Read<TimelineEntry> {
    let mut fields = reader.map(tree, "a prompt of a timeline")?;
    let from = fields.need(reader, "from");
    let prompt = fields.need(reader, "prompt");
    let seed = fields.take("seed");
    let closed = reader.close(fields);
    let from = from.and_then(|tree| Ok((moment(reader, tree)?, tree.span)));
    let prompt = prompt.and_then(|tree| reader.text(tree, "`prompt`"));
    let seed = seed.map(|tree| reader.plain(tree, "`seed`")).transpose();
    closed?;
    let (from, span) = from?;
    Ok(TimelineEntry {
        from,
        prompt: prompt?,
        seed: seed?,
        span,
    })
}

fn moment(reader: &mut Reader, tree: &Tree) -> Read<Moment> {
    let seconds = |text: &str| text.strip_suffix('s')?.trim_end().parse::<f64>().ok();
    match &tree.kind {
        Kind::Int(frame) if *frame >= 0 => Ok(Moment::Frame(*frame as u64)),
        Kind::Text(text) => match seconds(text) {
            Some(seconds) if (0.0..1e6).contains(&seconds) => Ok(Moment::Seconds(seconds)),
            _ => Err(wrong(reader, tree, &format!("`{text}` is no moment"))),
        },
        Kind::Int(_) => Err(wrong(
            reader,
            tree,
            "a moment lies in the video, not before it",
        )),
        _ => Err(wrong(
            reader,
            tree,
            &format!("{} is no moment", tree.describe()),
        )),
    }
}

fn wrong(reader: &mut Reader, tree: &Tree, why: &str) -> crate::reader::Reported {
    let mistake = reader.at("timeline::moment", tree.span, why);
    reader.report(mistake.help(MOMENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TimelineFile, Vec<String>> {
        let read = TimelineFile::parse(Source::new("t.yaml", text));
        read.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn prompts_begin_at_frames_or_seconds() {
        let text = "- {from: 0, prompt: a cat}\n- from: 2.5s\n  prompt: a dog\n  seed: 7\n";
        let file = read(text).expect("a timeline");
        let (cat, dog) = (&file.entries[0], &file.entries[1]);
        assert_eq!(
            (cat.from, cat.prompt.as_str(), cat.seed),
            (Moment::Frame(0), "a cat", None)
        );
        assert_eq!((dog.from, dog.seed), (Moment::Seconds(2.5), Some(7)));
        assert_eq!([dog.from.frame(24.0), dog.from.frame(25.0)], [60, 63]);
        let mistake = file.mistake(1, "here").to_string();
        assert_eq!(mistake, "t.yaml:2:9: here");
    }

    #[test]
    fn every_mistake_is_placed() {
        let text = "- {from: 1.5, prompt: a}\n- {from: soon, prompt: [a]}\n- {prompt: a, sed: 1}\n- {from: -1, prompt: a, seed: x}\n";
        let mistakes = read(text).expect_err("mistakes");
        let places: Vec<&str> = mistakes
            .iter()
            .map(|said| said.split(": ").next().unwrap_or_default())
            .collect();
        assert_eq!(
            places,
            [
                "t.yaml:1:10",
                "t.yaml:2:10",
                "t.yaml:2:24",
                "t.yaml:3:3",
                "t.yaml:3:15",
                "t.yaml:4:10",
                "t.yaml:4:31"
            ],
            "{mistakes:?}"
        );
        assert!(read("[]").is_err() && read("a: 1").is_err() && read("- [").is_err());
    }
}
