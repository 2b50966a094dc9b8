//! `pgbackupd key kit`: one page for the safe, by which copies are found and restored without this host.

use std::io::{self, Write};
use std::path::Path;

use chrono::{DateTime, FixedOffset};
use schemars::JsonSchema;
use serde::Serialize;

use super::host::HostKeys;
use super::show::{self, ShownRecipient};
use crate::cli::env::CommandEnv;
use crate::cli::failure::{Failure, FailureKind};
use crate::cli::report::{self, one_line};
use crate::cli::session::Session;
use crate::cli::wrap::{WIDTH, wrapped};
use crate::config::{
    AzureSettings, Destination, DestinationAddress, GoogleSettings, PasswordSource, S3Credentials,
    S3Settings, SftpSettings,
};
use crate::display::shell_word;

/// Print a page for the safe: addresses, fingerprints, and the command that restores.
///
/// It has no secret in it. Where each identity is kept is for a person to write down on it. Print it again
/// when destinations or recipients change.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {}

/// What `key kit --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Kit {
    /// This host's name at the destinations.
    host: String,
    /// When this was printed.
    at: String,
    /// The fingerprint of the key that signs the copies.
    signer: String,
    /// Whom copies are encrypted to.
    recipients: Vec<ShownRecipient>,
    /// The destinations.
    destinations: Vec<KitDestination>,
}

/// How the copies of a destination come back.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct KitDestination {
    /// Its name in the configuration.
    name: String,
    /// Its address.
    url: String,
    /// Whether copies there are not encrypted.
    plain: bool,
    /// The lines for a shell on a bare machine; the last command restores.
    commands: Vec<String>,
}

pub(super) fn run(_: &Args, env: &CommandEnv<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = Session::new(env, env.load()?);
    let destinations = &session.plan().destinations;
    if destinations.is_empty() {
        let message = "no destination is configured, so there is no copy to restore\nhint: describe one in the \
                       configuration, as [destinations.NAME] with url = \"s3://BUCKET/PREFIX\", \
                       \"az://CONTAINER/PREFIX\", \"gs://BUCKET/PREFIX\", \"sftp://USER@HOST/PATH\" or \
                       \"file:///PATH\"";
        return Err(Failure::new(FailureKind::Configuration, message));
    }
    let mut keys = HostKeys::read(&session)?;
    let signer = keys.signer?.fingerprint();
    keys.signer = Err(Failure::usage(""));
    let now = session.context.now();
    let kit = Kit {
        at: now.to_rfc3339(),
        recipients: show::recipients(&keys),
        destinations: destinations.iter().map(|one| part(one, &signer)).collect(),
        host: keys.host,
        signer,
    };
    if env.json {
        return report::json(&kit, out);
    }
    print(&kit, now, out)?;
    Ok(())
}

fn part(destination: &Destination, signer: &str) -> KitDestination {
    let url = destination.settings.url();
    let mut commands = variables(&destination.settings.address);
    let from = shell_word(&url);
    commands.push(format!("pgbackupd restore --latest --from {from} \\"));
    if destination.plain {
        commands.push(format!("  --signer {signer}"));
    } else {
        commands.push(format!("  --signer {signer} \\"));
        commands.push("  --identity FILE".to_owned());
    }
    KitDestination {
        name: destination.name.clone(),
        url,
        plain: destination.plain,
        commands,
    }
}

/// What the environment has to have where only the address is given, for `bash`; no secret.
fn variables(address: &DestinationAddress) -> Vec<String> {
    match address {
        DestinationAddress::S3(s3) => of_s3(s3),
        DestinationAddress::Azure(azure) => of_azure(azure),
        DestinationAddress::Google(google) => of_google(google),
        DestinationAddress::Sftp(sftp) => files_for_ssh(sftp),
        DestinationAddress::Directory { .. } => Vec::new(),
    }
}

