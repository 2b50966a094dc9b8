//! Credentials of systemd's: files that exist for the service alone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Where systemd keeps the credentials of a system's services.
const ALL: &str = "/run/credentials";

/// The variable by which a service learns the directory of its own.
pub(crate) const VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// Whether this process is the service.
static IS_SERVICE: AtomicBool = AtomicBool::new(false);

/// Notes that this process is the daemon: the service, where systemd has started it as a unit.
pub(crate) fn note_daemon() {
    let is_unit = std::env::var_os("INVOCATION_ID").is_some();
    IS_SERVICE.store(is_unit, Ordering::Relaxed);
}

/// The file of a credential in the directory of those that this process was given; none where it was not given.
pub(crate) fn given(name: &str, directory: Option<&String>) -> Option<PathBuf> {
    let path = Path::new(directory?).join(name);
    // What else is wrong with it, whoever reads it says.
    (!matches!(path.try_exists(), Ok(false))).then_some(path)
}

/// That there is no such credential here, to follow its name, with the way out from the place that asks:
/// `by_hand` where that is not the service.
pub(crate) fn missing(name: &str, by_hand: impl FnOnce() -> String) -> String {
    missing_in(IS_SERVICE.load(Ordering::Relaxed), name, by_hand)
}

fn missing_in(is_service: bool, name: &str, by_hand: impl FnOnce() -> String) -> String {
    let loading = loading(name);
    if is_service {
        return format!(
            "was not given to the service\nhint: run `systemctl edit pgbackupd`, write {loading} below [Service] \
             with the file that has it, and run `systemctl restart pgbackupd`"
        );
    }
    format!(
        "exists only inside the service, whose unit needs {loading}\nhint: {}",
        by_hand()
    )
}

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
    fn the_way_out_is_that_of_the_service_or_of_a_command_by_hand() {
        let by_hand = || "by hand, run `x`".to_owned();
        for (is_service, expected) in [
            (
                false,
                "exists only inside the service, whose unit needs LoadCredential=key:FILE\nhint: by hand, run `x`",
            ),
            (
                true,
                "was not given to the service\nhint: run `systemctl edit pgbackupd`, write \
                 LoadCredential=key:FILE below [Service] with the file that has it, and run `systemctl restart \
                 pgbackupd`",
            ),
        ] {
            assert_eq!(missing_in(is_service, "key", by_hand), expected);
        }
    }

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
