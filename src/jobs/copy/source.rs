//! The files of a backup as its copy takes them: read once, checked against their digests while they are,
//! and cut into volumes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::config::Format;
use crate::copies::FileRole;
use crate::pipeline::{Digest, Digesting, digest_listing};
use crate::repository::{Manifest, Repository, Role, Stem};

/// So many bytes of a file are one volume (DESIGN 6a). Changing it changes no copy that there is: each
/// manifest says where its volumes end.
pub(super) const VOLUME: usize = 16 << 20;

/// A file of a backup.
#[derive(Clone, Debug)]
pub(super) struct SourceFile {
    /// What it is.
    pub(super) role: FileRole,
    /// What follows the stem in its name: that of the local file, and `.dir.tar` for the files of a directory.
    pub(super) suffix: String,
    path: PathBuf,
    /// What the manifest says; none of the manifest itself, which is checked when it is read.
    digest: Option<Digest>,
    is_directory: bool,
}

/// Why a file is not all there.
#[derive(Debug)]
pub(super) enum SourceError {
    /// It cannot be read.
    Read(PathBuf, io::Error),
    /// It is not the file that the manifest speaks of.
    Damaged(PathBuf, String),
    /// Nobody wants the rest.
    Ended,
}

/// All files of a backup, in the order in which a restore reads them.
pub(super) fn files_of(
    repository: &Repository,
    stem: &Stem,
    manifest: &Manifest,
) -> Vec<SourceFile> {
    let artifact = &manifest.artifact;
    let is_directory = artifact.format == Format::Directory;
    let file = |role: FileRole, local: Role, digest: Option<&Digest>| SourceFile {
        role,
        suffix: local.suffix().to_owned(),
        path: repository.path(stem, local),
        digest: digest.cloned(),
        is_directory: false,
    };
    let role = manifest.artifact_role();
    let mut dump = file(FileRole::Artifact, role, Some(&artifact.digest));
    if is_directory {
        dump.suffix.push_str(".tar");
        dump.is_directory = true;
    }
    let census = &manifest.census.digest;
    let mut files = vec![
        file(FileRole::Manifest, Role::Manifest, None),
        file(FileRole::Census, manifest.census_role(), Some(census)),
    ];
    let globals = manifest.globals.as_ref().map(|globals| &globals.digest);
    let role = manifest.globals_role();
    files.extend(globals.map(|digest| file(FileRole::Globals, role, Some(digest))));
    files.push(dump);
    files
}

