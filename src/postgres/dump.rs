//! The command lines of `pg_dump`, `pg_dumpall` and `pg_restore`: pure, and without a secret.
//!
//! The name of the database is in none of them (see [`Conninfo::child_environment`]), but for
//! `pg_dumpall`, which does not follow PGDATABASE: there it goes as a quoted keyword string.

use std::ffi::OsString;
use std::num::NonZeroU8;
use std::path::Path;
use std::time::Duration;

use super::conninfo::{Conninfo, quoted};
use super::programs::ProgramVersion;
use crate::config::{Compression, DumpSettings, Format};

/// The level at which the programs compress with gzip when nothing else is said (zlib's default).
const GZIP_LEVEL: u8 = 6;
/// The same with zstd (its library's default).
const ZSTD_LEVEL: u8 = 3;

/// The first version of `pg_dump` that can do more than gzip (its release notes).
const ALGORITHMS_SINCE: u32 = 16;

/// Why `pg_dump` cannot make what is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// An older one takes `zstd` for the level 0 and compresses nothing, without a word.
    #[error(
        "pg_dump {version} cannot compress the {format} format with zstd; that needs version \
         {ALGORITHMS_SINCE}\nhint: install postgresql-client-{ALGORITHMS_SINCE} or newer, or set \
         compression = \"gzip\" or format = \"plain\""
    )]
    NoZstd {
        /// The version of `pg_dump`.
        version: String,
        /// The format.
        format: &'static str,
    },
    /// A level that the programs refuse.
    #[error("pg_dump compresses with {algorithm} at levels 1 to {highest}, not at {level}")]
    BadLevel {
        /// The algorithm.
        algorithm: &'static str,
        /// The level wanted.
        level: u8,
        /// The highest there is.
        highest: u8,
    },
}

/// A dump, as far as `pg_dump` is concerned.
#[derive(Clone, Copy, Debug)]
pub enum DumpCommand<'a> {
    /// SQL text on stdout; compressing it is ours.
    Plain,
    /// One archive, which `pg_dump` compresses. Only into a file that it writes itself does it record where each
    /// table begins, and only then can the archive be restored in parallel.
    Custom {
        /// How it is compressed.
        compression: Compression,
        /// How hard; none for the usual.
        level: Option<u8>,
        /// The file to create; none for stdout, from where it is encrypted.
        file: Option<&'a Path>,
    },
    /// A directory with a file for each table.
    Directory {
        /// How each file is compressed.
        compression: Compression,
        /// How hard; none for the usual.
        level: Option<u8>,
        /// So many connections dump at the same time.
        jobs: NonZeroU8,
        /// The directory to create; an empty one may be there.
        file: &'a Path,
    },
}

impl<'a> DumpCommand<'a> {
    /// The dump that the settings want. `file` is where an archive or a directory goes, unless an archive is
    /// encrypted; a plain dump has no use for it.
    pub fn new(settings: &DumpSettings, file: &'a Path, is_encrypted: bool) -> Self {
        let DumpSettings {
            compression, level, ..
        } = *settings;
        match settings.format {
            Format::Plain => Self::Plain,
            Format::Custom => Self::Custom {
                compression,
                level,
                file: (!is_encrypted).then_some(file),
            },
            Format::Directory => Self::Directory {
                compression,
                level,
                jobs: settings.jobs,
                file,
            },
        }
    }

