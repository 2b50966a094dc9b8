//! Whether the backup's own manifest, which is one of the sealed files, and the copy's manifest speak of the same
//! backup: the one is trusted for its seal, the other for its signature.

use crate::config::Format;
use crate::copies::{CopiedFile, CopyManifest, CopyName, FileRole};
use crate::repository::{Manifest, Role, Stem};

/// Reads the backup's own manifest.
///
/// # Errors
/// In words, when it is none, or is not of the backup that the copy is of.
pub(super) fn read(copy: &CopyManifest, text: &str) -> Result<(Manifest, Stem), String> {
    let manifest = Manifest::from_text(text).map_err(|error| error.to_string())?;
    let stem: Stem = manifest
        .name
        .parse()
        .map_err(|_| format!("it names the backup {:?}", manifest.name))?;
    let own = CopyName::new(&stem, manifest.run, copy.is_encrypted());
    if own != copy.copy {
        return Err(format!("it is of the backup {own}, not of {}", copy.copy));
    }
    if manifest.database != copy.database {
        let (own, named) = (&manifest.database, &copy.database);
        return Err(format!("it is of database {own:?}, not of {named:?}"));
    }
    if manifest.started != copy.started || manifest.series != copy.series {
        return Err("it is of another time or series than the signed one".to_owned());
    }
    if manifest.is_partial() != copy.is_partial {
        return Err("only one of the two says that the backup is partial".to_owned());
    }
    let artifact = &manifest.artifact;
    if (artifact.format, artifact.compression) != (copy.dump, copy.compression) {
        return Err("its dump is of another format than the signed one".to_owned());
    }
    check_files(copy, &manifest, &stem)?;
    Ok((manifest, stem))
}

/// Each file of the one is a file of the other.
fn check_files(copy: &CopyManifest, manifest: &Manifest, stem: &Stem) -> Result<(), String> {
    let artifact = &manifest.artifact;
    let globals = manifest.globals.as_ref();
    let expected = [
        (
            FileRole::Artifact,
            manifest.artifact_role(),
            Some((&artifact.file, &artifact.digest)),
        ),
        (
            FileRole::Census,
            manifest.census_role(),
            Some((&manifest.census.file, &manifest.census.digest)),
        ),
        (
            FileRole::Globals,
            manifest.globals_role(),
            globals.map(|globals| (&globals.file, &globals.digest)),
        ),
    ];
    for (role, local, recorded) in expected {
        let suffix = local.suffix();
        match (file_of(copy, role), recorded) {
            (None, None) => {}
            (Some(file), Some((name, digest))) => {
                let is_directory = matches!(local, Role::Artifact(Format::Directory, ..));
                let end = if is_directory { ".tar" } else { "" };
                if *name != format!("{stem}{suffix}")
                    || file.name != copy.copy.file(&format!("{suffix}{end}"))
                {
                    return Err(format!("its file {name:?} has another name"));
                }
                if !is_directory && file.bytes != digest.bytes {
                    return Err(format!("its file {name:?} has another length"));
                }
            }
            _ => return Err(format!("only one of the two has a file {suffix}")),
        }
    }
    Ok(())
}

/// A file of a copy by its role; there is one of each at most.
pub(super) fn file_of(copy: &CopyManifest, role: FileRole) -> Option<&CopiedFile> {
    copy.files.iter().find(|file| file.role == role)
}
