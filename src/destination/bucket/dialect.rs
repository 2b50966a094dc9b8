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
        let is_full = code.contains("Quota") || code.contains("StorageFull");
        found.or_else(|| is_full.then_some((Full, FULL)))
    }

    /// What a status means where no code says it.
    pub(super) fn meaning_of_status(self, status: u16) -> (DestinationErrorKind, &'static str) {
        match status {
            401 | 403 => (Denied, self.permissions()),
            404 => (Missing, ""),
            409 | 412 => (Exists, ""),
            507 => (Full, FULL),
            408 | 429 | 500 | 502..=504 => (Unavailable, ""),
            416 => (Damaged, ""),
            301 | 307 if self == Self::S3 => (Settings, PLACE),
            300..=499 | 501 => (Settings, ""),
            _ => (Unavailable, ""),
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
            "check account, the account key or SAS token, and the clock of this machine",
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
        "AccountIsDisabled" | "ContainerDisabled" | "PublicAccessNotPermitted" => (Denied, ""),
        "BlobArchived" => (
            Denied,
            "move it to another tier: the archive cannot be read",
        ),
        "BlobImmutableDueToPolicy" | "BlobImmutableDueToLegalHold" => (Denied, KEPT),
        "ContainerNotFound" | "ContainerBeingDeleted" => {
            (Missing, "make the container, or correct url")
        }
        "BlobNotFound" | "ResourceNotFound" => (Missing, ""),
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
        "AccountProblem" | "UserProjectAccountProblem" => (Denied, ""),
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
            (Dialect::Google, "NoSuchBucket", Some(Missing)),
            (Dialect::Google, "RetentionPolicyNotMet", Some(Denied)),
            (Dialect::Google, "BadDigest", Some(Damaged)),
        ] {
            let found = dialect.meaning(code).map(|(kind, _)| kind);
            assert_eq!(found, expected, "{dialect:?} {code}");
        }
        for (dialect, status, expected) in [
            (Dialect::S3, 403, Denied),
            (Dialect::Azure, 409, Exists),
            (Dialect::Google, 412, Exists),
            (Dialect::Google, 401, Denied),
            (Dialect::Azure, 503, Unavailable),
            (Dialect::Azure, 400, Settings),
        ] {
            assert_eq!(
                dialect.meaning_of_status(status).0,
                expected,
                "{dialect:?} {status}"
            );
        }
    }
}
