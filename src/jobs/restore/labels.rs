//! Security labels: whether the server can take those of a backup.

use std::collections::BTreeSet;

use crate::jobs::{Context, JobError, Limit};
use crate::pipeline::census::Needs;
use crate::postgres::{Client, Conninfo, missing_label_providers};

/// The providers of labels, of a dump or of these, that the server has not loaded.
pub(super) async fn missing_providers(
    context: &Context,
    server: &Conninfo,
    needs: Option<&Needs>,
    mut others: BTreeSet<String>,
    limit: &Limit,
) -> Result<Vec<String>, JobError> {
    let of_dump = needs.iter().flat_map(|needs| &needs.label_providers);
    others.extend(of_dump.map(|name| String::from_utf8_lossy(name).into_owned()));
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let connect = context.limits.connect;
    let asking = async {
        let client = Client::connect(server, connect).await?;
        Ok::<_, JobError>(missing_label_providers(&client, &others, connect).await?)
    };
    limit.wait_for(asking).await?
}
