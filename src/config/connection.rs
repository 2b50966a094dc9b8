//! How a server is reached: from the settings as written to a [`Connection`].

use secrecy::SecretString;

use super::check::Check;
use super::conninfo;
use super::layer::Key;
use super::nearest::nearest;
use super::plan::{Connection, PasswordSource};
use super::servers::Written;

/// A server's connection, and the database that its connection string names.
pub(super) fn connection(
    check: &mut Check<'_>,
    written: &Written<'_>,
) -> (Connection, Option<String>) {
    let fragment = written.connection;
    let at = |name: &str| written.key(&["connection", name]);
    let mut sources = Vec::new();
    let (mut text, mut dbname) = (None, None);
    for (name, value) in [("uri", &fragment.uri), ("conninfo", &fragment.conninfo)] {
        let Some(value) = value else { continue };
        if name == "uri" && !conninfo::is_uri(value) {
            let message = "a URI begins with postgresql:// or postgres://".to_owned();
            check.refuse(
                &at(name),
                message,
                Some("keywords belong in conninfo".to_owned()),
            );
            continue;
        }
        if text.is_some() {
            let message = "both uri and conninfo are set".to_owned();
            check.refuse_key(&at(name), message, Some("take one of them away".to_owned()));
            continue;
        }
        match conninfo::parse(value) {
            Ok(read) => {
                unknown_keywords(check, &at(name), &read.keywords);
                if let Some(password) = read.password {
                    sources.push((
                        at(name),
                        PasswordSource::Inline(SecretString::from(password)),
                    ));
                }
                dbname = read.dbname;
                text = Some(read.without_password);
            }
            Err(message) => check.refuse(&at(name), message, None),
        }
    }
    let password = password(check, written, sources);
    let parameters = fragment.parameters();
    for keyword in parameters
        .iter()
        .filter(|(_, value)| value.contains('\0'))
        .map(|(k, _)| k)
    {
        check.refuse(&at(keyword), "a NUL in it".to_owned(), None);
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
    check: &mut Check<'_>,
    written: &Written<'_>,
    mut sources: Vec<(Key, PasswordSource)>,
) -> Option<PasswordSource> {
    let fragment = written.connection;
    let at = |name: &str| written.key(&["connection", name]);
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
        check.refuse_key(second, message, Some("leave one of them".to_owned()));
    }
    sources.into_iter().next().map(|(_, source)| source)
}

fn unknown_keywords(check: &mut Check<'_>, at: &[String], keywords: &[String]) {
    for keyword in keywords {
        if !conninfo::KEYWORDS.contains(&keyword.as_str()) {
            // A mistyped string may hold a password where a keyword should be: only what looks
            // like a keyword is quoted.
            let hint = nearest(keyword, conninfo::KEYWORDS);
            let message = match hint {
                Some(_) => format!("libpq has no keyword {keyword:?}"),
                None => "a keyword in it is none of libpq's".to_owned(),
            };
            check.refuse(
                at,
                message,
                hint.map(|right| format!("did you mean {right}?")),
            );
        }
    }
}
