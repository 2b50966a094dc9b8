//! Whose copies are meant, of all that a destination has.

use std::collections::BTreeMap;

use super::CopySource;
use crate::copies::{Place, hosts, places};
use crate::display::{database_option, one_line, option};
use crate::jobs::error::JobError;
use crate::jobs::run::Run;

/// What the command line says of whose copies are meant.
#[derive(Clone, Copy, Debug, Default)]
pub struct WantedPlaces<'a> {
    /// Only those of this host.
    pub host: Option<&'a str>,
    /// Only those of these databases, as NAME or SERVER/NAME; of all without any.
    pub databases: &'a [String],
}

impl WantedPlaces<'_> {
    pub(in crate::jobs) fn admits(&self, place: &Place) -> bool {
        let is_it = |text: &String| *text == place.database || *text == label(place);
        self.host.is_none_or(|host| host == place.host)
            && (self.databases.is_empty() || self.databases.iter().any(is_it))
    }
}

/// A place as people name it on the command line: SERVER/NAME.
pub(super) fn label(place: &Place) -> String {
    format!("{}/{}", place.server, place.database)
}

/// The places at a destination that are meant, by host, server and name; at least one.
///
/// # Errors
/// When there is none, or the destination cannot be asked.
pub async fn find_places(
    run: &Run<'_>,
    source: &CopySource,
    wanted: WantedPlaces<'_>,
) -> Result<Vec<Place>, JobError> {
    let all = run.wait_for(all_places(source)).await??;
    let found: Vec<Place> = all
        .iter()
        .filter(|one| wanted.admits(one))
        .cloned()
        .collect();
    if found.is_empty() {
        return Err(JobError::failed(none(&source.label, wanted, &all)));
    }
    Ok(found)
}

async fn all_places(source: &CopySource) -> Result<Vec<Place>, JobError> {
    let store = &*source.store;
    let mut all = Vec::new();
    for host in hosts(store).await? {
        all.extend(places(store, &host).await?);
    }
    Ok(all)
}

/// The only place of several.
///
/// # Errors
/// When there are several: each is listed, with the options that name it.
pub fn only_place<'a>(source: &CopySource, found: &'a [Place]) -> Result<&'a Place, JobError> {
    match found {
        [only] => Ok(only),
        several => Err(JobError::NoSuchDatabase(ambiguous(&source.label, several))),
    }
}

fn none(label: &str, wanted: WantedPlaces<'_>, all: &[Place]) -> String {
    if all.is_empty() {
        return format!(
            "there are no copies at {label}\n\
             hint: check the address: the folder v1 of the copies lies directly below it"
        );
    }
    let databases = match wanted.databases {
        [] => String::new(),
        [one] => format!(" of database {}", one_line(one)),
        several => format!(" of databases {}", one_line(&several.join(", "))),
    };
    let host = wanted
        .host
        .map_or_else(String::new, |host| format!(" of host {}", one_line(host)));
    format!(
        "there are no copies{databases}{host} at {label}\nhint: there are copies of\n{}",
        listed(all)
    )
}

fn ambiguous(label: &str, several: &[Place]) -> String {
    let (first, is_one_host) = match several {
        [first, rest @ ..] => (first, rest.iter().all(|one| one.host == first.host)),
        [] => return format!("there are no copies at {label}"),
    };
    let of_what = if is_one_host {
        "several databases"
    } else {
        "several hosts"
    };
    let host = if is_one_host {
        String::new()
    } else {
        format!("{} ", option("--host", &first.host))
    };
    format!(
        "{label} has copies of {of_what}:\n{}\nhint: name one, such as {host}{}",
        listed(several),
        database_option(&self::label(first))
    )
}

/// A line for each host, with its databases.
fn listed(places: &[Place]) -> String {
    let mut by_host: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for place in places {
        by_host
            .entry(&place.host)
            .or_default()
            .push(one_line(&label(place)));
    }
    let lines = by_host.iter();
    let lines: Vec<String> = lines
        .map(|(host, labels)| format!("  host {}: {}", one_line(host), labels.join(", ")))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: &str, server: &str, database: &str) -> Place {
        Place::new(host, server, database).unwrap()
    }

    #[test]
    fn a_database_is_named_with_its_server_or_without() {
        let places = [
            place("db1", "main", "shop"),
            place("db1", "reports", "shop"),
            place("db2", "main", "shop"),
            place("db2", "main", "reports/shop"),
        ];
        for (host, database, expected) in [
            (None, None, &[0, 1, 2, 3][..]),
            (Some("db1"), None, &[0, 1]),
            (None, Some("shop"), &[0, 1, 2]),
            (None, Some("main/shop"), &[0, 2]),
            (Some("db1"), Some("reports/shop"), &[1]),
            // A name may look like another one with its server.
            (None, Some("reports/shop"), &[1, 3]),
            (Some("db3"), None, &[]),
        ] {
            let databases: Vec<String> = database.map(str::to_owned).into_iter().collect();
            let wanted = WantedPlaces {
                host,
                databases: &databases,
            };
            let admitted = places
                .iter()
                .enumerate()
                .filter(|(_, one)| wanted.admits(one));
            let found: Vec<usize> = admitted.map(|(index, _)| index).collect();
            assert_eq!(found, expected, "{host:?} {database:?}");
        }
    }

    #[test]
    fn several_places_are_listed_with_the_options_that_name_one() {
        let two_hosts = [place("db1", "main", "shop"), place("db2", "main", "a b")];
        assert_eq!(
            ambiguous("offsite", &two_hosts),
            "offsite has copies of several hosts:\n  host db1: main/shop\n  host db2: main/a b\n\
             hint: name one, such as --host db1 --database main/shop"
        );
        let one_host = [place("db1", "main", "a b"), place("db1", "main", "shop")];
        assert_eq!(
            ambiguous("offsite", &one_host),
            "offsite has copies of several databases:\n  host db1: main/a b, main/shop\n\
             hint: name one, such as --database 'main/a b'"
        );
        let wanted = WantedPlaces {
            host: Some("db3"),
            databases: &["crm".to_owned()],
        };
        assert_eq!(
            none("offsite", wanted, &one_host),
            "there are no copies of database crm of host db3 at offsite\n\
             hint: there are copies of\n  host db1: main/a b, main/shop"
        );
    }
}
