//! Finding the programs that fit a server: `pg_dump` refuses a server newer than itself, and one of
//! the server's own major version writes what that server reads back best.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::threads::is_exhaustion;

/// How long a program may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(10);

/// More than any version's line has.
const LONGEST_VERSION: u64 = 4096;

/// What one directory must have to be of use.
const NEEDED: [&str; 4] = ["pg_dump", "pg_dumpall", "pg_restore", "psql"];

/// What it must have besides to run a server.
const NEEDED_FOR_A_SERVER: [&str; 2] = ["initdb", "postgres"];

/// The version of a program of `PostgreSQL`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramVersion {
    /// The major version: 15 of `15.18`, 18 of `18beta1`.
    pub major: u32,
    /// The version as the program tells it, without its name: `15.18 (Debian 15.18-0+deb12u1)`.
    pub text: String,
}

impl ProgramVersion {
    /// The minor release: 18 of `15.18`; none of a version that is not finished.
    pub fn minor(&self) -> Option<u32> {
        let rest = self.text.split_once('.')?.1;
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..digits].parse().ok()
    }

    /// Reads what `pg_dump --version` prints: `pg_dump (PostgreSQL) 15.18 (Debian …)`.
    fn parse(output: &str) -> Option<Self> {
        let (_, text) = output.lines().next()?.split_once(") ")?;
        let text = text.trim();
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        Some(Self {
            major: text[..digits].parse().ok()?,
            text: text.to_owned(),
        })
    }
}

impl ProgramVersion {
    /// Whether its psql can be asked to take no commands of its own (`\restrict`): all versions since
    /// CVE-2025-8714 was fixed.
    pub fn knows_restricted_mode(&self) -> bool {
        let minor = self.text.split_once('.').and_then(|(_, rest)| {
            let end = rest.find(|c: char| !c.is_ascii_digit());
            rest[..end.unwrap_or(rest.len())].parse::<u32>().ok()
        });
        let since = match self.major {
            ..13 => return false,
            13 => 22,
            14 => 19,
            15 => 14,
            16 => 10,
            17 => 6,
            18.. => return !self.text.starts_with("18beta"),
        };
        minor.is_some_and(|minor| minor >= since)
    }
}

impl fmt::Display for ProgramVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The programs of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// The directory that has them.
    pub directory: PathBuf,
    /// Their version.
    pub version: ProgramVersion,
}

/// Why there are no programs for a server.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// No installed program fits the server.
    #[error("{}", none_fits(*.major, .found, .purpose))]
    NoneFits {
        /// The oldest major version that would do.
        major: u32,
        /// What was found, one phrase for each directory.
        found: Vec<String>,
        /// For what they were wanted.
        purpose: ProgramUse,
    },
    /// They could not be looked for, so nothing is known of what is installed.
    #[error(
        "cannot look for the programs of PostgreSQL in {}: {source}\nhint: check how many processes and open \
         files the user and the service may have (`ulimit -u -n`, TasksMax=, LimitNOFILE=), and what \
         else runs here",
        .directory.display()
    )]
    Lookup {
        /// Where they were looked for.
        directory: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// For what programs are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramUse {
    /// To work with a server of that version.
    Client,
    /// To run a server.
    Server,
    /// To read an archive; by which `pg_dump` it was made.
    Archive(String),
}

fn none_fits(major: u32, found: &[String], purpose: &ProgramUse) -> String {
    let found = if found.is_empty() {
        "there is none".to_owned()
    } else {
        format!("found: {}", found.join("; "))
    };
    match purpose {
        ProgramUse::Server => format!(
            "no server of version {major} or newer is installed here ({found})\nhint: install the \
             package postgresql-{major}, or set `programs` to the directory that has initdb \
             and postgres"
        ),
        ProgramUse::Client => format!(
            "the server is PostgreSQL {major}, and no pg_dump of version {major} or newer is \
             installed ({found})\nhint: install the package postgresql-client-{major}, or set \
             `programs` to the directory that has it"
        ),
        ProgramUse::Archive(pg_dump) => format!(
            "the archive was made by pg_dump {pg_dump}, and no pg_restore of version {major} or \
             newer, which reads it, is installed ({found})\nhint: install the package \
             postgresql-client-{major}, or set `programs` to the directory that has it"
        ),
    }
}

/// A directory with programs, and what came of asking their version.
#[derive(Debug)]
struct Installation {
    directory: PathBuf,
    configured: bool,
    version: Result<ProgramVersion, String>,
}

