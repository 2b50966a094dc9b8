//! One source of settings - the built-in defaults, a file, a variable - read into values that know
//! their places.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use figment::value::{Dict, Num, Tag, Value};
use figment::{Metadata, Profile, Provider};
use toml_edit::{Document, TableLike};

use super::fragment::Fragment;
use super::problem::{Mark, Problem, ProblemLocation, What};
use super::wording;
use crate::secret_file::FileMode;

/// The settings of the program itself, as the policy wants them.
const DEFAULTS: &str = include_str!("defaults.toml");

/// Where a layer comes from.
#[derive(Clone)]
pub(super) enum Origin {
    /// The program.
    Defaults,
    /// A file with this text, and whether others can read it.
    File {
        path: PathBuf,
        text: String,
        file_mode: Option<FileMode>,
    },
    /// An environment variable.
    Variable(String),
}

/// A setting's levels.
pub(super) type Key = Vec<String>;

/// Where a setting stands in a file's text, in bytes.
#[derive(Clone, Debug)]
struct Spans {
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

/// One source of settings, its values sound one by one. It holds secrets, so it has no `Debug`.
#[derive(Clone)]
pub(super) struct Layer {
    pub(super) origin: Origin,
    values: Dict,
    spans: BTreeMap<Key, Spans>,
}

impl Layer {
    /// The built-in defaults.
    pub(super) fn defaults() -> (Self, Vec<Problem>) {
        Self::from_toml(Origin::Defaults, DEFAULTS)
    }

    /// A file's settings, and what is wrong with them one by one. What is wrong is left out.
    pub(super) fn from_file(
        path: PathBuf,
        text: &str,
        file_mode: Option<FileMode>,
    ) -> (Self, Vec<Problem>) {
        let origin = Origin::File {
            path,
            text: text.to_owned(),
            file_mode,
        };
        let (mut layer, mut problems) = Self::from_toml(origin, text);
        problems.extend(layer.take_out_what_is_wrong());
        (layer, problems)
    }

    /// The setting of one variable, with `__` between the levels of its key.
    ///
    /// A variable is text, so text is tried first: a database may be called 2025. Where the setting
    /// is no text, the variable is read as a TOML value.
    pub(super) fn from_variable(name: &str, key: &str, text: &str) -> (Self, Vec<Problem>) {
        let origin = Origin::Variable(name.to_owned());
        let key: Key = key.to_lowercase().split("__").map(str::to_owned).collect();
        let as_text = Value::String(Tag::Default, text.to_owned());
        let mut layer = Self {
            origin,
            values: nested(&key, as_text),
            spans: BTreeMap::new(),
        };
        if Value::from(layer.values.clone())
            .deserialize::<Fragment>()
            .is_ok()
        {
            return (layer, Vec::new());
        }
        if let Ok(value) = text.parse::<toml_edit::Value>() {
            let mut problems = Vec::new();
            let value = layer.value(&value, &mut Vec::new(), &mut problems);
            layer.spans.clear();
            if let Some(value) = value.filter(|_| problems.is_empty()) {
                layer.values = nested(&key, value);
            }
        }
        let problems = layer.take_out_what_is_wrong();
        (layer, problems)
    }

    fn from_toml(origin: Origin, text: &str) -> (Self, Vec<Problem>) {
        let mut layer = Self {
            origin,
            values: Dict::new(),
            spans: BTreeMap::new(),
        };
        let document = match Document::parse(text) {
            Ok(document) => document,
            Err(error) => {
                let place = error.span().and_then(|span| layer.place_of(span));
                let message = match error.span().and_then(|span| set_twice(text, span)) {
                    Some(message) if error.message().starts_with("duplicate key") => message,
                    _ => error.message().replace('\n', ", "),
                };
                let help = Some("the file must be TOML: key = \"value\" under [table]".to_owned());
                return (
                    layer,
                    vec![Problem {
                        key: String::new(),
                        message,
                        help,
                        place,
                    }],
                );
            }
        };
        let mut problems = Vec::new();
        layer.values = layer.table(document.as_table(), &mut Vec::new(), &mut problems);
        (layer, problems)
    }

