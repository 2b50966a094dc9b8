//! Who asks Azure: the settings' credentials in the library's terms, and where the account is.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, NaiveDate, Utc};
use object_store::azure::{
    AzureConfigKey as Config, MicrosoftAzure, MicrosoftAzureBuilder, split_sas,
};
use secrecy::ExposeSecret as _;

use crate::config::{AzureCredentials, AzureSettings, secret_text};
use crate::destination::bucket::{Courier, check_token_file, with_causes};

/// The variables that lead to the identity of a machine.
const INSTANCE: [(Config, &str); 2] = [
    (Config::ClientId, "AZURE_CLIENT_ID"),
    (Config::MsiEndpoint, "IDENTITY_ENDPOINT"),
];

/// The variables that lead to the identity of a token.
const WEB_IDENTITY: [(Config, &str); 4] = [
    (Config::ClientId, "AZURE_CLIENT_ID"),
    (Config::AuthorityId, "AZURE_TENANT_ID"),
    (Config::FederatedTokenFile, "AZURE_FEDERATED_TOKEN_FILE"),
    (Config::AuthorityHost, "AZURE_AUTHORITY_HOST"),
];

/// The variables that lead to an application with a secret.
const APPLICATION: [(Config, &str); 4] = [
    (Config::ClientId, "AZURE_CLIENT_ID"),
    (Config::AuthorityId, "AZURE_TENANT_ID"),
    (Config::ClientSecret, "AZURE_CLIENT_SECRET"),
    (Config::AuthorityHost, "AZURE_AUTHORITY_HOST"),
];

/// The library's store, and what is known of its credentials.
pub(super) struct Account {
    pub(super) library: MicrosoftAzure,
    /// When a SAS token is over.
    pub(super) expiry: Option<DateTime<Utc>>,
}

/// The address of the account, without a slash at its end.
pub(super) fn account_url(settings: &AzureSettings) -> String {
    let account = &settings.account;
    match &settings.endpoint {
        None => format!("https://{account}.blob.core.windows.net"),
        Some(endpoint) if settings.path_style => format!("{endpoint}/{account}"),
        Some(endpoint) => endpoint.clone(),
    }
}

/// The library's store.
///
/// # Errors
/// In words: a secret cannot be read, a variable is not set.
pub(super) fn account(
    settings: &AzureSettings,
    courier: &Courier,
    environment: &BTreeMap<String, String>,
) -> Result<Account, String> {
    let url = account_url(settings);
    let builder = MicrosoftAzureBuilder::new()
        .with_account(&settings.account)
        .with_container_name(&settings.container)
        .with_allow_http(url.starts_with("http://"))
        .with_endpoint(url)
        .with_retry(courier.retries())
        .with_http_connector(courier.clone());
    let (builder, expiry) = with_credentials(builder, settings, environment)?;
    let library = builder.build().map_err(|error| with_causes(&error))?;
    Ok(Account { library, expiry })
}

type Credentialed = (MicrosoftAzureBuilder, Option<DateTime<Utc>>);

fn with_credentials(
    builder: MicrosoftAzureBuilder,
    settings: &AzureSettings,
    environment: &BTreeMap<String, String>,
) -> Result<Credentialed, String> {
    let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let with = |builder: MicrosoftAzureBuilder, pairs: &[(Config, &str)]| {
        pairs
            .iter()
            .fold(builder, |builder, (key, name)| match variable(name) {
                Some(value) => builder.with_config(*key, value),
                None => builder,
            })
    };
    let needed = |names: &[&str]| match names.iter().find(|name| variable(name).is_none()) {
        Some(name) => Err(format!(
            "{name} is not set\nhint: set it in the environment of the service"
        )),
        None => Ok(()),
    };
    match &settings.credentials {
        AzureCredentials::Key(secret) => {
            let text = secret_text(secret, environment).map_err(|error| error.to_string())?;
            let key = text.expose_secret().lines().next().unwrap_or_default();
            with_key(builder, key.trim())
        }
        AzureCredentials::Environment => {
            let key = variable("AZURE_STORAGE_KEY").or_else(|| variable("AZURE_STORAGE_SAS_TOKEN"));
            if let Some(key) = key {
                return with_key(builder, key.trim());
            }
            if variable("AZURE_CLIENT_SECRET").is_none() {
                return Err(
                    "neither AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN nor AZURE_CLIENT_SECRET is set\n\
                     hint: set one in the environment of the service"
                        .to_owned(),
                );
            }
            needed(&["AZURE_TENANT_ID", "AZURE_CLIENT_ID"])?;
            let builder = with(builder, &APPLICATION).with_credential_type("client_secret");
            Ok((builder, None))
        }
        AzureCredentials::Instance => {
            let builder = with(builder, &INSTANCE).with_credential_type("managed_identity");
            Ok((builder, None))
        }
        AzureCredentials::WebIdentity => {
            needed(&[
                "AZURE_TENANT_ID",
                "AZURE_CLIENT_ID",
                "AZURE_FEDERATED_TOKEN_FILE",
            ])?;
            check_token_file(&environment["AZURE_FEDERATED_TOKEN_FILE"])?;
            let builder = with(builder, &WEB_IDENTITY).with_credential_type("workload_identity");
            Ok((builder, None))
        }
    }
}

