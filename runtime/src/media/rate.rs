//! Frame rates as exact fractions, so that timestamps do not drift.

use super::MediaError;

/// Rates for which `n * 1000 / 1001` is a broadcast rate people write with two or three decimals.
const NTSC_BASES: [u32; 5] = [24, 30, 48, 60, 120];

/// `timescale` ticks a second, `delta` ticks a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub timescale: u32,
    pub delta: u32,
}

impl Rate {
    /// Rates within 0.005 of a broadcast rate are taken for it; others keep three decimals
    /// from 1 frame per second up, five below.
    pub fn from_fps(fps: f64) -> Result<Self, MediaError> {
        if !(0.01..=1000.0).contains(&fps) {
            return Err(MediaError::FrameRate { fps });
        }
        let ntsc = |base: &&u32| (fps - f64::from(**base) * 1000.0 / 1001.0).abs() < 0.005;
        if let Some(base) = NTSC_BASES.iter().find(ntsc) {
            return Ok(Self {
                timescale: base * 1000,
                delta: 1001,
            });
        }
        let delta = if fps < 1.0 { 100_000 } else { 1000 };
        Ok(Self {
            timescale: (fps * f64::from(delta)).round() as u32,
            delta,
        })
    }

    /// The moment, in units of `1 / unit` seconds, at which a frame starts, rounded.
    pub fn start(self, frame: u64, unit: u64) -> u64 {
        let timescale = u64::from(self.timescale);
        (frame * u64::from(self.delta) * unit + timescale / 2) / timescale
    }

    pub fn fps(self) -> f64 {
        f64::from(self.timescale) / f64::from(self.delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fps: f64, timescale: u32, delta: u32) {
        assert_eq!(Rate::from_fps(fps).unwrap(), Rate { timescale, delta });
    }

    #[test]
    fn broadcast_rates_are_exact() {
        check(23.976, 24000, 1001);
        check(23.98, 24000, 1001);
        check(29.97, 30000, 1001);
        check(59.94, 60000, 1001);
    }

    #[test]
    fn other_rates_keep_their_decimals() {
        check(24.0, 24000, 1000);
        check(25.0, 25000, 1000);
        check(12.5, 12500, 1000);
        check(0.5, 50_000, 100_000);
    }

    #[test]
    fn impossible_rates_are_refused() {
        for fps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Rate::from_fps(fps).is_err());
        }
    }
}
