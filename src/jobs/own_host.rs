//! This host at its destinations: its name, the key that signs for it, and the keys whose signatures are its own.
//!
//! The key that signs is the one that the configuration names (`encryption.signer_file` or `signer_credential`), and
//! without such a setting `signer` in the state directory, which is made at its first use. A key that is in the state
//! directory counts for reading whatever the setting is: with a new setting, no copy becomes another host's.
//!
//! `last-signer.pub` in the state directory has the public half of the key that signed last, and where it is from. A
//! credential exists inside the service alone; by this file, a command outside of it knows the host's own copies.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

use super::JobContext;
use super::error::{JobError, NoSigner};
use crate::config::{PasswordSource, secret_text};
use crate::copies::{PublicSigner, Signer, SignerError, TrustedSigners};
use crate::identity;
use crate::repository::{LastSigner, host_name};

/// The file of this host's own signing key, in the state directory.
const SIGNER: &str = "signer";

/// Where the key comes from that signs for this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignerPlace {
    /// From this file in the state directory, where it is made at its first use.
    State(PathBuf),
    /// From this file, which the configuration names.
    File(PathBuf),
    /// From this credential of the service, which the configuration names.
    Credential(String),
}

impl std::fmt::Display for SignerPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::State(path) | Self::File(path) => path.display().fmt(f),
            Self::Credential(name) => write!(f, "credential {name}"),
        }
    }
}

/// This host at its destinations.
#[derive(Clone, Debug)]
pub struct OwnHost {
    /// Its name in keys.
    pub name: String,
    /// The keys whose signatures are its own, the one that signs first; none before its first copy.
    keys: Vec<PublicSigner>,
}

impl OwnHost {
    /// What there is of it. Nothing is made.
    ///
    /// # Errors
    /// When the name or a key cannot be read.
    pub fn look(context: &JobContext) -> Result<Self, JobError> {
        let signs = public_signer(context)?;
        Ok(Self {
            name: own_name(context)?,
            keys: with_earlier(context, signs)?,
        })
    }

    /// Its name alone: of nothing that lies at a destination it is known whether it is the host's own.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn without_keys(context: &JobContext) -> Result<Self, JobError> {
        Ok(Self {
            name: own_name(context)?,
            keys: Vec::new(),
        })
    }

    /// It, with the key that signs for it; both are made at their first use.
    ///
    /// # Errors
    /// When one of them can neither be read nor made.
    pub fn to_sign(context: &JobContext) -> Result<(Self, Signer), JobError> {
        // It makes the state directory, too.
        let kept = host_name(&context.state_directory);
        let name = match &context.name {
            Some(name) => name.clone(),
            None => kept?,
        };
        let signer = signing_key(context)?;
        let keys = with_earlier(context, Some(signer.public().clone()))?;
        Ok((Self { name, keys }, signer))
    }

    /// The fingerprint of the key that signs for it; empty before its first copy.
    pub fn fingerprint(&self) -> String {
        let signs = self.keys.first();
        signs.map_or_else(String::new, PublicSigner::fingerprint)
    }

    /// Whether it has no key yet.
    pub fn has_signed_nothing(&self) -> bool {
        self.keys.is_empty()
    }

    /// Trusts what the host has signed itself.
    pub fn trusted(&self) -> TrustedSigners {
        self.trusted_besides(TrustedSigners::default())
    }

    /// Trusts it besides others.
    pub fn trusted_besides(&self, others: TrustedSigners) -> TrustedSigners {
        let keys = self.keys.iter();
        keys.fold(others, |trusted, key| trusted.with_own(&self.name, key))
    }
}

/// The name of this host at destinations. Looking makes nothing.
///
/// # Errors
/// When it cannot be read.
pub fn own_name(context: &JobContext) -> Result<String, JobError> {
    let state = &context.state_directory;
    match &context.name {
        Some(name) => Ok(name.clone()),
        None if state.is_dir() => Ok(host_name(state)?),
        None => Ok(identity::host_name()),
    }
}

/// Where the key comes from that signs for this host.
pub fn signer_place(context: &JobContext) -> SignerPlace {
    match &context.signer {
        None | Some(PasswordSource::Inline(_)) => {
            SignerPlace::State(context.state_directory.join(SIGNER))
        }
        Some(PasswordSource::File(path)) => SignerPlace::File(path.clone()),
        Some(PasswordSource::Credential(name)) => SignerPlace::Credential(name.clone()),
    }
}

