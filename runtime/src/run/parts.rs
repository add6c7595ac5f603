//! The parts of a component: what is kept for a video, and what of a step is used again.
//!
//! A part that is computed once for a video keeps its results until one of its inputs differs, so that nobody has to say
//! when a video begins. A part whose work may be used again (first-block cache) keeps that of the last step in which it
//! was computed, and what decided it then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ltxc_bundle::{Part, Per};

use super::component::Tensors;
use super::model::Model;
use crate::backend::{BackendError, Values};
use crate::tensor::Tensor;

/// What a component is computed with.
pub(super) struct Work {
    parts: Vec<LoadedPart>,
    last: Model,
    /// Steps to come that attend densely.
    dense: usize,
    /// How little must change for work to be used again.
    share: f32,
    /// Calls that used work again.
    pub reused: usize,
}

/// A part before the last, and what it made before.
pub(super) struct LoadedPart {
    part: Part,
    model: Model,
    kept: Option<Kept>,
}

/// Results of a part and what they were made of.
struct Kept {
    inputs: Tensors,
    /// Results of other parts that must be the very same.
    held: Values,
    /// What decides whether they are used again, where that may have changed.
    compared: Option<Tensor>,
    values: Values,
}

impl Work {
    pub fn new(parts: Vec<LoadedPart>, last: Model) -> Self {
        Self {
            parts,
            last,
            dense: 0,
            share: 0.0,
            reused: 0,
        }
    }

    pub fn begin(&mut self, share: f32, dense: usize) -> Result<(), BackendError> {
        (self.share, self.dense, self.reused) = (share, dense, 0);
        self.forget_steps();
        self.turn();
        for part in &mut self.parts {
            part.model.session()?;
        }
        self.last.session().map(drop)
    }

    fn forget_steps(&mut self) {
        for part in &mut self.parts {
            part.kept.take_if(|_| part.part.per == Per::Step);
        }
    }

    /// The models of this step take their turn; what others made of a step is not used again.
    fn turn(&mut self) {
        let dense = self.dense > 0;
        let parts = self.parts.iter_mut().map(|part| &mut part.model);
        let models = parts.chain([&mut self.last]);
        if models.fold(false, |turned, model| model.turn(dense) | turned) {
            self.forget_steps();
        }
    }

    pub fn run(&mut self, inputs: Tensors) -> Result<Tensors, BackendError> {
        self.turn();
        self.dense = self.dense.saturating_sub(1);
        self.compute(inputs)
    }

    fn compute(&mut self, mut inputs: Tensors) -> Result<Tensors, BackendError> {
        let last = self.last.session()?;
        if self.parts.is_empty() {
            return last.run(inputs);
        }
        let (mut held, mut steady) = (Values::new(), BTreeSet::new());
        for part in &mut self.parts {
            let values = match (part.part.per, &part.part.reuse) {
                (Per::Video, _) => {
                    steady.extend(part.part.outputs.iter().map(|port| port.name.clone()));
                    part.once(&inputs, &held)?
                }
                (Per::Step, Some(compared)) if self.share > 0.0 => {
                    let compared = compared.clone();
                    let (values, again) =
                        part.again(&inputs, &held, &steady, &compared, self.share)?;
                    self.reused += usize::from(again);
                    values
                }
                (Per::Step, _) => part.model.session()?.call(
                    reads(&part.part, &inputs),
                    &reads(&part.part, &held),
                    true,
                )?,
            };
            held.extend(values);
        }
        let read = |name: &String| last.inputs().iter().any(|port| port.name == *name);
        inputs.retain(|name, _| read(name));
        held.retain(|name, _| read(name));
        let results = last.call(inputs, &held, false)?;
        results
            .into_iter()
            .map(|(name, value)| Ok((name, value.tensor()?)))
            .collect()
    }
}

impl LoadedPart {
    pub fn new(part: Part, model: Model) -> Self {
        Self {
            part,
            model,
            kept: None,
        }
    }

