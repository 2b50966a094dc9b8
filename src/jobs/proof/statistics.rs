//! The planner's statistics, which no dump holds. They are made while what was loaded is compared:
//! both only read it, and their locks agree (`SHARE UPDATE EXCLUSIVE` and `ACCESS SHARE`, in the
//! manual's "Explicit Locking").

use std::pin::pin;

use tokio_util::sync::CancellationToken;

use crate::jobs::{JobError, JobErrorKind};
use crate::postgres::NotRefreshed;

/// So many tables are named in a warning of each kind.
const NAMED: usize = 10;

/// The tables whose statistics are still to be made, in words.
pub(in crate::jobs) fn without_statistics(others: &[NotRefreshed]) -> Vec<String> {
    let mut warnings = Vec::new();
    let lines = |of: &dyn Fn(&NotRefreshed) -> Option<String>| {
        let all: Vec<String> = others.iter().filter_map(of).collect();
        let mut lines = all[..all.len().min(NAMED)].to_vec();
        if all.len() > NAMED {
            lines.push(format!("  and {} more", all.len() - NAMED));
        }
        lines.join("\n")
    };
    let foreign = lines(&|one| {
        one.reason
            .is_none()
            .then(|| format!("  ANALYZE {};", one.table))
    });
    if !foreign.is_empty() {
        warnings.push(format!(
            "tables with rows on other servers (foreign tables) have no statistics for the planner yet; when \
             those servers can be reached:\n{foreign}"
        ));
    }
    let refused = lines(&|one| {
        let reason = one.reason.as_ref()?;
        Some(format!("  {}: {}", one.table, reason.replace('\n', " ")))
    });
    if !refused.is_empty() {
        warnings.push(format!(
            "the server has made no statistics for the planner of some tables, so queries of them may be \
             slow until ANALYZE succeeds:\n{refused}"
        ));
    }
    warnings
}

/// What both give, once both are done. If `first` fails, `second` is given up; if that fails, `first` is
/// asked to end, and its own failure comes first.
pub(in crate::jobs) async fn side_by_side<T, U>(
    first: impl Future<Output = Result<T, JobError>>,
    end_first: &CancellationToken,
    second: impl Future<Output = Result<U, JobError>>,
) -> Result<(T, U), JobError> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    tokio::select! {
        biased;
        done = &mut first => {
            let done = done?;
            Ok((done, second.await?))
        }
        done = &mut second => {
            let error = match done {
                Ok(done) => return Ok((first.await?, done)),
                Err(error) => error,
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

    #[test]
    fn what_has_no_statistics_is_reported_with_what_to_do_about_it() {
        let one = |table: &str, reason: Option<&str>| NotRefreshed {
            table: table.to_owned(),
            reason: reason.map(str::to_owned),
        };
        assert!(without_statistics(&[]).is_empty());
        let others = [
            one("public.odd", Some("ERROR: not today\nDETAIL: never")),
            one("public.far", None),
        ];
        let [foreign, refused] = without_statistics(&others).try_into().unwrap();
        assert!(foreign.ends_with("\n  ANALYZE public.far;"), "{foreign}");
        assert!(
            refused.ends_with(":\n  public.odd: ERROR: not today DETAIL: never"),
            "{refused}"
        );
        let many: Vec<_> = (0..12).map(|i| one(&format!("p.t{i}"), None)).collect();
        let [foreign] = without_statistics(&many).try_into().unwrap();
        assert!(
            foreign.ends_with("\n  ANALYZE p.t9;\n  and 2 more"),
            "{foreign}"
        );
    }

    fn failed<T>(what: &str) -> Result<T, JobError> {
        Err(JobError::failed(what))
    }

    /// How both ended: the second one, and the first that waits to be asked to end, and then ends so.
    async fn remark_after(ends: Result<(), JobError>, second: Result<(), JobError>) -> String {
        let end = CancellationToken::new();
        let first = async {
            end.cancelled().await;
            ends
        };
        match side_by_side(first, &end, ready(second)).await {
            Ok(((), ())) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn whichever_fails_ends_the_other_and_of_both_the_first_is_reported() {
        let end = CancellationToken::new();
        let outcome = side_by_side(ready(failed::<()>("first")), &end, pending()).await;
        let outcome = outcome.map(|((), ())| ());
        assert_eq!(outcome.unwrap_err().to_string(), "first");
        let interrupted = Err(Stop::Interrupted.into());
        assert_eq!(remark_after(interrupted, failed("second")).await, "second");
        assert_eq!(remark_after(Ok(()), failed("second")).await, "second");
        assert_eq!(
            remark_after(failed("first"), failed("second")).await,
            "first"
        );
    }

    #[tokio::test]
    async fn both_have_to_be_done() {
        let end = CancellationToken::new();
        let first = side_by_side(ready(Ok(7)), &end, ready(Ok('a')));
        assert_eq!(first.await.unwrap(), (7, 'a'));
        let later = async {
            tokio::task::yield_now().await;
            Ok(8)
        };
        let both = side_by_side(later, &end, ready(Ok('b'))).await;
        assert_eq!(both.unwrap(), (8, 'b'));
        let second = async {
            tokio::task::yield_now().await;
            failed::<()>("second")
        };
        let outcome = side_by_side(ready(Ok(9)), &end, second).await;
        assert_eq!(outcome.unwrap_err().to_string(), "second");
        assert!(!end.is_cancelled());
    }
}
