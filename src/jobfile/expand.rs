//! The jobs of one object: one, or with `repeat` and `matrix` one for each combination. Each is checked as a job of its
//! own.

use std::collections::{BTreeMap, BTreeSet};

use crate::jobfile::body::edited;
use crate::jobfile::check;
use crate::jobfile::defaults::MergedJob;
use crate::jobfile::dropreel_member::{self, DROPREEL_KEY, DropreelMember};
use crate::jobfile::findings::{Findings, below, quoted};
use crate::jobfile::json::{JsonValue, Member, Node};
use crate::jobfile::pictures::{self, PictureRules};
use crate::jobfile::reader::JobFileReader;
use crate::jobfile::{Draft, JobFileLimits, MAX_NAME_CHARS, MAX_WARNINGS, ObjectPlace, Problem};
use crate::rng::Rng;

const SEED_KEY: &str = "seed";
/// Seeds are whole numbers below this.
const SEED_END: u64 = 1 << 31;
/// The most bytes that the requests made by `repeat` and `matrix` in one document or line may have together: all of them
/// are in memory at once.
const MAX_EXPANDED_BYTES: u64 = 64 << 20;
/// The most keys of a combination that a message names.
const MAX_NAMED_KEYS: usize = 6;
/// The longest value that the history shows.
const MAX_SHOWN_CHARS: usize = 32;

/// Makes the jobs of the objects of one document or line.
pub struct Expander<'l> {
    reader: &'l JobFileReader,
    bytes: u64,
}

impl<'l> Expander<'l> {
    pub fn new(reader: &'l JobFileReader) -> Self {
        Self { reader, bytes: 0 }
    }

    /// Checks the object at `pointer` and makes its jobs. `default_name` is their name if the object gives none. Problems
    /// are added to `findings`; an object with a problem has no jobs.
    pub fn jobs(
        &mut self,
        node: &Node<'_>,
        pointer: &str,
        default_name: String,
        findings: &mut Findings<'_>,
    ) -> Vec<Draft> {
        let before = findings.count();
        let Some(own_members) = check::members(node, pointer, findings) else { return Vec::new() };
        let dropreel = own_members.iter().position(|member| member.key == DROPREEL_KEY);
        let own_dropreel = dropreel.and_then(|index| own_members.get(index));
        let merged = self.reader.defaults.merge(own_members, own_dropreel, node.at);
        let listed = findings.listed();
        let mut own_keys = match &merged.dropreel {
            Some(member) => dropreel_member::read(member, pointer, findings),
            None => DropreelMember::default(),
        };
        findings.name_files(listed, |place| merged.file_of(pointer, place));
        own_keys.name.get_or_insert(default_name);
        let limits = &self.reader.limits;
        let pictures_of_defaults = self.reader.defaults.pictures_above();
        let object =
            Object { node, own_members, merged, pointer, dropreel, own_keys, limits, pictures_of_defaults };
        if !object.merged.added.is_empty() && !object.is_expanded() && self.is_too_long(&object, 1, findings)
        {
            return Vec::new();
        }
        let drafts = if object.is_expanded() {
            self.expand(&object, findings)
        } else {
            object.draft(&object.merged.members, &[], None, findings).into_iter().collect()
        };
        if findings.count() > before {
            findings.return_warnings(drafts.into_iter().flat_map(|draft| draft.warnings));
            return Vec::new();
        }
        drafts
    }

    fn expand(&mut self, object: &Object<'_, '_>, findings: &mut Findings<'_>) -> Vec<Draft> {
        let count = object.count();
        let max = u64::from(self.reader.limits.max_expansion);
        if count > max {
            let message = format!(
                "`repeat` and `matrix` make {count} jobs of this object, and {max} are allowed (inbox.max_expansion)"
            );
            findings.add(&below(object.pointer, DROPREEL_KEY), object.own_at(), message);
            return Vec::new();
        }
        if self.is_too_long(object, count, findings) {
            return Vec::new();
        }
        let seeds = object.draw_seeds(&self.reader.rng);
        let mut drafts = Vec::new();
        // Many combinations may have the same problem: each once, with the values that all of them share.
        let mut problems: BTreeMap<Problem, Vec<(&str, u64)>> = BTreeMap::new();
        for number in 0..count {
            let combination = object.combination(number, &seeds);
            let found = findings.apart(|findings| {
                object.warn(findings);
                let (members, set) = object.vary(&combination);
                let draft = object.draft(&members, &set, Some(number + 1), findings);
                let variation = format!("{} of {count}{}", number + 1, in_words(&combination));
                drafts.extend(draft.map(|draft| Draft { variation: Some(variation), ..draft }));
            });
            let values = || combination.iter().map(|choice| (choice.key, choice.item));
            for problem in found {
                let shared = problems.entry(problem).or_insert_with(|| values().collect());
                shared.retain(|value| values().any(|other| other == *value));
            }
        }
        for (mut problem, shared) in problems {
            problem.message += &object.describe(&shared);
            findings.add_problem(problem);
        }
        drafts
    }

