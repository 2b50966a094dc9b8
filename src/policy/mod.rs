//! Pure decisions: when a job runs, what is late, and which backups are kept.
//!
//! Nothing here reads a clock, a file or an environment variable; times come in as arguments.

mod admission;
mod alerts;
mod anomaly;
mod attention;
mod blackout;
mod catch_up;
mod continuity;
mod copy_pin;
mod copy_retention;
mod copy_verification;
mod copying;
mod definitions;
mod delay;
mod fleet;
mod forecast;
mod manifest_numbers;
mod orphans;
mod overdue;
pub mod protection;
mod rehearsal;
mod report;
mod retention;
mod retry;
mod schedule;
mod series;
mod size_range;
mod slots;
mod time_left;
mod verification;

pub use admission::{Admission, AtWork, SkipReason, TAKEN_OUT, admit, can_ever_start, overlap};
pub use alerts::{
    Alert, AlertBook, Change, ChannelFailure, ChannelRules, ChannelState, Judged, Notice,
    NoticeItem, OpenCounts, Refusal, Silence, Tracked,
};
pub use anomaly::{
    OddSize, RowCheck, RowHistory, Rows, Sensitivity, TableGrowth, TableLoss, Tables, Usual,
    WINDOW, odd_size, time_limit,
};
pub use attention::{
    Concern, ConcernKind, DatabaseFacts, DefinitionsFacts, DrillFacts, Expectation, Failing,
    Judgement, SeriesFacts, Severity, SpaceFacts, VerificationFacts, age, describe_loss,
    describe_lost_manifest, describe_lost_state, describe_odd_size, judge_clocks, judge_database,
    judge_rehearsals, judge_space,
};
pub use blackout::{Blackout, BlackoutError, Blackouts};
pub use catch_up::{missed, window_end};
pub use continuity::{Accepted, Earlier, Loss, Seen, compare, vanished};
pub use copy_pin::CopyPin;
pub use copy_retention::{
    CopyCandidate, CopyDecision, Keeping, decide_copies, decide_copies_by, next_to_check, outlived,
};
pub use copy_verification::{Absence, CopyBudget, ReadableCopy, absence, copies_to_read};
pub use copying::{
    ClockDifference, Copies, CopyFacts, CopyIdentity, CopyProof, CopyRules, CopyState, Copyable,
    DamagedCopy, LostCopy, MissingCopy, NewestCopy, SeriesCopy, due_copies, ignores_conditions,
};
pub use definitions::{DefinitionsResult, DefinitionsTrial, is_trial_due};
pub use delay::delay;
pub use fleet::{
    FleetCopy, FleetHost, FleetVerdict, LastStatus, STATUS_EVERY, is_status_due, judge_host,
};
pub use forecast::{DayOfSpace, FORECAST_DAYS, GrowingSeries, SpaceDays, days_until_full};
pub use manifest_numbers::{Gap, ManifestNumbers, describe_gaps};
pub use orphans::{Orphan, OrphanVerdict, judge_orphan};
pub use overdue::{DrillMissed, Overdue, PointMissed, Promise, drill_age, recovery_point};
pub use rehearsal::{
    ChangeOfRecipients, ConfiguredEncryption, RehearsalBook, Rehearsals, Rehearsed,
};
pub use report::{
    Answer, AuditFacts, BackupRecord, Check, ConfigurationFacts, DatabaseRecord, EnabledJobs,
    Entry as ReportEntry, Items, PresentFacts, Ran, Report, ReportBook, ReportFacts, ReportMessage,
    ReportPeriod, ReportSlot, ReportSpan, ReportedCopies, ReportedDrill, ReportedFailure, Section,
    SectionEntry, SeriesRecord, ServiceFacts, Target, report,
};
pub use retention::{
    Candidate, ClockDoubt, ClockTrust, Decision, Every, Period, Reason, Rules, Verdict, decide,
};
pub use retry::Retry;
pub use schedule::{Schedule, ScheduleError};
pub use series::{InvalidSeries, Series};
pub use size_range::SizeRange;
pub use slots::{
    RunEnd, Slot, SlotOutcome, SlotPromise, SlotRun, SlotTally, SuccessRate, in_force_by_record,
    series_slots, share as slot_share, slots_between,
};
pub use time_left::{TimeLeft, about};
pub use verification::{Checkable, Turns, turns};
