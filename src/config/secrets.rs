//! Where secrets stand, and whether others could read them there.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::path::Path;

use secrecy::zeroize::Zeroizing;
use serde_json::Value;

use super::conninfo;
use super::fragment::{AlertFragment, ConnectionFragment, Fragment};
use super::layer::{Layer, Origin};
use super::problem::Problem;
use super::problem::What;
use super::scalar::is_connection_string;
use super::{address, findings};
use crate::age_identities::{Identities, IdentityError};
use crate::credential;
use crate::identity;
use crate::recipient::Recipient;
use crate::regular_file;
use crate::secret_file::{
    FileMode, entering_advice, key_making_advice, making_advice, opening_advice,
};
use crate::ssh_private_key::{KeyFault, KeyUse};

/// What a layer's secrets give rise to.
#[derive(Default)]
pub(super) struct Findings {
    /// Secrets in the configuration that others can read.
    pub(super) problems: Vec<Problem>,
    /// Files with secrets that are missing, that others can read, or that hold something else: what needs one
    /// fails, and nothing else.
    pub(super) unusable: Vec<Problem>,
    /// Secrets that the user of this process cannot read.
    pub(super) unreadable: Vec<Problem>,
    /// Secrets that would be better off elsewhere.
    pub(super) warnings: Vec<String>,
    /// The recipients of the identity of drills, if a file of it is named: none where it could not be read.
    pub(super) opened_by_drills: Option<Vec<Recipient>>,
}

impl Findings {
    /// Takes those of a later layer in.
    pub(super) fn add(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.unusable.extend(other.unusable);
        self.unreadable.extend(other.unreadable);
        self.warnings.extend(other.warnings);
        self.opened_by_drills = other.opened_by_drills.or(self.opened_by_drills.take());
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
    if let Some(path) = &fragment.drill.identity_file {
        let key = findings::key(&["drill", "identity_file"]);
        drill_identity(layer, &key, &path.0, &mut findings);
    }
    for (name, server) in &fragment.servers {
        let key = ["servers".to_owned(), name.clone(), "connection".to_owned()];
        connection(layer, &key, &server.connection, &mut findings);
    }
    for (name, channel) in &fragment.alerts {
        let table = ["alerts".to_owned(), name.clone()];
        alerts(layer, &table, channel, &mut findings);
    }
    for (name, destination) in &fragment.destinations {
        let key = |setting| findings::key(&["destinations", name, setting]);
        if let Some(path) = &destination.secret_key_file
            && !credential::is_elsewhere(&path.0)
        {
            let key = key("secret_key_file");
            file(layer, &key, (&path.0, FileMode::of), &mut findings);
        }
        if let Some(path) = &destination.identity_file {
            let key = key("identity_file");
            private_key(layer, &key, (&path.0, KeyUse::LogIn), &mut findings);
        }
    }
    if let Some(path) = &fragment.encryption.signer_file {
        let key = findings::key(&["encryption", "signer_file"]);
        private_key(layer, &key, (&path.0, KeyUse::Sign), &mut findings);
    }
    findings
}

/// Looks at a channel of alerts: addresses and headers that stand in the configuration, and files.
fn alerts(layer: &Layer, table: &[String], channel: &AlertFragment, findings: &mut Findings) {
    let key = |levels: &[&str]| [table, &findings::key(levels)].concat();
    if channel.url.as_deref().is_some_and(address::is_secret) {
        inline_secret(
            layer,
            &key(&["url"]),
            ("an address that is a secret", "url_file or credential"),
            findings,
        );
    }
    for name in channel.headers.iter().flat_map(|headers| headers.keys()) {
        if is_secret_header(name) {
            inline_secret(
                layer,
                &key(&["headers", name]),
                ("a header that is a secret", "headers_file"),
                findings,
            );
        }
    }
    for (name, path) in [
        ("password_file", &channel.password_file),
        ("url_file", &channel.url_file),
        ("headers_file", &channel.headers_file),
    ] {
        let Some(path) = path.as_ref().map(|path| path.0.as_path()) else {
            continue;
        };
        if !credential::is_elsewhere(path) {
            file(layer, &key(&[name]), (path, FileMode::of), findings);
        }
    }
}

/// Whether the value of a header of this name lets its sender in.
fn is_secret_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["auth", "token", "key", "secret", "cookie"]
        .iter()
        .any(|word| name.contains(word))
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
    strings_in_place_of_names(layer, table, connection, findings);
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
        let file_mode = match name {
            "passfile" => FileMode::of_password_file,
            _ => FileMode::of,
        };
        file(layer, &key(name), (path, file_mode), findings);
    }
}

/// Looks at a file with a secret: whether it is there, others can read it, and this process can.
fn file(
    layer: &Layer,
    key: &[String],
    (path, file_mode): (&Path, fn(&Metadata) -> Option<FileMode>),
    findings: &mut Findings,
) {
    let is_own = key.last().is_some_and(|name| name == "passfile");
    if let Some(fault) = fault_of_file(path, !is_own, file_mode) {
        findings.unusable.push(problem(layer, key, fault));
    } else {
        let found = unreadable(path, is_own);
        let found = found.map(|fault| problem(layer, key, fault));
        findings.unreadable.extend(found);
    }
}

