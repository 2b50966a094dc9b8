//! What a file without a manifest is, and which database of it is restored: found by reading, never by its
//! name.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use crate::config::{Compression, Format};
use crate::display::{counted, shell_word};
use crate::jobs::JobError;
use crate::jobs::dump::blocking;
use crate::jobs::readable::opener_of_file;
use crate::jobs::run::Run;
use crate::pipeline::compression::Decoder;
use crate::pipeline::{
    DatabaseOptions, FIRST, Form, InputFile, Inside, Opener, StreamError, databases_inside, form_of,
};
use crate::postgres::{DatabaseProperties, SecurityLabel, Setting};

/// A dump file as it is going to be read.
#[derive(Clone, Debug)]
pub(super) struct Described {
    /// The file or directory, and what opens it where it is encrypted.
    pub(super) file: InputFile,
    pub(super) format: Format,
    /// Of its text.
    pub(super) compression: Compression,
    /// Of an archive, around what `pg_dump` has written.
    pub(super) packed: Compression,
    /// The oldest major version whose `pg_restore` reads it; 0 if every one does.
    pub(super) reader: u32,
    /// Which database of it is restored, where it makes its databases itself.
    pub(super) database: Option<Vec<u8>>,
    /// What it says of that database.
    pub(super) properties: Option<DatabaseProperties>,
    /// The roles of its cluster.
    pub(super) globals: Vec<u8>,
    pub(super) remarks: Vec<String>,
}

impl Described {
    /// Text that is not compressed, of one database.
    fn text(file: InputFile) -> Self {
        Self {
            file,
            format: Format::Plain,
            compression: Compression::None,
            packed: Compression::None,
            reader: 0,
            database: None,
            properties: None,
            globals: Vec::new(),
            remarks: Vec::new(),
        }
    }
}

/// Finds out what a file is, and which database of it is meant.
///
/// # Errors
/// When it cannot be read, is none of the dumps that are understood, or holds several databases and none
/// was named.
pub(super) async fn open(
    run: &Run<'_>,
    path: &Path,
    of_database: Option<&str>,
) -> Result<Described, JobError> {
    let (read, doing) = (path.to_owned(), format!("cannot read {}", path.display()));
    let opener = run.context.opener.clone();
    let found = blocking(run, &doing, move || Ok(form(&read, opener.as_ref())));
    let described = found.await??;
    if described.format != Format::Plain {
        return match of_database {
            None => Ok(described),
            Some(name) => Err(no_such_database(
                path,
                name,
                "an archive of pg_dump holds one alone",
            )),
        };
    }
    let (read, counted) = (described.file.clone(), Arc::clone(&run.progress));
    let compression = described.compression;
    let surveying = blocking(run, &doing, move || {
        databases_inside(&read, compression, &counted)
    });
    match surveying.await {
        Ok(inside) => choose(path, described, inside, of_database),
        // What is wrong with it, whoever reads all of it says.
        Err(JobError::Stream {
            source: StreamError::Read(error),
            ..
        }) if !is_of_the_system(&error) => Ok(described),
        Err(error) => Err(error),
    }
}

/// Whether a file is encrypted with age, as far as it can be read.
pub(super) fn is_encrypted(path: &Path) -> bool {
    let first = beginning(&InputFile::new(path, None));
    first.is_ok_and(|first| form_of(&first) == Form::Age)
}

/// Whether it is the operating system that could not read.
fn is_of_the_system(error: &std::io::Error) -> bool {
    error.raw_os_error().is_some()
}

/// Settles which database of a text is restored.
fn choose(
    path: &Path,
    mut described: Described,
    inside: Inside,
    of_database: Option<&str>,
) -> Result<Described, JobError> {
    let Some(index) = chosen(&inside, of_database).map_err(|why| match of_database {
        Some(name) => no_such_database(path, name, &why),
        None => JobError::NoSuchDatabase(format!(
            "{} {why}\nhint: --of-database NAME chooses one",
            path.display()
        )),
    })?
    else {
        return Ok(described);
    };
    let database = &inside.databases[index];
    let name = String::from_utf8_lossy(&database.name).into_owned();
    let options = database.options();
    if !options.not_understood.is_empty() {
        described.remarks.push(format!(
            "{} says of the database {name:?} what is not understood, and not restored: {}",
            path.display(),
            options.not_understood.join("; ")
        ));
    }
    if inside.breaks_off {
        described.remarks.push(format!(
            "{} breaks off behind the database {name:?}, which is in it to its end",
            path.display()
        ));
    }
    described.properties = properties(&name, options);
    described.database = Some(database.name.clone());
    described.globals = inside.globals;
    Ok(described)
}

