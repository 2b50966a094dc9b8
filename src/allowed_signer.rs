//! Lines of OpenSSH's `allowed_signers`: which key may sign for whom, for what, and when. They are read here, where
//! the configuration checks them too.

use std::fmt;

use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, TimeZone as _, Utc};
use ssh_key::{Algorithm, PublicKey};

/// A line of an `allowed_signers` file, as `ssh-keygen(1)` describes it. Two are the same when they are written
/// the same.
#[derive(Clone, Debug)]
pub struct AllowedSigner {
    text: String,
    /// Patterns of hosts.
    principals: String,
    /// Patterns of namespaces; any without.
    namespaces: Option<String>,
    after: Option<DateTime<Utc>>,
    before: Option<DateTime<Utc>>,
    key: PublicKey,
}

/// Why a text is no such line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAllowedSigner(String);

impl AllowedSigner {
    /// Reads a line. Nothing of it is guessed.
    ///
    /// # Errors
    /// When it is not understood, or its key is of another kind than ed25519.
    pub fn parse(line: &str) -> Result<Self, InvalidAllowedSigner> {
        Self::read(line.trim()).map_err(InvalidAllowedSigner)
    }

    fn read(line: &str) -> Result<Self, String> {
        if line.contains(['\n', '\r']) {
            return Err("it has more than one line".to_owned());
        }
        let (principals, rest) = first_word(line)?;
        let is_key = |text: &str| {
            let word = text.split_whitespace().next().unwrap_or_default();
            ["ssh-", "ecdsa-", "sk-"]
                .iter()
                .any(|kind| word.starts_with(kind))
        };
        let (options, key) = if is_key(rest) {
            (Options::default(), rest)
        } else {
            let (options, key) = first_word(rest)?;
            (Options::parse(&options)?, key)
        };
        let kind = key.split_whitespace().next().unwrap_or_default();
        if kind != "ssh-ed25519" {
            return Err(format!("only ssh-ed25519 keys are supported, not {kind:?}"));
        }
        let key = PublicKey::from_openssh(key).map_err(|_| "the key is damaged".to_owned())?;
        if key.algorithm() != Algorithm::Ed25519 {
            return Err("the key is damaged".to_owned());
        }
        Ok(Self {
            text: line.to_owned(),
            principals,
            namespaces: options.namespaces,
            after: options.after,
            before: options.before,
            key,
        })
    }

    /// The key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Whether the key may sign for a host.
    pub fn is_for(&self, host: &str) -> bool {
        matches_list(&self.principals, host)
    }

    /// Whether the key may sign in a namespace.
    pub fn is_within(&self, namespace: &str) -> bool {
        let namespaces = self.namespaces.as_deref();
        namespaces.is_none_or(|list| matches_list(list, namespace))
    }

    /// Whether the key may sign at a time.
    pub fn is_valid_at(&self, at: DateTime<Utc>) -> bool {
        self.after.is_none_or(|after| at >= after) && self.before.is_none_or(|before| at <= before)
    }
}

impl PartialEq for AllowedSigner {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for AllowedSigner {}

/// As written.
impl fmt::Display for AllowedSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The options of a line.
#[derive(Debug, Default)]
struct Options {
    namespaces: Option<String>,
    after: Option<DateTime<Utc>>,
    before: Option<DateTime<Utc>>,
}

impl Options {
    /// Reads `name="value",name="value"`.
    fn parse(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let (name, value) = rest
                .split_once('=')
                .ok_or_else(|| format!("the option {rest:?} is not supported"))?;
            let value = value
                .strip_prefix('"')
                .and_then(|rest| rest.split_once('"'));
            let (value, after) = value.ok_or_else(|| format!("{name} has no value in quotes"))?;
            let is_twice = match name.to_ascii_lowercase().as_str() {
                "namespaces" => options.namespaces.replace(value.to_owned()).is_some(),
                "valid-after" => options.after.replace(time(value)?).is_some(),
                "valid-before" => options.before.replace(time(value)?).is_some(),
                _ => return Err(format!("the option {name:?} is not supported")),
            };
            if is_twice {
                return Err(format!("{name} stands in it twice"));
            }
            rest = match after.strip_prefix(',') {
                Some(rest) if !rest.is_empty() => rest,
                None if after.is_empty() => after,
                _ => return Err(format!("expected a comma between options, found {after:?}")),
            };
        }
        Ok(options)
    }
}