    /// Its results for these inputs: those it has, if it reads the same as before.
    fn once(&mut self, inputs: &Tensors, held: &Values) -> Result<Values, BackendError> {
        if let Some(kept) = self.kept.as_ref().filter(|kept| kept.fits(inputs, held)) {
            return Ok(kept.values.clone());
        }
        self.kept = None;
        let (inputs, held) = (reads(&self.part, inputs), reads(&self.part, held));
        let values = self.model.session()?.call(inputs.clone(), &held, true)?;
        self.kept = Some(Kept {
            inputs,
            held,
            compared: None,
            values: values.clone(),
        });
        Ok(values)
    }

    /// Its results for these inputs, or those it has where only a small share of `compared` changed since then and its
    /// own inputs and everything kept for the video are the same. Says whether it used them.
    fn again(
        &mut self,
        inputs: &Tensors,
        held: &Values,
        steady: &BTreeSet<String>,
        compared: &str,
        share: f32,
    ) -> Result<(Values, bool), BackendError> {
        let now = held.get(compared).map(|value| value.tensor()).transpose()?;
        if let (Some(kept), Some(now)) = (&self.kept, &now)
            && kept.fits(inputs, held)
            && kept
                .compared
                .as_ref()
                .is_some_and(|before| change(now, before) < f64::from(share))
        {
            return Ok((kept.values.clone(), true));
        }
        self.kept = None;
        let (inputs, held) = (reads(&self.part, inputs), reads(&self.part, held));
        let values = self.model.session()?.call(inputs.clone(), &held, true)?;
        self.kept = Some(Kept {
            inputs,
            held: held
                .into_iter()
                .filter(|(name, _)| steady.contains(name))
                .collect(),
            compared: now,
            values: values.clone(),
        });
        Ok((values, false))
    }
}

/// What a part reads of what is there.
fn reads<T: Clone>(part: &Part, given: &BTreeMap<String, T>) -> BTreeMap<String, T> {
    let names = part.inputs.iter();
    let found = names.filter_map(|name| Some((name.clone(), given.get(name)?.clone())));
    found.collect()
}

impl Kept {
    fn fits(&self, inputs: &Tensors, held: &Values) -> bool {
        let same = |(name, tensor): (&String, &Tensor)| inputs.get(name) == Some(tensor);
        let same_value = |(name, value): (&String, &Arc<_>)| {
            held.get(name).is_some_and(|now| Arc::ptr_eq(now, value))
        };
        self.inputs.iter().all(same) && self.held.iter().all(same_value)
    }
}

/// Mean absolute difference over mean absolute value before, in the row where that is largest; infinite where the two do
/// not compare.
fn change(now: &Tensor, before: &Tensor) -> f64 {
    let (Ok(new), Ok(old)) = (now.to_f32(), before.to_f32()) else {
        return f64::INFINITY;
    };
    let rows = now.shape().first().copied().unwrap_or(0);
    if now.shape() != before.shape() || rows == 0 || new.is_empty() {
        return f64::INFINITY;
    }
    let row = new.len() / rows;
    let of_row = |(new, old): (&[f32], &[f32])| {
        let pairs = new.iter().zip(old);
        let moved: f64 = pairs.map(|(a, b)| f64::from((a - b).abs())).sum();
        let size: f64 = old.iter().map(|x| f64::from(x.abs())).sum();
        let share = moved / size;
        if share.is_nan() { f64::INFINITY } else { share }
    };
    let rows = new.chunks_exact(row).zip(old.chunks_exact(row));
    rows.map(of_row).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: [f32; 4]) -> Tensor {
        Tensor::new([2, 2], values.to_vec()).unwrap()
    }

    #[test]
    fn the_row_that_changes_most_decides() {
        let before = tensor([1.0, -1.0, 2.0, 2.0]);
        assert_eq!(change(&before, &before), 0.0);
        assert_eq!(change(&tensor([1.0, -1.0, 3.0, 1.0]), &before), 0.5);
        assert_eq!(change(&tensor([1.5, -1.0, 2.0, 2.0]), &before), 0.25);
    }

    #[test]
    fn what_does_not_compare_has_changed() {
        let before = tensor([0.0, 0.0, 1.0, 1.0]);
        assert_eq!(change(&before, &before), f64::INFINITY);
        let other = Tensor::new([1, 4], vec![0.0f32; 4]).unwrap();
        assert_eq!(change(&other, &tensor([1.0; 4])), f64::INFINITY);
    }
}
