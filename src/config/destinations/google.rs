//! A destination in a bucket of Google Cloud Storage: its settings.

use std::collections::BTreeMap;

use super::{
    Named, Written, about_host, elsewhere, endpoint_of, refuse_no_words,
    refuse_without_credentials, secret, variable,
};
use crate::config::findings::Findings;
use crate::config::fragment::CredentialsFrom;
use crate::config::plan::{GoogleCredentials, GoogleSettings};

/// The settings behind an address.
pub(super) fn complete(
    findings: &mut Findings<'_>,
    written: &Written<'_>,
    Named { bucket, prefix }: Named,
) -> Option<GoogleSettings> {
    let fragment = written.fragment;
    for name in ["endpoint", "proxy"] {
        about_host(findings, written, name);
    }
    let words = [("storage_class", &fragment.storage_class)];
    refuse_no_words(findings, written, &words);
    let credentials = credentials(findings, written)?;
    let endpoint = fragment.endpoint.as_deref();
    Some(GoogleSettings {
        bucket,
        prefix,
        endpoint: endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
        credentials,
        ca_file: fragment.ca_file.clone().map(|path| path.0),
        proxy: fragment.proxy.clone(),
        storage_class: fragment.storage_class.clone(),
    })
}

fn credentials(findings: &mut Findings<'_>, written: &Written<'_>) -> Option<GoogleCredentials> {
    match elsewhere(findings, written) {
        Some(CredentialsFrom::Instance) => return Some(GoogleCredentials::Instance),
        Some(CredentialsFrom::WebIdentity) => {
            findings.refuse(
                &written.key("credentials"),
                "a destination at gs:// has no credentials \"web-identity\"".to_owned(),
                Some("write \"instance\": also a pod of GKE gets them from there".to_owned()),
            );
            return None;
        }
        Some(CredentialsFrom::Environment) => return Some(GoogleCredentials::Environment),
        Some(CredentialsFrom::Keys) | None => {}
    }
    let secret = secret(findings, written);
    if secret.is_none() {
        let ways = "name a file or a systemd credential with secret_key_file or credential; or write credentials = \
                    \"environment\" or \"instance\"";
        refuse_without_credentials(findings, written, ways);
    }
    secret.map(GoogleCredentials::Key)
}

/// The settings of an address alone, with what the environment adds.
///
/// # Errors
/// A variable has no address.
pub(super) fn from_environment(
    Named { bucket, prefix }: Named,
    environment: &BTreeMap<String, String>,
) -> Result<GoogleSettings, String> {
    let file = variable(environment, &["GOOGLE_APPLICATION_CREDENTIALS"]);
    Ok(GoogleSettings {
        bucket,
        prefix,
        endpoint: endpoint_of(environment, &["STORAGE_EMULATOR_HOST"])?,
        credentials: match file {
            Some(_) => GoogleCredentials::Environment,
            None => GoogleCredentials::Instance,
        },
        ca_file: None,
        proxy: None,
        storage_class: None,
    })
}