    /// The arguments for `pg_dump`. The text is written in this encoding, whatever is set for the session;
    /// in that of the session without one. A lock that another session holds longer than `lock_wait` ends
    /// the dump.
    ///
    /// # Errors
    /// This version of `pg_dump` cannot do it.
    #[expect(
        clippy::too_many_arguments,
        reason = "each becomes an argument of pg_dump"
    )]
    pub fn arguments(
        &self,
        version: &ProgramVersion,
        conninfo: &Conninfo,
        encoding: Option<&str>,
        lock_wait: Duration,
    ) -> Result<Vec<OsString>, DumpError> {
        let mut arguments: Vec<OsString> = vec![
            "--no-password".into(),
            format!("--lock-wait-timeout={}", milliseconds(lock_wait)).into(),
        ];
        arguments.extend(encoding.map(|name| format!("--encoding={name}").into()));
        if let Some(parameters) = conninfo.child_argument() {
            arguments.push(format!("--dbname={parameters}").into());
        }
        match *self {
            Self::Plain => arguments.push("--format=plain".into()),
            Self::Custom {
                compression,
                level,
                file,
            } => {
                arguments.push("--format=custom".into());
                arguments.push(compress(compression, level, version, "custom")?.into());
                arguments.extend(file.map(|file| option_with_path("--file=", file)));
            }
            Self::Directory {
                compression,
                level,
                jobs,
                file,
            } => {
                arguments.push("--format=directory".into());
                arguments.push(compress(compression, level, version, "directory")?.into());
                arguments.push(format!("--jobs={jobs}").into());
                arguments.push(option_with_path("--file=", file));
            }
        }
        Ok(arguments)
    }
}

/// The arguments for `pg_dumpall`: roles, memberships, role settings and tablespaces on stdout.
///
/// Password hashes can be read by a superuser or a member of `pg_read_all_data`; without
/// `role_passwords` they are left out. The text is written in this encoding, whatever is set for the
/// session. `pg_dumpall` reads the cluster's system catalogs through the database of this connection.
pub fn globals_arguments(
    conninfo: &Conninfo,
    encoding: &str,
    role_passwords: bool,
    lock_wait: Duration,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        "--globals-only".into(),
        "--no-password".into(),
        format!("--encoding={encoding}").into(),
        format!("--lock-wait-timeout={}", milliseconds(lock_wait)).into(),
        // A plain name with = or :// in it would be taken for a connection string.
        format!("--database=dbname={}", quoted(conninfo.database())).into(),
    ];
    if !role_passwords {
        arguments.push("--no-role-passwords".into());
    }
    if let Some(parameters) = conninfo.child_argument() {
        arguments.push(format!("--dbname={parameters}").into());
    }
    arguments
}

/// The arguments for `pg_restore` to write an archive as SQL text on stdout; it needs no server.
pub fn archive_as_sql_arguments(archive: &Path) -> Vec<OsString> {
    vec!["--file=-".into(), "--".into(), archive.into()]
}

/// The same for an archive that `pg_restore` reads from its stdin.
pub fn archive_on_stdin_arguments() -> Vec<OsString> {
    vec!["--file=-".into()]
}

/// The arguments for `pg_restore` to write the definitions of an archive as SQL text on stdout, without
/// reading its rows.
pub fn archive_definitions_arguments(archive: &Path) -> Vec<OsString> {
    vec![
        "--section=pre-data".into(),
        "--section=post-data".into(),
        "--file=-".into(),
        "--".into(),
        archive.into(),
    ]
}

/// The arguments for `pg_restore` to list the entries of an archive on stdout.
pub fn archive_list_arguments(archive: &Path) -> Vec<OsString> {
    vec!["--list".into(), "--".into(), archive.into()]
}

/// The arguments for `pg_restore` to write those entries of an archive as SQL text on stdout whose
/// list it finds on its stdin.
pub fn archive_entries_arguments(archive: &Path) -> Vec<OsString> {
    vec![
        "--use-list=/dev/stdin".into(),
        "--file=-".into(),
        "--".into(),
        archive.into(),
    ]
}

/// The arguments for `pg_dump` to write the definitions of a database that holds no rows, those
/// before the rows or those after them: of these tables (as SQL writes them), or of all. Sequences
/// have their values in the second part. They are in UTF-8, unless the database has no encoding:
/// what cannot be converted would fail the dump for a name that is not wanted.
#[expect(
    clippy::too_many_arguments,
    reason = "each becomes an argument of pg_dump"
)]
pub fn definitions_arguments(
    conninfo: &Conninfo,
    before_rows: bool,
    tables: Option<&[String]>,
    has_encoding: bool,
    lock_wait: Duration,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        "--no-password".into(),
        format!("--lock-wait-timeout={}", milliseconds(lock_wait)).into(),
        "--format=plain".into(),
        "--strict-names".into(),
    ];
    if has_encoding {
        arguments.push("--encoding=UTF8".into());
    }
    if let Some(parameters) = conninfo.child_argument() {
        arguments.push(format!("--dbname={parameters}").into());
    }
    let sections: &[&str] = if before_rows {
        &["--section=pre-data"]
    } else {
        &["--section=data", "--section=post-data"]
    };
    arguments.extend(sections.iter().map(OsString::from));
    for table in tables.unwrap_or_default() {
        arguments.push(format!("--table={table}").into());
    }
    arguments
}

