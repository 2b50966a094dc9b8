//! All layers merged, every value with the layer that it comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

use figment::Figment;
use figment::value::{Dict, Value};
use schemars::JsonSchema;
use serde::Serialize;

use super::address;
use super::conninfo;
use super::fragment::Fragment;
use super::layer::{Key, Layer, Origin};
use super::problem::What;
use super::problem::{Problem, ProblemLocation};

/// The merged settings.
#[derive(Clone)]
pub struct Settings {
    merged: Value,
    names: Vec<(figment::value::Tag, String)>,
    layers: Vec<Layer>,
}

/// One setting in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Setting {
    /// Its levels.
    pub key: Vec<String>,
    /// Its value in TOML's notation; a password is `"****"`.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The program's own default.
    Default,
    /// A file, and the line in it.
    File {
        /// Which file.
        path: PathBuf,
        /// The line, counted from 1.
        line: Option<usize>,
    },
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File {
                path,
                line: Some(line),
            } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

impl fmt::Debug for Settings {
    /// Lists the settings with their secrets masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl Settings {
    /// Merges layers, later ones winning: tables setting by setting, lists as a whole.
    pub(super) fn merge(layers: Vec<Layer>) -> Result<Self, Box<figment::Error>> {
        let mut figment = Figment::new();
        for layer in &layers {
            figment = figment.merge(layer);
        }
        let merged = figment.find_value("").map_err(Box::new)?;
        let mut tags = Vec::new();
        collect_tags(&merged, &mut tags);
        let names = tags
            .into_iter()
            .filter_map(|tag| Some((tag, figment.get_metadata(tag)?.name.to_string())))
            .collect();
        Ok(Self {
            merged,
            names,
            layers,
        })
    }

    /// The merged settings as one fragment.
    pub(super) fn fragment(&self) -> Result<Fragment, Box<figment::Error>> {
        self.merged.deserialize().map_err(Box::new)
    }

    /// The layer whose value of this setting is in force; for a table, or for a setting that
    /// nothing says, the last layer that has it or the table around it.
    fn layer_of(&self, path: &[String]) -> Option<&Layer> {
        let by_tag = self
            .value(path)
            .filter(|value| value.as_dict().is_none())
            .and_then(|value| self.names.iter().find(|(tag, _)| *tag == value.tag()))
            .and_then(|(_, name)| self.layers.iter().find(|layer| layer.name() == *name));
        by_tag.or_else(|| {
            (1..=path.len())
                .rev()
                .find_map(|length| self.layers.iter().rfind(|layer| layer.has(&path[..length])))
        })
    }

    fn value(&self, path: &[String]) -> Option<&Value> {
        path.iter()
            .try_fold(&self.merged, |value, name| match value {
                Value::Dict(_, dict) => dict.get(name),
                Value::Array(_, list) => list.get(name.parse::<usize>().ok()?),
                _ => None,
            })
    }

    /// Whether anybody but the program itself says something of this setting or table.
    pub(super) fn is_written(&self, path: &[String]) -> bool {
        self.layers[1..].iter().any(|layer| layer.has(path))
    }

    /// A problem with a setting's place and, so far, no words.
    pub(super) fn problem(&self, path: &[String], what: What) -> Problem {
        match self.layer_of(path) {
            Some(layer) => layer.problem(path, what),
            None => Problem {
                key: path.join("."),
                message: String::new(),
                help: None,
                place: None,
            },
        }
    }

    /// Where a setting comes from.
    pub(super) fn source(&self, path: &[String]) -> Source {
        match self
            .layer_of(path)
            .and_then(|layer| layer.place(path, What::Key))
        {
            None => Source::Default,
            Some(ProblemLocation::Variable(name)) => Source::Variable(name),
            Some(ProblemLocation::File { path, line }) => Source::File {
                path,
                line: line.map(|mark| mark.line),
            },
        }
    }

    /// The files that were read, the weakest first.
    pub fn files(&self) -> Vec<&Path> {
        self.layers
            .iter()
            .filter_map(|layer| match &layer.origin {
                Origin::File { path, .. } => Some(path.as_path()),
                Origin::Defaults | Origin::Variable(_) => None,
            })
            .collect()
    }

