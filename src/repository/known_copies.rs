//! What is known of the copies of a directory's backups at one destination, as of the last time that a copy
//! run asked it: for `status`, which waits for no network.
//!
//! `copying/<destination>/known-<hash of the path>.json` in the state directory. Its loss loses nothing but
//! how far the copies were proved.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::copy_journal::directory_of;
use super::last_seen::hash;
use super::record::Removal;
use super::seal::{self, Names};
use crate::policy::{CopyState, Gap, ManifestNumbers, Series};

/// What is known of the copies of a directory's backups at one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownCopies {
    /// The directory.
    pub directory: PathBuf,
    /// The copies, by the runs that made the backups.
    pub copies: BTreeMap<Uuid, KnownCopy>,
    /// When the destination was asked last, and answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<DateTime<Utc>>,
    /// The last run, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<CopyFailure>,
    /// The copies that retention removes, by the runs that made the backups: written before their manifests
    /// go, and kept until nothing of them is left and the ledger says so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub removing: BTreeMap<Uuid, RemovedCopy>,
    /// Since when the destination refuses to remove anything, and in which words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<CopyFailure>,
    /// Since when the destination refuses a pin or unpin, and in which words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_refusal: Option<CopyFailure>,
    /// When volumes without a manifest were first listed, by the name of what they would be a copy of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub orphans: BTreeMap<String, DateTime<Utc>>,
    /// The copies that were there and are no longer listed, by the runs that made the backups. Those that
    /// retention removed are not among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub absent: BTreeMap<Uuid, AbsentCopy>,
    /// When a verify run last tried to read a copy of each series, whatever it found.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tried: BTreeMap<Series, DateTime<Utc>>,
    /// Where the copies are: the destination's address and the place there. Of another place nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// How this machine's clock differed from the store's when that was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockReading>,
    /// The numbers of the manifests that should be there.
    #[serde(default)]
    pub numbers: ManifestNumbers,
}

/// A copy that was there and is no longer listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsentCopy {
    /// The copy, as it was known.
    #[serde(flatten)]
    pub copy: KnownCopy,
    /// When a listing lacked it first.
    pub since: DateTime<Utc>,
    /// When it was found to be missing: another listing lacked it an hour later or more, and the store said
    /// that it has no such object. None while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<DateTime<Utc>>,
}

/// How this machine's clock differs from the store's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReading {
    /// When they were compared, by this machine's clock.
    pub at: DateTime<Utc>,
    /// So many seconds this machine's clock is ahead; below 0, behind.
    pub ahead_seconds: i64,
}

/// A copy that retention removes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedCopy {
    /// The backup, with the reasons in words.
    #[serde(flatten)]
    pub removal: Removal,
    /// The copy's name in keys.
    pub name: String,
    /// The keys of its facts: without a manifest, none is known as the copy's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<String>,
    /// The numbers of its manifests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sequences: Vec<u64>,
    /// Whether the ledger says that it was removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_recorded: bool,
}

/// A copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownCopy {
    /// The backup.
    pub backup: String,
    /// Its series.
    pub series: Series,
    /// When the backup was started.
    pub started: DateTime<Utc>,
    /// Bytes of all its volumes.
    pub bytes: u64,
    /// When it was complete at the destination.
    pub copied: DateTime<Utc>,
    /// How far it is proved.
    pub state: CopyState,
    /// When that was proved last.
    pub proved: DateTime<Utc>,
    /// When it was downloaded as a whole for the last time and was what was signed, if that is later than
    /// `proved`: proof of less than its state, but of all its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<DateTime<Utc>>,
    /// Since when it is known to be damaged, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<CopyFailure>,
    /// When the store got a volume that is later than the manifest: somebody may have replaced it. Verify
    /// reads such a copy first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<DateTime<Utc>>,
    /// Its manifest at the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<KnownManifest>,
}

/// The manifest of a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownManifest {
    /// Its key.
    pub key: String,
    /// The SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
    /// The fingerprint of the key that signed it.
    #[serde(default)]
    pub signer: String,
}

