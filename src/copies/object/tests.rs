use proptest::prelude::*;
use uuid::Uuid;

use super::{CopyName, FactKind, LONGEST_SLUG, Object, VolumeName};
use crate::copies::Place;
use crate::destination::Key;
use crate::repository::{Slug, Stem};

const RUN: &str = "01934567-89ab-7def-8123-456789abcdef";

fn place() -> Place {
    Place::new("db1", "main", "app").unwrap()
}

fn stem(reason: &str) -> Stem {
    let stem: Stem = "manual_20261130_020000".parse().unwrap();
    Stem {
        slug: Slug::of(reason),
        ..stem
    }
}

fn run() -> Uuid {
    RUN.parse().unwrap()
}

#[test]
fn the_reason_is_in_the_name_of_a_plain_copy_only_and_only_if_it_is_short() {
    let name = |reason: &str, is_encrypted| CopyName::new(&stem(reason), run(), is_encrypted);
    for (name, text) in [
        (name("upgrade", false), "manual_upgrade_20261130_020000"),
        (name("upgrade", true), "manual_20261130_020000"),
        (name("für x", false), "manual_f=c3=bcr-x_20261130_020000"),
        (name(&"ü".repeat(30), false), "manual_20261130_020000"),
    ] {
        assert_eq!(name.to_string(), format!("{text}.{RUN}"));
        assert_eq!(name.to_string().parse(), Ok(name));
    }
}

/// Every name of an object, as it stands behind the place's key.
#[test]
fn every_object_has_one_name() {
    let copy: CopyName = format!("backup_20261130_020000.{RUN}").parse().unwrap();
    let volume: VolumeName = "backup_20261130_020000.sql.gz.12-0123456789abcdef.age"
        .parse()
        .unwrap();
    assert_eq!(
        (volume.file(), volume.number()),
        ("backup_20261130_020000.sql.gz", 12)
    );
    assert!(volume.is_encrypted());
    let (attempt, id, kind) = (run(), run(), FactKind::Unpin);
    for (object, end) in [
        (
            Object::Volume(volume),
            "/backup_20261130_020000.sql.gz.12-0123456789abcdef.age".to_owned(),
        ),
        (Object::Manifest { attempt }, format!(".{RUN}.json")),
        (Object::Signature { attempt }, format!(".{RUN}.json.sig")),
        (Object::Fact { kind, id }, format!(".unpin.{RUN}.json")),
        (
            Object::FactSignature { kind, id },
            format!(".unpin.{RUN}.json.sig"),
        ),
    ] {
        let key = place().object(&copy, &object);
        assert_eq!(
            key.as_str(),
            format!("v1/db1/main/app/backup_20261130_020000.{RUN}{end}")
        );
        assert_eq!(place().parse(&key), Some((copy.clone(), object)));
    }
}

#[test]
fn any_other_name_is_unknown() {
    let upper = RUN.to_uppercase();
    for end in [
        String::new(),
        format!(".{RUN}"),
        format!(".{upper}.json"),
        format!(".{RUN}.json.sig.sig"),
        format!(".{RUN}.jsonx"),
        format!(".other.{RUN}.json"),
        "/x".to_owned(),
        "/x.0-0123456789abcdef".to_owned(),
        "/x.01-0123456789abcdef".to_owned(),
        "/x.-1-0123456789abcdef".to_owned(),
        "/x.1-0123456789ABCDEF".to_owned(),
        "/x.1-123".to_owned(),
        "/x.1-0123456789abcdef/y".to_owned(),
        "/=61.1-0123456789abcdef".to_owned(),
    ] {
        let key = format!("v1/db1/main/app/backup_20261130_020000.{RUN}{end}");
        assert_eq!(place().parse(&Key::new(&key).unwrap()), None, "{key}");
    }
    for key in [
        format!("v1/db1/main/other/backup_20261130_020000.{RUN}.{RUN}.json"),
        format!("v1/db1/main/app/backup.{RUN}.{RUN}.json"),
        format!("v1/db1/main/app/=62ackup_20261130_020000.{RUN}.{RUN}.json"),
        "v1/db1/main/app".to_owned(),
    ] {
        assert_eq!(place().parse(&Key::new(&key).unwrap()), None, "{key}");
    }
}

proptest! {
    #[test]
    fn any_reason_makes_names_of_files_that_read_back(reason in any::<String>(), number in 1_u32..) {
        let copy = CopyName::new(&stem(&reason), Uuid::now_v7(), false);
        let volume = VolumeName::fresh(&copy.file(".globals.gz"), number, true);
        let objects = [
            Object::Volume(volume),
            Object::FactSignature { kind: FactKind::Unpin, id: Uuid::now_v7() },
        ];
        for object in objects {
            let key = place().object(&copy, &object);
            prop_assert!(key.as_str().split('/').all(|segment| segment.len() <= 255));
            prop_assert!(key.as_str().len() - place().to_string().len() < 2 * (LONGEST_SLUG + 100) + 80);
            prop_assert_eq!(place().parse(&key), Some((copy.clone(), object)));
        }
    }
}