    /// A digest of the files' texts, in their order: whether what is in force is what they say.
    pub fn files_digest(&self) -> String {
        let mut digest = Xxh3::new();
        for layer in &self.layers {
            if let Origin::File { text, .. } = &layer.origin {
                digest.update(&(text.len() as u64).to_le_bytes());
                digest.update(text.as_bytes());
            }
        }
        format!("{:032x}", digest.digest128())
    }

    /// Every setting in force, those of a table before its tables, in the order of their names.
    pub fn list(&self) -> Vec<Setting> {
        let mut found = Vec::new();
        if let Value::Dict(_, dict) = &self.merged {
            self.collect(dict, &mut Vec::new(), &mut found);
        }
        found
    }

    fn collect(&self, dict: &Dict, path: &mut Key, found: &mut Vec<Setting>) {
        let is_table = |value: &Value| matches!(value, Value::Dict(..));
        for (name, value) in dict.iter().filter(|(_, value)| !is_table(value)) {
            path.push(name.clone());
            let value = in_toml(&masked(path, value));
            found.push(Setting {
                key: path.clone(),
                value,
                source: self.source(path),
            });
            path.pop();
        }
        for (name, value) in dict {
            if let Value::Dict(_, table) = value {
                path.push(name.clone());
                self.collect(table, path, found);
                path.pop();
            }
        }
    }
}

fn collect_tags(value: &Value, tags: &mut Vec<figment::value::Tag>) {
    if !tags.contains(&value.tag()) {
        tags.push(value.tag());
    }
    match value {
        Value::Dict(_, dict) => dict.values().for_each(|value| collect_tags(value, tags)),
        Value::Array(_, list) => list.iter().for_each(|value| collect_tags(value, tags)),
        _ => {}
    }
}

/// A setting's value without what is secret in it.
fn masked(path: &[String], value: &Value) -> Value {
    let stars = || Value::from("****");
    let name = path.last().map_or("", String::as_str);
    match (name, value) {
        ("password", _) => stars(),
        // It has no secret in it, or is refused.
        ("url", _) if path[0] == "destinations" => value.clone(),
        ("url", Value::String(_, text)) => Value::from(address::shown(text)),
        // A token may be in either.
        _ if path.len() > 2
            && path[0] == "alerts"
            && ["headers", "body"].contains(&path[2].as_str()) =>
        {
            stars()
        }
        // A command's words, as the log shows them.
        ("argv" | "stop" | "start", Value::Array(_, words)) => {
            let words = words.iter().map(|word| match word.as_str() {
                Some(text) => Value::from(crate::mask::mask(text, &[])),
                None => word.clone(),
            });
            Value::from(words.collect::<Vec<_>>())
        }
        ("uri" | "conninfo", Value::String(_, text)) => match conninfo::parse(text) {
            Ok(read) => Value::from(read.without_password),
            Err(_) => stars(),
        },
        _ => value.clone(),
    }
}

/// A value in TOML's notation.
fn in_toml(value: &Value) -> String {
    match value {
        Value::String(_, text) => quoted(text),
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => match (number.to_i128(), number.to_f64()) {
            (Some(whole), _) => whole.to_string(),
            (None, Some(number)) => number.to_string(),
            (None, None) => String::new(),
        },
        Value::Array(_, list) => {
            let list: Vec<String> = list.iter().map(in_toml).collect();
            format!("[{}]", list.join(", "))
        }
        Value::Dict(_, dict) => {
            let pairs: Vec<String> = dict
                .iter()
                .map(|(name, value)| format!("{} = {}", key_in_toml(name), in_toml(value)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Char(_, character) => in_toml(&Value::from(character.to_string())),
        Value::Empty(..) => String::new(),
    }
}

/// A key's level in TOML's notation.
pub fn key_in_toml(name: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !name.is_empty() && name.bytes().all(bare) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// A TOML basic string. JSON's escapes are all among TOML's; TOML wants DEL escaped too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007F")
}
