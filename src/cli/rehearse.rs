//! `pgbackupd rehearse`: open the newest copies with the identity that is kept offline.

use std::io::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind, damage_first};
use super::fetch::report_age;
use super::from::{FromArgs, IdentityArgs, OpenSource};
use super::own_copies::OwnCopies;
use super::session::Session;
use super::several::Turns;
use super::wrap::wrapped;
use super::{report, select};
use crate::copies::{Identities, Place};
use crate::display::joined_lines;
use crate::jobs::{
    ChosenCopy, Compared, JobError, JobErrorKind, OpenedCopy, RehearsalReport, RehearsalRequest,
    WhichCopy, choose_copy, rehearse,
};

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd rehearse --from offsite --identity /media/usb/key.txt
      Open the newest copy of each database with the key on a USB stick
  pgbackupd rehearse --from offsite --identity -
      Paste the key, so that it is on no disk of this host";

/// Open the newest copies with the key that is kept offline, and compare.
///
/// Downloads the newest copy of each database, opens it with the identity, decompresses the dump, and compares it
/// with the census that was taken when the backup was made. Of a dump in directory format, all bytes and the number of
/// rows of each table are compared. Nothing is written but the record: no dump reaches a disk. `status` reports when no
/// rehearsal was made for longer than `objectives.rehearsal_age`. The exit code is 65 if a copy is damaged, and 64 if it
/// is encrypted to another key.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES, mut_arg("from", |arg| arg.required(true)))]
pub(super) struct Args {
    /// Only this database, as NAME or SERVER/NAME; can be repeated
    #[arg(long = "database", short, value_name = "NAME", value_parser = select::database_name)]
    databases: Vec<String>,
    #[command(flatten)]
    from: FromArgs,
    #[command(flatten)]
    identity: IdentityArgs,
}

/// What `rehearse --json` prints for each database, in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct RehearsedCopy {
    /// The host that the copy is of.
    pub host: String,
    /// The server's name in that host's configuration.
    pub server: String,
    /// The database.
    pub database: String,
    /// The backup's name; without its reason if an encrypted copy was not opened.
    pub backup: String,
    /// The run that made the backup.
    pub run: String,
    /// When that run started, RFC 3339.
    pub started: String,
    /// `opened`, `damaged`, or `unopened` where that was not possible.
    pub outcome: &'static str,
    /// What is wrong with it, or why it was not opened.
    pub message: Option<String>,
    /// The fingerprints of the recipients whose identities opened it; empty for a copy that is not encrypted.
    pub recipients: Vec<String>,
    /// What of the dump was compared with its census: `census` for everything, `rows` for the number of rows of
    /// each table.
    pub compared: Option<Compared>,
    /// Rows in it.
    pub rows: Option<u64>,
    /// Tables in it.
    pub tables: Option<u64>,
    /// Bytes of all its volumes.
    pub bytes: u64,
    /// How long it took, in seconds.
    pub seconds: Option<f64>,
    /// Whether it is on record on this host.
    pub recorded: bool,
    /// How old the newest copy is, a sentence.
    pub newest: String,
    /// Whether a newer copy should be there.
    pub is_late: bool,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = Session::new(env, args.from.load(env)?);
    let identities = args.identity.read(env.interrupt).await?;
    let open = args.from.open(&session)?;
    let places = args.from.places(&session, &open, &args.databases).await?;
    let rehearsal = Rehearsal {
        open: &open,
        identities: identities.as_ref(),
        own: OwnCopies::of(&session, &open, &places)?,
    };
    let labels: Vec<(Place, String)> = places
        .into_iter()
        .map(|place| {
            let label = format!("{}/{}", place.server, place.database);
            (place, label)
        })
        .collect();
    let mut turns = Turns::new(&session, Vec::new(), out);
    let turn = async |turns: &mut Turns<'_, RehearsedCopy>, (place, _): &(Place, String)| {
        rehearsal.of(turns, place).await
    };
    turns.each(&labels, |(_, label)| label, turn).await?;
    damage_first(&mut turns.failures);
    turns.conclude()
}

/// The rehearsal at one destination.
struct Rehearsal<'a> {
    open: &'a OpenSource,
    identities: Option<&'a Identities>,
    own: OwnCopies<'a>,
}

