//! Credentials of systemd's: files that exist for the service alone.

use std::ffi::OsString;
use std::path::Path;

/// Where systemd keeps the credentials of a system's services.
const ALL: &str = "/run/credentials";

/// The variable by which a service learns the directory of its own.
const VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// The name of the credential that a path means; none where it is another file.
pub(crate) fn name(path: &Path) -> Option<String> {
    name_in(path, std::env::var_os(VARIABLE))
}

/// Whether a path means a credential of a service that this process is not.
pub(crate) fn is_elsewhere(path: &Path) -> bool {
    is_elsewhere_of(path, std::env::var_os(VARIABLE)) && std::fs::File::open(path).is_err()
}

/// The line by which the service's unit gets it.
pub(crate) fn loading(name: &str) -> String {
    format!("LoadCredential={name}:FILE")
}

fn name_in(path: &Path, own: Option<OsString>) -> Option<String> {
    let is_inside = path.starts_with(ALL) || own.is_some_and(|own| path.starts_with(own));
    let name = path.file_name().filter(|_| is_inside)?;
    Some(name.to_string_lossy().into_owned())
}

fn is_elsewhere_of(path: &Path, own: Option<OsString>) -> bool {
    path.starts_with(ALL) && !own.is_some_and(|own| path.starts_with(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_known_by_its_directory() {
        let path = Path::new("/run/credentials/pgbackupd.service/db-password");
        let own = || Some(OsString::from("/run/credentials/pgbackupd.service"));
        let other = || Some(OsString::from("/run/credentials/run-u7.service"));
        for (own, elsewhere) in [(None, true), (own(), false), (other(), true)] {
            assert_eq!(name_in(path, own.clone()).as_deref(), Some("db-password"));
            assert_eq!(is_elsewhere_of(path, own), elsewhere);
        }
        let file = Path::new("/etc/pgbackupd/db-password");
        assert_eq!(name_in(file, own()), None);
        assert!(!is_elsewhere_of(file, None));
    }
}