fn of_s3(s3: &S3Settings) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(endpoint) = &s3.endpoint {
        lines.push(export("AWS_ENDPOINT_URL", endpoint));
    }
    lines.push(export("AWS_REGION", &s3.region));
    if let Some(file) = &s3.ca_file {
        lines.push(export("AWS_CA_BUNDLE", &file.display().to_string()));
    }
    lines.extend(s3.proxy.as_ref().map(|proxy| export("HTTPS_PROXY", proxy)));
    match &s3.credentials {
        S3Credentials::Keys { access_key_id, .. } => {
            lines.push(export("AWS_ACCESS_KEY_ID", access_key_id));
        }
        _ => lines.push("read -rp 'Access key id: ' AWS_ACCESS_KEY_ID".to_owned()),
    }
    lines.push("read -rsp 'Secret key: ' AWS_SECRET_ACCESS_KEY".to_owned());
    lines.push("export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY".to_owned());
    lines
}

fn of_azure(azure: &AzureSettings) -> Vec<String> {
    let mut lines = vec![export("AZURE_STORAGE_ACCOUNT", &azure.account)];
    let endpoint = azure.endpoint.as_ref();
    lines.extend(endpoint.map(|endpoint| export("AZURE_STORAGE_SERVICE_ENDPOINT", endpoint)));
    lines.extend(of_the_way(azure.ca_file.as_deref(), azure.proxy.as_deref()));
    lines.push("read -rsp 'Account key or SAS token: ' AZURE_STORAGE_KEY".to_owned());
    lines.push("export AZURE_STORAGE_KEY".to_owned());
    lines
}

fn of_google(google: &GoogleSettings) -> Vec<String> {
    let endpoint = google.endpoint.as_ref();
    let endpoint = endpoint.map(|endpoint| export("STORAGE_EMULATOR_HOST", endpoint));
    let mut lines: Vec<String> = endpoint.into_iter().collect();
    lines.extend(of_the_way(
        google.ca_file.as_deref(),
        google.proxy.as_deref(),
    ));
    lines.push("read -rp 'File with the key of a service account: ' \\".to_owned());
    lines.push("  GOOGLE_APPLICATION_CREDENTIALS".to_owned());
    lines.push("export GOOGLE_APPLICATION_CREDENTIALS".to_owned());
    lines
}

/// How a store is reached that has no variables of its own for that.
fn of_the_way(ca_file: Option<&Path>, proxy: Option<&str>) -> Vec<String> {
    let ca_file = ca_file.map(|file| export("SSL_CERT_FILE", &file.display().to_string()));
    let proxy = proxy.map(|proxy| export("HTTPS_PROXY", proxy));
    ca_file.into_iter().chain(proxy).collect()
}

/// The files that ssh does not find by itself: they have to be at the same place on the new machine.
fn files_for_ssh(sftp: &SftpSettings) -> Vec<String> {
    let identity = match &sftp.identity {
        Some(PasswordSource::File(path)) => Some(path.clone()),
        Some(PasswordSource::Credential(name)) => Some(Path::new("/etc/pgbackupd").join(name)),
        Some(PasswordSource::Inline(_)) | None => None,
    };
    let files = [
        ("SFTP_IDENTITY_FILE", identity.as_ref()),
        ("SFTP_KNOWN_HOSTS_FILE", sftp.known_hosts_file.as_ref()),
        ("SFTP_SSH_CONFIG_FILE", sftp.ssh_config_file.as_ref()),
    ];
    let named = files
        .into_iter()
        .filter_map(|(name, path)| Some(export(name, &path?.display().to_string())));
    named.collect()
}

/// The line that sets a variable.
fn export(name: &str, value: &str) -> String {
    format!("export {name}={}", shell_word(value))
}

