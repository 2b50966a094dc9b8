//! Which directories do not answer, for the log, `systemctl status` and `pgbackupd status`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, Utc};

use crate::responsiveness::Hanging;

/// The directories that are known not to answer.
#[derive(Debug, Default)]
pub(super) struct HangingDirectories {
    /// Each with the time since when it is waited for.
    known: BTreeMap<PathBuf, DateTime<Utc>>,
}

/// What differs from the look before.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Directories that hang since.
    pub new: Vec<Hanging>,
    /// Directories that answer again.
    pub answering: Vec<PathBuf>,
}

impl HangingDirectories {
    /// Takes in which directories hang now; one that is waited for in several ways may come several times.
    pub(super) fn update(&mut self, now: impl IntoIterator<Item = Hanging>) -> News {
        let mut hanging: BTreeMap<PathBuf, DateTime<Utc>> = BTreeMap::new();
        for Hanging { directory, since } in now {
            let known = hanging.entry(directory).or_insert(since);
            *known = since.min(*known);
        }
        let mut news = News::default();
        for (directory, since) in &mut hanging {
            match self.known.remove(directory) {
                // Of several waits the first one may have ended.
                Some(before) => *since = before.min(*since),
                None => news.new.push(Hanging {
                    directory: directory.clone(),
                    since: *since,
                }),
            }
        }
        news.answering = std::mem::take(&mut self.known).into_keys().collect();
        self.known = hanging;
        news
    }

    /// Those that hang, in the order of their paths.
    pub(super) fn all(&self) -> Vec<Hanging> {
        let known = self.known.iter();
        known
            .map(|(directory, since)| Hanging {
                directory: directory.clone(),
                since: *since,
            })
            .collect()
    }

    /// Whether all answer.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::{Hanging, HangingDirectories};

    #[test]
    fn a_directory_is_news_when_it_begins_to_hang_and_when_it_answers() {
        let hanging = |(directory, second): &(&str, i64)| Hanging {
            directory: directory.into(),
            since: DateTime::<Utc>::from_timestamp(*second, 0).unwrap(),
        };
        let mut directories = HangingDirectories::default();
        for (now, new, answering, all) in [
            (
                &[] as &[(&str, i64)],
                &[] as &[(&str, i64)],
                &[] as &[&str],
                &[] as &[(&str, i64)],
            ),
            (&[("/a", 5), ("/a", 3)], &[("/a", 3)], &[], &[("/a", 3)]),
            (
                &[("/a", 5), ("/b", 9)],
                &[("/b", 9)],
                &[],
                &[("/a", 3), ("/b", 9)],
            ),
            (&[("/b", 9)], &[], &["/a"], &[("/b", 9)]),
            (&[("/a", 12)], &[("/a", 12)], &["/b"], &[("/a", 12)]),
            (&[], &[], &["/a"], &[]),
        ] {
            let news = directories.update(now.iter().map(hanging));
            assert_eq!(news.new, new.iter().map(hanging).collect::<Vec<_>>());
            let expected: Vec<_> = answering.iter().map(std::path::PathBuf::from).collect();
            assert_eq!(news.answering, expected);
            assert_eq!(
                directories.all(),
                all.iter().map(hanging).collect::<Vec<_>>()
            );
        }
    }
}
