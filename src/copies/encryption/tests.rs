use std::fs;

use super::{OpenError, PublicHalf, RunSecret, SealError};
use crate::copies::stock_tools::{is_missing, run};
use crate::recipient::Recipient;

#[test]
fn what_is_sealed_opens_with_its_own_key_and_with_no_other() {
    let secret = RunSecret::fresh();
    for content in [&b""[..], b"x", &vec![7; 200_000]] {
        let sealed = secret.public().seal(content).unwrap();
        assert_eq!(secret.open(&sealed).unwrap(), content);
        let other = RunSecret::fresh().open(&sealed).unwrap_err();
        assert!(matches!(other, OpenError::OtherKey), "{other}");
    }
}

#[test]
fn no_changed_or_cut_volume_opens() {
    let secret = RunSecret::fresh();
    let content = vec![7; 70_000];
    let sealed = secret.public().seal(&content).unwrap();
    let spots = (0..400).step_by(7).chain((400..sealed.len()).step_by(997));
    for spot in spots.chain(sealed.len() - 20..sealed.len()) {
        let mut changed = sealed.clone();
        changed[spot] ^= 1 << (spot % 8);
        assert!(secret.open(&changed).is_err(), "byte {spot} was changed");
    }
    for length in [0, 10, 150, 1000, sealed.len() - 1] {
        assert!(secret.open(&sealed[..length]).is_err(), "cut to {length}");
    }
    // Whole chunks that are left out are seen too.
    let header = sealed.len() - (70_000 + 2 * 16);
    assert!(secret.open(&sealed[..header + 65_536 + 16]).is_err());
    assert!(secret.open(&[&sealed[..], b"x"].concat()).is_err());
}

#[test]
fn a_resumed_run_goes_on_with_the_public_half_alone() {
    let secret = RunSecret::fresh();
    let text = secret.public().to_string();
    let resumed = PublicHalf::parse(&text).unwrap();
    assert_eq!(resumed, secret.public());
    assert_eq!(
        secret.open(&resumed.seal(b"rest").unwrap()).unwrap(),
        b"rest"
    );
    assert!(PublicHalf::parse(&text[..text.len() - 1]).is_err());
}

#[test]
fn nothing_is_sealed_to_nobody() {
    let error = RunSecret::fresh().seal_to(&[]).unwrap_err();
    assert!(matches!(error, SealError::NoRecipient), "{error}");
}

#[test]
fn no_secret_is_shown() {
    let secret = RunSecret::fresh();
    assert_eq!(format!("{secret:?}"), "RunSecret { .. }");
}

/// The two commands of the documentation.
#[test]
fn age_itself_opens_the_key_and_then_the_volumes() {
    if is_missing(&["age", "age-keygen", "ssh-keygen"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let in_it = |words: &[&str], input: &[u8]| run(directory.path(), words, input);
    in_it(&["age-keygen", "-o", "key.txt"], b"").unwrap();
    in_it(
        &["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "ssh"],
        b"",
    )
    .unwrap();
    let age = String::from_utf8(in_it(&["age-keygen", "-y", "key.txt"], b"").unwrap()).unwrap();
    let ssh = fs::read_to_string(directory.path().join("ssh.pub")).unwrap();
    let recipients = [age, ssh].map(|text| Recipient::parse(&text).unwrap());

    let secret = RunSecret::fresh();
    let key = secret.seal_to(&recipients).unwrap();
    let content = vec![9; 100_000];
    let volume = secret.public().seal(&content).unwrap();
    for identity in ["key.txt", "ssh"] {
        let run_key = in_it(&["age", "-d", "-i", identity], key.as_bytes()).unwrap();
        fs::write(directory.path().join("run.key"), run_key).unwrap();
        let opened = in_it(&["age", "-d", "-i", "run.key"], &volume).unwrap();
        assert_eq!(opened, content);
    }
    // The other direction: what age seals to the public half.
    let public = secret.public().to_string();
    let sealed = in_it(&["age", "-r", &public], &content).unwrap();
    assert_eq!(secret.open(&sealed).unwrap(), content);
}
