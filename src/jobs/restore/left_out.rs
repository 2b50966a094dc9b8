//! What is not in the restored database because it is not in the backup, or waits for the operator.

use super::work::{Made, Restore};
use crate::jobs::JobError;
use crate::jobs::load::other_owners;
use crate::postgres::{Client, database_properties, subscriptions};
use crate::repository::Manifest;

/// What the backup does not hold of the original, one sentence each.
pub(super) fn not_in_the_backup(manifest: Option<&Manifest>) -> Vec<String> {
    manifest.map_or_else(Vec::new, Manifest::not_in_the_backup)
}

impl Restore<'_> {
    /// Takes down what is missing, or has come back in another way, although all of the backup is there.
    pub(in crate::jobs) async fn report_left_out(
        &self,
        loaded: &Client,
        made: &mut Made,
    ) -> Result<(), JobError> {
        let manifest = self.prepared.source.manifest.as_ref();
        made.warnings.extend(not_in_the_backup(manifest));
        if let Some(manifest) = manifest {
            let found = self.run.wait_for(database_properties(loaded)).await??;
            made.warnings
                .extend(other_owners(&manifest.properties, &found));
        }
        let asking = subscriptions(loaded, self.new_name());
        let disabled = self.run.wait_for(asking).await??;
        if !disabled.is_empty() {
            made.warnings.push(format!(
                "subscriptions come back disabled: {}; once the original no longer uses its slots, ALTER \
                 SUBSCRIPTION … ENABLE and … REFRESH PUBLICATION",
                disabled.join(", ")
            ));
        }
        Ok(())
    }
}
