//! `pgbackupd list`: the backups there are.

mod copies;

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::{Failure, together};
use super::from::FromArgs;
use super::release::{QuarantinedBackup, quarantined};
use super::session::{Directories, Session};
use super::table::{Column, Table};
use super::wrap::{item, wrapped};
use super::{report, select};
use crate::display::{command, joined_lines, shell_word};
use crate::jobs::BackupDirectory;
use crate::policy::Series;
use crate::repository::{Catalogue, Entry, Fault, Problem, RepositoryError};

/// So many bytes are handed on together.
const PRINTED_AT_ONCE: usize = 64 << 10;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd list
      List all backups
  pgbackupd list --database sales --series daily --json
      List the daily backups of sales as JSON
  pgbackupd list --from offsite
      List the copies at a destination";

/// List backups, oldest first.
///
/// Reads manifests only, and connects to no server. The time in a name is when its run started.
/// VERIFIED is when the backup was last read back in full and found intact. With --from, lists the copies at a
/// destination: only those that a trusted key has signed count.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Only this database, as NAME or SERVER/NAME; can be repeated
    #[arg(long = "database", short, value_name = "NAME", value_parser = select::database_name)]
    databases: Vec<String>,
    /// Only this series
    #[arg(long, value_name = "NAME")]
    series: Option<Series>,
    #[command(flatten)]
    from: FromArgs,
}

/// What `list --json` prints for each database, in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ListedDatabase {
    /// The server's name in the configuration; null for a directory that is not configured.
    pub server: Option<String>,
    /// The database.
    pub database: String,
    /// Where its backups stand.
    pub directory: String,
    /// Its backups, oldest first.
    pub backups: Vec<ListedBackup>,
    /// Files that look like part of a backup and are none.
    pub problems: Vec<ListedProblem>,
    /// Damaged backups that were put aside.
    pub quarantined: Vec<QuarantinedBackup>,
}

/// One backup.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ListedBackup {
    /// Its name.
    pub name: String,
    /// Its series.
    pub series: String,
    /// Why it was made.
    pub reason: Option<String>,
    /// When its run started, RFC 3339 in the schedule's zone.
    pub started: String,
    /// The shape of its dump.
    pub format: crate::config::Format,
    /// How its dump is compressed.
    pub compression: crate::config::Compression,
    /// Bytes of all its files but the manifest.
    pub bytes: u64,
    /// Rows of all its tables.
    pub rows: u64,
    /// When it was last found intact, RFC 3339; null while it does not count as verified.
    pub verified: Option<String>,
    /// What its last check found wrong.
    pub damage: Option<String>,
    /// When it last came back whole in a test restore, RFC 3339; null if it never was tried, or if
    /// its last test restore failed.
    pub restored: Option<String>,
    /// Why it did not come back whole in its last test restore.
    pub unrestorable: Option<String>,
    /// Tables whose rows it lacks because they could not be read; with one of them it is partial.
    pub skipped_tables: Vec<String>,
    /// The fingerprints of the recipients that its files are encrypted to; empty where they are in the clear.
    pub encrypted_to: Vec<String>,
    /// Whether it is pinned, or may be.
    pub pinned: bool,
    /// Why nobody knows whether it is pinned and what its last check found.
    pub state_error: Option<String>,
}

/// A file that looks like part of a backup and is none.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ListedProblem {
    /// The file's name.
    pub file: String,
    /// What is wrong.
    pub what: String,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if args.from.from.is_some() {
        return copies::run(args, env, out).await;
    }
    let session = Session::new(env, env.load_to_read()?);
    // Line by line a long list would take as long to print as to make.
    let mut out = BufWriter::with_capacity(PRINTED_AT_ONCE, out);
    let out = &mut out;
    let mut listed: Vec<Listed> = Vec::new();
    let Directories { found, mut unseen } = session.directories(&args.databases)?;
    for backup_directory in found {
        match look(backup_directory, args.series.as_ref()) {
            Ok(look) => listed.push(look),
            Err(error) => unseen.push(session.failure(&error.into())),
        }
    }
    if env.json {
        let listed: Vec<_> = listed.into_iter().map(listed_database).collect();
        report::json(&listed, out)?;
    } else {
        for (index, (backup_directory, catalogue, aside)) in listed.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            print(backup_directory, catalogue, out)?;
            for one in aside {
                one.print("", out)?;
            }
        }
    }
    out.flush()?;
    together(&unseen)
}

/// A place, what is in it, and what is in quarantine there.
type Listed = (BackupDirectory, Catalogue, Vec<QuarantinedBackup>);

fn look(
    backup_directory: BackupDirectory,
    series: Option<&Series>,
) -> Result<Listed, RepositoryError> {
    let mut catalogue = backup_directory.repository.catalogue()?;
    let mut aside = backup_directory.repository.quarantined()?;
    if let Some(series) = series {
        catalogue
            .backups
            .retain(|entry| entry.stem.series == *series);
        aside.retain(|one| one.stem.series == *series);
    }
    Ok((
        backup_directory,
        catalogue,
        aside.into_iter().map(quarantined).collect(),
    ))
}

fn listed_database((backup_directory, catalogue, quarantined): Listed) -> ListedDatabase {
    ListedDatabase {
        server: backup_directory.server,
        directory: backup_directory
            .repository
            .directory()
            .display()
            .to_string(),
        database: backup_directory.database,
        backups: catalogue.backups.iter().map(backup).collect(),
        problems: catalogue.problems.into_iter().map(problem).collect(),
        quarantined,
    }
}

