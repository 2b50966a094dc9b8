//! To whom copies and backups are encrypted, who signs copies, and whose signatures on them count.

use super::findings::{Findings, key, set};
use super::fragment::{DatabaseList, Fragment};
use super::plan::{
    Destination, DrillSettings, EncryptionScope, Format, Job, JobKind, PasswordSource, Plan,
};
use super::scalar::Word;
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
    let lost = match set(fragment.encryption.scope).0 {
        EncryptionScope::All => Some("every backup and copy"),
        EncryptionScope::Copies if encrypted.count() > 0 => Some("every copy"),
        EncryptionScope::Copies => None,
    };
    if let Some(lost) = lost.filter(|_| recipients.len() == 1) {
        findings.warn(format!(
            "encryption.recipients: only one: when its key is lost, so is {lost}"
        ));
    }
    recipients
}

/// What is encrypted. Where backups are, everything has to be there that takes; else nothing is backed up.
pub(super) fn scope(
    findings: &mut Findings<'_>,
    fragment: &Fragment,
    (jobs, drill): (&[Job], &DrillSettings),
) -> EncryptionScope {
    let scope = set(fragment.encryption.scope).0;
    if scope == EncryptionScope::Copies {
        return scope;
    }
    let at = key(&["encryption", "scope"]);
    let written = fragment.encryption.recipients.as_deref();
    if written.is_none_or(<[_]>::is_empty) {
        findings.refuse(
            &at,
            "backups are encrypted, and there is no recipient to encrypt them to".to_owned(),
            Some(
                "make a key with `pgbackupd key generate`, and write its public half as [encryption] \
                 recipients = [\"age1…\"]"
                    .to_owned(),
            ),
        );
    }
    let drills = jobs
        .iter()
        .find(|job| matches!(job.kind, JobKind::Drill(_)));
    if let Some(job) = drills.filter(|_| drill.identity.is_none()) {
        findings.refuse(
            &at,
            format!(
                "the job {} restores backups for a test, and has no identity that opens them",
                job.name
            ),
            Some(format!(
                "write [jobs.{}] enabled = false, and run `pgbackupd drill --identity FILE` yourself; or name an \
                 identity with drill.identity_file or drill.credential: whoever holds this host can then read \
                 the backups",
                job.name
            )),
        );
    }
    refuse_directories(findings, fragment);
    scope
}

/// Warns where the identity of drills opens no backup that is made from now on. `opened` has its public halves,
/// as far as they are known.
pub(super) fn drills_open_nothing(plan: &Plan, opened: Option<&[Recipient]>) -> Option<String> {
    let is_known = |opened: &&[Recipient]| !opened.is_empty();
    let opened = opened
        .filter(is_known)
        .filter(|_| plan.scope == EncryptionScope::All)?;
    if opened.iter().any(|one| plan.recipients.contains(one)) {
        return None;
    }
    let fingerprints: Vec<&str> = opened.iter().map(Recipient::fingerprint).collect();
    Some(format!(
        "drill.identity_file: drills of new backups will not be able to open them: its identity is of {}, which \
         is not in encryption.recipients; add its recipient there",
        fingerprints.join(" and ")
    ))
}

/// Refuses dumps in directory format, which nothing but `pg_dump` writes.
fn refuse_directories(findings: &mut Findings<'_>, fragment: &Fragment) {
    let is_directory =
        |format: Option<Word<Format>>| format.is_some_and(|one| one.0 == Format::Directory);
    let mut found = Vec::new();
    let databases = |at: &[&str], list: &Option<DatabaseList>| {
        let Some(DatabaseList::Named(all)) = list else {
            return Vec::new();
        };
        let all = all.iter().enumerate();
        all.filter(|(_, one)| is_directory(one.format))
            .map(|(index, _)| {
                let mut at = key(at);
                at.extend(key(&["databases", &index.to_string(), "format"]));
                at
            })
            .collect()
    };
    if is_directory(fragment.dump.format) {
        found.push(key(&["dump", "format"]));
    }
    found.extend(databases(&[], &fragment.databases));
    for (name, server) in &fragment.servers {
        if is_directory(server.dump.format) {
            found.push(key(&["servers", name, "dump", "format"]));
        }
        found.extend(databases(&["servers", name], &server.databases));
    }
    for at in found {
        findings.refuse(
            &at,
            "a dump in directory format cannot be encrypted: pg_dump writes its files itself"
                .to_owned(),
            Some("write \"plain\" or \"custom\"; or encryption.scope = \"copies\"".to_owned()),
        );
    }
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