/// The key that signs for this host, made where there is none yet and none is configured.
///
/// # Errors
/// When it can neither be read nor made.
pub fn signing_key(context: &JobContext) -> Result<Signer, NoSigner> {
    let signer = match signer_place(context) {
        SignerPlace::State(path) if is_ours(&context.state_directory) => {
            in_state(&path, Signer::open_or_create)?
        }
        // The service could not read what root has made.
        SignerPlace::State(path) => in_state(&path, Signer::open)?,
        SignerPlace::File(_) | SignerPlace::Credential(_) => configured(context)?,
    };
    remember(context, signer.public());
    Ok(signer)
}

/// The public half of the key that signs for this host, as far as it is known; none before its first use. Nothing is
/// made.
///
/// # Errors
/// When it cannot be read.
pub fn public_signer(context: &JobContext) -> Result<Option<PublicSigner>, NoSigner> {
    let place = signer_place(context);
    if let SignerPlace::State(path) = &place {
        return look_in_state(path);
    }
    match configured(context) {
        Ok(signer) => Ok(Some(signer.public().clone())),
        // For reading, the public half is enough.
        Err(error) => {
            let last = LastSigner::read(&context.state_directory);
            let last = last.filter(|last| last.place == place.to_string());
            let known = last.and_then(|last| PublicSigner::parse(&last.public_key));
            known.map(Some).ok_or(error)
        }
    }
}

/// The key that the configuration names.
fn configured(context: &JobContext) -> Result<Signer, NoSigner> {
    let read = |source: &PasswordSource| {
        let text = secret_text(source, &context.environment);
        let text = text.map_err(|error| error.to_string())?;
        Signer::read(text.expose_secret()).map_err(|error| match error {
            SignerError::Unusable(fault) => {
                format!("{} {fault}\nhint: {}", signer_place(context), fault.hint())
            }
            other => other.to_string(),
        })
    };
    let source = context.signer.as_ref();
    let read = source.map_or_else(|| Err("none is configured".to_owned()), read);
    read.map_err(NoSigner::Configured)
}

/// The key that signs, and behind it the one that the state directory has from before.
fn with_earlier(
    context: &JobContext,
    signs: Option<PublicSigner>,
) -> Result<Vec<PublicSigner>, NoSigner> {
    let mut keys: Vec<PublicSigner> = signs.into_iter().collect();
    let in_state = look_in_state(&context.state_directory.join(SIGNER))?;
    keys.extend(in_state.filter(|key| !keys.contains(key)));
    Ok(keys)
}

/// The key in the state directory; none where there is none.
fn look_in_state(path: &Path) -> Result<Option<PublicSigner>, NoSigner> {
    match in_state(path, Signer::open) {
        Ok(signer) => Ok(Some(signer.public().clone())),
        Err(NoSigner::InState {
            source: SignerError::File { source, .. },
            ..
        }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn in_state(
    path: &Path,
    open: impl Fn(&Path) -> Result<Signer, SignerError>,
) -> Result<Signer, NoSigner> {
    open(path).map_err(|source| NoSigner::InState {
        path: path.to_owned(),
        source,
    })
}

/// Takes down which key signs. If that is news, the copies by the one before count no longer, unless it is in the
/// state directory.
fn remember(context: &JobContext, signs: &PublicSigner) {
    let state = &context.state_directory;
    let now = LastSigner {
        public_key: signs.line(),
        place: signer_place(context).to_string(),
    };
    let before = LastSigner::read(state);
    if before.as_ref() == Some(&now) {
        return;
    }
    let former = before.and_then(|before| PublicSigner::parse(&before.public_key));
    let counts = with_earlier(context, Some(signs.clone())).unwrap_or_default();
    if let Some(former) = former.filter(|former| !counts.contains(former)) {
        let (former, signs) = (former.fingerprint(), signs.fingerprint());
        tracing::warn!(
            "copies are signed by {signs} from now on, and those by {former} do not count as this host's own\n\
             hint: `pgbackupd adopt --from NAME --signer {former}` takes over those at a destination"
        );
    }
    if let Err(error) = now.write(state) {
        tracing::warn!(
            "which key signs copies could not be noted in {}: {error}",
            state.display()
        );
    }
}

/// Whether what this process makes in a directory is for the directory's owner.
fn is_ours(directory: &Path) -> bool {
    let me = rustix::process::geteuid();
    !me.is_root() || fs::metadata(directory).is_ok_and(|metadata| metadata.uid() == 0)
}

#[cfg(test)]
mod tests;