fn backup(entry: &Entry) -> ListedBackup {
    let damage = entry
        .state
        .checked
        .as_ref()
        .and_then(|check| check.damage.clone());
    let drilled = entry.state.drilled.as_ref();
    let restored = drilled.filter(|drilled| drilled.failure.is_none());
    ListedBackup {
        name: entry.stem.to_string(),
        series: entry.stem.series.to_string(),
        reason: entry.reason.clone(),
        started: entry.started.to_rfc3339(),
        format: entry.format,
        compression: entry.compression,
        bytes: entry.bytes,
        rows: entry.rows,
        verified: entry.last_found_whole().map(|moment| moment.to_rfc3339()),
        damage,
        restored: restored.map(|drilled| drilled.at.to_rfc3339()),
        unrestorable: drilled.and_then(|drilled| drilled.failure.clone()),
        skipped_tables: entry.skipped_tables.clone(),
        encrypted_to: entry.encrypted_to.clone(),
        pinned: entry.state.is_pinned(),
        state_error: entry
            .state
            .unreadable
            .as_ref()
            .map(|unreadable| unreadable.what.clone()),
    }
}

fn problem(problem: Problem) -> ListedProblem {
    let Problem { file, what, .. } = problem;
    ListedProblem { file, what }
}

fn print(
    backup_directory: &BackupDirectory,
    catalogue: &Catalogue,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let Catalogue { backups, problems } = catalogue;
    writeln!(
        out,
        "database {}: {}, {} in {}",
        report::one_line(&backup_directory.label),
        report::counted(backups.len() as u64, "backup", "backups"),
        report::size(backups.iter().map(|backup| backup.bytes).sum()),
        report::one_line(
            &backup_directory
                .repository
                .directory()
                .display()
                .to_string()
        ),
    )?;
    if !backups.is_empty() {
        let mut table = Table::new([
            Column::left("BACKUP"),
            Column::right("SIZE"),
            Column::right("ROWS"),
            Column::left("VERIFIED"),
            Column::note("REASON"),
        ]);
        let encrypted = backups.iter().filter(|one| one.is_encrypted()).count();
        let is_mixed = encrypted > 0 && encrypted < backups.len();
        for backup in backups {
            table.row(row(backup, is_mixed));
        }
        table.print(" ", out)?;
    }
    if let Some(sentence) = encrypted(backups) {
        wrapped(out, "", &sentence)?;
    }
    for backup in backups {
        print_faults(backup_directory, backup, out)?;
    }
    for problem in problems {
        let text = format!("{}: {}", report::one_line(&problem.file), problem.what);
        item(out, "", &text)?;
    }
    Ok(())
}

/// What is wrong with a backup, or lacks in it.
fn print_faults(
    backup_directory: &BackupDirectory,
    backup: &Entry,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if let Some(unreadable) = &backup.state.unreadable {
        let stem = backup.stem.to_string();
        let verify = if backup_directory.server.is_some() {
            command("verify", &backup_directory.label, &stem)
        } else {
            let path = backup_directory.repository.directory().join(&stem);
            format!(
                "pgbackupd verify {}",
                shell_word(&path.display().to_string())
            )
        };
        let text = format!(
            "{stem}: its state {stem}.state cannot be used: {}; it counts as pinned and as not \
             checked, and `{verify}` writes it again",
            report::one_line(&unreadable.what),
        );
        item(out, "", &text)?;
    }
    if backup.is_partial() {
        let text = format!(
            "{} is partial and counts as no backup: it lacks the rows of {}",
            backup.stem,
            report::one_line(&backup.skipped_tables.join(", "))
        );
        item(out, "", &text)?;
    }
    match backup.state.fault() {
        None => {}
        Some(Fault::Damaged(what)) => {
            let text = format!("{} is damaged: {}", backup.stem, joined_lines(what));
            item(out, "", &text)?;
        }
        Some(Fault::Unrestorable(what)) => {
            let text = format!("{} does not restore: {}", backup.stem, joined_lines(what));
            item(out, "", &text)?;
        }
    }
    Ok(())
}

/// Which of the backups are encrypted, and to whom; none where none is.
fn encrypted(backups: &[Entry]) -> Option<String> {
    let encrypted = backups.iter().filter(|one| one.is_encrypted());
    let to: BTreeSet<&str> = encrypted
        .clone()
        .flat_map(|one| one.encrypted_to.iter().map(String::as_str))
        .collect();
    let which = match (encrypted.count(), backups.len()) {
        (0, _) => return None,
        (some, all) if some == all => "encrypted".to_owned(),
        (some, _) => format!("{some} of them encrypted"),
    };
    let to: Vec<&str> = to.into_iter().collect();
    Some(format!("{which} to {}", to.join(", ")))
}

/// One backup; which are in the clear is marked where others are not.
fn row(backup: &Entry, is_mixed: bool) -> [String; 5] {
    let marks = [
        (is_mixed && !backup.is_encrypted(), "[clear] "),
        (backup.state.is_pinned(), "[pinned] "),
        (backup.is_partial(), "[partial] "),
    ];
    let marks = marks.into_iter().filter(|(is_marked, _)| *is_marked);
    let marks: String = marks.map(|(_, mark)| mark).collect();
    let reason = backup.reason.as_deref().map(report::one_line);
    [
        backup.stem.to_string(),
        report::size(backup.bytes),
        report::count(backup.rows),
        report::last_check(backup, report::minute),
        format!("{marks}{}", reason.unwrap_or_default()),
    ]
}
