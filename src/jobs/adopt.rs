//! Adopting copies that an earlier signing key of this host has signed: after its loss, or on a new machine with the
//! old one's name.
//!
//! Only what the destination has at that moment is adopted, by its own clock. Whoever has the old key can sign what
//! they like from then on, with any date in it, and none of it counts.

use chrono::{DateTime, FixedOffset, SubsecRound as _, TimeDelta, Utc};

use super::error::JobError;
use super::run::Run;
use crate::allowed_signer::AllowedSigner;
use crate::copies::{NAMESPACE, Place, SignedManifest, TrustedSigners, places, read_catalogue};
use crate::destination::Store;
use crate::repository::{AdoptedSigner, AdoptedSigners};

/// What adopting a key would make this host's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption {
    /// The key's fingerprint: `SHA256:…`.
    pub fingerprint: String,
    /// The copies that it signed.
    pub copies: u64,
    /// The databases that these are of, as `server/database`.
    pub databases: Vec<String>,
    /// Bytes of all their volumes.
    pub bytes: u64,
    /// The newest, by its backup's name.
    pub newest: String,
    /// When its backup began.
    pub started: DateTime<FixedOffset>,
    /// What the destination got later is not adopted. By its clock.
    pub until: DateTime<Utc>,
    /// The line that trusts the key.
    line: String,
}

/// Where a key is adopted.
#[derive(Clone, Copy, Debug)]
pub struct AdoptionRequest<'a> {
    /// What is there.
    pub store: &'a dyn Store,
    /// This host's name there.
    pub host: &'a str,
    /// The key's fingerprint.
    pub fingerprint: &'a str,
}

/// Looks what a key has signed at a destination under this host's name; nothing if there is no such copy.
///
/// # Errors
/// When it is no fingerprint, or the destination cannot be reached.
pub async fn look_at_adoption(
    run: &Run<'_>,
    request: AdoptionRequest<'_>,
) -> Result<Option<Adoption>, JobError> {
    let trusted = TrustedSigners::default().with_fingerprint(request.fingerprint);
    let trusted = trusted.map_err(|error| JobError::NoSuchBackup(error.to_string()))?;
    let store = request.store;
    let offset = run.wait_for(store.clock_offset()).await??;
    let mut until = Utc::now() + offset.unwrap_or_default();
    let mut found: Vec<(Place, SignedManifest)> = Vec::new();
    for place in run.wait_for(places(store, request.host)).await?? {
        let reading = read_catalogue(store, &place, &trusted, None);
        for copy in run.wait_for(reading).await??.copies {
            let others = copy.others.iter().map(|signed| signed.stored);
            until = others.fold(until.max(copy.manifest.stored), DateTime::max);
            found.push((place.clone(), copy.manifest));
        }
    }
    let bytes = found
        .iter()
        .map(|(_, signed)| signed.manifest.bytes())
        .sum();
    let mut databases: Vec<String> = found
        .iter()
        .map(|(place, _)| format!("{}/{}", place.server, place.database))
        .collect();
    databases.dedup();
    let newest = found
        .iter()
        .max_by_key(|(_, signed)| signed.manifest.started);
    let Some((_, newest)) = newest else {
        return Ok(None);
    };
    // The form of the line has no parts of a second.
    let until = until.trunc_subsecs(0) + TimeDelta::seconds(1);
    Ok(Some(Adoption {
        fingerprint: newest.signature.fingerprint.clone(),
        copies: found.len() as u64,
        databases,
        bytes,
        newest: newest.manifest.copy.stem().to_string(),
        started: newest.manifest.started,
        until,
        line: line(request.host, &newest.signature.public_key, until)?,
    }))
}

/// The line of `allowed_signers` that trusts a key for a host until then.
fn line(host: &str, public_key: &str, until: DateTime<Utc>) -> Result<String, JobError> {
    let until = until.format("%Y%m%d%H%M%SZ");
    let options = format!("namespaces=\"{NAMESPACE}\",valid-before=\"{until}\"");
    let line = format!("\"{host}\" {options} {public_key}");
    let is_read = AllowedSigner::parse(&line).is_ok_and(|read| read.is_for(host));
    if is_read {
        return Ok(line);
    }
    Err(JobError::NoSuchBackup(format!(
        "no copies are adopted under the host's name {host:?}: it cannot be written to a list of trusted signers\n\
         hint: give the host another `name` in the configuration"
    )))
}

/// Adopts what was looked at.
///
/// # Errors
/// When that cannot be written to the state directory.
pub fn adopt(run: &Run<'_>, destination: &str, adoption: &Adoption) -> Result<(), JobError> {
    let context = run.context;
    let signer = AdoptedSigner {
        fingerprint: adoption.fingerprint.clone(),
        line: adoption.line.clone(),
        adopted: context.now(),
        by: context.requester.user.clone(),
    };
    Ok(AdoptedSigners::adopt(
        &context.state_directory,
        destination,
        signer,
    )?)
}

/// Takes an adoption back, and gives whether there was one.
///
/// # Errors
/// When that cannot be written to the state directory.
pub fn revoke_adoption(
    run: &Run<'_>,
    destination: &str,
    fingerprint: &str,
) -> Result<bool, JobError> {
    let state = &run.context.state_directory;
    Ok(AdoptedSigners::revoke(state, destination, fingerprint)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPZOfPRA6q6fpl3U1shs2hj7fA5B8jZEZaFky0HRWv5u";

    #[test]
    fn the_line_trusts_the_key_for_this_host_and_what_was_there() {
        let until: DateTime<Utc> = "2025-07-09T02:00:01Z".parse().unwrap();
        for host in ["db1", "db-1.example.org", "my host"] {
            let line = line(host, KEY, until).unwrap();
            let read = AllowedSigner::parse(&line).unwrap();
            assert!(read.is_for(host), "{line}");
            assert!(!read.is_for("db2"), "{line}");
            assert!(read.is_within(NAMESPACE) && !read.is_within("file"));
            assert!(read.is_valid_at(until), "{line}");
            assert!(!read.is_valid_at(until + TimeDelta::seconds(1)), "{line}");
        }
        for host in ["!db1", "a\"b", "a,!a"] {
            let refused = line(host, KEY, until).unwrap_err().to_string();
            assert!(refused.contains("hint: "), "{refused}");
        }
    }
}
