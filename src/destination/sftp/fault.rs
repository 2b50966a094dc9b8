//! What goes wrong over SFTP, in words: what ssh says at its end, and what the server refuses.

use std::fmt::Write as _;

use super::packet::Status;
use crate::config::SftpSettings;
use crate::destination::error::{DestinationError, DestinationErrorKind};
use crate::destination::judgement::Judgement;
use crate::destination::pauses::Passing;
use crate::display::{one_line, shell_word};
use crate::identity::in_shell_of_root;

/// Something failed.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The connection is gone, or could not be made, for a reason that may pass.
    Lost(String),
    /// Nobody has answered within the time that an answer may take.
    Silent(String),
    /// A request was refused.
    Refused(Status),
    /// A directory that was there a moment ago is gone.
    Vanished,
    /// Our own judgement.
    Judged(DestinationErrorKind, String),
}

impl From<Judgement> for Fault {
    fn from((kind, cause): Judgement) -> Self {
        Self::Judged(kind, cause)
    }
}

impl Fault {
    /// Whether it is worth another attempt.
    pub(super) fn passing(&self) -> Passing {
        match self {
            Self::Lost(_) => Passing::Soon,
            Self::Silent(_) => Passing::Silence,
            Self::Refused(_) | Self::Vanished | Self::Judged(..) => Passing::Never,
        }
    }

    /// Whether the server says that there is no such name.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code == Status::MISSING)
    }

    /// The key has a part of the same bytes, which another put may be writing now.
    pub(super) fn partial(there: u64, wanted: usize) -> Self {
        Self::Judged(
            DestinationErrorKind::Exists,
            format!("{there} of its {wanted} bytes are there, of another put that may go on"),
        )
    }

    /// The same with what on the way was refused, which is not what is asked for.
    pub(super) fn of(self, what: &str) -> Self {
        let (kind, cause) = match self {
            Self::Refused(status) => refusal(&status),
            Self::Judged(kind, cause) => (kind, cause),
            fault => return fault,
        };
        Self::Judged(kind, format!("{what}: {cause}"))
    }

    /// The server's answer is to another question.
    pub(super) fn unexpected() -> Self {
        let message = "the server's answer is not one to this request".to_owned();
        Self::Judged(DestinationErrorKind::Damaged, message)
    }

    /// The error, with what was being done.
    pub(super) fn while_doing(self, doing: String) -> DestinationError {
        let (kind, cause) = match self {
            Self::Judged(kind, cause) => (kind, cause),
            Self::Lost(cause) | Self::Silent(cause) => (DestinationErrorKind::Unavailable, cause),
            Self::Vanished => (
                DestinationErrorKind::Unavailable,
                "its directory is being removed again and again".to_owned(),
            ),
            Self::Refused(status) => refusal(&status),
        };
        DestinationError { doing, kind, cause }
    }
}

/// What a refusal means where nothing else is known of it.
fn refusal(status: &Status) -> (DestinationErrorKind, String) {
    use DestinationErrorKind::{Denied, Exists, Full, Missing, Unavailable};
    let words = one_line(status.words());
    let (kind, hint) = match status.code {
        Status::MISSING => (Missing, ""),
        Status::DENIED => (
            Denied,
            "\nhint: let the account own the directory and what is in it; a server can also forbid single \
             requests",
        ),
        Status::WRITE_PROTECTED => (Denied, "\nhint: mount it for writing at the server"),
        Status::INVALID | Status::UNSUPPORTED => (Denied, ""),
        Status::EXISTS => (Exists, ""),
        Status::FULL => (Full, FREE_SPACE),
        Status::QUOTA => (Full, "\nhint: raise the quota, or keep fewer copies"),
        _ => (
            Unavailable,
            "\nhint: the server does not say why; look for a quota that is used up, and into its log",
        ),
    };
    (kind, format!("the server says {words:?}{hint}"))
}

/// The way out of a full disk.
pub(super) const FREE_SPACE: &str = "\nhint: free space there, or keep fewer copies";

/// What ssh's last words mean.
pub(super) fn of_ssh(said: &str, settings: &SftpSettings) -> Fault {
    use DestinationErrorKind::{Denied, Settings};
    let has = |text: &str| said.contains(text);
    let judged = |kind, cause| Fault::Judged(kind, cause);
    if has("REVOKED HOST KEY") {
        let cause = "the host key of the server is marked as revoked among the known ones\nhint: ask its \
                     administrator for a new one";
        return judged(Denied, cause.to_owned());
    }
    if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        return judged(Denied, changed_host_key(said, settings));
    }
    if has("host key is known for") || has("Host key verification failed") {
        return judged(Settings, unknown_host_key(said, settings));
    }
    let words = last_words(said);
    let with = |hint: &str| format!("ssh says {words:?}\nhint: {hint}");
    if has("subsystem request failed") {
        return judged(
            Denied,
            with("the server needs `Subsystem sftp internal-sftp` in its sshd_config"),
        );
    }
    // A key that cannot be read is no matter where another one is let in.
    if has("Load key ") && has("Permission denied (") {
        return judged(
            Settings,
            with("name a secret key of ssh's by identity_file or credential"),
        );
    }
    if has("Bad configuration option")
        || has("Bad owner or permissions on")
        || has("Can't open user config file")
        || has("bad configuration options")
    {
        return judged(Settings, words);
    }
    if has("Permission denied (") || has("Too many authentication failures") {
        return judged(Denied, with(&to_be_let_in(settings)));
    }
    if words.is_empty() {
        return Fault::Lost("the connection was closed".to_owned());
    }
    let cause = format!("ssh says {words:?}");
    if has("timed out") {
        return Fault::Silent(cause);
    }
    Fault::Lost(cause)
}

