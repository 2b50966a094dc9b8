//! Why a connection cannot be resolved, and which place the operator has to correct.

use std::fmt;

use super::password::PasswordError;
use super::service::ServiceError;
use crate::config::ParseError;
use crate::credential;

/// Why a connection cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ConninfoError {
    /// A parameter that libpq does not know.
    #[error("the connection in the configuration: {0}")]
    Parameter(#[source] ParseError),
    /// The service.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A file that is a credential of the service, which this process is not.
    #[error(
        "{place} sets {name} to the credential {credential:?}, which {}",
        credential::missing(credential, || format!(
            "leave the run to the service, or, by hand, set PGBACKUPD_CONNECTION__{} to another file that its user \
             can read",
            name.to_uppercase()
        ))
    )]
    Elsewhere {
        /// Where it was set.
        place: ParameterSource,
        /// The parameter.
        name: &'static str,
        /// The credential's name.
        credential: String,
    },
    /// A parameter that this program cannot follow.
    #[error("{place} sets {name}: {instead}")]
    Unsupported {
        /// Where it was set.
        place: ParameterSource,
        /// The parameter.
        name: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// A value that makes no sense.
    #[error("{place} sets {name} to {value:?}: it must be {expected}")]
    BadValue {
        /// Where it was set.
        place: ParameterSource,
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// Lists of hosts, addresses and ports that do not fit together.
    #[error("the connection names {hosts} hosts but {others} {what}\nhint: give one for each host")]
    CountMismatch {
        /// How many hosts.
        hosts: usize,
        /// How many of the other.
        others: usize,
        /// What the other is.
        what: &'static str,
    },
    /// Nobody is named, and the system does not know us.
    #[error(
        "no user is configured, and the system has no name for user number {0}\nhint: set `user` or PGUSER"
    )]
    NoUser(u32),
}

impl ConninfoError {
    /// Whether what is wrong stands in the configuration, whoever reads it.
    pub fn is_of_the_configuration(&self) -> bool {
        let (Self::Unsupported { place, .. } | Self::BadValue { place, .. }) = self else {
            return matches!(self, Self::CountMismatch { .. });
        };
        *place == ParameterSource::Configuration
    }

    /// Whether nothing is wrong but that a password or a key is a credential of the service, which this
    /// process is not.
    pub fn is_elsewhere(&self) -> bool {
        matches!(
            self,
            Self::Elsewhere { .. } | Self::Password(PasswordError::NoCredentials { .. })
        )
    }
}

/// Where a parameter was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterSource {
    /// In the configuration.
    Configuration,
    /// In a service file.
    ServiceFile,
    /// In this environment variable.
    Variable(&'static str),
    /// Nowhere.
    Default,
}

impl fmt::Display for ParameterSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration => f.write_str("the configuration"),
            Self::ServiceFile => f.write_str("the connection service"),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::Default => f.write_str("the default"),
        }
    }
}
