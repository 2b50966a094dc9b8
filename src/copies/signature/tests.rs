use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use ssh_key::{HashAlg, LineEnding, PrivateKey};

use super::{InvalidSignature, NAMESPACE, Signer, SignerError, check};

const DOCUMENT: &[u8] = b"{\n  \"format\": 1\n}\n";

fn signer() -> (tempfile::TempDir, Signer) {
    let directory = tempfile::tempdir().unwrap();
    let signer = Signer::open_or_create(&directory.path().join("signer")).unwrap();
    (directory, signer)
}

#[test]
fn the_key_is_made_once_and_others_cannot_read_it() {
    let (directory, signer) = signer();
    let path = directory.path().join("signer");
    let again = Signer::open_or_create(&path).unwrap();
    assert_eq!(again.fingerprint(), signer.fingerprint());
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the key is left: {left:?}");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = Signer::open_or_create(&path).unwrap_err();
    assert!(matches!(error, SignerError::Exposed { .. }), "{error}");
    assert!(error.to_string().contains("chmod 0600"), "{error}");
}

#[test]
fn many_that_make_the_key_at_once_have_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = &directory.path().join("signer");
    let all: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Signer::open_or_create(path).unwrap().fingerprint()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
}

#[test]
fn what_is_no_signing_key_is_refused_and_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("signer");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let error = Signer::open_or_create(&path).unwrap_err();
    assert!(matches!(error, SignerError::Unusable(_)), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"");
    let error = Signer::open_or_create(&directory.path().join("none/signer")).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot make the signing key"),
        "{error}"
    );
}

#[test]
fn a_signature_is_that_of_its_document_and_shows_no_secret() {
    let (_directory, signer) = signer();
    let signature = signer.sign(DOCUMENT).unwrap();
    let key = check(DOCUMENT, signature.as_bytes()).unwrap();
    assert_eq!(
        key.fingerprint(HashAlg::Sha256).to_string(),
        signer.fingerprint()
    );
    let shown = format!("{signer:?}");
    assert_eq!(shown, format!("Signer({:?})", signer.fingerprint()));
}

#[test]
fn every_changed_bit_of_a_document_or_a_signature_is_seen() {
    let (_directory, signer) = signer();
    let signature = signer.sign(DOCUMENT).unwrap().into_bytes();
    for (index, bit) in (0..DOCUMENT.len()).flat_map(|index| (0..8).map(move |bit| (index, bit))) {
        let mut changed = DOCUMENT.to_vec();
        changed[index] ^= 1 << bit;
        assert_eq!(check(&changed, &signature), Err(InvalidSignature::Mismatch));
    }
    // The last byte is the end of the line, which says nothing.
    let spots = 0..signature.len() - 1;
    for (index, bit) in spots.flat_map(|index| (0..8).map(move |bit| (index, bit))) {
        let mut changed = signature.clone();
        changed[index] ^= 1 << bit;
        assert!(
            check(DOCUMENT, &changed).is_err(),
            "bit {bit} of byte {index}"
        );
    }
    for length in 0..signature.len() - 1 {
        assert!(
            check(DOCUMENT, &signature[..length]).is_err(),
            "cut to {length}"
        );
    }
    assert!(check(DOCUMENT, &vec![b'x'; 5000]).is_err());
    assert!(check(DOCUMENT, &[&signature[..], &signature[..]].concat()).is_err());
}

#[test]
fn a_signature_for_another_purpose_is_none() {
    let (directory, _) = signer();
    let text = fs::read_to_string(directory.path().join("signer")).unwrap();
    let key = PrivateKey::from_openssh(text).unwrap();
    for namespace in ["git", "file", "pgbackupd-copy2", "PGBACKUPD-COPY"] {
        let other = key.sign(namespace, HashAlg::Sha512, DOCUMENT).unwrap();
        let error = check(DOCUMENT, other.to_pem(LineEnding::LF).unwrap().as_bytes());
        assert_eq!(
            error,
            Err(InvalidSignature::Namespace(namespace.to_owned()))
        );
    }
    let weaker = key.sign(NAMESPACE, HashAlg::Sha256, DOCUMENT).unwrap();
    check(DOCUMENT, weaker.to_pem(LineEnding::LF).unwrap().as_bytes()).unwrap();
}