impl KnownCopy {
    /// Records that the copy was proved so far at this time. A lesser proof does not lower its state, an
    /// equal one renews the time. A damaged copy is intact again only by a proof that has read all of it.
    pub fn prove(&mut self, state: CopyState, at: DateTime<Utc>) {
        let reads_all = state.reads_all();
        if self.damage.is_some() && !reads_all {
            return;
        }
        if state > self.state {
            (self.state, self.proved) = (state, at);
        } else if state == self.state {
            self.proved = self.proved.max(at);
        }
        if reads_all {
            self.damage = None;
            // What was stored after that is not proved.
            self.replaced = self.replaced.filter(|replaced| *replaced > at);
            self.read = self.last_read().max(Some(at));
        }
        self.read = self.read.filter(|read| *read > self.proved);
    }

    /// Records that the copy was found to be damaged. The first finding stands until it is intact again.
    pub fn find_damaged(&mut self, at: DateTime<Utc>, why: String) {
        let since = self.damage.as_ref().map_or(at, |damage| damage.since);
        self.damage = Some(CopyFailure { since, why });
    }

    /// When it was downloaded as a whole for the last time and was what was signed; none if it never was.
    pub fn last_read(&self) -> Option<DateTime<Utc>> {
        self.read.max(self.state.reads_all().then_some(self.proved))
    }

    /// When it was read as a whole for the last time, or, if it never was, when it reached its state.
    pub fn last_proved(&self) -> DateTime<Utc> {
        self.last_read().unwrap_or(self.proved)
    }

    /// Takes over what another process has proved of the same copy meanwhile.
    fn take_over_proofs(&mut self, other: &Self) {
        self.state = other.state;
        self.proved = other.proved;
        self.read = other.read;
        self.damage.clone_from(&other.damage);
        let read = self.last_read();
        self.replaced = self.replaced.filter(|replaced| Some(*replaced) > read);
    }
}

/// What has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyFailure {
    /// When it failed first, with no success since.
    pub since: DateTime<Utc>,
    /// Why it failed last.
    pub why: String,
}

impl KnownCopies {
    /// Reads what is known; nothing where there is no such file, or it is not as it was written.
    pub fn read(state: &Path, destination: &str, directory: &Path) -> Self {
        // Of two paths with one hash, neither is the other.
        let known = read(&path(state, destination, directory));
        let known = known.filter(|known| known.directory == directory);
        known.unwrap_or_else(|| Self::nothing(directory))
    }

