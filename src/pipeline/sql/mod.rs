//! The text of SQL as dumps write it: where statements end, what they are about, and the names in them.

mod identifier;
mod lexer;
mod meaning;
mod script;

pub(in crate::pipeline) use identifier::{after, identifier, qualified, starts_with_any};
pub(in crate::pipeline) use lexer::{Lexer, Oddity};
pub(in crate::pipeline) use meaning::{LONGEST_HELD, Meaning, clears_in_vain, meaning};
pub use script::statements;
