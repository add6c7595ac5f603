//! The range of a value: its largest magnitude, and a histogram of magnitudes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Bins of a histogram to each power of two.
const FINE: i32 = 32;
/// Magnitudes below two to this power count as 0.
const LEAST: i32 = -24;
/// Powers of two that a histogram covers; larger magnitudes fall into the last bin.
const OCTAVES: i32 = 48;
/// Powers of two below the largest magnitude in which the best one is looked for.
const SEARCHED: i32 = 6;
/// Steps of 8 bits on one side of 0.
const STEPS: f64 = 127.0;

/// The ranges of values, by the names of what reads them.
pub type Ranges = BTreeMap<String, Range>;

/// How the magnitude to quantise for follows from a range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// The largest magnitude there was.
    Max,
    /// The least one that this part of all numbers, in percent, does not pass.
    Percentile(f64),
    /// The one at which 8-bit integers have the least mean square error.
    Mse,
}

impl Method {
    /// Whether it needs a histogram.
    pub fn samples(self) -> bool {
        self != Self::Max
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::Percentile(percent) => write!(f, "percentile:{percent}"),
            Self::Mse => f.write_str("mse"),
        }
    }
}

/// `max`, `mse`, `percentile` (99.99) or `percentile:99.9`.
impl FromStr for Method {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no method; write max, mse, percentile or a percentile over 50 such as percentile:99.9"
            )
        };
        match text {
            "max" => Ok(Self::Max),
            "mse" => Ok(Self::Mse),
            "percentile" => Ok(Self::Percentile(99.99)),
            _ => {
                let percent = text.strip_prefix("percentile:").ok_or_else(wrong)?;
                let percent: f64 = percent.parse().map_err(|_| wrong())?;
                let fits = percent > 50.0 && percent <= 100.0;
                fits.then_some(Self::Percentile(percent)).ok_or_else(wrong)
            }
        }
    }
}

/// What is known of the magnitudes of a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Range {
    largest: f32,
    /// How many numbers of a sample fall into each bin; empty where none were taken.
    bins: Vec<u64>,
    /// The largest magnitude of each column, and of the weights' columns; empty where none were given.
    columns: Vec<f32>,
    weights: Vec<f32>,
}

/// Columns of a value that are divided by powers of two, and a weight's multiplied by them, so that both spread less.
#[derive(Clone, Debug, PartialEq)]
pub struct Smoothed {
    /// The largest magnitude of the value after that.
    pub largest: f32,
    /// The powers.
    pub powers: Vec<i8>,
}

impl Range {
    /// Takes in the largest magnitude of a call.
    pub fn reach(&mut self, largest: f32) {
        // What is no number must not go unseen: it stays, as nothing is larger.
        if largest.is_nan() || largest > self.largest {
            self.largest = largest;
        }
    }

    /// Takes in some magnitudes of a call.
    pub fn sample(&mut self, magnitudes: &[f32]) {
        self.bins.resize((OCTAVES * FINE) as usize, 0);
        for magnitude in magnitudes {
            self.bins[bin(*magnitude)] += 1;
        }
    }

    /// Takes in the largest magnitudes of the columns of a call, and of the weights that they meet.
    pub fn reach_columns(&mut self, columns: &[f32], weights: &[f32]) {
        for (most, found) in [(&mut self.columns, columns), (&mut self.weights, weights)] {
            most.resize(found.len().max(most.len()), 0.0);
            most.iter_mut()
                .zip(found)
                .for_each(|(most, x)| *most = most.max(*x));
        }
    }

    /// How the columns are evened out ([SmoothQuant](https://arxiv.org/abs/2211.10438)): each is divided by
    /// `value^alpha / weight^(1 - alpha)` of its magnitudes, rounded to a power of two. `None` without columns.
    pub fn smoothed(&self, alpha: f32) -> Option<Smoothed> {
        let power = |(x, w): (&f32, &f32)| match x * w > 0.0 {
            true => (alpha * x.log2() - (1.0 - alpha) * w.log2()).round() as i8,
            false => 0,
        };
        let powers: Vec<i8> = self.columns.iter().zip(&self.weights).map(power).collect();
        let after = self.columns.iter().zip(&powers);
        let after = after.map(|(x, power)| x / f32::from(*power).exp2());
        let largest = after.fold(0.0, f32::max);
        (!powers.is_empty() && self.largest.is_finite()).then_some(Smoothed { largest, powers })
    }

    /// The magnitude to quantise for.
    pub fn magnitude(&self, method: Method) -> f32 {
        let found = match method {
            _ if !self.largest.is_finite() => self.largest,
            Method::Max => self.largest,
            Method::Percentile(percent) => self.percentile(percent),
            Method::Mse => self.best(),
        };
        found.min(self.largest)
    }

    fn percentile(&self, percent: f64) -> f32 {
        let total: u64 = self.bins.iter().sum();
        let wanted = total as f64 * percent / 100.0;
        let mut below = 0;
        let reached = self.bins.iter().position(|count| {
            below += count;
            below as f64 >= wanted
        });
        reached.map_or(self.largest, edge)
    }

