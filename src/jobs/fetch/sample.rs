//! Copies for tests.

use serde_json::json;

use crate::copies::{Copy, CopyManifest, Sha256Sum, SignedManifest, TrustedBy, TrustedSignature};
use crate::destination::Key;

/// A copy of the backup of this stem, made by the run of this number.
pub(in crate::jobs) fn copy(stem: &str, run: u32, is_partial: bool) -> Copy {
    let name = format!("{stem}.01900000-0000-7000-8000-{run:012}");
    let day = stem.rsplit('_').nth(1).unwrap();
    let started = format!("{}-{}-{}T02:00:00Z", &day[..4], &day[4..6], &day[6..]);
    let series = if stem.starts_with("manual") {
        "manual"
    } else {
        "daily"
    };
    let manifest: CopyManifest = serde_json::from_value(json!({
        "format": 1, "document": "copy", "host": "db1", "server": "main", "database": "app",
        "copy": name, "try": "01900000-0000-7000-8000-000000000000", "series": series,
        "started": started, "zone": "UTC", "verified": started, "made": started,
        "is_partial": is_partial, "is_pinned": false, "dump": "plain", "compression": "gzip",
        "versions": {"program": "", "server": "", "pg_dump": ""}, "signer": "", "sequence": 1,
        "files": [],
    }))
    .unwrap();
    Copy {
        name: manifest.copy.clone(),
        manifest: SignedManifest {
            key: Key::new("v1").unwrap(),
            stored: manifest.made,
            signature: TrustedSignature {
                fingerprint: String::new(),
                public_key: String::new(),
                by: TrustedBy::Own,
            },
            sha256: Sha256Sum::of(b""),
            manifest,
        },
        others: Vec::new(),
        is_pinned: false,
        facts: Vec::new(),
        lacking: Vec::new(),
    }
}
