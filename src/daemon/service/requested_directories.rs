//! Databases whose directories root is asked to make: the service itself may not make them.

use crate::daemon::snapshot::Wishes;

/// Databases, each with its server, whose directories root was asked for.
#[derive(Debug, Default)]
pub(super) struct Wished(Wishes);

impl Wished {
    /// Takes in for which databases of a server the directory is missing, after all of them were looked
    /// at: others have been made, or are not wanted any more. Gives what root is asked for, if anything is.
    pub(super) fn found(&mut self, server: &str, lacking: &[String]) -> Option<Wishes> {
        self.0.retain(|(other, _)| other != server);
        if lacking.is_empty() {
            return None;
        }
        let lacking = lacking.iter().map(|name| (server.to_owned(), name.clone()));
        self.0.extend(lacking);
        Some(self.0.clone())
    }

    /// Asks once more for the directory of one database.
    pub(super) fn again(&mut self, server: &str, database: &str) -> Wishes {
        self.0.insert((server.to_owned(), database.to_owned()));
        self.0.clone()
    }

    /// Whether the directory of this database is being made.
    pub(super) fn is_asked_for(&self, server: &str, database: &str) -> bool {
        self.0.contains(&(server.to_owned(), database.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_now_is_wished_for() {
        let mut wished = Wished::default();
        let wish = |server: &str, name: &str| (server.to_owned(), name.to_owned());
        let lacking = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(wished.found("main", &[]), None);
        let first = wished.found("main", &lacking(&["hr", "sales"]));
        let both = Wishes::from([wish("main", "hr"), wish("main", "sales")]);
        assert_eq!(first, Some(both));
        // Another server's wishes stay.
        let second = wished.found("far", &lacking(&["audit"])).unwrap();
        assert_eq!(second.len(), 3);
        let third = wished.found("main", &lacking(&["hr"])).unwrap();
        assert_eq!(
            third,
            Wishes::from([wish("far", "audit"), wish("main", "hr")])
        );
        assert!(wished.is_asked_for("far", "audit") && !wished.is_asked_for("main", "sales"));
        // All of them are there: nobody is asked for what is left of the other server's again.
        assert_eq!(wished.found("main", &[]), None);
        assert!(!wished.is_asked_for("main", "hr"));
        assert_eq!(wished.again("main", "hr").len(), 2);
        assert!(wished.is_asked_for("main", "hr"));
    }
}
