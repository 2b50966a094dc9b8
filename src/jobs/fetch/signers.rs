//! Who has signed what lies at a destination, for an operator who has to decide whom to trust.

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset};

use super::CopySource;
use crate::copies::{Place, TrustedSigners, read_catalogue};
use crate::display::counted;
use crate::jobs::error::JobError;
use crate::jobs::run::Run;

/// Somebody who has signed copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerThere {
    /// The key's fingerprint: `SHA256:…`.
    pub fingerprint: String,
    /// So many copies.
    pub copies: u64,
    /// The hosts that these say they are of.
    pub hosts: Vec<String>,
    /// When the backup of the newest began.
    pub newest: DateTime<FixedOffset>,
}

/// The signers of all that lies at these places, trusted or not, the one with the newest copy first.
///
/// # Errors
/// When the destination cannot be reached, or refuses.
pub async fn signers_there(
    run: &Run<'_>,
    source: &CopySource,
    places: &[Place],
) -> Result<Vec<SignerThere>, JobError> {
    let mut signers: BTreeMap<String, SignerThere> = BTreeMap::new();
    for place in places {
        let everybody = TrustedSigners::any();
        let reading = read_catalogue(&*source.store, place, &everybody, None);
        let catalogue = run.wait_for(reading).await??;
        for copy in &catalogue.copies {
            let fingerprint = &copy.manifest.signature.fingerprint;
            let started = copy.manifest.manifest.started;
            let signer = signers.entry(fingerprint.clone());
            let signer = signer.or_insert_with(|| SignerThere {
                fingerprint: fingerprint.clone(),
                copies: 0,
                hosts: Vec::new(),
                newest: started,
            });
            signer.copies += 1;
            signer.newest = signer.newest.max(started);
            if !signer.hosts.contains(&place.host) {
                signer.hosts.push(place.host.clone());
            }
        }
    }
    let mut signers: Vec<SignerThere> = signers.into_values().collect();
    signers.sort_by_key(|signer| std::cmp::Reverse(signer.newest));
    Ok(signers)
}

/// Who has signed, two lines each.
pub fn signer_lines(signers: &[SignerThere]) -> String {
    let lines: Vec<String> = signers
        .iter()
        .map(|signer| {
            format!(
                "  {}\n    {} of host {}, the newest of {}",
                signer.fingerprint,
                counted(signer.copies, "copy", "copies"),
                signer.hosts.join(", "),
                signer.newest.format("%Y-%m-%d %H:%M %:z")
            )
        })
        .collect();
    lines.join("\n")
}

/// Who has signed, and the way to find out whether to trust them; `why` is what this is the answer to.
pub fn untrusted(why: &str, signers: &[SignerThere]) -> String {
    format!(
        "{why}; copies there are signed by\n{}\n\
         hint: compare the fingerprint with the printed key sheet, or with\n\
         `pgbackupd key show` on the host; then add --signer and the fingerprint.\n\
         --any-signer trusts whoever can write there",
        signer_lines(signers)
    )
}
