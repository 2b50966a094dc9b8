//! Loading a backup's dump into an empty database, and its definitions alone into another.

use crate::config::{Compression, Format};
use crate::jobs::archive_file::ArchiveFile;
use crate::jobs::error::JobError;
use crate::jobs::load::{Additions, Dump, DumpText, Loaded, Loader, ahead};
use crate::jobs::readable::ReadableBackup;
use crate::pipeline::{Adaptation, FoundStatement, InputFile, Phase};

/// A dump, as a server gets it.
#[derive(Clone, Debug)]
pub(in crate::jobs) struct Material {
    /// Its file or directory.
    pub(in crate::jobs) file: InputFile,
    pub(in crate::jobs) format: Format,
    pub(in crate::jobs) compression: Compression,
    /// Whether a manifest says by its digest that it is what was written. An archive without one is loaded
    /// as the text that was judged: `pg_restore` by itself would send the server other things, if somebody
    /// has made them so.
    pub(in crate::jobs) has_manifest: bool,
    /// Whether statements of kinds that are not known are sent.
    pub(in crate::jobs) accepts_unexpected: bool,
    /// How an archive is compressed once more, around what `pg_dump` has written.
    pub(in crate::jobs) packed: Compression,
    /// How its text is read, if there is no manifest.
    pub(in crate::jobs) adaptation: Option<Adaptation>,
    /// The roles that its extensions are made as.
    pub(in crate::jobs) additions: Additions,
}

impl Material {
    /// The dump of a backup, for a server on which nothing it does can harm: all of it is sent.
    pub(in crate::jobs) fn of_backup(backup: &ReadableBackup<'_>) -> Self {
        let artifact = &backup.manifest.artifact;
        Self {
            file: backup.artifact(),
            format: artifact.format,
            compression: artifact.compression,
            has_manifest: true,
            packed: Compression::None,
            adaptation: None,
            accepts_unexpected: true,
            additions: Additions::of(backup.manifest),
        }
    }

    /// Loads all of it; `text_bytes` and `rows` are what it holds. It stops at the first error.
    ///
    /// # Errors
    /// When a program cannot be run, the dump cannot be read, or the limit is reached; and for a statement
    /// that is not sent.
    pub(in crate::jobs) async fn load(
        &self,
        loader: &Loader<'_>,
        text_bytes: u64,
        rows: u64,
    ) -> Result<Loaded, JobError> {
        let progress = &loader.run.progress;
        progress.enter(Phase::Loading);
        // pg_restore itself loads from a file alone, and that of an encrypted archive is not to be on a disk.
        let is_loaded_by_itself = self.has_manifest && !self.file.is_encrypted();
        // An archive that is loaded as text is followed by its text.
        let followed = if is_loaded_by_itself {
            self.format
        } else {
            Format::Plain
        };
        progress.expect(ahead(followed, text_bytes, rows));
        match self.format {
            Format::Plain => loader.load_dump(self.text()).await,
            Format::Custom | Format::Directory if is_loaded_by_itself => {
                loader.load_archive(&self.file, &self.additions).await
            }
            Format::Custom | Format::Directory => {
                let accepts = self.accepts_unexpected;
                let owners = &self.additions;
                loader
                    .load_archive_as_text(&self.archive(), accepts, owners)
                    .await
            }
        }
    }

    /// Loads its definitions without any row. How much text that is nobody knows.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(in crate::jobs) async fn load_definitions(
        &self,
        loader: &Loader<'_>,
    ) -> Result<Loaded, JobError> {
        loader.run.progress.enter(Phase::Comparing);
        if self.format == Format::Plain {
            return loader.load_definitions(self.text()).await;
        }
        let accepts = self.has_manifest || self.accepts_unexpected;
        loader
            .load_definitions_of_archive(&self.archive(), accepts)
            .await
    }

    /// The statement at this line of what [`load_definitions`](Self::load_definitions) sends.
    ///
    /// # Errors
    /// When the dump cannot be read, or the limit is reached.
    pub(in crate::jobs) async fn definition_at(
        &self,
        loader: &Loader<'_>,
        line: u64,
    ) -> Result<Option<FoundStatement>, JobError> {
        if self.format == Format::Plain {
            return loader.definition_at(self.text(), line).await;
        }
        loader.definition_of_archive_at(&self.archive(), line).await
    }

    fn text(&self) -> Dump {
        Dump {
            name: self.file.path().display().to_string(),
            text: DumpText::File {
                file: self.file.clone(),
                compression: self.compression,
            },
            adaptation: self.adaptation.clone(),
            accepts_unexpected: self.accepts_unexpected,
            additions: self.additions.clone(),
        }
    }

    fn archive(&self) -> ArchiveFile {
        ArchiveFile {
            file: self.file.clone(),
            format: self.format,
            packed: self.packed,
            adaptation: self.adaptation.clone(),
        }
    }
}
