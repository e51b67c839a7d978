//! One layer of the configuration (the built-in file, a file, the environment), cleaned of what cannot stand.

use std::collections::{BTreeMap, BTreeSet};

use config::{ConfigError, File, FileFormat, Map, Source, Value, ValueKind};

use crate::settings::environment::Environment;
use crate::settings::problem::{Origin, Problem};

const PREFIX: &str = "DROPREEL_";

/// Variables that begin like ours and are no keys: `DROPREEL_CONFIG` names the file, and the API key has no place
/// in a file.
const NOT_KEYS: [&str; 2] = ["DROPREEL_CONFIG", API_KEY_VARIABLE];

/// Where the API key may stand in the environment.
pub(crate) const API_KEY_VARIABLE: &str = "DROPREEL_PROVIDER__API_KEY";

/// The variable that overrides `key`: `DROPREEL_PROVIDER__BASE_URL` for `provider.base_url`.
pub fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

/// Values by dotted key, each with where it came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer(pub(crate) BTreeMap<String, (Value, Origin)>);

/// The `config` crate's view: it lays the layers over each other.
impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect())
    }
}

/// What may be set and of which type: the built-in file says it.
pub(crate) struct Known {
    keys: BTreeMap<String, Value>,
    sections: BTreeSet<String>,
}

impl Known {
    /// From the complete file: its tables are the sections, also those within others, and everything in them is a key.
    /// An empty table is a key too: its entries are the person's to name.
    pub(crate) fn from_complete_file(text: &str) -> Result<Self, Problem> {
        let mut known = Self { keys: BTreeMap::new(), sections: BTreeSet::new() };
        let mut open: Vec<(String, Value)> = parse(text, &Origin::Defaults)?.into_iter().collect();
        while let Some((name, value)) = open.pop() {
            match value.kind {
                ValueKind::Table(section) if !section.is_empty() => {
                    open.extend(section.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
                    known.sections.insert(name);
                }
                _ => drop(known.keys.insert(name, value)),
            }
        }
        Ok(known)
    }

    /// Every key with its default, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, &ValueKind)> {
        self.keys.iter().map(|(key, value)| (key.as_str(), &value.kind))
    }

    /// The bottom layer.
    pub(crate) fn defaults(&self) -> Layer {
        let with_origin = |(key, value): (&String, &Value)| (key.clone(), (value.clone(), Origin::Defaults));
        Layer(self.keys.iter().map(with_origin).collect())
    }

    /// The layer of a file's text. What cannot stand is left out and told in `problems`.
    pub(crate) fn file(&self, text: &str, origin: &Origin, problems: &mut Vec<Problem>) -> Layer {
        let mut layer = Layer::default();
        let tables = parse(text, origin).unwrap_or_else(|problem| {
            problems.push(problem);
            BTreeMap::new()
        });
        for (name, value) in tables {
            self.take(&mut layer, name, value, origin, problems);
        }
        layer
    }

    /// One entry of a file, or a section of it with all that it holds.
    fn take(
        &self,
        layer: &mut Layer,
        key: String,
        value: Value,
        origin: &Origin,
        problems: &mut Vec<Problem>,
    ) {
        let value = match value.kind {
            ValueKind::Table(section) if self.sections.contains(&key) => {
                for (name, value) in section.into_iter().collect::<BTreeMap<_, _>>() {
                    self.take(layer, format!("{key}.{name}"), value, origin, problems);
                }
                return;
            }
            _ => value,
        };
        let origin = origin.clone();
        if let Some(default) = self.keys.get(&key) {
            let (wanted, found) = (kind(&default.kind), kind(&value.kind));
            match fitting(value, default) {
                Some(value) => drop(layer.0.insert(key, (value, origin))),
                None => problems.push(Problem::WrongType { key, origin, wanted, found }),
            }
        } else if self.sections.contains(&key) {
            let found = kind(&value.kind);
            problems.push(Problem::WrongType { key, origin, wanted: "a section, written `[name]`", found });
        } else if last_part(&key) == "api_key" {
            problems.push(Problem::KeyInFile { key, origin });
        } else {
            let nearest = self.nearest_key(&key);
            problems.push(Problem::Unknown { key, origin, nearest });
        }
    }

