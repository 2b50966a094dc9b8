//! What the codes of a store mean, and the way out of each.

use crate::destination::error::DestinationErrorKind::{
    self, Damaged, Denied, Exists, Full, Missing, Settings, Unavailable,
};

/// How a store speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::destination) enum Dialect {
    /// As S3.
    S3,
    /// As Azure's Blob Storage.
    Azure,
    /// As the XML interface of Google Cloud Storage.
    Google,
}

/// The way out where credentials of S3 were for some time only.
const TOKEN_IS_OVER: &str = "the session token is over: get new credentials";

impl Dialect {
    /// What a code means, with its way out, which can be empty; none where the status decides.
    pub(super) fn meaning(self, code: &str) -> Option<(DestinationErrorKind, &'static str)> {
        let found = match self {
            Self::S3 => of_s3(code),
            Self::Azure => of_azure(code),
            Self::Google => of_google(code),
        };
        let has = |words: &[&str]| words.iter().any(|word| code.contains(word));
        found
            .or_else(|| has(&["Quota", "StorageFull"]).then_some((Full, FULL)))
            .or_else(|| has(&["PreconditionFailed", "AlreadyExists"]).then_some((Exists, "")))
    }

    /// What a status means where no code says it: there is none, or it is not known.
    pub(super) fn meaning_of_status(
        self,
        status: u16,
        has_code: bool,
    ) -> (DestinationErrorKind, &'static str) {
        match status {
            401 | 403 => (Denied, self.permissions()),
            404 => (Missing, ""),
            // Only an answer without words can be that of a condition.
            409 | 412 if has_code => (Denied, HELD),
            409 | 412 => (Exists, ""),
            507 => (Full, FULL),
            429 | 503 => (Unavailable, LATER),
            408 | 500 | 502 | 504 => (Unavailable, ""),
            416 => (Damaged, ""),
            301 | 307 if self == Self::S3 => (Settings, PLACE),
            300..=399 => (Settings, REDIRECT),
            400 | 405 if !has_code => (Settings, ENDPOINT),
            400..=499 | 501 => (Settings, ""),
            _ => (Unavailable, ""),
        }
    }

    /// The way out where no answer came from the store, for this reason, in the words of the client; empty where
    /// none is known.
    pub(super) fn way_to_reach(self, why: &str) -> &'static str {
        let has = |words: &[&str]| words.iter().any(|word| why.contains(word));
        if has(&["lookup address", "dns error", "not known", "resolution"]) {
            match self {
                Self::S3 => "check endpoint, region, and the name servers of this machine",
                Self::Azure => "check account, endpoint, and the name servers of this machine",
                Self::Google => "check endpoint, and the name servers of this machine",
            }
        } else if has(&["InvalidContentType"]) {
            "the server does not speak TLS at this port: check endpoint; an address without TLS begins with http://"
        } else if has(&["UnknownIssuer"]) {
            "name the file with the certificate of the store's authority: ca_file"
        } else if has(&["onnection refused"]) {
            "check endpoint and proxy, and whether the server is running"
        } else {
            ""
        }
    }

    /// What has to be allowed.
    fn permissions(self) -> &'static str {
        match self {
            Self::S3 => {
                "let the key's policy allow s3:PutObject, s3:GetObject and s3:ListBucket there"
            }
            Self::Azure => {
                "give the SAS token the permissions r, c and l there, or the identity the role Storage Blob Data \
                 Contributor"
            }
            Self::Google => {
                "give the service account the roles Storage Object Creator and Storage Object Viewer there"
            }
        }
    }

    /// What gives a machine credentials that has none.
    pub(super) fn identity(self) -> &'static str {
        match self {
            Self::S3 => {
                "give this machine a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            }
            Self::Azure => {
                "give this machine an identity, or set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN"
            }
            Self::Google => {
                "give this machine a service account, or set GOOGLE_APPLICATION_CREDENTIALS"
            }
        }
    }

    /// Whether a code says that the store knows who asks, and does not allow the request.
    pub(super) fn is_denial(self, code: &str) -> bool {
        match self {
            Self::S3 => code == "AccessDenied",
            Self::Azure => matches!(
                code,
                "AuthorizationFailure"
                    | "AuthorizationPermissionMismatch"
                    | "InsufficientAccountPermissions"
            ),
            Self::Google => matches!(code, "AccessDenied" | "Forbidden"),
        }
    }

    /// Whether a code says that the object is kept for some time, whoever asks.
    pub(super) fn is_retention(self, code: &str) -> bool {
        match self {
            Self::S3 => false,
            Self::Azure => matches!(
                code,
                "BlobImmutableDueToPolicy" | "BlobImmutableDueToLegalHold"
            ),
            Self::Google => matches!(code, "RetentionPolicyNotMet" | "ObjectUnderActiveHold"),
        }
    }
}