    /// Nothing, of a directory.
    fn nothing(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            ..Self::default()
        }
    }

    /// Writes it, wholly or not at all, for whoever holds the destination's lock. What others have proved of
    /// its copies since it was read is kept.
    ///
    /// # Errors
    /// When the file cannot be written; the old one then stands.
    pub fn write(&self, state: &Path, destination: &str) -> io::Result<()> {
        Self::update(state, destination, &self.directory, |there| {
            let before = std::mem::replace(there, self.clone());
            there.tried.extend(before.tried);
            for (run, copy) in &mut there.copies {
                // One that was made again since is another one.
                let same = before
                    .copies
                    .get(run)
                    .filter(|same| same.copied == copy.copied);
                if let Some(same) = same {
                    copy.take_over_proofs(same);
                }
            }
        })
    }

    /// Records what was found out about copies, next to whoever copies meanwhile: the file is read, changed
    /// and written while nobody else does that.
    ///
    /// # Errors
    /// When the file cannot be written; the old one then stands.
    pub fn update(
        state: &Path,
        destination: &str,
        directory: &Path,
        change: impl FnOnce(&mut Self),
    ) -> io::Result<()> {
        let home = directory_of(state, destination)?;
        let names = Names {
            file: &file_name(directory),
            lock: TURN,
            when_spoilt: "how far copies are proved is known again once they are read",
        };
        seal::change(&home, &names, |known: &mut Self| {
            if known.directory != directory {
                *known = Self::nothing(directory);
            }
            change(known);
        })
    }

    /// What is known of the copies at a destination, of each directory.
    pub fn all(state: &Path, destination: &str) -> Vec<Self> {
        let home = super::copy_journal::home(state, destination);
        let Ok(entries) = std::fs::read_dir(&home) else {
            return Vec::new();
        };
        let is_known = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
        let names = entries.flatten().map(|entry| entry.file_name());
        let names = names.filter(|name| name.to_str().is_some_and(is_known));
        names.filter_map(|name| read(&home.join(name))).collect()
    }

    /// Whether the copy of the backup that this run made is known to be damaged.
    pub fn is_damaged(&self, run: &Uuid) -> bool {
        self.copies
            .get(run)
            .is_some_and(|copy| copy.damage.is_some())
    }

    /// The newest copy of each series, with the run that made the backup.
    pub fn newest_of_series(&self) -> impl Iterator<Item = (Uuid, &KnownCopy)> {
        let mut newest: BTreeMap<&Series, (Uuid, &KnownCopy)> = BTreeMap::new();
        for (run, copy) in &self.copies {
            let best = newest.entry(&copy.series).or_insert((*run, copy));
            if copy.started > best.1.started {
                *best = (*run, copy);
            }
        }
        newest.into_values()
    }

    /// Which manifests are not among those with these numbers although they should be, without taking that down.
    pub fn gaps_in(&self, there: &BTreeSet<u64>, now: DateTime<Utc>) -> Vec<Gap> {
        let excused = self.being_removed();
        self.numbers.gaps_in((there, &excused), now)
    }

    /// Takes down which manifests there are, by number. `of` is what they are numbered in.
    pub fn look_for_gaps(&mut self, of: &str, (there, now): (&BTreeSet<u64>, DateTime<Utc>)) {
        let excused = self.being_removed();
        self.numbers.look(of, (there, &excused), now);
    }

    /// The numbers of the manifests that retention removes.
    fn being_removed(&self) -> BTreeSet<u64> {
        let removing = self.removing.values();
        removing.flat_map(|one| &one.sequences).copied().collect()
    }

    /// The newest backup of which there is a copy, of these series or of all, with the run that made it.
    pub fn newest(&self, is_meant: impl Fn(&Series) -> bool) -> Option<(Uuid, &KnownCopy)> {
        let copies = self.copies.iter().map(|(run, copy)| (*run, copy));
        let meant = copies.filter(|(_, copy)| is_meant(&copy.series));
        meant.max_by_key(|(_, copy)| copy.started)
    }
}

/// Where the manifests of a directory's copies at a destination are kept that were read before.
pub fn manifest_cache(state: &Path, destination: &str, directory: &Path) -> PathBuf {
    let home = super::copy_journal::home(state, destination);
    home.join(format!("manifests-{}", hash(directory)))
}

/// The file that is locked while one of these is changed.
const TURN: &str = "known.lock";

/// What the names of these files begin with, and how they end.
const PREFIX: &str = "known-";
const SUFFIX: &str = ".json";

/// What a file has; none where there is none, or it is not as it was written.
fn read(path: &Path) -> Option<KnownCopies> {
    seal::parse(&crate::regular_file::read(path).ok()?)
}

fn file_name(directory: &Path) -> String {
    format!("{PREFIX}{}{SUFFIX}", hash(directory))
}

