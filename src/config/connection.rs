//! How a server is reached: from the settings as written to a [`Connection`].

use secrecy::SecretString;

use super::conninfo::keyword::{self, Treatment};
use super::conninfo::{self, Parameters};
use super::findings::{Findings, key};
use super::fragment::ConnectionFragment;
use super::layer::Key;
use super::plan::{Connection, PasswordSource};

/// A server's connection, written in `table`, and the database that its connection string names.
pub(super) fn connection(
    findings: &mut Findings<'_>,
    fragment: &ConnectionFragment,
    table: &[String],
) -> (Connection, Option<String>) {
    let at = |name: &str| [table, &key(&[name])].concat();
    let mut sources = Vec::new();
    let mut written = None;
    for (name, value) in [("uri", &fragment.uri), ("conninfo", &fragment.conninfo)] {
        let Some(value) = value else { continue };
        if name == "uri" && !conninfo::is_uri(value) {
            let message = "a URI begins with postgresql:// or postgres://".to_owned();
            findings.refuse(
                &at(name),
                message,
                Some("keywords belong in conninfo".to_owned()),
            );
            continue;
        }
        if written.is_some() {
            let message = "both uri and conninfo are set".to_owned();
            findings.refuse_key(&at(name), message, Some("remove one of them".to_owned()));
            continue;
        }
        match conninfo::parse(value) {
            Ok(read) => {
                refuse_what_cannot_be_followed(findings, &at(name), &read.parameters);
                if let Some(password) = read.password {
                    let secret = SecretString::from(password);
                    sources.push((at(name), PasswordSource::Inline(secret)));
                }
                written = Some(read.parameters);
            }
            Err(error) => findings.refuse(&at(name), error.to_string(), error.hint()),
        }
    }
    let mut parameters = written.unwrap_or_default();
    let dbname = parameters
        .get("dbname")
        .filter(|name| !name.is_empty())
        .cloned();
    let password = password(findings, fragment, table, sources);
    let own = fragment.parameters();
    for keyword in own
        .iter()
        .filter(|(_, value)| value.contains('\0'))
        .map(|(k, _)| k)
    {
        findings.refuse(&at(keyword), "a NUL in it".to_owned(), None);
    }
    parameters.extend(own);
    (
        Connection {
            parameters,
            password,
        },
        dbname,
    )
}

/// Where the password comes from: one of these connection strings, or a setting of its own.
fn password(
    findings: &mut Findings<'_>,
    fragment: &ConnectionFragment,
    table: &[String],
    mut sources: Vec<(Key, PasswordSource)>,
) -> Option<PasswordSource> {
    let at = |name: &str| [table, &key(&[name])].concat();
    if let Some(password) = &fragment.password {
        let secret = SecretString::from(password.clone());
        sources.push((at("password"), PasswordSource::Inline(secret)));
    }
    if let Some(path) = &fragment.password_file {
        sources.push((at("password_file"), PasswordSource::File(path.0.clone())));
    }
    if let Some(name) = &fragment.credential {
        sources.push((at("credential"), PasswordSource::Credential(name.0.clone())));
    }
    if let [(first, _), (second, _), ..] = sources.as_slice() {
        let message = format!("the password comes from {} too", first.join("."));
        findings.refuse_key(second, message, Some("leave one of them".to_owned()));
    }
    sources.into_iter().next().map(|(_, source)| source)
}

/// Refuses the parameters of a connection string that our own connection cannot follow.
fn refuse_what_cannot_be_followed(
    findings: &mut Findings<'_>,
    at: &[String],
    parameters: &Parameters,
) {
    for name in parameters.keys() {
        if let Some(Treatment::Refused(instead)) = keyword::find(name).map(|one| one.treatment) {
            findings.refuse(at, format!("{name}: {instead}"), None);
        }
    }
}
