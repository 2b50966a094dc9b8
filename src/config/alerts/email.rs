//! A channel of mail.

use std::net::IpAddr;

use lettre::message::Mailbox;

use super::{Findings, Written, file_or_credential, only_source};
use crate::config::plan::{EmailChannel, PasswordSource, SmtpTls};

/// Where mail goes if nothing is said.
const THIS_MACHINE: &str = "localhost";

pub(super) fn email(findings: &mut Findings<'_>, written: &Written<'_>) -> Option<EmailChannel> {
    let fragment = written.fragment;
    let to = recipients(findings, written);
    let from = if let Some(from) = &fragment.from {
        address(findings, &written.key("from"), from)
    } else {
        let way = "write from = \"pgbackupd@example.org\"".to_owned();
        let message = "the mail has no sender".to_owned();
        findings.refuse_key(&written.table, message, Some(way));
        None
    };
    let server = server(findings, written);
    let login = login(findings, written);
    let (host, port) = server?;
    let tls = tls(findings, written, (&host, port), login.is_some())?;
    Some(EmailChannel {
        to: to?,
        from: from?,
        port: port.unwrap_or(match tls {
            SmtpTls::StartTls => 587,
            SmtpTls::Tls => 465,
            SmtpTls::None => 25,
        }),
        host,
        tls,
        login,
        ca_file: fragment.ca_file.clone().map(|path| path.0),
    })
}

fn recipients(findings: &mut Findings<'_>, written: &Written<'_>) -> Option<Vec<String>> {
    let Some(to) = written.fragment.to.as_ref().filter(|to| !to.is_empty()) else {
        let way = "write to = [\"dba@example.org\"]".to_owned();
        let message = "the mail has no recipient".to_owned();
        findings.refuse_key(&written.table, message, Some(way));
        return None;
    };
    let mut sound = Vec::new();
    for (index, one) in to.iter().enumerate() {
        let at = [written.key("to"), vec![index.to_string()]].concat();
        sound.extend(address(findings, &at, one));
    }
    Some(sound)
}

/// An address as it is written, if it is one.
fn address(findings: &mut Findings<'_>, at: &[String], text: &str) -> Option<String> {
    if text.parse::<Mailbox>().is_ok() && !text.contains(char::is_control) {
        return Some(text.to_owned());
    }
    let way = "write \"dba@example.org\" or \"The DBAs <dba@example.org>\"".to_owned();
    findings.refuse(at, format!("invalid mail address {text:?}"), Some(way));
    None
}

/// The server's host and port, as HOST, HOST:PORT or `[ADDRESS]:PORT`.
fn server(findings: &mut Findings<'_>, written: &Written<'_>) -> Option<(String, Option<u16>)> {
    let Some(text) = &written.fragment.smtp else {
        return Some((THIS_MACHINE.to_owned(), None));
    };
    let found = split(text);
    if found.is_none() {
        let way = "write \"mail.example.org:587\", \"192.0.2.7:25\" or \"[2001:db8::1]:25\"";
        let message = format!("invalid server {text:?}");
        findings.refuse(&written.key("smtp"), message, Some(way.to_owned()));
    }
    found
}

fn split(text: &str) -> Option<(String, Option<u16>)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text.to_owned(), None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port != 0)?)),
        None => (text, None),
    };
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    match bracketed {
        Some(address) => {
            address.parse::<IpAddr>().ok()?;
            Some((address.to_owned(), port))
        }
        None if !host.is_empty() && host.bytes().all(is_sound) => Some((host.to_owned(), port)),
        None => None,
    }
}

fn login(findings: &mut Findings<'_>, written: &Written<'_>) -> Option<(String, PasswordSource)> {
    let sources = file_or_credential(written, "password_file");
    let source = only_source(findings, written, sources);
    match (&written.fragment.user, source) {
        (Some(user), Some(source)) => Some((user.clone(), source)),
        (Some(_), None) => {
            let way = "name a file or a systemd credential with password_file or credential";
            let message = "the user has no password".to_owned();
            findings.refuse_key(&written.key("user"), message, Some(way.to_owned()));
            None
        }
        (None, Some(_)) => {
            let way = "write user = \"NAME\", or remove the password".to_owned();
            let message = "there is a password, and no user".to_owned();
            findings.refuse_key(&written.table, message, Some(way));
            None
        }
        (None, None) => None,
    }
}

/// How the connection is protected. By default: not at all to this machine, by TLS at port 465, and by
/// STARTTLS elsewhere.
fn tls(
    findings: &mut Findings<'_>,
    written: &Written<'_>,
    (host, port): (&str, Option<u16>),
    has_login: bool,
) -> Option<SmtpTls> {
    let usual = match port {
        Some(465) => SmtpTls::Tls,
        Some(25) | None if is_this_machine(host) && !has_login => SmtpTls::None,
        _ => SmtpTls::StartTls,
    };
    let tls = written.fragment.tls.map_or(usual, |word| word.0);
    if tls == SmtpTls::None && !is_this_machine(host) {
        findings.refuse(
            &written.key("tls"),
            format!("mail to {host} would cross the network in the clear"),
            Some("write tls = \"starttls\" or \"tls\"; \"none\" is for localhost".to_owned()),
        );
        return None;
    }
    Some(tls)
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case(THIS_MACHINE)
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_server_is_a_host_with_a_port_or_without() {
        for (text, expected) in [
            ("localhost", Some(("localhost", None))),
            (
                "mail.example.org:587",
                Some(("mail.example.org", Some(587))),
            ),
            ("192.0.2.7:25", Some(("192.0.2.7", Some(25)))),
            ("::1", Some(("::1", None))),
            ("[2001:db8::1]:25", Some(("2001:db8::1", Some(25)))),
            ("smtp://mail.example.org", None),
            ("mail.example.org:0", None),
            ("mail.example.org:mail", None),
            (":25", None),
            ("", None),
            ("a b", None),
        ] {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(split(text), expected, "{text}");
        }
    }
}