fn path(state: &Path, destination: &str, directory: &Path) -> PathBuf {
    let home = super::copy_journal::home(state, destination);
    home.join(file_name(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: u32) -> DateTime<Utc> {
        format!("2025-07-09T{hour:02}:00:00Z").parse().unwrap()
    }

    fn removed() -> RemovedCopy {
        RemovedCopy {
            removal: Removal {
                backup: "backup_20250601_020000".to_owned(),
                reasons: vec!["older than 30 days".to_owned()],
            },
            name: "backup_20250601_020000.x".to_owned(),
            facts: vec!["v1/fact".to_owned()],
            sequences: vec![7],
            is_recorded: true,
        }
    }

    fn known_copy(state: CopyState, proved: u32) -> KnownCopy {
        KnownCopy {
            backup: "backup_20250709_020000".to_owned(),
            series: Series::daily(),
            started: at(0),
            bytes: 7,
            copied: at(1),
            state,
            proved: at(proved),
            read: None,
            damage: None,
            replaced: None,
            manifest: None,
        }
    }

    #[test]
    fn a_state_is_raised_and_renewed_and_never_lowered() {
        use CopyState::{Opened, ReadBack, Restored, Sent, Uploaded};
        // From this state, proved at 2, by this proof at this time: the state, its time, and the last reading.
        for (before, proof, when, state, proved, read) in [
            (Sent, Uploaded, 3, Uploaded, 3, None),
            (Sent, Sent, 3, Sent, 3, None),
            (Uploaded, Sent, 3, Uploaded, 2, None),
            (Uploaded, ReadBack, 3, ReadBack, 3, Some(3)),
            (ReadBack, ReadBack, 3, ReadBack, 3, Some(3)),
            (ReadBack, Restored, 3, Restored, 3, Some(3)),
            (Opened, ReadBack, 3, Opened, 2, Some(3)),
            (Restored, Opened, 3, Restored, 2, Some(3)),
            (Opened, Uploaded, 3, Opened, 2, Some(2)),
            // An earlier proof that is recorded later renews nothing.
            (Opened, Opened, 1, Opened, 2, Some(2)),
            (Opened, ReadBack, 1, Opened, 2, Some(2)),
        ] {
            let mut copy = known_copy(before, 2);
            copy.prove(proof, at(when));
            let found = (copy.state, copy.proved, copy.last_read());
            assert_eq!(
                found,
                (state, at(proved), read.map(at)),
                "{before:?} {proof:?}"
            );
        }
        let mut copy = known_copy(Opened, 2);
        copy.prove(ReadBack, at(3));
        copy.prove(Opened, at(4));
        assert_eq!((copy.last_read(), copy.read), (Some(at(4)), None));
    }

    #[test]
    fn a_damaged_copy_is_intact_again_only_when_all_of_it_was_read() {
        let mut copy = known_copy(CopyState::Uploaded, 2);
        copy.find_damaged(at(3), "first".to_owned());
        copy.find_damaged(at(4), "second".to_owned());
        let damage = copy.damage.clone().unwrap();
        assert_eq!((damage.since, &*damage.why), (at(3), "second"));
        copy.prove(CopyState::Uploaded, at(5));
        assert_eq!((copy.damage.is_some(), copy.proved), (true, at(2)));
        copy.replaced = Some(at(7));
        copy.prove(CopyState::ReadBack, at(6));
        assert_eq!((copy.damage.as_ref(), copy.replaced), (None, Some(at(7))));
        copy.prove(CopyState::ReadBack, at(8));
        assert_eq!(copy.replaced, None);
    }

    #[test]
    fn what_others_prove_while_a_copy_run_goes_on_is_kept() {
        let state = tempfile::tempdir().unwrap();
        let (state, directory) = (state.path(), Path::new("/var/backups/app"));
        let [one, two, three] = [1, 2, 3].map(Uuid::from_u128);
        let mut known = KnownCopies::read(state, "far", directory);
        for run in [one, two, three] {
            known.copies.insert(run, known_copy(CopyState::Opened, 2));
        }
        known.write(state, "far").unwrap();
        KnownCopies::update(state, "far", directory, |known| {
            for copy in known.copies.values_mut() {
                copy.prove(CopyState::ReadBack, at(5));
            }
            known
                .copies
                .get_mut(&two)
                .unwrap()
                .find_damaged(at(6), "why".to_owned());
        })
        .unwrap();
        // The copy run has removed one meanwhile, and has made the damaged one again.
        known.copies.remove(&three);
        known.copies.get_mut(&two).unwrap().copied = at(7);
        known.write(state, "far").unwrap();
        let found = KnownCopies::read(state, "far", directory).copies;
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [one, two]);
        assert_eq!(found[&one].last_read(), Some(at(5)));
        assert_eq!(
            (found[&two].last_read(), &found[&two].damage),
            (Some(at(2)), &None)
        );
    }

    #[test]
    fn a_file_of_the_first_release_is_read() {
        let text = r#"{"directory": "/var/backups/app", "copies": {"00000000-0000-0000-0000-000000000001": {
            "backup": "backup_20250709_020000", "series": "daily", "started": "2025-07-09T00:00:00Z", "bytes": 7,
            "copied": "2025-07-09T01:00:00Z", "state": "opened", "proved": "2025-07-09T02:00:00Z"}}}"#;
        let known: KnownCopies = serde_json::from_str(text).unwrap();
        let copy = &known.copies[&Uuid::from_u128(1)];
        assert_eq!(*copy, known_copy(CopyState::Opened, 2));
        assert_eq!(copy.last_read(), Some(at(2)));
    }

    /// All that there can be in a file.
    fn everything(directory: &Path) -> KnownCopies {
        let copy = |hour, series: &str| KnownCopy {
            backup: format!("backup_20250709_{hour:02}0000"),
            series: series.parse().unwrap(),
            started: at(hour),
            bytes: 7,
            copied: at(hour + 1),
            state: CopyState::Opened,
            proved: at(hour + 1),
            read: Some(at(hour + 2)),
            damage: Some(CopyFailure {
                since: at(hour + 3),
                why: "a volume is not what was signed".to_owned(),
            }),
            replaced: Some(at(hour + 3)),
            manifest: Some(KnownManifest {
                key: "v1/manifest".to_owned(),
                sha256: "00".to_owned(),
                signer: "SHA256:x".to_owned(),
            }),
        };
        KnownCopies {
            directory: directory.to_owned(),
            copies: [
                (Uuid::from_u128(1), copy(2, "daily")),
                (Uuid::from_u128(2), copy(1, "weekly")),
            ]
            .into(),
            asked: Some(at(3)),
            failure: Some(CopyFailure {
                since: at(4),
                why: "it is away".to_owned(),
            }),
            removing: [(Uuid::from_u128(3), removed())].into(),
            refusal: Some(CopyFailure {
                since: at(5),
                why: "it keeps everything".to_owned(),
            }),
            absent: [(
                Uuid::from_u128(4),
                AbsentCopy {
                    copy: copy(3, "daily"),
                    since: at(6),
                    missing: Some(at(8)),
                },
            )]
            .into(),
            tried: [(Series::daily(), at(7))].into(),
            place: Some("file:///mnt/v1/db1/main/app".to_owned()),
            clock: Some(ClockReading {
                at: at(3),
                ahead_seconds: -400,
            }),
            numbers: ManifestNumbers::default(),
            pin_refusal: None,
            orphans: [("backup_20250601_020000.y".to_owned(), at(6))].into(),
        }
    }

    #[test]
    fn what_was_written_is_read_again_and_what_was_changed_is_not() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path().join("state");
        let directory = Path::new("/var/backups/app");
        let known = everything(directory);
        let none = KnownCopies::read(&state, "far", directory);
        assert_eq!((none.copies.len(), none.asked), (0, None));
        known.write(&state, "far").unwrap();
        assert_eq!(KnownCopies::read(&state, "far", directory), known);
        assert!(
            KnownCopies::read(&state, "near", directory)
                .copies
                .is_empty()
        );
        let newest =
            |is_meant: fn(&Series) -> bool| known.newest(is_meant).map(|(_, one)| one.started);
        assert_eq!(newest(|_| true), Some(at(2)));
        assert_eq!(newest(|series| series.as_str() == "weekly"), Some(at(1)));
        assert_eq!(newest(|_| false), None);

        let file = path(&state, "far", directory);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replacen("opened", "sent", 1)).unwrap();
        assert!(
            KnownCopies::read(&state, "far", directory)
                .copies
                .is_empty()
        );
    }
}
