//! Pure decisions: when a job runs and which backups are kept.
//!
//! Nothing here reads a clock, a file or an environment variable; times come in as arguments.

mod retention;
mod schedule;
mod series;

pub use retention::{
    Candidate, ClockDoubt, ClockTrust, Decision, Every, Period, Reason, Rules, Verdict, decide,
};
pub use schedule::{Schedule, ScheduleError};
pub use series::{InvalidSeries, Series};
