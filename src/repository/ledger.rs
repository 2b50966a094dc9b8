//! The ledger: one JSON object a line, appended and synced; the lasting record of every outcome.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::durable;
use super::record::{Event, Record};

/// The name of the ledger of backups, verifications and clean-ups in a database's directory.
pub(super) const BACKUP_LOG: &str = "backup.log";

/// The name of the ledger of restores and test restores.
pub(super) const RESTORE_LOG: &str = "restore.log";

/// So much of a ledger is read at a time when it is read from its end.
const BLOCK: u64 = 64 << 10;

/// A ledger file.
#[derive(Clone, Debug)]
pub struct Ledger {
    path: PathBuf,
}

impl Ledger {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a record and waits until it is on the disk. A record is in the ledger wholly or not
    /// at all.
    ///
    /// # Errors
    /// When the file cannot be written; it then is as it was.
    pub fn append(&self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let mut file = durable::open_to_append(&self.path)?;
        // Records come from several processes; appending is atomic, looking at the end is not.
        file.lock()?;
        let end = file.seek(SeekFrom::End(0))?;
        if !ends_with_a_line(&mut file, end)? {
            // What a crash tore stays, as a line of its own that nobody can read.
            line.insert(0, b'\n');
        }
        let written = file.write_all(&line).and_then(|()| file.sync_data());
        if written.is_err() {
            // A full disk may have taken the front of the line.
            file.set_len(end)?;
        } else if end == 0
            && let Some(directory) = self.path.parent()
        {
            // The file is new, and so is its name.
            durable::sync_directory(directory)?;
        }
        written
    }

    /// Calls back for every record, oldest first. Lines that are no record, torn ones and those of
    /// newer programs, are passed over. No file is an empty ledger.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self, mut each: impl FnMut(Record)) -> io::Result<()> {
        let file = match crate::regular_file::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            if let Ok(record) = serde_json::from_slice(&line) {
                each(record);
            }
            line.clear();
        }
        Ok(())
    }

    /// Calls back for every record, newest first, until the callback has seen enough: of a long
    /// ledger only the end is read. Otherwise as [`read`](Self::read). Gives how many of these lines
    /// nobody has written here: what a power cut leaves of a line is not among them.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_backwards(
        &self,
        mut each: impl FnMut(Record) -> ControlFlow<()>,
    ) -> io::Result<u64> {
        let mut damaged = 0;
        let mut file = match crate::regular_file::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(damaged),
            file => file?,
        };
        let mut pass_on = |line: &[u8]| {
            if let Ok(record) = serde_json::from_slice(line) {
                return each(record);
            }
            damaged += u64::from(is_damaged(line));
            ControlFlow::Continue(())
        };
        let mut start = file.seek(SeekFrom::End(0))?;
        // What was read of the line whose beginning is still to come.
        let mut rest = Vec::new();
        while start > 0 {
            let length = start.min(BLOCK);
            start -= length;
            file.seek(SeekFrom::Start(start))?;
            let mut block = Vec::new();
            (&mut file).take(length).read_to_end(&mut block)?;
            let Some(first) = memchr::memchr(b'\n', &block) else {
                block.append(&mut rest);
                rest = block;
                continue;
            };
            let front = block[..first].to_vec();
            block.extend_from_slice(&rest);
            for line in block[first + 1..].rsplit(|byte| *byte == b'\n') {
                if pass_on(line).is_break() {
                    return Ok(damaged);
                }
            }
            rest = front;
        }
        // Whether to go on is of no interest after the last one.
        let _ = pass_on(&rest);
        Ok(damaged)
    }

    /// The start records of runs that have no end, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open_runs(&self) -> io::Result<Vec<Record>> {
        let mut open = BTreeMap::new();
        self.read(|record| {
            if record.event == Event::Started {
                open.insert(record.run, record);
            } else {
                open.remove(&record.run);
            }
        })?;
        let mut open: Vec<Record> = open.into_values().collect();
        open.sort_by_key(|record| record.at);
        Ok(open)
    }
}

