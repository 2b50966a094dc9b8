//! How a store that speaks S3 is reached, and as whom: an authority of its own, a proxy, and the roles of a machine,
//! of a container and of a token.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{SecondsFormat, TimeDelta, Utc};
use pgbackupd::config::{DestinationAddress, DestinationSettings};
use pgbackupd::destination::{DestinationErrorKind, Store, open};

use crate::support::certificates::Certificates;
use crate::support::contract::key;
use crate::support::doubles::Double;
use crate::support::stores::{BUCKET, ID, SECRET, SeaweedFs};

/// A bucket by the usual environment, and the proxy that only the configuration has.
fn bucket(variables: &[(&str, &str)], proxy: Option<u16>) -> Arc<dyn Store> {
    let variables: BTreeMap<String, String> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut settings = DestinationSettings::of_url(&format!("s3://{BUCKET}"), &variables).unwrap();
    settings.timeout = Duration::from_secs(5);
    if let DestinationAddress::S3(s3) = &mut settings.address {
        s3.proxy = proxy.map(|port| format!("http://127.0.0.1:{port}"));
    }
    open(&settings, &variables).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_the_stores_own_is_trusted_where_it_is_named_and_proxies_are_used() {
    let certificates = Certificates::make("localhost");
    let Some((server, https)) = SeaweedFs::start_with_tls(&certificates) else {
        return;
    };
    let (secure, clear) = (
        format!("https://localhost:{https}"),
        format!("http://localhost:{}", server.port()),
    );
    let authority = certificates.path("ca.crt");
    let authority = authority.to_str().unwrap();
    let to = |endpoint: &str, authority: Option<&str>, proxy: Option<u16>| {
        let mut variables = vec![
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ACCESS_KEY_ID", ID),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
        ];
        variables.extend(authority.map(|path| ("AWS_CA_BUNDLE", path)));
        bucket(&variables, proxy)
    };
    let error = to(&secure, None, None)
        .head(&key("v1/a"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Unavailable, "{error}");
    assert!(error.cause.contains("UnknownIssuer"), "{error}");

    let (one, body) = (key("v1/a"), Bytes::from_static(b"as sent"));
    to(&secure, Some(authority), None)
        .put_new(&one, body.clone())
        .await
        .unwrap();
    let proxy = Double::proxy();
    let by_proxy = to(&secure, Some(authority), Some(proxy.port()));
    assert_eq!(by_proxy.get(&one, None).await.unwrap(), body);
    // Of what is encrypted, it sees where it goes.
    assert_eq!(
        proxy.seen(),
        [format!("CONNECT localhost:{https} HTTP/1.1")]
    );
    let proxy = Double::proxy();
    let by_proxy = to(&clear, None, Some(proxy.port()));
    assert_eq!(by_proxy.get(&one, None).await.unwrap(), body);
    let seen = proxy.seen();
    assert!(
        seen[0].starts_with(&format!("GET {clear}/{BUCKET}/v1/a")),
        "{seen:?}"
    );

    let nobody = Double::answering(|_, _| (502, String::new()));
    for endpoint in [&secure, &clear] {
        let to = to(endpoint, Some(authority), Some(nobody.port()));
        let error = to.get(&one, None).await.unwrap_err();
        assert_eq!(error.kind, DestinationErrorKind::Unavailable, "{error}");
    }
}

/// A bucket with one object for whoever has the keys of a role; the metadata services of a machine and of a
/// container, and the issuer of tokens, which give them for so long.
fn roles(ttl: TimeDelta) -> Double {
    Double::answering(move |head, body| {
        let expiration = (Utc::now() + ttl).to_rfc3339_opts(SecondsFormat::Secs, true);
        let lower = head.to_ascii_lowercase();
        let line = head.lines().next().unwrap_or_default();
        let keys = || {
            (
                200,
                format!(
                    "{{\"Code\": \"Success\", \"AccessKeyId\": \"ASIAROLE\", \"SecretAccessKey\": \"hunter2\", \
                 \"Token\": \"of-the-role\", \"Expiration\": \"{expiration}\"}}"
                ),
            )
        };
        if line.starts_with("PUT /latest/api/token ") {
            (200, "of-metadata".to_owned())
        } else if line.contains("/security-credentials/ ") {
            (200, "backup".to_owned())
        } else if line.contains("/security-credentials/backup ") {
            if lower.contains("x-aws-ec2-metadata-token: of-metadata") {
                keys()
            } else {
                (401, String::new())
            }
        } else if line.starts_with("GET /container ") {
            if lower.contains("authorization: of-the-container") {
                keys()
            } else {
                (401, String::new())
            }
        } else if line.starts_with("POST /") {
            let asked = format!("{line}{body}");
            if !asked.contains("WebIdentityToken=of-the-pod") {
                return (403, "<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>".to_owned());
            }
            (
                200,
                format!(
                    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
                 <SessionToken>of-the-role</SessionToken><SecretAccessKey>hunter2</SecretAccessKey>\
                 <AccessKeyId>ASIAROLE</AccessKeyId><Expiration>{expiration}</Expiration></Credentials>\
                 </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
                ),
            )
        } else if lower.contains("credential=asiarole/")
            && lower.contains("x-amz-security-token: of-the-role")
        {
            (200, "as sent".to_owned())
        } else {
            (
                403,
                "<Error><Code>AccessDenied</Code><Message>no</Message></Error>".to_owned(),
            )
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roles_of_machines_containers_and_tokens_are_asked_for_and_renewed() {
    let home = tempfile::tempdir().unwrap();
    let token = |text: &str| {
        let path = home.path().join(text);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (of_pod, of_container) = (token("of-the-pod"), token("of-the-container"));
    for kind in ["machine", "container", "token"] {
        for (ttl, asked) in [(TimeDelta::hours(6), 1), (TimeDelta::seconds(20), 2)] {
            let double = roles(ttl);
            let at = format!("http://127.0.0.1:{}", double.port());
            let container = format!("{at}/container");
            let mut variables = vec![("AWS_ENDPOINT_URL", at.as_str())];
            variables.extend(match kind {
                "machine" => vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", at.as_str())],
                "container" => vec![
                    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.as_str()),
                    (
                        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                        of_container.as_str(),
                    ),
                ],
                _ => vec![
                    ("AWS_WEB_IDENTITY_TOKEN_FILE", of_pod.as_str()),
                    ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/backup"),
                    ("AWS_ENDPOINT_URL_STS", at.as_str()),
                ],
            });
            let store = bucket(&variables, None);
            for number in 0..2 {
                // What was given a moment ago is used once more, whatever its time is.
                if number > 0 {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                assert_eq!(
                    store.get(&key("v1/a"), None).await.unwrap(),
                    "as sent",
                    "{kind}"
                );
            }
            let gives_keys = |line: &&String| {
                line.contains("/backup ")
                    || line.contains("/container ")
                    || line.starts_with("POST ")
            };
            let seen = double.seen();
            assert_eq!(
                seen.iter().filter(gives_keys).count(),
                asked,
                "{kind} {ttl}: {seen:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_refused_or_missing_is_a_sentence_without_its_token() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("token");
    fs::write(&path, "hunter2").unwrap();
    let double = roles(TimeDelta::hours(6));
    let none = Double::answering(|_, _| (404, "<html>no role</html>".to_owned()));
    let at = |double: &Double| format!("http://127.0.0.1:{}", double.port());
    let (store, nowhere) = (at(&double), at(&none));
    let token = path.to_str().unwrap();
    for variables in [
        vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", nowhere.as_str())],
        vec![
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/backup"),
            ("AWS_ENDPOINT_URL_STS", store.as_str()),
        ],
    ] {
        let mut variables = variables;
        variables.push(("AWS_ENDPOINT_URL", store.as_str()));
        let error = bucket(&variables, None)
            .get(&key("v1/a"), None)
            .await
            .unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_eq!(error.kind, DestinationErrorKind::Denied, "{error}");
    }
    let variables: BTreeMap<String, String> = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token"),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/backup"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let settings = DestinationSettings::of_url(&format!("s3://{BUCKET}"), &variables).unwrap();
    let error = open(&settings, &variables).map(drop).unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Settings, "{error}");
    assert!(
        error.cause.contains("cannot read /nonexistent/token"),
        "{error}"
    );
}

/// A page of a listing.
fn page(names: &[&str], next: Option<&str>) -> String {
    let entry = |name: &&str| {
        format!(
            "<Contents><Key>{name}</Key><LastModified>2025-07-09T00:00:00Z</LastModified><Size>1</Size></Contents>"
        )
    };
    let entries: String = names.iter().map(entry).collect();
    let next = next.map(|next| format!("<NextContinuationToken>{next}</NextContinuationToken>"));
    let next = next.unwrap_or_default();
    format!("<ListBucketResult>{entries}{next}</ListBucketResult>")
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", ID), ("AWS_SECRET_ACCESS_KEY", SECRET)];

#[tokio::test(flavor = "multi_thread")]
async fn objects_with_strange_names_hide_no_others_and_a_listing_that_leads_to_itself_ends() {
    for (names, next, expected) in [
        (&["v1/a", "v1//x", "v1/../x", "v1/b"][..], None, Some(2)),
        (&[], None, Some(0)),
        (&["v1/a"], Some("same"), None),
        (&[], Some("same"), None),
    ] {
        let (names, at) = (names.to_vec(), next);
        let double = Double::answering(move |_, _| (200, page(&names, at)));
        let at = format!("http://127.0.0.1:{}", double.port());
        let store = bucket(&[&KEYS[..], &[("AWS_ENDPOINT_URL", &at)]].concat(), None);
        match (store.list(&key("v1")).await, expected) {
            (Ok(found), Some(expected)) => assert_eq!(found.len(), expected, "{found:?}"),
            (Err(error), None) => assert!(error.cause.contains("does not go on"), "{error}"),
            (found, _) => panic!("{next:?}: {found:?}"),
        }
        assert!(double.seen().len() <= 3, "{:?}", double.seen());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_repeats_of_a_request_shows_no_token() {
    let double = Double::answering(|head, _| {
        let said = head.replace(['<', '&', '>'], " ");
        (
            403,
            format!("<Error><Code>AccessDenied</Code><Message>{said}</Message></Error>"),
        )
    });
    let at = format!("http://127.0.0.1:{}", double.port());
    let store = bucket(
        &[
            &KEYS[..],
            &[
                ("AWS_ENDPOINT_URL", &at),
                ("AWS_SESSION_TOKEN", "aBcD12eF34gH56iJ78kL"),
            ],
        ]
        .concat(),
        None,
    );
    let azure: BTreeMap<String, String> = [
        ("AZURE_STORAGE_ACCOUNT", "acctest"),
        ("AZURE_STORAGE_SERVICE_ENDPOINT", at.as_str()),
        (
            "AZURE_STORAGE_SAS_TOKEN",
            "sv=2023-11-03&sr=c&sp=rcl&sig=aB1cD2eF3gH4iJ5kL6%2Bm%3D",
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let settings = DestinationSettings::of_url("az://backups", &azure).unwrap();
    let azure = open(&settings, &azure).unwrap();
    for store in [store, azure] {
        let listed = store.list(&key("v1")).await.unwrap_err();
        let put = store
            .put_new(&key("v1/a"), Bytes::from_static(b"x"))
            .await
            .unwrap_err();
        for error in [listed, put] {
            let text = error.to_string();
            assert!(text.contains("AccessDenied"), "{text}");
            for secret in ["aBcD12eF34", "aB1cD2eF3g"] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }
}
