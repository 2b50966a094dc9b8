//! The example that ships and those of the documentation: that they are true.

use super::Etc;
use crate::config::{SettingSource, load, schema};

/// The example with its settings made live: `#key = value` has the default, and with `examples`
/// also `#? key = value`, which has none.
fn example(examples: bool) -> String {
    include_str!("../../../config/pgbackupd.toml")
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if setting.starts_with(|c: char| c.is_ascii_alphabetic()) => setting,
            Some(example) if examples => example.strip_prefix("? ").unwrap_or(line),
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_example_that_ships_is_exactly_the_defaults() {
    let defaults = settings_of("");
    assert!(defaults.len() > 20, "the defaults are not empty");
    assert_eq!(
        settings_of(include_str!("../../../config/pgbackupd.toml")),
        defaults,
        "as it ships"
    );
    // Every default must be *written* in the example, not only be in force beneath it.
    let etc = Etc::new(&example(false));
    let loaded = load(&etc.with(&[("PGDATABASE", "x")])).unwrap();
    for setting in loaded.settings.list() {
        let from_file = matches!(setting.source, SettingSource::File { .. });
        assert!(from_file, "{} is not in the example", setting.key.join("."));
    }
    assert_eq!(
        settings_of(&example(false)),
        defaults,
        "with its settings made live"
    );
}

fn settings_of(text: &str) -> Vec<(String, String)> {
    let etc = Etc::new(text);
    let loaded = load(&etc.with(&[("PGDATABASE", "x")])).unwrap_or_else(|error| panic!("{error}"));
    loaded
        .settings
        .list()
        .into_iter()
        .map(|s| (s.key.join("."), s.value))
        .collect()
}

#[test]
fn every_setting_of_the_schema_occurs_in_the_example() {
    fn keys(schema: &serde_json::Value, found: &mut Vec<String>) {
        match schema {
            serde_json::Value::Object(object) => {
                if let Some(serde_json::Value::Object(properties)) = object.get("properties") {
                    found.extend(properties.keys().cloned());
                }
                object.values().for_each(|value| keys(value, found));
            }
            serde_json::Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    keys(schema().as_value(), &mut found);
    assert!(found.len() > 60, "{found:?}");
    let text = include_str!("../../../config/pgbackupd.toml");
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words: std::collections::BTreeSet<&str> = text
        .lines()
        .filter(|line| line.contains(" = ") || line.contains('['))
        .flat_map(|line| line.split(|c| !is_word(c)))
        .collect();
    let missing: Vec<&String> = found
        .iter()
        .filter(|key| !words.contains(key.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in the example: {missing:?}");
}

#[test]
fn the_examples_of_the_example_are_sound() {
    let etc = Etc::new(&example(true));
    load(&etc.source()).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_example_of_the_documentation_is_sound() {
    let text = include_str!("../../../docs/configuration.md");
    let examples: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(examples.len() > 5, "{examples:?}");
    for example in examples {
        let etc = Etc::new(example);
        let loaded = load(&etc.with(&[("PGDATABASE", "x")]));
        let loaded = loaded.unwrap_or_else(|error| panic!("{example}\n{error}"));
        assert_eq!(loaded.plan.warnings, [""; 0], "{example}");
    }
}
