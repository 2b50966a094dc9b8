//! Who asks a store: the settings' credentials in the library's terms, and where the bucket is.

use std::collections::BTreeMap;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey as Config};
use secrecy::ExposeSecret as _;

use crate::config::{S3Credentials, S3Settings, secret_text};
use crate::destination::bucket::{Courier, check_token_file, in_a_header, with_causes};

/// The variables that lead to the role of a machine or a container.
const INSTANCE: [(Config, &str); 4] = [
    (
        Config::MetadataEndpoint,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    ),
    (
        Config::ContainerCredentialsRelativeUri,
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    ),
    (
        Config::ContainerCredentialsFullUri,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ),
    (
        Config::ContainerAuthorizationTokenFile,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    ),
];

/// The variables that lead to the role of a token.
const WEB_IDENTITY: [(Config, &str); 4] = [
    (Config::WebIdentityTokenFile, "AWS_WEB_IDENTITY_TOKEN_FILE"),
    (Config::RoleArn, "AWS_ROLE_ARN"),
    (Config::RoleSessionName, "AWS_ROLE_SESSION_NAME"),
    (Config::StsEndpoint, "AWS_ENDPOINT_URL_STS"),
];

/// The address of the bucket, without a slash at its end.
pub(super) fn bucket_url(settings: &S3Settings) -> String {
    let (bucket, region) = (&settings.bucket, &settings.region);
    // The regions of China have a domain of their own.
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    let endpoint = settings
        .endpoint
        .clone()
        .unwrap_or_else(|| format!("https://s3.{region}.{domain}"));
    match endpoint.split_once("://") {
        Some((scheme, host)) if !settings.path_style => format!("{scheme}://{bucket}.{host}"),
        _ => format!("{endpoint}/{bucket}"),
    }
}

/// The library's store.
///
/// # Errors
/// In words: a secret cannot be read, a variable is not set.
pub(super) fn store(
    settings: &S3Settings,
    courier: &Courier,
    environment: &BTreeMap<String, String>,
) -> Result<AmazonS3, String> {
    let builder = AmazonS3Builder::new()
        .with_bucket_name(&settings.bucket)
        .with_region(&settings.region)
        // As it understands this, the endpoint is that of the bucket.
        .with_endpoint(bucket_url(settings))
        .with_virtual_hosted_style_request(true)
        .with_retry(courier.retries())
        .with_http_connector(courier.clone());
    let builder = with_credentials(builder, settings, environment)?;
    builder.build().map_err(|error| with_causes(&error))
}

fn with_credentials(
    builder: AmazonS3Builder,
    settings: &S3Settings,
    environment: &BTreeMap<String, String>,
) -> Result<AmazonS3Builder, String> {
    let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let needed = |name: &str| {
        let value = variable(name);
        value.ok_or_else(|| {
            format!("{name} is not set\nhint: set it in the environment of the service")
        })
    };
    let with = |builder: AmazonS3Builder, pairs: &[(Config, &str)]| {
        pairs
            .iter()
            .fold(builder, |builder, (key, name)| match variable(name) {
                Some(value) => builder.with_config(*key, value),
                None => builder,
            })
    };
    match &settings.credentials {
        S3Credentials::Keys {
            access_key_id,
            secret,
        } => {
            let text = secret_text(secret, environment).map_err(|error| error.to_string())?;
            let mut lines = text.expose_secret().lines().map(str::trim);
            let key = lines.next().unwrap_or_default();
            let builder = builder
                .with_access_key_id(access_key_id)
                .with_secret_access_key(key);
            match lines.next().filter(|line| !line.is_empty()) {
                Some(token) => Ok(builder.with_token(in_a_header(token, "the session token")?)),
                None => Ok(builder),
            }
        }
        S3Credentials::Environment => {
            let id = in_a_header(needed("AWS_ACCESS_KEY_ID")?, "AWS_ACCESS_KEY_ID")?;
            let builder = builder
                .with_access_key_id(id)
                .with_secret_access_key(needed("AWS_SECRET_ACCESS_KEY")?);
            match variable("AWS_SESSION_TOKEN") {
                Some(token) => Ok(builder.with_token(in_a_header(token, "AWS_SESSION_TOKEN")?)),
                None => Ok(builder),
            }
        }
        S3Credentials::Instance => Ok(with(builder, &INSTANCE)),
        S3Credentials::WebIdentity => {
            check_token_file(needed("AWS_WEB_IDENTITY_TOKEN_FILE")?)?;
            needed("AWS_ROLE_ARN")?;
            Ok(with(builder, &WEB_IDENTITY))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_in_the_path_or_in_the_name_of_the_host() {
        for (endpoint, region, path_style, expected) in [
            (
                None,
                "eu-central-1",
                false,
                "https://b.s3.eu-central-1.amazonaws.com",
            ),
            (
                None,
                "us-east-1",
                true,
                "https://s3.us-east-1.amazonaws.com/b",
            ),
            (
                None,
                "cn-north-1",
                false,
                "https://b.s3.cn-north-1.amazonaws.com.cn",
            ),
            (Some("http://[::1]:8333"), "x", true, "http://[::1]:8333/b"),
            (
                Some("https://s3.example.org"),
                "x",
                false,
                "https://b.s3.example.org",
            ),
        ] {
            let settings = S3Settings {
                bucket: "b".to_owned(),
                prefix: None,
                endpoint: endpoint.map(str::to_owned),
                region: region.to_owned(),
                path_style,
                credentials: S3Credentials::Instance,
                ca_file: None,
                proxy: None,
                storage_class: None,
                sse: None,
                sse_key: None,
            };
            assert_eq!(bucket_url(&settings), expected);
        }
    }
}