/// How the key is made known to the server.
fn to_be_let_in(settings: &SftpSettings) -> String {
    let account = settings.user.as_deref().unwrap_or("its account");
    match &settings.identity {
        Some(crate::config::PasswordSource::File(path)) => format!(
            "the account's authorized_keys at the server needs the line that `ssh-keygen -yf {}` prints",
            shell_word(&path.display().to_string())
        ),
        Some(_) => {
            format!("the public key of the credential belongs into authorized_keys of {account}")
        }
        None => "name a key by identity_file or credential, or with an address by SFTP_IDENTITY_FILE; the \
                 account's authorized_keys at the server needs its public key"
            .to_owned(),
    }
}

/// That nobody has vouched for the server's key.
fn unknown_host_key(said: &str, settings: &SftpSettings) -> String {
    let (host, port) = host_in(said).unwrap_or_else(|| {
        let port = settings.port.unwrap_or(22);
        (settings.host.clone(), port)
    });
    let scan = scan(&host, port);
    let file = known_hosts(settings);
    format!(
        "the host key of {host} is not known\nhint: `{scan} | tee host_keys | ssh-keygen -lf -` shows its \
         fingerprints; if the server's administrator gives the same, {}",
        in_shell_of_root(&format!("cat host_keys >>{file}"))
    )
}

/// That the server has another key than before.
fn changed_host_key(said: &str, settings: &SftpSettings) -> String {
    let fingerprint = said
        .split_whitespace()
        .find(|word| word.starts_with("SHA256:"))
        .map(|word| word.trim_end_matches('.'));
    let offending = said
        .lines()
        .find(|line| line.starts_with("Offending "))
        .and_then(|line| line.split_once(" key in "));
    let known = offending.and_then(|(_, place)| place.trim().rsplit_once(':'));
    let mut message = "the host key of the server is not the one that is known".to_owned();
    if let Some(fingerprint) = fingerprint {
        let _ = write!(message, ": it is {}", one_line(fingerprint));
    }
    if let Some((file, line)) = known {
        let (file, line) = (one_line(file), one_line(line));
        let _ = write!(message, ", and line {line} of {file} has another");
    }
    let (host, port) = removal_in(said).unwrap_or_else(|| {
        let port = settings.port.unwrap_or(22);
        (settings.host.clone(), port)
    });
    let name = if port == 22 {
        host.clone()
    } else {
        format!("[{host}]:{port}")
    };
    let file = known.map_or_else(|| known_hosts(settings), |(file, _)| shell_word(file));
    let _ = write!(
        message,
        "\nhint: somebody may be between this machine and the server; only if its administrator gives this \
         fingerprint, {}, and add the new key as if it were not known",
        in_shell_of_root(&format!("ssh-keygen -R {} -f {file}", shell_word(&name)))
    );
    message
}

/// Where the server's key belongs, for a shell.
fn known_hosts(settings: &SftpSettings) -> String {
    match &settings.known_hosts_file {
        Some(path) => shell_word(&path.display().to_string()),
        // ssh reads it for every user.
        None => "/etc/ssh/ssh_known_hosts".to_owned(),
    }
}

/// The command that asks a server for its keys.
fn scan(host: &str, port: u16) -> String {
    let host = shell_word(host);
    match port {
        22 => format!("ssh-keyscan {host}"),
        port => format!("ssh-keyscan -p {port} {host}"),
    }
}

/// The host and the port that ssh names as unknown: behind an alias of its configuration may be another.
fn host_in(said: &str) -> Option<(String, u16)> {
    let (_, behind) = said.split_once("host key is known for ")?;
    host_and_port(behind.split_whitespace().next()?)
}

/// Those of the command that ssh recommends for a key that has changed.
fn removal_in(said: &str) -> Option<(String, u16)> {
    let (_, behind) = said.split_once(" -R ")?;
    host_and_port(behind.split_whitespace().next()?.trim_matches(['"', '\'']))
}

fn host_and_port(text: &str) -> Option<(String, u16)> {
    let Some(rest) = text.strip_prefix('[') else {
        return Some((text.to_owned(), 22));
    };
    let (host, port) = rest.split_once("]:")?;
    Some((host.to_owned(), port.parse().ok()?))
}

/// What ssh said, in one line: the last is the reason, and those before may be warnings.
fn last_words(said: &str) -> String {
    let lines = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('@'));
    let lines: Vec<&str> = lines.collect();
    let last = lines.len().saturating_sub(3);
    one_line(&lines[last..].join("; "))
}

#[cfg(test)]
mod tests;
