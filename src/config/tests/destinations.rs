//! Destinations of copies: what they mean, what is refused, and that nothing shows their secrets.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::time::Duration;

use super::{Etc, accepted, refused, set_mode};
use crate::config::{
    AzureCredentials, Destination, DestinationAddress, DestinationSettings, GoogleCredentials,
    PasswordSource, S3Credentials, S3Settings, load,
};
use crate::policy::{Rules, Series};

/// Two, since one alone is a warning.
pub(super) const ENCRYPTION: &str = "[encryption]\nrecipients = [\"age1q6qt7cmmyva6aqs2acxzrg8njl47xhd8wmu00qq8dxrhgp06z30q465s02\", \"age1scp8kzp9pnczxplz5crr6v2j52xxptt7wwd2yjjrh50yhlg964cqnxugzq\"]\n";

fn destination(settings: &str) -> Destination {
    let loaded = accepted(&format!(
        "database = \"a\"\n{ENCRYPTION}[destinations.d]\n{settings}"
    ));
    loaded.plan.destinations[0].clone()
}

fn s3_of(settings: &DestinationSettings) -> &S3Settings {
    match &settings.address {
        DestinationAddress::S3(s3) => s3,
        other => panic!("{other:?}"),
    }
}

const KEYS: &str = "url = \"s3://bucket/a/b=2f\"\naccess_key_id = \"ID\"\ncredential = \"c\"\n";

#[test]
fn a_destination_is_what_it_says_and_the_rest_is_usual() {
    let usual = destination(KEYS);
    assert_eq!((usual.name.as_str(), usual.plain), ("d", false));
    assert!(usual.rate.is_none() && usual.series.is_empty() && usual.databases.is_empty());
    assert_eq!(usual.settings.timeout, Duration::from_secs(300));
    assert_eq!(usual.settings.url(), "s3://bucket/a/b=2f");
    let s3 = s3_of(&usual.settings);
    assert_eq!(s3.prefix.as_deref(), Some("a/b=2f"));
    assert_eq!((s3.region.as_str(), s3.path_style), ("us-east-1", false));
    let expected = S3Credentials::Keys {
        access_key_id: "ID".to_owned(),
        secret: PasswordSource::Credential("c".to_owned()),
    };
    assert_eq!(s3.credentials, expected);

    let other = destination(&format!(
        "{KEYS}endpoint = \"http://localhost:8333/\"\nrate = \"20 MB/s\"\nseries = [\"daily\"]\n\
         databases = [\"app_*\", \"main/x\"]\nplain = true\nsse = \"aws:kms\"\nsse_key = \"k\""
    ));
    let s3 = s3_of(&other.settings);
    assert_eq!(s3.endpoint.as_deref(), Some("http://localhost:8333"));
    assert!(s3.path_style, "as compatible stores have it");
    assert_eq!(other.rate.map(|rate| rate.as_u64()), Some(20_000_000));
    let daily = "daily".parse().unwrap();
    for (series, database, wanted) in [
        (&daily, ("main", "app_1"), true),
        (&daily, ("main", "x"), true),
        (&daily, ("other", "x"), false),
        (&"weekly".parse().unwrap(), ("main", "app_1"), false),
    ] {
        assert_eq!(
            other.wants(series, database),
            wanted,
            "{series} {database:?}"
        );
    }
}

#[test]
fn a_directory_is_a_destination_too() {
    let nas = destination("url = \"file:///mnt/my%20nas/\"\nmounted = true\nplain = true");
    let expected = DestinationAddress::Directory {
        path: "/mnt/my nas".into(),
        mounted: true,
    };
    assert_eq!(nas.settings.address, expected);
    assert!(nas.plain);
}

#[test]
fn a_directory_at_an_sftp_server_is_a_destination_too() {
    let address = "url = \"sftp://u1@box:23/srv/db/\"\n";
    let usual = destination(address);
    assert_eq!(usual.settings.url(), "sftp://u1@box:23/srv/db");
    let full = destination(&format!(
        "{address}credential = \"ssh-key\"\nknown_hosts_file = \"/etc/pgbackupd/known_hosts\"\n\
         ssh_config_file = \"/etc/pgbackupd/ssh_config\""
    ));
    let DestinationAddress::Sftp(sftp) = full.settings.address else {
        panic!("an SFTP server")
    };
    assert_eq!(
        sftp.identity,
        Some(PasswordSource::Credential("ssh-key".to_owned()))
    );
    assert_eq!(
        sftp.known_hosts_file,
        Some("/etc/pgbackupd/known_hosts".into())
    );
    assert_eq!(
        sftp.ssh_config_file,
        Some("/etc/pgbackupd/ssh_config".into())
    );
    for text in [
        "sftp://box",
        "sftp://box/",
        "sftp://a%40b@[::1]:22/~/in home",
        "sftp://box/100%25 %3F%23",
        "sftp://box/x",
    ] {
        let shown = destination(&format!("url = \"{text}\"")).settings.url();
        assert_eq!(shown, text);
    }
}