impl Rehearsal<'_> {
    /// Opens the newest copy of a database.
    async fn of(&self, turns: &mut Turns<'_, RehearsedCopy>, place: &Place) -> Result<(), Failure> {
        let session = turns.session;
        let which = WhichCopy::Newest {
            before: None,
            series: None,
        };
        let chosen = choose_copy(&session.begin(), &self.open.source, place, &which).await;
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(error) => {
                turns.fail(&error);
                return Ok(());
            }
        };
        report_age(session, &chosen);
        let own = self.own.of_place(session, place);
        let request = RehearsalRequest {
            source: &self.open.source,
            copy: &chosen.copy,
            identities: self.identities,
            own,
        };
        let rehearsed = session.job(&place.database, async |run| rehearse(run, &request).await);
        let rehearsed = rehearsed.await;
        let mut document = document(&chosen, own.is_some());
        match rehearsed {
            Ok(RehearsalReport { opened, warnings }) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                document.take_in(opened);
            }
            Err(error) => self.fail(turns, &mut document, &error),
        }
        turns.add(document, print)
    }

    fn fail(
        &self,
        turns: &mut Turns<'_, RehearsedCopy>,
        document: &mut RehearsedCopy,
        error: &JobError,
    ) {
        let failure = turns.session.failure(error);
        document.message = Some(failure.message.clone());
        if error.kind() == JobErrorKind::Damaged {
            document.outcome = "damaged";
            let message = format!(
                "database {}: the copy of {} at {} is damaged",
                report::one_line(&document.database),
                document.backup,
                self.open.source.label
            );
            turns
                .failures
                .push(Failure::new(FailureKind::Damaged, message));
        } else {
            let database = report::one_line(&document.database);
            let message = format!("database {database}: {}", failure.message);
            turns.failures.push(Failure::new(failure.kind, message));
        }
    }
}

/// What is known before the copy is opened.
fn document(chosen: &ChosenCopy, recorded: bool) -> RehearsedCopy {
    let manifest = &chosen.copy.manifest.manifest;
    RehearsedCopy {
        host: chosen.place.host.clone(),
        server: chosen.place.server.clone(),
        database: chosen.place.database.clone(),
        backup: chosen.copy.name.stem().to_string(),
        run: chosen.copy.name.run().to_string(),
        started: manifest.started.to_rfc3339(),
        outcome: "unopened",
        message: None,
        recipients: Vec::new(),
        compared: None,
        rows: None,
        tables: None,
        bytes: manifest.bytes(),
        seconds: None,
        recorded,
        newest: chosen.newest.sentence.clone(),
        is_late: chosen.newest.is_late,
    }
}

impl RehearsedCopy {
    fn take_in(&mut self, opened: OpenedCopy) {
        let summary = &opened.manifest.census.summary;
        self.outcome = "opened";
        self.rows = Some(summary.rows);
        self.tables = Some(summary.tables);
        self.backup.clone_from(&opened.manifest.name);
        self.recipients = opened.recipients;
        self.compared = Some(opened.compared);
        self.seconds = Some(opened.took.as_secs_f64());
    }
}

fn print(copy: &RehearsedCopy, out: &mut dyn Write) -> Result<(), Failure> {
    let name = format!("{}: {}", report::one_line(&copy.database), copy.backup);
    let (Some(rows), Some(tables)) = (copy.rows, copy.tables) else {
        if copy.outcome == "damaged" {
            let message = copy.message.as_deref().unwrap_or_default();
            let text = format!("{name}: DAMAGED: {}", joined_lines(message));
            wrapped(out, "", &text)?;
        }
        // Else the failure is all that people see of it.
        return Ok(());
    };
    let as_dumped = match copy.compared {
        Some(Compared::Rows) => "as many as dumped",
        _ => "as dumped",
    };
    let text = format!(
        "{name}: opened, {} in {}, {as_dumped}",
        report::counted(rows, "row", "rows"),
        report::counted(tables, "table", "tables")
    );
    wrapped(out, "", &text)?;
    if copy.recipients.is_empty() {
        writeln!(out, "  the copy is not encrypted: no key was tried")?;
    }
    for recipient in &copy.recipients {
        writeln!(out, "  by the identity of {recipient}")?;
    }
    if copy.compared == Some(Compared::Rows) {
        let what = "compared: all bytes with the manifest, and the number of rows of each table; a drill of the \
                    copy also compares rows and objects";
        wrapped(out, "  ", what)?;
    }
    writeln!(
        out,
        "  {} in {:.1} s{}",
        report::size(copy.bytes),
        copy.seconds.unwrap_or_default(),
        if copy.recorded { ", on record" } else { "" }
    )?;
    Ok(())
}
