//! How a server is reached: from the settings as written to a [`Connection`].

use secrecy::SecretString;

use super::conninfo;
use super::findings::{Findings, key};
use super::fragment::ConnectionFragment;
use super::layer::Key;
use super::nearest::nearest;
use super::plan::{Connection, PasswordSource};

/// A server's connection, written in `table`, and the database that its connection string names.
pub(super) fn connection(
    findings: &mut Findings<'_>,
    fragment: &ConnectionFragment,
    table: &[String],
) -> (Connection, Option<String>) {
    let at = |name: &str| [table, &key(&[name])].concat();
    let mut sources = Vec::new();
    let (mut text, mut dbname) = (None, None);
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
        if text.is_some() {
            let message = "both uri and conninfo are set".to_owned();
            findings.refuse_key(&at(name), message, Some("take one of them away".to_owned()));
            continue;
        }
        match conninfo::parse(value) {
            Ok(read) => {
                unknown_keywords(findings, &at(name), &read.keywords);
                if let Some(password) = read.password {
                    sources.push((
                        at(name),
                        PasswordSource::Inline(SecretString::from(password)),
                    ));
                }
                dbname = read.dbname;
                text = Some(read.without_password);
            }
            Err(message) => findings.refuse(&at(name), message, None),
        }
    }
    let password = password(findings, fragment, table, sources);
    let parameters = fragment.parameters();
    for keyword in parameters
        .iter()
        .filter(|(_, value)| value.contains('\0'))
        .map(|(k, _)| k)
    {
        findings.refuse(&at(keyword), "a NUL in it".to_owned(), None);
    }
    (
        Connection {
            conninfo: text,
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

fn unknown_keywords(findings: &mut Findings<'_>, at: &[String], keywords: &[String]) {
    for keyword in keywords {
        if !conninfo::KEYWORDS.contains(&keyword.as_str()) {
            // A mistyped string may hold a password where a keyword should be: only what looks
            // like a keyword is quoted.
            let hint = nearest(keyword, conninfo::KEYWORDS);
            let message = match hint {
                Some(_) => format!("libpq has no keyword {keyword:?}"),
                None => "a keyword in it is none of libpq's".to_owned(),
            };
            findings.refuse(
                at,
                message,
                hint.map(|right| format!("did you mean {right}?")),
            );
        }
    }
}
