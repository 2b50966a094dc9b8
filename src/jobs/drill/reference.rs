//! What the temporary cluster makes of the backup's own definitions, in a database that is made like that of
//! the copy: where the text of a definition differs, this says whether it does so for this server alone.

use super::Drill;
use super::report::DrillOutcome;
use super::restored::Restored;
use super::subject::Subject;
use crate::jobs::error::JobError;
use crate::jobs::proof::Material;
use crate::pipeline::census::Census;

/// What came of it.
pub(super) enum Made {
    /// What a dump of the definitions holds.
    Reference(Box<Census>),
    /// The definitions alone cannot be loaded; why is a remark.
    Nothing,
    /// This machine is to blame.
    Outcome(DrillOutcome),
}

impl Drill<'_> {
    /// Loads the definitions once more and dumps them. The copy, which was dumped and compared before, gives
    /// up its name: extensions may bind themselves to it.
    pub(super) async fn reference(
        &mut self,
        restored: &mut Restored<'_>,
        backup: &Subject,
    ) -> Result<Made, JobError> {
        let manifest = &backup.manifest;
        let setting_aside = restored.sandbox.set_aside(restored.conninfo.database());
        self.run.wait_for(setting_aside).await??;
        restored.make_database(manifest).await?;
        let outcome = Material::of_backup(&self.readable(manifest))
            .load_definitions(&restored.loader())
            .await?;
        let what = "the definitions without their rows";
        match Self::refused(restored, manifest, what, outcome).await {
            None => {
                let reference = restored.census(backup.encoding()).await?;
                Ok(Made::Reference(Box::new(reference)))
            }
            Some(DrillOutcome::Refused { what: why, .. }) => {
                self.remarks.push(format!(
                    "what this server makes of the backup's own definitions is not known: {why}"
                ));
                Ok(Made::Nothing)
            }
            Some(outcome) => Ok(Made::Outcome(outcome)),
        }
    }
}
