//! The rows: out of the backup into the tables byte for byte, and out of the tables again to compare
//! them with the census of the backup.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::list;
use super::transfer::Transfer;
use crate::config::Format;
use crate::display::{count, counted};
use crate::jobs::JobError;
use crate::jobs::dump::{Overheard, blocking};
use crate::pipeline::census::{Counted, RowCounter, TableName};
use crate::pipeline::{Amount, Piece, RowsOf, StreamError, Text, take_parts};
use crate::postgres::{Client, Shape, quoted, text_from};

/// So many pieces of the backup wait for the server: a mebibyte each at most.
const AHEAD: usize = 4;

/// How the rows of a table came out of the backup, and how they are asked for again.
pub(super) struct Loaded {
    /// The columns as the census knows them.
    columns: Vec<Vec<u8>>,
    /// As SQL writes them, separated by commas.
    list: String,
    encoding: String,
}

/// A table whose rows are asked for again.
struct RereadTable<'a> {
    /// The table in the backup.
    table: &'a TableName,
    /// What it is called now, as SQL writes it.
    name: &'a str,
    loaded: &'a Loaded,
}

impl Transfer<'_> {
    /// Copies the rows of the tables out of the backup into them.
    pub(super) async fn load_rows(
        &self,
        client: &Client,
        shapes: &BTreeMap<u32, Shape>,
    ) -> Result<BTreeMap<TableName, Loaded>, JobError> {
        let wanted: BTreeSet<TableName> = self.expected().into_keys().collect();
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (sender, receiver) = mpsc::channel(AHEAD);
        let reading = self.read_rows(wanted, sender);
        let writing = self.write_rows(client, shapes, receiver);
        let (read, written) = tokio::join!(reading, writing);
        match (read, written) {
            // When the server refuses, nobody takes what is read.
            (
                Err(JobError::Stream {
                    source: StreamError::Cancelled,
                    ..
                })
                | Ok(()),
                written,
            ) => written,
            (Err(error), _) => Err(error),
        }
    }

    /// The tables whose rows are in the backup, with what the census has of them.
    fn expected(&self) -> BTreeMap<TableName, Counted> {
        let ours: BTreeSet<&(Vec<u8>, Vec<u8>)> = self
            .prepared
            .tables
            .iter()
            .map(|table| &table.raw)
            .collect();
        self.prepared
            .stream_summary
            .census
            .tables()
            .filter(|(name, _)| ours.contains(&(name.schema.clone(), name.name.clone())))
            .collect()
    }

    async fn read_rows(
        &self,
        wanted: BTreeSet<TableName>,
        sender: mpsc::Sender<Piece>,
    ) -> Result<(), JobError> {
        let source = &self.prepared.source;
        let doing = format!("cannot read {}", source.path().display());
        let counted = Arc::clone(&self.run.progress);
        let extraction = self.extraction();
        let accepts = extraction.order.accept_unexpected;
        let pass = move |tap: &mut RowsOf| {
            for piece in tap.take() {
                // Nobody waits for it any more.
                let sent = sender.blocking_send(piece);
                sent.map_err(|_| StreamError::Cancelled)?;
            }
            Ok(())
        };
        if source.format == Format::Plain {
            let (file, compression) = (source.file.clone(), source.compression);
            let adaptation = source.adaptation.clone();
            return blocking(self.run, &doing, move || {
                let text = Text::of_file(&file, compression)?.adapted(adaptation.as_ref());
                take_parts(text, RowsOf::new(wanted), accepts, &counted, pass).map(drop)
            })
            .await;
        }
        let choose = |list: &str| list::rows_of(list, wanted.iter());
        let (arguments, stdin) = extraction.entries(choose).await?;
        let overheard = Overheard::default();
        let adaptation = source.adaptation.clone();
        let pg_restore =
            extraction.program(self.prepared.programs.pg_restore(), arguments, &overheard);
        pg_restore
            .stream_from(stdin, &doing, move |text| {
                take_parts(
                    Text::of_program(text).adapted(adaptation.as_ref()),
                    RowsOf::new(wanted),
                    accepts,
                    &counted,
                    pass,
                )
                .map(drop)
            })
            .await
    }

    async fn write_rows(
        &self,
        client: &Client,
        shapes: &BTreeMap<u32, Shape>,
        mut pieces: mpsc::Receiver<Piece>,
    ) -> Result<BTreeMap<TableName, Loaded>, JobError> {
        let mut encoding = "UTF8".to_owned();
        let mut loaded = BTreeMap::new();
        let mut open = None;
        // What the stream breaks off is reported by whoever reads it.
        while let Some(piece) = self.run.wait_for(pieces.recv()).await? {
            match piece {
                Piece::Encoding(name) => encoding = name,
                Piece::Begin(table, columns) => {
                    let mut list = Vec::new();
                    for column in &columns {
                        let asked = text_from(client, column, &encoding);
                        list.push(quoted(&self.run.wait_for(asked).await??));
                    }
                    let one = Loaded {
                        columns,
                        list: list.join(", "),
                        encoding: encoding.clone(),
                    };
                    let name = self.becomes(&table, shapes)?;
                    let sql = format!(
                        "COPY {name}{} FROM stdin WITH (ENCODING '{encoding}')",
                        one.parenthesised()
                    );
                    open = Some(self.run.wait_for(client.copy_in(&sql)).await??);
                    loaded.insert(table, one);
                }
                Piece::Rows(rows) => {
                    if let Some(copy) = &mut open {
                        self.run.wait_for(copy.send(rows)).await??;
                    }
                }
                Piece::End => {
                    if let Some(copy) = open.take() {
                        self.run.wait_for(copy.finish()).await??;
                    }
                }
            }
        }
        Ok(loaded)
    }

    /// What a table of the backup is called now, as SQL writes it.
    fn becomes<'a>(
        &self,
        table: &TableName,
        shapes: &'a BTreeMap<u32, Shape>,
    ) -> Result<&'a str, JobError> {
        let mut ours = self.prepared.tables.iter();
        ours.find(|one| one.raw.0 == table.schema && one.raw.1 == table.name)
            .and_then(|one| shapes.get(&one.oid))
            .map(|shape| shape.quoted.as_str())
            .ok_or_else(|| JobError::Internal(format!("{} is not among the tables", table.shown())))
    }

    /// Reads every row again, in the same transaction, and compares with the census; gives the rows.
    pub(super) async fn compare(
        &self,
        client: &Client,
        loaded: &BTreeMap<TableName, Loaded>,
        shapes: &BTreeMap<u32, Shape>,
    ) -> Result<u64, JobError> {
        let mut sum = 0;
        let mut differences = Vec::new();
        let all = self.expected();
        let rows = all.values().map(|counted| counted.rows).sum();
        self.run.progress.expect(Amount::Rows(rows));
        for (table, expected) in all {
            let name = self.becomes(&table, shapes)?;
            let found = match loaded.get(&table) {
                Some(loaded) => {
                    let asked = RereadTable {
                        table: &table,
                        name,
                        loaded,
                    };
                    self.count(client, &asked, sum).await?
                }
                None => Counted::default(),
            };
            if found.rows != expected.rows {
                differences.push(format!(
                    "{}, {} in the backup",
                    display_rows(name, found.rows),
                    count(expected.rows)
                ));
            } else if found != expected {
                differences.push(format!(
                    "{name}: the number of rows agrees, their content does not"
                ));
            }
            sum += found.rows;
        }
        if differences.is_empty() {
            return Ok(sum);
        }
        Err(JobError::failed(format!(
            "what was loaded is not what the backup holds:\n{}",
            differences.join("\n")
        )))
    }

    async fn count(
        &self,
        client: &Client,
        RereadTable {
            table,
            name,
            loaded,
        }: &RereadTable<'_>,
        before: u64,
    ) -> Result<Counted, JobError> {
        let mut ours = self.prepared.tables.iter();
        let is_partitioned = ours
            .any(|one| one.is_partitioned && one.raw.0 == table.schema && one.raw.1 == table.name);
        // COPY of a partitioned table itself is refused; a query gives what its partitions hold.
        let rows = if is_partitioned {
            format!("(SELECT {} FROM {name})", loaded.list)
        } else {
            format!("{name}{}", loaded.parenthesised())
        };
        let sql = format!(
            "COPY {rows} TO STDOUT WITH (ENCODING '{}')",
            loaded.encoding
        );
        let mut copy = self.run.wait_for(client.copy_out(&sql)).await??;
        let mut counter = RowCounter::new(&loaded.columns);
        while let Some(bytes) = self.run.wait_for(copy.next()).await?? {
            counter.push(bytes.as_ref()).map_err(|row| {
                JobError::Internal(format!("row {row} of {name} came back malformed"))
            })?;
            self.run
                .progress
                .loaded_rows(before + counter.counted().rows);
        }
        Ok(counter.counted())
    }
}

impl Loaded {
    /// A table without columns has no list.
    fn parenthesised(&self) -> String {
        if self.list.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.list)
        }
    }
}

/// Rows of a table, for people.
fn display_rows(table: &str, rows: u64) -> String {
    format!("{table}: {}", counted(rows, "row", "rows"))
}
