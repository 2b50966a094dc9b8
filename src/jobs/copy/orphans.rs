//! What uploads that were broken off have left at the destination, and no journal remembers.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::local::Local;
use super::memory::Memory;
use crate::copies::{Catalogue, CopyName};
use crate::policy::{Orphan, OrphanVerdict, judge_orphan};
use crate::repository::{Removal, RemovedCopy};

/// Why an orphan is removed, on record.
const REASON: &str = "left by an upload that was broken off; it never was a copy";

/// What a look for orphans rests on.
pub(super) struct Orphans<'a> {
    /// The destination's name in the configuration.
    pub(super) destination: &'a str,
    /// What is listed there.
    pub(super) there: &'a Catalogue,
    /// The runs whose copies are under way.
    pub(super) pending: &'a BTreeSet<Uuid>,
    /// Now, by the store's clock.
    pub(super) store: DateTime<Utc>,
}

impl Orphans<'_> {
    /// Takes down which orphans go, as copies that are being removed, and which were seen for the first time.
    pub(super) fn doom(&self, local: &Local<'_>, memory: &mut Memory, now: DateTime<Utc>) {
        let mut newest: BTreeMap<&CopyName, (DateTime<Utc>, bool)> = BTreeMap::new();
        for one in &self.there.unclaimed {
            let modified = one.listed.modified;
            let found = newest.entry(&one.copy).or_insert((modified, false));
            *found = (found.0.max(modified), found.1 || one.has_manifest);
        }
        let mut seen = BTreeMap::new();
        for (name, (newest, has_manifest)) in newest {
            let run = name.run();
            // It is a copy, perhaps since a moment ago; or its removal goes on.
            if memory.there.contains_key(&run) || memory.known.removing.contains_key(&run) {
                continue;
            }
            let key = name.to_string();
            let before = memory.known.orphans.get(&key).copied();
            let first_seen = before.filter(|first| *first <= now);
            let orphan = Orphan {
                has_manifest,
                is_known: local.knows_run(run),
                is_pending: self.pending.contains(&run),
                was_copied: local.was_copied(self.destination, name.stem()),
                first_seen,
                newest,
            };
            match judge_orphan(orphan, now, self.store) {
                OrphanVerdict::Stays => {}
                OrphanVerdict::Watched => {
                    seen.insert(key, first_seen.unwrap_or(now));
                }
                OrphanVerdict::Goes => {
                    let removal = Removal {
                        backup: name.stem().to_string(),
                        reasons: vec![REASON.to_owned()],
                    };
                    let removed = RemovedCopy {
                        removal,
                        name: key,
                        facts: Vec::new(),
                        sequences: Vec::new(),
                        is_recorded: false,
                    };
                    memory.known.removing.insert(run, removed);
                }
            }
        }
        memory.known.orphans = seen;
    }
}
