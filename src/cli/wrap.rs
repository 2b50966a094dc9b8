//! Prints text within the width of a terminal.

use std::io::{self, Write};

use crate::display::wrap;

pub(super) use crate::display::wrap::WIDTH;

/// Prints a text behind a head, broken between words, its further lines indented as deep. What
/// stands between backquotes is not broken: it is for copying.
pub(super) fn wrapped(out: &mut dyn Write, head: &str, text: &str) -> io::Result<()> {
    for line in wrap::wrapped(head, text) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Prints one of several texts below each other, its further lines indented deeper than its first.
pub(super) fn item(out: &mut dyn Write, head: &str, text: &str) -> io::Result<()> {
    const DEEPER: usize = 4;
    for line in wrap::hanging(head, head.chars().count() + DEEPER, text) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
