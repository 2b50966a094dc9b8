//! A copy held against its backup.

use super::level::{ComparisonLevel, Verdict};
use crate::pipeline::census::{Census, Compared, Difference};

/// A comparison of the two.
pub(in crate::jobs) struct Comparison<'a> {
    backup: &'a Census,
    copy: &'a Census,
    compared: Vec<Compared>,
}

impl<'a> Comparison<'a> {
    /// Of what was read in a backup and what a dump of its copy holds.
    pub(in crate::jobs) fn between(backup: &'a Census, copy: &'a Census) -> Self {
        Self {
            backup,
            copy,
            compared: copy.compare(backup, None),
        }
    }

    /// Whether definitions differ, so that a reference tells more: what the copy's server makes of the
    /// backup's own statements.
    pub(in crate::jobs) fn wants_reference(&self) -> bool {
        let mut all = self.compared.iter();
        all.any(|one| matches!(one.difference, Difference::Definition(_)))
    }

    /// Holds the definitions of the copy against that reference.
    pub(in crate::jobs) fn refer_to(&mut self, reference: &Census) {
        self.compared = self.copy.compare(self.backup, Some(reference));
    }

    /// Takes the foreign keys out that differ, and names them: of a partial backup they are made without
    /// being validated where rows are missing.
    pub(in crate::jobs) fn take_foreign_keys(&mut self) -> Vec<String> {
        let mut taken = Vec::new();
        self.compared.retain(|one| match &one.difference {
            Difference::Definition(what) if what.starts_with("fk constraint ") => {
                taken.push(what.clone());
                false
            }
            _ => true,
        });
        taken
    }

    /// What the differences mean.
    pub(in crate::jobs) fn judge(self, level: ComparisonLevel) -> Verdict {
        level.judge(self.compared)
    }
}
