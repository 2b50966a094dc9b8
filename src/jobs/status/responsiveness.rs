//! Whether a directory answers, before it is looked at: one that hangs must not hold up the report that
//! says so.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, FixedOffset};

use super::DaemonView;
use crate::policy::{Concern, ConcernKind};
use crate::repository::HangingDirectory;
use crate::responsiveness::{self, HASTE};

/// The first directory that hangs is waited for so long.
const FIRST: Duration = Duration::from_secs(5);

/// What is known of directories that hang.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Those that the daemon waits for.
    known: Vec<HangingDirectory>,
    /// Whether one was waited for in vain.
    hangs: AtomicBool,
}

impl Answers {
    /// With what the daemon knows.
    pub(super) fn known_to(daemon: &DaemonView) -> Self {
        Self {
            known: match daemon {
                DaemonView::Alive(state) => state.hanging.clone(),
                _ => Vec::new(),
            },
            hangs: AtomicBool::new(false),
        }
    }

    /// Why a directory cannot be looked at; none if it answers. What is wrong with it otherwise, the look
    /// will say.
    pub(super) fn trouble(&self, directory: &Path) -> Option<String> {
        let looking = self.ask(directory, |directory| {
            let _ = rustix::fs::statvfs(directory);
        });
        looking.err().map(|error| error.to_string())
    }

    /// Asks a directory.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        directory: &Path,
        question: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> io::Result<T> {
        if let Some(known) = self.known.iter().find(|one| one.directory == directory) {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                does_not_answer(directory, Some(known.since)),
            ));
        }
        let patience = if self.hangs.load(Ordering::Relaxed) {
            HASTE
        } else {
            FIRST
        };
        responsiveness::ask(directory, patience, question).map_err(|error| {
            if error.kind() != io::ErrorKind::TimedOut {
                return error;
            }
            self.hangs.store(true, Ordering::Relaxed);
            io::Error::new(error.kind(), does_not_answer(directory, None))
        })
    }

    /// That a directory which belongs to no database does not answer.
    pub(super) fn concern(&self, directory: &Path) -> Option<Concern> {
        Some(concern(directory, self.trouble(directory)?))
    }

    /// Concerns about the directories that the daemon waits for, without those that are on record already.
    pub(super) fn concerns(&self, before: &[Concern]) -> Vec<Concern> {
        let is_known = |directory: &PathBuf| {
            before
                .iter()
                .any(|concern| concern.directory.as_ref() == Some(directory))
        };
        let others = self.known.iter().filter(|one| !is_known(&one.directory));
        others
            .map(|one| {
                let sentence = does_not_answer(&one.directory, Some(one.since));
                concern(&one.directory, sentence)
            })
            .collect()
    }
}

fn concern(directory: &Path, sentence: String) -> Concern {
    Concern::new(ConcernKind::Directory, sentence)
        .about(directory.display().to_string())
        .in_directory(directory)
}

fn does_not_answer(directory: &Path, since: Option<DateTime<FixedOffset>>) -> String {
    let since = since.map_or_else(
        || "does not answer".to_owned(),
        |since| {
            let since = since.format("%a %Y-%m-%d %H:%M:%S %:z");
            format!("has not answered the daemon since {since}")
        },
    );
    format!(
        "the directory {} {since}: its file system hangs; check that the disk or the server behind it is \
         there",
        directory.display()
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Answers, HangingDirectory};
    use crate::policy::{Concern, ConcernKind};

    #[test]
    fn a_directory_that_the_daemon_waits_for_is_not_touched_and_is_a_concern() {
        let since = "2025-07-09T02:00:00+03:00".parse().unwrap();
        let hanging = |directory: &str| HangingDirectory {
            directory: directory.into(),
            since,
        };
        let answers = Answers {
            known: vec![hanging("/b/a"), hanging("/s")],
            ..Answers::default()
        };
        let text = answers.trouble(Path::new("/b/a")).unwrap();
        let start =
            "the directory /b/a has not answered the daemon since Wed 2025-07-09 02:00:00 +03:00: ";
        assert!(text.starts_with(start), "{text}");
        assert_eq!(answers.trouble(Path::new("/")), None);
        // It is not there, which others say.
        assert_eq!(answers.trouble(Path::new("/not/there")), None);
        let before = [Concern::new(ConcernKind::Directory, text)
            .of_database("a")
            .in_directory(Path::new("/b/a"))];
        let concerns = answers.concerns(&before);
        assert_eq!(concerns.len(), 1);
        assert_eq!(concerns[0].directory.as_deref(), Some(Path::new("/s")));
    }
}
