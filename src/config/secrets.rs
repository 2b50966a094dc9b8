//! Where secrets stand, and whether others could read them there.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::conninfo;
use super::fragment::{ConnectionFragment, Fragment};
use super::layer::{Layer, Origin, What};
use super::problem::Problem;

/// Permission bits of the group and of everybody else.
const OTHERS: u32 = 0o077;

/// What a layer's secrets give rise to.
#[derive(Default)]
pub(super) struct Findings {
    /// Secrets that others can read.
    pub(super) problems: Vec<Problem>,
    /// Secrets that would be better off elsewhere.
    pub(super) warnings: Vec<String>,
}

/// Looks at the secrets of one sound layer: passwords that stand in it, and files that it names as
/// holding passwords. A later layer that overrides such a password does not hide it, so every layer
/// is looked at by itself.
pub(super) fn examine(layer: &Layer, fragment: &Fragment) -> Findings {
    let mut findings = Findings::default();
    connection(
        layer,
        &["connection".to_owned()],
        &fragment.connection,
        &mut findings,
    );
    for (name, server) in &fragment.servers {
        let key = ["servers".to_owned(), name.clone(), "connection".to_owned()];
        connection(layer, &key, &server.connection, &mut findings);
    }
    findings
}

fn connection(
    layer: &Layer,
    table: &[String],
    connection: &ConnectionFragment,
    findings: &mut Findings,
) {
    let key = |name: &str| [table, &[name.to_owned()]].concat();
    let holds_password = |text: &Option<String>| {
        text.as_deref()
            .and_then(|text| conninfo::parse(text).ok())
            .is_some_and(|read| read.password.is_some())
    };
    let inline = [
        ("password", connection.password.is_some()),
        ("uri", holds_password(&connection.uri)),
        ("conninfo", holds_password(&connection.conninfo)),
    ];
    for (name, _) in inline.into_iter().filter(|(_, holds)| *holds) {
        inline_password(layer, &key(name), findings);
    }
    let files = [
        (
            "password_file",
            connection
                .password_file
                .as_ref()
                .map(|path| path.0.as_path()),
        ),
        ("passfile", connection.passfile.as_deref().map(Path::new)),
    ];
    for (name, path) in files {
        let Some(path) = path else { continue };
        if let Some((message, help)) = fault_of_file(path, name == "password_file") {
            let problem = layer.problem(&key(name), What::Value);
            findings.problems.push(Problem {
                message,
                help: Some(help),
                ..problem
            });
        }
    }
}

fn inline_password(layer: &Layer, key: &[String], findings: &mut Findings) {
    let setting = key.join(".");
    match &layer.origin {
        Origin::File { path, mode, .. } if mode & OTHERS != 0 => {
            findings.problems.push(Problem {
                message: format!(
                    "a password stands in {}, which others can read (mode {:04o})",
                    path.display(),
                    mode & 0o7777
                ),
                help: Some(format!(
                    "chmod 600 {}, or name a file or a systemd credential with password_file or \
                     credential",
                    path.display()
                )),
                ..layer.problem(key, What::Key)
            });
        }
        Origin::File { path, .. } => findings.warnings.push(format!(
            "{setting}: the password stands in {}, which nobody else can read as long as its mode \
             stays; password_file or credential would keep it out of the configuration",
            path.display()
        )),
        Origin::Variable(name) => findings.warnings.push(format!(
            "{setting}: the password stands in the environment variable {name}, which every child \
             process inherits; password_file or credential is safer"
        )),
        Origin::Defaults => {}
    }
}

/// What is wrong with a file that holds a password, and the way out.
fn fault_of_file(path: &Path, must_exist: bool) -> Option<(String, String)> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Some((
            format!("{shown} is no file"),
            "name a file that holds a password".to_owned(),
        )),
        Ok(found) if found.mode() & OTHERS != 0 => Some((
            format!(
                "{shown} holds a password and can be read by others (mode {:04o})",
                found.mode() & 0o7777
            ),
            format!("chmod 600 {shown}"),
        )),
        Err(error) if error.kind() == ErrorKind::NotFound && must_exist => Some((
            format!("there is no file {shown}"),
            "make it, with the password as its first line and mode 0600".to_owned(),
        )),
        // Whoever may not look at the file may still check the rest; connecting will tell.
        Ok(_) | Err(_) => None,
    }
}