fn print(kit: &Kit, now: DateTime<FixedOffset>, out: &mut dyn Write) -> io::Result<()> {
    let title = format!("Recovery kit of {}", one_line(&kit.host));
    let date = now.format("%Y-%m-%d").to_string();
    let gap = WIDTH.saturating_sub(title.chars().count() + date.len());
    writeln!(out, "{title}{}{date}", " ".repeat(gap.max(1)))?;
    writeln!(out, "{}", "=".repeat(WIDTH))?;
    wrapped(
        out,
        "",
        "With this page, the secret key of a destination and an identity, a bare machine restores the databases \
         of this host. There is no secret on this page.",
    )?;
    wrapped(out, "", "Install PostgreSQL and pgbackupd there first.")?;
    print_keys(kit, out)?;
    for destination in &kit.destinations {
        writeln!(
            out,
            "\nRestore from {}: {}",
            destination.name, destination.url
        )?;
        if destination.plain {
            writeln!(
                out,
                "Copies there are not encrypted: no identity is needed."
            )?;
        }
        writeln!(out)?;
        for line in &destination.commands {
            writeln!(out, "    {line}")?;
        }
    }
    writeln!(out)?;
    let has_store = |one: &KitDestination| !one.url.starts_with("file://");
    if kit.destinations.iter().any(has_store) {
        blank(out, "Where the secret keys of the destinations are kept:")?;
    }
    if !kit.destinations.iter().all(|one| one.plain) {
        let text = "FILE is the identity; `--identity -` reads it from standard input.";
        wrapped(out, "", text)?;
    }
    writeln!(
        out,
        "When every identity is lost, so is every encrypted copy."
    )
}

fn print_keys(kit: &Kit, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "\nHost name at the destinations: {}",
        one_line(&kit.host)
    )?;
    writeln!(out, "Signed by:         {}", kit.signer)?;
    for (recipient, number) in kit.recipients.iter().zip(1..) {
        writeln!(out, "\nRecipient {number}:       {}", recipient.fingerprint)?;
        // The fingerprint says which key it is; a line of an SSH key is too long for the page.
        if let Some(comment) = recipient.recipient.strip_prefix("ssh-ed25519 ") {
            let comment = comment.split_once(' ').map_or("", |(_, comment)| comment);
            writeln!(out, "  ssh-ed25519 {}", one_line(comment))?;
        } else {
            writeln!(out, "  {}", recipient.recipient)?;
        }
        blank(
            out,
            "  Where its identity is kept (two places, not on this host):",
        )?;
    }
    Ok(())
}

