//! What keeps tables from being restored on a server, judged before anything is made.

use super::choose::{Name, flat};
use crate::display::size;
use crate::jobs::restore::create_target::{self, Room};
use crate::jobs::restore::preflight::Judgement;
use crate::pipeline::census::Census;
use crate::postgres::{Conninfo, ServerFacts, USUAL_TABLESPACE};

/// Judges whether a server can take tables: of this much room, where so much is free. Pure.
pub(super) fn judge_tables(
    server_facts: &ServerFacts,
    source_major: Option<u32>,
    room: Option<(Room, u64)>,
) -> Judgement {
    let mut found = Judgement::default();
    if server_facts.in_recovery {
        found.problems.push(
            "the server is a standby, which takes no writes\nhint: restore on its primary"
                .to_owned(),
        );
    }
    if !server_facts.may_create_databases {
        found.problems.push(format!(
            "user {user} may not create databases, and a scratch database is needed\nhint: ALTER ROLE \
             \"{user}\" CREATEDB, or restore as a superuser",
            user = server_facts.user
        ));
    }
    if let Some(source) = source_major.filter(|source| *source > server_facts.major) {
        found.problems.push(format!(
            "the backup comes from PostgreSQL {source}, and the server is {}\nhint: restore on a server \
             of version {source} or newer",
            server_facts.major
        ));
    }
    if let Some((room, free)) = room {
        let about = |bytes: u64| {
            let (free, bytes) = (size(free), size(bytes));
            format!("the server's disk has {free} free, and the rows of the tables need {bytes}")
        };
        if free < room.at_least {
            found.problems.push(format!(
                "{} at least\nhint: free some space there",
                about(room.at_least)
            ));
        } else if free < room.about {
            found.warnings.push(format!(
                "{} or so, by their share of all rows of the backup",
                about(room.about)
            ));
        }
    }
    found
}

/// That these stand where the tables would go.
pub(super) fn in_the_way(database: &str, names: &[String]) -> String {
    format!(
        "database {database:?} has {} already, and no existing table is touched\nhint: give another \
         schema with --schema, or none for a new one",
        names.join(", ")
    )
}

/// The room that these tables need, without their partitions and child tables.
pub(super) fn room_for(names: &[Name], census: &Census, text_bytes: u64) -> Room {
    let mut rows: u64 = 0;
    for (table, counted) in census.tables() {
        if names.contains(&flat(&(table.schema, table.name))) {
            rows = rows.saturating_add(counted.rows);
        }
    }
    Room::of_rows(rows, census.summary().rows, text_bytes)
}

/// Bytes that are free where the tables will stand, if the server has no other place for them.
pub(super) fn free(conninfo: &Conninfo, server_facts: &ServerFacts) -> Option<u64> {
    let usual = |name: &String| name == USUAL_TABLESPACE || name == "pg_global";
    let only = server_facts.tablespaces.keys().all(usual);
    only.then(|| create_target::free(conninfo, server_facts, None))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_named_at_once_and_a_guess_is_no_refusal() {
        let able = ServerFacts {
            major: 15,
            user: "me".to_owned(),
            may_create_databases: true,
            ..ServerFacts::default()
        };
        let room = Room {
            at_least: 10,
            about: 20,
        };
        for (server_facts, source, free, problems, warnings) in [
            (able.clone(), Some(15), Some(20), &[][..], &[][..]),
            (able.clone(), None, None, &[], &[]),
            (able.clone(), Some(14), Some(19), &[], &["need 20 B or so"]),
            (able.clone(), None, Some(9), &["need 10 B at least"], &[]),
            (
                ServerFacts {
                    in_recovery: true,
                    may_create_databases: false,
                    ..able
                },
                Some(17),
                None,
                &["standby", "user me may not", "from PostgreSQL 17"],
                &[],
            ),
        ] {
            let found = judge_tables(&server_facts, source, free.map(|free| (room, free)));
            for (found, expected) in [(&found.problems, problems), (&found.warnings, warnings)] {
                assert_eq!(found.len(), expected.len(), "{found:?}");
                for (found, expected) in found.iter().zip(expected) {
                    assert!(found.contains(expected), "{found}");
                }
            }
        }
    }
}
