//! A destination at a store that speaks S3: its settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{
    Named, Written, about_host, elsewhere, endpoint_of, refuse_no_words,
    refuse_without_credentials, secret, variable,
};
use crate::config::findings::Findings;
use crate::config::fragment::CredentialsFrom;
use crate::config::plan::{S3Credentials, S3Settings, ServerSideEncryption};

/// Where AWS has everything that names no region.
const REGION: &str = "us-east-1";

/// The settings behind an address.
pub(super) fn complete(
    findings: &mut Findings<'_>,
    written: &Written<'_>,
    Named { bucket, prefix }: Named,
) -> Option<S3Settings> {
    let fragment = written.fragment;
    for name in ["endpoint", "proxy"] {
        about_host(findings, written, name);
    }
    let words = [
        ("region", &fragment.region),
        ("access_key_id", &fragment.access_key_id),
        ("storage_class", &fragment.storage_class),
        ("sse_key", &fragment.sse_key),
    ];
    refuse_no_words(findings, written, &words);
    let sse = fragment.sse.map(|word| word.0);
    if fragment.sse_key.is_some() && sse != Some(ServerSideEncryption::Kms) {
        findings.refuse_key(
            &written.key("sse_key"),
            "only the encryption \"aws:kms\" has a key".to_owned(),
            Some("write sse = \"aws:kms\", or remove it".to_owned()),
        );
    }
    let credentials = credentials(findings, written)?;
    let endpoint = fragment.endpoint.as_deref();
    Some(S3Settings {
        path_style: fragment
            .path_style
            .unwrap_or_else(|| is_path_style(&bucket, endpoint)),
        bucket,
        prefix,
        endpoint: endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
        region: fragment.region.clone().unwrap_or_else(|| REGION.to_owned()),
        credentials,
        ca_file: fragment.ca_file.clone().map(|path| path.0),
        proxy: fragment.proxy.clone(),
        storage_class: fragment.storage_class.clone(),
        sse,
        sse_key: fragment.sse_key.clone(),
    })
}

/// Compatible stores have the bucket in the path; AWS has it in the host's name, which needs a certificate
/// that a name with dots does not match.
fn is_path_style(bucket: &str, endpoint: Option<&str>) -> bool {
    endpoint.is_some() || bucket.contains('.')
}

fn credentials(findings: &mut Findings<'_>, written: &Written<'_>) -> Option<S3Credentials> {
    if let Some(from) = elsewhere(findings, written) {
        return Some(match from {
            CredentialsFrom::Instance => S3Credentials::Instance,
            CredentialsFrom::WebIdentity => S3Credentials::WebIdentity,
            CredentialsFrom::Keys | CredentialsFrom::Environment => S3Credentials::Environment,
        });
    }
    let id = written.fragment.access_key_id.clone();
    let (message, way) = match (id, secret(findings, written)) {
        (Some(access_key_id), Some(secret)) => {
            return Some(S3Credentials::Keys {
                access_key_id,
                secret,
            });
        }
        (Some(_), None) => (
            "the access key has no secret",
            "name a file or a systemd credential with secret_key_file or credential",
        ),
        (None, Some(_)) => ("the secret key has no id", "write access_key_id = \"…\""),
        (None, None) => {
            let ways = "write access_key_id with secret_key_file or credential; or credentials = \
                        \"environment\", \"instance\" or \"web-identity\"";
            refuse_without_credentials(findings, written, ways);
            return None;
        }
    };
    findings.refuse_key(&written.table, message.to_owned(), Some(way.to_owned()));
    None
}

/// The settings of an address alone, with what the environment adds.
///
/// # Errors
/// A variable has no address.
pub(super) fn from_environment(
    Named { bucket, prefix }: Named,
    environment: &BTreeMap<String, String>,
) -> Result<S3Settings, String> {
    let endpoint = endpoint_of(environment, &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])?;
    let credentials = if variable(environment, &["AWS_ACCESS_KEY_ID"]).is_some() {
        S3Credentials::Environment
    } else if variable(environment, &["AWS_WEB_IDENTITY_TOKEN_FILE"]).is_some() {
        S3Credentials::WebIdentity
    } else {
        S3Credentials::Instance
    };
    Ok(S3Settings {
        path_style: is_path_style(&bucket, endpoint.as_deref()),
        bucket,
        prefix,
        endpoint,
        region: variable(environment, &["AWS_REGION", "AWS_DEFAULT_REGION"])
            .unwrap_or_else(|| REGION.to_owned()),
        credentials,
        ca_file: variable(environment, &["AWS_CA_BUNDLE"]).map(PathBuf::from),
        proxy: None,
        storage_class: None,
        sse: None,
        sse_key: None,
    })
}
