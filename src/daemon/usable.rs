//! Whether the directories of a configuration can be used, before it comes into force.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::directories::Directories;
use super::error::DaemonError;
use crate::config::{Databases, Plan};
use crate::display::one_line;
use crate::jobs::{BackupDirectory, JobContext, JobError, backup_directories_on};
use crate::repository::{Repository, RepositoryError};

/// Makes the directory of every database that is configured, and sees that it can be written. Of a
/// server whose databases are found out later, the directory above them is looked at. Nothing is made
/// before all of it has been found possible, and nothing stays when it is not possible after all. A
/// directory that does not answer is no reason not to start.
pub(super) async fn usable(
    plan: &Plan,
    context: &JobContext,
    directories: &Directories,
) -> Result<(), DaemonError> {
    let (mut backup_directories, mut above) = (Vec::new(), Vec::new());
    for server in &plan.servers {
        match &server.databases {
            Databases::Named(_) | Databases::FromEnvironment => {
                backup_directories.extend(backup_directories_on(context, plan, server)?.found);
            }
            Databases::All(_) => above.push(server),
        }
    }
    let missing = ask_directories(directories, &mut backup_directories, can_be_used).await?;
    if let Err(error) = ask_directories(directories, &mut backup_directories, make).await {
        unmake(directories, missing.concat()).await;
        return Err(error);
    }
    let asked = above
        .iter()
        .map(|server| server.directory.clone())
        .collect();
    let made = directories.ask(asked, make).await.map_err(JobError::from)?;
    for (server, made) in above.into_iter().zip(made) {
        if let Some(Err(error)) = made {
            tracing::info!(
                "databases that are found on server {} cannot be given directories by the service \
                 itself ({}: {error}); pgbackupd-directories.service makes them as they are found",
                server.name,
                server.directory.display()
            );
        }
    }
    Ok(())
}

/// Asks all places the same, and gives the answers; places that do not answer are left out from then on.
async fn ask_directories<T: Send + 'static>(
    directories: &Directories,
    backup_directories: &mut Vec<BackupDirectory>,
    question: fn(&Path) -> io::Result<T>,
) -> Result<Vec<T>, DaemonError> {
    let asked = backup_directories
        .iter()
        .map(|backup_directory| backup_directory.repository.directory().to_owned());
    let asked = directories.ask(asked.collect(), question);
    let answers = asked.await.map_err(JobError::from)?;
    let mut given = Vec::new();
    for (backup_directory, answer) in std::mem::take(backup_directories).into_iter().zip(answers) {
        match answer {
            Some(Ok(answer)) => {
                given.push(answer);
                backup_directories.push(backup_directory);
            }
            Some(Err(source)) => return Err(unusable(&backup_directory, source)),
            None => {}
        }
    }
    Ok(given)
}

/// Removes directories that were not there before, as far as they are empty.
async fn unmake(directories: &Directories, mut made: Vec<PathBuf>) {
    // What is below comes first.
    made.sort_unstable_by(|one, other| other.cmp(one));
    made.dedup();
    let removing = directories.ask(made, |directory| std::fs::remove_dir(directory).is_ok());
    if let Err(error) = removing.await {
        tracing::debug!("empty directories stay: {error}");
    }
}

/// Makes a directory, and sees that it can be written.
fn make(directory: &Path) -> io::Result<()> {
    match Repository::at(directory).create() {
        Ok(()) => writable(directory),
        Err(RepositoryError::Io { source, .. }) => Err(source),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn unusable(backup_directory: &BackupDirectory, source: io::Error) -> DaemonError {
    DaemonError::Directory {
        directory: backup_directory.repository.directory().to_owned(),
        of: format!("database {}", one_line(&backup_directory.label)),
        source,
    }
}

/// Whether a directory can be written, or made: gives what is missing of it.
fn can_be_used(directory: &Path) -> io::Result<Vec<PathBuf>> {
    use rustix::fs::Access;
    let mut missing = Vec::new();
    for one in directory.ancestors() {
        // A relative path ends with the working directory.
        let one = if one.as_os_str().is_empty() {
            Path::new(".")
        } else {
            one
        };
        match one.metadata() {
            Ok(found) if !found.is_dir() => return Err(Errno::NOTDIR.into()),
            Ok(_) if missing.is_empty() => writable(one)?,
            Ok(_) => rustix::fs::access(one, Access::WRITE_OK | Access::EXEC_OK)?,
            // A symbolic link to nothing is in the way.
            Err(error)
                if error.kind() != io::ErrorKind::NotFound || one.symlink_metadata().is_ok() =>
            {
                return Err(error);
            }
            Err(_) => {
                missing.push(one.to_owned());
                continue;
            }
        }
        break;
    }
    Ok(missing)
}

fn writable(directory: &Path) -> io::Result<()> {
    use rustix::fs::Access;
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::access(directory, wanted).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::can_be_used;

    #[test]
    fn whether_a_directory_can_be_made_is_found_out_without_making_it() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("there")).unwrap();
        symlink(at("nothing"), at("dangling")).unwrap();
        symlink(at("there"), at("link")).unwrap();
        let entries = || fs::read_dir(home.path()).unwrap().count();
        let before = entries();
        for (name, expected) in [
            ("there", None),
            ("link", None),
            ("new", None),
            ("new/below", None),
            ("link/new", None),
            ("file", Some("Not a directory (os error 20)")),
            ("file/new", Some("Not a directory (os error 20)")),
            ("dangling", Some("No such file or directory (os error 2)")),
            (
                "dangling/new",
                Some("No such file or directory (os error 2)"),
            ),
        ] {
            let found = can_be_used(&at(name)).err().map(|error| error.to_string());
            assert_eq!(found.as_deref(), expected, "{name}");
        }
        assert_eq!(entries(), before);
        assert!(!at("there/new").exists());
    }
}