/// The first word of a line and the rest. Blanks between quotes are part of it; quotes around all of it are
/// not.
fn first_word(line: &str) -> Result<(String, &str), String> {
    let line = line.trim_start();
    let mut is_quoted = false;
    let end = line.find(|c: char| {
        is_quoted ^= c == '"';
        c.is_whitespace() && !is_quoted
    });
    let (word, rest) = end.map_or((line, ""), |end| line.split_at(end));
    if is_quoted || rest.trim().is_empty() {
        return Err("expected principals, options and a key".to_owned());
    }
    let whole = word
        .strip_prefix('"')
        .and_then(|word| word.strip_suffix('"'))
        .filter(|word| !word.contains('"'));
    Ok((whole.unwrap_or(word).to_owned(), rest.trim()))
}

/// A time as `ssh-keygen(1)` has it: `YYYYMMDD` or `YYYYMMDDHHMM[SS]`, in the zone of the machine, and in UTC
/// with a `Z` behind it.
pub(crate) fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let invalid = || format!("invalid time {text:?}: expected YYYYMMDD[HHMM[SS]][Z]");
    let (digits, is_utc) = match text.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    let local: Option<NaiveDateTime> = match digits.len() {
        8 => NaiveDate::parse_from_str(digits, "%Y%m%d")
            .ok()
            .and_then(|day| day.and_hms_opt(0, 0, 0)),
        12 => NaiveDateTime::parse_from_str(&format!("{digits}00"), "%Y%m%d%H%M%S").ok(),
        14 => NaiveDateTime::parse_from_str(digits, "%Y%m%d%H%M%S").ok(),
        _ => None,
    };
    let local = local.ok_or_else(invalid)?;
    if is_utc {
        return Ok(local.and_utc());
    }
    let zoned = Local.from_local_datetime(&local).earliest();
    zoned.map(|time| time.to_utc()).ok_or_else(invalid)
}

/// OpenSSH's `match_pattern_list`: one of the patterns matches, and none that begins with `!`.
pub(crate) fn matches_list(list: &str, text: &str) -> bool {
    let mut is_matched = false;
    for pattern in list.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches_pattern(pattern.as_bytes(), text.as_bytes()) => return false,
            Some(_) => {}
            None => is_matched |= matches_pattern(pattern.as_bytes(), text.as_bytes()),
        }
    }
    is_matched
}

/// `*` is any text and `?` one byte, as in OpenSSH.
fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    // The last star, and how much of the text it has taken: going back there is enough.
    let (mut at, mut read, mut star) = (0, 0, None);
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else {
                    return false;
                };
                star = Some((star_at, taken + 1));
                (at, read) = (star_at + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::AllowedSigner;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn a_line_says_who_may_sign_for_whom_and_when() {
        let line = format!(
            "db*,!db9 namespaces=\"pgbackupd-*\",valid-after=\"20260101Z\",valid-before=\"20270101Z\" {KEY} old key"
        );
        let signer = AllowedSigner::parse(&format!("  {line}\n")).unwrap();
        assert_eq!(signer.to_string(), line);
        for (host, expected) in [("db1", true), ("db9", false), ("x", false)] {
            assert_eq!(signer.is_for(host), expected, "{host}");
        }
        for (namespace, expected) in [("pgbackupd-copy", true), ("git", false)] {
            assert_eq!(signer.is_within(namespace), expected, "{namespace}");
        }
        for (at, expected) in [
            ("2025-12-31T23:59:59Z", false),
            ("2026-01-01T00:00:00Z", true),
            ("2027-01-01T00:00:00Z", true),
            ("2027-01-01T00:00:01Z", false),
        ] {
            assert_eq!(signer.is_valid_at(at.parse().unwrap()), expected, "{at}");
        }
        let bare = AllowedSigner::parse(&format!("* {KEY}")).unwrap();
        assert!(bare.is_for("any") && bare.is_within("any"));
        assert_ne!(bare, signer);
    }

    #[test]
    fn a_line_that_is_not_understood_is_refused_with_the_reason() {
        for (line, reason) in [
            (String::new(), "expected principals"),
            ("db1".to_owned(), "expected principals"),
            (KEY.to_owned(), "expected principals"),
            (format!("db1 {}", &KEY[..60]), "the key is damaged"),
            (
                "db1 ssh-rsa AAAA".to_owned(),
                "only ssh-ed25519 keys are supported, not \"ssh-rsa\"",
            ),
            (
                format!("db1 cert-authority {KEY}"),
                "\"cert-authority\" is not supported",
            ),
            (
                format!("db1 valid-after=\"soon\" {KEY}"),
                "invalid time \"soon\"",
            ),
            (format!("db1 {KEY}\ndb2 {KEY}"), "more than one line"),
        ] {
            let error = AllowedSigner::parse(&line).unwrap_err().to_string();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