    fn table(
        &mut self,
        table: &dyn TableLike,
        path: &mut Key,
        problems: &mut Vec<Problem>,
    ) -> Dict {
        let mut dict = Dict::new();
        for (name, item) in table.iter() {
            path.push(name.to_owned());
            let key = table.key(name).and_then(toml_edit::Key::span);
            self.spans.insert(
                path.clone(),
                Spans {
                    key,
                    value: item.span(),
                },
            );
            let value = if let Some(value) = item.as_value() {
                self.value(value, path, problems)
            } else if let Some(table) = item.as_table() {
                Some(Value::from(self.table(table, path, problems)))
            } else if let Some(tables) = item.as_array_of_tables() {
                let mut values = Vec::new();
                for (index, table) in tables.iter().enumerate() {
                    path.push(index.to_string());
                    self.spans.insert(
                        path.clone(),
                        Spans {
                            key: None,
                            value: table.span(),
                        },
                    );
                    values.push(Value::from(self.table(table, path, problems)));
                    path.pop();
                }
                Some(Value::Array(Tag::Default, values))
            } else {
                None
            };
            if let Some(value) = value {
                dict.insert(name.to_owned(), value);
            }
            path.pop();
        }
        dict
    }

    fn value(
        &mut self,
        value: &toml_edit::Value,
        path: &mut Key,
        problems: &mut Vec<Problem>,
    ) -> Option<Value> {
        Some(match value {
            toml_edit::Value::String(text) => Value::String(Tag::Default, text.value().clone()),
            toml_edit::Value::Integer(number) => {
                Value::Num(Tag::Default, Num::I64(*number.value()))
            }
            toml_edit::Value::Float(number) => Value::Num(Tag::Default, Num::F64(*number.value())),
            toml_edit::Value::Boolean(value) => Value::Bool(Tag::Default, *value.value()),
            toml_edit::Value::Datetime(_) => {
                problems.push(Problem {
                    message: "no setting is a date".to_owned(),
                    help: Some("if it is a name, put it in quotes".to_owned()),
                    ..self.problem(path, What::Value)
                });
                return None;
            }
            toml_edit::Value::Array(array) => {
                let mut values = Vec::new();
                for (index, value) in array.iter().enumerate() {
                    path.push(index.to_string());
                    self.spans.insert(
                        path.clone(),
                        Spans {
                            key: None,
                            value: value.span(),
                        },
                    );
                    values.extend(self.value(value, path, problems));
                    path.pop();
                }
                Value::Array(Tag::Default, values)
            }
            toml_edit::Value::InlineTable(table) => Value::from(self.table(table, path, problems)),
        })
    }

    /// What this layer says, each value sound by itself once [`Self::take_out_what_is_wrong`] ran.
    pub(super) fn fragment(&self) -> Result<Fragment, Box<figment::Error>> {
        Value::from(self.values.clone())
            .deserialize()
            .map_err(Box::new)
    }

    /// Reads the layer as a fragment again and again, and takes out what serde stumbles over, until
    /// the rest is sound: serde reports one error at a time, an operator wants all of them.
    fn take_out_what_is_wrong(&mut self) -> Vec<Problem> {
        let mut problems = Vec::new();
        while let Err(error) = self.fragment() {
            let path = error.path.clone();
            let (message, help, what) = wording::describe(&path, error.kind);
            problems.push(Problem {
                message,
                help,
                ..self.problem(&path, what)
            });
            if path.is_empty() || !take_out(&mut self.values, &path) {
                // An error without a place of its own cannot be set aside.
                break;
            }
        }
        problems
    }

    /// A problem with a place and, so far, no words.
    pub(super) fn problem(&self, path: &[String], what: What) -> Problem {
        Problem {
            key: path.join("."),
            message: String::new(),
            help: None,
            place: self.place(path, what),
        }
    }

    /// Whether this layer has a setting or a table of this path.
    pub(super) fn has(&self, path: &[String]) -> bool {
        let mut values = Some(&self.values);
        let Some((last, tables)) = path.split_last() else {
            return true;
        };
        for name in tables {
            values = values
                .and_then(|dict| dict.get(name))
                .and_then(Value::as_dict);
        }
        values.is_some_and(|dict| dict.contains_key(last)) || self.spans.contains_key(path)
    }

