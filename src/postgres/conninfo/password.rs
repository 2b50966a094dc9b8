//! Where the password comes from: files of ours, systemd's credentials, and libpq's password file.
//!
//! A file that others can read is refused, not skipped: libpq skips such a password file with a
//! warning, and the operator then hunts for a wrong password.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::config::PasswordSource;
use crate::secret_file::{FileMode, entering_advice, making_advice, opening_advice};
use crate::{credential, identity};

/// Why a password cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// A file with a password cannot be read.
    #[error("cannot read the password file {}: {cause}{}", path.display(), unreadable_advice(path, cause, *.is_own))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
        /// Whether it is one of libpq's form, which has to be the reader's own.
        is_own: bool,
    },
    /// Others can read it.
    #[error(
        "the password file {} can be read by others (mode {mode:04o})\nhint: {closing_advice}",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What closes it.
        closing_advice: String,
    },
    /// There is nothing in it, or what is in it is no text.
    #[error("the first line of the password file {} is empty or not UTF-8 text", path.display())]
    NoText {
        /// The file.
        path: PathBuf,
    },
    /// systemd gave us no credentials.
    #[error(
        "the password is the credential {name:?}, which {}",
        credential::missing(name, || format!(
            "{}{}",
            if *.is_file {
                format!("write credential = {name:?} in place of password_file, and by hand ")
            } else {
                "by hand, ".to_owned()
            },
            identity::in_shell_of_root(&identity::with_credential(name))
        ))
    )]
    NoCredentials {
        /// The credential's name.
        name: String,
        /// Whether the configuration names it as a file.
        is_file: bool,
    },
    /// A name that would lead out of the directory of credentials.
    #[error("{name:?} is not the name of a systemd credential: use letters, digits, - _ and .")]
    BadCredentialName {
        /// The name.
        name: String,
    },
}

/// The password from the place that the configuration names.
pub(super) fn configured(
    source: &PasswordSource,
    environment: &BTreeMap<String, String>,
) -> Result<SecretString, PasswordError> {
    match source {
        PasswordSource::Inline(password) => Ok(password.clone()),
        PasswordSource::File(path) => {
            if credential::is_elsewhere(path) {
                return Err(PasswordError::NoCredentials {
                    name: credential::name(path).unwrap_or_default(),
                    is_file: true,
                });
            }
            refuse_exposed(path)?;
            first_line(path)
        }
        PasswordSource::Credential(name) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
                return Err(PasswordError::BadCredentialName { name: name.clone() });
            }
            let given = credential::given(name, environment.get(credential::VARIABLE));
            let given = given.ok_or_else(|| PasswordError::NoCredentials {
                name: name.clone(),
                is_file: false,
            })?;
            // systemd alone decides who can read its directory; the files' modes say little.
            first_line(&given)
        }
    }
}

