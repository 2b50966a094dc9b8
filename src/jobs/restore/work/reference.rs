//! What the server makes of the backup's own definitions, in a database that is made like the one that was
//! loaded and dropped again: where the text of a definition differs, this says whether it does so for this
//! server alone.

use super::{Made, Work, WorkPrograms};
use crate::jobs::JobError;
use crate::jobs::limit::Limit;
use crate::jobs::load::Loaded;
use crate::jobs::proof::census_of;
use crate::pipeline::census::Census;
use crate::postgres::Client;

impl Work<'_> {
    /// Loads the definitions once more, dumps them, and drops them; why not, where the server refuses them
    /// without their rows.
    pub(super) async fn reference(
        &self,
        programs: &WorkPrograms,
        encoding: Option<&str>,
        zone: Option<&str>,
        made: &mut Made,
        limit: &Limit,
    ) -> Result<Result<Census, String>, JobError> {
        let client = limit.wait_for(self.maintenance()).await??;
        let name = self.create_reference(&client, made).await?;
        let name = name.as_str();
        let conninfo = self.to_database(name);
        let loading = conninfo.for_loading(zone, self.has_labels());
        let loader = self.loader(programs, &loading);
        let outcome = self
            .material()
            .load_definitions(&loader, limit, self.progress)
            .await?;
        let reference = match outcome {
            Loaded::Wholly => {
                let copy = self.loader(programs, &conninfo);
                let lock_wait = self.context.limits.lock_wait;
                let taken = census_of(&copy, encoding, lock_wait, limit, self.progress);
                Ok(taken.await?)
            }
            Loaded::Refused(refusal) => Err(format!("{}: {}", refusal.how, refusal.in_short())),
        };
        match self.drop_made(&client, name).await {
            Ok(()) => {}
            Err(error) => made.warnings.push(format!(
                "{name}, in which definitions were compared, could not be dropped: {error}; the next \
                 restore of {} drops it",
                self.request.database
            )),
        }
        made.reference = None;
        Ok(reference)
    }

    /// Makes the empty database, under the next name where somebody else has taken this one; gives its name.
    async fn create_reference(&self, client: &Client, made: &mut Made) -> Result<String, JobError> {
        let mut name = self.plan.compares_with.clone();
        loop {
            self.say(&format!(
                "loading the definitions once more into {name}, because some are written differently"
            ));
            let mut is_there = false;
            // What the server does not take was reported of the copy.
            let created = self
                .create(client, &name, &mut is_there, &mut Vec::new())
                .await;
            made.reference = is_there.then(|| name.clone());
            let Err(error) = created else {
                return Ok(name);
            };
            let Some(names) = self.other_names(client, &error, &name).await? else {
                return Err(error);
            };
            // The one that is loaded is there already.
            name = names.loads_into;
            self.record_names(&name)?;
        }
    }
}
