//! Named sizes solved from the axes they occur in.
//!
//! Bare names and axes with one linear unknown give sizes until nothing new follows; then every axis is compared and
//! every size held against the limits the component was compiled for. What does not follow is left to the runtime.

use std::collections::BTreeMap;

use super::ports::{InputFault, Limits, PortSpec};
use super::size::Size;
use crate::tensor::DType;

/// The values of the named sizes in one call.
pub(super) type Sizes = BTreeMap<String, i64>;

/// An axis of a given input.
struct Axis<'a> {
    port: &'a PortSpec,
    axis: usize,
    size: &'a Size,
    found: usize,
}

impl Axis<'_> {
    fn total(&self) -> i64 {
        i64::try_from(self.found).unwrap_or(i64::MAX)
    }

    fn fault(&self, expected: String) -> InputFault {
        InputFault::Axis {
            input: self.port.name.clone(),
            axis: self.axis,
            expected,
            found: self.found,
        }
    }
}

/// A size and the axis it was solved from.
#[derive(Clone, Copy)]
struct Solved {
    value: i64,
    from: usize,
}

/// The sizes of one call.
#[derive(Default)]
pub(super) struct Solving<'a> {
    axes: Vec<Axis<'a>>,
    solved: BTreeMap<&'a str, Solved>,
    faults: Vec<InputFault>,
}

impl<'a> Solving<'a> {
    /// Adds a given input.
    pub fn add(&mut self, port: &'a PortSpec, dtype: DType, shape: &[usize]) {
        if dtype != port.dtype || shape.len() != port.shape.len() {
            self.faults.push(InputFault::Kind {
                input: port.name.clone(),
                expected: port.words(),
                found: format!("{dtype}{shape:?}"),
            });
            return;
        }
        let sizes = port.shape.iter().zip(shape).enumerate();
        self.axes.extend(sizes.map(|(axis, (size, &found))| Axis {
            port,
            axis,
            size,
            found,
        }));
    }

    /// The named sizes, or every fault.
    pub fn finish(mut self, limits: &BTreeMap<String, Limits>) -> Result<Sizes, Vec<InputFault>> {
        self.solve();
        self.compare();
        self.hold(limits);
        match self.faults.is_empty() {
            true => Ok(self.found_sizes()),
            false => Err(self.faults),
        }
    }

    fn value(&self, symbol: &str) -> Option<i64> {
        self.solved.get(symbol).map(|solved| solved.value)
    }

    /// Bare names and sizes with one unknown, until nothing new follows.
    fn solve(&mut self) {
        let mut before = None;
        while before != Some(self.solved.len()) {
            before = Some(self.solved.len());
            for from in 0..self.axes.len() {
                let (size, total) = (self.axes[from].size, self.axes[from].total());
                let known = |name: &str| self.value(name);
                let mut unknown = size.unknown(&known).into_iter();
                let (Some(symbol), None) = (unknown.next(), unknown.next()) else {
                    continue;
                };
                if let Some(value) = size.solve(symbol, total, &known) {
                    self.solved.insert(symbol, Solved { value, from });
                }
            }
        }
    }

    fn compare(&mut self) {
        for axis in &self.axes {
            let known = |name: &str| self.value(name);
            let unknown = axis.size.unknown(&known).len();
            match axis.size.value(&known) {
                Some(value) if value == axis.total() => {}
                Some(value) if axis.size.to_string() == value.to_string() => {
                    self.faults.push(axis.fault(value.to_string()));
                }
                Some(value) => {
                    let expected = format!("{value} (`{}`{})", axis.size, self.origin(axis.size));
                    self.faults.push(axis.fault(expected));
                }
                None if unknown == 1 => {
                    self.faults.push(axis.fault(format!("`{}`", axis.size)));
                }
                None => {}
            }
        }
    }

    /// Where a bare name got its value.
    fn origin(&self, size: &Size) -> String {
        let solved = self.solved.get(size.to_string().as_str());
        solved.map_or_else(String::new, |solved| {
            format!(" as in `{}`", self.axes[solved.from].port.name)
        })
    }

    fn hold(&mut self, limits: &BTreeMap<String, Limits>) {
        for (symbol, solved) in &self.solved {
            let Some(limits) = limits.get(*symbol) else {
                continue;
            };
            let axis = &self.axes[solved.from];
            if let Some(expected) = self.outside(solved.value, limits) {
                let size = axis.size;
                let named = match size.to_string() == *symbol {
                    true => format!("{expected} (`{symbol}`)"),
                    false => format!("`{size}` with `{symbol}` {expected}"),
                };
                self.faults.push(axis.fault(named));
            }
        }
    }