fn first_line(path: &Path) -> Result<SecretString, PasswordError> {
    let bytes = read(path)?;
    let line = bytes
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok(text) if !text.is_empty() => Ok(SecretString::from(text)),
        _ => Err(PasswordError::NoText {
            path: path.to_owned(),
        }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PasswordError> {
    crate::regular_file::read_by_hand(path).map_err(|cause| PasswordError::Unreadable {
        path: path.to_owned(),
        cause,
        is_own: false,
    })
}

/// The way to a file that can be read; begins with a line break.
fn unreadable_advice(path: &Path, cause: &std::io::Error, is_own: bool) -> String {
    let advice = match (cause.kind(), path.metadata()) {
        (ErrorKind::PermissionDenied, Ok(metadata)) => opening_advice(path, &metadata, is_own),
        (ErrorKind::PermissionDenied, Err(_)) => entering_advice(path),
        (ErrorKind::NotFound, _) => {
            let content = if is_own {
                "lines HOST:PORT:DATABASE:USER:PASSWORD"
            } else {
                "the password"
            };
            format!(
                "{}, and type {content} and the end of the input (Ctrl-D)",
                making_advice(path)
            )
        }
        _ => return String::new(),
    };
    format!("\nhint: {advice}")
}

fn refuse_exposed(path: &Path) -> Result<(), PasswordError> {
    let metadata = fs::metadata(path).map_err(|cause| PasswordError::Unreadable {
        path: path.to_owned(),
        cause,
        is_own: false,
    })?;
    refuse(path, FileMode::of(&metadata))
}

fn refuse(path: &Path, file_mode: Option<FileMode>) -> Result<(), PasswordError> {
    match file_mode {
        None => Ok(()),
        Some(file_mode) => Err(PasswordError::Exposed {
            path: path.to_owned(),
            mode: file_mode.mode,
            closing_advice: file_mode.closing_advice(path),
        }),
    }
}

/// libpq's password file, read once and asked for each host.
#[derive(Debug, Default)]
pub(super) struct PasswordFile {
    text: Option<SecretString>,
    /// Where it is, or would be.
    path: Option<PathBuf>,
    standing: Standing,
}

/// What there is under a password file's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    /// Nothing, or nothing that concerns this user.
    #[default]
    Absent,
    /// What is no file, such as `/dev/null`: no password is wanted from it.
    None,
    /// A file.
    Read,
}

/// Whom a password is for: the four fields of a line in a password file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Login<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

impl PasswordFile {
    /// Opens it. One that is not there, that is somebody else's, or that is no regular file
    /// (`/dev/null`), counts as empty as in libpq, unless the configuration names it: then it has to
    /// exist.
    pub(super) fn open(path: &Path, has_to_exist: bool) -> Result<Self, PasswordError> {
        let without = |standing| Self {
            text: None,
            path: Some(path.to_owned()),
            standing,
        };
        let unreadable = |cause| PasswordError::Unreadable {
            path: path.to_owned(),
            cause,
            is_own: true,
        };
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => {
                refuse(path, FileMode::of_password_file(&metadata))?;
            }
            Ok(_) => return Ok(without(Standing::None)),
            Err(error) if !has_to_exist && is_absent(&error) => {
                return Ok(without(Standing::Absent));
            }
            Err(cause) => return Err(unreadable(cause)),
        }
        let text = match crate::regular_file::read_by_hand(path) {
            Err(cause) if !has_to_exist && is_absent(&cause) => {
                return Ok(without(Standing::Absent));
            }
            text => text.map_err(unreadable)?,
        };
        match String::from_utf8(text) {
            Ok(text) => Ok(Self {
                text: Some(text.into()),
                ..without(Standing::Read)
            }),
            Err(_) => Err(PasswordError::NoText {
                path: path.to_owned(),
            }),
        }
    }

    /// Why it has no password for a login, as the middle of a sentence of which the other way out is the
    /// end; none where no such file is wanted.
    pub(super) fn lack(&self, login: Login<'_>) -> Option<String> {
        let path = self.path.as_ref()?.display();
        let fields = [
            host_in_file(login.host),
            &login.port.to_string(),
            login.database,
            login.user,
        ]
        .map(escaped);
        let line = fields.join(":");
        match self.standing {
            Standing::None => None,
            Standing::Absent => Some(format!(
                "none is configured, and the password file {path} does not exist or belongs to another \
                 user: "
            )),
            Standing::Read => Some(format!(
                "no line of the password file {path} matches {line}: add the line {line}:PASSWORD, or "
            )),
        }
    }

    /// The password of the first line that fits.
    pub(super) fn password(&self, login: Login<'_>) -> Option<SecretString> {
        use secrecy::ExposeSecret as _;
        let text = self.text.as_ref()?;
        text.expose_secret()
            .lines()
            .find_map(|line| password_in_line(line, login))
            .map(SecretString::from)
    }
}

/// Whether libpq would go on without it. Root's own file does not concern whom root has become by
/// `sudo` or `setpriv` and who still has root's `HOME`.
fn is_absent(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied
    )
}

/// `host:port:database:user:password`; `*` alone in a field fits all, a backslash makes the next
/// character an ordinary one.
fn password_in_line(line: &str, login: Login<'_>) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let port = login.port.to_string();
    let mut rest = line;
    for wanted in [host_in_file(login.host), &port, login.database, login.user] {
        let (field, any, tail) = field(rest)?;
        if !any && field != wanted {
            return None;
        }
        rest = tail;
    }
    let password = unescape(rest);
    (!password.is_empty()).then_some(password)
}

/// A socket in libpq's default directory goes by `localhost`; any other by its directory.
fn host_in_file(host: &str) -> &str {
    match host {
        "" | "/var/run/postgresql" | "/tmp" => "localhost",
        host => host,
    }
}

