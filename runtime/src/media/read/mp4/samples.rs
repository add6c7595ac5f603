//! Where the samples of a track lie, in the order of decoding.

use super::boxes::{Fields, find};

/// Gives offset and size of each sample in turn.
pub struct Samples {
    count: u32,
    next: u32,
    /// The size of all samples, or 0 when `sizes` lists them.
    size: u32,
    sizes: Vec<u32>,
    chunks: Vec<u64>,
    /// First chunk from 1, samples in each chunk from there on.
    runs: Vec<(u32, u32)>,
    chunk: usize,
    run: usize,
    left_in_chunk: u32,
    offset: u64,
}

impl Samples {
    /// Reads the content of `stbl`; the tables are as long as the boxes, whatever they claim.
    pub fn read(tables: &[u8]) -> Option<Self> {
        let mut sizes = Fields(find(tables, b"stsz")?);
        sizes.bytes(4)?;
        let (size, claimed) = (sizes.u32()?, sizes.u32()?);
        let sizes: Vec<u32> = numbers(sizes).take(claimed as usize).collect();
        if size == 0 && sizes.len() != claimed as usize {
            return None;
        }
        let mut runs = table(find(tables, b"stsc")?)?;
        let mut run = || Some((runs.u32()?, runs.u32()?, runs.u32()?));
        let runs = std::iter::from_fn(&mut run).map(|(first, samples, _)| (first, samples));
        Some(Self {
            count: claimed,
            next: 0,
            size,
            sizes,
            chunks: chunks(tables)?,
            runs: runs.collect(),
            chunk: 0,
            run: 0,
            left_in_chunk: 0,
            offset: 0,
        })
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Offset and size of the next sample; an error when the index does not say.
    pub fn next(&mut self) -> Option<Result<(u64, u32), String>> {
        if self.next >= self.count {
            return None;
        }
        let number = self.next as usize;
        self.next += 1;
        let size = self.sizes.get(number).copied().unwrap_or(self.size);
        if self.left_in_chunk == 0 && self.enter_chunk().is_none() {
            self.next = self.count;
            let reason = format!("its index does not say where frame {} lies", number + 1);
            return Some(Err(reason));
        }
        self.left_in_chunk -= 1;
        let offset = self.offset;
        self.offset = offset.saturating_add(size.into());
        Some(Ok((offset, size)))
    }

    /// Goes to the next chunk that has samples.
    fn enter_chunk(&mut self) -> Option<()> {
        while self.left_in_chunk == 0 {
            self.offset = *self.chunks.get(self.chunk)?;
            self.chunk += 1;
            let starts = |run: &&(u32, u32)| run.0 as usize <= self.chunk;
            if self.runs.get(self.run + 1).filter(starts).is_some() {
                self.run += 1;
            }
            self.left_in_chunk = self.runs.get(self.run)?.1;
        }
        Some(())
    }
}

fn chunks(tables: &[u8]) -> Option<Vec<u64>> {
    if let Some(body) = find(tables, b"stco") {
        return Some(numbers(table(body)?).map(u64::from).collect());
    }
    let mut wide = table(find(tables, b"co64")?)?;
    Some(std::iter::from_fn(|| wide.u64()).collect())
}

/// A table behind its version and its count.
fn table(body: &[u8]) -> Option<Fields<'_>> {
    let mut fields = Fields(body);
    fields.bytes(8)?;
    Some(fields)
}

fn numbers(mut fields: Fields<'_>) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || fields.u32())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(count: u32, chunks: &[u64], runs: &[(u32, u32)]) -> Samples {
        Samples {
            count,
            next: 0,
            size: 10,
            sizes: Vec::new(),
            chunks: chunks.to_vec(),
            runs: runs.to_vec(),
            chunk: 0,
            run: 0,
            left_in_chunk: 0,
            offset: 0,
        }
    }

    #[test]
    fn runs_of_chunks_place_the_samples() {
        let mut samples = samples(6, &[100, 200, 300, 400], &[(1, 2), (3, 1)]);
        let offsets: Vec<u64> = std::iter::from_fn(|| samples.next())
            .map(|sample| sample.unwrap().0)
            .collect();
        assert_eq!(offsets, [100, 110, 200, 210, 300, 400]);
    }

    #[test]
    fn four_milliards_of_samples_cost_nothing() {
        let mut samples = samples(u32::MAX, &[0], &[(1, 1)]);
        assert_eq!(samples.next(), Some(Ok((0, 10))));
        assert!(samples.next().is_some_and(|sample| sample.is_err()));
        assert_eq!(samples.next(), None);
    }
}
