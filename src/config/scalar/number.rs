//! Numbers with a range of their own.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// A whole number from 1 to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count<const MAX: u32>(pub(crate) NonZeroU32);

impl<'de, const MAX: u32> Deserialize<'de> for Count<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number<const MAX: u32>;

        impl<const MAX: u32> Visitor<'_> for Number<MAX> {
            type Value = Count<MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an integer from 1 to {MAX}")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Count<MAX>, E> {
                u32::try_from(number)
                    .ok()
                    .filter(|number| *number <= MAX)
                    .and_then(NonZeroU32::new)
                    .map(Count)
                    .ok_or_else(|| {
                        E::custom(format!(
                            "expected an integer from 1 to {MAX}, found {number}"
                        ))
                    })
            }
        }

        deserializer.deserialize_any(Number)
    }
}

impl<const MAX: u32> JsonSchema for Count<MAX> {
    fn schema_name() -> Cow<'static, str> {
        format!("CountTo{MAX}").into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": MAX })
    }
}

/// How many times as much, in hundredths: more than 1, and at most 100 times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Factor(pub(crate) u32);

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Factor;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of more than 1, such as 2 or 1.5")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Factor, E> {
                let number = i32::try_from(number).unwrap_or(i32::MAX);
                self.visit_f64(f64::from(number))
            }

            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is between 101 and 10,000"
            )]
            fn visit_f64<E: Error>(self, number: f64) -> Result<Factor, E> {
                let hundredths = (number * 100.0).round();
                if (101.0..=10_000.0).contains(&hundredths) {
                    Ok(Factor(hundredths as u32))
                } else {
                    Err(E::custom(format!(
                        "expected a number of more than 1 and at most 100, found {number}"
                    )))
                }
            }
        }

        deserializer.deserialize_any(Number)
    }
}

impl JsonSchema for Factor {
    fn schema_name() -> Cow<'static, str> {
        "Factor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "exclusiveMinimum": 1, "maximum": 100 })
    }
}
