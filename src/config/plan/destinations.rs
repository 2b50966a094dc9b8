//! Where copies go: the destinations, checked.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use super::{PasswordSource, Patterns, Retention};
use crate::policy::{Rules, Series};

/// A place off this machine where copies go, and what of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    /// Its name in the configuration: `[destinations.NAME]`.
    pub name: String,
    /// How it is reached.
    pub settings: DestinationSettings,
    /// So many bytes a second are sent there at most, by all copies together; none for no limit.
    pub rate: Option<ByteSize>,
    /// Only backups of these series; without any, all.
    pub series: Vec<Series>,
    /// Only backups of databases that these match, as NAME or SERVER/NAME; without any, all.
    pub databases: Patterns,
    /// Of each series the newest so many are copied, and none that are older: what a new destination begins
    /// with, and what is caught up after it was out of reach.
    pub backfill: NonZeroU32,
    /// What of the copies there is kept.
    pub retention: CopyRetention,
    /// Whether copies may go there without encryption.
    pub plain: bool,
}

/// What is kept of the copies at a destination.
#[derive(Clone, Debug, PartialEq)]
pub enum CopyRetention {
    /// Nothing is ever removed there.
    Everything,
    /// By the rules of each series, as at home; those of these series are the destination's own.
    Rules(BTreeMap<Series, Rules>),
}

/// How a destination is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationSettings {
    /// Where it is.
    pub address: DestinationAddress,
    /// So long may one request take.
    pub timeout: Duration,
}

/// Where a destination is.
#[derive(Clone, Debug, PartialEq)]
pub enum DestinationAddress {
    /// A directory on another disk, or of another machine.
    Directory {
        /// Which.
        path: PathBuf,
        /// Whether something has to be mounted on it.
        mounted: bool,
    },
    /// A bucket of a store that speaks S3.
    S3(Box<S3Settings>),
    /// A container of Azure's Blob Storage.
    Azure(Box<AzureSettings>),
    /// A bucket of Google Cloud Storage.
    Google(Box<GoogleSettings>),
    /// A directory at an SFTP server.
    Sftp(Box<SftpSettings>),
}

/// A directory at an SFTP server, reached by the operator's own ssh.
#[derive(Clone, Debug, PartialEq)]
pub struct SftpSettings {
    /// The host, or what ssh's configuration calls it; never an option of ssh's.
    pub host: String,
    /// The port; none for that of ssh's configuration.
    pub port: Option<u16>,
    /// The account there; none for that of ssh's configuration.
    pub user: Option<String>,
    /// The directory: absolute, or below the one in which the server puts the account, which is itself empty.
    pub path: String,
    /// The secret key; none for those that ssh finds by itself.
    pub identity: Option<PasswordSource>,
    /// The keys of hosts that are known, in place of those that ssh finds by itself.
    pub known_hosts_file: Option<PathBuf>,
    /// ssh's configuration, in place of the user's and the machine's.
    pub ssh_config_file: Option<PathBuf>,
}

impl SftpSettings {
    /// The host as addresses have it: one of IPv6 is in brackets.
    pub fn bracketed_host(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        }
    }

    fn url(&self) -> String {
        let user = self.user.as_ref();
        let user = user.map_or_else(String::new, |user| format!("{}@", user.replace('@', "%40")));
        let port = self
            .port
            .map_or_else(String::new, |port| format!(":{port}"));
        // What would be read otherwise.
        let path = self.path.replace('%', "%25");
        let path = path.replace('?', "%3F").replace('#', "%23");
        let path = match path.as_str() {
            "" => String::new(),
            path if path.starts_with('/') => path.to_owned(),
            path => format!("/~/{path}"),
        };
        format!("sftp://{user}{}{port}{path}", self.bracketed_host())
    }
}

/// A bucket of a store that speaks S3.
#[derive(Clone, Debug, PartialEq)]
pub struct S3Settings {
    /// The bucket.
    pub bucket: String,
    /// What every key begins with, without a slash at its end; none for the bucket as a whole.
    pub prefix: Option<String>,
    /// The store's address without a bucket; none for AWS.
    pub endpoint: Option<String>,
    /// The region, which is part of every signature.
    pub region: String,
    /// Whether the bucket is in the path of an address; else it is part of the host's name.
    pub path_style: bool,
    /// Who asks.
    pub credentials: S3Credentials,
    /// Certificates of authorities that are trusted in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy, in place of that of the environment.
    pub proxy: Option<String>,
    /// The storage class of new objects; none for the bucket's usual one.
    pub storage_class: Option<String>,
    /// How the store encrypts objects; none for the bucket's usual way.
    pub sse: Option<ServerSideEncryption>,
    /// The key with which the store encrypts.
    pub sse_key: Option<String>,
}

/// Who asks a store.
#[derive(Clone, Debug, PartialEq)]
pub enum S3Credentials {
    /// A key of the configuration.
    Keys {
        /// The id of the access key.
        access_key_id: String,
        /// Where the secret key is; a second line is a session token.
        secret: PasswordSource,
    },
    /// The variables `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    Environment,
    /// The role of the machine or the container, by its metadata service.
    Instance,
    /// The role of a token, by `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`.
    WebIdentity,
}