const FULL: &str = "free space there, or raise the quota";
/// The way out where something other than a store answers.
pub(super) const ENDPOINT: &str =
    "check endpoint and proxy, and whether the address begins with http:// or https://";

/// The way out where the store refuses a put for the object's state, and no object is there.
pub(super) const HELD: &str =
    "see whether a lease, a hold or a policy of the store forbids it, and run again";

const LATER: &str = "try again later: too many requests, or an outage there";
const REDIRECT: &str = "set endpoint to the store's own address: a redirect is not followed";
const ACCOUNT: &str = "enable it in the account's settings; see whether its bill is paid";
const CLOCK: &str = "set the clock of this machine (timedatectl status), or that of the store";
const PLACE: &str = "set region and endpoint to those of the bucket";

fn of_s3(code: &str) -> Option<(DestinationErrorKind, &'static str)> {
    Some(match code {
        "AccessDenied" | "AccountProblem" | "AllAccessDisabled" => {
            (Denied, Dialect::S3.permissions())
        }
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => (Denied, TOKEN_IS_OVER),
        "InvalidAccessKeyId" => (Denied, "check access_key_id: the store does not know it"),
        "RequestTimeTooSkewed" => (Denied, CLOCK),
        "SignatureDoesNotMatch" => (Denied, "check the secret key, and the region"),
        "NoSuchBucket" => (Missing, "make the bucket, or correct url"),
        "NoSuchKey" | "NoSuchVersion" => (Missing, ""),
        "ConditionalRequestConflict" => (Exists, ""),
        "OperationAborted" => (Unavailable, LATER),
        "BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" => (Damaged, ""),
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraint" => {
            (Settings, PLACE)
        }
        _ => return None,
    })
}

fn of_azure(code: &str) -> Option<(DestinationErrorKind, &'static str)> {
    Some(match code {
        "AuthenticationFailed" | "InvalidAuthenticationInfo" | "NoAuthenticationInformation" => (
            Denied,
            "check account and the clock of this machine, and copy the account key or SAS token again, all of it",
        ),
        "AuthorizationFailure" => (
            Denied,
            "check account and its key, or give the SAS token the permissions r, c and l there; else let the \
             account's network rules allow this host",
        ),
        "AuthorizationProtocolMismatch"
        | "AuthorizationSourceIPMismatch"
        | "AuthorizationServiceMismatch"
        | "AuthorizationResourceTypeMismatch" => (
            Denied,
            "get a SAS token for blobs, for containers and objects, and for this host",
        ),
        "AuthorizationPermissionMismatch" | "InsufficientAccountPermissions" => {
            (Denied, Dialect::Azure.permissions())
        }
        "KeyBasedAuthenticationNotPermitted" => (
            Denied,
            "the account allows no key: write credentials = \"instance\" or \"web-identity\"",
        ),
        "AccountIsDisabled" | "ContainerDisabled" => (Denied, ACCOUNT),
        "PublicAccessNotPermitted" => (Denied, ""),
        "InvalidUri" | "InvalidResourceName" | "OutOfRangeInput" => {
            (Settings, "check account, endpoint, path_style and url")
        }
        "BlobArchived" => (
            Denied,
            "move it to another tier: the archive cannot be read",
        ),
        "BlobImmutableDueToPolicy" | "BlobImmutableDueToLegalHold" => (Denied, KEPT),
        "ContainerNotFound" | "ContainerBeingDeleted" => {
            (Missing, "make the container, or correct url")
        }
        "BlobNotFound" => (Missing, ""),
        "ResourceNotFound" => (Missing, "check account, endpoint, path_style and url"),
        "ServerBusy" => (Unavailable, LATER),
        "BlobAlreadyExists" | "ConditionNotMet" | "UnauthorizedBlobOverwrite" => (Exists, ""),
        "Md5Mismatch" | "Crc64Mismatch" => (Damaged, ""),
        "AccountBeingCreated" => (Unavailable, ""),
        "InvalidHeaderValue" | "InvalidAccessTier" | "FeatureNotSupportedForAccount" => (
            Settings,
            "check storage_class: not every account has every tier",
        ),
        _ => return None,
    })
}

