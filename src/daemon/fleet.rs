//! This host's state at its destinations: put after a judgement, in a task of its own, one at a time.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::config::Plan;
use crate::jobs::{JobContext, StatusAttempt, StatusReport, put_status};

/// The putting of states. What is under way when the service ends is given up.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    running: Option<JoinHandle<()>>,
}

impl Fleet {
    /// Puts a state where one is due, unless the last attempt still goes on.
    pub(super) fn put(
        &mut self,
        context: &JobContext,
        (plan, status): (&Arc<Plan>, &Arc<StatusReport>),
    ) {
        let is_busy = self
            .running
            .as_ref()
            .is_some_and(|task| !task.is_finished());
        if plan.destinations.is_empty() || is_busy {
            return;
        }
        let (context, plan, status) = (context.clone(), Arc::clone(plan), Arc::clone(status));
        self.running = Some(tokio::spawn(async move {
            let attempts = put_status(&context, &plan, &status).await;
            attempts.iter().for_each(log);
        }));
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(task) = &self.running {
            task.abort();
        }
    }
}

fn log(attempt: &StatusAttempt) {
    let name = &attempt.destination;
    match &attempt.failure {
        None => tracing::debug!("the state of this host is at {name}"),
        // Once, and then in `status`.
        Some(why) if attempt.is_news => tracing::warn!(
            "the state of this host could not be put at {name}; it is tried again: {why}"
        ),
        Some(why) => tracing::debug!("the state of this host could not be put at {name}: {why}"),
    }
}
