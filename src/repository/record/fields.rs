//! The fields of a JSON object in their order, each value as it is written.

use std::fmt;

use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Fields in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    /// Takes a field out; where there is none, it has its default.
    pub(super) fn take<T: DeserializeOwned + Default, E: Error>(
        &mut self,
        key: &'static str,
    ) -> Result<T, E> {
        Ok(self.find(key)?.unwrap_or_default())
    }

    /// Whether there is such a field.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(found, _)| found == key)
    }

    /// Takes a field out that has to be there.
    pub(super) fn require<T: DeserializeOwned, E: Error>(
        &mut self,
        key: &'static str,
    ) -> Result<T, E> {
        self.find(key)?.ok_or_else(|| E::missing_field(key))
    }

    fn find<T: DeserializeOwned, E: Error>(&mut self, key: &'static str) -> Result<Option<T>, E> {
        let is_this = |(found, _): &(String, _)| found == key;
        let Some(index) = self.0.iter().position(is_this) else {
            return Ok(None);
        };
        let (_, value) = self.0.remove(index);
        if self.0.iter().any(is_this) {
            return Err(E::duplicate_field(key));
        }
        let value = serde_json::from_str(value.get());
        value
            .map(Some)
            .map_err(|error| E::custom(format_args!("{key}: {error}")))
    }
}

#[cfg(test)]
impl Fields {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        let written =
            |(key, value): &(String, Box<RawValue>)| (key.clone(), value.get().to_owned());
        self.0.iter().map(written).eq(other.0.iter().map(written))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}
