//! How dumps are made: the general settings, and what a server or a database says otherwise.

use std::num::NonZeroU8;

use super::findings::{Findings, key, set};
use super::fragment::{DumpFragment, MOST_THREADS};
use super::layer::Key;
use super::plan::{Compression, DumpSettings};
use super::scalar::Count;

/// How a dump is made: each layer says what differs. A layer that changes the compression without a
/// level leaves the level to the new compressor, whose scale is another.
fn overlaid(layers: &[(DumpFragment, Key)]) -> (DumpFragment, Key) {
    let (mut merged, mut level_at) = layers.first().cloned().unwrap_or_default();
    for (layer, at) in &layers[1..] {
        merged.format = layer.format.or(merged.format);
        if layer
            .compression
            .is_some_and(|new| Some(new) != merged.compression)
        {
            merged.compression = layer.compression;
            merged.level = None;
            level_at.clone_from(at);
        }
        if layer.level.is_some() {
            merged.level = layer.level;
            level_at.clone_from(at);
        }
        merged.threads = layer.threads.or(merged.threads);
        merged.jobs = layer.jobs.or(merged.jobs);
        merged.globals = layer.globals.or(merged.globals);
    }
    (merged, level_at)
}

/// How a dump is made, its level checked against its compressor. What is wrong with a level is said
/// once, however many databases share it.
pub(super) fn checked(findings: &mut Findings<'_>, layers: &[(DumpFragment, Key)]) -> DumpSettings {
    let (dump, level_at) = overlaid(layers);
    let compression = set(dump.compression).0;
    let highest = highest_level(compression);
    let at = [level_at.as_slice(), &key(&["level"])].concat();
    if let Some(Count(level)) = dump.level
        && level.get() > highest
        && !findings
            .problems
            .iter()
            .any(|problem| problem.key == at.join("."))
    {
        let (message, help) = match compression {
            Compression::None => (
                "without compression there is no level".to_owned(),
                "remove it, or choose a compression".to_owned(),
            ),
            Compression::Gzip => (
                format!("gzip has levels from 1 to {highest}, not {level}"),
                "6 is a good choice".to_owned(),
            ),
            Compression::Zstd => (
                format!("zstd has levels from 1 to {highest} here, not {level}"),
                "3 is a good choice".to_owned(),
            ),
        };
        findings.refuse(&at, message, Some(help));
    }
    merged(layers)
}

/// A number of threads or connections, which the check of its type has bounded.
pub(super) fn small(count: Count<{ MOST_THREADS }>) -> NonZeroU8 {
    NonZeroU8::try_from(count.0).unwrap_or(NonZeroU8::MAX)
}

/// How a dump is made, from settings that were checked before.
pub(super) fn merged(layers: &[(DumpFragment, Key)]) -> DumpSettings {
    let (dump, _) = overlaid(layers);
    DumpSettings {
        format: set(dump.format).0,
        compression: set(dump.compression).0,
        level: dump
            .level
            .and_then(|level| u8::try_from(level.0.get()).ok()),
        threads: dump.threads.map(small),
        jobs: small(set(dump.jobs)),
        globals: set(dump.globals),
    }
}

/// The highest level: libdeflate's for gzip; for zstd the last before the levels that need
/// memory beyond all bounds (`--ultra`).
fn highest_level(compression: Compression) -> u32 {
    match compression {
        Compression::Gzip => 12,
        Compression::Zstd => 19,
        Compression::None => 0,
    }
}