    /// Whether the requests made of few bytes, with those of `count` jobs of this object, have too many.
    fn is_too_long(&mut self, object: &Object<'_, '_>, count: u64, findings: &mut Findings<'_>) -> bool {
        let added: usize = object.merged.added.iter().map(|(key, text)| key.len() + text.len()).sum();
        let bytes = (object.node.text.len() + added) as u64;
        self.bytes = self.bytes.saturating_add(count.saturating_mul(bytes));
        let is_too_long = self.bytes > MAX_EXPANDED_BYTES;
        if is_too_long {
            let message = format!(
                "`repeat`, `matrix` and defaults make requests of more than {MAX_EXPANDED_BYTES} bytes together: put fewer objects into the file, or each on its own line of a `.jsonl` file"
            );
            findings.add(&below(object.pointer, DROPREEL_KEY), object.own_at(), message);
        }
        is_too_long
    }
}

/// An object with its own keys read.
struct Object<'n, 'a> {
    node: &'n Node<'a>,
    own_members: &'n [Member<'a>],
    /// The same with defaults.
    merged: MergedJob<'a>,
    pointer: &'n str,
    /// Which of the own members is dropreel's.
    dropreel: Option<usize>,
    own_keys: DropreelMember<'a>,
    limits: &'n JobFileLimits,
    pictures_of_defaults: &'n BTreeSet<String>,
}

/// One value of a varied key.
struct Choice<'c> {
    key: &'c str,
    value: Node<'c>,
    /// Which of its values, from 1.
    item: u64,
}

