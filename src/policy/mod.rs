//! Pure decisions: when a job runs, what is late, and which backups are kept.
//!
//! Nothing here reads a clock, a file or an environment variable; times come in as arguments.

mod admission;
mod attention;
mod blackout;
mod catch_up;
mod continuity;
mod delay;
mod overdue;
mod retention;
mod retry;
mod schedule;
mod series;
mod time_left;
mod verification;

pub use admission::{Admission, AtWork, SkipReason, admit, can_ever_start, overlap};
pub use attention::{
    Concern, ConcernKind, DatabaseFacts, DrillFacts, Expectation, Failing, Judgement, SeriesFacts,
    SpaceFacts, VerificationFacts, age, describe_loss, describe_lost_manifest, describe_lost_state,
    judge_database, judge_space,
};
pub use blackout::{Blackout, BlackoutError, Blackouts};
pub use catch_up::{missed, window_end};
pub use continuity::{Accepted, Loss, Seen, compare, vanished};
pub use delay::delay;
pub use overdue::{DrillMissed, Overdue, PointMissed, Promise, drill_age, recovery_point};
pub use retention::{
    Candidate, ClockDoubt, ClockTrust, Decision, Every, Period, Reason, Rules, Verdict, decide,
};
pub use retry::Retry;
pub use schedule::{Schedule, ScheduleError};
pub use series::{InvalidSeries, Series};
pub use time_left::{TimeLeft, about};
pub use verification::{Checkable, Turns, turns};
