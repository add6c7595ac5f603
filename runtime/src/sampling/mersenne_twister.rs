//! The 32-bit Mersenne Twister MT19937 (Matsumoto and Nishimura, 1998), seeded as `init_genrand`.

const SIZE: usize = 624;
const SHIFT: usize = 397;

/// An endless stream of 32-bit words.
#[derive(Debug, Clone)]
pub(super) struct MersenneTwister {
    state: [u32; SIZE],
    next: usize,
}

impl MersenneTwister {
    pub(super) fn new(seed: u32) -> Self {
        let mut state = [seed; SIZE];
        for index in 1..SIZE {
            let previous = state[index - 1];
            state[index] = (previous ^ (previous >> 30))
                .wrapping_mul(1_812_433_253)
                .wrapping_add(index as u32);
        }
        Self { state, next: SIZE }
    }

    #[inline]
    pub(super) fn next_u32(&mut self) -> u32 {
        if self.next == SIZE {
            self.refill();
        }
        let word = self.state[self.next];
        self.next += 1;
        temper(word)
    }

    /// Two words, the first one in the high half.
    #[inline]
    pub(super) fn next_u64(&mut self) -> u64 {
        let high = u64::from(self.next_u32());
        (high << 32) | u64::from(self.next_u32())
    }

    /// Passes over `n` words.
    pub(super) fn skip(&mut self, mut n: usize) {
        while n > SIZE - self.next {
            n -= SIZE - self.next;
            self.refill();
        }
        self.next += n;
    }

    fn refill(&mut self) {
        let state = &mut self.state;
        for index in 0..SIZE - SHIFT {
            state[index] = state[index + SHIFT] ^ twist(state[index], state[index + 1]);
        }
        for index in SIZE - SHIFT..SIZE - 1 {
            state[index] = state[index + SHIFT - SIZE] ^ twist(state[index], state[index + 1]);
        }
        state[SIZE - 1] = state[SHIFT - 1] ^ twist(state[SIZE - 1], state[0]);
        self.next = 0;
    }
}

#[inline]
fn twist(upper: u32, lower: u32) -> u32 {
    let word = (upper & 0x8000_0000) | (lower & 0x7fff_ffff);
    (word >> 1) ^ (0x9908_b0df & (word & 1).wrapping_neg())
}

#[inline]
fn temper(word: u32) -> u32 {
    let word = word ^ (word >> 11);
    let word = word ^ ((word << 7) & 0x9d2c_5680);
    let word = word ^ ((word << 15) & 0xefc6_0000);
    word ^ (word >> 18)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_stream_for_the_default_seed() {
        let mut twister = MersenneTwister::new(5489);
        assert_eq!(twister.next_u32(), 3_499_211_612);
        let tenthousandth = (0..9_999).map(|_| twister.next_u32()).last();
        assert_eq!(tenthousandth, Some(4_123_659_995));
    }

    #[test]
    fn passes_over_words_as_if_they_were_drawn() {
        for count in [0, 1, 623, 624, 625, 1248, 5000] {
            let (mut drawn, mut skipped) = (MersenneTwister::new(3), MersenneTwister::new(3));
            for _ in 0..count {
                drawn.next_u32();
            }
            skipped.skip(count);
            assert_eq!(drawn.next_u32(), skipped.next_u32(), "{count}");
        }
    }

    #[test]
    fn puts_the_first_word_in_the_high_half() {
        let mut words = MersenneTwister::new(7);
        let (high, low) = (words.next_u32(), words.next_u32());
        let pair = MersenneTwister::new(7).next_u64();
        assert_eq!(pair, (u64::from(high) << 32) | u64::from(low));
    }
}
