use crate::copies::sample::Host;
use crate::copies::{CopyFact, CopyManifest, CopyName, DocumentError, FactKind, Object, Place};

/// A manifest as it is written: old ones have to be read by every later program.
const GOLDEN: &str = include_str!("golden.json");

fn golden() -> (CopyManifest, crate::destination::Key) {
    let place = Place::new("db1", "main", "app").unwrap();
    let copy: CopyName = "manual_20261130_020000.01934567-89ab-7def-8123-456789abcdef"
        .parse()
        .unwrap();
    let attempt = "01934567-89ab-7def-8123-456789abcdee".parse().unwrap();
    let key = place.object(&copy, &Object::Manifest { attempt });
    (CopyManifest::read(GOLDEN.as_bytes(), &key).unwrap(), key)
}

#[test]
fn a_manifest_is_written_as_ever() {
    let (manifest, _) = golden();
    assert_eq!(
        String::from_utf8(manifest.to_bytes().unwrap()).unwrap(),
        GOLDEN
    );
    assert!(manifest.is_encrypted());
    assert_eq!(manifest.bytes(), 812 + 16_781_505 + 2_000_000);
    assert_eq!(manifest.volumes().count(), 3);
    assert_eq!(manifest.place().unwrap().database, "app");
}

#[test]
fn what_is_newer_unknown_doubled_or_too_long_is_refused() {
    let (_, key) = golden();
    let read = |text: &str| CopyManifest::read(text.as_bytes(), &key).unwrap_err();
    let newer = read(&GOLDEN.replace("\"format\": 1", "\"format\": 2, \"unknown\": 1"));
    assert!(matches!(newer, DocumentError::Newer(2)), "{newer}");
    for text in [
        GOLDEN.replace("\"format\": 1", "\"format\": 1, \"unknown\": 1"),
        GOLDEN.replace("\"sequence\": 7", "\"sequence\": 7, \"sequence\": 8"),
        GOLDEN.replace("\"sequence\": 7", "\"sequence\": -7"),
        GOLDEN.replace("\"role\": \"artifact\"", "\"role\": \"program\""),
        GOLDEN[..GOLDEN.len() / 2].to_owned(),
        "[".repeat(1 << 20),
        String::new(),
    ] {
        let error = read(&text);
        assert!(matches!(error, DocumentError::Malformed(_)), "{error}");
    }
    let long = read(&" ".repeat(33 << 20));
    assert!(matches!(long, DocumentError::Long(_)), "{long}");
    let plain = GOLDEN.replace(".age\"", "\"");
    assert!(matches!(read(&plain), DocumentError::Inconsistent(_)));
}

/// The documents of one kind have the same signer and namespace as those of the other.
#[test]
fn a_manifest_is_no_fact_and_a_fact_no_manifest() {
    let host = Host::new();
    let manifest = host.small();
    let fact = host.fact(&manifest.copy, FactKind::Pin);
    let attempt = manifest.attempt;
    let manifest_key = host
        .place
        .object(&manifest.copy, &Object::Manifest { attempt });
    let (kind, id) = (fact.fact, fact.id);
    let fact_key = host.place.object(&fact.copy, &Object::Fact { kind, id });
    let (manifest, fact) = (manifest.to_bytes().unwrap(), fact.to_bytes().unwrap());
    for key in [&manifest_key, &fact_key] {
        assert_eq!(
            CopyManifest::read(&manifest, key).is_ok(),
            key == &manifest_key
        );
        assert!(CopyManifest::read(&fact, key).is_err());
        assert_eq!(CopyFact::read(&fact, key).is_ok(), key == &fact_key);
        assert!(CopyFact::read(&manifest, key).is_err());
    }
}
