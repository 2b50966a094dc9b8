//! Who asks Google: the settings' credentials in the library's terms.

use std::collections::BTreeMap;
use std::path::Path;

use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder};
use secrecy::ExposeSecret as _;

use crate::config::{self, GoogleCredentials, GoogleSettings, secret_text};
use crate::destination::bucket::{Courier, with_causes};

/// Where Google has all buckets.
const ENDPOINT: &str = "https://storage.googleapis.com";

/// The address of the store, without a slash at its end.
pub(super) fn endpoint(settings: &GoogleSettings) -> &str {
    settings.endpoint.as_deref().unwrap_or(ENDPOINT)
}

/// The library's store.
///
/// # Errors
/// In words: a secret cannot be read, a variable is not set.
pub(super) fn store(
    settings: &GoogleSettings,
    courier: &Courier,
    environment: &BTreeMap<String, String>,
) -> Result<GoogleCloudStorage, String> {
    let builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&settings.bucket)
        .with_base_url(endpoint(settings))
        .with_retry(courier.retries())
        .with_http_connector(courier.clone());
    let builder = match &settings.credentials {
        GoogleCredentials::Key(secret) => {
            let text = secret_text(secret, environment).map_err(|error| error.to_string())?;
            check(text.expose_secret(), &["service_account"])?;
            builder.with_service_account_key(text.expose_secret())
        }
        GoogleCredentials::Environment => {
            let path = environment
                .get("GOOGLE_APPLICATION_CREDENTIALS")
                .filter(|path| !path.is_empty())
                .ok_or(
                    "GOOGLE_APPLICATION_CREDENTIALS is not set\nhint: set it in the environment of the service",
                )?;
            let text = config::file(Path::new(path)).map_err(|error| error.to_string())?;
            let checked = check(&text, &["service_account", "authorized_user"]);
            checked.map_err(|message| format!("{path}: {message}"))?;
            builder.with_application_credentials(path)
        }
        // The library asks the metadata service where gcloud has left no credentials for the user.
        GoogleCredentials::Instance => builder,
    };
    builder.build().map_err(|error| match settings.credentials {
        GoogleCredentials::Instance => with_causes(&error),
        // The library shows where in the key it stopped.
        GoogleCredentials::Key(_) => incomplete("private_key"),
        GoogleCredentials::Environment => {
            "the file of GOOGLE_APPLICATION_CREDENTIALS is not complete: a part of it is missing or cut off\n\
             hint: copy it again, all of it, or make a new key"
                .to_owned()
        }
    })
}

/// A key that lacks something, or has only a part of it.
fn incomplete(field: &str) -> String {
    format!(
        "the key of the service account is not complete: {field} is missing or cut off\n\
         hint: copy the file again, all of it, or make a new key"
    )
}

/// Whether a text is a file of credentials of one of these types. No error shows it.
fn check(text: &str, types: &[&str]) -> Result<(), String> {
    let document: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let kind = document.as_ref().and_then(|one| one["type"].as_str());
    match kind {
        Some("service_account") if types.contains(&"service_account") => {
            let field = |name: &str| document.as_ref().and_then(|one| one[name].as_str());
            let private_key = field("private_key").unwrap_or_default().trim_end();
            let is_whole = private_key.starts_with("-----BEGIN ") && private_key.ends_with("-----");
            match (is_whole, field("client_email")) {
                (false, _) => Err(incomplete("private_key")),
                (true, None) => Err(incomplete("client_email")),
                (true, Some(_)) => Ok(()),
            }
        }
        Some(kind) if types.contains(&kind) => Ok(()),
        Some("external_account") => Err(
            "credentials of another provider (external_account) are not supported\n\
             hint: use the key of a service account"
                .to_owned(),
        ),
        _ => Err("it is not the key of a service account, as JSON\n\
             hint: make one: gcloud iam service-accounts keys create FILE --iam-account ACCOUNT"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_refused_unseen() {
        for (text, expected) in [
            (
                r#"{"type":"service_account","client_email":"a@b","private_key":"-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"}"#,
                None,
            ),
            (
                r#"{"type":"service_account","client_email":"a@b","private_key":"-----BEGIN PRIVATE KEY-----\nhunter2"}"#,
                Some("private_key is missing or cut off"),
            ),
            (
                r#"{"type":"service_account","client_email":"a@b"}"#,
                Some("private_key is missing or cut off"),
            ),
            (
                r#"{"type":"service_account","private_key":"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"}"#,
                Some("client_email is missing"),
            ),
            (
                r#"{"type":"external_account","x":"hunter2"}"#,
                Some("another provider"),
            ),
            (
                r#"{"type":"authorized_user","x":"hunter2"}"#,
                Some("not the key"),
            ),
            ("hunter2", Some("not the key")),
        ] {
            let error = check(text, &["service_account"]).err();
            assert_eq!(error.is_some(), expected.is_some(), "{text}");
            let error = error.unwrap_or_default();
            assert!(error.contains(expected.unwrap_or_default()), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
