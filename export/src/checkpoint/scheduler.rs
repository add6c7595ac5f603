//! The scheduler of a diffusers folder, in the words of the original configuration.

use serde::Deserialize;
use serde_json::{Value, json};

use super::transformer_dialect::{Mismatch, require};

/// `scheduler/scheduler_config.json`; what is missing has the default of the diffusers class.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct DiffusersScheduler {
    #[serde(rename = "_class_name")]
    class_name: String,
    num_train_timesteps: u64,
    use_dynamic_shifting: bool,
    base_shift: Option<f64>,
    max_shift: Option<f64>,
    base_image_seq_len: Option<u64>,
    max_image_seq_len: Option<u64>,
    shift_terminal: Option<f64>,
}

const CLASS: &str = "FlowMatchEulerDiscreteScheduler";

impl Default for DiffusersScheduler {
    fn default() -> Self {
        Self {
            class_name: CLASS.into(),
            num_train_timesteps: 1000,
            use_dynamic_shifting: false,
            base_shift: Some(0.5),
            max_shift: Some(1.15),
            base_image_seq_len: Some(256),
            max_image_seq_len: Some(4096),
            shift_terminal: None,
        }
    }
}

impl DiffusersScheduler {
    /// The scheduler of a release, for a folder that holds none.
    pub(super) fn of_release(sd3_shift: bool) -> Self {
        Self {
            use_dynamic_shifting: sd3_shift,
            base_shift: Some(0.95),
            max_shift: Some(2.05),
            base_image_seq_len: Some(1024),
            shift_terminal: sd3_shift.then_some(0.1),
            ..Self::default()
        }
    }

    /// The original configuration.
    pub(super) fn to_original(&self) -> Result<Value, Mismatch> {
        require("_class_name", CLASS, &self.class_name)?;
        let mut config = json!({
            "_class_name": "RectifiedFlowScheduler",
            "num_train_timesteps": self.num_train_timesteps,
            "base_resolution": null,
        });
        if self.use_dynamic_shifting {
            self.check_shift()?;
            config["shifting"] = json!("SD3");
            config["target_shift_terminal"] = json!(self.shift_terminal);
        } else {
            config["shifting"] = Value::Null;
            config["sampler"] = json!("LinearQuadratic");
        }
        Ok(config)
    }

    /// The original fixes the line that gives the shift of a token count.
    fn check_shift(&self) -> Result<(), Mismatch> {
        require("base_shift", &Some(0.95), &self.base_shift)?;
        require("max_shift", &Some(2.05), &self.max_shift)?;
        require("base_image_seq_len", &Some(1024), &self.base_image_seq_len)?;
        require("max_image_seq_len", &Some(4096), &self.max_image_seq_len)
    }
}
