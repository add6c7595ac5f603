//! Printing. A reader that goes away, as `head` does, ends the program quietly.

use std::fmt::Arguments;
use std::io::{self, Write};

use crate::failure::{Failure, Outcome};

/// Writes to standard output.
pub fn print(text: Arguments<'_>) -> Outcome {
    let mut out = io::stdout().lock();
    let written = out.write_fmt(text).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Closed,
        _ => Failure::Input(anyhow::Error::new(error).context("standard output cannot be written")),
    })
}

/// Writes to standard error; there is nobody to tell when that fails.
pub fn tell(text: Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(text);
}

/// Prints a line of the product.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::output::print(format_args!("{}\n", format_args!($($text)*)))?
    };
}

/// Prints a line beside the product.
macro_rules! note {
    ($($text:tt)*) => {
        $crate::output::tell(format_args!("{}\n", format_args!($($text)*)))
    };
}

pub(crate) use {note, say};
