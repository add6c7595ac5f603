//! Schedules against those of the reference scheduler.

use super::support::{VARIANTS, load, max_error};
use ltxc_runtime::sampling::schedule::{check_allowed, custom_timesteps, skip_steps};
use ltxc_runtime::sampling::{Schedule, ScheduleError, SchedulerConfig};
use serde_json::json;

fn schedule(config: serde_json::Value) -> Schedule {
    let config: SchedulerConfig = serde_json::from_value(config).expect("a known configuration");
    Schedule::new(&config).expect("a valid configuration")
}

#[test]
fn follows_the_reference_scheduler() {
    for variant in VARIANTS {
        let golden = load(&format!("{variant}/goldens/scheduler.safetensors"));
        for (name, case) in golden.meta["cases"].as_object().expect("cases") {
            let number = |value: &serde_json::Value| value.as_u64().expect("a number") as usize;
            let shape = case["samples_shape"].as_array().expect("a shape");
            let tokens = shape[2..].iter().map(number).product();
            let timesteps = schedule(case["config"].clone())
                .timesteps(number(&case["steps"]), tokens)
                .expect("a schedule");
            let error = max_error(&timesteps, golden.values(&format!("out.{name}")));
            println!("{variant} {name}: {error:e}");
            assert!(error <= 1.2e-7, "{variant} {name}: {error:e}");
        }
    }
}

#[test]
fn skips_steps_as_the_released_two_pass_settings_do() {
    let golden = load("13b-like/goldens/scheduler.safetensors");
    let all = schedule(json!({"sampler": "LinearQuadratic"})).timesteps(30, 18);
    let all = all.expect("a schedule");
    let first = skip_steps(&all, 0, 3).expect("steps are left");
    let second = skip_steps(&all, 17, 0).expect("steps are left");
    assert_eq!(first, golden.values("out.13b_dev_first"));
    assert_eq!(second, golden.values("out.13b_dev_second"));
    let nothing = ScheduleError::NothingLeft {
        initial: 17,
        last: 13,
        steps: 30,
    };
    assert_eq!(skip_steps(&all, 17, 13), Err(nothing));
    assert!(skip_steps(&all, 0, 31).is_err());
}

#[test]
fn the_distilled_timesteps_are_the_eight_step_schedule() {
    let allowed = [1.0, 0.9937, 0.9875, 0.9812, 0.975, 0.9094, 0.725, 0.4219];
    let eight = schedule(json!({"sampler": "LinearQuadratic"})).timesteps(8, 18);
    let eight = eight.expect("a schedule");
    let by_hand = allowed.map(|t| t as f32);
    assert!(max_error(&eight, &by_hand) < 6e-5);
    assert_eq!(check_allowed(&by_hand, &allowed), Ok(()));
    let refused = check_allowed(&[1.0, 0.5], &allowed);
    assert!(matches!(
        refused,
        Err(ScheduleError::NotAllowed { value: 0.5, .. })
    ));
}

#[test]
fn takes_custom_timesteps_as_given() {
    let given = [1.0, 0.9, 0.3];
    assert_eq!(custom_timesteps(&given), Ok(given.to_vec()));
    assert_eq!(custom_timesteps(&[]), Err(ScheduleError::NoSteps));
    for (values, index) in [([1.1, 0.5], 0), ([0.5, 0.0], 1), ([0.5, f32::NAN], 1)] {
        let refused = custom_timesteps(&values);
        assert!(matches!(refused, Err(ScheduleError::Range { index: i, .. }) if i == index));
    }
    let rising = ScheduleError::Order {
        index: 1,
        value: 0.5,
    };
    assert_eq!(custom_timesteps(&[0.5, 0.5]), Err(rising));
}

#[test]
fn refuses_what_has_no_schedule() {
    let shifted = schedule(json!({"shifting": "SD3", "target_shift_terminal": 0.1}));
    assert_eq!(shifted.timesteps(0, 18), Err(ScheduleError::NoSteps));
    assert_eq!(shifted.timesteps(1, 18), Err(ScheduleError::SingleStep));
    assert_eq!(shifted.timesteps(4, 0), Err(ScheduleError::NoTokens));
    let terminal = json!({"shifting": "SD3", "target_shift_terminal": 1.0});
    assert_eq!(
        refusal(terminal),
        Some(ScheduleError::Terminal { found: 1.0 })
    );
    let base = json!({"shifting": "SimpleDiffusion", "base_resolution": null});
    assert_eq!(refusal(base), Some(ScheduleError::BaseResolution));
}

fn refusal(config: serde_json::Value) -> Option<ScheduleError> {
    let config: SchedulerConfig = serde_json::from_value(config).expect("known values");
    Schedule::new(&config).err()
}

#[test]
fn names_the_values_it_knows() {
    let unknown = json!({"sampler": "Constant"});
    let error = serde_json::from_value::<SchedulerConfig>(unknown).expect_err("an unknown sampler");
    let message = "unknown variant `Constant`, expected `Uniform` or `LinearQuadratic`";
    assert!(error.to_string().contains(message), "{error}");
}