impl<'a> Object<'_, 'a> {
    fn is_expanded(&self) -> bool {
        self.own_keys.repeat.is_some() || !self.own_keys.matrix.is_empty()
    }

    /// Byte at which the `dropreel` member begins.
    fn own_at(&self) -> usize {
        self.dropreel
            .and_then(|index| self.own_members.get(index))
            .map_or(self.node.at, |member| member.key_at)
    }

    /// How many jobs it stands for.
    fn count(&self) -> u64 {
        let lengths = self.own_keys.matrix.iter().map(|key| key.values.len() as u64);
        lengths.fold(self.own_keys.repeat.unwrap_or(1), u64::saturating_mul)
    }

    /// The seeds of `repeat`: the object's own one first, the others drawn, all different. None if the matrix has them.
    fn draw_seeds(&self, rng: &Rng) -> Vec<String> {
        let has_seeds = self.own_keys.matrix.iter().any(|key| key.key == SEED_KEY);
        let Some(repeat) = self.own_keys.repeat.filter(|_| !has_seeds) else { return Vec::new() };
        let own =
            self.merged.members.iter().find(|member| member.key == SEED_KEY).map(|member| member.value.text);
        let mut used: BTreeSet<String> = own.map(str::to_owned).into_iter().collect();
        let mut seeds: Vec<String> = used.iter().cloned().collect();
        while (seeds.len() as u64) < repeat {
            let seed = rng.below(SEED_END).to_string();
            if used.insert(seed.clone()) {
                seeds.push(seed);
            }
        }
        seeds
    }

    /// The combination of this number, from 0. The last key varies fastest, and the seeds of `repeat` faster still.
    fn combination<'c>(&'c self, number: u64, seeds: &'c [String]) -> Vec<Choice<'c>> {
        let repeat = self.own_keys.repeat.unwrap_or(1);
        let mut rest = number / repeat;
        let mut choices = Vec::new();
        for key in self.own_keys.matrix.iter().rev() {
            let length = key.values.len() as u64;
            let item = usize::try_from(rest % length).unwrap_or(0);
            rest /= length;
            choices.extend(key.values.get(item).map(|value| Choice {
                key: &key.key,
                value: value.clone(),
                item: item as u64 + 1,
            }));
        }
        choices.reverse();
        let seed = usize::try_from(number % repeat).ok().and_then(|index| seeds.get(index));
        choices.extend(seed.map(|seed| Choice {
            key: SEED_KEY,
            value: Node { at: self.own_at(), text: seed, value: JsonValue::Number },
            item: number % repeat + 1,
        }));
        choices
    }

    /// The object's members with these choices, and the choices as text.
    fn vary<'c>(&'c self, combination: &'c [Choice<'c>]) -> (Vec<Member<'c>>, Vec<(&'c str, &'c str)>) {
        let mut members: Vec<Member<'c>> = self.merged.members.clone();
        for choice in combination {
            match members.iter_mut().find(|member| member.key == choice.key) {
                Some(member) if member.value.text == choice.value.text => {}
                Some(member) => member.value = choice.value.clone(),
                None => members.push(Member {
                    key: choice.key.into(),
                    key_at: choice.value.at,
                    value: choice.value.clone(),
                }),
            }
        }
        (members, combination.iter().map(|choice| (choice.key, choice.value.text)).collect())
    }

    /// Warns about what every combination has in common.
    fn warn(&self, findings: &mut Findings<'_>) {
        for key in &self.own_keys.matrix {
            if let Some(member) = self.own_members.iter().find(|member| member.key == key.key) {
                let message = format!("{} is replaced by each of its values in `matrix`", quoted(&key.key));
                findings.warn(&below(self.pointer, &key.key), member.key_at, message);
            }
            if key.key == SEED_KEY && self.own_keys.repeat > Some(1) {
                let message = "`repeat` makes and bills every job several times with the same seed: leave out `repeat`, or `seed` in `matrix`";
                findings.warn(&below(self.pointer, DROPREEL_KEY), self.own_at(), message);
            }
        }
    }

    /// In words which values of a combination have a problem. The values themselves may be addresses or prompts.
    fn describe(&self, values: &[(&str, u64)]) -> String {
        let varies = |key: &str| match self.own_keys.matrix.iter().find(|candidate| candidate.key == key) {
            Some(key) => key.values.len() > 1,
            None => self.own_keys.repeat > Some(1),
        };
        let values = values.iter().filter(|(key, _)| varies(key)).take(MAX_NAMED_KEYS);
        let values: Vec<String> =
            values.map(|(key, number)| format!("value {number} of {}", quoted(key))).collect();
        if values.is_empty() { String::new() } else { format!(" (with {})", values.join(", ")) }
    }

    /// The draft of the request with these `members`; `number` is that of the combination, from 1.
    fn draft(
        &self,
        members: &[Member<'_>],
        set: &[(&str, &str)],
        number: Option<u64>,
        findings: &mut Findings<'_>,
    ) -> Option<Draft> {
        let listed = findings.listed();
        let rules = PictureRules { pictures: self.limits.pictures, of_defaults: self.pictures_of_defaults };
        let request = check::request(self.node, members, self.pointer, self.limits, rules, findings);
        findings.name_files(listed, |place| {
            let is_set = set.iter().any(|(key, _)| below(self.pointer, key) == place);
            self.merged.file_of(self.pointer, place).filter(|_| !is_set)
        });
        let request = request?;
        let used = self.merged.used(set);
        let added = self.merged.added.iter().filter(|(key, _)| !set.iter().any(|(varied, _)| varied == key));
        let set: Vec<(&str, &str)> = added.chain(set).copied().collect();
        let own = &self.own_keys;
        let name = own.name.as_deref().unwrap_or_default();
        let numbered =
            |text: &str| number.map_or_else(|| text.to_owned(), |number| format!("{text}-{number}"));
        Some(Draft {
            name: number.map_or_else(|| name.to_owned(), |number| numbered_name(name, number)),
            priority: own.priority,
            max_cost: own.max_cost,
            labels: own.labels.clone(),
            key: own.key.as_deref().map(numbered),
            object_key: own.key.clone().filter(|_| number == Some(1)),
            again: own.again,
            not_before: own.not_before,
            model: request.model,
            prompt: request.prompt,
            body: edited(self.node, self.own_members, self.dropreel, &set),
            defaults: used,
            pictures: pictures::named(members, rules),
            warnings: findings.take_warnings(MAX_WARNINGS),
            variation: None,
            place: ObjectPlace { pointer: self.pointer.to_owned(), line: findings.line(self.node.at) },
        })
    }
}

/// The values of a combination that are short and simple, for the history. Others may be addresses or prompts.
fn in_words(combination: &[Choice<'_>]) -> String {
    let words = combination.iter().take(MAX_NAMED_KEYS).map(|choice| {
        let value = match &choice.value.value {
            JsonValue::Text(text) if !text.contains("://") => text,
            JsonValue::Number | JsonValue::Flag(_) | JsonValue::Null => choice.value.text,
            _ => "",
        };
        let is_shown = (1..=MAX_SHOWN_CHARS).contains(&value.chars().count());
        let value = if is_shown { quoted(value) } else { format!("value {}", choice.item) };
        format!("{} {value}", quoted(choice.key))
    });
    words
        .zip([": "].into_iter().chain(std::iter::repeat(", ")))
        .map(|(words, before)| before.to_owned() + &words)
        .collect()
}

/// The name with a number, cut so that it is not too long.
pub fn numbered_name(name: &str, number: u64) -> String {
    let ending = format!("-{number}");
    let kept: String = name.chars().take(MAX_NAME_CHARS.saturating_sub(ending.len())).collect();
    kept + &ending
}
