//! A destination of copies as written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::SeriesFragment;
use crate::config::plan::ServerSideEncryption;
use crate::config::scalar::{AbsolutePath, Count, CredentialName, Rate, TimeSpan, Word};

/// More backups of a series than anybody keeps.
pub(in crate::config) const MOST_BACKFILL: u32 = 100_000;

/// A place off this machine where copies go.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct DestinationFragment {
    /// Where it is: <s3://BUCKET/PREFIX>, <az://CONTAINER/PREFIX>, <gs://BUCKET/PREFIX>, <sftp://USER@HOST/PATH>, or
    /// <file:///PATH> for another disk or a network file system.
    pub(in crate::config) url: Option<String>,
    /// Of az: the storage account.
    pub(in crate::config) account: Option<String>,
    /// Of s3, az and gs: the address of a store that is not the provider's usual one.
    pub(in crate::config) endpoint: Option<String>,
    /// Of s3: the region.
    pub(in crate::config) region: Option<String>,
    /// Of s3 and az: whether the bucket, or the account, is in the path of an address, and not part of the host's
    /// name.
    pub(in crate::config) path_style: Option<bool>,
    /// Of s3, az and gs: where the credentials come from: "keys" (the settings below), "environment", "instance" or
    /// "web-identity".
    pub(in crate::config) credentials: Option<Word<CredentialsFrom>>,
    /// Of s3: the access key's id.
    pub(in crate::config) access_key_id: Option<String>,
    /// Of s3: a file whose first line is the secret key, and whose second, if there is one, a session token. Of az:
    /// the account key or a SAS token. Of gs: the key of a service account, as JSON. Nobody else may read it.
    pub(in crate::config) secret_key_file: Option<AbsolutePath>,
    /// Of s3, az, gs and sftp: a systemd credential in place of `secret_key_file` or `identity_file`.
    pub(in crate::config) credential: Option<CredentialName>,
    /// Of s3, az and gs: certificates of authorities that are trusted in place of the system's.
    pub(in crate::config) ca_file: Option<AbsolutePath>,
    /// Of s3, az and gs: the proxy, in place of that of the environment.
    pub(in crate::config) proxy: Option<String>,
    /// Of s3, az and gs: the storage class, or access tier, of new objects.
    pub(in crate::config) storage_class: Option<String>,
    /// Of s3: how the store encrypts objects: "AES256" or "aws:kms".
    pub(in crate::config) sse: Option<Word<ServerSideEncryption>>,
    /// Of s3: the key with which the store encrypts, for "aws:kms".
    pub(in crate::config) sse_key: Option<String>,
    /// Of sftp: a file with the secret key for ssh; nobody else may read it.
    pub(in crate::config) identity_file: Option<AbsolutePath>,
    /// Of sftp: the keys of hosts that are known, in place of ssh's own files.
    pub(in crate::config) known_hosts_file: Option<AbsolutePath>,
    /// Of sftp: ssh's configuration, in place of the user's and the machine's.
    pub(in crate::config) ssh_config_file: Option<AbsolutePath>,
    /// Of file: whether something has to be mounted on the directory.
    pub(in crate::config) mounted: Option<bool>,
    /// So much is sent there a second at most, by all copies together.
    pub(in crate::config) rate: Option<Rate>,
    /// So long may one request take, of an object of 16 MiB.
    pub(in crate::config) timeout: Option<TimeSpan>,
    /// Only backups of these series.
    pub(in crate::config) series: Option<Vec<String>>,
    /// Only backups of databases whose name, or SERVER/NAME, matches one of these patterns.
    pub(in crate::config) databases: Option<Vec<String>>,
    /// Of each series the newest so many are copied, and none that are older.
    pub(in crate::config) backfill: Option<Count<MOST_BACKFILL>>,
    /// What is kept there of series that differ from `[series.NAME]`, by their names; false keeps every copy.
    pub(in crate::config) retention: Option<CopyRetentionFragment>,
    /// Whether copies go there without encryption.
    pub(in crate::config) plain: Option<bool>,
}

/// What is kept of the copies at a destination.
#[derive(Clone, Debug)]
pub(in crate::config) enum CopyRetentionFragment {
    /// `false`: nothing is ever removed there.
    Never,
    /// By rules of the destination's own, for these series.
    Own(BTreeMap<String, SeriesFragment>),
}

impl<'de> Deserialize<'de> for CopyRetentionFragment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FalseOrTable;

        impl<'de> Visitor<'de> for FalseOrTable {
            type Value = CopyRetentionFragment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("false, or a table of series with their rules")
            }

            fn visit_bool<E: Error>(self, removes: bool) -> Result<CopyRetentionFragment, E> {
                if removes {
                    Err(E::custom(
                        "what is kept?\nwrite [destinations.NAME.retention.SERIES] with keep = \"90 days\", or \
                         leave it out: the rules of [series.NAME] hold there too",
                    ))
                } else {
                    Ok(CopyRetentionFragment::Never)
                }
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<CopyRetentionFragment, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(map))
                    .map(CopyRetentionFragment::Own)
            }
        }

        deserializer.deserialize_any(FalseOrTable)
    }
}

impl JsonSchema for CopyRetentionFragment {
    fn schema_name() -> Cow<'static, str> {
        "CopyRetention".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let rules = generator.subschema_for::<SeriesFragment>();
        json_schema!({
            "anyOf": [{ "const": false }, { "type": "object", "additionalProperties": rules }]
        })
    }
}

/// Where the credentials of a store come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum CredentialsFrom {
    /// A key of the configuration.
    Keys,
    /// The provider's usual variables: `AWS_ACCESS_KEY_ID` and so on, `AZURE_STORAGE_KEY` and so on,
    /// `GOOGLE_APPLICATION_CREDENTIALS`.
    Environment,
    /// The machine's or the container's own role or identity.
    Instance,
    /// A token that stands for a role or an identity.
    WebIdentity,
}
