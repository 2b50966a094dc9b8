//! What of a database's properties is not as it was recorded, in words. Pure.

use std::collections::BTreeSet;

use super::properties::{DatabaseProperties, Setting};

/// What of a database's properties is not as it was recorded, one phrase each. Its comment, its limit
/// of connections and its mark as a template come with its name: see [`differences_with_its_name`].
/// Where the directories of tablespaces stand is for each machine to say.
pub fn property_differences(
    recorded: &DatabaseProperties,
    found: &DatabaseProperties,
) -> Vec<String> {
    let mut phrases: Vec<String> = [
        ("encoding", &recorded.encoding, &found.encoding),
        (
            "locale provider",
            &recorded.locale_provider,
            &found.locale_provider,
        ),
        ("collation", &recorded.lc_collate, &found.lc_collate),
        ("character classes", &recorded.lc_ctype, &found.lc_ctype),
        ("owner", &recorded.owner, &found.owner),
    ]
    .into_iter()
    .filter(|(_, recorded, found)| recorded != found)
    .map(|(what, recorded, found)| phrase(what, recorded, found))
    .collect();
    if language_tag(recorded) != language_tag(found) {
        phrases.push(perhaps(
            "locale",
            recorded.locale.as_deref(),
            found.locale.as_deref(),
        ));
    }
    for (what, recorded, found) in [
        ("rules of the order", &recorded.icu_rules, &found.icu_rules),
        ("tablespace", &recorded.tablespace, &found.tablespace),
    ] {
        if recorded != found {
            phrases.push(perhaps(what, recorded.as_deref(), found.as_deref()));
        }
    }
    phrases.extend(privileges(recorded, found));
    let settings = |properties: &DatabaseProperties| -> BTreeSet<String> {
        properties.settings.iter().map(display_setting).collect()
    };
    let labels = |properties: &DatabaseProperties| -> BTreeSet<String> {
        let labels = properties.labels.iter();
        labels
            .map(|one| format!("{} for {}", one.label, one.provider))
            .collect()
    };
    phrases.extend(of_lists(
        "security label",
        &labels(recorded),
        &labels(found),
    ));
    phrases.extend(of_lists("setting", &settings(recorded), &settings(found)));
    phrases
}

/// The same of what a database gets when it takes another one's name.
pub fn differences_with_its_name(
    recorded: &DatabaseProperties,
    found: &DatabaseProperties,
) -> Vec<String> {
    let mut phrases = Vec::new();
    if recorded.comment != found.comment {
        phrases.push(perhaps(
            "comment",
            recorded.comment.as_deref(),
            found.comment.as_deref(),
        ));
    }
    if recorded.connection_limit != found.connection_limit {
        phrases.push(phrase(
            "limit of connections",
            &recorded.connection_limit.to_string(),
            &found.connection_limit.to_string(),
        ));
    }
    if recorded.is_template != found.is_template {
        phrases.push(if recorded.is_template {
            "it was a template, and is none".to_owned()
        } else {
            "it is a template, and was none".to_owned()
        });
    }
    phrases
}

fn phrase(what: &str, recorded: &str, found: &str) -> String {
    format!("its {what}: {recorded} recorded, {found} found")
}

fn perhaps(what: &str, recorded: Option<&str>, found: Option<&str>) -> String {
    phrase(what, recorded.unwrap_or("none"), found.unwrap_or("none"))
}

/// From version 16 on a server turns the name of ICU's locale into a language tag.
fn language_tag(properties: &DatabaseProperties) -> Option<String> {
    let locale = properties.locale.as_ref()?;
    Some(if properties.locale_provider == "icu" {
        locale.replace('_', "-").to_ascii_lowercase()
    } else {
        locale.clone()
    })
}

fn privileges(recorded: &DatabaseProperties, found: &DatabaseProperties) -> Vec<String> {
    match (&recorded.privileges, &found.privileges) {
        (None, None) => Vec::new(),
        (Some(recorded), Some(found)) => {
            let set = |items: &[String]| items.iter().cloned().collect();
            of_lists("privilege", &set(recorded), &set(found))
        }
        (None, Some(found)) => vec![phrase("privileges", "the usual", &found.join(" "))],
        (Some(recorded), None) => vec![phrase("privileges", &recorded.join(" "), "the usual")],
    }
}

/// The members of two lists whose order says nothing that are not in both.
fn of_lists(what: &str, recorded: &BTreeSet<String>, found: &BTreeSet<String>) -> Vec<String> {
    let missing = recorded.difference(found);
    let surplus = found.difference(recorded);
    missing
        .map(|one| format!("its {what} {one} is missing"))
        .chain(surplus.map(|one| format!("its {what} {one} was not recorded")))
        .collect()
}

fn display_setting(one: &Setting) -> String {
    match &one.role {
        None => one.setting.clone(),
        Some(role) => format!("{} for role {role}", one.setting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::SecurityLabel;
    use crate::postgres::recreate::tests::properties;

    #[test]
    fn what_did_not_come_back_is_named() {
        let mut recorded = properties();
        assert_eq!(property_differences(&recorded, &recorded), [""; 0]);
        assert_eq!(differences_with_its_name(&recorded, &recorded), [""; 0]);
        recorded.settings = vec![Setting {
            role: Some("a".to_owned()),
            setting: "work_mem=1MB".to_owned(),
        }];
        recorded.privileges = Some(vec!["=T/a".to_owned(), "b=c/a".to_owned()]);
        let found = DatabaseProperties {
            owner: "somebody".to_owned(),
            tablespace: Some("fast".to_owned()),
            privileges: Some(vec!["b=c/a".to_owned(), "=Tc/a".to_owned()]),
            settings: vec![Setting {
                role: None,
                setting: "work_mem=1MB".to_owned(),
            }],
            labels: vec![SecurityLabel {
                provider: "p".to_owned(),
                label: "secret".to_owned(),
            }],
            comment: Some("a comment".to_owned()),
            connection_limit: 3,
            is_template: true,
            ..recorded.clone()
        };
        assert_eq!(
            property_differences(&recorded, &found),
            [
                "its owner: own er recorded, somebody found",
                "its tablespace: pg_default recorded, fast found",
                "its privilege =T/a is missing",
                "its privilege =Tc/a was not recorded",
                "its security label secret for p was not recorded",
                "its setting work_mem=1MB for role a is missing",
                "its setting work_mem=1MB was not recorded",
            ]
        );
        assert_eq!(
            differences_with_its_name(&recorded, &found),
            [
                "its comment: none recorded, a comment found",
                "its limit of connections: -1 recorded, 3 found",
                "it is a template, and was none",
            ]
        );
        recorded.privileges = None;
        assert_eq!(
            property_differences(&recorded, &found)[2],
            "its privileges: the usual recorded, b=c/a =Tc/a found"
        );
    }

    #[test]
    fn a_locale_of_icu_is_the_same_in_both_spellings() {
        let with = |provider: &str, locale: &str| DatabaseProperties {
            locale_provider: provider.to_owned(),
            locale: Some(locale.to_owned()),
            ..properties()
        };
        assert_eq!(
            property_differences(&with("icu", "de_AT"), &with("icu", "de-AT")),
            [""; 0]
        );
        assert_eq!(
            property_differences(&with("icu", "de_AT"), &with("icu", "de-DE")),
            ["its locale: de_AT recorded, de-DE found"]
        );
        assert_eq!(
            property_differences(&with("builtin", "C_UTF-8"), &with("builtin", "C.UTF-8")).len(),
            1
        );
    }
}