/// Takes the key of the account, or a SAS token in its place. No error shows it.
fn with_key(builder: MicrosoftAzureBuilder, key: &str) -> Result<Credentialed, String> {
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the account key or SAS token is not one word of ASCII characters".to_owned());
    }
    if key.contains("sig=") {
        let pairs = split_sas(key).map_err(|_| "the SAS token cannot be read".to_owned())?;
        let expiry = pairs.iter().find(|(name, _)| name == "se");
        let expiry = expiry.and_then(|(_, time)| expiry_at(time));
        let builder = builder
            .with_sas_authorization(pairs)
            .with_credential_type("sas_token");
        return Ok((builder, expiry));
    }
    let decoded = BASE64.decode(key);
    if decoded.is_ok_and(|key| !key.is_empty()) {
        let builder = builder
            .with_access_key(key)
            .with_credential_type("access_key");
        Ok((builder, None))
    } else {
        Err(
            "the account key is not in base64, and is no SAS token\nhint: copy it as Azure shows it, all of it"
                .to_owned(),
        )
    }
}

/// A time of a SAS token; one without a time of the day is its beginning.
fn expiry_at(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
    let minute = || DateTime::parse_from_str(&text.replace('Z', ":00+0000"), "%Y-%m-%dT%H:%M:%S%z");
    let day = || text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0);
    time.ok()
        .or_else(|| minute().ok().map(|time| time.to_utc()))
        .or_else(|| day().map(|time| time.and_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_in_the_path_or_in_the_name_of_the_host() {
        for (endpoint, path_style, expected) in [
            (None, false, "https://acc.blob.core.windows.net"),
            (
                Some("http://127.0.0.1:10000"),
                true,
                "http://127.0.0.1:10000/acc",
            ),
            (
                Some("https://acc.blob.core.chinacloudapi.cn"),
                false,
                "https://acc.blob.core.chinacloudapi.cn",
            ),
        ] {
            let settings = AzureSettings {
                account: "acc".to_owned(),
                container: "c".to_owned(),
                prefix: None,
                endpoint: endpoint.map(str::to_owned),
                path_style,
                credentials: AzureCredentials::Instance,
                ca_file: None,
                proxy: None,
                tier: None,
            };
            assert_eq!(account_url(&settings), expected);
        }
    }

    #[test]
    fn a_sas_token_says_when_it_is_over() {
        for (text, expected) in [
            ("2026-11-30T02:00:00Z", Some("2026-11-30T02:00:00Z")),
            ("2026-11-30T02:00Z", Some("2026-11-30T02:00:00Z")),
            ("2026-11-30", Some("2026-11-30T00:00:00Z")),
            ("soon", None),
        ] {
            let expected = expected.map(|text| text.parse::<DateTime<Utc>>().unwrap());
            assert_eq!(expiry_at(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_neither_a_key_nor_a_token_is_refused_unseen() {
        for text in ["hunter2!", "", "hunter2 hunter2", "hunter2&sig=x"] {
            let error = with_key(MicrosoftAzureBuilder::new(), text).err().unwrap();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let token = "?sv=2023-11-03&se=2026-11-30T02%3A00%3A00Z&sr=c&sp=rcl&sig=aGk%3D";
        let (_, expiry) = with_key(MicrosoftAzureBuilder::new(), token).unwrap();
        assert_eq!(expiry, Some("2026-11-30T02:00:00Z".parse().unwrap()));
        let (_, expiry) = with_key(MicrosoftAzureBuilder::new(), "aGk=").unwrap();
        assert_eq!(expiry, None);
    }
}
