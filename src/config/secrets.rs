//! Where secrets stand, and whether others could read them there.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::Path;

use super::conninfo;
use super::fragment::{ConnectionFragment, Fragment};
use super::layer::{Layer, Origin};
use super::problem::Problem;
use super::problem::What;
use crate::credential;
use crate::identity;
use crate::regular_file;
use crate::secret_file::{FileMode, entering_advice, making_advice, opening_advice};

/// What a layer's secrets give rise to.
#[derive(Default)]
pub(super) struct Findings {
    /// Secrets that others can read.
    pub(super) problems: Vec<Problem>,
    /// Secrets that the user of this process cannot read.
    pub(super) unreadable: Vec<Problem>,
    /// Secrets that would be better off elsewhere.
    pub(super) warnings: Vec<String>,
}

impl Findings {
    /// Takes those of another layer in.
    pub(super) fn add(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.unreadable.extend(other.unreadable);
        self.warnings.extend(other.warnings);
    }
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
        // It is there for the service alone; what connects says so.
        if credential::is_elsewhere(path) || name == "passfile" && path == Path::new("/dev/null") {
            continue;
        }
        let problem = |(message, help)| Problem {
            message,
            help: Some(help),
            ..layer.problem(&key(name), What::Value)
        };
        let file_mode = match name {
            "passfile" => FileMode::of_password_file,
            _ => FileMode::of,
        };
        match fault_of_file(path, name == "password_file", file_mode) {
            Some(fault) => findings.problems.push(problem(fault)),
            None => findings
                .unreadable
                .extend(unreadable(path, name == "passfile").map(problem)),
        }
    }
}

fn inline_password(layer: &Layer, key: &[String], findings: &mut Findings) {
    let setting = key.join(".");
    match &layer.origin {
        Origin::File {
            path,
            file_mode: Some(file_mode),
            ..
        } => findings.problems.push(Problem {
            message: format!(
                "a password is in {}, which others can read (mode {:04o})",
                path.display(),
                file_mode.mode
            ),
            help: Some(format!(
                "{}, or name a file or a systemd credential with password_file or credential",
                file_mode.closing_advice(path)
            )),
            ..layer.problem(key, What::Key)
        }),
        Origin::File { path, .. } => findings.warnings.push(format!(
            "{setting}: the password is in {}, which others cannot read as long as its mode stays so; \
             password_file or credential would keep it out of the configuration",
            path.display()
        )),
        Origin::Variable(name) => findings.warnings.push(format!(
            "{setting}: the password is in the environment variable {name}, which every child \
             process inherits; password_file or credential is safer"
        )),
        Origin::Defaults => {}
    }
}

/// What is wrong with a file that holds a password, and the way out.
fn fault_of_file(
    path: &Path,
    must_exist: bool,
    file_mode: fn(&Metadata) -> Option<FileMode>,
) -> Option<(String, String)> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Some((
            format!("{shown} is not a file"),
            "name a file that holds a password".to_owned(),
        )),
        Ok(found) => file_mode(&found).map(|file_mode| {
            (
                format!(
                    "{shown} holds a password and can be read by others (mode {:04o})",
                    file_mode.mode
                ),
                file_mode.closing_advice(path),
            )
        }),
        Err(error) if error.kind() == ErrorKind::NotFound && credential::name(path).is_some() => {
            Some((
                format!("there is no credential {shown}"),
                format!(
                    "the service's unit needs {}",
                    credential::loading(&credential::name(path).unwrap_or_default())
                ),
            ))
        }
        Err(error) if error.kind() == ErrorKind::NotFound && must_exist => Some((
            format!("there is no file {shown}"),
            format!(
                "{}, and type the password and the end of the input (Ctrl-D)",
                making_advice(path)
            ),
        )),
        Err(_) => None,
    }
}

/// That this process cannot read a file with a password: a fault where it is the service, and none where
/// somebody else uses the rest of the configuration.
fn unreadable(path: &Path, is_own: bool) -> Option<(String, String)> {
    let error = regular_file::open(path).err()?;
    if error.kind() != ErrorKind::PermissionDenied {
        return None;
    }
    let user = identity::user_name(rustix::process::geteuid().as_raw());
    let help = match path.metadata() {
        Ok(metadata) => opening_advice(path, &metadata, is_own),
        Err(_) => entering_advice(path),
    };
    Some((
        format!(
            "{} holds a password that {user} cannot read",
            path.display()
        ),
        help,
    ))
}
