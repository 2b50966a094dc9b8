//! Reading a dump that may be damaged, while what comes out of it is loaded.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{self, Sender};

use super::state::Load;
use crate::config::Format;
use crate::jobs::JobError;
use crate::jobs::archive::without_a_server;
use crate::jobs::dump::{Dumper, Overheard, blocking};
use crate::jobs::restore::work::{Loading, Restore};
use crate::jobs::tables::to_read;
use crate::pipeline::census::ObjectId;
use crate::pipeline::{DumpPart, ReadSoFar, StreamError, Text, take_everything};
use crate::postgres::{
    Confinement, Conninfo, archive_as_sql_arguments, archive_entries_arguments,
    archive_list_arguments,
};

/// So many parts of the dump wait for the server; rows come a mebibyte at a time.
const AHEAD: usize = 4;

/// On a tar archive that breaks off, `pg_restore` does not end by itself. It is ended when it has written nothing
/// for so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the dump and loads it; gives what was read. Damage ends the reading, but for an archive, whose other
/// entries are still there.
///
/// # Errors
/// When nothing of it can be read, the server fails, or the limit is reached.
pub(super) async fn feed(
    restore: &Restore<'_>,
    loading: &Loading,
    load: &mut Load<'_>,
) -> Result<ReadSoFar, JobError> {
    let source = &restore.prepared.source;
    if source.format != Format::Plain {
        let context = restore.run.context;
        let file = source.archive();
        let doing = format!("cannot read {}", source.path().display());
        let reading = blocking(restore.run, &doing, move || {
            file.breaks_off().map_err(StreamError::Read)
        });
        let archive = Archive {
            restore,
            loading,
            without_a_server: without_a_server(context)?,
            breaks_off: reading.await?,
        };
        return archive.feed(load).await;
    }
    let (sender, receiver) = mpsc::channel(AHEAD);
    let (file, compression) = (source.file.clone(), source.compression);
    let adaptation = source.adaptation.clone();
    let doing = format!("cannot read {}", file.path().display());
    let counted = Arc::clone(&restore.run.progress);
    let reading = blocking(restore.run, &doing, move || {
        let text = Text::of_damaged_file(&file, compression)?.adapted(adaptation.as_ref());
        take_everything(text, &counted, hand_on(sender))
    });
    let (read, loaded) = tokio::join!(reading, take(load, receiver));
    loaded?;
    read
}

fn hand_on(sender: Sender<DumpPart>) -> impl FnMut(DumpPart) -> Result<(), StreamError> {
    // When the server fails, nobody takes what is read.
    move |part| {
        let sent = sender.blocking_send(part);
        sent.map_err(|_| StreamError::Cancelled)
    }
}

/// Loads what comes; gives the object of the last part.
async fn take(
    load: &mut Load<'_>,
    mut parts: mpsc::Receiver<DumpPart>,
) -> Result<Option<ObjectId>, JobError> {
    let mut last = None;
    while let Some(part) = load.run.wait_for(parts.recv()).await? {
        match &part {
            DumpPart::Statement(statement) if !statement.object.is_none() => {
                last = Some(statement.object.clone());
            }
            DumpPart::Begin(rows) => last = Some(rows.head.object.clone()),
            _ => {}
        }
        load.part(part).await?;
    }
    load.note_broken_off();
    load.end_block().await?;
    Ok(last)
}

/// An archive, of which `pg_restore` makes text.
struct Archive<'a> {
    restore: &'a Restore<'a>,
    loading: &'a Loading,
    without_a_server: Conninfo,
    /// Where it breaks off, if it is a tar archive that does.
    breaks_off: Option<String>,
}

