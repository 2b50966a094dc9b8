//! What a command or a tick of the schedule carries out, from the first check to the ledger's last
//! line. Nothing here prints: progress goes to [`Progress`](crate::pipeline::Progress), results
//! and errors to the caller.

mod adopt;
mod alerts;
mod anomaly;
mod archive;
mod archive_file;
mod backup;
mod blocked;
mod candidates;
mod connections;
mod context;
mod continuity;
mod copy;
mod copy_listing;
mod copy_proof;
mod destination_check;
mod directories;
mod drill;
mod dump;
mod error;
mod examine;
mod fetch;
mod fleet;
mod forecast;
mod globals;
mod incident;
mod known_recipients;
mod limit;
mod load;
mod metrics;
mod own_host;
mod pace;
mod pin;
mod proof;
mod prune;
mod prune_host;
mod quarantine;
mod readable;
mod record;
mod recovery;
mod rehearse;
mod report;
mod required_copies;
mod restore;
mod rows;
mod run;
mod salvage;
mod slots;
mod status;
mod step_log;
mod tables;
mod target;
mod tick;
mod verify;
mod verify_copies;

pub use adopt::{Adoption, AdoptionRequest, adopt, look_at_adoption, revoke_adoption};
pub use alerts::{
    Attempt, LastFacts, alert_file, deliver, next_moment, read_alerts, retry_now, take_in,
};
pub use backup::{BackupReport, BackupRequest, Strictness, back_up};
pub use candidates::{
    Candidate, Criteria, PassedOver, choose_candidates as choose_backup, passed_over,
};
pub use connections::{
    ConnectionFailure, ConnectionFailureKind, ServerConnections, check_connections, check_readable,
    missing_credential,
};
pub use context::{JobContext, Tick};
pub use continuity::{accept, accept_by_id};
pub use copy::{Copied, CopyReport, CopyRequest, PutPin, copy, find_copy, pin_copy, prune_copies};
pub use copy_listing::known_at;
pub use copy_proof::CopyProven;
pub use destination_check::{CheckedDestination, DestinationCheck, check_destination};
pub use directories::{
    Discovery, WantedDirectory, discover_as, discover_databases, needs_discovery,
    wanted_directories, wished_databases,
};
pub use drill::{
    CopyDrillReport, DefinitionsReport, DrillOutcome, DrillPhase, DrillReport, WhichBackup,
    are_definitions_due, backups_to_drill, drill, drill_copy, missed_drill, passed_over_by_drill,
    sweep_drills, try_definitions,
};
pub use error::{JobError, JobErrorKind, NoSigner};
pub use fetch::{
    ChosenCopy, Compared, CopiesThere, CopySource, FetchRequest, Fetched, NewestCopy, OpenedCopy,
    SignerThere, WantedPlaces, WhichCopy, choose_copy, copies_there, fetch, fetch_head,
    find_places, only_place, signer_lines, signers_there, untrusted, verify_copy,
};
pub use fleet::{
    FleetHostReport, FleetReport, OpenedState, StatusAttempt, look_at_fleet, put_status,
};
pub use incident::{Incident, incidents, write_incident};
pub use limit::{Limit, Stop};
pub use metrics::{metrics, write_metrics};
pub use own_host::{OwnHost, SignerPlace, own_name, public_signer, signer_place, signing_key};
pub use pin::set_pin;
pub use prune::{PruneMode, PruneReport, SeriesReport, prune};
pub use prune_host::{HostPrunePlan, HostPruneRequest, plan_host_prune, prune_host};
pub use quarantine::release;
pub use recovery::{Recovery, recover};
pub use rehearse::{OwnCopy, RehearsalReport, RehearsalRequest, accept_recipients, rehearse};
pub use report::{
    ReportAttempt, ReportOrder, deliver_reports, is_report_due, make_report,
    markdown as report_as_markdown, next_report, take_in_reports, text as report_as_text,
};
pub use restore::{
    Ahead, CutShort, LastDrill, PlannedStep, Prepared, PreparedUndo, Preview, RestoreOrder,
    RestorePlan, RestoreReport, RestoreRequest, RestoreSource, Shown, UndoReport, UndoRequest,
    about_functions, look as look_at_restore, look_ahead, prepare as prepare_restore, prepare_undo,
    restore, undo,
};
pub use run::{ReportStep, Run};
pub use salvage::{
    Missing, MissingState, PreparedSwap, SalvageReport, SwapReport, SwapRequest, prepare_swap,
    salvage, swap_salvaged,
};
pub use slots::{MOST_SLOTS, SeriesSlots};
pub(crate) use status::phrases;
pub use status::{
    DaemonView, DatabaseStatus, Ended, Line, NextRun, Outcomes, Proof, RehearsalStatus, RunningNow,
    StatusDocument, StatusReport, TREND, collect_status,
};
pub use tables::{
    PlannedTable, PreparedTables, TablesAhead, TablesPlan, TablesReport, TablesRequest,
    look_ahead_at_tables, look_at_tables, prepare_tables, restore_tables,
};
pub use target::{
    BackupDirectories, BackupDirectory, Target, Targets, backup_directories, backup_directories_on,
    targets, targets_on,
};
pub use tick::{Skip, newest_success, record_skip};
pub use verify::{Finding, Selection, VerifyReport, VerifyRequest, verify};
pub use verify_copies::{CopyFinding, VerifyCopiesReport, VerifyCopiesRequest, verify_copies};