#[test]
fn a_key_of_sshs_is_in_one_place_and_closed_to_others() {
    let key = tempfile::NamedTempFile::new().unwrap();
    fs::write(key.path(), "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
    let path = key.path().display();
    let address = "database = \"a\"\n[destinations.d]\nurl = \"sftp://box/x\"\nplain = true\n";
    let both = format!("{address}credential = \"c\"\nidentity_file = \"{path}\"");
    let message = refused(&both);
    let what = "both identity_file and credential are set";
    assert!(message.contains(what), "{message}");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    key.as_file().set_permissions(open).unwrap();
    let message = refused(&format!("{address}identity_file = \"{path}\""));
    assert!(message.contains("can be read by others"), "{message}");
    assert!(
        message.contains("destinations.d.identity_file"),
        "{message}"
    );
}

#[test]
fn an_address_alone_is_completed_from_the_usual_environment() {
    let of = |variables: &[(&str, &str)]| {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment: BTreeMap<String, String> = variables.iter().map(owned).collect();
        DestinationSettings::of_url("s3://bucket", &environment).unwrap()
    };
    let keys = of(&[
        ("AWS_ACCESS_KEY_ID", "ID"),
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL", "https://h/"),
    ]);
    let s3 = s3_of(&keys);
    assert_eq!(s3.credentials, S3Credentials::Environment);
    assert_eq!(s3.region, "eu-central-1");
    assert_eq!(s3.endpoint.as_deref(), Some("https://h"));
    assert_eq!(s3_of(&of(&[])).credentials, S3Credentials::Instance);
    let token = of(&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")]);
    assert_eq!(s3_of(&token).credentials, S3Credentials::WebIdentity);
    let none = BTreeMap::new();
    for text in [
        "bucket",
        "s3://",
        "s3://ID:hunter2@bucket",
        "https://hunter2/x",
    ] {
        let error = DestinationSettings::of_url(text, &none).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn containers_of_azure_and_buckets_of_google_are_destinations_too() {
    let azure = "url = \"az://backups/pg\"\naccount = \"acc1\"\ncredential = \"key\"\n";
    let usual = destination(azure);
    assert_eq!(usual.settings.url(), "az://backups/pg");
    assert_eq!(
        usual.settings.full_address(),
        "az://backups/pg of account acc1"
    );
    let emulator = destination(&format!(
        "{azure}endpoint = \"http://127.0.0.1:10000/\"\nstorage_class = \"Cool\""
    ));
    let DestinationAddress::Azure(emulator) = emulator.settings.address else {
        panic!("a container")
    };
    assert!(emulator.path_style, "as an emulator has it");
    assert_eq!(emulator.endpoint.as_deref(), Some("http://127.0.0.1:10000"));
    assert_eq!(emulator.tier.as_deref(), Some("Cool"));
    let google = destination("url = \"gs://backups.example.org\"\ncredentials = \"instance\"");
    assert_eq!(google.settings.full_address(), "gs://backups.example.org");

    let of = |url: &str, variables: &[(&str, &str)]| {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        DestinationSettings::of_url(url, &variables.iter().map(owned).collect())
    };
    let account = ("AZURE_STORAGE_ACCOUNT", "acc1");
    for (more, expected) in [
        (("AZURE_STORAGE_KEY", "x"), AzureCredentials::Environment),
        (
            ("AZURE_STORAGE_SAS_TOKEN", "x"),
            AzureCredentials::Environment,
        ),
        (
            ("AZURE_FEDERATED_TOKEN_FILE", "/t"),
            AzureCredentials::WebIdentity,
        ),
        (("OTHER", "x"), AzureCredentials::Instance),
    ] {
        let settings = of("az://backups", &[account, more]).unwrap();
        let DestinationAddress::Azure(azure) = settings.address else {
            panic!("a container")
        };
        assert_eq!(azure.credentials, expected, "{more:?}");
    }
    let error = of("az://backups", &[]).unwrap_err();
    assert!(
        error.contains("AZURE_STORAGE_ACCOUNT is not set"),
        "{error}"
    );
    for (variables, expected) in [
        (
            &[("GOOGLE_APPLICATION_CREDENTIALS", "/k")][..],
            GoogleCredentials::Environment,
        ),
        (&[], GoogleCredentials::Instance),
    ] {
        let settings = of("gs://backups", variables).unwrap();
        let DestinationAddress::Google(google) = settings.address else {
            panic!("a bucket")
        };
        assert_eq!(google.credentials, expected);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of all that is refused")]
fn what_cannot_be_meant_is_refused_with_the_way_out() {
    for (settings, what, way) in [
        (
            "plain = true",
            "the destination has no url",
            "s3://BUCKET/PREFIX",
        ),
        (
            "url = \"/mnt\"",
            "begins with s3://, az://, gs://, sftp:// or file:///",
            "file:///PATH",
        ),
        (
            "url = \"file:///var/backups/copies\"\nplain = true",
            "the backups themselves are in /var/backups",
            "another disk",
        ),
        (
            "url = \"file:///var\"\nplain = true",
            "the backups themselves are in /var/backups",
            "another disk",
        ),
        (
            "url = \"file:///mnt/x\"\nplain = true\n[destinations.e]\nurl = \"file:///mnt/x/\"\nplain = true",
            "the destination d is at the same place",
            "another bucket",
        ),
        ("url = \"file:///mnt/x\"", "no recipient", "key generate"),
        (
            "url = \"https://h/x\"",
            "begins with s3://, az://, gs://, sftp:// or file:///",
            "",
        ),
        ("url = \"file:///\"", "the path of a directory", ""),
        ("url = \"file://host/x\"", "the path of a directory", ""),
        ("url = \"s3:///b\"", "followed by the name of a bucket", ""),
        (
            "url = \"s3://b\"",
            "3 to 63 ASCII letters, digits, and . - _",
            "",
        ),
        (
            "url = \"az://c\"",
            "the name of a container has 3 to 63",
            "",
        ),
        (
            "url = \"az://a_b\"",
            "lower-case letters, digits, and single",
            "",
        ),
        ("url = \"az://Backups\"", "lower-case letters", ""),
        ("url = \"az://backups/../evil\"", "no . and no ..", ""),
        ("url = \"gs://b\"", "the name of a bucket has 3 to 222", ""),
        (
            "url = \"s3://store:9000/b\"",
            "a bucket has no port: endpoint",
            "",
        ),
        ("url = \"s3://bucket/a b\"", "a prefix is made of", ""),
        ("url = \"s3://bucket?x=y\"", "unexpected user, ? or #", ""),
        ("url = \"s3://bucket\"", "no credentials", "\"environment\""),
        (
            "url = \"s3://bucket\"\naccess_key_id = \"x\"",
            "the access key has no secret",
            "secret_key_file or credential",
        ),
        (
            "url = \"s3://bucket\"\ncredential = \"x\"",
            "the secret key has no id",
            "write access_key_id",
        ),
        (&format!("{KEYS}secret_key_file = \"/dev/null\""), "", ""),
        (
            &format!("{KEYS}credentials = \"instance\""),
            "the credentials come from elsewhere",
            "credentials = \"keys\"",
        ),
        (
            &format!("{KEYS}credentials = \"env\""),
            "invalid value \"env\"",
            "environment",
        ),
        (
            &format!("{KEYS}mounted = true"),
            "file:// has mounted",
            "remove it",
        ),
        (
            "url = \"sftp://box/x\"\nregion = \"y\"",
            "s3:// has region",
            "remove it",
        ),
        (
            &format!("{KEYS}known_hosts_file = \"/etc/x\""),
            "sftp:// has known_hosts_file",
            "remove it",
        ),
        (
            "url = \"sftp://box/x\"\nknown_hosts_file = \"/etc/$x\"",
            "ssh cannot be given a path",
            "rename",
        ),
        (
            "url = \"sftp://u:hunter2@box/x\"",
            "a password is in the address",
            "sftp://USER@HOST/PATH",
        ),
        (
            "url = \"sftp://box/x\"\n[destinations.e]\nurl = \"sftp://box/x/\"",
            "the destination d is at the same place",
            "another bucket",
        ),
        (
            "url = \"file:///x\"\nregion = \"y\"",
            "s3:// has region",
            "remove it",
        ),
        (
            "url = \"file:///x\"\nendpoint = \"https://h\"",
            "only a destination at s3://, az:// or gs:// has endpoint",
            "remove it",
        ),
        (
            &format!("{KEYS}account = \"abc\""),
            "az:// has account",
            "remove it",
        ),
        ("url = \"az://a.b.c\"", "the name of a container", ""),
        (
            "url = \"az://backups\"\ncredential = \"x\"",
            "the destination has no account",
            "account = \"NAME\"",
        ),
        (
            "url = \"az://backups\"\naccount = \"A b\"\ncredential = \"x\"",
            "invalid account",
            "",
        ),
        (
            "url = \"az://backups\"\naccount = \"abc\"",
            "no credentials",
            "\"web-identity\"",
        ),
        (
            "url = \"az://backups\"\naccount = \"abc\"\ncredential = \"x\"\nregion = \"y\"",
            "s3:// has region",
            "remove it",
        ),
        (
            "url = \"az://backups\"\naccount = \"abc\"\ncredential = \"x\"\nstorage_class = \"archive\"",
            "cannot be read",
            "Cool",
        ),
        (
            "url = \"az://backups\"\naccount = \"abc\"\ncredentials = \"instance\"\ncredential = \"x\"",
            "the credentials come from elsewhere",
            "credentials = \"keys\"",
        ),
        (
            "url = \"az://backups\"\naccount = \"abc\"\ncredential = \"x\"\nendpoint = \"https://u@h\"",
            "a user or a password",
            "remove it; secret_key_file",
        ),
        ("url = \"gs://bucket\"", "no credentials", "\"instance\""),
        (
            "url = \"gs://bucket\"\ncredentials = \"web-identity\"",
            "no credentials \"web-identity\"",
            "write \"instance\"",
        ),
        (
            "url = \"gs://bucket\"\ncredential = \"x\"\naccess_key_id = \"y\"",
            "s3:// has access_key_id",
            "remove it",
        ),
        (
            &format!("{KEYS}endpoint = \"s3.example.org\""),
            "invalid address",
            "endpoint = \"https://HOST:PORT\"",
        ),
        (
            &format!("{KEYS}endpoint = \"https://h/bucket\""),
            "unexpected path or query after the host",
            "",
        ),
        (
            &format!("{KEYS}proxy = \"http://u:p@h:3128\""),
            "a user or a password",
            "HTTPS_PROXY",
        ),
        (
            &format!("{KEYS}sse_key = \"x\""),
            "only the encryption \"aws:kms\" has a key",
            "",
        ),
        (
            &format!("{KEYS}sse = \"kms\""),
            "invalid value \"kms\"",
            "aws:kms",
        ),
        (&format!("{KEYS}region = \"a b\""), "invalid region", ""),
        (
            &format!("{KEYS}rate = \"20 MB\""),
            "invalid rate",
            "20 MB/s",
        ),
        (&format!("{KEYS}rate = \"20/s\""), "20 of what a second", ""),
        (&format!("{KEYS}timeout = \"2 hours\""), "so long", "1 hour"),
        (
            &format!("{KEYS}series = []"),
            "the list of series is empty",
            "",
        ),
        (&format!("{KEYS}series = [\"A B\"]"), "series", ""),
        (&format!("{KEYS}databases = [\"[\"]"), "invalid pattern", ""),
        (&format!("{KEYS}bucket = \"x\""), "unknown setting", ""),
        (
            &format!("{KEYS}retention = true"),
            "what is kept?",
            "keep = \"90 days\"",
        ),
        (
            &format!("{KEYS}retention = \"90 days\""),
            "a table of series with their rules",
            "",
        ),
        (
            &format!("{KEYS}retention.daily.kep = \"90 days\""),
            "destinations.d.retention.daily.kep",
            "keep",
        ),
        (
            &format!("{KEYS}retention.daily.keep = \"90\""),
            "destinations.d.retention.daily.keep",
            "",
        ),
        (
            &format!("{KEYS}retention.\"A B\".keep_last = 1"),
            "series",
            "",
        ),
    ] {
        let message = refused(&format!("database = \"a\"\n[destinations.d]\n{settings}"));
        assert!(message.contains(what), "{settings}\n{message}");
        assert!(message.contains(way), "{settings}\n{message}");
        assert!(message.contains("pgbackupd.toml:"), "{settings}\n{message}");
    }
    let message = refused(&format!("database = \"a\"\n[destinations.\"a b\"]\n{KEYS}"));
    assert!(
        message.contains("invalid name of a destination"),
        "{message}"
    );
    for name in ["", "a b", "-a", "a/b", "\u{e4}"] {
        let message = refused(&format!("database = \"a\"\nname = {name:?}"));
        assert!(message.contains("invalid name"), "{message}");
    }
    assert_eq!(
        accepted("database = \"a\"\nname = \"db1.x\"")
            .plan
            .name
            .as_deref(),
        Some("db1.x")
    );
}

#[test]
fn copies_are_kept_by_the_rules_of_their_series_or_by_the_destinations_own() {
    let kept = |settings: &str| {
        let text = format!(
            "database = \"a\"\nseries.manual.keep_last = 7\n{ENCRYPTION}[destinations.d]\n{KEYS}{settings}"
        );
        let plan = accepted(&text).plan;
        let rules = plan.destinations[0].retention.rules(&plan.retention);
        rules.map(|rules| {
            ["daily", "weekly", "manual"]
                .map(|name| rules[&name.parse::<Series>().unwrap()].clone())
        })
    };
    let days = |count: u64| Rules {
        within: Some(Duration::from_secs(count * 24 * 60 * 60)),
        ..Rules::default()
    };
    let last = |count| Rules {
        last: NonZeroU32::new(count),
        ..Rules::default()
    };
    assert_eq!(kept("retention = false"), None);
    assert_eq!(kept(""), Some([days(30), days(84), last(7)]));
    assert_eq!(
        kept("retention.daily.keep = \"90 days\"\nretention.manual.keep_last = 1"),
        Some([days(90), days(84), last(1)])
    );
    // Rules of its own replace those of the series, also by none.
    assert_eq!(
        kept("retention.daily.keep_last = 3\nretention.weekly.keep = false"),
        Some([last(3), Rules::default(), last(7)])
    );
}

#[test]
fn what_deserves_a_word_is_a_warning() {
    let warnings = |settings: &str| {
        let text = format!("database = \"a\"\n{ENCRYPTION}[destinations.d]\n{settings}");
        accepted(&text).plan.warnings.join("\n")
    };
    let said = warnings(&format!(
        "{KEYS}series = [\"dayly\", \"manual\", \"weekly\"]"
    ));
    assert_eq!(
        said,
        "destinations.d.series.0: no job makes the series dayly"
    );
    let said = warnings(&format!("{KEYS}retention.dayly.keep_last = 1"));
    assert_eq!(
        said,
        "destinations.d.retention.dayly: no job makes the series dayly"
    );
    let said = warnings(&format!(
        "{KEYS}series = [\"daily\"]\nretention.weekly.keep_last = 1"
    ));
    assert_eq!(
        said,
        "destinations.d.retention.weekly: no backups of the series weekly go there"
    );
    let said = warnings(&format!("{KEYS}endpoint = \"http://s3.example.org\""));
    assert!(
        said.contains("can be read and changed on its way"),
        "{said}"
    );
    for loopback in ["localhost:1", "127.0.0.1", "[::1]:8"] {
        assert_eq!(
            warnings(&format!("{KEYS}endpoint = \"http://{loopback}\"")),
            ""
        );
    }
}

#[test]
fn a_secret_key_that_others_can_read_is_refused_and_no_output_shows_one() {
    let etc = Etc::new("");
    let secret = etc.write("secret", "hunter2hunter2");
    let text = format!(
        "database = \"a\"\n{ENCRYPTION}[destinations.d]\nurl = \"s3://bucket\"\naccess_key_id = \"ID\"\n\
         secret_key_file = {secret:?}"
    );
    etc.write("pgbackupd.toml", &text);
    let message = etc.refusal();
    assert!(
        message.contains("can be read by others (mode 0644)"),
        "{message}"
    );
    set_mode(&secret, 0o600);
    let loaded = load(&etc.source()).unwrap();
    let listed: Vec<String> = loaded
        .settings
        .list()
        .into_iter()
        .filter(|setting| setting.key[0] == "destinations")
        .map(|setting| setting.value)
        .collect();
    assert!(listed.contains(&"\"s3://bucket\"".to_owned()), "{listed:?}");
    let shown = format!("{listed:?} {:?}", loaded.plan);
    assert!(!shown.contains("hunter2"), "{shown}");
    fs::remove_file(&secret).unwrap();
    let message = etc.refusal();
    assert!(message.contains("there is no file"), "{message}");
}
