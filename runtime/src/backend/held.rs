//! Results of a call that stay where the runtime made them, so that a later call reads them without a copy.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::BackendError;
use crate::tensor::{DType, Tensor};

/// A result in a runtime's memory.
pub trait Held: Send + Sync {
    /// Its element type.
    fn dtype(&self) -> DType;

    /// Its dimensions.
    fn shape(&self) -> &[usize];

    /// A copy in host memory.
    ///
    /// # Errors
    ///
    /// [`BackendError`] when the runtime cannot give it out.
    fn tensor(&self) -> Result<Tensor, BackendError>;

    /// Itself, for the runtime that made it.
    fn as_any(&self) -> &dyn Any;
}

/// Results by name; clones share them.
pub type Values = BTreeMap<String, Arc<dyn Held>>;

impl Held for Tensor {
    fn dtype(&self) -> DType {
        Tensor::dtype(self)
    }

    fn shape(&self) -> &[usize] {
        Tensor::shape(self)
    }

    fn tensor(&self) -> Result<Tensor, BackendError> {
        Ok(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
