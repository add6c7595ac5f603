//! How torch fills one tensor with normal values, to be read in parts.
//!
//! A part of a draw has the values that it has in the whole: words of the generator that belong to others are passed
//! over, which costs a nanosecond a value. Whoever reads forwards passes over each word once.

use std::ops::Range;

use super::box_muller::BLOCK;
use super::random::TorchRng;

/// A draw that a generator is about to make.
#[derive(Debug, Clone)]
pub(super) struct Fill {
    start: TorchRng,
    count: usize,
    /// Whether torch fills it by its serial algorithm.
    serial: bool,
}

/// A place in a draw, to read on from.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    generator: TorchRng,
    at: usize,
}

impl Fill {
    /// The next draw of a generator, which passes it over: `count` values as [`TorchRng::normal`] or, where `serial`,
    /// [`TorchRng::normal_serial`] draws them.
    pub fn next(generator: &mut TorchRng, count: usize, serial: bool) -> Self {
        let fill = Self {
            start: generator.clone(),
            count,
            serial: serial || count < BLOCK,
        };
        match fill.serial {
            true => generator.skip_serial(count),
            false if count.is_multiple_of(BLOCK) => generator.skip_words(count),
            false => generator.skip_words(count + BLOCK),
        }
        fill
    }

    /// The begin of the draw.
    pub fn reader(&self) -> Reader {
        Reader {
            generator: self.start.clone(),
            at: 0,
        }
    }

    /// Some values of the draw; the reader stays where they begin.
    pub fn read(&self, reader: &mut Reader, range: Range<usize>) -> Vec<f32> {
        match self.serial {
            true => {
                self.seek(reader, range.start);
                reader.generator.clone().normal_serial(range.len())
            }
            false => self.read_blocks(reader, range),
        }
    }

    /// Whole blocks, of which the others are left out; an incomplete one at the end is drawn with what is before it.
    fn read_blocks(&self, reader: &mut Reader, range: Range<usize>) -> Vec<f32> {
        let whole = self.count / BLOCK * BLOCK;
        let first = (range.start / BLOCK * BLOCK).min(whole);
        self.seek(reader, first);
        let last = range.end.next_multiple_of(BLOCK).clamp(first, whole);
        let mut values = reader.generator.clone().normal_blocks(last - first);
        let redrawn = self.count - BLOCK;
        if whole < self.count && range.end > redrawn {
            let mut generator = reader.generator.clone();
            generator.skip_words(self.count - first);
            let tail = generator.normal_blocks(BLOCK);
            values.truncate(redrawn.saturating_sub(first));
            values.extend_from_slice(&tail[first.saturating_sub(redrawn)..]);
        }
        values.truncate(range.end - first);
        values.drain(..range.start - first);
        values
    }

    /// Moves a reader to a value, which begins a block where there are blocks.
    fn seek(&self, reader: &mut Reader, at: usize) {
        if at < reader.at {
            *reader = self.reader();
        }
        let ahead = at - reader.at;
        match self.serial {
            true => reader.generator.skip_serial(ahead),
            false => reader.generator.skip_words(ahead),
        }
        reader.at = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every part of draws of many lengths, read in any order, after draws that leave a spare value.
    #[test]
    fn parts_are_those_of_the_whole() {
        for count in [1, 2, 15, 16, 17, 31, 32, 40, 63, 700, 1311] {
            for (serial, before) in [(false, 0), (true, 0), (true, 1), (false, 1)] {
                let mut generator = TorchRng::new(7);
                let _ = generator.normal_serial(before);
                let mut whole = generator.clone();
                let expected = match serial {
                    true => whole.normal_serial(count),
                    false => whole.normal(count),
                };
                let fill = Fill::next(&mut generator, count, serial);
                let after =
                    |generator: &mut TorchRng| [generator.normal_serial(3), generator.normal(40)];
                assert_eq!(
                    after(&mut generator),
                    after(&mut whole),
                    "{count}, {serial}"
                );
                let mut reader = fill.reader();
                for step in [1, 5, 16, 33, count] {
                    for start in (0..count).step_by(step).chain([count / 3, 0]) {
                        let range = start..(start + step + 3).min(count);
                        let found = fill.read(&mut reader, range.clone());
                        assert_eq!(found, expected[range], "{count}, {serial}, from {start}");
                    }
                }
            }
        }
    }
}
