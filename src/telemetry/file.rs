//! The log as JSON, one object a line, in one file a day.
//!
//! The day is that of UTC, as `tracing-appender` counts it: `pgbackupd.json` in the settings becomes
//! `pgbackupd.2026-11-22.json`. Old days are removed here and not by the appender: it takes every
//! file whose name begins and ends alike for its own, and in a directory with backups that would
//! be the manifests.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use chrono::{NaiveDate, Utc};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};

use super::{JsonFile, TelemetryError};
use crate::threads::{NoThread, without_panic};

/// Lines that may wait for the disk before those who log have to wait too. The queue is allocated
/// as a whole; the appender's own 128,000 are megabytes.
const LINES_WAITING: usize = 1024;

/// Opens the file of today and starts the thread that writes it. The guard waits for what is still
/// on its way to the disk, a second at most, when it is dropped.
///
/// # Errors
/// When the directory cannot be made or the file cannot be opened.
pub(super) fn open(
    file: &JsonFile,
    complain: impl FnMut(&str) + Send + 'static,
) -> Result<(NonBlocking, WorkerGuard), TelemetryError> {
    let daily = Daily::open(file)?;
    let path = file.path.clone();
    let writer = WholeLines::new(daily, path, complain);
    // The default loses lines when the disk is slow.
    let started = without_panic(move || {
        NonBlockingBuilder::default()
            .lossy(false)
            .buffered_lines_limit(LINES_WAITING)
            .thread_name("log-file")
            .finish(writer)
    });
    Ok(started.map_err(NoThread)?)
}

/// The names of the files of one log.
#[derive(Clone, Debug)]
struct Names {
    directory: PathBuf,
    stem: String,
    extension: Option<String>,
}

impl Names {
    fn of(path: &Path) -> Result<Self, TelemetryError> {
        let unnamed = || TelemetryError::FileName {
            path: path.to_owned(),
        };
        let text = |part: &std::ffi::OsStr| part.to_str().map(str::to_owned).ok_or_else(unnamed);
        let directory = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Err(unnamed()),
        };
        Ok(Self {
            directory: directory.to_owned(),
            stem: text(path.file_stem().ok_or_else(unnamed)?)?,
            extension: path.extension().map(text).transpose()?,
        })
    }

    fn appender(&self) -> Result<RollingFileAppender, tracing_appender::rolling::InitError> {
        let mut builder = RollingFileAppender::builder()
            .rotation(Rotation::DAILY)
            .filename_prefix(&self.stem);
        if let Some(extension) = &self.extension {
            builder = builder.filename_suffix(extension);
        }
        builder.build(&self.directory)
    }

    fn day(&self, name: &str) -> Option<NaiveDate> {
        let date = name.strip_prefix(&self.stem)?.strip_prefix('.')?;
        let date = match &self.extension {
            Some(extension) => date.strip_suffix(extension)?.strip_suffix('.')?,
            None => date,
        };
        // Exactly as the appender writes it: chrono alone would take `2026-1-2` too.
        let day = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
        (day.to_string() == date).then_some(day)
    }

    /// Of these names, those that are not among the newest `keep` days. Today's always stays,
    /// whatever a clock that was wrong has left behind.
    fn surplus(&self, names: &[String], today: NaiveDate, keep: usize) -> Vec<String> {
        let mut days: Vec<(NaiveDate, &String)> = names
            .iter()
            .filter_map(|name| Some((self.day(name)?, name)))
            .filter(|(day, _)| *day != today)
            .collect();
        days.sort_by(|a, b| b.cmp(a));
        days.into_iter()
            .skip(keep.saturating_sub(1))
            .map(|(_, name)| name.clone())
            .collect()
    }
}

/// Today's file.
#[derive(Debug)]
struct Daily {
    names: Names,
    keep: usize,
    appender: RollingFileAppender,
    day: NaiveDate,
}

