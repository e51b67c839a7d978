//! The keys that can be set, as the built-in file defines them, and the values that a file or the environment sets.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;

use config::{File, FileFormat, Map, Source, Value, ValueKind};

use crate::settings::DEFAULT_CONFIG;
use crate::settings::environment::Environment;
use crate::settings::problem::{Origin, SettingsProblem};

const PREFIX: &str = "DROPREEL_";
/// Names the configuration file.
pub(super) const FILE_VARIABLE: &str = "DROPREEL_CONFIG";
/// May hold the API key, which is no key of the file.
pub(super) const API_KEY_VARIABLE: &str = "DROPREEL_PROVIDER__API_KEY";

/// The variable that overrides `key`: `DROPREEL_PROVIDER__BASE_URL` for `provider.base_url`.
pub fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

/// A valid value and where it was set.
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A dotted key with its setting, or what is wrong with it.
pub(super) type Checked = Result<(String, Setting), SettingsProblem>;

/// The valid keys with their defaults, which also define their types.
pub(super) struct Keys(BTreeMap<String, Value>);

impl Keys {
    /// The keys of the built-in file. Each table is a section, except an empty one, which is a value whose entries have
    /// free names.
    pub(super) fn built_in() -> Result<Self, SettingsProblem> {
        let table = parse(DEFAULT_CONFIG, &Origin::Defaults)?;
        Ok(Self(flatten(table, |_, entries| !entries.is_empty())))
    }

    /// All keys in order, each with its default.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    pub(super) fn default(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The entries of a file.
    pub(super) fn check_file(&self, text: &str, origin: &Origin) -> Vec<Checked> {
        match parse(text, origin) {
            Ok(table) => flatten(table, |name, _| self.is_section(name))
                .into_iter()
                .map(|(key, value)| self.check_entry(key, value, origin.clone()))
                .collect(),
            Err(problem) => vec![Err(problem)],
        }
    }

    fn check_entry(&self, key: String, value: Value, origin: Origin) -> Checked {
        let found = type_name(&value);
        if let Some(default) = self.default(&key) {
            match with_type_of(default, value) {
                Some(value) => Ok((key, Setting { value, origin })),
                None => Err(SettingsProblem::WrongType { key, origin, wanted: type_name(default), found }),
            }
        } else if self.is_section(&key) {
            Err(SettingsProblem::WrongType { key, origin, wanted: "a section, written `[name]`", found })
        } else if key == "api_key" || key.ends_with(".api_key") {
            Err(SettingsProblem::ApiKeyInFile { key, origin })
        } else {
            let nearest = self.nearest_key(&key);
            Err(SettingsProblem::UnknownKey { key, origin, nearest })
        }
    }

    /// The `DROPREEL_` variables that set a key, or should.
    pub(super) fn check_environment(&self, environment: &Environment) -> Vec<Checked> {
        let keys: BTreeMap<String, &str> = self.iter().map(|(key, _)| (variable_of(key), key)).collect();
        let mut checked = Vec::new();
        for (name, text) in environment.iter() {
            let name = name.to_string_lossy().into_owned();
            if !name.starts_with(PREFIX) || name == FILE_VARIABLE || name == API_KEY_VARIABLE {
                continue;
            }
            #[cfg(feature = "failpoints")]
            if name.starts_with(crate::failpoints::VARIABLE_PREFIX) {
                continue;
            }
            match keys.get(&name) {
                None if is_service_link(&name[PREFIX.len()..], text) => {}
                key => checked.push(self.check_variable(name, key.copied(), text)),
            }
        }
        checked
    }

