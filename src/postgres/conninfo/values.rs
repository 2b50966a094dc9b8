//! The values of all parameters, gathered from every place in libpq's order of precedence.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use super::error::{ConninfoError, ParameterSource};
use super::service;
use crate::config::keyword::{self, Treatment};
use crate::config::{Connection, Parameters, ParseError};

/// The values of all parameters with the place of each, while they are being resolved.
pub(super) struct Values(BTreeMap<&'static str, (String, ParameterSource)>);

impl Values {
    pub(super) fn gather(
        connection: &Connection,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, ConninfoError> {
        let mut values = Self(BTreeMap::new());
        values.fill(
            connection.parameters.clone(),
            ParameterSource::Configuration,
        )?;

        let or_variable = |values: &Self, name: &str, variable: &str| {
            let value = values
                .get(name)
                .or(environment.get(variable).map(String::as_str));
            value.filter(|value| !value.is_empty()).map(str::to_owned)
        };
        if let Some(name) = or_variable(&values, "service", "PGSERVICE") {
            let file = or_variable(&values, "servicefile", "PGSERVICEFILE");
            let service = service::load(&name, file.as_deref(), environment)?;
            values.fill(service, ParameterSource::ServiceFile)?;
        }

        for keyword in keyword::KEYWORDS {
            let Some(variable) = keyword.variable else {
                continue;
            };
            if let Some(value) = environment.get(variable) {
                let place = ParameterSource::Variable(variable);
                values
                    .0
                    .entry(keyword.name)
                    .or_insert_with(|| (value.clone(), place));
            }
        }
        // An old spelling that libpq still follows.
        if environment
            .get("PGREQUIRESSL")
            .is_some_and(|value| value.starts_with('1'))
        {
            let require = (
                "require".to_owned(),
                ParameterSource::Variable("PGREQUIRESSL"),
            );
            values.0.entry("sslmode").or_insert(require);
        }
        // An empty value has kept other places out, and now means the default.
        values.0.retain(|_, (value, _)| !value.is_empty());
        Ok(values)
    }

    /// Adds what is not there yet.
    pub(super) fn fill(
        &mut self,
        parameters: Parameters,
        place: ParameterSource,
    ) -> Result<(), ConninfoError> {
        for (name, value) in parameters {
            let keyword = keyword::find(&name).ok_or(ConninfoError::Parameter(
                ParseError::UnknownKeyword(Some(name)),
            ))?;
            self.0.entry(keyword.name).or_insert((value, place));
        }
        Ok(())
    }

    pub(super) fn refuse_what_cannot_be_followed(&mut self) -> Result<(), ConninfoError> {
        for (name, (value, place)) in &self.0 {
            let place = *place;
            match keyword::find(name).map(|keyword| keyword.treatment) {
                Some(Treatment::Refused(instead)) => {
                    return Err(ConninfoError::Unsupported {
                        place,
                        name,
                        instead,
                    });
                }
                _ if *name == "gssencmode" && value == "require" => {
                    return Err(ConninfoError::Unsupported {
                        place,
                        name,
                        instead: "GSSAPI is not supported: leave it out, and use TLS",
                    });
                }
                // The system takes neither an argument nor a variable with such a byte.
                _ if value.contains('\0') => {
                    return Err(ConninfoError::Unsupported {
                        place,
                        name,
                        instead: "it holds a zero byte: remove it",
                    });
                }
                _ => {}
            }
        }
        self.0.retain(|name, _| {
            keyword::find(name).is_some_and(|keyword| keyword.treatment == Treatment::Honoured)
        });
        for name in ["service", "servicefile", "gssencmode"] {
            self.0.remove(name);
        }
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(value, _)| value.as_str())
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).map(|(value, _)| value)
    }

    pub(super) fn source_of(&self, name: &str) -> ParameterSource {
        self.0
            .get(name)
            .map_or(ParameterSource::Default, |(_, place)| *place)
    }

    pub(super) fn bad(
        &self,
        name: &'static str,
        value: &str,
        expected: &'static str,
    ) -> ConninfoError {
        ConninfoError::BadValue {
            place: self.source_of(name),
            name,
            value: value.to_owned(),
            expected,
        }
    }

    pub(super) fn parsed<T: FromStr<Err = &'static str>>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, ConninfoError> {
        self.get(name)
            .map(|text| {
                text.parse()
                    .map_err(|expected| self.bad(name, text, expected))
            })
            .transpose()
    }

    pub(super) fn integer(&self, name: &'static str) -> Result<Option<u32>, ConninfoError> {
        self.get(name)
            .map(|text| {
                let number = text.trim().parse();
                number.map_err(|_| self.bad(name, text, "an integer that is not negative"))
            })
            .transpose()
    }

    /// Zero means the system's default, and so none.
    pub(super) fn duration(
        &self,
        name: &'static str,
        unit: impl Fn(u64) -> Duration,
    ) -> Result<Option<Duration>, ConninfoError> {
        let number = self.integer(name)?.filter(|&number| number != 0);
        Ok(number.map(|number| unit(number.into())))
    }

    pub(super) fn rest(self) -> Parameters {
        self.0
            .into_iter()
            .map(|(name, (value, _))| (name.to_owned(), value))
            .collect()
    }
}
