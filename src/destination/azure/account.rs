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
    /// When a SAS token is valid.
    pub(super) validity: Validity,
}

/// When a SAS token is valid, as far as it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) start: Option<DateTime<Utc>>,
    pub(super) end: Option<DateTime<Utc>>,
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
    let (builder, validity) = with_credentials(builder, settings, environment)?;
    let library = builder.build().map_err(|error| with_causes(&error))?;
    Ok(Account { library, validity })
}

type Credentialed = (MicrosoftAzureBuilder, Validity);

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
            Ok((builder, Validity::default()))
        }
        AzureCredentials::Instance => {
            let builder = with(builder, &INSTANCE).with_credential_type("managed_identity");
            Ok((builder, Validity::default()))
        }
        AzureCredentials::WebIdentity => {
            needed(&[
                "AZURE_TENANT_ID",
                "AZURE_CLIENT_ID",
                "AZURE_FEDERATED_TOKEN_FILE",
            ])?;
            check_token_file(&environment["AZURE_FEDERATED_TOKEN_FILE"])?;
            let builder = with(builder, &WEB_IDENTITY).with_credential_type("workload_identity");
            Ok((builder, Validity::default()))
        }
    }
}

/// Takes the key of the account, or a SAS token in its place. No error shows it.
fn with_key(builder: MicrosoftAzureBuilder, key: &str) -> Result<Credentialed, String> {
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the account key or SAS token is not one word of ASCII characters".to_owned());
    }
    let key = secret_in(key)?;
    if key.contains("sig=") {
        let pairs = split_sas(key).map_err(|_| "the SAS token cannot be read".to_owned())?;
        let time = |name: &str| {
            let (_, time) = pairs.iter().find(|(one, _)| one == name)?;
            time_of(time)
        };
        let validity = Validity {
            start: time("st"),
            end: time("se"),
        };
        let builder = builder
            .with_sas_authorization(pairs)
            .with_credential_type("sas_token");
        return Ok((builder, validity));
    }
    let decoded = BASE64.decode(key);
    if decoded.is_ok_and(|key| !key.is_empty()) {
        let builder = builder
            .with_access_key(key)
            .with_credential_type("access_key");
        Ok((builder, Validity::default()))
    } else {
        Err(
            "the account key is not in base64, and is no SAS token\nhint: copy it as Azure shows it, all of it"
                .to_owned(),
        )
    }
}

/// The key or token in what Azure shows of it: as it is, or within an address of the service or a connection string.
/// No error shows it.
fn secret_in(text: &str) -> Result<&str, String> {
    if text.starts_with("https://") || text.starts_with("http://") {
        let query = text.split_once('?').map(|(_, query)| query);
        return query.filter(|query| query.contains("sig=")).ok_or_else(|| {
            "the secret is an address without a SAS token\nhint: copy the SAS token, or the account key"
                .to_owned()
        });
    }
    let setting = |name: &str| {
        let mut settings = text.split(';').map(str::trim_start);
        settings.find_map(|one| one.strip_prefix(name)?.strip_prefix('='))
    };
    match (setting("AccountKey"), setting("SharedAccessSignature")) {
        (Some(one), None) | (None, Some(one)) => Ok(one),
        (None, None) if setting("BlobEndpoint").is_none() && setting("AccountName").is_none() => {
            Ok(text)
        }
        _ => Err(
            "the secret is a connection string without one key or token of its own\n\
             hint: copy the account key or the SAS token alone"
                .to_owned(),
        ),
    }
}

/// A time of a SAS token; one without a time of the day is its beginning.
fn time_of(text: &str) -> Option<DateTime<Utc>> {
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
            assert_eq!(time_of(text), expected, "{text}");
        }
    }

    #[test]
    fn a_key_or_token_is_found_in_what_azure_shows() {
        for (text, expected) in [
            ("aGk=", Some("aGk=")),
            ("sv=1&sig=x", Some("sv=1&sig=x")),
            ("?sv=1&sig=x", Some("?sv=1&sig=x")),
            (
                "https://acc.blob.core.windows.net/c?sv=1&sig=x",
                Some("sv=1&sig=x"),
            ),
            (
                "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=aGk=;EndpointSuffix=core.windows.net",
                Some("aGk="),
            ),
            (
                "BlobEndpoint=https://acc.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=x",
                Some("sv=1&sig=x"),
            ),
            ("https://acc.blob.core.windows.net/c", None),
            ("BlobEndpoint=https://hunter2/;QueueEndpoint=x", None),
            ("AccountKey=hunter2;SharedAccessSignature=sig=x", None),
        ] {
            let found = secret_in(text);
            assert_eq!(found.as_deref().ok(), expected, "{text}");
            let error = found.err().unwrap_or_default();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_is_neither_a_key_nor_a_token_is_refused_unseen() {
        for text in ["hunter2!", "", "hunter2 hunter2", "hunter2&sig=x"] {
            let error = with_key(MicrosoftAzureBuilder::new(), text).err().unwrap();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let token =
            "?sv=2023-11-03&st=2026-11-29&se=2026-11-30T02%3A00%3A00Z&sr=c&sp=rcl&sig=aGk%3D";
        let (_, validity) = with_key(MicrosoftAzureBuilder::new(), token).unwrap();
        let expected = Validity {
            start: Some("2026-11-29T00:00:00Z".parse().unwrap()),
            end: Some("2026-11-30T02:00:00Z".parse().unwrap()),
        };
        assert_eq!(validity, expected);
        let (_, validity) = with_key(MicrosoftAzureBuilder::new(), "aGk=").unwrap();
        assert_eq!(validity, Validity::default());
    }
}