/// Whether a line is neither a record, of this version or another, nor what a crash leaves of one: its
/// beginning, or zeros.
fn is_damaged(line: &[u8]) -> bool {
    let written = line
        .iter()
        .position(|byte| *byte != 0 && !byte.is_ascii_whitespace());
    written.is_some_and(|at| line[at] != b'{')
}

fn ends_with_a_line(file: &mut File, end: u64) -> io::Result<bool> {
    if end == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(end - 1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use chrono::DateTime;
    use uuid::Uuid;

    use super::{Event, Ledger, Record};
    use crate::repository::BackupDetails;

    fn record(run: u128, event: Event) -> Record {
        let at = DateTime::parse_from_rfc3339("2025-07-09T02:00:00+03:00").unwrap();
        let details = BackupDetails {
            reason: Some("قبل الترقية".to_owned()),
            ..BackupDetails::default()
        };
        let mut record = Record::new(at, Uuid::from_u128(run), event, "a\nb", details);
        record.seconds = Some(1.5);
        record
    }

    fn records(ledger: &Ledger) -> Vec<Record> {
        let mut records = Vec::new();
        ledger.read(|record| records.push(record)).unwrap();
        records
    }

    #[test]
    fn a_torn_last_line_is_passed_over_and_does_not_tear_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(directory.path().join("backup.log"));
        assert_eq!(records(&ledger), []);
        let first = record(1, Event::Started);
        ledger.append(&first).unwrap();
        let whole = std::fs::read(ledger.path()).unwrap();
        for torn in 1..whole.len() {
            let text = [whole.as_slice(), &whole[..torn]].concat();
            std::fs::write(ledger.path(), text).unwrap();
            let next = record(2, Event::Succeeded);
            ledger.append(&next).unwrap();
            let found = records(&ledger);
            // A line that lacks only its line break is whole.
            let expected = if torn == whole.len() - 1 {
                vec![first.clone(), first.clone(), next]
            } else {
                vec![first.clone(), next]
            };
            assert_eq!(found, expected, "torn after {torn} bytes");
        }
    }

    #[test]
    fn backwards_the_same_records_are_read_in_the_other_order() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(directory.path().join("backup.log"));
        let mut text = Vec::new();
        for run in 0..300_u32 {
            let mut record = record(run.into(), Event::Started);
            // Lines of every length, some longer than a block, and one that nobody can read.
            let length = if run % 100 == 7 { 150_000 } else { run * 7 };
            record.message = Some("x".repeat(length as usize));
            text.extend(serde_json::to_vec(&record).unwrap());
            text.push(b'\n');
            if run == 150 {
                text.extend(b"{\"torn\n\n");
            }
        }
        for cut in [0, 1, 10] {
            std::fs::write(ledger.path(), &text[..text.len() - cut]).unwrap();
            let mut expected = records(&ledger);
            expected.reverse();
            let mut found = Vec::new();
            ledger
                .read_backwards(|record| {
                    found.push(record);
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(found.len(), if cut == 10 { 299 } else { 300 });
            assert!(found == expected);
        }
        let mut seen = 0;
        ledger
            .read_backwards(|_| {
                seen += 1;
                if seen == 3 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
        assert_eq!(seen, 3);
    }

    #[test]
    fn a_run_without_an_end_is_open() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(directory.path().join("backup.log"));
        for (run, event) in [
            (1, Event::Started),
            (2, Event::Started),
            (1, Event::Failed),
            (3, Event::Skipped),
        ] {
            ledger.append(&record(run, event)).unwrap();
        }
        let open: Vec<_> = ledger
            .open_runs()
            .unwrap()
            .iter()
            .map(|r| r.run.as_u128())
            .collect();
        assert_eq!(open, [2]);
    }
}
