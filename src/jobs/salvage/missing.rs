//! What a salvage could not bring back as it was.

use crate::postgres::StatementRefusal;

/// One thing that is missing or differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its place in the dump: the number of its statement.
    pub order: u64,
    /// The object, as `pg_dump` calls it: `constraint public.c f`.
    pub object: String,
    /// In which way it is missing.
    pub state: MissingState,
    /// So many of its rows are missing, if it has rows.
    pub rows: Option<u64>,
    /// What the server refused; none where nobody asked it.
    pub refusal: Option<StatementRefusal>,
    /// Why, where it was not the server that refused.
    pub why: Option<String>,
    /// What to do about it, for kinds that are known.
    pub fix: Option<String>,
    /// The statements that bring it back, where they may be executed.
    pub statements: Vec<String>,
}

/// In which way something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingState {
    /// It is not there.
    NotThere,
    /// Some of its rows are not there.
    Rows,
    /// It is there for new rows; those that are there may break it.
    NotValidated,
    /// It was not sent, since it reaches beyond the new database.
    NotSent,
    /// It is there, and differs from the backup.
    Differs,
}

impl MissingState {
    /// As programs get it.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotThere => "missing",
            Self::Rows => "rows_missing",
            Self::NotValidated => "not_validated",
            Self::NotSent => "not_sent",
            Self::Differs => "differs",
        }
    }

    /// As people get it.
    pub fn display(self) -> &'static str {
        match self {
            Self::NotThere => "missing",
            Self::Rows => "rows missing",
            Self::NotValidated => "NOT VALID",
            Self::NotSent => "not sent",
            Self::Differs => "differs",
        }
    }
}

impl Missing {
    /// Something of this state, about which nothing else is known.
    pub(super) fn new(order: u64, object: impl Into<String>, state: MissingState) -> Self {
        Self {
            order,
            object: object.into(),
            state,
            rows: None,
            refusal: None,
            why: None,
            fix: None,
            statements: Vec::new(),
        }
    }

    /// A part of the backup itself that cannot be used.
    pub(super) fn of_backup(part: &str, why: impl Into<String>) -> Self {
        Self {
            why: Some(why.into()),
            // Behind all statements.
            ..Self::new(u64::MAX, part, MissingState::NotThere)
        }
    }

    /// Why, each with its label: as the server reports it, our reason, and what to do. May show rows.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let of_server = self.refusal.iter().flat_map(|refusal| {
            let more = [
                ("DETAIL", refusal.detail.as_deref()),
                ("HINT", refusal.hint.as_deref()),
                ("CONTEXT", refusal.context.as_deref()),
            ];
            [("ERROR", Some(refusal.message.as_str()))]
                .into_iter()
                .chain(more)
        });
        let ours = [
            ("reason", self.why.as_deref()),
            ("fix", self.fix.as_deref()),
        ];
        of_server
            .chain(ours)
            .filter_map(|(label, text)| Some((label, text?)))
    }
}
