use super::*;
use crate::pipeline::Sealer;
use crate::recipient::Recipient;

/// Somebody's key: what opens for them, and to whom is encrypted.
fn somebody() -> (Opener, Recipient) {
    let secret = age::x25519::Identity::generate();
    let recipient = Recipient::parse(&secret.to_public().to_string()).unwrap();
    let text = secrecy::ExposeSecret::expose_secret(&secret.to_string()).to_owned();
    let identities = Identities::read(text.as_bytes(), &mut |_| None).unwrap();
    (identities.opener(), recipient)
}

/// A manifest whose sealed part is for these.
fn manifest(recipients: &[Recipient]) -> Manifest {
    let mut manifest: Manifest = serde_json::from_value(serde_json::json!({
        "format": 3, "program": "", "name": "backup_20260101_020000",
        "run": "01900000-0000-7000-8000-000000000000", "database": "app", "series": "daily",
        "started": "2026-01-01T02:00:00Z", "verified": "2026-01-01T02:00:00Z", "zone": "UTC",
        "artifact": {"file": "", "format": "plain", "compression": "gzip", "sha256": "", "bytes": 1, "text_bytes": 1},
        "census": {"file": "", "sha256": "", "bytes": 1,
            "summary": {"tables": 0, "rows": 0, "objects": 0, "large_objects": 0}},
        "seconds": {"dump": 1.0, "check": 1.0, "total": 1.0},
        "requested_by": serde_json::to_value(crate::repository::Requester::default()).unwrap(),
        "pg_dump": "",
        "server": {"version": "", "version_number": 170_002, "system_identifier": null,
            "in_recovery": false, "data_checksums": false},
        "properties": {"name": "app", "encoding": "UTF8", "locale_provider": "libc", "lc_collate": "C",
            "lc_ctype": "C", "locale": null, "icu_rules": null, "collation_version": null,
            "owner": "postgres", "tablespace": null, "connection_limit": -1, "is_template": false,
            "allow_connections": true, "privileges": null, "comment": "secret", "settings": [],
            "extensions": [], "size_bytes": 1},
    }))
    .unwrap();
    if let Some(sealer) = Sealer::new(recipients) {
        let content = SealedContent::take(&mut manifest.server, &mut manifest.properties);
        let text = serde_json::to_vec(&content).unwrap();
        manifest.sealed = Some(sealer.seal_text(&text).unwrap());
        manifest.encrypted_to = sealer.fingerprints();
    }
    manifest
}

#[test]
fn a_backup_is_opened_by_one_of_its_recipients_alone() {
    let ((own, recipient), (other, second)) = (somebody(), somebody());
    let (stranger, _) = somebody();
    let both = [recipient.clone(), second];
    for (recipients, opener, expected) in [
        (&[][..], None, Ok(())),
        (&[], Some(&own), Ok(())),
        (&both[..1], None, Err("--identity FILE")),
        (&both[..1], Some(&own), Ok(())),
        (&both, Some(&other), Ok(())),
        (
            &both[..1],
            Some(&other),
            Err("encrypted to other keys: wanted is"),
        ),
        (
            &both,
            Some(&stranger),
            Err("encrypted to other keys: wanted is"),
        ),
    ] {
        let mut manifest = manifest(recipients);
        let is_encrypted = !recipients.is_empty();
        assert_eq!(manifest.properties.comment.is_none(), is_encrypted);
        let opened = open_with(&mut manifest, opener);
        match (opened, expected) {
            (Ok(opened), Ok(())) => {
                assert_eq!(opened.is_some(), is_encrypted);
                assert_eq!(manifest.properties.comment.as_deref(), Some("secret"));
            }
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{error}");
                assert_eq!(error.kind(), crate::jobs::JobErrorKind::Usage);
            }
            (opened, expected) => panic!("{opened:?}, and expected was {expected:?}"),
        }
    }
}

#[test]
fn a_sealed_part_that_is_damaged_is_damage_of_the_backup() {
    let (own, recipient) = somebody();
    let mut manifest = manifest(&[recipient]);
    manifest.sealed = manifest.sealed.map(|text| text.replacen('A', "B", 40));
    let error = open_with(&mut manifest, Some(&own)).unwrap_err();
    assert_eq!(error.kind(), crate::jobs::JobErrorKind::Damaged, "{error}");
}
