//! The tensors of a LoRA file by the layer they change, checked against its shape.

use std::collections::BTreeMap;

use super::super::{Checkpoint, TensorInfo};
use super::alpha::Alphas;
use super::error::{Misfit, Misfits, Shapes};
use super::key::{Key, Part, parse};
use super::layers::Layers;
use super::{Delta, Kind, elements, short, values};
use crate::bind::stored_type;

/// What a file holds for one tensor of the model.
#[derive(Default)]
pub(super) struct Pair<'a> {
    /// Key of the model's tensor.
    target: String,
    /// The layer's name in the file.
    name: String,
    parts: BTreeMap<Part, &'a TensorInfo>,
}

/// Puts every tensor of the file to its layer. A low-rank pair and a difference of one weight stay apart.
pub(super) fn collect<'a>(
    file: &'a Checkpoint,
    layers: &Layers<'_>,
    misfits: &mut Misfits,
) -> Vec<Pair<'a>> {
    let mut pairs: BTreeMap<(String, Option<Part>), Pair<'a>> = BTreeMap::new();
    for tensor in file.tensors() {
        let keys = [tensor.key.as_str()];
        let key = match parse(&tensor.key) {
            Ok(key) => key,
            Err(reason) => {
                misfits.add(Misfit::new(&keys, reason));
                continue;
            }
        };
        let target = match layers.find(&key) {
            Ok(target) => target,
            Err(name) => {
                let reason = format!("the model has no layer `{name}`");
                misfits.add(Misfit::new(&keys, reason));
                continue;
            }
        };
        if let Err(misfit) = place(&mut pairs, tensor, &key, target) {
            misfits.add(misfit);
        }
    }
    pairs.into_values().collect()
}

fn place<'a>(
    pairs: &mut BTreeMap<(String, Option<Part>), Pair<'a>>,
    tensor: &'a TensorInfo,
    key: &Key<'_>,
    target: &TensorInfo,
) -> Result<(), Misfit> {
    let whole = matches!(key.part, Part::Weight | Part::Bias).then_some(key.part);
    let pair = pairs.entry((target.key.clone(), whole)).or_default();
    pair.target.clone_from(&target.key);
    key.layer.clone_into(&mut pair.name);
    if let Some(first) = pair.parts.get(&key.part) {
        let reason = format!("it says the same as `{}`", first.key);
        return Err(Misfit::new(&[&tensor.key], reason));
    }
    if stored_type(tensor.dtype).is_none() {
        let reason = format!("{} is no float type that is known here", tensor.dtype);
        return Err(Misfit::new(&[&tensor.key], reason));
    }
    pair.parts.insert(key.part, tensor);
    Ok(())
}

impl Pair<'_> {
    fn keys(&self) -> Vec<&str> {
        self.parts.values().map(|tensor| &*tensor.key).collect()
    }

    fn refuse(&self, reason: impl Into<String>) -> Misfit {
        Misfit::new(&self.keys(), reason)
    }

    /// What the pair adds to which tensor of the model.
    pub(super) fn delta(
        &self,
        file: &Checkpoint,
        model: &Checkpoint,
        alphas: &Alphas,
        weight: f64,
    ) -> Result<(String, Delta), Misfit> {
        let gone = || self.refuse("the model has no such tensor");
        let target = model.tensor(&self.target).ok_or_else(gone)?;
        let whole = [Part::Weight, Part::Bias]
            .iter()
            .find_map(|part| self.parts.get(part));
        let delta = match whole {
            Some(values) => self.difference(values, target, weight)?,
            None => self.low_rank(file, target, alphas, weight)?,
        };
        Ok((self.target.clone(), delta))
    }

    fn difference(
        &self,
        values: &TensorInfo,
        target: &TensorInfo,
        weight: f64,
    ) -> Result<Delta, Misfit> {
        if values.shape != target.shape {
            return Err(self.misshapen(values.shape.clone(), target));
        }
        Ok(Delta {
            kind: Kind::Difference {
                values: values.key.clone(),
            },
            factor: weight as f32,
        })
    }

    fn low_rank(
        &self,
        file: &Checkpoint,
        target: &TensorInfo,
        alphas: &Alphas,
        weight: f64,
    ) -> Result<Delta, Misfit> {
        let (up, down) = match (self.parts.get(&Part::Up), self.parts.get(&Part::Down)) {
            (Some(up), Some(down)) => (*up, *down),
            (Some(_), None) => {
                return Err(self.refuse("its other half (lora_A, lora_down) is missing"));
            }
            (None, Some(_)) => {
                return Err(self.refuse("its other half (lora_B, lora_up) is missing"));
            }
            (None, None) => {
                return Err(self.refuse("there is no pair of factors that it belongs to"));
            }
        };
        let rank = self.rank(up, down, target)?;
        let alpha = match self.parts.get(&Part::Alpha) {
            Some(tensor) => Some(self.alpha(file, tensor)?),
            None => None,
        };
        let scale = alphas.scale(&self.name, alpha, rank);
        Ok(Delta {
            kind: Kind::LowRank {
                up: up.key.clone(),
                down: down.key.clone(),
                rank,
            },
            factor: (weight * scale) as f32,
        })
    }

    /// The inner size, once both factors fit the layer. Axes of size 1 behind the first two are those of a
    /// convolution over points.
    fn rank(
        &self,
        up: &TensorInfo,
        down: &TensorInfo,
        target: &TensorInfo,
    ) -> Result<usize, Misfit> {
        let matrix = |tensor: &TensorInfo| match tensor.shape.as_slice() {
            [rows, columns, ones @ ..] if ones.iter().all(|n| *n == 1) => Some((*rows, *columns)),
            _ => None,
        };
        let (Some((outputs, rank)), Some((inner, inputs))) = (matrix(up), matrix(down)) else {
            let reason = format!("{:?} and {:?} are no two matrices", up.shape, down.shape);
            return Err(self.refuse(reason));
        };
        let columns = target.shape.iter().skip(1).product::<usize>();
        if target.shape.len() < 2 || target.shape[0] != outputs || columns != inputs {
            return Err(self.misshapen(vec![outputs, inputs], target));
        }
        if rank != inner {
            let reason = format!("the ranks of the two factors differ: {rank} and {inner}");
            return Err(self.refuse(reason));
        }
        if rank == 0 || rank > outputs.max(inputs) {
            let most = outputs.max(inputs);
            return Err(self.refuse(format!("its rank is {rank}; 1 to {most} make sense here")));
        }
        Ok(rank)
    }

    fn alpha(&self, file: &Checkpoint, tensor: &TensorInfo) -> Result<f64, Misfit> {
        if elements(tensor) != 1 {
            return Err(self.refuse(format!("its alpha has shape {:?}", tensor.shape)));
        }
        match values(file, &tensor.key) {
            Ok(read) if read[0].is_finite() => Ok(f64::from(read[0])),
            Ok(read) => Err(self.refuse(format!("its alpha is {}", read[0]))),
            Err(error) => Err(self.refuse(error.to_string())),
        }
    }

    fn misshapen(&self, theirs: Vec<usize>, target: &TensorInfo) -> Misfit {
        let layer = short(&target.key);
        let shapes = Shapes {
            layer: layer.strip_suffix(".weight").unwrap_or(layer).to_owned(),
            theirs,
            ours: target.shape.clone(),
        };
        Misfit::shapes(&self.keys(), shapes)
    }
}
