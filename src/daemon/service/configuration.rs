//! The configuration in force, what it comes from, and why a newer one is not in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::config::{Plan, Settings, Source};
use crate::daemon::watch::InForce;
use crate::jobs::JobContext;

/// The configuration of the running service.
pub(super) struct Configuration {
    /// Where it is read again at a reload.
    pub(super) source: Source,
    /// The process's environment, which every job gets.
    pub(super) environment: Arc<BTreeMap<String, String>>,
    /// The plan in force.
    pub(super) plan: Arc<Plan>,
    /// What the plan follows from.
    pub(super) settings: Settings,
    /// The digest of its files, by which `status` sees that they have changed.
    pub(super) files_digest: String,
    /// The plan that the process started with: some of it stays in force until it ends.
    pub(super) started_with: Arc<Plan>,
    /// Why the newest configuration is not in force.
    pub(super) refused: Option<String>,
    /// When the plan in force was read, for `status`.
    pub(super) loaded: DateTime<Utc>,
}

impl Configuration {
    /// The one that the process starts with.
    pub(super) fn of_start(
        source: Source,
        environment: Arc<BTreeMap<String, String>>,
        (plan, settings): (Arc<Plan>, Settings),
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            source,
            environment,
            files_digest: settings.files_digest(),
            settings,
            started_with: Arc::clone(&plan),
            plan,
            refused: None,
            loaded: now,
        }
    }

    /// Puts a newer one into force.
    pub(super) fn adopt(&mut self, plan: Arc<Plan>, settings: Settings, now: DateTime<Utc>) {
        self.plan = plan;
        self.files_digest = settings.files_digest();
        self.settings = settings;
        self.loaded = now;
        self.refused = None;
    }

    /// What the task that watches goes by.
    pub(super) fn in_force(&self) -> InForce {
        InForce {
            plan: Arc::clone(&self.plan),
            settings: self.settings.clone(),
            environment: Arc::clone(&self.environment),
        }
    }

    /// The context of what the service itself looks at.
    pub(super) fn context(&self) -> JobContext {
        JobContext::new(&self.plan, &self.environment)
    }
}
