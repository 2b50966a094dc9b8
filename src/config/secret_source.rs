//! Secrets that the configuration names: read when they are needed, from files that are closed to others or
//! from systemd's credentials.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::path::Path;

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use super::plan::PasswordSource;
use crate::secret_file::{FileMode, opening_advice};
use crate::{credential, identity, regular_file};

/// A secret that cannot be had, in words that do not show it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoSecret(pub(crate) String);

/// All that a source of secrets holds; the first line of it is not empty.
///
/// # Errors
/// It cannot be read, is empty, or others can read it.
pub(crate) fn secret_text(
    source: &PasswordSource,
    environment: &BTreeMap<String, String>,
) -> Result<SecretString, NoSecret> {
    if let PasswordSource::Inline(secret) = source {
        return Ok(secret.clone());
    }
    let bytes = secret_bytes(source, environment)?.to_vec();
    let text = regular_file::text_by_hand(bytes);
    let text = text.map_err(|error| NoSecret(format!("cannot read {}: {error}", shown(source))))?;
    if text
        .lines()
        .next()
        .is_none_or(|line| line.trim().is_empty())
    {
        let message = format!("the first line of {} is empty", shown(source));
        return Err(NoSecret(message));
    }
    Ok(SecretString::from(text))
}

/// The bytes of a source of secrets, which need be no text.
///
/// # Errors
/// It cannot be read, or others can read it.
pub(crate) fn secret_bytes(
    source: &PasswordSource,
    environment: &BTreeMap<String, String>,
) -> Result<Zeroizing<Vec<u8>>, NoSecret> {
    let bytes = match source {
        PasswordSource::Inline(secret) => secret.expose_secret().as_bytes().to_vec(),
        PasswordSource::File(path) => {
            refuse_open_to_others(path)?;
            bytes(path)?
        }
        PasswordSource::Credential(name) => {
            let given = credential::given(name, environment.get(credential::VARIABLE));
            bytes(&given.ok_or_else(|| only_in_the_service(name))?)?
        }
    };
    Ok(Zeroizing::new(bytes))
}

/// A secret: the first line of what holds it.
///
/// # Errors
/// Those of [`secret_text`].
pub(crate) fn secret(
    source: &PasswordSource,
    environment: &BTreeMap<String, String>,
) -> Result<SecretString, NoSecret> {
    let text = secret_text(source, environment)?;
    if matches!(source, PasswordSource::Inline(_)) {
        return Ok(text);
    }
    let line = text.expose_secret().lines().next().unwrap_or_default();
    Ok(SecretString::from(line.trim()))
}

/// The text of a file with secrets, which others must not be able to read.
///
/// # Errors
/// They can, or it cannot be read.
pub(crate) fn closed_file(path: &Path) -> Result<String, NoSecret> {
    refuse_open_to_others(path)?;
    file(path)
}

fn refuse_open_to_others(path: &Path) -> Result<(), NoSecret> {
    if credential::is_elsewhere(path) {
        return Err(only_in_the_service(
            &credential::name(path).unwrap_or_default(),
        ));
    }
    if credential::name(path).is_none()
        && let Ok(metadata) = path.metadata()
        && let Some(file_mode) = FileMode::of(&metadata)
    {
        return Err(NoSecret(format!(
            "{} can be read by others (mode {:04o})\nhint: {}",
            path.display(),
            file_mode.mode,
            file_mode.closing_advice(path)
        )));
    }
    Ok(())
}

/// The text of a file that the configuration names.
///
/// # Errors
/// It cannot be read.
pub(crate) fn file(path: &Path) -> Result<String, NoSecret> {
    let text = regular_file::text_by_hand(bytes(path)?);
    text.map_err(|error| not_read(path, &error))
}

fn bytes(path: &Path) -> Result<Vec<u8>, NoSecret> {
    regular_file::read_by_hand(path).map_err(|error| not_read(path, &error))
}

fn not_read(path: &Path, error: &io::Error) -> NoSecret {
    let is_refused = error.kind() == ErrorKind::PermissionDenied;
    let hint = match path.metadata() {
        Ok(metadata) if is_refused => {
            format!("\nhint: {}", opening_advice(path, &metadata, false))
        }
        _ => String::new(),
    };
    NoSecret(format!("cannot read {}: {error}{hint}", path.display()))
}

fn only_in_the_service(name: &str) -> NoSecret {
    NoSecret(format!(
        "the credential {name:?} {}",
        credential::missing(name, || format!(
            "by hand, {}",
            identity::in_shell_of_root(&identity::with_credential(name))
        ))
    ))
}

fn shown(source: &PasswordSource) -> impl Display {
    match source {
        PasswordSource::Inline(_) => "the setting".to_owned(),
        PasswordSource::File(path) => path.display().to_string(),
        PasswordSource::Credential(name) => format!("the credential {name:?}"),
    }
}