impl SourceFile {
    /// Reads the file and hands it over volume by volume, with their numbers from 1; an empty file is one
    /// volume. A volume may be taken or left. Gives the digest of what was handed over. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read, is not the one of the manifest, or nobody wants the rest.
    pub(super) fn read(
        &self,
        each: impl FnMut(u32, &mut Vec<u8>) -> ControlFlow<()>,
    ) -> Result<Digest, SourceError> {
        let mut cutter = Digesting::new(Cutter::new(each));
        let read = if self.is_directory {
            archive(&self.path, &mut cutter).map(Some)
        } else {
            open(&self.path)
                .and_then(|mut file| io::copy(&mut file, &mut cutter))
                .map(|_| None)
        };
        let (passed, mut cutter) = cutter.finish();
        let found = read.and_then(|of_listing| {
            cutter.finish()?;
            Ok(of_listing.unwrap_or_else(|| passed.clone()))
        });
        match found {
            _ if cutter.is_over => Err(SourceError::Ended),
            Err(error) => Err(SourceError::Read(self.path.clone(), error)),
            Ok(found) => match &self.digest {
                Some(digest) if *digest != found => {
                    let what = format!("it has {found}, and should have {digest}");
                    Err(SourceError::Damaged(self.path.clone(), what))
                }
                _ => Ok(passed),
            },
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    crate::regular_file::open(path)
}

/// Passes the files of a directory on as one archive, the same bytes each time, and gives the directory's
/// digest.
fn archive(directory: &Path, to: &mut impl Write) -> io::Result<Digest> {
    let mut archive = tar::Builder::new(to);
    let append = |name: &OsStr, file: File| {
        let bytes = file.metadata()?.len();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(0);
        let mut source = Digesting::new(file.take(bytes));
        archive.append_data(&mut header, name, &mut source)?;
        let (digest, _) = source.finish();
        if digest.bytes == bytes {
            Ok(digest)
        } else {
            let message = format!("{} became shorter while it was read", name.display());
            Err(io::Error::other(message))
        }
    };
    let digest = digest_listing(directory, append, |error| error)?;
    archive.finish()?;
    Ok(digest)
}

/// Cuts what is written to it into volumes.
struct Cutter<F> {
    volume: Vec<u8>,
    number: u32,
    each: F,
    is_over: bool,
}

impl<F: FnMut(u32, &mut Vec<u8>) -> ControlFlow<()>> Cutter<F> {
    fn new(each: F) -> Self {
        Self {
            volume: Vec::new(),
            number: 1,
            each,
            is_over: false,
        }
    }

    fn hand_over(&mut self) -> io::Result<()> {
        if (self.each)(self.number, &mut self.volume).is_break() {
            self.is_over = true;
            return Err(io::Error::other("nobody wants the rest"));
        }
        self.number += 1;
        self.volume.clear();
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.volume.is_empty() && self.number > 1 {
            return Ok(());
        }
        self.hand_over()
    }
}

impl<F: FnMut(u32, &mut Vec<u8>) -> ControlFlow<()>> Write for Cutter<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The one before may have been taken.
        self.volume.reserve_exact(VOLUME - self.volume.len());
        let taken = bytes.len().min(VOLUME - self.volume.len());
        self.volume.extend_from_slice(&bytes[..taken]);
        if self.volume.len() == VOLUME {
            self.hand_over()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn source(path: PathBuf, digest: Option<Digest>, is_directory: bool) -> SourceFile {
        SourceFile {
            role: FileRole::Artifact,
            suffix: ".sql".to_owned(),
            path,
            digest,
            is_directory,
        }
    }

    fn digest_of(bytes: &[u8]) -> Digest {
        let mut digesting = Digesting::new(io::sink());
        digesting.write_all(bytes).unwrap();
        digesting.finish().0
    }

    fn volumes(file: &SourceFile) -> Result<Vec<Vec<u8>>, SourceError> {
        let mut volumes = Vec::new();
        file.read(|number, volume| {
            assert_eq!(usize::try_from(number).unwrap(), volumes.len() + 1);
            volumes.push(volume.clone());
            ControlFlow::Continue(())
        })?;
        Ok(volumes)
    }

    #[test]
    fn a_file_is_cut_where_volumes_end_and_comes_back_when_they_are_joined() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("dump");
        for (bytes, expected) in [
            (0, 1),
            (1, 1),
            (VOLUME, 1),
            (VOLUME + 1, 2),
            (2 * VOLUME + 7, 3),
        ] {
            let text: Vec<u8> = (0..=250).cycle().take(bytes).collect();
            fs::write(&path, &text).unwrap();
            let digest = digest_of(&text);
            let file = source(path.clone(), Some(digest), false);
            let found = volumes(&file).unwrap();
            assert_eq!(found.len(), expected, "{bytes}");
            assert_eq!(found.concat(), text, "{bytes}");
        }
    }

    #[test]
    fn a_file_that_is_not_the_manifests_is_named() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("dump");
        fs::write(&path, "abc").unwrap();
        let digest = digest_of(b"abd");
        let error = volumes(&source(path.clone(), Some(digest), false)).unwrap_err();
        assert!(
            matches!(&error, SourceError::Damaged(at, _) if *at == path),
            "{error:?}"
        );
        let error = volumes(&source(home.path().join("none"), None, false)).unwrap_err();
        assert!(matches!(error, SourceError::Read(..)), "{error:?}");
        let ended = source(path, None, false).read(|_, _| ControlFlow::Break(()));
        assert!(matches!(ended, Err(SourceError::Ended)), "{ended:?}");
    }

    #[test]
    fn a_directory_is_the_same_archive_each_time_with_the_digest_of_its_files() {
        let home = tempfile::tempdir().unwrap();
        let make = |at: &str, names: &[&str]| {
            let path = home.path().join(at);
            fs::create_dir(&path).unwrap();
            for name in names {
                fs::write(path.join(name), name.repeat(1000)).unwrap();
            }
            path
        };
        let first = make("a", &["toc.dat", "1.dat.gz", "2.dat.gz"]);
        let second = make("b", &["2.dat.gz", "1.dat.gz", "toc.dat"]);
        let progress = crate::pipeline::Progress::default();
        let digest = crate::pipeline::digest_directory(&first, &progress).unwrap();
        let one = volumes(&source(first, Some(digest.clone()), true)).unwrap();
        let other = volumes(&source(second.clone(), Some(digest), true)).unwrap();
        assert_eq!(one, other);
        let whole = one.concat();
        let mut archive = tar::Archive::new(&*whole);
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["1.dat.gz", "2.dat.gz", "toc.dat"]);
        fs::write(second.join("toc.dat"), "other").unwrap();
        let wrong = digest_of(b"");
        let error = volumes(&source(second, Some(wrong), true)).unwrap_err();
        assert!(matches!(error, SourceError::Damaged(..)), "{error:?}");
    }
}
