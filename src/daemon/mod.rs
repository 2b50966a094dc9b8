//! The service: it runs the jobs of the configuration on their schedules until it is asked to stop.
//!
//! `start` brings it up in one straight line; [`service::Service`] is the loop that everything
//! happens in. What is to be decided stands apart, pure: when jobs are due ([`timetable`]), whether
//! the clock was set ([`clock`]), what may run now ([`board`]), what a reload changes
//! ([`changes`]).

mod board;
mod changes;
mod clock;
mod definitions;
mod directories;
mod error;
mod fleet;
mod hanging;
mod missed;
mod pings;
mod reports;
mod run_log;
mod service;
mod service_log;
mod skips;
mod snapshot;
mod start;
mod systemd;
mod task;
mod ticker;
mod timetable;
mod usable;
mod view;
mod watch;
mod watchdog;

pub use error::DaemonError;
pub use start::run;
