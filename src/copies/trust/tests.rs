use std::fs;

use chrono::{DateTime, TimeZone as _, Utc};
use proptest::prelude::*;

use super::{InvalidSigners, TrustedBy, TrustedSigners, Untrusted};
use crate::allowed_signer::{matches_list, time};
use crate::copies::signature::{NAMESPACE, Signer};
use crate::copies::stock_tools::{is_missing, run};

const DOCUMENT: &[u8] = b"{}\n";

fn signer() -> (tempfile::TempDir, Signer) {
    let directory = tempfile::tempdir().unwrap();
    let signer = Signer::open_or_create(&directory.path().join("signer")).unwrap();
    (directory, signer)
}

fn day(day: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, day, 0, 0, 0).unwrap()
}

/// What becomes of a signature of the tenth for host `db1`.
fn judge(trusted: &TrustedSigners, signer: &Signer) -> Result<TrustedBy, Untrusted> {
    let signature = signer.sign(DOCUMENT).unwrap();
    let verified = trusted.verify("db1", DOCUMENT, (signature.as_bytes(), day(10)))?;
    assert_eq!(verified.fingerprint, signer.fingerprint());
    Ok(verified.by)
}

#[test]
fn who_is_trusted_and_for_what() {
    let (_one, signer) = signer();
    let (_two, other) = self::signer();
    let nobody = TrustedSigners::default;
    let fingerprint = signer.fingerprint();
    assert_eq!(
        judge(&nobody(), &signer),
        Err(Untrusted::Unknown(fingerprint.clone()))
    );
    assert_eq!(
        judge(&nobody().with_own("db1", signer.public()), &signer),
        Ok(TrustedBy::Own)
    );
    assert_eq!(
        judge(&nobody().with_own("db2", signer.public()), &signer),
        Err(Untrusted::OtherHost {
            fingerprint: fingerprint.clone(),
            host: "db1".to_owned()
        })
    );
    assert_eq!(
        judge(&nobody().with_own("db1", signer.public()), &other),
        Err(Untrusted::Unknown(other.fingerprint()))
    );
    let by_fingerprint = nobody().with_fingerprint(&fingerprint).unwrap();
    assert_eq!(judge(&by_fingerprint, &signer), Ok(TrustedBy::Fingerprint));
    assert!(judge(&by_fingerprint, &other).is_err());
    assert_eq!(judge(&TrustedSigners::any(), &other), Ok(TrustedBy::Any));
    let forged = TrustedSigners::any().verify(
        "db1",
        b"other",
        (signer.sign(DOCUMENT).unwrap().as_bytes(), day(10)),
    );
    assert!(matches!(forged, Err(Untrusted::Invalid(_))), "{forged:?}");
    for text in ["", "SHA256:", "SHA256:x", "MD5:00", &fingerprint[1..]] {
        let error = nobody().with_fingerprint(text).unwrap_err();
        assert!(matches!(error, InvalidSigners::Fingerprint(_)), "{text}");
    }
}

/// Each line, and whether it trusts its key for host `db1` on the tenth.
#[test]
fn a_line_trusts_for_its_hosts_its_namespaces_and_its_time() {
    let (_directory, signer) = signer();
    for (start, is_trusted) in [
        ("db1", true),
        ("db2", false),
        ("db*", true),
        ("d?1,x", true),
        ("*,!db1", false),
        ("\"db1\"", true),
        ("DB1", false),
        ("db1 namespaces=\"pgbackupd-copy\"", true),
        ("db1 namespaces=\"git,pgbackupd-*\"", true),
        ("db1 namespaces=\"git\"", false),
        ("db1 NAMESPACES=\"*,!pgbackupd-copy\"", false),
        ("db1 valid-after=\"20261110Z\"", true),
        ("db1 valid-after=\"20261110000001Z\"", false),
        ("db1 valid-before=\"20261110Z\"", true),
        ("db1 valid-before=\"202611092359Z\"", false),
        (
            "db1 valid-after=\"20261109Z\",valid-before=\"20261111Z\",namespaces=\"*\"",
            true,
        ),
    ] {
        let text = format!("# ours\n\n{start} {} a comment\n", signer.public().line());
        let trusted = TrustedSigners::default()
            .with_allowed_signers(&text)
            .unwrap();
        let judged = judge(&trusted, &signer);
        assert_eq!(judged.is_ok(), is_trusted, "{start}: {judged:?}");
    }
    let line = signer.public().allowed_signers_line("db1");
    let trusted = TrustedSigners::default()
        .with_allowed_signers(&line)
        .unwrap();
    assert_eq!(judge(&trusted, &signer), Ok(TrustedBy::AllowedSigner));
    // Any line is enough.
    let two = format!("db2 {0}\ndb1 {0}", signer.public().line());
    let trusted = TrustedSigners::default()
        .with_allowed_signers(&two)
        .unwrap();
    assert_eq!(judge(&trusted, &signer), Ok(TrustedBy::AllowedSigner));
}