impl Programs {
    /// Finds the programs for a server of this major version: those in the configured directory if
    /// they are not older than the server; else those of the server's own version wherever they
    /// are; else the nearest newer ones. Never older ones.
    ///
    /// # Errors
    /// None fits; the error tells what was found and what to install.
    pub async fn locate(
        configured: Option<&Path>,
        server_major: u32,
    ) -> Result<Self, ProgramError> {
        Self::locate_in(configured, everywhere()?, server_major, ProgramUse::Client).await
    }

    /// Finds the programs to read an archive that this `pg_dump` has made, by the same rules.
    ///
    /// # Errors
    /// None fits; the error tells what was found and what to install.
    pub async fn locate_reader(
        configured: Option<&Path>,
        major: u32,
        pg_dump: &str,
    ) -> Result<Self, ProgramError> {
        let purpose = ProgramUse::Archive(pg_dump.to_owned());
        Self::locate_in(configured, everywhere()?, major, purpose).await
    }

    /// Finds the programs to run a server of this major version, by the same rules; `pg_dump` and
    /// its kin are there too.
    ///
    /// # Errors
    /// None fits; the error tells what was found and what to install.
    pub async fn locate_server(
        configured: Option<&Path>,
        major: u32,
    ) -> Result<Self, ProgramError> {
        Self::locate_in(configured, everywhere()?, major, ProgramUse::Server).await
    }

    /// The same, with the places to look at after the configured one given.
    async fn locate_in(
        configured: Option<&Path>,
        elsewhere: impl IntoIterator<Item = PathBuf>,
        major: u32,
        purpose: ProgramUse,
    ) -> Result<Self, ProgramError> {
        let of_a_server = purpose == ProgramUse::Server;
        let configured = configured.map(|path| (path.to_owned(), true));
        let elsewhere = elsewhere.into_iter().map(|path| (path, false));
        let mut seen: Vec<PathBuf> = Vec::new();
        let mut installations = Vec::new();
        for (directory, configured) in configured.into_iter().chain(elsewhere) {
            let version = match real_program(&directory) {
                Ok(Some(real)) if seen.contains(&real) => continue,
                Ok(Some(real)) => {
                    seen.push(real);
                    installed_version(&directory, of_a_server).await
                }
                Ok(None) if configured => Err(Unusable::Is("no pg_dump".to_owned())),
                Ok(None) => continue,
                Err(error) => Err(unseen("pg_dump", error)),
            };
            let version = match version {
                Ok(version) => Ok(version),
                Err(Unusable::Is(phrase)) => Err(phrase),
                // What is not seen now may be the one that fits.
                Err(Unusable::Unknown(source)) => {
                    return Err(ProgramError::Lookup { directory, source });
                }
            };
            installations.push(Installation {
                directory,
                configured,
                version,
            });
        }
        match choose_installation(&installations, major) {
            Some((directory, version)) => Ok(Self {
                directory: directory.to_owned(),
                version: version.clone(),
            }),
            None => Err(ProgramError::NoneFits {
                major,
                found: installations.iter().map(ToString::to_string).collect(),
                purpose,
            }),
        }
    }

    /// The full path of `pg_dump`.
    pub fn pg_dump(&self) -> PathBuf {
        self.directory.join("pg_dump")
    }

    /// The full path of `pg_dumpall`.
    pub fn pg_dumpall(&self) -> PathBuf {
        self.directory.join("pg_dumpall")
    }

    /// The full path of `pg_restore`.
    pub fn pg_restore(&self) -> PathBuf {
        self.directory.join("pg_restore")
    }

    /// The full path of `psql`.
    pub fn psql(&self) -> PathBuf {
        self.directory.join("psql")
    }

    /// The full path of `initdb`.
    pub fn initdb(&self) -> PathBuf {
        self.directory.join("initdb")
    }

    /// The full path of the server itself.
    pub fn postgres(&self) -> PathBuf {
        self.directory.join("postgres")
    }
}

impl fmt::Display for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Ok(version) => write!(f, "{version} in {}", self.directory.display()),
            Err(problem) => write!(f, "{problem} in {}", self.directory.display()),
        }
    }
}

/// Which installation serves; of equals the first.
fn choose_installation(
    installations: &[Installation],
    server_major: u32,
) -> Option<(&Path, &ProgramVersion)> {
    installations
        .iter()
        .filter_map(|one| Some((one, one.version.as_ref().ok()?)))
        .filter(|(_, version)| version.major >= server_major)
        .min_by_key(|(one, version)| (!one.configured, version.major))
        .map(|(one, version)| (one.directory.as_path(), version))
}

/// Every place that is looked at after the configured one.
fn everywhere() -> Result<impl Iterator<Item = PathBuf>, ProgramError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<_> = std::env::split_paths(&path).collect();
    Ok(customary_directories()?.into_iter().chain(on_path))
}

