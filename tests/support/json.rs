//! The documents that commands print.

use std::collections::BTreeSet;

use serde_json::Value;

/// The paths of all keys in a document: `[].backups[].name`.
pub(crate) fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => {
            for item in items {
                keys(item, &format!("{path}[]"), found);
            }
        }
        Value::Object(members) => {
            for (key, value) in members {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{key}");
                found.insert(path.clone());
                keys(value, &path, found);
            }
        }
        _ => {}
    }
}