/// The first field without its escapes, whether it is `*`, and what follows its colon.
fn field(text: &str) -> Option<(String, bool, &str)> {
    let mut escaped = false;
    let end = text.find(|c| {
        let ends = c == ':' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    Some((
        unescape(&text[..end]),
        &text[..end] == "*",
        &text[end + 1..],
    ))
}

/// A field as a line has it.
fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escape = matches!(c, ':' | '\\').then_some('\\');
            escape.into_iter().chain([c])
        })
        .collect()
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use secrecy::ExposeSecret;

    use super::*;

    const LOGIN: Login<'_> = Login {
        host: "db",
        port: 5432,
        database: "a:b",
        user: r"u\x",
    };

    fn file(directory: &Path, content: &[u8], mode: u32) -> PathBuf {
        let path = directory.join(format!("file-{mode:o}"));
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_line_of_the_password_file_fits_as_in_libpq() {
        let table = [
            (r"db:5432:a\:b:u\\x:secret", Some("secret")),
            ("*:*:*:*:secret", Some("secret")),
            (r"*:*:*:*:se\:cr\\et", Some(r"se:cr\et")),
            ("*:*:*:*:with:colons", Some("with:colons")),
            (r"\*:*:*:*:secret", None),
            ("db:5433:*:*:secret", None),
            ("d:*:*:*:secret", None),
            ("db*:*:*:*:secret", None),
            ("*:*:a:*:secret", None),
            ("*:*:*:secret", None),
            ("*:*:*:*:", None),
            ("#*:*:*:*:secret", None),
            ("", None),
        ];
        for (line, expected) in table {
            assert_eq!(
                password_in_line(line, LOGIN).as_deref(),
                expected,
                "{line:?}"
            );
        }
    }

    #[test]
    fn a_socket_in_the_default_directory_goes_by_localhost() {
        let ask = |line: &str, host: &str| {
            let login = Login { host, ..LOGIN };
            password_in_line(line, login).is_some()
        };
        assert!(ask("localhost:*:*:*:x", "/var/run/postgresql"));
        assert!(ask("localhost:*:*:*:x", "/tmp"));
        assert!(ask("/srv/pg:*:*:*:x", "/srv/pg"));
        assert!(!ask("localhost:*:*:*:x", "/srv/pg"));
    }

    #[test]
    fn a_password_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o604, 0o620, 0o666] {
            let path = file(directory.path(), b"*:*:*:*:secret\n", mode);
            let by_libpq = PasswordFile::open(&path, false);
            assert!(
                matches!(by_libpq, Err(PasswordError::Exposed { .. })),
                "{mode:o}"
            );
            let by_us = configured(&PasswordSource::File(path), &BTreeMap::new());
            assert!(
                matches!(by_us, Err(PasswordError::Exposed { .. })),
                "{mode:o}"
            );
        }
    }

    #[test]
    fn the_first_line_of_a_closed_file_is_the_password() {
        let directory = tempfile::tempdir().unwrap();
        for (content, expected) in [
            (&b"secret\nmore"[..], Some("secret")),
            (b"se cret \r\n", Some("se cret ")),
            (b"", None),
            (b"\nsecret", None),
            (b"\xff\n", None),
        ] {
            let path = file(directory.path(), content, 0o600);
            let password = configured(&PasswordSource::File(path), &BTreeMap::new());
            let shown = password.as_ref().ok().map(ExposeSecret::expose_secret);
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn a_credential_is_a_file_in_systemds_directory_whatever_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        file(directory.path(), b"secret\n", 0o444);
        let environment = BTreeMap::from([(
            "CREDENTIALS_DIRECTORY".to_owned(),
            directory.path().display().to_string(),
        )]);
        let get = |name: &str, environment: &BTreeMap<String, String>| {
            configured(&PasswordSource::Credential(name.to_owned()), environment)
        };
        let password = get("file-444", &environment).unwrap();
        assert_eq!(password.expose_secret(), "secret");
        for name in ["../file-444", "..", "", "a/b"] {
            let refused = get(name, &environment);
            assert!(
                matches!(refused, Err(PasswordError::BadCredentialName { .. })),
                "{name:?}"
            );
        }
        let none = get("file-444", &BTreeMap::new());
        assert!(matches!(none, Err(PasswordError::NoCredentials { .. })));
    }

    #[test]
    fn a_missing_password_file_is_an_error_only_when_the_configuration_names_it() {
        let path = Path::new("/dev/null/.pgpass");
        assert!(PasswordFile::open(path, false).is_ok());
        assert!(PasswordFile::open(path, true).is_err());
    }
}
