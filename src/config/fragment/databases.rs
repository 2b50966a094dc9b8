//! The databases of a server, as they are written: a word, or a list of names and tables.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::MOST_THREADS;
use crate::config::plan::{Compression, Format};
use crate::config::scalar::{AbsolutePath, Count, DatabaseName, Word};

/// The databases of a server.
#[derive(Clone, Debug)]
pub(in crate::config) enum DatabaseList {
    /// All that accept connections and are no templates.
    All,
    /// These.
    Named(Vec<DatabaseFragment>),
}

/// A database of a list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct DatabaseFragment {
    /// Its name on the server.
    pub(in crate::config) name: Option<DatabaseName>,
    /// Where its backups stand; by default its name under the server's directory.
    pub(in crate::config) directory: Option<AbsolutePath>,
    /// The shape of its dump.
    pub(in crate::config) format: Option<Word<Format>>,
    /// How its dump is compressed.
    pub(in crate::config) compression: Option<Word<Compression>>,
    /// The compressor's level.
    pub(in crate::config) level: Option<Count<255>>,
    /// Threads that compress.
    pub(in crate::config) threads: Option<Count<MOST_THREADS>>,
    /// Connections that dump at the same time, in directory format, and that restore, in every
    /// format.
    pub(in crate::config) jobs: Option<Count<MOST_THREADS>>,
    /// Whether roles and tablespaces of the cluster are part of the backup.
    pub(in crate::config) globals: Option<bool>,
}

impl<'de> Deserialize<'de> for DatabaseList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = DatabaseList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of databases, or \"all\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<DatabaseList, E> {
                if text == "all" {
                    Ok(DatabaseList::All)
                } else {
                    Err(E::custom(format!(
                        "expected a list of databases, or \"all\"\nfor one database write \
                         database = {text:?}, or databases = [{text:?}]"
                    )))
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<DatabaseList, A::Error> {
                let mut databases = Vec::new();
                while let Some(Entry(database)) = list.next_element()? {
                    databases.push(database);
                }
                Ok(DatabaseList::Named(databases))
            }
        }

        deserializer.deserialize_any(List)
    }
}

/// An entry of a list of databases: a name, or a table.
struct Entry(DatabaseFragment);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;

        impl<'de> Visitor<'de> for NameOrTable {
            type Value = DatabaseFragment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a database's name in quotes, or a table with its name")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<DatabaseFragment, E> {
                let name = DatabaseName::deserialize(serde::de::value::StrDeserializer::new(text))?;
                Ok(DatabaseFragment {
                    name: Some(name),
                    ..DatabaseFragment::default()
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<DatabaseFragment, A::Error> {
                DatabaseFragment::deserialize(MapAccessDeserializer::new(table))
            }
        }

        deserializer.deserialize_any(NameOrTable).map(Entry)
    }
}

impl JsonSchema for DatabaseList {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DatabaseList".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let name = generator.subschema_for::<DatabaseName>();
        let table = generator.subschema_for::<DatabaseFragment>();
        schemars::json_schema!({
            "anyOf": [
                { "const": "all" },
                { "type": "array", "minItems": 1, "items": { "anyOf": [name, table] } }
            ]
        })
    }
}