/// The arguments for psql to load a text from its stdin, and to stop at the first error. With a key, it
/// takes no commands of its own from there, since only who knows the key could end that.
pub fn load_text_arguments(restrict_key: Option<&str>) -> Vec<OsString> {
    load_arguments(restrict_key, &["--output=/dev/null"])
}

/// The same, for a psql that goes on behind an error.
pub fn load_text_through_arguments(restrict_key: Option<&str>) -> Vec<OsString> {
    load_arguments(
        restrict_key,
        &["--set=ON_ERROR_STOP=0", "--output=/dev/null"],
    )
}

/// The same, for a psql whose answers are read, one value a line.
pub fn load_text_and_answer_arguments(restrict_key: Option<&str>) -> Vec<OsString> {
    load_arguments(restrict_key, &["--tuples-only", "--no-align"])
}

fn load_arguments(restrict_key: Option<&str>, output: &[&str]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = [
        "--no-psqlrc",
        "--quiet",
        "--no-password",
        "--set=ON_ERROR_STOP=1",
        // Why something failed is known by its code, whatever language the server speaks.
        "--set=VERBOSITY=verbose",
    ]
    .map(OsString::from)
    .into();
    arguments.extend(output.iter().map(OsString::from));
    // Carried out in this order; the lines of stdin keep their numbers.
    arguments.extend(restrict_key.map(|key| format!("--command=\\restrict {key}").into()));
    arguments.push("--file=-".into());
    arguments
}

/// The arguments for `pg_restore` to load an archive over so many connections, and to stop at the
/// first error.
pub fn load_archive_arguments(
    conninfo: &Conninfo,
    jobs: NonZeroU8,
    archive: &Path,
) -> Vec<OsString> {
    vec![
        "--exit-on-error".into(),
        "--no-password".into(),
        format!("--jobs={jobs}").into(),
        // It does not follow PGDATABASE, and takes a plain name with = in it for something else.
        format!("--dbname=dbname={}", quoted(conninfo.database())).into(),
        "--".into(),
        archive.into(),
    ]
}

fn compress(
    compression: Compression,
    level: Option<u8>,
    version: &ProgramVersion,
    format: &'static str,
) -> Result<String, DumpError> {
    let new = version.major >= ALGORITHMS_SINCE;
    let (algorithm, usual, highest) = match compression {
        Compression::None => return Ok("--compress=0".to_owned()),
        Compression::Gzip => ("gzip", GZIP_LEVEL, 9),
        Compression::Zstd if !new => {
            let version = version.text.clone();
            return Err(DumpError::NoZstd { version, format });
        }
        Compression::Zstd => ("zstd", ZSTD_LEVEL, 22),
    };
    let level = level.unwrap_or(usual);
    if !(1..=highest).contains(&level) {
        return Err(DumpError::BadLevel {
            algorithm,
            level,
            highest,
        });
    }
    Ok(if new {
        format!("--compress={algorithm}:{level}")
    } else {
        format!("--compress={level}")
    })
}

/// Zero would mean for ever.
fn milliseconds(limit: Duration) -> u128 {
    limit.as_millis().clamp(1, i32::MAX as u128)
}

