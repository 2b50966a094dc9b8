//! Secrets of channels: read when they are needed, from files that are closed to others or from systemd's
//! credentials.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use secrecy::SecretString;

use super::error::SendError;
use crate::config::PasswordSource;
use crate::secret_file::{FileMode, opening_advice};
use crate::{credential, identity, regular_file};

/// A secret: the first line of what holds it.
pub(super) fn read(
    source: &PasswordSource,
    environment: &BTreeMap<String, String>,
) -> Result<SecretString, SendError> {
    let text = match source {
        PasswordSource::Inline(secret) => return Ok(secret.clone()),
        PasswordSource::File(path) => closed_file(path)?,
        PasswordSource::Credential(name) => {
            let Some(directory) = environment.get("CREDENTIALS_DIRECTORY") else {
                return Err(only_in_the_service(name));
            };
            file(&Path::new(directory).join(name))?
        }
    };
    match text
        .lines()
        .next()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        Some(line) => Ok(SecretString::from(line)),
        None => Err(SendError::later(format!(
            "the first line of {} is empty",
            shown(source)
        ))),
    }
}

/// The text of a file with secrets, which others must not be able to read.
pub(super) fn closed_file(path: &Path) -> Result<String, SendError> {
    if credential::is_elsewhere(path) {
        return Err(only_in_the_service(
            &credential::name(path).unwrap_or_default(),
        ));
    }
    if credential::name(path).is_none()
        && let Ok(metadata) = path.metadata()
        && let Some(file_mode) = FileMode::of(&metadata)
    {
        return Err(SendError::later(format!(
            "{} can be read by others (mode {:04o})\nhint: {}",
            path.display(),
            file_mode.mode,
            file_mode.closing_advice(path)
        )));
    }
    file(path)
}

/// The text of a file.
pub(super) fn file(path: &Path) -> Result<String, SendError> {
    regular_file::read_to_string(path).map_err(|error| {
        let is_refused = error.kind() == std::io::ErrorKind::PermissionDenied;
        let hint = match path.metadata() {
            Ok(metadata) if is_refused => {
                format!("\nhint: {}", opening_advice(path, &metadata, false))
            }
            _ => String::new(),
        };
        SendError::later(format!("cannot read {}: {error}{hint}", path.display()))
    })
}

fn only_in_the_service(name: &str) -> SendError {
    SendError::later(format!(
        "the credential {name:?} exists only inside the service, whose unit needs {}\nhint: by hand, {}",
        credential::loading(name),
        identity::in_shell_of_root(&identity::with_credential(name))
    ))
}

fn shown(source: &PasswordSource) -> impl Display {
    match source {
        PasswordSource::Inline(_) => "the setting".to_owned(),
        PasswordSource::File(path) => path.display().to_string(),
        PasswordSource::Credential(name) => format!("the credential {name:?}"),
    }
}
