//! Number formats: how far each recipe moves the transformer's velocity from the reference's.

use ltxc_runtime::tensor::Tensor;

use crate::components::velocity;
use crate::fixture::{CASES, Errors, golden, golden_names, target};

/// Recipes, and the bound on the error relative to the velocity, in the Euclidean norm.
const BOUNDS: [(&str, f32); 3] = [("fp16", 3e-3), ("int8-dynamic", 2e-2), ("int4", 1.2e-1)];

/// Those that the target runs: tract computes in f32 only and refuses them.
fn bounds() -> &'static [(&'static str, f32)] {
    match target().as_str() {
        "tract" => &[],
        _ => &BOUNDS,
    }
}

#[test]
fn recipes_keep_the_velocity_within_their_bounds() {
    for &(recipe, bound) in bounds() {
        let mut errors = Errors::default();
        for case in CASES
            .iter()
            .filter(|case| case.name.ends_with("(original)"))
        {
            let case = case.quantized(recipe, "transformer");
            for name in golden_names(&case.folder, "dit_forward") {
                let golden = golden(&case.folder, &name);
                let found = velocity(&case, &golden);
                let error = relative(&found, golden.get("out.sample"));
                assert!(error > 0.0, "{recipe} changed nothing in {}", case.name);
                errors.note(&case.name, &format!("{name} {recipe}"), error, bound);
            }
        }
        errors.finish();
    }
}

fn relative(found: &Tensor, wanted: &Tensor) -> f32 {
    let (found, wanted) = (found.to_f32().unwrap(), wanted.to_f32().unwrap());
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>().sqrt();
    let mut differences = found.iter().zip(wanted.iter()).map(|(a, b)| a - b);
    norm(&mut differences) / norm(&mut wanted.iter().copied())
}
