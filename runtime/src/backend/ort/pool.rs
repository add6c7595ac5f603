//! Which freed blocks of memory are kept for the next call.

use std::collections::VecDeque;

/// Blocks below this go back at once: the C library keeps those itself.
pub(super) const LEAST: usize = 256 << 10;

/// A page that takes one fault instead of 512, on most machines.
pub(super) const PAGE: usize = 2 << 20;

/// Freed blocks, oldest first.
///
/// What is in use and what is kept is never more than what was once in use at the same time: keeping costs no memory
/// beyond a peak that was there anyway. Models that take turns share it.
pub(super) struct Pool<B> {
    kept: VecDeque<(usize, B)>,
    /// Bytes that are kept.
    held: usize,
    /// Bytes in use.
    used: usize,
    /// The most bytes that were in use.
    most: usize,
}

impl<B> Pool<B> {
    pub(super) const fn new() -> Self {
        Self {
            kept: VecDeque::new(),
            held: 0,
            used: 0,
            most: 0,
        }
    }

    /// The smallest kept block of at least so many bytes, if it is no more than a quarter larger.
    pub(super) fn take(&mut self, bytes: usize) -> Option<B> {
        let fits = bytes..=bytes + bytes / 4;
        let fitting = self.kept.iter().enumerate();
        let fitting = fitting.filter(|(_, (size, _))| fits.contains(size));
        let (at, _) = fitting.min_by_key(|(_, (size, _))| *size)?;
        let (size, block) = self.kept.remove(at)?;
        self.held -= size;
        self.used += size;
        Some(block)
    }

    /// The kept blocks that must go before another one of so many bytes is made.
    pub(super) fn make_room(&mut self, bytes: usize) -> Vec<B> {
        let mut gone = Vec::new();
        while self.used + self.held + bytes > self.most
            && let Some((size, block)) = self.kept.pop_front()
        {
            self.held -= size;
            gone.push(block);
        }
        gone
    }

    /// Another block was made.
    pub(super) fn made(&mut self, bytes: usize) {
        self.used += bytes;
        self.most = self.most.max(self.used + self.held);
    }

    /// A block is not used any more.
    pub(super) fn free(&mut self, bytes: usize, block: B) {
        self.used -= bytes;
        self.held += bytes;
        self.kept.push_back((bytes, block));
    }

    /// All kept blocks, which must go; the peak is forgotten.
    pub(super) fn rest(&mut self) -> impl Iterator<Item = B> + use<B> {
        self.held = 0;
        self.most = self.used;
        std::mem::take(&mut self.kept)
            .into_iter()
            .map(|(_, block)| block)
    }
}

/// What is made for so many bytes: steps of a sixteenth at most, so that blocks fit more often; whole pages where that is little.
pub(super) fn rounded(bytes: usize) -> Option<usize> {
    let step = bytes.checked_next_power_of_two()? / 32;
    let least = if bytes < 16 * PAGE { 1 } else { PAGE };
    bytes.checked_next_multiple_of(step.max(least))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// Takes or makes a block; says how many went for it.
    fn get(pool: &mut Pool<usize>, bytes: usize) -> (bool, usize) {
        if pool.take(bytes).is_some() {
            return (true, 0);
        }
        let gone = pool.make_room(bytes).len();
        pool.made(bytes);
        (false, gone)
    }

    #[test]
    fn a_block_is_used_again_for_as_much_or_little_less() {
        let mut pool = Pool::new();
        pool.made(8 * MIB);
        pool.free(8 * MIB, 0);
        assert!(pool.take(8 * MIB + 1).is_none());
        assert!(pool.take(6 * MIB).is_none());
        assert!(pool.take(8 * MIB - 4096).is_some());
        assert_eq!((pool.used, pool.held), (8 * MIB, 0));
    }

    #[test]
    fn the_nearest_of_several_blocks_is_taken() {
        let mut pool = Pool::new();
        for size in [20, 16, 17] {
            pool.made(size * MIB);
        }
        for size in [20, 16, 17] {
            pool.free(size * MIB, size);
        }
        assert_eq!(pool.take(16 * MIB), Some(16));
        assert_eq!(pool.take(16 * MIB), Some(17));
        assert_eq!(pool.take(16 * MIB), Some(20));
        assert_eq!(pool.take(16 * MIB), None);
    }

    #[test]
    fn what_is_kept_never_adds_to_the_peak() {
        let mut pool = Pool::new();
        assert_eq!(get(&mut pool, 4 * MIB), (false, 0));
        assert_eq!(get(&mut pool, 4 * MIB), (false, 0));
        pool.free(4 * MIB, 0);
        // 4 in use, 4 kept, 8 were in use: another 2 replace the kept ones.
        assert_eq!(get(&mut pool, 2 * MIB), (false, 1));
        // 6 in use: 2 are free to be made.
        assert_eq!(get(&mut pool, 2 * MIB), (false, 0));
        assert_eq!(pool.most, 8 * MIB);
        assert_eq!(get(&mut pool, MIB), (false, 0));
        assert_eq!(pool.most, 9 * MIB);
    }

    #[test]
    fn at_rest_nothing_is_kept() {
        let mut pool = Pool::new();
        for at in 0..3 {
            pool.made(MIB);
            pool.free(MIB, at);
            pool.made(2 * MIB);
        }
        assert_eq!(pool.rest().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!((pool.held, pool.most, pool.used), (0, 6 * MIB, 6 * MIB));
        assert!(pool.take(MIB).is_none());
    }

    #[test]
    fn sizes_are_rounded_by_a_sixteenth_at_most() {
        for bytes in [LEAST, LEAST + 1, 3 * MIB, 100 * MIB + 7, 1 << 40] {
            let rounded = rounded(bytes).unwrap();
            assert!(rounded >= bytes && rounded - bytes <= bytes / 16, "{bytes}");
        }
        assert_eq!(rounded(33 * MIB), Some(34 * MIB));
        assert_eq!(rounded(usize::MAX), None);
    }
}
