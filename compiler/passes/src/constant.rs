//! Constants as rules make and read them.

use ltxc_ir::attrs::Literal;
use ltxc_ir::op::Constant;
use ltxc_ir::{Dtype, Patch, Value};

/// Plans a floating-point scalar.
pub(crate) fn scalar(patch: &mut Patch, hint: &str, dtype: Dtype, value: f64) -> Value {
    let constant = Constant {
        dtype,
        shape: Vec::new(),
        data: Literal::Floats(vec![value as f32]),
    };
    patch.add(hint, constant, &[])
}

/// Whether every element is `value`.
pub(crate) fn is_filled_with(constant: &Constant, value: i16) -> bool {
    match &constant.data {
        Literal::Ints(data) => data.iter().all(|x| *x == i64::from(value)),
        Literal::Floats(data) => data.iter().all(|x| *x == f32::from(value)),
    }
}
