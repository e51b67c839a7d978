//! Defaults: `defaults.json` of a folder holds an object like a job, and its keys are added to each job below the folder
//! that does not have them (docs/reference.md#defaults). The text of a job's own keys never changes.

use std::borrow::Cow;
use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::job::UsedDefault;
use crate::jobfile::check;
use crate::jobfile::dropreel_member::{self, DROPREEL_KEY, MAX_LABELS};
use crate::jobfile::field::MEDIA_KEYS;
use crate::jobfile::findings::{Findings, below};
use crate::jobfile::json::{self, JsonValue, Member, Node};
use crate::jobfile::{Cause, Form, MAX_PROBLEMS, Problem, Refusal, encoding, nfc, pictures, split_path};
use crate::sha256::sha256_hex;

/// The largest `defaults.json`: what is in it is stored with every job.
pub const MAX_DEFAULTS_BYTES: u64 = 64 << 10;
/// The label that says which folder of the inbox a job comes from.
pub const FOLDER_LABEL: &str = "folder";
const LABELS_KEY: &str = "labels";
const MATRIX_KEY: &str = "matrix";
/// Keys that are for one job only.
const REFUSED_KEYS: &[&str] = &["key", "name", "again"];
/// The longest value that is shown beside its key; longer ones are prompts and addresses.
const MAX_SHOWN_CHARS: usize = 60;

/// One `defaults.json`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultsFile {
    /// How messages name it.
    path: String,
    values: Vec<DefaultValue>,
    sha256: String,
}

/// What is added to the jobs of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// No two of the same place.
    values: Vec<DefaultValue>,
    sha256: Option<String>,
    /// Paths of pictures that defaults of folders above name, from the folder of the job file.
    pictures_above: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct DefaultValue {
    level: Level,
    key: String,
    /// As it is written.
    text: String,
    /// With the paths of pictures from the job file's folder, where that is another one.
    moved: Option<String>,
    /// The path of the file that it is from; empty for the label of the folder.
    file: String,
}

/// Which object a default belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Root,
    Dropreel,
    Labels,
}

impl DefaultsFile {
    /// Reads the file at `path`, which is how messages name it.
    ///
    /// # Errors
    /// Every problem of the file.
    pub fn read(path: &str, bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() as u64 > MAX_DEFAULTS_BYTES {
            let message =
                format!("defaults have at most {MAX_DEFAULTS_BYTES} bytes, and these {}", bytes.len());
            return Err(Refusal::new(Cause::Wrong, at_start(message)));
        }
        let read = encoding::read(bytes, 1).map_err(|problem| Refusal::new(Cause::Unparsable, problem))?;
        if read.text.trim().is_empty() {
            return Err(Refusal::new(Cause::Empty, at_start("the file is empty".to_owned())));
        }
        let mut findings = Findings::new(read.text, 1);
        if let Some(mark) = read.mark {
            findings.add_problem(mark);
        }
        let (values, cause) = match json::read(read.text, Form::Document, &mut findings) {
            Ok(node) => (values(&node, path, &mut findings), Cause::Wrong),
            Err(json::ParseError) => (Vec::new(), Cause::Unparsable),
        };
        let (problems, _) = findings.finish();
        if problems.is_empty() {
            Ok(Self { path: path.to_owned(), values, sha256: sha256_hex(bytes) })
        } else {
            Err(Refusal { cause, problems, warnings: Vec::new() })
        }
    }
}

impl DefaultsFile {
    fn folder(&self) -> &str {
        split_path(&self.path).0
    }
}

/// How many folders `below` is below `above`; 0 if it is not.
fn levels_below(below: &str, above: &str) -> usize {
    let parts = |path: &str| path.split('/').filter(|part| !part.is_empty()).count();
    let rest = match above {
        "" => Some(below),
        above => below.strip_prefix(above).filter(|rest| rest.starts_with('/')),
    };
    rest.map_or(0, parts)
}

fn at_start(message: String) -> Problem {
    Problem { pointer: String::new(), message, line: 1, column: 1 }
}

