//! What a salvage knows while it loads: the sessions, what was refused so far, and where the dump stands.

use std::collections::BTreeSet;

use super::byte_names::Detour;
use super::conditions::LeftOff;
use super::files::SalvageFiles;
use super::missing::{Missing, MissingState};
use super::sender::{Sender, Settings};
use crate::jobs::load::Additions;
use crate::jobs::restore::work::Restore;
use crate::jobs::run::Run;
use crate::pipeline::{DumpStatement, Finding, Reason};
use crate::postgres::{Client, DatabaseProperties, LoadSession, StatementRefusal};

/// What a database has whose `search_path` nobody has set (the manual's "Schemas").
const USUAL_PATH: &str = "\"$user\", public";

/// A load that goes on after errors.
pub(super) struct Load<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) sender: Sender<'a>,
    /// For questions, in a session whose settings no dump changes.
    pub(super) catalog: Client,
    pub(super) files: SalvageFiles,
    pub(super) server_major: u32,
    pub(super) accepts_unexpected: bool,
    pub(super) additions: Additions,
    /// The number of the last statement.
    pub(super) order: u64,
    pub(super) has_rows: bool,
    /// Whether what comes behind the rows has begun.
    pub(super) is_past_rows: bool,
    /// Definitions that were refused so far.
    pub(super) refused: Vec<Refused>,
    /// Statements about event triggers, which come last.
    pub(super) event_triggers: Vec<(u64, DumpStatement)>,
    /// Conditions that were left off, in the order in which they went.
    pub(super) left_off: Vec<LeftOff>,
    /// The rows on their way.
    pub(super) block: Option<Block>,
    /// Tables in whose rows the dump breaks off.
    pub(super) broken_off: Vec<String>,
    pub(super) large_object: LargeObject,
    /// Rows that the server has taken.
    pub(super) rows_there: u64,
    pub(super) missing: Vec<Missing>,
    pub(super) by_own_path: Vec<Missing>,
}

/// A definition that the server has refused.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) order: u64,
    /// What it belongs to.
    pub(super) object: String,
    /// The statement; in it what the dump has, if it cannot be sent at all.
    pub(super) sql: Result<String, Vec<u8>>,
    /// The settings under which it is to be executed.
    pub(super) settings: Settings,
    pub(super) refusal: StatementRefusal,
    pub(super) state: MissingState,
    /// Whether it is a computed column that is to be made again.
    pub(super) is_column: bool,
}

/// The rows of one COPY block on their way.
pub(super) struct Block {
    pub(super) order: u64,
    /// The table, as the dump writes it.
    pub(super) table: String,
    /// Its schema and its name.
    pub(super) name: Option<[String; 2]>,
    /// The statement that the server gets.
    pub(super) copy: String,
    /// The way of the rows, where that statement cannot be sent.
    pub(super) detour: Option<Detour>,
    /// The dump's own.
    pub(super) head: Vec<u8>,
    /// Complete and incomplete rows that are not sent yet.
    pub(super) held: Vec<u8>,
    pub(super) refused: u64,
    pub(super) refused_in_a_row: u64,
    /// Why none of the rows can come, if so.
    pub(super) barred: Option<Box<StatementRefusal>>,
    /// The first refusal.
    pub(super) why: Option<Box<StatementRefusal>>,
    pub(super) has_tried_own_path: bool,
    pub(super) has_left_off_all: bool,
    /// Whether the checks of its columns' domains were left off.
    pub(super) has_left_off_domains: bool,
    pub(super) left_off: BTreeSet<String>,
}

/// Where the dump stands.
#[derive(Debug, Default)]
pub(super) struct LargeObject {
    pub(super) is_in_transaction: bool,
    /// The one that is written.
    pub(super) open: Option<u64>,
    /// Whether the rest of it is passed over.
    pub(super) is_refused: bool,
}

impl<'a> Load<'a> {
    pub(super) fn new(
        restore: &Restore<'a>,
        session: LoadSession,
        catalog: Client,
        files: SalvageFiles,
    ) -> Self {
        let path = own_search_path(restore.prepared.like.as_ref());
        Self {
            run: restore.run,
            sender: Sender::new(restore.run, session, path),
            catalog,
            files,
            server_major: restore.prepared.server_facts.major,
            accepts_unexpected: restore.request.order.accept_unexpected,
            additions: restore.material().additions,
            order: 0,
            has_rows: false,
            is_past_rows: false,
            refused: Vec::new(),
            event_triggers: Vec::new(),
            left_off: Vec::new(),
            block: None,
            broken_off: Vec::new(),
            large_object: LargeObject::default(),
            rows_there: 0,
            missing: Vec::new(),
            by_own_path: Vec::new(),
        }
    }

    pub(super) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// Why a statement is not sent, if it is not.
    pub(super) fn unsent<'s>(&self, statement: &'s DumpStatement) -> Option<&'s Finding> {
        let refused = statement.refused.as_ref();
        refused.filter(|finding| !(self.accepts_unexpected && finding.reason == Reason::Unexpected))
    }
}

/// The `search_path` that sessions of the database have.
pub(super) fn own_search_path(like: Option<&DatabaseProperties>) -> String {
    let settings = like.iter().flat_map(|like| &like.settings);
    let path = settings
        .filter(|one| one.role.is_none())
        .find_map(|one| one.setting.strip_prefix("search_path="));
    path.unwrap_or(USUAL_PATH).to_owned()
}