    /// The edge of a bin at which clipping and rounding together cost least.
    fn best(&self) -> f32 {
        let Some(top) = self.bins.iter().rposition(|count| *count > 0) else {
            return self.largest;
        };
        let lowest = top.saturating_sub((SEARCHED * FINE) as usize);
        let edges = (lowest..=top).map(edge);
        let costs = edges.map(|edge| (self.error(f64::from(edge)), edge));
        costs
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map_or(self.largest, |(_, edge)| edge)
    }

    /// The sum of the squared errors of 8-bit integers up to `most`: a twelfth of a squared step, and what is clipped.
    fn error(&self, most: f64) -> f64 {
        let rounding = (most / STEPS).powi(2) / 12.0;
        let of_bin = |(bin, count): (usize, &u64)| {
            let clipped = (f64::from(middle(bin)) - most).max(0.0).powi(2);
            *count as f64 * (rounding + clipped)
        };
        self.bins.iter().enumerate().map(of_bin).sum()
    }
}

fn bin(magnitude: f32) -> usize {
    let place = (magnitude.log2() - LEAST as f32) * FINE as f32;
    // 0 has the logarithm -inf, which saturates.
    (place as i64).clamp(0, i64::from(OCTAVES * FINE - 1)) as usize
}

/// The upper edge of a bin.
fn edge(bin: usize) -> f32 {
    ((bin as f32 + 1.0) / FINE as f32 + LEAST as f32).exp2()
}

fn middle(bin: usize) -> f32 {
    ((bin as f32 + 0.5) / FINE as f32 + LEAST as f32).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(values: &[f32]) -> Range {
        let mut range = Range::default();
        range.sample(values);
        range.reach(values.iter().copied().fold(0.0, f32::max));
        range
    }

    #[test]
    fn a_percentile_leaves_out_the_outliers() {
        let mut values = vec![1.0; 999];
        values.push(100.0);
        let range = range(&values);
        let [all, most] = [100.0, 99.5].map(|p| range.magnitude(Method::Percentile(p)));
        assert_eq!(all, 100.0);
        assert!((1.0..1.05).contains(&most), "{most}");
        assert_eq!(range.magnitude(Method::Max), 100.0);
    }

    #[test]
    fn the_least_square_error_clips_few_outliers_and_not_many() {
        let mut values: Vec<f32> = (0..100_000).map(|i| (i % 1000) as f32 / 1000.0).collect();
        assert!(range(&values).magnitude(Method::Mse) > 0.95);
        values.push(2.0);
        let few = range(&values).magnitude(Method::Mse);
        assert!((0.95..1.9).contains(&few), "{few}");
        values.extend([2.0; 10_000]);
        let many = range(&values).magnitude(Method::Mse);
        assert!(many > 1.95, "{many}");
    }

    #[test]
    fn bins_hold_what_lies_between_their_edges() {
        for value in [0.0f32, 1e-30, 1e-3, 1.0, 3.7, 1e4, 1e30] {
            let bin = bin(value);
            assert!(value <= edge(bin) * 1.0001 || bin == (OCTAVES * FINE - 1) as usize);
            assert!(bin == 0 || value >= edge(bin - 1) * 0.9999);
        }
    }

    #[test]
    fn columns_are_evened_out_between_values_and_weights() {
        let mut range = Range::default();
        assert_eq!(range.smoothed(0.5), None);
        range.reach(64.0);
        range.reach_columns(&[64.0, 1.0, 0.0], &[1.0, 1.0, 1.0]);
        range.reach_columns(&[1.0, 1.0, 0.0], &[1.0, 1.0, 1.0]);
        let smoothed = range.smoothed(0.5).expect("columns");
        assert_eq!(
            (smoothed.largest, &smoothed.powers[..]),
            (8.0, &[3, 0, 0][..])
        );
        let all = range.smoothed(1.0).expect("columns");
        assert_eq!((all.largest, &all.powers[..]), (1.0, &[6, 0, 0][..]));
    }

    #[test]
    fn what_is_no_number_stays_seen() {
        let mut range = Range::default();
        range.reach(f32::NAN);
        range.reach(1.0);
        range.sample(&[1.0, 2.0]);
        for method in [Method::Max, Method::Percentile(99.0), Method::Mse] {
            assert!(!range.magnitude(method).is_finite());
        }
    }

    #[test]
    fn methods_read_back_what_they_print() {
        for text in ["max", "mse", "percentile:99.9"] {
            assert_eq!(
                text.parse::<Method>().map(|m| m.to_string()),
                Ok(text.to_owned())
            );
        }
        assert_eq!("percentile".parse(), Ok(Method::Percentile(99.99)));
        for text in [
            "",
            "mean",
            "percentile:",
            "percentile:101",
            "percentile:nan",
        ] {
            assert!(text.parse::<Method>().is_err(), "{text}");
        }
    }
}
