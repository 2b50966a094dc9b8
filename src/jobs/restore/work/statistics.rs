//! The planner's statistics, which no dump holds. They are made while what was loaded is compared:
//! both only read it, and their locks agree (`SHARE UPDATE EXCLUSIVE` and `ACCESS SHARE`, in the
//! manual's "Explicit Locking").

use std::pin::pin;

use tokio_util::sync::CancellationToken;

use super::{Made, Work};
use crate::jobs::{JobError, JobErrorKind};
use crate::postgres::{Client, Programs, analyze};

impl Work<'_> {
    /// Compares what was loaded with the backup, and refreshes its statistics meanwhile. Whichever
    /// fails ends the other. Gives rows and tables.
    pub(super) async fn compare_and_analyze(
        &self,
        programs: &Programs,
        loaded: &Client,
        made: &mut Made,
    ) -> Result<(u64, u64), JobError> {
        let (limit, end) = self.limit.of_a_part();
        let comparing = self.compare(programs, loaded.conninfo(), made, &limit);
        let analyzing = async {
            let within = self.context.limits.total;
            Ok(self.limit.wait_for(analyze(loaded, within)).await??)
        };
        beside(comparing, &end, analyzing).await
    }
}

/// What `first` gives, once both are done. If it fails, `second` is given up; if that fails, `first` is
/// told to end, and its own failure comes first.
async fn beside<T>(
    first: impl Future<Output = Result<T, JobError>>,
    end_first: &CancellationToken,
    second: impl Future<Output = Result<(), JobError>>,
) -> Result<T, JobError> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    tokio::select! {
        biased;
        done = &mut first => {
            let done = done?;
            second.await.map(|()| done)
        }
        done = &mut second => {
            let Err(error) = done else {
                return first.await;
            };
            end_first.cancel();
            match first.await {
                Err(own) if own.kind() != JobErrorKind::Interrupted => Err(own),
                _ => Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use crate::jobs::limit::Stop;

    fn failed(what: &str) -> Result<(), JobError> {
        Err(JobError::failed(what))
    }

    /// How both ended: the second one, and the first that waits to be told to end, and then ends so.
    async fn told(ends: Result<(), JobError>, second: Result<(), JobError>) -> String {
        let end = CancellationToken::new();
        let first = async {
            end.cancelled().await;
            ends
        };
        match beside(first, &end, ready(second)).await {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn whichever_fails_ends_the_other_and_of_both_the_first_is_told() {
        let end = CancellationToken::new();
        let outcome = beside(ready(failed("first")), &end, pending()).await;
        assert_eq!(outcome.unwrap_err().to_string(), "first");
        let interrupted = Err(Stop::Interrupted.into());
        assert_eq!(told(interrupted, failed("second")).await, "second");
        assert_eq!(told(Ok(()), failed("second")).await, "second");
        assert_eq!(told(failed("first"), failed("second")).await, "first");
    }

    #[tokio::test]
    async fn both_have_to_be_done() {
        let end = CancellationToken::new();
        let first = beside(ready(Ok(7)), &end, ready(Ok(())));
        assert_eq!(first.await.unwrap(), 7);
        let later = async {
            tokio::task::yield_now().await;
            Ok(8)
        };
        assert_eq!(beside(later, &end, ready(Ok(()))).await.unwrap(), 8);
        let second = async {
            tokio::task::yield_now().await;
            failed("second")
        };
        let outcome = beside(ready(Ok(9)), &end, second).await;
        assert_eq!(outcome.unwrap_err().to_string(), "second");
        assert!(!end.is_cancelled());
    }
}