/// Which of the databases is meant, if the text makes any; why that cannot be said. Pure.
fn chosen(inside: &Inside, of_database: Option<&str>) -> Result<Option<usize>, String> {
    let all = &inside.databases;
    if let Some(name) = of_database {
        if all.is_empty() {
            return Err("it holds one alone, whose name it does not say".to_owned());
        }
        let found = all.iter().position(|one| one.name == name.as_bytes());
        return found.map_or_else(
            || Err(format!("it holds {}", listed(inside))),
            |at| Ok(Some(at)),
        );
    }
    let with_content: Vec<usize> = (0..all.len()).filter(|at| all[*at].objects > 0).collect();
    match (all.len(), with_content.as_slice()) {
        (0, _) => Ok(None),
        (1, _) => Ok(Some(0)),
        (_, [only]) => Ok(Some(*only)),
        _ => Err(format!("holds several databases: {}", listed(inside))),
    }
}

fn listed(inside: &Inside) -> String {
    let names = inside.databases.iter().map(|one| {
        let objects = match one.objects {
            0 => "empty".to_owned(),
            objects => counted(objects, "object", "objects"),
        };
        format!("{:?} ({objects})", String::from_utf8_lossy(&one.name))
    });
    names.collect::<Vec<_>>().join(", ")
}

fn no_such_database(path: &Path, name: &str, why: &str) -> JobError {
    JobError::NoSuchDatabase(format!(
        "{} has no database {name:?} to choose: {why}",
        path.display()
    ))
}

/// What a database is made like, if the text says all that has to be known.
fn properties(name: &str, options: DatabaseOptions) -> Option<DatabaseProperties> {
    let (encoding, lc_collate, lc_ctype, owner) = (
        options.encoding?,
        options.lc_collate?,
        options.lc_ctype?,
        options.owner?,
    );
    let labels = options.labels.into_iter();
    let settings = options.settings.into_iter();
    Some(DatabaseProperties {
        name: name.to_owned(),
        encoding,
        locale_provider: options.locale_provider.unwrap_or_else(|| "libc".to_owned()),
        lc_collate,
        lc_ctype,
        locale: options.locale,
        icu_rules: options.icu_rules,
        collation_version: None,
        owner,
        tablespace: Some(
            options
                .tablespace
                .unwrap_or_else(|| "pg_default".to_owned()),
        ),
        connection_limit: options.connection_limit.unwrap_or(-1),
        is_template: options.is_template,
        allow_connections: !options.refuses_connections,
        privileges: options.privileges,
        comment: options.comment,
        labels: labels
            .map(|(provider, label)| SecurityLabel { provider, label })
            .collect(),
        settings: settings
            .map(|(role, setting)| Setting { role, setting })
            .collect(),
        extensions: Vec::new(),
        libraries: Vec::new(),
        size_bytes: 0,
    })
}

/// What is at a path; `opener` opens it where it is encrypted.
fn form(path: &Path, opener: Option<&Opener>) -> Result<Described, JobError> {
    let metadata = path.metadata().map_err(|error| unreadable(path, &error))?;
    if metadata.is_dir() {
        return directory(path);
    }
    let clear = InputFile::new(path, None);
    let first = beginning(&clear).map_err(|error| unreadable(path, &error))?;
    match form_of(&first) {
        Form::Age => {
            let opener = opener_of_file(path, opener)?;
            encrypted(InputFile::new(path, Some(opener.clone())))
        }
        form => of_form(clear, form),
    }
}

/// What is in a file that is encrypted.
fn encrypted(file: InputFile) -> Result<Described, JobError> {
    let first = match beginning(&file) {
        Ok(first) => first,
        Err(error) if is_of_the_system(&error) => return Err(unreadable(file.path(), &error)),
        Err(error) => {
            return Err(JobError::Damaged(format!(
                "{} is not a complete dump: {error}",
                file.path().display()
            )));
        }
    };
    of_form(file, form_of(&first))
}

/// What is in a file whose content begins so.
fn of_form(file: InputFile, form: Form) -> Result<Described, JobError> {
    match form {
        Form::Gzip => packed(file, Compression::Gzip),
        Form::Zstd => packed(file, Compression::Zstd),
        Form::Text => Ok(Described::text(file)),
        Form::Archive(version) => Ok(archive(file, version)),
        Form::Empty if file.is_encrypted() => Err(refused(&file, "holds nothing", None)),
        Form::Empty => Err(refused(&file, "is empty", None)),
        Form::Age => Err(refused(&file, "is encrypted, and encrypted again", None)),
        Form::Unread(unread) => {
            let is = if file.is_encrypted() {
                "is encrypted, and what is in it is"
            } else {
                "is"
            };
            let what = format!("{is} {}", unread.is);
            Err(refused(&file, &what, unread.command))
        }
    }
}

fn archive(file: InputFile, version: [u8; 2]) -> Described {
    Described {
        format: Format::Custom,
        reader: reader_of(version),
        ..Described::text(file)
    }
}

