//! Ports of one host or of several.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// One port, or one for each of several hosts, with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ports(pub(crate) String);

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl Visitor<'_> for List {
            type Value = Ports;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port from 1 to 65535")
            }

            fn visit_i64<E: Error>(self, port: i64) -> Result<Ports, E> {
                self.visit_str(&port.to_string())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Ports, E> {
                let is_port = |port: &str| port.trim().parse::<u16>().is_ok_and(|port| port != 0);
                if text.split(',').all(is_port) {
                    Ok(Ports(text.to_owned()))
                } else {
                    Err(E::custom(format!(
                        "a port is a number from 1 to 65535, not {text}"
                    )))
                }
            }
        }

        deserializer.deserialize_any(List)
    }
}

impl serde::Serialize for Ports {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl JsonSchema for Ports {
    fn schema_name() -> Cow<'static, str> {
        "Ports".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 65535 },
                { "type": "string", "pattern": "^[0-9]+( *, *[0-9]+)*$" }
            ]
        })
    }
}
