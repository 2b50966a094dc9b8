//! `--from`: the destination that copies are read from, and whose signatures count there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::identities;
use super::interrupt::Interrupt;
use super::moment;
use super::session::Session;
use crate::config::{Destination, DestinationSettings, Loaded, Plan};
use crate::copies::{
    CLOCK_TOLERANCE, Identities, InvalidSigners, Place, StoreAsOf, TrustedSigners,
};
use crate::destination;
use crate::display::{one_line, shell_word};
use crate::jobs::{
    CopySource, JobError, OwnHost, WantedPlaces, find_places, signers_there, untrusted,
};
use crate::pipeline::Opener;
use crate::repository::AdoptedSigners;

/// What these options are about.
pub(super) const HEADING: &str = "Copies at a destination";

/// The options that say where copies are, and whom to trust there.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct FromArgs {
    /// Read copies from a destination: its name in the configuration, `s3://BUCKET/PREFIX`,
    /// `az://CONTAINER/PREFIX` or `gs://BUCKET/PREFIX` (with the usual variables: `AWS_…`, `AZURE_…`,
    /// `GOOGLE_APPLICATION_CREDENTIALS`), `sftp://USER@HOST/PATH` (with the keys and known hosts of ssh), or
    /// `file:///PATH`
    #[arg(long, value_name = "NAME|URL", help_heading = HEADING)]
    pub(super) from: Option<String>,
    /// Host that the copies are of
    #[arg(long, value_name = "HOST", requires = "from", help_heading = HEADING)]
    host: Option<String>,
    /// Read the bucket as it was at a time, by its clock: past all that was removed, overwritten or put there
    /// since. A time is YYYY-MM-DD [HH:MM[:SS]], in the zone of the schedule unless it names one
    #[arg(
        long,
        value_name = "TIME",
        requires = "from",
        help_heading = HEADING
    )]
    as_of: Option<String>,
    /// Trust copies that are signed by this key; can be repeated
    #[arg(
        long = "signer",
        value_name = "SHA256:…",
        requires = "from",
        conflicts_with = "any_signer",
        help_heading = HEADING
    )]
    signers: Vec<String>,
    /// Trust copies whoever has signed them
    #[arg(long, requires = "from", help_heading = HEADING)]
    any_signer: bool,
}

/// The option with the secret key.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct IdentityArgs {
    /// Secret key that opens encrypted copies and backups, a file of age or OpenSSH; - reads it from stdin
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

impl IdentityArgs {
    /// Reads the secret keys; none where none is given. A passphrase is asked for where one is needed.
    ///
    /// # Errors
    /// When they cannot be read, or are of no use.
    pub(super) async fn read(&self, interrupt: &Interrupt) -> Result<Option<Identities>, Failure> {
        match &self.identity {
            Some(file) => identities::read(file, interrupt).await.map(Some),
            None => Ok(None),
        }
    }

    /// The same as what opens encrypted backups.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) async fn opener(&self, interrupt: &Interrupt) -> Result<Option<Opener>, Failure> {
        let identities = self.read(interrupt).await?;
        Ok(identities.as_ref().map(Identities::opener))
    }
}

/// A destination that was opened.
pub(super) struct OpenSource {
    pub(super) source: CopySource,
    /// The host that is meant where none is named.
    own_host: Option<String>,
    /// Whether it is known whom to trust there.
    has_trust: bool,
}

impl OpenSource {
    /// Whether copies at this place are of this host, at a destination of its configuration.
    pub(super) fn is_own(&self, place: &Place) -> bool {
        // Of what was there earlier, nothing is known of what is there now.
        self.source.store.as_of().is_none() && self.own_host.as_deref() == Some(&*place.host)
    }
}

impl FromArgs {
    /// Whether a destination is named.
    pub(super) fn is_given(&self) -> bool {
        self.from.is_some()
    }

    /// Whether what is read needs no configuration.
    pub(super) fn is_address(&self) -> bool {
        self.from.as_ref().is_some_and(|from| from.contains("://"))
    }

    /// Whether what was there at an earlier time is meant.
    pub(super) fn is_as_of(&self) -> bool {
        self.as_of.is_some()
    }

    /// Whether every signer is trusted.
    pub(super) fn trusts_any(&self) -> bool {
        self.any_signer
    }

    /// The host whose copies are meant, if one is named.
    pub(super) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Whether further keys are named.
    pub(super) fn has_signers(&self) -> bool {
        !self.signers.is_empty()
    }

    /// The configuration; an address needs none.
    pub(super) fn load(&self, env: &CommandEnv<'_>) -> Result<Loaded, Failure> {
        if self.is_address() {
            env.load_for_path()
        } else {
            env.load_to_read()
        }
    }

