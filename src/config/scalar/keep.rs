//! A duration, or that age keeps nothing.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::StrDeserializer;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::TimeSpan;

/// For how long a series keeps its backups by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Backups younger than this.
    For(Duration),
    /// `false`: age keeps nothing by itself.
    NotByAge,
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Age;

        impl Visitor<'_> for Age {
            type Value = Keep;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration in quotes, such as \"30 days\", or false")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Keep, E> {
                TimeSpan::deserialize(StrDeserializer::new(text)).map(|span| Keep::For(span.0))
            }

            fn visit_bool<E: Error>(self, by_age: bool) -> Result<Keep, E> {
                if by_age {
                    Err(E::custom("for how long?\nwrite a duration: \"30 days\""))
                } else {
                    Ok(Keep::NotByAge)
                }
            }
        }

        deserializer.deserialize_any(Age)
    }
}

impl JsonSchema for Keep {
    fn schema_name() -> Cow<'static, str> {
        "Keep".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let span = generator.subschema_for::<TimeSpan>();
        json_schema!({ "anyOf": [span, { "const": false }] })
    }
}