fn values(node: &Node<'_>, path: &str, findings: &mut Findings<'_>) -> Vec<DefaultValue> {
    let JsonValue::Object(_) = &node.value else {
        findings.add("", node.at, format!("defaults must be an object, not {}", node.value.what()));
        return Vec::new();
    };
    let Some(members) = check::members(node, "", findings) else { return Vec::new() };
    let value = |level, member: &Member<'_>| DefaultValue {
        level,
        key: member.key.clone().into_owned(),
        text: member.value.text.to_owned(),
        moved: None,
        file: path.to_owned(),
    };
    let mut values = Vec::new();
    for member in members {
        match &*member.key {
            "callback_url" => {
                findings.add(
                    "/callback_url",
                    member.key_at,
                    "`callback_url` is set by dropreel itself: remove it",
                );
            }
            DROPREEL_KEY => {
                dropreel_member::read(member, "", findings);
                for own in member.value.members() {
                    match (&*own.key, &own.value.value) {
                        (key, _) if REFUSED_KEYS.contains(&key) => {
                            let message = format!("`{key}` is for one job: it cannot be a default");
                            findings.add(&format!("/{DROPREEL_KEY}/{key}"), own.key_at, message);
                        }
                        (LABELS_KEY, JsonValue::Object(labels)) => {
                            values.extend(labels.iter().map(|label| value(Level::Labels, label)));
                        }
                        _ => values.push(value(Level::Dropreel, own)),
                    }
                }
            }
            _ => values.push(value(Level::Root, member)),
        }
    }
    values
}

impl Defaults {
    /// What applies to a job file in `folder`, a path below the inbox: that of `files`, the nearest first, and the label of
    /// the folder.
    pub fn new<'f>(folder: &str, files: impl IntoIterator<Item = &'f DefaultsFile>) -> Self {
        let mut defaults = Self::default();
        let mut hash = None::<Sha256>;
        for file in files {
            hash.get_or_insert_default().update(&file.sha256);
            let levels = levels_below(folder, file.folder());
            for value in &file.values {
                let moved = defaults.with_moved_paths(value, levels);
                defaults.add(moved);
            }
        }
        defaults.sha256 = hash.map(|hash| data_encoding::HEXLOWER.encode(&hash.finalize()));
        if !folder.is_empty() {
            let (key, text) = (FOLDER_LABEL.to_owned(), serde_json::Value::from(&*nfc(folder)).to_string());
            defaults.add(DefaultValue { level: Level::Labels, key, text, moved: None, file: String::new() });
        }
        defaults
    }

    /// Paths of pictures begin at the folder of the defaults that name them.
    fn with_moved_paths(&mut self, value: &DefaultValue, levels: usize) -> DefaultValue {
        let names_media = match value.level {
            Level::Root => MEDIA_KEYS.contains(&&*value.key),
            Level::Dropreel => value.key == MATRIX_KEY,
            Level::Labels => false,
        };
        let moved = (names_media && levels > 0)
            .then(|| pictures::moved_paths(&value.key, &value.text, levels, &mut self.pictures_above));
        DefaultValue { moved: moved.flatten(), ..value.clone() }
    }

    /// Paths of pictures that lie above the job file, for defaults name them.
    pub(super) fn pictures_above(&self) -> &BTreeSet<String> {
        &self.pictures_above
    }

    fn add(&mut self, value: DefaultValue) {
        if !self.values.iter().any(|nearer| (nearer.level, &nearer.key) == (value.level, &value.key)) {
            self.values.push(value);
        }
    }

    /// Of the contents of the files, in their order; `None` without any.
    pub fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// Adds them to a job at byte `at` with these members, `dropreel` the one with dropreel's own keys.
    pub(super) fn merge<'c>(
        &'c self,
        own: &[Member<'c>],
        dropreel: Option<&Member<'c>>,
        at: usize,
    ) -> MergedJob<'c> {
        let mut merged = MergedJob {
            members: own.to_vec(),
            added: Vec::new(),
            dropreel: dropreel.cloned(),
            used: Vec::new(),
        };
        for value in &self.values {
            let is_added = match value.level {
                Level::Root if has(own, &value.key) => false,
                Level::Root => {
                    merged.members.extend(value.member(at));
                    true
                }
                Level::Dropreel if value.key == MATRIX_KEY => {
                    value.add_matrix(own, merged.dropreel_members(at), at)
                }
                Level::Dropreel => value.add_to(merged.dropreel_members(at), at),
                Level::Labels => value.add_to(merged.labels(at), at),
            };
            if is_added {
                merged.added.extend((value.level == Level::Root).then_some((&*value.key, value.value())));
                merged.used.push(value);
            }
        }
        merged
    }
}

/// A job with its defaults.
pub(super) struct MergedJob<'c> {
    /// Its root keys, those of defaults last.
    pub members: Vec<Member<'c>>,
    /// The root keys of defaults, each with its text.
    pub added: Vec<(&'c str, &'c str)>,
    /// The member with dropreel's own keys.
    pub dropreel: Option<Member<'c>>,
    used: Vec<&'c DefaultValue>,
}

