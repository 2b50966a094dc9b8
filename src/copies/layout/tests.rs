use chrono::{TimeZone as _, Utc};

use super::{
    LayoutError, Place, host, host_of, server_of, status, status_at, status_signature, status_time,
};
use crate::destination::Key;

#[test]
fn a_place_is_a_key_and_reads_back() {
    let place = Place::new("db1.example", "main", "sales/2026 ü").unwrap();
    let key = place.key();
    assert_eq!(key.as_str(), "v1/db1.example/main/sales=2f2026=20=c3=bc");
    assert_eq!(place.to_string(), key.as_str());
    assert_eq!(Place::of(&key), Some(place));
    for text in [
        "v1",
        "v1/a",
        "v1/a/b",
        "v1/a/b/c/d",
        "v2/a/b/c",
        "v1/a/b/=2F",
        "v1/=61/b/c",
    ] {
        assert_eq!(Place::of(&Key::new(text).unwrap()), None, "{text}");
    }
}

#[test]
fn a_name_that_makes_no_key_is_refused_with_the_database_in_the_error() {
    let empty = Place::new("", "main", "app").unwrap_err();
    assert_eq!(empty, LayoutError::Empty("host"));
    let long = Place::new("db1", &"ü".repeat(50), "app")
        .unwrap_err()
        .to_string();
    assert!(
        long.starts_with("cannot copy database \"app\": the server"),
        "{long}"
    );
    let place = Place::new("db1", &"a".repeat(200), &"ü".repeat(31)).unwrap();
    assert_eq!(place.check_length(100), Ok(()));
    let long = place.check_length(300).unwrap_err().to_string();
    assert!(long.contains("cannot copy database \"üüü"), "{long}");
}

#[test]
fn what_belongs_to_a_host_reads_back() {
    let name = "db 1";
    let key = host(name).unwrap();
    assert_eq!(key.as_str(), "v1/db=201");
    assert_eq!(host_of(&key).as_deref(), Some(name));
    assert_eq!(host_of(&Key::new("v1/a/b").unwrap()), None);
    assert_eq!(
        server_of(&Key::new("v1/a/b=20").unwrap()).as_deref(),
        Some("b ")
    );
    assert_eq!(server_of(&key), None);
    let at = Utc.with_ymd_and_hms(2026, 11, 30, 9, 19, 44).unwrap();
    let key = status_at(name, at + chrono::TimeDelta::milliseconds(5)).unwrap();
    assert_eq!(key.as_str(), "v1/db=201/status/20261130T091944Z.json");
    assert_eq!(status_time(&key), Some(at));
    let signature = status_signature(&key).unwrap();
    assert_eq!(signature.as_str(), format!("{key}.sig"));
    assert_eq!(
        (status_time(&signature), status_signature(&signature)),
        (None, None)
    );
    assert!(key.as_str().starts_with(status(name).unwrap().as_str()));
    for text in [
        "v1/a/status/x.json",
        "v1/a/b/20261130T091944Z.json",
        "v1/a/status/20261130T091944Z",
    ] {
        assert_eq!(status_time(&Key::new(text).unwrap()), None, "{text}");
    }
    assert!(host("").is_err());
}