    /// What the value should be, if it is not.
    fn outside(&self, value: i64, limits: &Limits) -> Option<String> {
        if limits.one_of.is_empty() {
            let range = limits.min..=limits.max;
            return (!range.contains(&value))
                .then(|| format!("from {} to {}", limits.min, limits.max));
        }
        let known = |name: &str| self.value(name);
        let choices: Vec<_> = limits
            .one_of
            .iter()
            .map(|size| size.value(&known))
            .collect();
        // A choice that depends on an unknown size cannot be held against anything.
        let fits = choices
            .iter()
            .any(|choice| choice.is_none_or(|c| c == value));
        let words = |size: &Size| match size.value(&known) {
            Some(number) if number.to_string() != size.to_string() => {
                format!("{number} (`{size}`)")
            }
            _ => size.to_string(),
        };
        (!fits).then(|| {
            let words: Vec<_> = limits.one_of.iter().map(words).collect();
            words.join(" or ")
        })
    }

    fn found_sizes(&self) -> Sizes {
        let named = |(symbol, solved): (&&str, &Solved)| ((*symbol).to_owned(), solved.value);
        self.solved.iter().map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use ltxc_bundle::{Component, Port, SizeLimits};

    use super::super::ports::{Given, Spec};
    use super::*;

    fn port(name: &str, shape: &[&str]) -> Port {
        Port {
            name: name.to_owned(),
            dtype: "f32".to_owned(),
            shape: shape.iter().map(|size| (*size).to_owned()).collect(),
            source: None,
        }
    }

    fn limits(max: i64, one_of: &[&str]) -> SizeLimits {
        SizeLimits {
            min: 1,
            max,
            one_of: one_of.iter().map(|size| (*size).to_owned()).collect(),
        }
    }

    fn spec() -> Spec {
        let sizes = [
            ("B", limits(2, &[])),
            ("R", limits(1 << 31, &["1", "B"])),
            ("frames", limits(16, &[])),
        ];
        let component = Component {
            dense: None,
            model: String::new(),
            parts: Vec::new(),
            stream: None,
            inputs: vec![
                port("video", &["B", "3", "8*frames - 7"]),
                port("latents", &["B", "frames*rows", "rows"]),
                port("coords", &["R", "3"]),
            ],
            outputs: Vec::new(),
            sizes: sizes.map(|(name, limits)| (name.to_owned(), limits)).into(),
            parameters: 0,
            weight_bytes: 0,
            weight_dtypes: BTreeMap::new(),
            passes: Vec::new(),
        };
        Spec::new("test", &component).unwrap()
    }

    fn solve(given: &[(&'static str, &'static [usize])]) -> Result<Sizes, Vec<String>> {
        let given: Given<'_> = given
            .iter()
            .map(|(name, shape)| (*name, (DType::F32, *shape)))
            .collect();
        let words = |faults: Vec<InputFault>| faults.iter().map(InputFault::to_string).collect();
        spec().sizes(&given).map_err(words)
    }

    #[test]
    fn sizes_follow_from_bare_names_and_linear_axes() {
        let sizes = solve(&[
            ("video", &[2, 3, 17]),
            ("latents", &[2, 12, 4]),
            ("coords", &[2, 3]),
        ]);
        let expected = [("B", 2), ("R", 2), ("frames", 3), ("rows", 4)];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(sizes, Ok(expected.into()));
    }

    #[test]
    fn sizes_follow_from_some_of_the_inputs() {
        assert_eq!(solve(&[("video", &[1, 3, 9])]).unwrap()["frames"], 2);
    }

    #[test]
    fn every_fault_names_input_axis_and_both_sizes() {
        for (inputs, expected) in [
            (
                [("video", &[1, 4, 17][..]), ("latents", &[2, 15, 5])],
                &[
                    "input `video`, axis 1: expected 3, found 4",
                    "input `latents`, axis 0: expected 1 (`B` as in `video`), found 2",
                ][..],
            ),
            (
                [("video", &[1, 3, 10]), ("coords", &[1, 3])],
                &["input `video`, axis 2: expected `8*frames - 7`, found 10"],
            ),
            (
                [("video", &[1, 3, 17]), ("latents", &[1, 13, 4])],
                &["input `latents`, axis 1: expected 12 (`frames*rows`), found 13"],
            ),
            (
                [("video", &[3, 3, 137]), ("coords", &[2, 3])],
                &[
                    "input `video`, axis 0: expected from 1 to 2 (`B`), found 3",
                    "input `coords`, axis 0: expected 1 or 3 (`B`) (`R`), found 2",
                    "input `video`, axis 2: expected `8*frames - 7` with `frames` from 1 to 16, found 137",
                ],
            ),
            (
                [("video", &[1, 3]), ("coords", &[1, 3])],
                &["input `video`: expected F32[B, 3, 8*frames - 7], found F32[1, 3]"],
            ),
        ] {
            assert_eq!(solve(&inputs).unwrap_err(), expected);
        }
    }
}
