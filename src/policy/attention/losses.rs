//! What of a database is gone, in sentences with a way out.

use std::path::Path;

use super::{joined_lines, without_full_stop};
use crate::display::{
    command, counted, database_option, is_encrypted_by_name, one_line, shell_word, with_identity,
};
use crate::policy::continuity::{Accepted, Loss, Seen};

/// That the manifest of a backup is lost although its dump stands, and the way out, in a sentence.
pub fn describe_lost_manifest(backup: &str, dump: &Path, database: &str) -> String {
    let named = database_option(database);
    let path = shell_word(&dump.display().to_string());
    let restore = command("restore", database, &path);
    format!(
        "the manifest of the backup {backup} is lost, so that it counts for none, and no backup made \
         before it is removed; bring {backup}.json back from a copy of the directory, restore the \
         dump by its path (`{}`), or give it up by `pgbackupd \
         accept manifest {named}`",
        with_identity(restore, is_encrypted_by_name(dump))
    )
}

/// That the state of a backup cannot be used, and the way out, in a sentence.
pub fn describe_lost_state(backup: &str, what: &str, database: &str) -> String {
    format!(
        "the state of the backup {backup} cannot be used: {}; it counts as pinned and as not checked; \
         run `pgbackupd verify {named} {backup}`, which writes it again, and then `pgbackupd \
         unpin {named} {backup}` if it need not stay",
        without_full_stop(&joined_lines(what)),
        named = database_option(database),
    )
}

/// What was lost of a database, and the way out, in a sentence.
pub fn describe_loss(loss: &Loss, database: &str, directory: &Path) -> String {
    let named = database_option(database);
    let first = loss.to_accept();
    let before = &loss.before;
    match loss.what {
        Accepted::Contents => describe_lost_contents(loss, database),
        Accepted::Server => {
            let system = |seen: &Seen| {
                let known = seen.system_identifier.map(|system| system.to_string());
                known.unwrap_or_else(|| "unknown".to_owned())
            };
            format!(
                "another server answers for database {} since the backup {}: its system identifier is \
                 {}, that of {} before it {}; no backup made before {} is removed; if it is the right \
                 server, run `pgbackupd accept server {named}`",
                one_line(database),
                first.name,
                system(first),
                before.name,
                system(before),
                first.name,
            )
        }
        Accepted::Vanished | Accepted::Manifest => format!(
            "the backup {} was the newest in {} and is gone, and nothing on record has removed it: is \
             the disk mounted? No older backup is removed; if it is permanently gone, run `pgbackupd \
             accept vanished {named}`",
            before.name,
            one_line(&directory.display().to_string()),
        ),
    }
}

fn describe_lost_contents(loss: &Loss, database: &str) -> String {
    let contents = |seen: &Seen| {
        format!(
            "{} in {}",
            counted(seen.rows, "row", "rows"),
            counted(seen.tables, "table", "tables")
        )
    };
    let (before, first) = (&loss.before, loss.to_accept());
    let tables = describe_tables(loss);
    let (named, name) = (one_line(database), &first.name);
    let what = if loss.is_of_the_database() {
        let change = if first.tables == 0 {
            "has no table left"
        } else {
            "has lost more than half of its rows"
        };
        let tables = match tables {
            tables if tables.is_empty() => tables,
            tables => format!(" ({tables})"),
        };
        format!(
            "database {named} {change}: the backup {} holds {}, {name} {}{tables}",
            before.name,
            contents(before),
            contents(first),
        )
    } else {
        format!(
            "database {named} has lost rows since the backup {}: {tables}",
            before.name
        )
    };
    format!(
        "{what}; no backup made before {name} is removed; if this is intended, run `pgbackupd accept \
         contents {}`",
        database_option(database)
    )
}

/// "public.orders had 1,204,338 rows and has 0; …"
fn describe_tables(loss: &Loss) -> String {
    const NAMED: usize = 3;
    let named = loss.tables.iter().take(NAMED).map(|table| {
        let (name, had) = (one_line(&table.table), counted(table.before, "row", "rows"));
        match table.now {
            Some(now) => format!("{name} had {had} and has {}", counted(now, "row", "rows")),
            None => format!("{name} had {had} and is gone"),
        }
    });
    let mut tables: Vec<String> = named.collect();
    let left = loss.tables_lost.saturating_sub(tables.len() as u64);
    if left > 0 {
        tables.push(format!(
            "and {}",
            counted(left, "more table", "more tables")
        ));
    }
    tables.join(", ")
}
