//! Listing a directory of many backups: `cargo bench --bench catalogue`.
//!
//! `BACKUPS=N` sets how many (100,000 unless set).

use std::path::Path;

use chrono::{DateTime, Duration};
use divan::Bencher;
use pgbackupd::repository::{Manifest, Repository};

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 5)]
fn catalogue(bencher: Bencher<'_, '_>) {
    let count = std::env::var("BACKUPS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(100_000);
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    fill(directory.path(), count).unwrap_or_else(|error| panic!("{error}"));
    let repository = Repository::at(directory.path());
    bencher.bench(|| {
        let catalogue = repository
            .catalogue()
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(catalogue.backups.len(), count);
        catalogue
    });
}

/// Backups a minute apart, each with a manifest of the usual size and an empty dump.
fn fill(directory: &Path, count: usize) -> std::io::Result<()> {
    let mut manifest: Manifest = serde_json::from_str(MANIFEST)?;
    for index in 0..count {
        let minutes = i64::try_from(index).unwrap_or_default();
        let time = DateTime::UNIX_EPOCH + Duration::minutes(minutes);
        let name = time.format("backup_%Y%m%d_%H%M%S").to_string();
        manifest.name.clone_from(&name);
        manifest.started = time.fixed_offset();
        manifest.verified = time.fixed_offset();
        manifest.artifact.file = format!("{name}.sql.gz");
        std::fs::write(directory.join(format!("{name}.json")), manifest.to_text()?)?;
        std::fs::write(directory.join(&manifest.artifact.file), "")?;
    }
    Ok(())
}

/// As long as that of a database with a few extensions and settings.
const MANIFEST: &str = include_str!("manifest.json");
