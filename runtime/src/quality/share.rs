//! Counts with their uncertainty.

use serde::Serialize;

/// A count out of some, with Wilson's 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// How many.
    pub count: usize,
    /// Of how many.
    pub of: usize,
    /// The share, 0 to 1; 0 of nothing.
    pub share: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Share {
    /// Counts what holds.
    pub fn of(each: impl IntoIterator<Item = bool>) -> Self {
        let (mut count, mut of) = (0, 0);
        for holds in each {
            count += usize::from(holds);
            of += 1;
        }
        let (n, z) = (of.max(1) as f64, 1.959_964);
        let share = count as f64 / n;
        let middle = share + z * z / (2.0 * n);
        let reach = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
        let end = |value: f64| (value / (1.0 + z * z / n)).clamp(0.0, 1.0);
        Self {
            count,
            of,
            share,
            low: end(middle - reach),
            high: end(middle + reach),
        }
    }
}
