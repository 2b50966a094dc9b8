//! The states of hosts at destinations: this host's own is put there by the service, and all of them are read from
//! anywhere. No program is in between: what lies there is all there is.

mod look;
mod put;

pub use look::{FleetHostReport, FleetReport, OpenedState, look_at_fleet};
pub use put::{StatusAttempt, put_status};