    /// Where a setting stands; for one that this layer does not have, where its table stands.
    pub(super) fn place(&self, path: &[String], what: What) -> Option<ProblemLocation> {
        let spans = (0..=path.len())
            .rev()
            .find_map(|length| self.spans.get(&path[..length]));
        let span = spans.and_then(|spans| match what {
            What::Key => spans.key.clone().or(spans.value.clone()),
            What::Value => spans.value.clone().or(spans.key.clone()),
        });
        match (&self.origin, span) {
            (Origin::File { .. }, Some(span)) => self.place_of(span),
            (Origin::File { path, .. }, None) => Some(ProblemLocation::File {
                path: path.clone(),
                line: None,
            }),
            (Origin::Variable(name), _) => Some(ProblemLocation::Variable(name.clone())),
            (Origin::Defaults, _) => None,
        }
    }

    fn place_of(&self, span: Range<usize>) -> Option<ProblemLocation> {
        match &self.origin {
            Origin::File { path, text, .. } => Some(ProblemLocation::File {
                path: path.clone(),
                line: Some(Mark::new(text, span)),
            }),
            Origin::Variable(name) => Some(ProblemLocation::Variable(name.clone())),
            Origin::Defaults => None,
        }
    }

    /// A name that tells this layer from every other.
    pub(super) fn name(&self) -> String {
        match &self.origin {
            Origin::Defaults => "default".to_owned(),
            Origin::File { path, .. } => format!("file {}", path.display()),
            Origin::Variable(name) => format!("variable {name}"),
        }
    }
}

impl Provider for &Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name())
    }

    fn data(&self) -> Result<BTreeMap<Profile, Dict>, figment::Error> {
        Ok(BTreeMap::from([(Profile::Default, self.values.clone())]))
    }
}

/// A value under the levels of a key.
fn nested(key: &[String], value: Value) -> Dict {
    match key {
        [] => Dict::new(),
        [last] => Dict::from([(last.clone(), value)]),
        [first, rest @ ..] => Dict::from([(first.clone(), Value::from(nested(rest, value)))]),
    }
}

/// Takes a setting out. An entry of a list makes room for a name or a window that needs no attention, because
/// the places of the entries behind it must stay true; a layer with problems is never used. Gives false
/// when there is nothing to take out, so that nobody tries for ever.
fn take_out(values: &mut Dict, path: &[String]) -> bool {
    match path {
        [] => false,
        [last] => values.remove(last).is_some(),
        // No word stands for one that is wrong in these.
        [first, _] if matches!(first.as_str(), "severities" | "kinds" | "hours") => {
            values.remove(first).is_some()
        }
        [first, rest @ ..] => match values.get_mut(first) {
            Some(Value::Dict(_, dict)) => take_out(dict, rest),
            Some(Value::Array(_, list)) => {
                let entry = rest[0]
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| list.get_mut(index));
                let sound = if first == "blackout" {
                    "00:00-00:01"
                } else {
                    "_"
                };
                entry.is_some_and(|entry| {
                    let is_in_the_way = entry.as_str() != Some(sound);
                    *entry = Value::String(Tag::Default, sound.to_owned());
                    is_in_the_way
                })
            }
            // The place lies within a value that is read as one.
            Some(_) => values.remove(first).is_some(),
            None => false,
        },
    }
}
/// What is set a second time at a place in a file, with the line of the first time.
fn set_twice(text: &str, span: Range<usize>) -> Option<String> {
    let key = |line: &str| {
        let line = line.trim();
        let end = line.find(['=', '#']).unwrap_or(line.len());
        line[..end].trim().to_owned()
    };
    let line_start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
    let again = key(text[line_start..].lines().next()?);
    let is_table = again.starts_with('[');
    let mut first = None;
    for (number, line) in (1..).zip(text[..line_start].lines()) {
        if !is_table && line.trim_start().starts_with('[') {
            // Another table, whose keys are its own.
            first = None;
        }
        if key(line) == again {
            first = Some(number);
        }
    }
    let kind = if is_table { "table " } else { "" };
    Some(match first {
        Some(line) => format!("duplicate key: {kind}{again} is in line {line} already"),
        None => format!("duplicate key: {kind}{again} is set above already"),
    })
}
