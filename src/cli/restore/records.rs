//! Where a restore is locked and on record: in the directory of the database's own backups, and on a
//! machine that has none, next to the dump.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::config::{DaemonSettings, Databases, Server, directory_name};
use crate::repository::Repository;

/// Below the runtime directory the locks, by the directory of the records, and below the state directory
/// the records, by the database.
const RESTORES: &str = "restores";

/// Whether the configuration says where the backups of a server's databases are. Without one, what is
/// in force is a default that nobody has chosen.
pub(in crate::cli) fn is_configured(server: &Server) -> bool {
    !matches!(server.databases, Databases::FromEnvironment)
}

/// The directory of a database's backups, made only where it was configured.
pub(in crate::cli) struct OwnDirectory {
    pub(in crate::cli) path: PathBuf,
    pub(in crate::cli) is_configured: bool,
}

/// The repository whose lock a restore takes and whose `restore.log` it writes; `beside` is the
/// directory that the dump is in.
pub(in crate::cli) fn records(
    database: &str,
    own: OwnDirectory,
    beside: Option<&Path>,
    daemon: &DaemonSettings,
) -> Repository {
    if own.path.is_dir() || (own.is_configured && can_be_made(&own.path)) {
        return Repository::at(own.path);
    }
    let name = directory_name(database);
    let state = daemon.state_directory.join(RESTORES).join(&name);
    let written = match beside {
        Some(beside) if is_ours_to_write(beside) => beside.to_owned(),
        _ if can_be_made(&state) => state,
        // Making it says what is in the way.
        _ => return Repository::at(own.path),
    };
    // One lock for one restore.log, whatever databases are on record there: whoever holds it knows that
    // every other restore is over.
    let locks = directory_name(&written.to_string_lossy());
    let locks = daemon.runtime_directory.join(RESTORES).join(locks);
    if can_be_made(&locks) {
        Repository::at(written).locked_in(locks)
    } else {
        Repository::at(written)
    }
}

/// Whether we can write there, and nobody else puts files of any name there, as in `/tmp`.
fn is_ours_to_write(directory: &Path) -> bool {
    let by_others = directory.metadata().map(|found| found.mode() & 0o002);
    by_others.is_ok_and(|bit| bit == 0)
        && access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Whether the directory is there and can be written, or can be made.
pub(super) fn can_be_made(directory: &Path) -> bool {
    let is_missing = |path: &&Path| {
        path.symlink_metadata()
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let there = directory.ancestors().find(|path| !is_missing(path));
    there.is_some_and(|there| {
        there.is_dir() && access(there, Access::WRITE_OK | Access::EXEC_OK).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::{Source, load};

    #[test]
    fn a_restore_is_on_record_with_the_database_or_the_dump_or_the_service() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let environment = [
            ("PGBACKUPD_DATABASE", "a".to_owned()),
            (
                "PGBACKUPD_DAEMON__RUNTIME_DIRECTORY",
                path("run").display().to_string(),
            ),
            (
                "PGBACKUPD_DAEMON__STATE_DIRECTORY",
                path("state").display().to_string(),
            ),
        ];
        let source = Source {
            file: None,
            default_file: path("none.toml"),
            environment: environment
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            ..Source::of_process(None)
        };
        let daemon = load(&source).unwrap().plan.daemon;
        let dump = path("dump");
        fs::create_dir(&dump).unwrap();
        let set_mode = |mode| fs::set_permissions(&dump, fs::Permissions::from_mode(mode)).unwrap();
        let own = |is_configured| OwnDirectory {
            path: path("own"),
            is_configured,
        };
        let found = |beside| {
            let found = records("a b", own(false), beside, &daemon);
            (
                found.directory().to_owned(),
                found.lock_directory().to_owned(),
            )
        };
        let lock = |of: &Path| {
            let name = directory_name(of.to_str().unwrap());
            path("run/restores").join(name)
        };
        set_mode(0o755);
        assert_eq!(found(Some(&*dump)), (dump.clone(), lock(&dump)));
        // Anybody may have put a restore.log there.
        set_mode(0o1777);
        let state = path("state/restores/a%20b");
        assert_eq!(found(Some(&*dump)), (state.clone(), lock(&state)));
        assert_eq!(found(None), (state.clone(), lock(&state)));
        // Nothing can be made below a file.
        fs::write(path("run"), "").unwrap();
        set_mode(0o755);
        assert_eq!(found(Some(&*dump)), (dump.clone(), dump.clone()));
        fs::write(path("state"), "").unwrap();
        assert_eq!(found(None), (path("own"), path("own")));
        let configured = records("a b", own(true), Some(&dump), &daemon);
        assert_eq!(configured.directory(), path("own"), "it can be made");
        fs::create_dir(path("own")).unwrap();
        assert_eq!(found(Some(&*dump)), (path("own"), path("own")));
    }
}
