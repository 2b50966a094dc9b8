use super::*;
use crate::config::PasswordSource;

fn settings() -> SftpSettings {
    SftpSettings {
        host: "box".to_owned(),
        port: Some(2222),
        user: Some("db1".to_owned()),
        path: "/srv".to_owned(),
        identity: None,
        known_hosts_file: Some("/etc/pgbackupd/known hosts".into()),
        ssh_config_file: None,
    }
}

fn error(said: &str) -> DestinationError {
    of_ssh(said, &settings()).while_doing("list x".to_owned())
}

const UNKNOWN: &str = "No ED25519 host key is known for [10.0.0.7]:23 and you have requested strict checking.\r\n\
                       Host key verification failed.\r\n";

const CHANGED: &str = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r\n\
    @    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n\
    The fingerprint for the ED25519 key sent by the remote host is\nSHA256:z8qqIw3TXU2BDwXCxibFKBnAUty.\r\n\
    Add correct host key in /etc/kh to get rid of this message.\r\n\
    Offending ED25519 key in /etc/kh:7\r\n  remove with:\r\n\
    \x20 ssh-keygen -f \"/etc/kh\" -R \"[10.0.0.7]:23\"\r\nHost key verification failed.\r\n";

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_ssh_says_has_its_kind_and_its_way_out() {
    use DestinationErrorKind::{Denied, Settings, Unavailable};
    for (said, kind, parts) in [
        (
            UNKNOWN,
            Settings,
            &[
                "the host key of 10.0.0.7 is not known",
                "`ssh-keyscan -p 23 10.0.0.7 | tee host_keys | ssh-keygen -lf -`",
                "`cat host_keys >>'/etc/pgbackupd/known hosts'`",
            ][..],
        ),
        (
            CHANGED,
            Denied,
            &[
                "it is SHA256:z8qqIw3TXU2BDwXCxibFKBnAUty, and line 7 of /etc/kh has another",
                "`ssh-keygen -R '[10.0.0.7]:23' -f /etc/kh`",
            ],
        ),
        (
            "db1@box: Permission denied (publickey).",
            Denied,
            &["Permission denied (publickey)", "hint: ", "identity_file"],
        ),
        (
            "Load key \"/k\": error in libcrypto\ndb1@box: Permission denied (publickey).",
            Settings,
            &["Load key", "identity_file"],
        ),
        (
            "Load key \"/k\": Permission denied\nclient_loop: send disconnect: Broken pipe",
            Unavailable,
            &["Broken pipe"],
        ),
        (
            "subsystem request failed on channel 0",
            Denied,
            &["Subsystem sftp internal-sftp"],
        ),
        (
            "/etc/c: line 1: Bad configuration option: foo",
            Settings,
            &["/etc/c: line 1"],
        ),
        (
            "ssh: connect to host box port 1: Connection refused",
            Unavailable,
            &["ssh says", "Connection refused"],
        ),
        (
            "ssh: Could not resolve hostname box: Name or service not known",
            Unavailable,
            &["Could not resolve hostname box"],
        ),
        (
            "Connection timed out during banner exchange",
            Unavailable,
            &["timed out"],
        ),
        ("", Unavailable, &["the connection was closed"]),
    ] {
        let error = error(said);
        assert_eq!(error.kind, kind, "{error}");
        for part in parts {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }
}

#[test]
fn without_a_file_of_its_own_the_key_belongs_where_every_user_has_it() {
    let usual = SftpSettings {
        known_hosts_file: None,
        port: None,
        ..settings()
    };
    let said = UNKNOWN.replace("[10.0.0.7]:23", "box");
    let error = of_ssh(&said, &usual).while_doing("list x".to_owned());
    let text = error.to_string();
    assert!(text.contains("`ssh-keyscan box | tee"), "{text}");
    assert!(text.contains(">>/etc/ssh/ssh_known_hosts`"), "{text}");
}

#[test]
fn who_is_not_let_in_is_told_what_the_server_needs() {
    let refused = "db1@box: Permission denied (publickey).";
    for (identity, part) in [
        (
            PasswordSource::File("/etc/k".into()),
            "`ssh-keygen -yf /etc/k`",
        ),
        (
            PasswordSource::Credential("c".to_owned()),
            "authorized_keys of db1",
        ),
    ] {
        let settings = SftpSettings {
            identity: Some(identity),
            ..settings()
        };
        let error = of_ssh(refused, &settings).while_doing("list x".to_owned());
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_terminal_obeys_nothing_of_what_a_server_says() {
    let error = error("\u{1b}[2Jbye");
    assert!(!error.to_string().contains('\u{1b}'), "{error}");
    let status = Status {
        code: Status::FAILURE,
        message: "\u{1b}[2J".to_owned(),
    };
    let error = Fault::Refused(status).while_doing("list x".to_owned());
    assert!(!error.to_string().contains('\u{1b}'), "{error}");
}

#[test]
fn a_refusal_has_a_kind_also_by_codes_of_later_versions() {
    use DestinationErrorKind::{Denied, Exists, Full, Missing, Unavailable};
    for (code, kind, words) in [
        (Status::MISSING, Missing, "No such file"),
        (Status::DENIED, Denied, "Permission denied"),
        (Status::FAILURE, Unavailable, "Failure"),
        (Status::EXISTS, Exists, "Failure"),
        (Status::FULL, Full, "free space"),
        (Status::QUOTA, Full, "raise the quota"),
        (Status::UNSUPPORTED, Denied, "Failure"),
        (99, Unavailable, "its log"),
    ] {
        let status = Status {
            code,
            message: String::new(),
        };
        let (found, cause) = refusal(&status);
        assert_eq!(found, kind, "{code}: {cause}");
        assert!(cause.contains(words), "{code}: {cause}");
    }
}
