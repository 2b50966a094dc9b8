//! A destination in a container of Azure's Blob Storage: its settings.

use std::collections::BTreeMap;

use reqwest::Url;

use super::{
    Named, Written, about_host, elsewhere, endpoint_of, refuse_no_words,
    refuse_without_credentials, secret, variable,
};
use crate::config::findings::Findings;
use crate::config::fragment::CredentialsFrom;
use crate::config::plan::{AzureCredentials, AzureSettings};

/// The settings behind an address.
pub(super) fn complete(
    findings: &mut Findings<'_>,
    written: &Written<'_>,
    Named { bucket, prefix }: Named,
) -> Option<AzureSettings> {
    let fragment = written.fragment;
    for name in ["endpoint", "proxy"] {
        about_host(findings, written, name);
    }
    let words = [("storage_class", &fragment.storage_class)];
    refuse_no_words(findings, written, &words);
    let tier = fragment.storage_class.as_ref();
    if tier.is_some_and(|tier| tier.eq_ignore_ascii_case("archive")) {
        findings.refuse(
            &written.key("storage_class"),
            "copies in the tier Archive cannot be read".to_owned(),
            Some("write \"Cold\", \"Cool\" or \"Hot\"".to_owned()),
        );
    }
    let credentials = credentials(findings, written);
    let account = account(findings, written);
    let (account, credentials) = account.zip(credentials)?;
    let endpoint = fragment.endpoint.as_deref();
    let endpoint = endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_owned());
    Some(AzureSettings {
        path_style: fragment
            .path_style
            .unwrap_or_else(|| is_path_style(&account, endpoint.as_deref())),
        account,
        container: bucket,
        prefix,
        endpoint,
        credentials,
        ca_file: fragment.ca_file.clone().map(|path| path.0),
        proxy: fragment.proxy.clone(),
        tier: fragment.storage_class.clone(),
    })
}

fn account(findings: &mut Findings<'_>, written: &Written<'_>) -> Option<String> {
    let Some(account) = &written.fragment.account else {
        findings.refuse_key(
            &written.table,
            "the destination has no account".to_owned(),
            Some("write account = \"NAME\", the storage account of the container".to_owned()),
        );
        return None;
    };
    if !is_account(account) {
        findings.refuse(
            &written.key("account"),
            "invalid account: it has 3 to 24 lower-case letters and digits".to_owned(),
            None,
        );
    }
    Some(account.clone())
}

fn is_account(text: &str) -> bool {
    (3..=24).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Emulators have the account in the path; Azure has it in the host's name.
fn is_path_style(account: &str, endpoint: Option<&str>) -> bool {
    let url = endpoint.and_then(|endpoint| endpoint.parse::<Url>().ok());
    let host = url.as_ref().and_then(Url::host_str);
    host.is_some_and(|host| !host.starts_with(&format!("{account}.")))
}

fn credentials(findings: &mut Findings<'_>, written: &Written<'_>) -> Option<AzureCredentials> {
    if let Some(from) = elsewhere(findings, written) {
        return Some(match from {
            CredentialsFrom::Instance => AzureCredentials::Instance,
            CredentialsFrom::WebIdentity => AzureCredentials::WebIdentity,
            CredentialsFrom::Keys | CredentialsFrom::Environment => AzureCredentials::Environment,
        });
    }
    let secret = secret(findings, written);
    if secret.is_none() {
        let ways = "name a file or a systemd credential with secret_key_file or credential; or write credentials = \
                    \"environment\", \"instance\" or \"web-identity\"";
        refuse_without_credentials(findings, written, ways);
    }
    secret.map(AzureCredentials::Key)
}

/// The settings of an address alone, with what the environment adds.
///
/// # Errors
/// A variable has no address, or none has the account.
pub(super) fn from_environment(
    Named { bucket, prefix }: Named,
    environment: &BTreeMap<String, String>,
) -> Result<AzureSettings, String> {
    let account = variable(environment, &["AZURE_STORAGE_ACCOUNT"]).ok_or(
        "AZURE_STORAGE_ACCOUNT is not set\nhint: set it to the storage account of the container",
    )?;
    if !is_account(&account) {
        return Err(
            "AZURE_STORAGE_ACCOUNT is not 3 to 24 lower-case letters and digits".to_owned(),
        );
    }
    let endpoint = endpoint_of(environment, &["AZURE_STORAGE_SERVICE_ENDPOINT"])?;
    let secrets = [
        "AZURE_STORAGE_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_CLIENT_SECRET",
    ];
    let credentials = if variable(environment, &secrets).is_some() {
        AzureCredentials::Environment
    } else if variable(environment, &["AZURE_FEDERATED_TOKEN_FILE"]).is_some() {
        AzureCredentials::WebIdentity
    } else {
        AzureCredentials::Instance
    };
    Ok(AzureSettings {
        path_style: is_path_style(&account, endpoint.as_deref()),
        account,
        container: bucket,
        prefix,
        endpoint,
        credentials,
        ca_file: None,
        proxy: None,
        tier: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_emulator_has_the_account_in_the_path() {
        for (endpoint, expected) in [
            (None, false),
            (Some("https://acc.blob.core.usgovcloudapi.net"), false),
            (Some("http://127.0.0.1:10000"), true),
            (Some("http://azurite:10000"), true),
        ] {
            assert_eq!(is_path_style("acc", endpoint), expected, "{endpoint:?}");
        }
    }
}
