//! A destination of copies in a directory.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use age::secrecy::ExposeSecret as _;

use super::operator::Operator;

/// Configures a destination in a directory as `far`, without encryption, of a host `db1`.
pub(crate) fn plain_destination(operator: &mut Operator) -> PathBuf {
    let far = operator.path("far");
    fs::create_dir(&far).unwrap();
    operator.set("name", "db1");
    operator.set("destinations.far.url", format!("file://{}", far.display()));
    operator.set_value("destinations.far.plain", true);
    far
}

/// All files below a directory, as paths relative to it, sorted.
pub(crate) fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(one) = open.pop() {
        for entry in fs::read_dir(&one).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let path = path.strip_prefix(directory).unwrap();
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// Directories that nobody can add anything to or remove it from, as long as the value lives.
pub(crate) struct Immutable(Vec<PathBuf>);

impl Immutable {
    /// Makes them so; none where the file system cannot.
    pub(crate) fn new(directories: Vec<PathBuf>) -> Option<Self> {
        let immutable = Self(directories);
        immutable.set("+i").then_some(immutable)
    }

    fn set(&self, attribute: &str) -> bool {
        let mut chattr = Command::new("chattr");
        let output = chattr.arg(attribute).args(&self.0).output();
        output.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        self.set("-i");
    }
}

/// A new identity in a file of its owner's alone, and its public half.
pub(crate) fn new_identity(operator: &Operator, name: &str) -> (PathBuf, String) {
    let identity = age::x25519::Identity::generate();
    let file = operator.path(name);
    fs::write(&file, identity.to_string().expose_secret()).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    (file, identity.to_public().to_string())
}

/// Configures a destination in a directory as `far`, of a host `db1`, whose copies are encrypted; gives it with the
/// file of the identity that opens them.
pub(crate) fn encrypted_destination(operator: &mut Operator) -> (PathBuf, PathBuf) {
    let far = plain_destination(operator);
    operator.unset("destinations.far.plain");
    let (identity, recipient) = new_identity(operator, "identity.txt");
    operator.set_value("encryption.recipients", vec![recipient]);
    (far, identity)
}