/// Looks at a file with a private key of OpenSSH's, as far as this process can read it: also whether it holds one.
fn private_key(
    layer: &Layer,
    key: &[String],
    (path, purpose): (&Path, KeyUse),
    findings: &mut Findings,
) {
    if credential::is_elsewhere(path) {
        return;
    }
    let content = content(path);
    if let Err(error) = &content
        && error.kind() == ErrorKind::NotFound
        && credential::name(path).is_none()
    {
        let message = format!("there is no file {}", path.display());
        let fault = (message, key_making_advice(path));
        findings.unusable.push(problem(layer, key, fault));
        return;
    }
    // What is no text is no key.
    let fault = content.ok().and_then(|content| {
        let text = std::str::from_utf8(&content).unwrap_or_default();
        KeyFault::of(text, purpose)
    });
    let is_public = fault == Some(KeyFault::Public);
    let shown = path.display();
    let fault = fault.map(|fault| (format!("{shown} {fault}"), fault.hint().to_owned()));
    file_with_fault(layer, key, (path, is_public, fault), findings);
}

/// Looks at the file with the identity that opens backups for drills, as far as this process can read it.
fn drill_identity(layer: &Layer, key: &[String], path: &Path, findings: &mut Findings) {
    findings.opened_by_drills = Some(Vec::new());
    if credential::is_elsewhere(path) {
        return;
    }
    let identities = content(path)
        .ok()
        .map(|text| Identities::read_unattended(&text));
    let error = match identities.transpose() {
        Ok(identities) => {
            let recipients = identities.iter().flat_map(Identities::recipients);
            findings.opened_by_drills = Some(recipients.cloned().collect());
            None
        }
        Err(error) => Some(error),
    };
    let is_public = error == Some(IdentityError::Public);
    let fault = error.map(|error| {
        let shown = format!("the identity in {} cannot be used: {error}", path.display());
        match shown.split_once("\nhint: ") {
            Some((message, hint)) => (message.to_owned(), hint.to_owned()),
            None => (
                shown,
                "make one: `pgbackupd key generate --output FILE`, and add its recipient"
                    .to_owned(),
            ),
        }
    });
    file_with_fault(layer, key, (path, is_public, fault), findings);
}

/// What is wrong with the file that a setting names, and the way out.
fn problem(layer: &Layer, key: &[String], (message, help): (String, String)) -> Problem {
    Problem {
        message,
        help: Some(help),
        ..layer.problem(key, What::Value)
    }
}

/// What a file with a key holds.
fn content(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    regular_file::read_by_hand(path).map(Zeroizing::new)
}

/// Looks at a file with a key as at any file with a secret, and notes what is wrong with its content unless the
/// file itself is what is wrong. Everybody may read a public key.
fn file_with_fault(
    layer: &Layer,
    key: &[String],
    (path, is_public, fault): (&Path, bool, Option<(String, String)>),
    findings: &mut Findings,
) {
    let before = findings.unusable.len();
    if !is_public {
        file(layer, key, (path, FileMode::of), findings);
    }
    if let Some(fault) = fault.filter(|_| findings.unusable.len() == before) {
        findings.unusable.push(problem(layer, key, fault));
    }
}

/// Refuses connection strings with a password in what names a host, a role and so on, which every message
/// about the connection would show. `options` may have such words of an extension's own.
fn strings_in_place_of_names(
    layer: &Layer,
    table: &[String],
    connection: &ConnectionFragment,
    findings: &mut Findings,
) {
    let Ok(Value::Object(parameters)) = serde_json::to_value(connection) else {
        return;
    };
    for (name, value) in parameters {
        if name != "options" && value.as_str().is_some_and(is_connection_string) {
            findings.problems.push(Problem {
                message: "this is a connection string with a password".to_owned(),
                help: Some(format!(
                    "set it as uri or conninfo in [{}]",
                    table.join(".")
                )),
                ..layer.problem(&[table, &[name]].concat(), What::Value)
            });
        }
    }
}

fn inline_password(layer: &Layer, key: &[String], findings: &mut Findings) {
    let what = ("a password", "password_file or credential");
    inline_secret(layer, key, what, findings);
    let setting = key.join(".");
    match &layer.origin {
        Origin::File {
            path,
            file_mode: None,
            ..
        } => findings.warnings.push(format!(
            "{setting}: the password is in {}, which others cannot read as long as its mode stays so; \
             password_file or credential would keep it out of the configuration",
            path.display()
        )),
        Origin::Variable(name) => findings.warnings.push(format!(
            "{setting}: the password is in the environment variable {name}, which every child \
             process inherits; password_file or credential is safer"
        )),
        Origin::File { .. } | Origin::Defaults => {}
    }
}

/// Refuses a secret in a file that others can read, where `elsewhere` would keep it.
fn inline_secret(
    layer: &Layer,
    key: &[String],
    (what, elsewhere): (&str, &str),
    findings: &mut Findings,
) {
    if let Origin::File {
        path,
        file_mode: Some(file_mode),
        ..
    } = &layer.origin
    {
        findings.problems.push(Problem {
            message: format!(
                "{what} is in {}, which others can read (mode {:04o})",
                path.display(),
                file_mode.mode
            ),
            help: Some(format!(
                "{}, or name a file or a systemd credential with {elsewhere}",
                file_mode.closing_advice(path)
            )),
            ..layer.problem(key, What::Key)
        });
    }
}

/// What is wrong with a file that holds a secret, and the way out.
fn fault_of_file(
    path: &Path,
    must_exist: bool,
    file_mode: fn(&Metadata) -> Option<FileMode>,
) -> Option<(String, String)> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Some((
            format!("{shown} is not a file"),
            "name a file that holds a secret".to_owned(),
        )),
        Ok(found) if found.len() > regular_file::LONGEST_BY_HAND => Some((
            format!("{shown} is {}", regular_file::TOO_LONG),
            "name a file that holds a secret, and nothing else".to_owned(),
        )),
        Ok(found) => file_mode(&found).map(|file_mode| {
            (
                format!(
                    "{shown} holds a secret and can be read by others (mode {:04o})",
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
                "{}, and type the secret and the end of the input (Ctrl-D)",
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
        format!("{} holds a secret that {user} cannot read", path.display()),
        help,
    ))
}