impl Archive<'_> {
    async fn feed(&self, load: &mut Load<'_>) -> Result<ReadSoFar, JobError> {
        let (mut read, mut last) = self.pass(load, None).await?;
        // One that is unpacked into pg_restore cannot be read in another order.
        if read.damage.is_none() || self.restore.prepared.source.archive().is_packed() {
            return Ok(read);
        }
        // Its list of entries stands at its beginning.
        if self.breaks_off.is_some() && last.is_none() {
            return Ok(read);
        }
        let Ok(entries) = self.list().await else {
            return Ok(read);
        };
        let mut entries: Vec<&str> = entries
            .lines()
            .filter(|line| !line.starts_with(';'))
            .collect();
        while let Some(rest) = remaining(&entries, last.as_ref()) {
            entries = rest;
            if self.breaks_off.is_some() {
                // None of the rows behind the one that is cut are in the file.
                let (rows, others): (Vec<&str>, Vec<&str>) =
                    entries.into_iter().partition(|line| has_content(line));
                load.note_lost(rows.iter().filter_map(|line| table_of(line)));
                entries = others;
            }
            let text = entries.join("\n") + "\n";
            let (more, reached) = self.pass(load, Some(text)).await?;
            read.census.merge(&more.census);
            if more.damage.is_none() {
                break;
            }
            if reached.is_none() {
                // Not even its first entry can be read.
                entries.remove(0);
            }
            last = reached;
        }
        Ok(read)
    }

    /// Loads these entries, or all of them; gives what was read and the object of the last part.
    async fn pass(
        &self,
        load: &mut Load<'_>,
        entries: Option<String>,
    ) -> Result<(ReadSoFar, Option<ObjectId>), JobError> {
        let path = self.restore.prepared.source.path();
        let doing = format!("cannot read {}", path.display());
        let overheard = Overheard::default();
        let arguments = match entries {
            Some(_) => archive_entries_arguments(path),
            None => archive_as_sql_arguments(path),
        };
        let archive = self.restore.prepared.source.archive();
        let adaptation = archive.adaptation.clone();
        let (arguments, stdin) = match entries {
            Some(entries) => (arguments, to_read(entries)?),
            None => archive.input(arguments)?,
        };
        let pg_restore = self.program(arguments, &overheard);
        let (sender, receiver) = mpsc::channel(AHEAD);
        let ends = self.breaks_off.is_none();
        let counted = Arc::clone(&self.restore.run.progress);
        // What was read counts also where the program fails in the end.
        let slot: Arc<Mutex<Option<ReadSoFar>>> = Arc::default();
        let kept = Arc::clone(&slot);
        let extracting = pg_restore.stream_from(stdin, &doing, move |mut text| {
            if !ends {
                text.get_mut().lose_patience_after(PATIENCE);
            }
            let text = Text::of_program(text).adapted(adaptation.as_ref());
            let read = take_everything(text, &counted, hand_on(sender))?;
            let is_over = ends || read.damage.is_none();
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
            if is_over {
                Ok(())
            } else {
                Err(StreamError::Cancelled)
            }
        });
        let (extracted, loaded) = tokio::join!(extracting, take(load, receiver));
        let last = loaded?;
        let read = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (extracted, read) {
            (Ok(()), read) => Ok((read.unwrap_or_default(), last)),
            (Err(JobError::Stream { .. } | JobError::Failed { .. }), Some(read)) if !ends => {
                let damage = self.breaks_off.clone();
                Ok((ReadSoFar { damage, ..read }, last))
            }
            (Err(JobError::Failed { message, .. }), Some(read)) => {
                let damage = Some(message);
                Ok((ReadSoFar { damage, ..read }, last))
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn list(&self) -> Result<String, JobError> {
        let path = self.restore.prepared.source.path();
        let overheard = Overheard::default();
        let pg_restore = self.program(archive_list_arguments(path), &overheard);
        let doing = format!("cannot list {}", path.display());
        let list = pg_restore.read_all(&doing).await?;
        Ok(String::from_utf8_lossy(&list).into_owned())
    }

    fn program<'b>(
        &'b self,
        arguments: Vec<std::ffi::OsString>,
        overheard: &'b Overheard,
    ) -> Dumper<'b> {
        Dumper {
            run: self.restore.run,
            program: self.loading.reader.pg_restore(),
            arguments,
            application: "pgbackupd restore",
            conninfo: &self.without_a_server,
            overheard,
            confinement: Confinement::default(),
        }
    }
}

/// The entries that are still to come when the reading broke off at this object: those behind it, and those
/// that `pg_restore` writes in a later pass than the others (`_tocEntryRestorePass` in its source). None if it
/// is not known where that is, or nothing is left.
fn remaining<'l>(entries: &[&'l str], last: Option<&ObjectId>) -> Option<Vec<&'l str>> {
    const LATER: [&str; 4] = [
        "ACL ",
        "DEFAULT ACL ",
        "EVENT TRIGGER ",
        "MATERIALIZED VIEW DATA ",
    ];
    let at = match last {
        None => 0,
        Some(last) => {
            let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let head = format!(
                "{} {} {} ",
                part(last.kind()),
                part(last.schema()),
                part(last.name())
            );
            let found = entries
                .iter()
                .position(|line| entry(line).starts_with(&head));
            found? + 1
        }
    };
    let is_later = |line: &&&str| LATER.iter().any(|kind| entry(line).starts_with(kind));
    let before = entries[..at].iter().filter(is_later);
    let rest: Vec<&str> = entries[at..].iter().chain(before).copied().collect();
    (!rest.is_empty()).then_some(rest)
}

/// Whether an entry has rows or large objects.
fn has_content(line: &str) -> bool {
    let entry = entry(line);
    entry.starts_with("TABLE DATA ") || entry.starts_with("BLOBS ")
}

/// The table whose rows an entry has, with its schema; without quotes, which the list does not have.
fn table_of(line: &str) -> Option<String> {
    let (schema, rest) = entry(line).strip_prefix("TABLE DATA ")?.split_once(' ')?;
    let (name, _owner) = rest.rsplit_once(' ')?;
    Some(format!("{schema}.{name}"))
}

/// What follows `4711; 1259 16400 ` in a line of an archive's list.
fn entry(line: &str) -> &str {
    line.splitn(4, ' ').nth(3).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_damaged_entry_comes_and_what_is_written_in_a_later_pass() {
        let entries = [
            "215; 1259 1 TABLE public a o",
            "216; 0 0 ACL public TABLE a o",
            "217; 0 1 TABLE DATA public a o",
            "218; 0 2 TABLE DATA public a b o",
            "219; 1259 3 INDEX public i o",
        ];
        let object = |line: &str| ObjectId::from_comment(line.as_bytes()).unwrap();
        let data = |name: &str| {
            object(&format!(
                "-- Data for Name: {name}; Type: TABLE DATA; Schema: public; Owner: o"
            ))
        };
        assert_eq!(
            remaining(&entries, Some(&data("a"))),
            Some(vec![entries[3], entries[4], entries[1]])
        );
        assert_eq!(
            remaining(&entries, Some(&data("a b"))),
            Some(vec![entries[4], entries[1]])
        );
        assert_eq!(remaining(&entries, Some(&data("c"))), None);
        assert_eq!(
            remaining(
                &entries[..1],
                Some(&object("-- Name: a; Type: TABLE; Schema: public; Owner: o"))
            ),
            None
        );
        assert_eq!(remaining(&entries, None).map(|rest| rest.len()), Some(5));
        let tables: Vec<_> = entries
            .iter()
            .filter(|line| has_content(line))
            .map(|line| table_of(line))
            .collect();
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(tables, [named("public.a"), named("public.a b")]);
    }
}
