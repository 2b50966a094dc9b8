//! Which databases an operator means by a name: `audit`, or `reports/audit` where several servers may
//! have one of that name. Pure.

use crate::display::label;

/// A server, as far as it is known which databases it has.
pub(in crate::jobs) struct Known<'a> {
    /// Its name in the configuration.
    pub(in crate::jobs) server: &'a str,
    /// The databases that were found on it.
    pub(in crate::jobs) databases: Vec<&'a str>,
    /// Whether it may hold one of this name that was not found, because it could not be asked.
    pub(in crate::jobs) may_hold: Box<dyn Fn(&str) -> bool + 'a>,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::jobs) struct Meant<'a> {
    /// The database, as its server calls it.
    pub(in crate::jobs) database: &'a str,
    /// The servers that have it, by their place in the list.
    pub(in crate::jobs) found: Vec<usize>,
    /// Servers that may have it, too, and could not be asked.
    pub(in crate::jobs) silent: Vec<usize>,
}

/// What a name means: every database that is called exactly so, else the one of a server, whose name
/// is before the first slash.
///
/// # Errors
/// When it can mean either, or nothing. The sentence says so.
pub(in crate::jobs) fn meant<'a>(text: &'a str, known: &[Known<'_>]) -> Result<Meant<'a>, String> {
    let having = |name: &str| positions(known, |one| one.databases.contains(&name));
    let exact = having(text);
    let of_server = text.split_once('/').and_then(|(server, database)| {
        let at = known.iter().position(|one| one.server == server)?;
        Some((at, database))
    });
    let is_there = |(at, database): &(usize, &str)| {
        known[*at].databases.contains(database) || (known[*at].may_hold)(database)
    };
    match (of_server, of_server.filter(is_there)) {
        (_, Some((at, database))) if !exact.is_empty() => {
            Err(ambiguous(text, known, &exact, (at, database)))
        }
        (_, Some((at, database))) => {
            let (found, silent) = if known[at].databases.contains(&database) {
                (vec![at], Vec::new())
            } else {
                (Vec::new(), vec![at])
            };
            Ok(Meant {
                database,
                found,
                silent,
            })
        }
        (Some(_), None) if exact.is_empty() => Err(unknown(text, known)),
        _ => {
            let silent = positions(known, |one| {
                !one.databases.contains(&text) && (one.may_hold)(text)
            });
            if exact.is_empty() && silent.is_empty() {
                return Err(unknown(text, known));
            }
            Ok(Meant {
                database: text,
                found: exact,
                silent,
            })
        }
    }
}

fn positions(known: &[Known<'_>], is_one: impl Fn(&Known<'_>) -> bool) -> Vec<usize> {
    let all = known.iter().enumerate();
    all.filter(|(_, one)| is_one(one))
        .map(|(at, _)| at)
        .collect()
}

fn ambiguous(
    text: &str,
    known: &[Known<'_>],
    exact: &[usize],
    (at, database): (usize, &str),
) -> String {
    let exactly: Vec<String> = exact
        .iter()
        .map(|one| {
            let server = known[*one].server;
            format!("database {text:?} of server {server} (-d {server}/{text})")
        })
        .collect();
    let is_alone = positions(known, |one| {
        one.databases.contains(&database) || (one.may_hold)(database)
    }) == [at];
    let way = if is_alone {
        format!(" (-d {database})")
    } else {
        String::new()
    };
    format!(
        "{text:?} can mean {} or database {database:?} of server {}{way}",
        exactly.join(" or "),
        known[at].server
    )
}

fn unknown(text: &str, known: &[Known<'_>]) -> String {
    let names = known.iter().flat_map(|one| {
        one.databases.iter().map(|database| {
            if text.contains('/') {
                label(known.len() > 1, one.server, database)
            } else {
                (*database).to_owned()
            }
        })
    });
    let likeness = |name: &String| strsim::jaro_winkler(name, text);
    let nearest = names
        .max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
        .map(|name| format!("; did you mean {name:?}?"))
        .unwrap_or_default();
    format!("database {text:?} is not configured{nearest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Servers with their databases; one with an asterisk may hold more of any name.
    fn known(servers: &'static [(&'static str, &'static [&'static str])]) -> Vec<Known<'static>> {
        servers
            .iter()
            .map(|(server, databases)| Known {
                server,
                databases: databases
                    .iter()
                    .copied()
                    .filter(|name| *name != "*")
                    .collect(),
                may_hold: Box::new(move |_| databases.contains(&"*")),
            })
            .collect()
    }

    #[test]
    fn a_name_is_read_exactly_first_and_then_at_its_first_slash() {
        let all = known(&[
            ("main", &["audit", "a/b", "odd/x/y"]),
            ("odd", &["x", "x/y2", "a/b"]),
            ("reports", &["audit", "main/audit2"]),
        ]);
        for (text, database, found) in [
            ("audit", "audit", vec![0, 2]),
            ("main/audit", "audit", vec![0]),
            ("reports/audit", "audit", vec![2]),
            // A name with a slash whose front names no server, and one whose front does.
            ("a/b", "a/b", vec![0, 1]),
            ("odd/a/b", "a/b", vec![1]),
            ("main/odd/x/y", "odd/x/y", vec![0]),
            ("odd/x/y2", "x/y2", vec![1]),
            ("main/audit2", "main/audit2", vec![2]),
            ("odd/x/y", "odd/x/y", vec![0]),
        ] {
            let expected = Meant {
                database,
                found,
                silent: Vec::new(),
            };
            assert_eq!(meant(text, &all), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_name_that_can_mean_two_is_refused_and_both_are_named() {
        let all = known(&[("main", &["reports/audit"]), ("reports", &["audit"])]);
        assert_eq!(
            meant("reports/audit", &all).unwrap_err(),
            "\"reports/audit\" can mean database \"reports/audit\" of server main \
             (-d main/reports/audit) or database \"audit\" of server reports (-d audit)"
        );
        // The ways out that it names.
        assert_eq!(meant("main/reports/audit", &all).unwrap().found, [0]);
        assert_eq!(meant("audit", &all).unwrap().found, [1]);
        // Also where the server could not be asked, and where there is one server only.
        let silent = known(&[("main", &["reports/audit"]), ("reports", &["*"])]);
        assert!(meant("reports/audit", &silent).is_err());
        let single = known(&[("main", &["main/x", "x"])]);
        assert!(meant("main/x", &single).is_err());
    }

    #[test]
    fn a_server_that_could_not_be_asked_may_hold_the_name_too() {
        let all = known(&[
            ("main", &["audit"]),
            ("other", &["x"]),
            ("reports", &["seen", "*"]),
        ]);
        for (text, found, silent) in [
            ("audit", vec![0], vec![2]),
            ("monthly", vec![], vec![2]),
            ("seen", vec![2], vec![]),
            ("main/audit", vec![0], vec![]),
            ("reports/audit", vec![], vec![2]),
            ("reports/seen", vec![2], vec![]),
        ] {
            let meant = meant(text, &all).unwrap();
            assert_eq!((meant.found, meant.silent), (found, silent), "{text}");
        }
        assert_eq!(
            meant("other/y", &all).unwrap_err(),
            "database \"other/y\" is not configured; did you mean \"other/x\"?"
        );
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest() {
        let all = known(&[("main", &["sales", "stock"])]);
        for (text, expected) in [
            (
                "sale",
                "database \"sale\" is not configured; did you mean \"sales\"?",
            ),
            (
                "far/sales",
                "database \"far/sales\" is not configured; did you mean \"sales\"?",
            ),
        ] {
            assert_eq!(meant(text, &all).unwrap_err(), expected);
        }
        assert_eq!(
            meant("x", &known(&[("main", &[])])).unwrap_err(),
            "database \"x\" is not configured"
        );
    }

    #[test]
    fn what_is_shown_is_understood() {
        for servers in [
            known(&[("main", &["audit", "a/b", "main/x"])]),
            known(&[
                ("main", &["audit", "reports/a"]),
                ("reports", &["audit", "b"]),
            ]),
        ] {
            let several = servers.len() > 1;
            for (at, server) in servers.iter().enumerate() {
                for database in &server.databases {
                    let shown = label(several, server.server, database);
                    let meant = meant(&shown, &servers).unwrap();
                    assert_eq!(
                        (meant.database, meant.found),
                        (*database, vec![at]),
                        "{shown}"
                    );
                }
            }
        }
        assert_eq!(label(false, "main", "audit"), "audit");
        assert_eq!(label(false, "main", "main/x"), "main/main/x");
        assert_eq!(label(true, "main", "audit"), "main/audit");
    }
}