/// What is in a file that is compressed.
fn packed(file: InputFile, compression: Compression) -> Result<Described, JobError> {
    let first = match unpacked_beginning(&file, compression) {
        Ok(first) => first,
        Err(error) if is_of_the_system(&error) => return Err(unreadable(file.path(), &error)),
        // How far it goes, whoever reads it says.
        Err(_) => {
            return Ok(Described {
                compression,
                ..Described::text(file)
            });
        }
    };
    match form_of(&first) {
        Form::Text => Ok(Described {
            compression,
            ..Described::text(file)
        }),
        Form::Archive(version) => Ok(Described {
            packed: compression,
            ..archive(file, version)
        }),
        Form::Empty => Err(refused(&file, "holds nothing", None)),
        form => {
            let program = match compression {
                Compression::Zstd => "zstd -dc",
                _ => "gzip -dc",
            };
            let inner = match form {
                Form::Unread(unread) => unread.is,
                Form::Age => "encrypted with age",
                _ => "compressed again",
            };
            Err(refused(
                &file,
                &format!("is compressed, and what is in it is {inner}"),
                Some(program),
            ))
        }
    }
}

fn directory(path: &Path) -> Result<Described, JobError> {
    let contents = path.join("toc.dat");
    let first = if contents.is_file() {
        let contents = InputFile::new(contents, None);
        beginning(&contents).map_err(|error| unreadable(contents.path(), &error))?
    } else {
        Vec::new()
    };
    match form_of(&first) {
        Form::Archive(version) => Ok(Described {
            format: Format::Directory,
            ..archive(InputFile::new(path, None), version)
        }),
        _ => Err(JobError::NoSuchBackup(format!(
            "{} is a directory, and not one of pg_dump's: name a backup or a file",
            path.display()
        ))),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> JobError {
    if error.kind() == std::io::ErrorKind::NotFound {
        return JobError::NoSuchBackup(format!("{}: no such file", path.display()));
    }
    JobError::failed(format!("cannot read {}: {error}", path.display()))
}

/// The failure for a file that a restore does not read, with the command that makes one that it reads. What is
/// encrypted is not to be on a disk in the clear.
fn refused(file: &InputFile, what: &str, command: Option<&str>) -> JobError {
    let path = file.path().display();
    let way_out = match command {
        _ if file.is_encrypted() => "\nhint: a restore reads text and archives of pg_dump, by \
             themselves or in gzip or zstd, and then encrypted once"
            .to_owned(),
        Some(command) => {
            let file = shell_word(&path.to_string());
            let new = shell_word(&format!("{path}.unpacked"));
            format!("\nhint: make a file of it that a restore reads: {command} {file} > {new}")
        }
        None => String::new(),
    };
    JobError::Refused(format!("{path} {what}{way_out}"))
}

/// The first bytes of what a file holds.
fn beginning(file: &InputFile) -> std::io::Result<Vec<u8>> {
    let mut first = Vec::new();
    file.open()?.take(FIRST as u64).read_to_end(&mut first)?;
    Ok(first)
}

/// The first bytes of what is compressed in a file.
fn unpacked_beginning(file: &InputFile, compression: Compression) -> std::io::Result<Vec<u8>> {
    let mut decoder = Decoder::up_to_damage(compression, file.open()?);
    let mut block = Vec::new();
    decoder.next_block(&mut block)?;
    block.truncate(FIRST);
    Ok(block)
}

/// The oldest major version whose `pg_restore` reads an archive of this version of the format
/// (`K_VERS_…` in `pg_backup_archiver.h`); 0 if every one that still gets updates does.
fn reader_of(version: [u8; 2]) -> u32 {
    match version {
        [1, 0..=14] => 0,
        [1, 15] => 16,
        [1, 16] => 17,
        _ => 19,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::DatabaseInside;

    #[test]
    fn an_archive_says_which_pg_restore_reads_it() {
        for (version, reader) in [
            ([1, 14], 0),
            ([1, 15], 16),
            ([1, 16], 17),
            ([1, 17], 19),
            ([2, 0], 19),
        ] {
            assert_eq!(reader_of(version), reader, "{version:?}");
        }
    }

    fn inside(databases: &[(&str, u64)]) -> Inside {
        let databases = databases.iter().map(|(name, objects)| DatabaseInside {
            name: name.as_bytes().to_vec(),
            objects: *objects,
            ..DatabaseInside::default()
        });
        Inside {
            databases: databases.collect(),
            ..Inside::default()
        }
    }

    #[test]
    fn one_database_is_taken_without_asking_and_of_several_one_is_named() {
        for (databases, named, expected) in [
            (&[][..], None, Ok(None)),
            (&[("app", 0)], None, Ok(Some(0))),
            (
                &[("template1", 0), ("app", 7), ("postgres", 0)],
                None,
                Ok(Some(1)),
            ),
            (
                &[("a", 7), ("b", 1)],
                None,
                Err("holds several databases: \"a\" (7 objects), \"b\" (1 object)"),
            ),
            (
                &[("template1", 0), ("postgres", 0)],
                None,
                Err("holds several databases: \"template1\" (empty), \"postgres\" (empty)"),
            ),
            (&[("a", 7), ("b", 1)], Some("b"), Ok(Some(1))),
            (&[("a", 7)], Some("b"), Err("it holds \"a\" (7 objects)")),
            (
                &[],
                Some("b"),
                Err("it holds one alone, whose name it does not say"),
            ),
        ] {
            let found = chosen(&inside(databases), named);
            assert_eq!(
                found,
                expected.map_err(str::to_owned),
                "{databases:?} {named:?}"
            );
        }
    }
}