#[test]
fn a_line_that_is_not_understood_is_an_error_with_its_number() {
    let (_directory, signer) = signer();
    let key = signer.public().line();
    for (line, reason) in [
        (key.clone(), "expected principals"),
        (
            format!("db1 cert-authority {key}"),
            "the option \"cert-authority\" is not supported",
        ),
        (
            format!("db1 namespaces=git {key}"),
            "namespaces has no value in quotes",
        ),
        (format!("db1 namespaces=\"git {key}"), "expected principals"),
        (
            format!("db1 other=\"x\" {key}"),
            "the option \"other\" is not supported",
        ),
        (
            format!("db1 valid-before=\"soon\" {key}"),
            "invalid time \"soon\"",
        ),
        (
            format!("db1 valid-before=\"20260230\" {key}"),
            "invalid time",
        ),
        (
            format!("db1 namespaces=\"a\",namespaces=\"b\" {key}"),
            "stands in it twice",
        ),
        (
            format!("db1 namespaces=\"a\"valid-after=\"20260101\" {key}"),
            "expected a comma",
        ),
        (format!("db1 namespaces=\"a\", {key}"), "expected a comma"),
        (
            "db1 ssh-rsa AAAA".to_owned(),
            "only ssh-ed25519 keys are supported, not \"ssh-rsa\"",
        ),
        ("db1 ssh-ed25519 AAAA".to_owned(), "the key is damaged"),
        ("db1".to_owned(), "expected principals"),
    ] {
        let text = format!("# first\n{line}\n");
        let error = TrustedSigners::default()
            .with_allowed_signers(&text)
            .unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("line 2 of the trusted signers: "),
            "{line}: {error}"
        );
        assert!(error.contains(reason), "{line}: {error}");
    }
}

#[test]
fn times_are_read_as_ssh_keygen_reads_them() {
    let utc = |h, m, s| Utc.with_ymd_and_hms(2026, 11, 9, h, m, s).unwrap();
    assert_eq!(time("20261109Z"), Ok(utc(0, 0, 0)));
    assert_eq!(time("202611092301Z"), Ok(utc(23, 1, 0)));
    assert_eq!(time("20261109230159Z"), Ok(utc(23, 1, 59)));
    let local = time("20261109").unwrap().with_timezone(&chrono::Local);
    assert_eq!(local.format("%F %T").to_string(), "2026-11-09 00:00:00");
    for text in [
        "",
        "Z",
        "2026",
        "2026110",
        "+2026110",
        "20261109T00",
        "99999999",
    ] {
        assert!(time(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn patterns_match_as_a_regular_search_would(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
        fn slow(pattern: &[u8], text: &[u8]) -> bool {
            match pattern {
                [] => text.is_empty(),
                [b'*', rest @ ..] => (0..=text.len()).any(|at| slow(rest, &text[at..])),
                [b'?', rest @ ..] => !text.is_empty() && slow(rest, &text[1..]),
                [byte, rest @ ..] => text.first() == Some(byte) && slow(rest, &text[1..]),
            }
        }
        prop_assert_eq!(matches_list(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
    }
}

/// A directory, and what runs a tool in it.
struct Tools(tempfile::TempDir);

impl Tools {
    fn run(&self, line: &str, input: &[u8]) -> Result<Vec<u8>, String> {
        let words: Vec<&str> = line.split(' ').collect();
        run(self.0.path(), &words, input)
    }

    fn make_key(&self, name: &str, options: &str) {
        let line = format!("ssh-keygen -q -f {name} {options}");
        self.run(&line, b"").unwrap();
    }

    fn sign(&self, name: &str) -> Vec<u8> {
        let line = format!("ssh-keygen -q -Y sign -f {name} -n {NAMESPACE}");
        self.run(&line, DOCUMENT).unwrap()
    }
}

#[test]
fn ssh_keygen_verifies_what_is_signed_here_and_nothing_else() {
    if is_missing(&["ssh-keygen"]) {
        return;
    }
    let (directory, signer) = signer();
    let write = |name: &str, text: String| fs::write(directory.path().join(name), text).unwrap();
    write("allowed", signer.public().allowed_signers_line("db1"));
    write("sig", signer.sign(DOCUMENT).unwrap());
    let tools = Tools(directory);
    let verify = |host: &str, namespace: &str, input: &[u8]| {
        let start = "ssh-keygen -Y verify -f allowed -s sig";
        tools.run(&format!("{start} -I {host} -n {namespace}"), input)
    };
    let shown = String::from_utf8(verify("db1", NAMESPACE, DOCUMENT).unwrap()).unwrap();
    assert!(shown.contains(&signer.fingerprint()), "{shown}");
    assert!(verify("db2", NAMESPACE, DOCUMENT).is_err());
    assert!(verify("db1", "file", DOCUMENT).is_err());
    assert!(verify("db1", NAMESPACE, b"{}").is_err());
}

#[test]
fn what_ssh_keygen_signs_is_verified_here_if_the_key_is_an_ed25519_one() {
    if is_missing(&["ssh-keygen"]) {
        return;
    }
    let tools = Tools(tempfile::tempdir().unwrap());
    let path = |name: &str| tools.0.path().join(name);
    tools.make_key("own", "-t ed25519 -C somebody -N ");
    let own = Signer::open(&path("own")).unwrap();
    let public = fs::read_to_string(path("own.pub")).unwrap();
    assert!(public.starts_with(&own.public().line()));
    let signature = tools.sign("own");
    let trusted = TrustedSigners::default()
        .with_allowed_signers(&format!("db* {public}"))
        .unwrap();
    let verify = |host: &str| trusted.verify(host, DOCUMENT, (&signature, day(1)));
    assert_eq!(verify("db1").unwrap().fingerprint, own.fingerprint());
    assert!(verify("other").is_err());

    tools.make_key("closed", "-t ed25519 -N secret");
    tools.make_key("ecdsa", "-t ecdsa -N ");
    for name in ["closed", "ecdsa"] {
        let error = Signer::open(&path(name)).unwrap_err().to_string();
        let expected = "the signing key is not usable";
        assert!(error.starts_with(expected), "{error}");
    }
    let signature = tools.sign("ecdsa");
    let error = TrustedSigners::any().verify("db1", DOCUMENT, (&signature, day(1)));
    assert!(matches!(error, Err(Untrusted::Invalid(_))), "{error:?}");
}