impl Daily {
    fn open(file: &JsonFile) -> Result<Self, TelemetryError> {
        let failed = |source| TelemetryError::File {
            path: file.path.clone(),
            source,
        };
        let names = Names::of(&file.path)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&names.directory)
            .map_err(failed)?;
        let appender = names
            .appender()
            .map_err(|error| failed(root_cause(&error)))?;
        let daily = Self {
            names,
            keep: file.keep,
            appender,
            day: Utc::now().date_naive(),
        };
        daily.remove_surplus();
        Ok(daily)
    }

    /// What cannot be removed now is tried again with the next day.
    fn remove_surplus(&self) {
        let Ok(entries) = fs::read_dir(&self.names.directory) else {
            return;
        };
        let names: Vec<String> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                entry.file_type().ok()?.is_file().then_some(())?;
                entry.file_name().into_string().ok()
            })
            .collect();
        for name in self.names.surplus(&names, self.day, self.keep) {
            let _ = fs::remove_file(self.names.directory.join(name));
        }
    }

    fn turn_to(&mut self, today: NaiveDate) {
        // The appender turns to a later day by itself. When the clock is set back, it would go on
        // with the later one.
        if today < self.day
            && let Ok(appender) = self.names.appender()
        {
            self.appender = appender;
        }
        self.day = today;
        self.remove_surplus();
    }
}

impl Write for Daily {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let today = Utc::now().date_naive();
        if today != self.day {
            self.turn_to(today);
        }
        self.appender.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.appender.flush()
    }
}

/// The error of the system beneath an error of the appender, which repeats it in its own words.
fn root_cause(error: &tracing_appender::rolling::InitError) -> io::Error {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error)
        .map_or_else(
            || io::Error::other(error.to_string()),
            io::Error::from_raw_os_error,
        )
}

/// Writes lines whole or starts again after a torn one, and says when lines are lost; the thread
/// that writes does neither.
struct WholeLines<W, C> {
    inner: W,
    path: PathBuf,
    complain: C,
    lost: u64,
    torn: bool,
}

