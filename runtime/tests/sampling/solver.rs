//! Steps against those of the reference scheduler: no bit may differ.

use super::support::{Golden, VARIANTS, load, same_bits};
use ltxc_runtime::sampling::Solver;

fn solver(golden: &Golden) -> Solver<'_> {
    Solver {
        schedule: golden.values("input.step.timesteps"),
        channels: 16,
    }
}

fn check_step(golden: &Golden, timesteps: &[f32], noise: Option<&str>, expected: &str) {
    let mut latents = golden.values("input.step.sample").to_vec();
    let velocity = golden.values("input.step.model_output");
    let stepped = match noise {
        None => solver(golden).step(&mut latents, velocity, timesteps),
        Some(name) => {
            let noise = golden.values(name);
            solver(golden).stochastic_step(&mut latents, velocity, noise, timesteps)
        }
    };
    assert_eq!(stepped, Ok(()));
    assert!(same_bits(&latents, golden.values(expected)), "{expected}");
}

#[test]
fn steps_as_the_reference_scheduler_does() {
    for variant in VARIANTS {
        let golden = load(&format!("{variant}/goldens/scheduler.safetensors"));
        let tokens = golden.values("input.step.per_token_t").to_vec();
        check_step(&golden, &[0.975], None, "out.step.scalar_t0.975");
        check_step(&golden, &tokens, None, "out.step.per_token");
        let noise = Some("rng.step.000.global.randn_like");
        check_step(&golden, &tokens, noise, "out.step.per_token_stochastic");
        let noise = Some("rng.step_last.000.global.randn_like");
        check_step(&golden, &[0.725], noise, "out.step.last_stochastic");
    }
}
