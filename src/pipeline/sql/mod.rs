//! The text of SQL as dumps write it: where statements end, what they are about, and the names in them.

mod end_mark;
mod identifier;
mod lexer;
mod list;
mod meaning;
mod reduce;
mod script;

pub(in crate::pipeline) use end_mark::EndMark;
pub(in crate::pipeline) use identifier::{after, identifier, qualified, starts_with_any};
pub(in crate::pipeline) use lexer::{Lexer, Oddity, Values};
pub(in crate::pipeline) use list::{List, elements_of, split};
pub(in crate::pipeline) use meaning::{
    LONGEST_HELD, Meaning, clears_away, clears_in_vain, inserted_into, meaning,
};
pub use reduce::{LeftOut, Part, Reduced, not_valid, reduced};
pub use script::statements;