fn option_with_path(option: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(option);
    argument.push(path);
    argument
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Connection;

    fn version(major: u32) -> ProgramVersion {
        ProgramVersion {
            major,
            text: format!("{major}.0"),
        }
    }

    fn conninfo(text: &str) -> Conninfo {
        let connection = Connection::from_string(text).unwrap();
        Conninfo::resolve(&connection, &BTreeMap::new(), None).unwrap()
    }

    fn settings(format: Format, compression: Compression, level: Option<u8>) -> DumpSettings {
        DumpSettings {
            format,
            compression,
            level,
            threads: None,
            jobs: NonZeroU8::new(3).unwrap(),
            globals: true,
        }
    }

    fn arguments(settings: &DumpSettings, major: u32) -> Result<String, DumpError> {
        let command = DumpCommand::new(settings, Path::new("/b/f"), false);
        let conninfo = conninfo("dbname='--evil' password=hidden user=u");
        let arguments = command.arguments(
            &version(major),
            &conninfo,
            Some("UTF8"),
            Duration::from_secs(30),
        )?;
        Ok(arguments
            .join(std::ffi::OsStr::new(" "))
            .into_string()
            .unwrap())
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn each_format_and_compression_has_its_arguments() {
        const COMMON: &str = "--no-password --lock-wait-timeout=30000 --encoding=UTF8 --format=";
        let table = [
            (Format::Plain, Compression::Gzip, None, 15, "plain"),
            (Format::Plain, Compression::Zstd, Some(9), 13, "plain"),
            (
                Format::Custom,
                Compression::Gzip,
                None,
                15,
                "custom --compress=6 --file=/b/f",
            ),
            (
                Format::Custom,
                Compression::Gzip,
                Some(1),
                16,
                "custom --compress=gzip:1 --file=/b/f",
            ),
            (
                Format::Custom,
                Compression::None,
                Some(1),
                15,
                "custom --compress=0 --file=/b/f",
            ),
            (
                Format::Custom,
                Compression::None,
                None,
                18,
                "custom --compress=0 --file=/b/f",
            ),
            (
                Format::Custom,
                Compression::Zstd,
                None,
                16,
                "custom --compress=zstd:3 --file=/b/f",
            ),
            (
                Format::Directory,
                Compression::Zstd,
                Some(19),
                18,
                "directory --compress=zstd:19 --jobs=3 --file=/b/f",
            ),
            (
                Format::Directory,
                Compression::Gzip,
                None,
                14,
                "directory --compress=6 --jobs=3 --file=/b/f",
            ),
        ];
        for (format, compression, level, major, expected) in table {
            let settings = settings(format, compression, level);
            assert_eq!(
                arguments(&settings, major),
                Ok(format!("{COMMON}{expected}"))
            );
        }
    }

    #[test]
    fn an_old_pg_dump_is_not_asked_for_zstd_which_it_would_ignore() {
        for format in [Format::Custom, Format::Directory] {
            for major in [13, 14, 15] {
                let refused = arguments(&settings(format, Compression::Zstd, None), major);
                assert!(
                    matches!(refused, Err(DumpError::NoZstd { .. })),
                    "{refused:?}"
                );
            }
        }
    }

    #[test]
    fn a_level_that_does_not_exist_is_refused() {
        for (compression, level) in [
            (Compression::Gzip, 0),
            (Compression::Gzip, 10),
            (Compression::Zstd, 0),
            (Compression::Zstd, 23),
        ] {
            let refused = arguments(&settings(Format::Custom, compression, Some(level)), 17);
            assert!(
                matches!(refused, Err(DumpError::BadLevel { .. })),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn the_globals_are_read_through_a_database_of_any_name() {
        let conninfo = conninfo(r"dbname='a=b \'c\' \\' keepalives_idle=5 password=hidden");
        let arguments = |passwords| {
            globals_arguments(&conninfo, "LATIN1", passwords, Duration::ZERO)
                .join(std::ffi::OsStr::new(" "))
                .into_string()
                .unwrap()
        };
        assert_eq!(
            arguments(true),
            r"--globals-only --no-password --encoding=LATIN1 --lock-wait-timeout=1 --database=dbname='a=b \'c\' \\' --dbname=keepalives_idle='5'"
        );
        assert!(arguments(false).contains(" --no-role-passwords"));
    }
}
