//! A database comes back from its backup whole, and whatever fails on the way leaves the one serving
//! that was there.

mod asking;
mod complete;
mod midway;