    /// The destination of the configuration that is meant, as it is now; none where an address is given, or an
    /// earlier time.
    pub(super) fn destination<'p>(&self, plan: &'p Plan) -> Option<&'p Destination> {
        let name = self.from.as_ref().filter(|_| !self.is_as_of())?;
        plan.destinations.iter().find(|one| one.name == *name)
    }

    /// Opens the destination.
    ///
    /// # Errors
    /// When it is not configured, is no address, or cannot be used.
    pub(super) fn open(&self, session: &Session<'_>) -> Result<OpenSource, Failure> {
        let from = self.from.as_deref().unwrap_or_default();
        let environment = &session.env.source.environment;
        let (settings, own) = if self.is_address() {
            let settings = of_address(from, environment);
            let settings = settings.map_err(|failure| Failure {
                message: format!("--from: {}", failure.message),
                ..failure
            })?;
            (settings, None)
        } else {
            let own = self.own_host(session)?;
            (configured(session, from)?.settings.clone(), Some(own))
        };
        let store = destination::open(&settings, environment)
            .map_err(|error| session.failure(&JobError::from(error)))?;
        let store = match self.as_of(session)? {
            Some(at) => Arc::new(StoreAsOf::new(store, at)),
            None => store,
        };
        let trusted = self.trusted(session, own.as_ref())?;
        let has_trust = self.any_signer || !self.signers.is_empty() || own.is_some();
        let own_host = own.map(|own| own.name);
        Ok(OpenSource {
            source: CopySource {
                label: one_line(from),
                store,
                trusted,
            },
            own_host,
            has_trust,
        })
    }

    /// This host, and its own keys, without which a key that is named is enough.
    fn own_host(&self, session: &Session<'_>) -> Result<OwnHost, Failure> {
        let own = match OwnHost::look(&session.context) {
            Err(error @ JobError::Signer(_)) if self.any_signer || self.has_signers() => {
                tracing::warn!("copies of this host's own are not recognised: {error}");
                OwnHost::without_keys(&session.context)
            }
            own => own,
        };
        own.map_err(|error| session.failure(&error))
    }

    /// The time whose state is read.
    fn as_of(&self, session: &Session<'_>) -> Result<Option<DateTime<Utc>>, Failure> {
        let Some(text) = &self.as_of else {
            return Ok(None);
        };
        let zone = session.plan().zone;
        let at = moment::moment(text, zone)?;
        if at > Utc::now() + CLOCK_TOLERANCE {
            return Err(Failure::usage(format!(
                "invalid time {text:?} for --as-of: it is in the future"
            )));
        }
        moment::show_zone("--as-of", at, zone);
        Ok(Some(at.to_utc()))
    }

    /// Whose signatures count: those that are given, and by a name of the configuration this host's own and
    /// those that the configuration trusts.
    fn trusted(
        &self,
        session: &Session<'_>,
        own: Option<&OwnHost>,
    ) -> Result<TrustedSigners, Failure> {
        let invalid = |error: InvalidSigners| Failure::usage(error.to_string());
        let mut trusted = if self.any_signer {
            TrustedSigners::any()
        } else {
            TrustedSigners::default()
        };
        for signer in &self.signers {
            trusted = trusted.with_fingerprint(signer).map_err(invalid)?;
        }
        let Some(own) = own else {
            return Ok(trusted);
        };
        trusted = own.trusted_besides(trusted);
        let state = &session.context.state_directory;
        let destination = self.from.as_deref().unwrap_or_default();
        match AdoptedSigners::read(state, destination) {
            Ok(adopted) => trusted = trusted.with_allowed(&adopted.lines()),
            Err(error) => tracing::warn!("copies by adopted keys do not count: {error}"),
        }
        Ok(trusted.with_allowed(&session.plan().trusted_signers))
    }

    /// The places there that are meant, at least one.
    ///
    /// # Errors
    /// When there is none, or whom to trust is not said: then those who have signed are listed.
    pub(super) async fn places(
        &self,
        session: &Session<'_>,
        open: &OpenSource,
        databases: &[String],
    ) -> Result<Vec<Place>, Failure> {
        let run = session.begin();
        let wanted = WantedPlaces {
            host: self.host.as_deref().or(open.own_host.as_deref()),
            databases,
        };
        let found = find_places(&run, &open.source, wanted).await;
        let found = found.map_err(|error| session.failure(&error))?;
        if open.has_trust {
            return Ok(found);
        }
        let signers = signers_there(&run, &open.source, &found).await;
        let signers = signers.map_err(|error| session.failure(&error))?;
        if signers.is_empty() {
            return Err(Failure::new(
                FailureKind::Damaged,
                format!(
                    "no copy at {} has a valid signature\n\
                     hint: `pgbackupd list --from {} --any-signer` shows what is wrong with each",
                    open.source.label,
                    shell_word(&open.source.label)
                ),
            ));
        }
        let why = format!("no trusted signer given for {}", open.source.label);
        Err(Failure::usage(untrusted(&why, &signers)))
    }
}

/// The settings of an address on the command line.
pub(super) fn of_address(
    address: &str,
    environment: &BTreeMap<String, String>,
) -> Result<DestinationSettings, Failure> {
    DestinationSettings::of_url(address, environment).map_err(|error| {
        if error.contains("\nhint: ") {
            return Failure::usage(error);
        }
        Failure::usage(format!(
            "{error}\nhint: write s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX, sftp://USER@HOST/PATH \
             or file:///PATH"
        ))
    })
}

/// A destination of the configuration.
///
/// # Errors
/// When there is none of this name.
pub(super) fn configured<'a>(
    session: &'a Session<'_>,
    name: &str,
) -> Result<&'a Destination, Failure> {
    let all = &session.plan().destinations;
    if let Some(found) = all.iter().find(|one| one.name == name) {
        return Ok(found);
    }
    let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
    let hint = if names.is_empty() {
        "give an address: s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX, sftp://USER@HOST/PATH or \
         file:///PATH"
            .to_owned()
    } else {
        format!(
            "configured are {}; an address begins with s3://, az://, gs://, sftp:// or file:///",
            names.join(", ")
        )
    };
    Err(Failure::usage(format!(
        "no destination {name:?} is configured\nhint: {hint}"
    )))
}
