//! To whom copies are encrypted, who signs them, and whose signatures on them count.

use super::findings::{Findings, key};
use super::fragment::Fragment;
use super::plan::{Destination, PasswordSource};
use crate::allowed_signer::AllowedSigner;
use crate::recipient::Recipient;

/// The recipients of copies, and whether each destination has some: encryption fails closed.
pub(super) fn recipients(
    findings: &mut Findings<'_>,
    fragment: &Fragment,
    destinations: &[Destination],
) -> Vec<Recipient> {
    let written = fragment.encryption.recipients.as_deref();
    let mut recipients: Vec<Recipient> = Vec::new();
    for (index, text) in written.unwrap_or_default().iter().enumerate() {
        let at = key(&["encryption", "recipients", &index.to_string()]);
        match Recipient::parse(text) {
            Ok(recipient) if recipients.contains(&recipient) => {
                let message = format!("the recipient {} is there twice", recipient.fingerprint());
                findings.refuse(&at, message, Some("remove one of the two".to_owned()));
            }
            Ok(recipient) => recipients.push(recipient),
            Err(error) => {
                let text = error.to_string();
                let (message, hint) = match text.split_once("\nhint: ") {
                    Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
                    None => (text, None),
                };
                findings.refuse(&at, message, hint);
            }
        }
    }
    let encrypted = destinations.iter().filter(|one| !one.plain);
    for destination in encrypted.clone() {
        if written.is_none_or(<[_]>::is_empty) {
            findings.refuse_key(
                &key(&["destinations", &destination.name]),
                "copies there are encrypted, and there is no recipient to encrypt them to".to_owned(),
                Some(
                    "make a key with `pgbackupd key generate`, and write its public half as [encryption] \
                     recipients = [\"age1…\"]; or write plain = true here"
                        .to_owned(),
                ),
            );
        }
    }
    if encrypted.count() > 0 && recipients.len() == 1 {
        findings.warn(
            "encryption.recipients: only one: when its key is lost, so is every copy".to_owned(),
        );
    }
    recipients
}

/// The signers that are trusted besides the host's own.
pub(super) fn trusted_signers(
    findings: &mut Findings<'_>,
    fragment: &Fragment,
) -> Vec<AllowedSigner> {
    let written = fragment.encryption.trusted_signers.as_deref();
    let mut signers: Vec<AllowedSigner> = Vec::new();
    for (index, line) in written.unwrap_or_default().iter().enumerate() {
        let at = key(&["encryption", "trusted_signers", &index.to_string()]);
        match AllowedSigner::parse(line) {
            Ok(signer) if signers.contains(&signer) => {
                let message = "the same line is there twice".to_owned();
                findings.refuse(&at, message, Some("remove one of the two".to_owned()));
            }
            Ok(signer) => signers.push(signer),
            Err(error) => findings.refuse(
                &at,
                format!("invalid line of allowed signers: {error}"),
                Some("copy the line that `pgbackupd key show` prints on the other host".to_owned()),
            ),
        }
    }
    signers
}

/// Where the key comes from that signs this host's copies; none where it is in the state directory.
pub(super) fn signer(findings: &mut Findings<'_>, fragment: &Fragment) -> Option<PasswordSource> {
    let encryption = &fragment.encryption;
    if encryption.signer_file.is_some() && encryption.signer_credential.is_some() {
        findings.refuse_key(
            &key(&["encryption", "signer_credential"]),
            "both signer_file and signer_credential are set".to_owned(),
            Some("leave one of them".to_owned()),
        );
    }
    let file = encryption.signer_file.as_ref();
    let file = file.map(|path| PasswordSource::File(path.0.clone()));
    let credential = encryption.signer_credential.as_ref();
    file.or_else(|| credential.map(|name| PasswordSource::Credential(name.0.clone())))
}