/// Where packages and `make install` put the programs.
fn customary_directories() -> Result<Vec<PathBuf>, ProgramError> {
    const PLACES: [(&str, &str); 5] = [
        ("/usr/lib/postgresql", ""), // Debian
        ("/usr", "pgsql-"),          // PostgreSQL's packages for Red Hat
        ("/opt/PostgreSQL", ""),     // EnterpriseDB's installer
        ("/opt", "postgresql"),
        ("/opt", "pgsql"),
    ];
    let mut directories = Vec::new();
    for (parent, prefix) in PLACES {
        let found = versions(Path::new(parent), prefix);
        directories.extend(found.map_err(|source| ProgramError::Lookup {
            directory: parent.into(),
            source,
        })?);
    }
    directories.push("/usr/local/pgsql/bin".into());
    Ok(directories)
}

/// The directories of programs in one place; none where it is not there or closed to us.
fn versions(parent: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let entries = match std::fs::read_dir(parent) {
        Err(error) if matches!(error.kind(), NotFound | NotADirectory | PermissionDenied) => {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path().join("bin"));
        }
    }
    found.sort();
    Ok(found)
}

/// Why the programs in a directory cannot be used.
#[derive(Debug)]
enum Unusable {
    /// They are not what is needed, in a phrase for the operator.
    Is(String),
    /// Nothing is known of them: the machine had no room to look.
    Unknown(io::Error),
}

/// Of something that cannot be seen for another reason than that it is not there.
fn unseen(name: &str, error: io::Error) -> Unusable {
    if is_exhaustion(&error) {
        Unusable::Unknown(error)
    } else {
        Unusable::Is(format!("{name} cannot be looked at ({error})"))
    }
}

/// The file that a directory's `pg_dump` is in the end, if it is one of `PostgreSQL`'s own: Debian's
/// `/usr/bin/pg_dump` is a Perl program that chooses a version by rules of its own.
fn real_program(directory: &Path) -> io::Result<Option<PathBuf>> {
    use io::ErrorKind::{NotADirectory, NotFound};
    let real = match std::fs::canonicalize(directory.join("pg_dump")) {
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Ok(None),
        real => real?,
    };
    let is_one =
        real.metadata()?.is_file() && real.file_name().is_some_and(|it| it != "pg_wrapper");
    Ok(is_one.then_some(real))
}