    /// The layer of the environment's `DROPREEL_` variables.
    pub(crate) fn environment(&self, environment: &Environment, problems: &mut Vec<Problem>) -> Layer {
        let mut layer = Layer::default();
        let keys: BTreeMap<_, _> =
            self.keys.iter().map(|(key, default)| (variable_of(key), (key, default))).collect();
        for (name, text) in environment.all() {
            let name = name.to_string_lossy().into_owned();
            if !name.starts_with(PREFIX) || NOT_KEYS.contains(&name.as_str()) {
                continue;
            }
            #[cfg(feature = "failpoints")]
            if name.starts_with(crate::failpoints::VARIABLE_PREFIX) {
                continue;
            }
            let origin = Origin::Variable(name.clone());
            let Some((key, default)) = keys.get(&name).copied() else {
                let wrong = name[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
                let candidates = self.keys.keys().map(String::as_str).chain(["provider.api_key"]);
                let nearest = variable_of(nearest(&wrong, candidates));
                problems.push(Problem::UnknownVariable { origin, nearest });
                continue;
            };
            let Some(text) = text.to_str() else {
                problems.push(Problem::NotText { origin });
                continue;
            };
            match read_as(text, default) {
                Some(value) => drop(layer.0.insert(key.clone(), (value, origin))),
                None => problems.push(Problem::WrongType {
                    key: key.clone(),
                    origin,
                    wanted: kind(&default.kind),
                    found: if text.is_empty() { "nothing" } else { "what it is set to" },
                }),
            }
        }
        layer
    }

    fn nearest_key(&self, wrong: &str) -> String {
        let sections = self.sections.iter().filter(|_| !wrong.contains('.'));
        nearest(wrong, sections.chain(self.keys.keys()).map(String::as_str)).to_owned()
    }
}

/// Reads TOML by way of the `config` crate, in the order of the keys.
fn parse(text: &str, origin: &Origin) -> Result<BTreeMap<String, Value>, Problem> {
    match File::from_str(text, FileFormat::Toml).collect() {
        Ok(tables) => Ok(tables.into_iter().collect()),
        Err(error) => {
            let detail = without_the_lines_shown(&error.to_string());
            Err(Problem::Syntax { origin: origin.clone(), detail })
        }
    }
}

/// The parser shows the faulty line, which may hold a secret: its frame (`3 | key = ...`) is taken out.
fn without_the_lines_shown(told: &str) -> String {
    let frame = |line: &str| {
        line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with('|')
    };
    let kept: Vec<&str> =
        told.lines().map(str::trim).filter(|line| !line.is_empty() && !frame(line)).collect();
    kept.join(": ")
}

/// `value`, if it is of the default's type; a whole number will do for a fraction.
fn fitting(value: Value, default: &Value) -> Option<Value> {
    match (&value.kind, &default.kind) {
        (ValueKind::I64(whole), ValueKind::Float(_)) => {
            // Beyond these ends, every range of ours has long been left.
            Some(Value::from(f64::from(i32::try_from(*whole).unwrap_or(i32::MAX))))
        }
        (found, wanted) => (kind(found) == kind(wanted)).then_some(value),
    }
}

/// A variable's text as a value of the default's type; tables are written as TOML, `{ "wan2.5-t2v" = 2 }`.
fn read_as(text: &str, default: &Value) -> Option<Value> {
    match default.kind {
        ValueKind::String(_) => Some(Value::from(text)),
        ValueKind::Boolean(_) => text.parse::<bool>().ok().map(Value::from),
        ValueKind::I64(_) => text.parse::<i64>().ok().map(Value::from),
        ValueKind::Float(_) => text.parse::<f64>().ok().map(Value::from),
        _ => {
            let line = format!("value = {text}");
            let mut tables = File::from_str(&line, FileFormat::Toml).collect().ok()?;
            fitting(tables.remove("value")?, default)
        }
    }
}

fn kind(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "true or false",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => "a whole number",
        ValueKind::Float(_) => "a number",
        ValueKind::String(_) => "text in quotes",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
    }
}

/// The candidate that takes the fewest slips to write as `wrong`. A name cut short counts as one slip, and so does
/// the wrong section.
fn nearest<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> &'a str {
    let (section, name) = wrong.rsplit_once('.').unwrap_or(("", wrong));
    let slips = |candidate: &&str| {
        let (its_section, its_name) = candidate.rsplit_once('.').unwrap_or(("", candidate));
        let cut_short = !name.is_empty() && name != its_name && its_name.starts_with(name);
        let in_name = if cut_short { 1 } else { strsim::osa_distance(name, its_name) };
        strsim::osa_distance(wrong, candidate).min(in_name + usize::from(section != its_section))
    };
    candidates.min_by_key(slips).unwrap_or_default()
}

fn last_part(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known::from_complete_file(crate::settings::DEFAULT_CONFIG).expect("the built-in file is TOML")
    }

    #[test]
    fn a_slip_is_answered_with_the_key_that_was_meant() {
        let cases = [
            ("provider.base-url", "provider.base_url"),
            ("base_url", "provider.base_url"),
            ("provider.layout", "library.layout"),
            ("inbox.rescann", "inbox.rescan"),
            ("libary", "library"),
            ("datadir", "data_dir"),
            ("polling.intervall", "polling.interval"),
            ("callbacks.secret", "callbacks.secret_file"),
            ("admin.token", "admin.token_file"),
            ("inbox.max", "inbox.max_bytes"),
            ("inbox.max_expansion", "inbox.max_bytes"),
        ];
        let known = known();
        for (wrong, meant) in cases {
            assert_eq!(known.nearest_key(wrong), meant, "{wrong}");
        }
    }

    #[test]
    fn a_fault_of_toml_is_told_with_its_line_but_without_its_text() {
        let faulty = [
            "# a comment\n\n  api_key = sk-canary\n",
            "a = \"sk-canary\nb = 1\n",
            "[provider]\nproxy = \"http://me:canary@host\"\nproxy = \"canary2\"\n",
            "canary\n",
            "a = \"\"\"canary\ncanary | canary\n",
        ];
        for text in faulty {
            let Err(Problem::Syntax { detail, .. }) = parse(text, &Origin::Defaults) else {
                panic!("{text}")
            };
            assert!(detail.contains("line ") && !detail.contains("canary"), "{text}: {detail}");
        }
    }

    #[test]
    fn sections_may_lie_within_sections_and_an_empty_table_is_a_key() {
        let known = known();
        let sections: Vec<_> = known.sections.iter().map(String::as_str).collect();
        let ours = [
            "admin",
            "callbacks",
            "callbacks.signature",
            "downloads",
            "inbox",
            "library",
            "polling",
            "provider",
        ];
        assert_eq!(sections, ours);
        assert!(known.keys.contains_key("provider.max_running_per_model"));
        assert!(known.keys.contains_key("callbacks.signature.scheme"));
    }
}