/// A container of Azure's Blob Storage.
#[derive(Clone, Debug, PartialEq)]
pub struct AzureSettings {
    /// The account.
    pub account: String,
    /// The container.
    pub container: String,
    /// What every key begins with, without a slash at its end; none for the container as a whole.
    pub prefix: Option<String>,
    /// The address of the account, or of a store that has it in the path; none for Azure's own.
    pub endpoint: Option<String>,
    /// Whether the account is in the path of an address; else it is part of the host's name.
    pub path_style: bool,
    /// Who asks.
    pub credentials: AzureCredentials,
    /// Certificates of authorities that are trusted in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy, in place of that of the environment.
    pub proxy: Option<String>,
    /// The access tier of new objects; none for the account's usual one.
    pub tier: Option<String>,
}

/// Who asks Azure.
#[derive(Clone, Debug, PartialEq)]
pub enum AzureCredentials {
    /// The key of the account, or a SAS token.
    Key(PasswordSource),
    /// The variables `AZURE_STORAGE_KEY` or `AZURE_STORAGE_SAS_TOKEN`, or those of an application with a secret.
    Environment,
    /// The managed identity of the machine, by its metadata service.
    Instance,
    /// The identity of a token, by `AZURE_FEDERATED_TOKEN_FILE`, `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`.
    WebIdentity,
}

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug, PartialEq)]
pub struct GoogleSettings {
    /// The bucket.
    pub bucket: String,
    /// What every key begins with, without a slash at its end; none for the bucket as a whole.
    pub prefix: Option<String>,
    /// The store's address without a bucket; none for Google's own.
    pub endpoint: Option<String>,
    /// Who asks.
    pub credentials: GoogleCredentials,
    /// Certificates of authorities that are trusted in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy, in place of that of the environment.
    pub proxy: Option<String>,
    /// The storage class of new objects; none for the bucket's usual one.
    pub storage_class: Option<String>,
}

/// Who asks Google.
#[derive(Clone, Debug, PartialEq)]
pub enum GoogleCredentials {
    /// The key of a service account, as JSON.
    Key(PasswordSource),
    /// The file that `GOOGLE_APPLICATION_CREDENTIALS` names.
    Environment,
    /// The service account of the machine, by its metadata service.
    Instance,
}

/// How a store encrypts objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
pub enum ServerSideEncryption {
    /// With keys of the store's own.
    #[serde(rename = "AES256")]
    Aes256,
    /// With a key of AWS's key management.
    #[serde(rename = "aws:kms")]
    Kms,
}

impl ServerSideEncryption {
    /// As the configuration and the store write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            Self::Kms => "aws:kms",
        }
    }
}

impl Destination {
    /// Whether backups of a series and a database are copied there.
    pub fn wants(&self, series: &Series, (server, database): (&str, &str)) -> bool {
        self.takes(server, database) && self.takes_series(series)
    }

    /// Whether backups of a series are copied there.
    pub fn takes_series(&self, series: &Series) -> bool {
        self.series.is_empty() || self.series.contains(series)
    }

    /// Whether backups of a database are copied there.
    pub fn takes(&self, server: &str, database: &str) -> bool {
        self.databases.is_empty()
            || self.databases.is_match(database)
            || self.databases.is_match(&format!("{server}/{database}"))
    }
}

impl CopyRetention {
    /// What is kept of each series there, where this is what is kept at home; a series without rules keeps
    /// everything. None where nothing is ever removed.
    pub fn rules(&self, home: &Retention) -> Option<BTreeMap<Series, Rules>> {
        let Self::Rules(own) = self else { return None };
        let mut rules = home.series.clone();
        rules.extend(
            own.iter()
                .map(|(series, rules)| (series.clone(), rules.clone())),
        );
        Some(rules)
    }
}

impl DestinationSettings {
    /// The address with the store's own: two stores may have a bucket of the same name.
    pub fn full_address(&self) -> String {
        let url = self.url();
        let (account, endpoint) = match &self.address {
            DestinationAddress::S3(s3) => (None, &s3.endpoint),
            DestinationAddress::Azure(azure) => (Some(&azure.account), &azure.endpoint),
            DestinationAddress::Google(google) => (None, &google.endpoint),
            DestinationAddress::Directory { .. } | DestinationAddress::Sftp(_) => (None, &None),
        };
        let account = account.map_or_else(String::new, |name| format!(" of account {name}"));
        let endpoint = endpoint.as_ref();
        let endpoint = endpoint.map_or_else(String::new, |endpoint| format!(" at {endpoint}"));
        format!("{url}{account}{endpoint}")
    }

    /// The address as it is shown and typed.
    pub fn url(&self) -> String {
        let bucket = |scheme: &str, bucket: &str, prefix: &Option<String>| match prefix {
            Some(prefix) => format!("{scheme}://{bucket}/{prefix}"),
            None => format!("{scheme}://{bucket}"),
        };
        match &self.address {
            DestinationAddress::Directory { path, .. } => format!("file://{}", path.display()),
            DestinationAddress::S3(s3) => bucket("s3", &s3.bucket, &s3.prefix),
            DestinationAddress::Azure(azure) => bucket("az", &azure.container, &azure.prefix),
            DestinationAddress::Google(google) => bucket("gs", &google.bucket, &google.prefix),
            DestinationAddress::Sftp(sftp) => sftp.url(),
        }
    }
}
