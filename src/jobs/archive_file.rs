//! An archive as `pg_restore` gets it: by its path, or, where it is encrypted or compressed once more, unpacked
//! into its stdin.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use super::error::JobError;
use crate::config::{Compression, Format};
use crate::pipeline::compression::Decoder;
use crate::pipeline::{Adaptation, Content, InputFile, TarMembers};
use crate::postgres::{ChildInput, input_pipe};
use crate::{regular_file, threads};

/// An archive, and how it is read.
#[derive(Clone, Debug)]
pub(super) struct ArchiveFile {
    pub(super) file: InputFile,
    pub(super) format: Format,
    /// How the file is compressed once more, around what `pg_dump` has written.
    pub(super) packed: Compression,
    /// How its text is read, if there is no manifest for it.
    pub(super) adaptation: Option<Adaptation>,
}

impl ArchiveFile {
    /// One as `pg_dump` has written it.
    pub(super) fn of_backup(file: InputFile, format: Format) -> Self {
        Self {
            file,
            format,
            packed: Compression::None,
            adaptation: None,
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Whether `pg_restore` reads it from its stdin, and so in its order only.
    pub(super) fn is_packed(&self) -> bool {
        self.packed != Compression::None || self.file.is_encrypted()
    }

    /// Where a tar archive breaks off, in words: `pg_restore` would not come to an end on it. None if it does
    /// not, or is none.
    ///
    /// # Errors
    /// When the file cannot be read. What is wrong with how it is compressed is no error.
    pub(super) fn breaks_off(&self) -> std::io::Result<Option<String>> {
        if self.format != Format::Custom {
            return Ok(None);
        }
        if !self.is_packed() {
            let file = regular_file::open(self.path())?;
            return Ok(TarMembers::of_file(&file)?.breaks_off());
        }
        let mut members = TarMembers::default();
        let unpacked = unpack_up_to_damage(&self.file, self.packed, |block| {
            members.push(block);
            if members.is_settled() {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            Ok(())
        });
        match unpacked {
            Err(error) if error.raw_os_error().is_some() => Err(error),
            _ => Ok(members.breaks_off()),
        }
    }

    /// The arguments of a `pg_restore`, which end with the archive's path, and its stdin: one that is
    /// encrypted or compressed once more is unpacked into it.
    pub(super) fn input(
        &self,
        mut arguments: Vec<OsString>,
    ) -> Result<(Vec<OsString>, ChildInput), JobError> {
        if !self.is_packed() {
            return Ok((arguments, ChildInput::Null));
        }
        // The path, and what says that no option follows.
        arguments.truncate(arguments.len().saturating_sub(2));
        let (mut writer, reader, mark) = input_pipe().map_err(JobError::no_pipe)?;
        let (file, packed) = (self.file.clone(), self.packed);
        // It ends with the program, or with the file; what is wrong with that, the first reading has said.
        drop(threads::start("unpack", move || {
            unpack_up_to_damage(&file, packed, |block| writer.write_all(block))
        })?);
        Ok((arguments, ChildInput::Pipe(reader, mark)))
    }
}

/// Unpacks a file, block by block.
pub(super) fn unpack(
    file: &InputFile,
    packed: Compression,
    each: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    unpack_with(Decoder::new(packed, file.open()?)?, each)
}

/// The same of one that may be damaged, with all that comes before the damage.
fn unpack_up_to_damage(
    file: &InputFile,
    packed: Compression,
    each: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    unpack_with(Decoder::up_to_damage(packed, file.open()?), each)
}

fn unpack_with(
    mut decoder: Decoder<Content<File>>,
    mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut block = Vec::new();
    loop {
        decoder.next_block(&mut block)?;
        if block.is_empty() {
            return Ok(());
        }
        each(&block)?;
    }
}