/// Asks an installation for its version.
async fn installed_version(
    directory: &Path,
    of_a_server: bool,
) -> Result<ProgramVersion, Unusable> {
    let more: &[&str] = if of_a_server {
        &NEEDED_FOR_A_SERVER
    } else {
        &[]
    };
    for name in NEEDED.iter().chain(more) {
        match directory.join(name).metadata() {
            Ok(found) if found.is_file() => {}
            Ok(_) => return Err(Unusable::Is(format!("no {name}"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Unusable::Is(format!("no {name}")));
            }
            Err(error) => return Err(unseen(name, error)),
        }
    }
    let is = |phrase: &str| Unusable::Is(phrase.to_owned());
    match timeout(PATIENCE, first_line(&directory.join("pg_dump"))).await {
        Ok(Ok(line)) => {
            ProgramVersion::parse(&line).ok_or_else(|| is("a pg_dump that prints no version"))
        }
        Ok(Err(error)) if is_exhaustion(&error) => Err(Unusable::Unknown(error)),
        Ok(Err(error)) => Err(is(&format!("a pg_dump that does not run ({error})"))),
        Err(_) => Err(is("a pg_dump that does not answer")),
    }
}

/// The line that a program says its version in. Nothing after it is waited for: what the program has
/// started may hold its stdout open.
async fn first_line(program: &Path) -> io::Result<String> {
    let mut child = Command::new(program)
        .arg("--version")
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut line = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout.take(LONGEST_VERSION));
        stdout.read_until(b'\n', &mut line).await?;
    }
    child.wait().await?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_psql_can_be_kept_from_commands_of_its_own_since_the_release_that_brought_it() {
        for (text, knows) in [
            ("12.22", false),
            ("13.21", false),
            ("13.22", true),
            ("14.18", false),
            ("14.23", true),
            ("15.13 (Debian 15.13-1.pgdg120+1)", false),
            ("15.14 (Debian 15.14-0+deb12u1)", true),
            ("16.9", false),
            ("16.15", true),
            ("17.5", false),
            ("17.11", true),
            ("17devel", false),
            ("18beta1", false),
            ("18.6", true),
            ("19devel", true),
        ] {
            let major = text[..2].parse().unwrap();
            let text = text.to_owned();
            let version = ProgramVersion { major, text };
            assert_eq!(version.knows_restricted_mode(), knows, "{version}");
        }
    }

    #[test]
    fn a_version_is_read_from_every_spelling_in_use() {
        let table = [
            (
                "pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n",
                Some(15),
            ),
            ("pg_dump (PostgreSQL) 18beta1", Some(18)),
            ("pg_dump (PostgreSQL) 17devel", Some(17)),
            ("pg_dump (PostgreSQL) 9.6.24", Some(9)),
            ("pg_dump (EnterpriseDB) 16.1.0", Some(16)),
            ("pg_dump 15.2", None),
            ("pg_dump (PostgreSQL) unknown", None),
            ("", None),
        ];
        for (text, expected) in table {
            let major = ProgramVersion::parse(text).map(|version| version.major);
            assert_eq!(major, expected, "{text:?}");
        }
        let version = ProgramVersion::parse(table[0].0).unwrap();
        assert_eq!(version.text, "15.18 (Debian 15.18-0+deb12u1)");
    }

    #[test]
    fn the_servers_own_version_is_chosen_else_the_nearest_newer_never_an_older() {
        // The first of each list is configured when the flag says so.
        let table: &[(bool, &[u32], u32, Option<usize>)] = &[
            (false, &[14, 15, 16], 15, Some(1)),
            (false, &[14, 18, 17], 15, Some(2)),
            (false, &[13, 14], 15, None),
            (false, &[], 15, None),
            (false, &[16, 15, 15], 15, Some(1)),
            (true, &[17, 15], 15, Some(0)),
            (true, &[14, 15], 15, Some(1)),
            (true, &[14], 15, None),
        ];
        for (configured, majors, server, expected) in table {
            let installations: Vec<_> = majors
                .iter()
                .enumerate()
                .map(|(i, &major)| Installation {
                    directory: PathBuf::from(i.to_string()),
                    configured: *configured && i == 0,
                    version: Ok(ProgramVersion {
                        major,
                        text: major.to_string(),
                    }),
                })
                .collect();
            let chosen =
                choose_installation(&installations, *server).map(|(directory, _)| directory);
            let expected = expected.map(|i| PathBuf::from(i.to_string()));
            assert_eq!(chosen, expected.as_deref(), "{majors:?} for {server}");
        }
    }

    fn install(directory: &Path, version: &str, programs: &[&str]) {
        for name in programs {
            let path = directory.join(name);
            fs::write(
                &path,
                format!("#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n"),
            )
            .unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[tokio::test]
    async fn the_error_tells_what_was_found_and_what_to_install() {
        let [old, half, none] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        install(old.path(), "14.2", &NEEDED);
        install(half.path(), "17.1", &NEEDED[..2]);
        let elsewhere = [old.path().to_owned(), half.path().to_owned()];
        let error =
            Programs::locate_in(Some(none.path()), elsewhere.clone(), 17, ProgramUse::Client)
                .await
                .unwrap_err()
                .to_string();
        for expected in [
            "postgresql-client-17".to_owned(),
            format!("no pg_dump in {}", none.path().display()),
            format!("14.2 in {}", old.path().display()),
            format!("no pg_restore in {}", half.path().display()),
        ] {
            assert!(
                error.contains(&expected),
                "{expected:?} is not in {error:?}"
            );
        }
        let of_an_archive = ProgramUse::Archive("18.6 (Debian)".to_owned());
        let error = Programs::locate_in(None, elsewhere.clone(), 18, of_an_archive)
            .await
            .unwrap_err()
            .to_string();
        for part in [
            "the archive was made by pg_dump 18.6 (Debian), and no pg_restore of version 18",
            "found: ",
            "install the package postgresql-client-18",
        ] {
            assert!(error.contains(part), "{error}");
        }
        let programs = Programs::locate_in(None, elsewhere.clone(), 13, ProgramUse::Client)
            .await
            .unwrap();
        assert_eq!(programs.pg_dump(), old.path().join("pg_dump"));
        let error = Programs::locate_in(None, elsewhere, 13, ProgramUse::Server)
            .await
            .unwrap_err()
            .to_string();
        for expected in [
            "postgresql-13".to_owned(),
            format!("no initdb in {}", old.path().display()),
        ] {
            assert!(
                error.contains(&expected),
                "{expected:?} is not in {error:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_wrapper_that_chooses_by_its_own_rules_is_passed_over() {
        let [real, links] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        install(real.path(), "15.1", &NEEDED);
        fs::rename(real.path().join("pg_dump"), real.path().join("pg_wrapper")).unwrap();
        for name in NEEDED {
            std::os::unix::fs::symlink(real.path().join("pg_wrapper"), links.path().join(name))
                .unwrap();
        }
        let found =
            Programs::locate_in(None, [links.path().to_owned()], 15, ProgramUse::Client).await;
        assert!(found.is_err(), "{found:?}");
    }
}
