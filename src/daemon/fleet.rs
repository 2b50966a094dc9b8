//! This host's state at its destinations: put after a judgement, in a task of its own, one at a time.

use std::io;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::directories::Directories;
use crate::config::Plan;
use crate::jobs::{JobContext, StatusAttempt, StatusReport, put_status, signing_key};
use crate::responsiveness::HASTE;
use crate::threads;

/// The putting of states. What is under way when the service ends is given up.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    running: Option<JoinHandle<()>>,
    /// The configuration for which the key that signs was looked at.
    looked: Option<Arc<Plan>>,
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
        let looked = self.looked.replace(Arc::clone(&plan));
        let is_new = looked.is_none_or(|looked| !Arc::ptr_eq(&looked, &plan));
        self.running = Some(tokio::spawn(async move {
            if is_new {
                look_at_signer(&context).await;
            }
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

/// Takes down which key signs from now on, before the service is ready: a command that follows its start knows the
/// key. A state directory that does not answer at once is not waited for; what keeps a key from being read is
/// reported with the first state.
pub(super) async fn note_signer(plan: &Plan, context: &JobContext, directories: &Directories) {
    if plan.destinations.is_empty() {
        return;
    }
    let (state, context) = (context.state_directory.clone(), context.clone());
    let noting = directories.ask_one(state, move |_| signing_key(&context).is_ok());
    let noted = timeout(HASTE, noting).await;
    if !matches!(noted, Ok(Ok(Some(true)))) {
        tracing::debug!("which key signs could not be noted before the start");
    }
}

/// Takes down which key signs from now on, before a command asks, and warns if none can.
async fn look_at_signer(context: &JobContext) {
    let context = context.clone();
    let looking = threads::io("signer", move || {
        signing_key(&context).map_err(io::Error::other)
    });
    if let Err(error) = looking.await {
        tracing::warn!("nothing can be copied: {error}");
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