    fn check_variable(&self, name: String, key: Option<&str>, text: &OsStr) -> Checked {
        let Some((key, default)) = key.and_then(|key| self.0.get_key_value(key)) else {
            let wrong = name[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
            let candidates = self.iter().map(|(key, _)| key).chain(["provider.api_key"]);
            let nearest = variable_of(nearest(&wrong, candidates));
            return Err(SettingsProblem::UnknownVariable { origin: Origin::Variable(name), nearest });
        };
        let (key, origin) = (key.clone(), Origin::Variable(name));
        let Some(text) = text.to_str() else { return Err(SettingsProblem::NotUtf8 { origin }) };
        let found = if text.is_empty() { "nothing" } else { "what it is set to" };
        match from_variable(text, default) {
            Some(value) => Ok((key, Setting { value, origin })),
            None => Err(SettingsProblem::WrongType { key, origin, wanted: type_name(default), found }),
        }
    }

    fn sections(&self) -> BTreeSet<&str> {
        self.0.keys().filter_map(|key| Some(key.rsplit_once('.')?.0)).collect()
    }

    fn is_section(&self, name: &str) -> bool {
        self.sections().contains(name)
    }

    fn nearest_key(&self, wrong: &str) -> String {
        let sections = self.sections().into_iter().filter(|_| !wrong.contains('.'));
        nearest(wrong, sections.chain(self.iter().map(|(key, _)| key))).to_owned()
    }
}

/// The values of a table by dotted key: a table that is a section is replaced by its entries.
fn flatten(
    table: Map<String, Value>,
    is_section: impl Fn(&str, &Map<String, Value>) -> bool,
) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    let mut open: Vec<(String, Value)> = table.into_iter().collect();
    while let Some((name, value)) = open.pop() {
        match value.kind {
            ValueKind::Table(section) if is_section(&name, &section) => {
                open.extend(section.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            _ => drop(values.insert(name, value)),
        }
    }
    values
}

/// Whether Kubernetes sets this variable, without [`PREFIX`], for a service called `dropreel`, or `dropreel-` and more:
/// `SERVICE_HOST`, `SERVICE_PORT`, `SERVICE_PORT_HTTP`, `PORT` and `PORT_8788_TCP`, with `_PROTO`, `_PORT`, `_ADDR` or
/// without (kubernetes.io, "Accessing the Service").
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let in_service = |word: &str| name.starts_with(word) || name.contains(&format!("_{word}"));
    if in_service("SERVICE_HOST") || in_service("SERVICE_PORT") {
        return true;
    }
    let is_protocol = |word: &str| matches!(word, "TCP" | "UDP" | "SCTP");
    let mut words = name.rsplit('_').skip_while(|word| matches!(*word, "PROTO" | "PORT" | "ADDR")).peekable();
    if words.peek().copied().is_some_and(is_protocol) {
        let number = words.nth(1).unwrap_or_default();
        return number.parse::<u16>().is_ok() && words.next() == Some("PORT");
    }
    // A user may mean a key of ours by `PORT`, but not with this value.
    let value = value.as_encoded_bytes();
    name.ends_with("PORT")
        && [&b"tcp://"[..], b"udp://", b"sctp://"].iter().any(|start| value.starts_with(start))
}

/// Parses TOML. The error names the line but does not show it: it may hold a secret.
pub(super) fn parse(text: &str, origin: &Origin) -> Result<Map<String, Value>, SettingsProblem> {
    File::from_str(text, FileFormat::Toml).collect().map_err(|error| {
        let (line, message) = without_shown_lines(&error.to_string());
        SettingsProblem::Syntax { origin: origin.clone(), line, message }
    })
}

/// The line number and the message of a parse error: its other lines (`3 | key = ...`) show the text.
fn without_shown_lines(error: &str) -> (usize, String) {
    let is_shown =
        |line: &str| line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with('|');
    let mut lines = error.lines().map(str::trim).filter(|line| !line.is_empty() && !is_shown(line));
    let place = lines.next().unwrap_or_default();
    let number = place.rsplit_once("line ").map_or("", |(_, rest)| rest);
    let number = number.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    (number.parse().unwrap_or(1), lines.collect::<Vec<_>>().join(": "))
}

/// `value` if it has the type of `default`. A whole number also counts as a fraction.
fn with_type_of(default: &Value, value: Value) -> Option<Value> {
    match (&value.kind, &default.kind) {
        // The clamp keeps the conversion exact; no fraction has a range beyond it.
        (ValueKind::I64(whole), ValueKind::Float(_)) => {
            Some(Value::from(f64::from(i32::try_from(*whole).unwrap_or(i32::MAX))))
        }
        _ => (type_name(&value) == type_name(default)).then_some(value),
    }
}

/// The text of a variable as a value of the default's type. Tables and lists are written as TOML:
/// `{ "wan2.5-t2v" = 2 }`.
fn from_variable(text: &str, default: &Value) -> Option<Value> {
    match default.kind {
        ValueKind::String(_) => Some(Value::from(text)),
        ValueKind::Boolean(_) => text.parse::<bool>().ok().map(Value::from),
        ValueKind::I64(_) => text.parse::<i64>().ok().map(Value::from),
        ValueKind::Float(_) => text.parse::<f64>().ok().map(Value::from),
        _ => {
            let line = format!("value = {text}");
            let mut table = File::from_str(&line, FileFormat::Toml).collect().ok()?;
            with_type_of(default, table.remove("value")?)
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value.kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "true or false",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => "a whole number",
        ValueKind::Float(_) => "a number",
        ValueKind::String(_) => "text in quotes",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
    }
}

/// The candidate closest to `wrong`. An abbreviated name counts as one edit, and so does the wrong section.
pub(super) fn nearest<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> &'a str {
    let split = |key: &'a str| key.rsplit_once('.').unwrap_or(("", key));
    let (wrong_section, wrong_name) = wrong.rsplit_once('.').unwrap_or(("", wrong));
    let edits = |candidate: &&'a str| {
        let (section, name) = split(candidate);
        let is_abbreviated = !wrong_name.is_empty() && wrong_name != name && name.starts_with(wrong_name);
        let in_name = if is_abbreviated { 1 } else { strsim::osa_distance(wrong_name, name) };
        strsim::osa_distance(wrong, candidate).min(in_name + usize::from(wrong_section != section))
    };
    candidates.min_by_key(edits).unwrap_or_default()
}

#[cfg(test)]
mod tests;