fn of_google(code: &str) -> Option<(DestinationErrorKind, &'static str)> {
    Some(match code {
        "AccessDenied" | "Forbidden" => (Denied, Dialect::Google.permissions()),
        "AuthenticationRequired" | "InvalidSecurity" | "ExpiredToken" | "InvalidToken" => (
            Denied,
            "check that the service account's key was not removed, and the clock of this machine",
        ),
        "AccountProblem" | "UserProjectAccountProblem" => (Denied, ACCOUNT),
        "RetentionPolicyNotMet" | "ObjectUnderActiveHold" => (Denied, KEPT),
        "NoSuchBucket" => (Missing, "make the bucket, or correct url"),
        "NoSuchKey" => (Missing, ""),
        "BadDigest" | "InvalidDigest" => (Damaged, ""),
        "InvalidStorageClass" => (Settings, "check storage_class"),
        _ => return None,
    })
}

const KEPT: &str = "wait until the retention of the object is over";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_means_what_its_store_means_by_it() {
        for (dialect, code, expected) in [
            (Dialect::S3, "AccessDenied", Some(Denied)),
            (Dialect::S3, "BlobNotFound", None),
            (Dialect::S3, "XMinioStorageFull", Some(Full)),
            (Dialect::Azure, "AuthenticationFailed", Some(Denied)),
            (Dialect::Azure, "BlobArchived", Some(Denied)),
            (Dialect::Azure, "BlobAlreadyExists", Some(Exists)),
            (Dialect::Azure, "UnauthorizedBlobOverwrite", Some(Exists)),
            (Dialect::Azure, "ContainerBeingDeleted", Some(Missing)),
            (Dialect::Azure, "Md5Mismatch", Some(Damaged)),
            (Dialect::Azure, "NoSuchBucket", None),
            (Dialect::Azure, "LeaseIdMissing", None),
            (Dialect::S3, "PreconditionFailed", Some(Exists)),
            (Dialect::S3, "ConditionalRequestConflict", Some(Exists)),
            (Dialect::Google, "PreconditionFailed", Some(Exists)),
            (Dialect::Google, "NoSuchBucket", Some(Missing)),
            (Dialect::Google, "RetentionPolicyNotMet", Some(Denied)),
            (Dialect::Google, "BadDigest", Some(Damaged)),
        ] {
            let found = dialect.meaning(code).map(|(kind, _)| kind);
            assert_eq!(found, expected, "{dialect:?} {code}");
        }
        for (dialect, (status, has_code), expected) in [
            (Dialect::S3, (403, false), (Denied, "s3:PutObject")),
            (Dialect::Azure, (409, false), (Exists, "")),
            (Dialect::Azure, (409, true), (Denied, "a lease")),
            (Dialect::Google, (412, false), (Exists, "")),
            (Dialect::Google, (412, true), (Denied, "a policy")),
            (Dialect::Google, (401, false), (Denied, "Object Creator")),
            (Dialect::Azure, (503, true), (Unavailable, "later")),
            (Dialect::S3, (429, false), (Unavailable, "later")),
            (Dialect::Azure, (400, false), (Settings, "http://")),
            (Dialect::Azure, (400, true), (Settings, "")),
            (Dialect::Azure, (302, false), (Settings, "redirect")),
            (Dialect::S3, (301, false), (Settings, "region")),
        ] {
            let (kind, way) = dialect.meaning_of_status(status, has_code);
            assert_eq!(kind, expected.0, "{dialect:?} {status}");
            assert!(way.contains(expected.1), "{dialect:?} {status}: {way}");
            assert_eq!(way.is_empty(), expected.1.is_empty(), "{status}: {way}");
        }
    }

    #[test]
    fn a_store_that_gives_no_answer_has_a_way_out() {
        for (dialect, why, expected) in [
            (
                Dialect::Azure,
                "failed to lookup address information: Name or service not known",
                "account",
            ),
            (
                Dialect::S3,
                "failed to lookup address information: Temporary failure in name resolution",
                "region",
            ),
            (
                Dialect::Google,
                "received corrupt message of type InvalidContentType",
                "http://",
            ),
            (
                Dialect::S3,
                "invalid peer certificate: UnknownIssuer",
                "ca_file",
            ),
            (Dialect::S3, "Connection refused (os error 111)", "endpoint"),
            (Dialect::S3, "connection reset by peer", ""),
        ] {
            let way = dialect.way_to_reach(why);
            assert!(way.contains(expected), "{why}: {way}");
            assert_eq!(way.is_empty(), expected.is_empty(), "{why}: {way}");
        }
    }
}