impl<W: Write, C: FnMut(&str)> WholeLines<W, C> {
    fn new(inner: W, path: PathBuf, complain: C) -> Self {
        Self {
            inner,
            path,
            complain,
            lost: 0,
            torn: false,
        }
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.inner.write_all(b"\n")?;
            self.torn = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.inner.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = &rest[count..];
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<W: Write, C: FnMut(&str)> Write for WholeLines<W, C> {
    /// Takes one line, always as a whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.put(line) {
            Ok(()) if self.lost > 0 => {
                let (path, lost) = (self.path.display(), self.lost);
                (self.complain)(&format!(
                    "the log file {path} can be written again; {lost} lines are missing from it"
                ));
                self.lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if self.lost == 0 {
                    (self.complain)(&format!(
                        "the log file {} cannot be written: {error}; its lines are lost until it \
                         can",
                        self.path.display()
                    ));
                }
                self.lost += 1;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::os::unix::fs::PermissionsExt;

    use chrono::Days;

    use super::*;

    fn names(path: &str) -> Names {
        Names::of(Path::new(path)).unwrap()
    }

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn only_days_of_this_log_are_removed() {
        let log = names("/var/backups/app/backup.json");
        let others = [
            "backup.json",
            "backup.log",
            "backup_20251101_020000.json",
            "backup_20251101_020000.sql.gz",
            "backup.2025-11-01",
            "backup.2025-11-01.json.gz",
            "backup.2025-1-1.json",
            "backup.2025-02-30.json",
            "backup..json",
            "weekly_backup.2025-11-01.json",
        ];
        let mut all: Vec<String> = others.iter().map(ToString::to_string).collect();
        all.extend(["backup.2025-11-01.json", "backup.2025-11-02.json"].map(str::to_owned));
        assert_eq!(
            log.surplus(&all, date("2025-11-03"), 1),
            ["backup.2025-11-02.json", "backup.2025-11-01.json"]
        );
        assert_eq!(
            log.surplus(&all, date("2025-11-03"), 2),
            ["backup.2025-11-01.json"]
        );
        assert!(log.surplus(&all, date("2025-11-03"), 3).is_empty());
        assert_eq!(
            names("pgbackupd").surplus(&["pgbackupd.2025-11-01".to_owned()], date("2025-11-03"), 0),
            ["pgbackupd.2025-11-01"]
        );
    }

    #[test]
    fn a_file_from_a_wrong_clock_does_not_cost_todays() {
        let log = names("/var/log/pgbackupd.json");
        let all =
            ["2099-01-01", "2025-11-03", "2025-11-02"].map(|day| format!("pgbackupd.{day}.json"));
        assert_eq!(
            log.surplus(&all, date("2025-11-03"), 1),
            ["pgbackupd.2099-01-01.json", "pgbackupd.2025-11-02.json"]
        );
    }

    #[test]
    fn the_directory_is_made_and_old_days_go_when_the_log_is_opened() {
        rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("a/b");
        let file = JsonFile {
            path: below.join("pgbackupd.json"),
            keep: 2,
        };
        let today = Utc::now().date_naive();
        fs::create_dir_all(&below).unwrap();
        for days in 1..4 {
            let day = today - Days::new(days);
            fs::write(below.join(format!("pgbackupd.{day}.json")), "{}\n").unwrap();
        }
        fs::write(below.join("pgbackupd.other.json"), "{}\n").unwrap();
        let mut daily = Daily::open(&file).unwrap();
        daily.write_all(b"{}\n").unwrap();
        let mut left: Vec<String> = fs::read_dir(&below)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let yesterday = today - Days::new(1);
        let expected = [
            format!("pgbackupd.{yesterday}.json"),
            format!("pgbackupd.{today}.json"),
            "pgbackupd.other.json".to_owned(),
        ];
        assert_eq!(left, expected);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&below.join(&expected[1])), 0o600);
        assert_eq!(mode(&below), 0o700);
    }

    #[test]
    fn a_clock_set_back_turns_to_the_earlier_day() {
        let directory = tempfile::tempdir().unwrap();
        let file = JsonFile {
            path: directory.path().join("log.json"),
            keep: 3,
        };
        let mut daily = Daily::open(&file).unwrap();
        daily.day = daily.day + Days::new(3);
        let today = Utc::now().date_naive();
        fs::remove_file(directory.path().join(format!("log.{today}.json"))).unwrap();
        daily.write_all(b"kept\n").unwrap();
        let text = fs::read_to_string(directory.path().join(format!("log.{today}.json"))).unwrap();
        assert_eq!(text, "kept\n");
    }

    #[test]
    fn a_path_that_cannot_be_a_log_is_refused_in_words() {
        let directory = tempfile::tempdir().unwrap();
        let occupied = directory.path().join("file");
        fs::write(&occupied, "").unwrap();
        let refused = |path: &Path| {
            let file = JsonFile {
                path: path.to_owned(),
                keep: 1,
            };
            Daily::open(&file).unwrap_err().to_string()
        };
        let messages = refused(&occupied.join("pgbackupd.json"));
        assert!(
            messages.starts_with(&format!(
                "cannot write the log file {}/pgbackupd.json: File exists (os error 17)\nhint: ",
                occupied.display()
            )),
            "{messages}"
        );
        assert!(refused(Path::new("/")).contains("names no file"));
        // A directory stands where the file should.
        let today = Utc::now().date_naive();
        fs::create_dir(directory.path().join(format!("log.{today}.json"))).unwrap();
        assert!(
            refused(&directory.path().join("log.json")).contains("Is a directory (os error 21)")
        );
    }

    /// A disk with so many bytes free.
    struct Disk<'a> {
        free: &'a RefCell<usize>,
        bytes: &'a RefCell<Vec<u8>>,
    }

    impl Write for Disk<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut free = self.free.borrow_mut();
            let count = bytes.len().min(*free);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *free -= count;
            self.bytes.borrow_mut().extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_reported_once_and_leaves_no_torn_line_behind() {
        let (free, bytes) = (RefCell::new(13), RefCell::new(Vec::new()));
        let mut messages = Vec::new();
        let disk = Disk {
            free: &free,
            bytes: &bytes,
        };
        let mut lines = WholeLines::new(disk, "/log.json".into(), |text: &str| {
            messages.push(text.to_owned());
        });
        for number in 0..4 {
            writeln_whole(&mut lines, &format!("{{\"n\":{number}}}"));
        }
        *free.borrow_mut() = 1000;
        writeln_whole(&mut lines, "{\"n\":4}");
        drop(lines);
        assert_eq!(
            String::from_utf8(bytes.into_inner()).unwrap(),
            "{\"n\":0}\n{\"n\":\n{\"n\":4}\n"
        );
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert!(messages[0].starts_with("the log file /log.json cannot be written: "));
        assert_eq!(
            messages[1],
            "the log file /log.json can be written again; 3 lines are missing from it"
        );
    }

    fn writeln_whole(writer: &mut impl Write, line: &str) {
        let line = format!("{line}\n");
        assert_eq!(writer.write(line.as_bytes()).unwrap(), line.len());
    }
}
