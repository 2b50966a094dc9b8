//! A destination at an SFTP server: its address, and what ssh is given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reqwest::Url;

use super::Written;
use crate::config::findings::Findings;
use crate::config::plan::{PasswordSource, SftpSettings};
use crate::config::scalar::AbsolutePath;

/// How an address is written.
pub(super) const FORM: &str = "sftp://USER@HOST/PATH";

/// An account names longer than this in no system.
const LONGEST_USER: usize = 128;

/// Reads an address; an error does not show it. What ssh gets as a word of its own cannot be taken for an option,
/// nor for anything that it would replace or a shell would obey.
///
/// # Errors
/// It is no address of this kind.
pub(super) fn read(url: &Url) -> Result<SftpSettings, String> {
    if url.password().is_some() {
        return Err(
            "a password is in the address; sftp:// has keys: identity_file or credential"
                .to_owned(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("unexpected ? or # in the address: it names a directory only".to_owned());
    }
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    if host.is_empty() || host.starts_with('-') || !host.bytes().all(is_of_host) {
        return Err("sftp:// is followed by the name of a host".to_owned());
    }
    if url.port() == Some(0) {
        return Err("a port is a number from 1 to 65535".to_owned());
    }
    let user = percent_decoded(url.username());
    let user = user.filter(|user| {
        let is_of_user = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte);
        user.len() <= LONGEST_USER && !user.starts_with('-') && user.bytes().all(is_of_user)
    });
    let user = user.ok_or("a user is made of ASCII letters, digits, and . _ - + @")?;
    let path = percent_decoded(url.path());
    let path = path.filter(|path| !path.contains(|c: char| c.is_control() || c == '"'));
    let path = path.ok_or("a path is UTF-8, without quotation marks and control characters")?;
    Ok(SftpSettings {
        host: host.to_owned(),
        port: url.port(),
        user: (!user.is_empty()).then_some(user),
        path: directory(&path),
        identity: None,
        known_hosts_file: None,
        ssh_config_file: None,
    })
}

/// The directory of an address: behind `/~` it is below the one in which the server puts the account.
fn directory(path: &str) -> String {
    let is_absolute = path.starts_with('/') && path != "/~" && !path.starts_with("/~/");
    let path = if is_absolute {
        path
    } else {
        path.strip_prefix("/~").unwrap_or(path)
    };
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let segments: Vec<&str> = segments.collect();
    let joined = segments.join("/");
    if is_absolute {
        format!("/{joined}")
    } else {
        joined
    }
}

/// The settings behind an address.
pub(super) fn complete(
    findings: &mut Findings<'_>,
    written: &Written<'_>,
    address: SftpSettings,
) -> SftpSettings {
    let fragment = written.fragment;
    if fragment.identity_file.is_some() && fragment.credential.is_some() {
        findings.refuse_key(
            &written.key("credential"),
            "both identity_file and credential are set".to_owned(),
            Some("leave one of them".to_owned()),
        );
    }
    let path = |file: &Option<AbsolutePath>| file.as_ref().map(|path| path.0.clone());
    let files = [
        ("identity_file", path(&fragment.identity_file)),
        ("known_hosts_file", path(&fragment.known_hosts_file)),
        ("ssh_config_file", path(&fragment.ssh_config_file)),
    ];
    for (name, file) in &files {
        if file.as_deref().is_some_and(|path| !is_fit_for_ssh(path)) {
            findings.refuse(
                &written.key(name),
                "ssh cannot be given a path with \" $ \\ or control characters in it".to_owned(),
                Some("rename the file".to_owned()),
            );
        }
    }
    let [(_, identity), (_, known_hosts_file), (_, ssh_config_file)] = files;
    let credential = fragment.credential.as_ref();
    let credential = credential.map(|name| PasswordSource::Credential(name.0.clone()));
    SftpSettings {
        identity: identity.map(PasswordSource::File).or(credential),
        known_hosts_file,
        ssh_config_file,
        ..address
    }
}

/// The settings of an address alone, with what the environment adds.
///
/// # Errors
/// A variable names a file that ssh cannot be given.
pub(super) fn from_environment(
    address: SftpSettings,
    environment: &BTreeMap<String, String>,
) -> Result<SftpSettings, String> {
    let file = |name: &str| {
        let Some(path) = environment.get(name).filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        let path = PathBuf::from(path);
        if path.is_absolute() && is_fit_for_ssh(&path) {
            Ok(Some(path))
        } else {
            Err(format!(
                "{name} is not an absolute path that ssh can be given"
            ))
        }
    };
    Ok(SftpSettings {
        identity: file("SFTP_IDENTITY_FILE")?.map(PasswordSource::File),
        known_hosts_file: file("SFTP_KNOWN_HOSTS_FILE")?,
        ssh_config_file: file("SFTP_SSH_CONFIG_FILE")?,
        ..address
    })
}

/// Whether ssh reads a path as it is: it takes apart quotes, and replaces variables.
fn is_fit_for_ssh(path: &Path) -> bool {
    path.to_str()
        .is_some_and(|text| !text.contains(|c: char| "\"$\\".contains(c) || c.is_control()))
}

/// The text of a part of an address; none where it is not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let digit = |at: usize| char::from(*behind.get(at)?).to_digit(16);
        match digit(0).zip(digit(1)) {
            Some((high, low)) if *first == b'%' => {
                // Two digits make a byte.
                bytes.push(u8::try_from(high * 16 + low).ok()?);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<SftpSettings, String> {
        read(&text.parse().unwrap())
    }

    #[test]
    fn an_address_has_a_host_and_maybe_an_account_a_port_and_a_directory() {
        for (text, host, port, user, path) in [
            ("sftp://box", "box", None, None, ""),
            ("sftp://box/", "box", None, None, "/"),
            (
                "sftp://u1@box:23/srv//db/",
                "box",
                Some(23),
                Some("u1"),
                "/srv/db",
            ),
            (
                "sftp://a.b%40c@[::1]/~/my%20db",
                "::1",
                None,
                Some("a.b@c"),
                "my db",
            ),
            ("sftp://Storage_Box/~", "Storage_Box", None, None, ""),
            ("sftp://box/~other", "box", None, None, "/~other"),
            ("sftp://box/100%", "box", None, None, "/100%"),
        ] {
            let found = of(text).unwrap();
            let found = (
                found.host.as_str(),
                found.port,
                found.user.as_deref(),
                &*found.path,
            );
            assert_eq!(found, (host, port, user, path), "{text}");
        }
    }

    #[test]
    fn nothing_in_an_address_can_be_taken_for_an_option_or_a_command() {
        for text in [
            "sftp:///x",
            "sftp://-oProxyCommand=x/",
            "sftp://-F@box",
            "sftp://%2doProxyCommand@box/",
            "sftp://a%20b@box/",
            "sftp://$(id)@box/",
            "sftp://%25h@box/",
            "sftp://a;b@box/",
            "sftp://b%6fx;x/",
            "sftp://bo%20x/",
            "sftp://box/a%0ab",
            "sftp://box/a%22b",
            "sftp://box/%ff",
            "sftp://box/x?y",
            "sftp://u:hunter2@box/x",
        ] {
            let error = of(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn what_ssh_does_not_find_by_itself_is_named_by_variables() {
        let address = of("sftp://box/x").unwrap();
        let with = |value: &str| {
            let pair = ("SFTP_IDENTITY_FILE".to_owned(), value.to_owned());
            from_environment(address.clone(), &BTreeMap::from([pair]))
        };
        let named = with("/etc/key").unwrap();
        assert_eq!(
            named.identity,
            Some(PasswordSource::File("/etc/key".into()))
        );
        assert_eq!(with("").unwrap(), address);
        for wrong in ["key", "/etc/$x"] {
            let error = with(wrong).unwrap_err();
            assert!(error.contains("SFTP_IDENTITY_FILE"), "{error}");
        }
    }

    #[test]
    fn ssh_is_given_no_path_that_it_would_read_otherwise() {
        for (path, fits) in [
            ("/etc/pgbackupd/key", true),
            ("/etc/my keys/100% 'x'", true),
            ("/etc/$HOME", false),
            ("/etc/a\"b", false),
            ("/etc/a\\b", false),
            ("/etc/a\nb", false),
        ] {
            assert_eq!(is_fit_for_ssh(Path::new(path)), fits, "{path}");
        }
    }
}
