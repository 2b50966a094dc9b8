//! Service files: named sets of connection parameters.
//!
//! Source: the chapter "The Connection Service File" of libpq's manual. The user's own file comes
//! first; one service is taken from one file only, the first that has it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::config::Parameters;
use crate::config::keyword;
use crate::regular_file;

/// Why a service cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No service file has it.
    #[error(
        "the service {name:?} is in none of the service files ({searched}): \
         add a section [{name}] to one of them, or correct the name"
    )]
    NotFound {
        /// The service that was asked for.
        name: String,
        /// The files that were read or would have been.
        searched: String,
    },
    /// A service file cannot be read.
    #[error("cannot read the service file {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A line of a service file makes no sense.
    #[error("line {line} of the service file {}: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// The service files in the order in which they are asked, and whether each has to exist.
fn files(explicit: Option<&str>, environment: &BTreeMap<String, String>) -> Vec<(PathBuf, bool)> {
    let mut files = Vec::new();
    match (explicit, environment.get("HOME")) {
        (Some(path), _) => files.push((PathBuf::from(path), true)),
        (None, Some(home)) => files.push((Path::new(home).join(".pg_service.conf"), false)),
        (None, None) => {}
    }
    match environment.get("PGSYSCONFDIR") {
        Some(directory) => files.push((Path::new(directory).join("pg_service.conf"), false)),
        // Where libpq was built to look: by Debian, and by PostgreSQL's own packages for Red Hat.
        None => {
            files.extend(
                ["/etc/postgresql-common", "/etc/sysconfig/pgsql"]
                    .map(|directory| (Path::new(directory).join("pg_service.conf"), false)),
            );
        }
    }
    files
}

/// The parameters of a service. `explicit` is the parameter `servicefile` or PGSERVICEFILE.
pub(super) fn load(
    name: &str,
    explicit: Option<&str>,
    environment: &BTreeMap<String, String>,
) -> Result<Parameters, ServiceError> {
    let files = files(explicit, environment);
    for (path, required) in &files {
        let text = match regular_file::read_by_hand(path).and_then(regular_file::text_by_hand) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && !required => continue,
            Err(cause) => {
                return Err(ServiceError::Unreadable {
                    path: path.clone(),
                    cause,
                });
            }
        };
        let found = section(&text, name).map_err(|(line, problem)| ServiceError::Syntax {
            path: path.clone(),
            line,
            problem,
        })?;
        if let Some(parameters) = found {
            return Ok(parameters);
        }
    }
    let searched: Vec<_> = files
        .iter()
        .map(|(path, _)| path.display().to_string())
        .collect();
    Err(ServiceError::NotFound {
        name: name.to_owned(),
        searched: searched.join(", "),
    })
}

/// The parameters in the section of this name, or none if there is no such section. Of a parameter
/// that stands twice, the first one counts, as in libpq. An error has the line's number.
fn section(text: &str, name: &str) -> Result<Option<Parameters>, (usize, String)> {
    let mut found: Option<Parameters> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if rest.strip_suffix(']') == Some(name) {
                found = Some(Parameters::new());
            }
            continue;
        }
        let Some(parameters) = &mut found else {
            continue;
        };
        if line.starts_with("ldap") {
            return Err((number, "services from LDAP are not supported".to_owned()));
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err((number, "expected name=value".to_owned()));
        };
        if matches!(key, "service" | "servicefile") {
            return Err((number, format!("{key:?} is not allowed in a service file")));
        }
        if keyword::find(key).is_none() {
            return Err((number, format!("unknown libpq parameter {key:?}")));
        }
        parameters
            .entry(key.to_owned())
            .or_insert_with(|| value.to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment\n[one]\nhost=a\nport=1\nhost=b\n\n[two]\n  user=x y \n[odd]\nhost\n\
                        [worse]\nhots=1\n[empty]\n";

    #[test]
    fn a_service_is_the_section_of_its_name() {
        let get = |name: &str| section(FILE, name).unwrap();
        let one = get("one").unwrap();
        assert_eq!(one["host"], "a");
        assert_eq!(one["port"], "1");
        assert_eq!(one.len(), 2);
        assert_eq!(get("two").unwrap()["user"], "x y");
        assert_eq!(get("empty"), Some(Parameters::new()));
        assert_eq!(get("three"), None);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        assert_eq!(section(FILE, "odd").unwrap_err().0, 10);
        assert_eq!(section(FILE, "worse").unwrap_err().0, 12);
    }

    #[test]
    fn the_files_are_asked_in_libpqs_order() {
        let environment: BTreeMap<_, _> = [("HOME", "/h"), ("PGSYSCONFDIR", "/s")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let paths = |explicit| -> Vec<String> {
            files(explicit, &environment)
                .iter()
                .map(|(path, _)| path.display().to_string())
                .collect()
        };
        assert_eq!(paths(None), ["/h/.pg_service.conf", "/s/pg_service.conf"]);
        assert_eq!(paths(Some("/x")), ["/x", "/s/pg_service.conf"]);
    }
}