impl<'c> MergedJob<'c> {
    /// What the job has from defaults, but for the keys in `replaced`.
    pub fn used(&self, replaced: &[(&str, &str)]) -> Vec<UsedDefault> {
        let is_shown = |value: &&&DefaultValue| {
            let is_replaced = value.level == Level::Root && replaced.iter().any(|(key, _)| *key == value.key);
            !value.file.is_empty() && !is_replaced
        };
        self.used.iter().filter(is_shown).map(|value| value.used()).collect()
    }

    /// The file that has the default at `pointer` below the object at `object`.
    pub fn file_of(&self, object: &str, pointer: &str) -> Option<&str> {
        let is_at = |value: &&&DefaultValue| {
            let place = value.pointer(object);
            pointer.strip_prefix(&place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let file = self.used.iter().find(is_at).map(|value| value.file.as_str());
        file.filter(|file| !file.is_empty())
    }

    /// The members of `dropreel`; `None` if it is no object, which is a problem of the job.
    fn dropreel_members(&mut self, at: usize) -> Option<&mut Vec<Member<'c>>> {
        let dropreel = self.dropreel.get_or_insert_with(|| empty_object(DROPREEL_KEY, at));
        dropreel.value.members_mut()
    }

    fn labels(&mut self, at: usize) -> Option<&mut Vec<Member<'c>>> {
        let members = self.dropreel_members(at)?;
        if !has(members, LABELS_KEY) {
            members.push(empty_object(LABELS_KEY, at));
        }
        members.iter_mut().find(|member| member.key == LABELS_KEY)?.value.members_mut()
    }
}

impl DefaultValue {
    /// As the job has it.
    fn value(&self) -> &str {
        self.moved.as_deref().unwrap_or(&self.text)
    }

    fn member(&self, at: usize) -> Option<Member<'_>> {
        // It was read before, as a part of its file.
        let node = json::read(self.value(), Form::Document, &mut Findings::new(self.value(), 1)).ok()?;
        Some(Member { key: Cow::Borrowed(&self.key), key_at: at, value: node.moved_to(at) })
    }

    fn add_to<'c>(&'c self, members: Option<&mut Vec<Member<'c>>>, at: usize) -> bool {
        let Some(members) = members.filter(|members| !has(members, &self.key)) else { return false };
        // The label of the folder never makes a job invalid.
        if self.file.is_empty() && members.len() >= MAX_LABELS {
            return false;
        }
        members.extend(self.member(at));
        true
    }

    /// Adds a matrix without the root keys that the job has itself.
    fn add_matrix<'c>(
        &'c self,
        own: &[Member<'c>],
        members: Option<&mut Vec<Member<'c>>>,
        at: usize,
    ) -> bool {
        let Some(members) = members.filter(|members| !has(members, MATRIX_KEY)) else { return false };
        let Some(mut matrix) = self.member(at) else { return false };
        let varied = matrix.value.members_mut();
        let left = varied.map_or(0, |varied| {
            varied.retain(|key| !has(own, &key.key));
            varied.len()
        });
        if left > 0 {
            members.push(matrix);
        }
        left > 0
    }

    fn pointer(&self, object: &str) -> String {
        match self.level {
            Level::Root => below(object, &self.key),
            Level::Dropreel => below(&below(object, DROPREEL_KEY), &self.key),
            Level::Labels => below(&format!("{object}/{DROPREEL_KEY}/{LABELS_KEY}"), &self.key),
        }
    }

    fn used(&self) -> UsedDefault {
        let key = match self.level {
            Level::Root => self.key.clone(),
            Level::Dropreel => format!("{DROPREEL_KEY}.{}", self.key),
            Level::Labels => format!("{DROPREEL_KEY}.{LABELS_KEY}.{}", self.key),
        };
        let is_shown = self.text.chars().count() <= MAX_SHOWN_CHARS && !self.text.contains("://");
        UsedDefault { key, value: is_shown.then(|| self.text.clone()), file: self.file.clone() }
    }
}

fn has(members: &[Member<'_>], key: &str) -> bool {
    members.iter().any(|member| member.key == key)
}

fn empty_object<'c>(key: &'c str, at: usize) -> Member<'c> {
    Member {
        key: key.into(),
        key_at: at,
        value: Node { at, text: "{}", value: JsonValue::Object(Vec::new()) },
    }
}

/// The problem of a job file for which the defaults at `path` cannot be used.
pub fn bad_defaults(path: &str, refusal: &Refusal) -> Vec<Problem> {
    let problems = refusal.problems.iter().take(MAX_PROBLEMS);
    problems.map(|problem| at_start(format!("the defaults in {path} cannot be used: {problem}"))).collect()
}
