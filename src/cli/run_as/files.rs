//! Files named on the command line that are root's, and of no use to the user that root became.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::config::permission_to_read;
use crate::repository::making_command;

/// A named file that the user cannot use.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    path: PathBuf,
    /// `read` or `write`.
    verb: &'static str,
    why: String,
    /// The command that lets it be used, where there is one.
    way_out: Option<String>,
}

/// The file, if the system refuses to let it be read. That it is not there is for the command to say.
pub(super) fn unreadable(path: &Path) -> Option<Unusable> {
    refused(path, Access::READ_OK, "read")
}

/// The directory, if the system refuses to let anything be written to it, or to make it.
pub(super) fn unwritable(path: &Path) -> Option<Unusable> {
    let path = absolute(path);
    let wanted = path.clone();
    let missing = |path: &&Path| {
        path.symlink_metadata()
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let there = path.ancestors().find(|path| !missing(path))?;
    let refused = refused(there, Access::WRITE_OK | Access::EXEC_OK, "write to")?;
    Some(Unusable {
        way_out: making(&wanted),
        ..refused
    })
}

/// The command that makes a directory for this process's user, or gives it one that is root's and empty.
fn making(path: &Path) -> Option<String> {
    let is_free = |path: &Path| {
        path.read_dir().map_or_else(
            |error| error.kind() == io::ErrorKind::NotFound,
            |mut all| all.next().is_none(),
        )
    };
    is_free(path).then(|| making_command(path))
}

fn refused(path: &Path, wanted: Access, verb: &'static str) -> Option<Unusable> {
    match access(path, wanted) {
        Err(rustix::io::Errno::ACCESS) => Some(Unusable {
            path: absolute(path),
            verb,
            why: io::Error::from(rustix::io::Errno::ACCESS).to_string(),
            way_out: None,
        }),
        _ => None,
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl Unusable {
    /// The same of the configuration, which is to stay where it is.
    pub(super) fn explain_configuration(&self, user: &str) -> String {
        format!(
            "{user}, the service's user, cannot read {}: {}\nhint: {}, or stay root with --as-me",
            self.path.display(),
            self.why,
            permission_to_read(&self.path)
        )
    }

    /// What is wrong, and the ways out.
    pub(super) fn explain(&self, user: &str) -> String {
        let path = self.path.display();
        let verb = self.verb;
        let why = &self.why;
        let way_out = if let Some(command) = &self.way_out {
            format!("run `{command}`")
        } else if verb == "read" {
            format!("copy it to where {user} can read it and `chown {user}:` the copy")
        } else {
            "name a directory that this user can write to, such as /var/tmp/rescue".to_owned()
        };
        format!(
            "{user}, the service's user, cannot {verb} {path}: {why}\nhint: {way_out}, or stay root \
             with --as-me"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_refused() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("a/b");
        assert_eq!(unreadable(&missing), None);
        assert_eq!(unwritable(&missing), None, "it can be made");
    }

    #[test]
    fn the_way_out_is_named() {
        let unusable = Unusable {
            path: PathBuf::from("/root/dump.sql.gz"),
            verb: "read",
            why: "Permission denied (os error 13)".to_owned(),
            way_out: None,
        };
        let text = unusable.explain("postgres");
        assert!(
            text.starts_with("postgres, the service's user, cannot read /root/dump.sql.gz: "),
            "{text}"
        );
        assert!(text.ends_with("or stay root with --as-me"), "{text}");
    }
}
