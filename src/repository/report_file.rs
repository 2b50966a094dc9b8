//! Which reports wait to be sent: one file in the state directory, `reports.json`, replaced as a whole.
//! When it is lost, what waited is not sent, and the next report is.

use super::seal::Names;
use super::state_file::{StateContent, StateFile};
use crate::policy::ReportBook;

/// The file with the reports.
pub type ReportFile = StateFile<ReportBook>;

impl StateContent for ReportBook {
    const NAMES: Names<'static> = Names {
        file: "reports.json",
        lock: ".reports.lock",
        when_spoilt: "reports that waited to be sent are lost",
    };
}
