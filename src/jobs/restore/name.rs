//! Giving the restored database its name, and what becomes of the one that bore it.

use super::swap::{Swap, drop_replaced};
use super::work::{Made, Restore};
use crate::jobs::JobError;
use crate::postgres::{TakePlace, databases};

impl Restore<'_> {
    /// Gives the new database its name. Gives how many sessions were ended for it, and the name that
    /// the one has now which bore it before.
    pub(in crate::jobs) async fn take_the_name(
        &mut self,
        made: &mut Made,
    ) -> Result<(u64, Option<String>), JobError> {
        let name = self.plan.database.clone();
        let (outcome, aside) = loop {
            let (new, aside) = (self.new_name(), self.plan.keeps_as.clone());
            self.run.step(&match &aside {
                Some(aside) => {
                    format!("swapping names: {name} becomes {aside}, {new} becomes {name}")
                }
                None => format!("renaming {new} to {name}"),
            });
            let outcome = self.swap(aside.as_deref()).await;
            let other = match (&outcome, &aside) {
                (Err(error), Some(aside)) => self.other_aside(error, aside).await,
                _ => None,
            };
            if other.is_none() {
                break (outcome, aside);
            }
            self.plan.keeps_as = other;
            self.record_names(&self.plan.compares_with)?;
        };
        let swapped = match outcome {
            // What is to be replaced may have been dropped, or renamed: all the more is this one wanted.
            Err(error) if aside.is_none() || !self.is_the_name_free().await => return Err(error),
            Err(_) => {
                made.warnings.push(format!(
                    "somebody has dropped or renamed the database {name} \
                     before the names were swapped, so none is kept"
                ));
                (self.swap(None).await?, None)
            }
            Ok(sessions_ended) => (sessions_ended, aside),
        };
        made.swapped = true;
        Ok(swapped)
    }

    /// Another name for what is replaced, where somebody else has taken the one that was meant.
    async fn other_aside(&self, error: &JobError, aside: &str) -> Option<String> {
        let client = self.maintenance().await.ok()?;
        let names = self.other_names(&client, error, aside).await;
        names.ok()?.map(|names| names.keeps_as)
    }

    async fn swap(&self, aside: Option<&str>) -> Result<u64, JobError> {
        let swap = Swap {
            maintenance: &self.prepared.maintenance,
            connect: self.run.connect_limit(),
            names: TakePlace {
                from: self.new_name(),
                name: &self.plan.database,
                aside,
                is_new: true,
                like: self.prepared.like.as_ref(),
            },
        };
        swap.carry_out().await
    }

    /// Whether the new database stands, and none bears the name.
    async fn is_the_name_free(&self) -> bool {
        let Ok(client) = self.maintenance().await else {
            return false;
        };
        let all = databases(&client).await.unwrap_or_default();
        all.contains_key(self.new_name()) && !all.contains_key(&self.plan.database)
    }

    /// Drops the database that was replaced; gives its name if it still stands.
    pub(super) async fn drop_old(&self, aside: String, made: &mut Made) -> Option<String> {
        self.run.step(&format!("dropping {aside}"));
        let dropped = match self.maintenance().await {
            Ok(client) => drop_replaced(&client, &aside).await,
            Err(error) => Err(error),
        };
        let error = dropped.err()?;
        made.warnings.push(format!(
            "the old database {aside} could not be dropped: {error}"
        ));
        Some(aside)
    }
}
