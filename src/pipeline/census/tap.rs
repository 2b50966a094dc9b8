//! Who else sees a dump while its census is taken.

use super::ObjectId;
use crate::pipeline::allow::Finding;

/// Sees what passes a [`Scanner`](super::Scanner), piece by piece, for whoever wants a part of the dump.
pub trait Tap {
    /// The next bytes of a statement, and the object whose comment stands before it; `ends` with
    /// its semicolon. The head of a COPY block is a statement too.
    fn statement(&mut self, object: &ObjectId, bytes: &[u8], ends: bool);

    /// Rows follow, of a table as the dump writes it, with these columns (without quotes).
    fn rows_begin(&mut self, table: &[u8], columns: &[Vec<u8>]);

    /// The next bytes of the rows; `ends` with the line that ends the block.
    fn rows(&mut self, bytes: &[u8], ends: bool);

    /// A line that is meant for psql itself.
    fn command(&mut self, line: &[u8]);

    /// The statement that ends next is not to be sent, or the command that comes next; only a lenient scanner
    /// reports each of them.
    fn refused(&mut self, _finding: Finding) {}
}

/// Nobody wants anything but the census.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTap;

impl Tap for NoTap {
    fn statement(&mut self, _: &ObjectId, _: &[u8], _: bool) {}
    fn rows_begin(&mut self, _: &[u8], _: &[Vec<u8>]) {}
    fn rows(&mut self, _: &[u8], _: bool) {}
    fn command(&mut self, _: &[u8]) {}
}
