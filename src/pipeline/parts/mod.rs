//! Taking parts out of a dump while it passes: its definitions without any rows, or the rows of some
//! tables. All are fed by the census's own scanner, so that there is one reader of dumps.

mod definitions;
mod event_triggers;
mod everything;
mod extension_owner;
mod foreign_key;
mod held;
mod rows;
mod schema;
mod settings;
mod statement_at;

use std::fs::File;
use std::io::{self, BufReader, Read};

use super::census::{Scanner, Tap};
use super::compression::{self, Decoder, READ_AHEAD};
use super::dump_file::{Adaptation, Adapter};
use super::encryption::{Content, InputFile};
use super::stream::{Progress, StreamError};
use crate::config::Compression;

pub use definitions::{Definitions, Left, Refusable};
pub use event_triggers::{hold_event_triggers, release_event_triggers};
pub use everything::{
    DumpPart, DumpRows, DumpStatement, ReadSoFar, StatementKind, take_everything,
};
pub use extension_owner::{made_extension, make_as_owner};
pub use foreign_key::make_key_or_leave_it_unvalidated;
pub use rows::{Piece, RowsOf};
pub use schema::Schema;
pub use settings::{are_all_known, is_known};
pub use statement_at::{FoundStatement, StatementAt};

/// Where the text of a dump comes from.
pub struct Text<R: Read + Unpin> {
    origin: Origin<R>,
    /// What makes the usual text of it, and whether that has seen its end.
    adapter: Option<(Adapter, bool)>,
}

enum Origin<R: Read + Unpin> {
    /// A file, compressed or not.
    File(Decoder<BufReader<Content<File>>>),
    /// A program that writes it.
    Program(R),
}

impl Text<io::Empty> {
    /// The text in a file.
    ///
    /// # Errors
    /// When it cannot be opened, or its compression cannot be begun with.
    pub fn of_file(file: &InputFile, compression: Compression) -> Result<Self, StreamError> {
        let buffered = BufReader::with_capacity(READ_AHEAD, file.open()?);
        let decoder = Decoder::new(compression, buffered).map_err(StreamError::Read)?;
        Ok(Self {
            origin: Origin::File(decoder),
            adapter: None,
        })
    }
}

impl Text<io::Empty> {
    /// The text in a file that may be damaged, up to the damage.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn of_damaged_file(
        file: &InputFile,
        compression: Compression,
    ) -> Result<Self, StreamError> {
        let buffered = BufReader::with_capacity(READ_AHEAD, file.open()?);
        Ok(Self {
            origin: Origin::File(Decoder::up_to_damage(compression, buffered)),
            adapter: None,
        })
    }
}

impl<R: Read + Unpin> Text<R> {
    /// The text that a program writes.
    pub fn of_program(source: R) -> Self {
        Self {
            origin: Origin::Program(source),
            adapter: None,
        }
    }

    /// The same as it is adapted, if it is.
    #[must_use]
    pub fn adapted(self, adaptation: Option<&Adaptation>) -> Self {
        let adapter = adaptation.map(|it| (Adapter::new(it), false));
        Self { adapter, ..self }
    }

    /// The next block; empty at the end.
    pub(super) fn next(&mut self, block: &mut Vec<u8>) -> Result<(), StreamError> {
        let Some((adapter, is_over)) = &mut self.adapter else {
            return self.origin.next(block);
        };
        let mut text = Vec::new();
        while text.is_empty() && !*is_over {
            self.origin.next(block)?;
            adapter.push(block, &mut text);
            *is_over = block.is_empty();
        }
        *block = text;
        Ok(())
    }
}

impl<R: Read + Unpin> Origin<R> {
    fn next(&mut self, block: &mut Vec<u8>) -> Result<(), StreamError> {
        match self {
            Self::File(decoder) => decoder.next_block(block),
            Self::Program(source) => compression::fill(source, block),
        }
        .map_err(StreamError::Read)
    }
}

/// Lets a dump pass a tap, and after every block has `each` take what the tap has for it.
///
/// # Errors
/// When the text cannot be read, is not a complete dump, or holds what is not sent; and what `each` gives.
#[expect(
    clippy::too_many_arguments,
    reason = "a text, its tap, and what is done with both"
)]
pub fn take_parts<R: Read + Unpin, T: Tap>(
    mut text: Text<R>,
    tap: T,
    accepts_unexpected: bool,
    progress: &Progress,
    mut each: impl FnMut(&mut T) -> Result<(), StreamError>,
) -> Result<T, StreamError> {
    let mut scanner = Scanner::with(tap);
    let mut block = Vec::with_capacity(compression::BLOCK);
    loop {
        text.next(&mut block)?;
        if block.is_empty() {
            break;
        }
        scanner.push(&block)?;
        if let Some(finding) = scanner.findings().refusal(accepts_unexpected) {
            return Err(StreamError::Refused(Box::new(finding.clone())));
        }
        each(scanner.tap())?;
        progress.found(block.len())?;
    }
    let (_, tap) = scanner.finish_with_tap()?;
    Ok(tap)
}