/// Room for handwriting.
fn blank(out: &mut dyn Write, label: &str) -> io::Result<()> {
    writeln!(out, "{label}\n")?;
    for _ in 0..2 {
        writeln!(out, "  {}\n", "_".repeat(WIDTH - 2))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::config::{AzureCredentials, DestinationSettings, GoogleCredentials, Patterns};

    const SIGNER: &str = "SHA256:Pf1lzAIovBcgoMNudH9eAfpTcSEgp1jYR7uhPFn5eEg";

    fn destination(name: &str, address: DestinationAddress, plain: bool) -> Destination {
        Destination {
            name: name.to_owned(),
            settings: DestinationSettings {
                address,
                timeout: Duration::from_secs(300),
            },
            rate: None,
            series: Vec::new(),
            databases: Patterns::default(),
            backfill: NonZeroU32::MIN,
            retention: crate::config::CopyRetention::Everything,
            plain,
        }
    }

    fn offsite() -> DestinationAddress {
        DestinationAddress::S3(Box::new(S3Settings {
            bucket: "backups".to_owned(),
            prefix: Some("db".to_owned()),
            endpoint: Some("https://s3.example.org".to_owned()),
            region: "eu-central-1".to_owned(),
            path_style: true,
            credentials: S3Credentials::Keys {
                access_key_id: "AKIAEXAMPLE".to_owned(),
                secret: PasswordSource::File(PathBuf::from("/etc/pgbackupd/secret")),
            },
            ca_file: None,
            proxy: None,
            storage_class: None,
            sse: None,
            sse_key: None,
        }))
    }

    #[test]
    fn what_ssh_does_not_find_by_itself_is_set_before_the_command() {
        let box_of = |identity| {
            DestinationAddress::Sftp(Box::new(SftpSettings {
                host: "box".to_owned(),
                port: None,
                user: Some("u1".to_owned()),
                path: "/db".to_owned(),
                identity,
                known_hosts_file: Some("/etc/pgbackupd/known_hosts".into()),
                ssh_config_file: None,
            }))
        };
        let known = "export SFTP_KNOWN_HOSTS_FILE=/etc/pgbackupd/known_hosts";
        assert_eq!(variables(&box_of(None)), [known]);
        let key = "export SFTP_IDENTITY_FILE=/etc/pgbackupd/ssh-key";
        for identity in [
            PasswordSource::Credential("ssh-key".to_owned()),
            PasswordSource::File("/etc/pgbackupd/ssh-key".into()),
        ] {
            let kit = part(&destination("box", box_of(Some(identity)), true), SIGNER);
            assert_eq!(kit.commands[..2], [key, known]);
            let from = "pgbackupd restore --latest --from 'sftp://u1@box/db' \\";
            assert_eq!(kit.commands[2], from);
        }
    }

    #[test]
    fn azure_and_google_are_reached_by_their_usual_variables() {
        let azure = DestinationAddress::Azure(Box::new(AzureSettings {
            account: "acc".to_owned(),
            container: "backups".to_owned(),
            prefix: None,
            endpoint: None,
            path_style: false,
            credentials: AzureCredentials::Instance,
            ca_file: Some(PathBuf::from("/etc/ca.pem")),
            proxy: None,
            tier: None,
        }));
        let kit = part(&destination("azure", azure, true), SIGNER);
        assert_eq!(
            kit.commands[..5],
            [
                "export AZURE_STORAGE_ACCOUNT=acc",
                "export SSL_CERT_FILE=/etc/ca.pem",
                "read -rsp 'Account key or SAS token: ' AZURE_STORAGE_KEY",
                "export AZURE_STORAGE_KEY",
                "pgbackupd restore --latest --from 'az://backups' \\",
            ]
        );
        let google = DestinationAddress::Google(Box::new(GoogleSettings {
            bucket: "backups".to_owned(),
            prefix: Some("db".to_owned()),
            endpoint: None,
            credentials: GoogleCredentials::Instance,
            ca_file: None,
            proxy: None,
            storage_class: None,
        }));
        let kit = part(&destination("google", google, true), SIGNER);
        assert_eq!(
            kit.commands[2..4],
            [
                "export GOOGLE_APPLICATION_CREDENTIALS",
                "pgbackupd restore --latest --from 'gs://backups/db' \\",
            ]
        );
        let too_wide = |line: &&String| line.chars().count() > WIDTH - 4;
        assert_eq!(kit.commands.iter().find(too_wide), None);
    }

    #[test]
    fn the_page_fits_on_paper() {
        let disk = DestinationAddress::Directory {
            path: PathBuf::from("/mnt/second disk"),
            mounted: true,
        };
        let recipient = |text: &str| ShownRecipient {
            fingerprint: SIGNER.to_owned(),
            recipient: text.to_owned(),
        };
        let key = "AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
        let now: DateTime<FixedOffset> = "2026-11-30T02:00:00+03:00".parse().unwrap();
        let kit = Kit {
            host: "db1".to_owned(),
            at: now.to_rfc3339(),
            signer: SIGNER.to_owned(),
            recipients: vec![
                recipient("age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa"),
                recipient(&format!("ssh-ed25519 {key} alice@example.org")),
            ],
            destinations: vec![
                part(&destination("disk", disk, true), SIGNER),
                part(&destination("offsite", offsite(), false), SIGNER),
            ],
        };
        let mut page = Vec::new();
        print(&kit, now, &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        for line in page.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        insta::assert_snapshot!(page);
    }
}
