//! The corpus of job files: every bad file is rejected with the problems in its `.expect` file, every good one gives the
//! drafts in its. And properties that hold for any bytes.
//!
//! `bad/NAME.expect` has the cause, then a line for each problem: pointer (`root` for the whole), line, column, and a part
//! of the message. `good/NAME.expect` has a line for each draft: name, priority, model, and the body to be sent as a JSON
//! string.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests may end the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dropreel::clock::Timestamp;
use dropreel::jobfile::{
    Cause, Defaults, DefaultsFile, Draft, Form, JobFileLimits, JobFileReader, LineError, MAX_PROBLEMS,
    Problem, Refusal, read_document, read_lines, stem, with_callback,
};
use dropreel::money::Quota;
use dropreel::pricing::models::MODELS;
use dropreel::provider::wire::catalogue::read_catalogue;
use dropreel::rng::Rng;
use dropreel::sandbox::Options;
use dropreel::sandbox::faults::Generation;
use dropreel::sandbox::http_types::Request;
use dropreel::sandbox::world::World;
use proptest::prelude::*;
use serde_json::value::RawValue;

const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);

/// Reads a file in its form. Rejections of lines are joined, with the cause of the first.
fn read(name: &str, bytes: &[u8], limits: &JobFileLimits) -> Result<Vec<Draft>, Refusal> {
    if Form::of_name(name) == Some(Form::Document) {
        return read_document(bytes, stem(name), limits, &Rng::seeded(1));
    }
    let (mut drafts, mut refused) = (Vec::new(), None::<Refusal>);
    let reader = JobFileReader::new(limits.clone(), Rng::seeded(1));
    let form = Form::of_name(name).expect("a job file");
    // A small buffer, so that lines arrive in chunks.
    for read in reader.read_lines(form, BufReader::with_capacity(7, bytes), stem(name)) {
        match (read, &mut refused) {
            (Ok(draft), _) => drafts.push(draft),
            (Err(LineError::Refused(more)), Some(refusal)) => refusal.problems.extend(more.problems),
            (Err(LineError::Refused(first)), None) => refused = Some(first),
            (Err(LineError::Unreadable(error)), _) => panic!("{name}: {error}"),
        }
    }
    refused.map_or(Ok(drafts), Err)
}

fn corpus(folder: &str) -> Vec<(String, Vec<u8>, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jobfiles").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the corpus is there")
        .map(|entry| entry.expect("the corpus can be listed").path())
        .filter(|path| path.extension().is_some_and(|ending| ending != "expect"))
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("the corpus can be read"), path)
        })
        .collect();
    files.sort();
    files
}

/// The text of `a.json.expect` beside `a.json`.
fn expectation(path: &Path) -> String {
    let path = PathBuf::from(format!("{}.expect", path.display()));
    fs::read_to_string(&path).unwrap_or_default()
}

fn to_line(problem: &Problem) -> String {
    let pointer = if problem.pointer.is_empty() { "root" } else { &problem.pointer };
    format!("{pointer} {} {} {}", problem.line, problem.column, problem.message)
}

/// Whether a reported problem is the expected one: same position, and the expected text in its message.
fn matches_expected(reported: &str, expected: &str) -> bool {
    let (reported, expected): (Vec<_>, Vec<_>) =
        (reported.splitn(4, ' ').collect(), expected.splitn(4, ' ').collect());
    reported.len() == 4
        && expected.len() == 4
        && reported[..3] == expected[..3]
        && reported[3].contains(expected[3])
}

#[test]
fn bad_files_are_rejected_with_their_expected_problems() {
    let files = corpus("bad");
    assert!(files.len() >= 70, "only {} bad files", files.len());
    let mut different = String::new();
    for (name, bytes, path) in files {
        let refusal = match read(&name, &bytes, &JobFileLimits::default()) {
            Err(refusal) => refusal,
            Ok(drafts) => panic!("{name} passes as {drafts:?}"),
        };
        let reported: Vec<String> = refusal.problems.iter().map(to_line).collect();
        let expected = expectation(&path);
        let (cause, expected) = expected.split_once('\n').unwrap_or_default();
        let expected: Vec<&str> = expected.lines().collect();
        let is_expected = cause == format!("{:?}", refusal.cause)
            && reported.len() == expected.len()
            && reported.iter().zip(expected).all(|(reported, expected)| matches_expected(reported, expected));
        if !is_expected {
            different += &format!("--- {name}\n{:?}\n{}\n", refusal.cause, reported.join("\n"));
        }
        assert!(!reported.concat().contains("canary"), "{name}: an address is shown");
    }
    assert!(different.is_empty(), "problems differ from the expected ones:\n{different}");
}

#[test]
fn good_files_give_their_expected_drafts() {
    let files = corpus("good");
    assert!(files.len() >= 25, "only {} good files", files.len());
    let mut different = String::new();
    for (name, bytes, path) in files {
        let drafts = match read(&name, &bytes, &JobFileLimits::default()) {
            Ok(drafts) => drafts,
            Err(refusal) => panic!("{name} is refused: {:#?}", refusal.problems),
        };
        let given: String = drafts
            .iter()
            .map(|draft| {
                let body = serde_json::Value::from(draft.body.as_str());
                format!("{} {} {} {body}\n", draft.name, draft.priority, draft.model)
            })
            .collect();
        if given != expectation(&path) {
            different += &format!("--- {name}\n{given}");
        }
    }
    assert!(different.is_empty(), "drafts differ from the expected ones:\n{different}");
}

#[test]
fn dropreel_member_sets_the_draft() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jobfiles/good/dropreel_everything.json");
    let bytes = fs::read(path).expect("the corpus is there");
    let drafts = read("x.json", &bytes, &JobFileLimits::default()).expect("a good file");
    let [draft] = &drafts[..] else { panic!("one draft, not {drafts:?}") };
    assert_eq!(
        draft.labels.iter().collect::<Vec<_>>(),
        [(&"a".to_owned(), &String::new()), (&"项目".to_owned(), &"春".to_owned())]
    );
    assert_eq!((draft.key.as_deref(), draft.again), (Some("k"), true));
    assert_eq!(draft.not_before, Timestamp::parse_rfc3339("2026-11-23T00:00:00Z"));
    assert_eq!(draft.max_cost, Some(Quota::new(125_000)));
    assert_eq!(draft.prompt.as_deref(), Some("春天的樱花树下,花瓣随风飘落"));
    assert!(!format!("{draft:?}").contains("春天"), "a prompt is shown");
}

#[test]
fn seeds_are_drawn_once_all_different_after_the_own_one() {
    let seeds = |object: &str, rng: u64| -> Vec<u32> {
        let limits = JobFileLimits { max_expansion: 1000, ..JobFileLimits::default() };
        let drafts = read_document(object.as_bytes(), "x", &limits, &Rng::seeded(rng)).expect("a good file");
        let seed = |draft: &Draft| parsed(&draft.body)["seed"].get().parse().expect("a whole number");
        drafts.iter().map(seed).collect()
    };
    let object = r#"{"model": "wan2.5-t2v", "prompt": "a", "seed": 7, "dropreel": {"repeat": 1000}}"#;
    let own = seeds(object, 1);
    assert_eq!((own.len(), own[0]), (1000, 7));
    assert!(own.iter().all(|seed| *seed <= 2_147_483_647));
    assert_eq!(own.iter().collect::<BTreeSet<_>>().len(), 1000);
    assert_ne!(seeds(object, 2)[1..], own[1..]);
    let product = r#"{"model": "m", "dropreel": {"repeat": 2, "matrix": {"n": [1, 2]}}}"#;
    let product = seeds(product, 1);
    assert_eq!(product[..2], product[2..], "the same seeds for each value, to compare");
}

#[test]
fn jobs_of_one_object_share_its_own_keys() {
    let text = r#"[{"model": "m"},
        {"model": "m", "dropreel": {"name": "n", "key": "k", "priority": 5, "labels": {"a": "b"}, "repeat": 2,
         "max_cost_usd": 1}}, {"model": "m", "dropreel": {"key": "k2"}}]"#;
    let drafts = read("x.json", text.as_bytes(), &JobFileLimits::default()).expect("a good file");
    let keys: Vec<Vec<&str>> = drafts.iter().map(|draft| draft.keys().collect()).collect();
    assert_eq!(keys, [vec![], vec!["k-1", "k"], vec!["k-2"], vec!["k2"]]);
    let places: Vec<_> =
        drafts.iter().map(|draft| (draft.place.pointer.as_str(), draft.place.line)).collect();
    assert_eq!(places, [("/0", 1), ("/1", 2), ("/1", 2), ("/2", 3)]);
    let (first, second) = (&drafts[1], &drafts[2]);
    let name = |draft: &Draft| draft.name.clone();
    assert_eq!([name(first), name(second)], ["n-1", "n-2"]);
    assert_eq!(
        (&second.labels, second.priority, second.max_cost),
        (&first.labels, 5, Some(Quota::new(500_000)))
    );
    let long = format!(r#"{{"model": "m", "dropreel": {{"name": "{}", "repeat": 10}}}}"#, "春".repeat(200));
    let drafts = read("x.json", long.as_bytes(), &JobFileLimits::default()).expect("a good file");
    assert_eq!(drafts[9].name, format!("{}-10", "春".repeat(197)));
}

#[test]
fn history_shows_short_values_of_a_combination_only() {
    let cases = [
        (r#""repeat": 1"#, "1 of 1: `seed` `1410981606`"),
        (
            r#""matrix": {"a": [true], "b": ["\u6625"], "c": [null]}"#,
            "1 of 1: `a` `true`, `b` `春`, `c` `null`",
        ),
        (
            r#""matrix": {"url": ["https://canary.example/a.png"], "object": [{"a": 1}], "empty": [""]}"#,
            "1 of 1: `url` value 1, `object` value 1, `empty` value 1",
        ),
        (r#""matrix": {"prompt": ["a prompt that is longer than is shown"]}"#, "1 of 1: `prompt` value 1"),
    ];
    for (own, expected) in cases {
        let text = format!(r#"{{"model": "m", "dropreel": {{{own}}}}}"#);
        let drafts = read("x.json", text.as_bytes(), &JobFileLimits::default()).expect("a good file");
        assert_eq!(drafts[0].variation.as_deref(), Some(expected));
    }
}

#[test]
fn requests_made_of_one_document_are_bounded_in_bytes() {
    let object = format!(r#"{{"model":"m","pad":"{}","dropreel":{{"repeat":70}}}}"#, "x".repeat(1 << 20));
    let limits = JobFileLimits { max_bytes: 2 << 20, max_expansion: 70, ..JobFileLimits::default() };
    for name in ["x.json", "x.jsonl"] {
        let refusal = read(name, object.as_bytes(), &limits).expect_err("70 MiB");
        assert_eq!(refusal.problems.len(), 1);
        assert!(refusal.to_string().contains("67108864 bytes"), "{refusal}");
    }
}

#[test]
fn cut_documents_count_as_unfinished() {
    for (name, bytes, _) in corpus("good") {
        if Form::of_name(&name) != Some(Form::Document) {
            continue;
        }
        for end in 0..bytes.trim_ascii_end().len() {
            let refusal = read(&name, &bytes[..end], &JobFileLimits::default()).expect_err("a cut file");
            assert!(refusal.unfinished(), "{name} cut to {end} bytes: {:?}", refusal.problems);
        }
    }
}

fn nested(levels: usize) -> String {
    // The object is the first level.
    format!(r#"{{"model": "m", "deep": {}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1))
}

#[test]
fn nesting_is_limited_to_128_levels() {
    assert!(read("x.json", nested(128).as_bytes(), &JobFileLimits::default()).is_ok());
    for levels in [129, 10_000, 400_000] {
        for name in ["x.json", "x.jsonl"] {
            let refusal =
                read(name, nested(levels).as_bytes(), &JobFileLimits::default()).expect_err("too deep");
            assert_eq!(refusal.cause, Cause::Wrong);
            assert_eq!(refusal.problems[0].message, "nested more than 128 levels deep");
            assert_eq!(refusal.problems[0].column, 24 + 127);
        }
    }
    let side_by_side = format!("[{}{}]", format!("{},", nested(3)).repeat(500), nested(3));
    assert!(read("x.json", side_by_side.as_bytes(), &JobFileLimits::default()).is_ok());
    let cut = &nested(10_000)[..15_000];
    assert!(read("x.json", cut.as_bytes(), &JobFileLimits::default()).expect_err("cut").unfinished());
}

#[test]
fn files_over_the_size_limit_are_rejected() {
    let padded = |bytes: usize| {
        let rest = r#"{"model":"m","pad":""}"#;
        rest.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - rest.len())))
    };
    let limits = JobFileLimits { max_bytes: 1 << 20, max_stream_bytes: 3 << 20, ..JobFileLimits::default() };
    for name in ["x.json", "x.jsonl"] {
        assert!(read(name, padded(1 << 20).as_bytes(), &limits).is_ok());
        let refusal = read(name, padded((1 << 20) + 1).as_bytes(), &limits).expect_err("too long");
        assert!(refusal.unfinished() && refusal.problems[0].message.contains("1048576"), "{refusal}");
    }
    let lines = format!("{}\n{{\"model\":\"m\"}}\n", padded((2 << 20) + 1));
    let items: Vec<_> = read_lines(lines.as_bytes(), "x", &limits, &Rng::seeded(1)).collect();
    let [Err(LineError::Refused(too_long)), Ok(draft)] = &items[..] else { panic!("{items:?}") };
    assert_eq!((too_long.problems[0].line, draft.name.as_str()), (1, "x-2"));

    let stream = "{\"model\":\"m\"}\n".repeat(20);
    let limits =
        |max_stream_bytes| JobFileLimits { max_bytes: 100, max_stream_bytes, ..JobFileLimits::default() };
    let all = stream.len() as u64;
    assert_eq!(read("x.jsonl", stream.as_bytes(), &limits(all)).map(|drafts| drafts.len()), Ok(20));
    let refusal = read("x.jsonl", stream.as_bytes(), &limits(all - 1)).expect_err("too long");
    assert_eq!((refusal.problems.len(), refusal.problems[0].line), (1, 20), "{refusal}");
}

/// Yields `left` lines of `x`, each after an interrupted read, and then the error `end`.
struct Endless {
    left: u64,
    end: Option<std::io::ErrorKind>,
    interrupted: bool,
}

fn endless(left: u64, end: Option<std::io::ErrorKind>) -> BufReader<Endless> {
    BufReader::new(Endless { left, end, interrupted: false })
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        if self.left == 0 {
            return self.end.map_or(Ok(0), |kind| Err(kind.into()));
        }
        self.left -= 1;
        buffer[..2].copy_from_slice(b"x\n");
        Ok(2)
    }
}

#[test]
fn read_errors_are_not_problems_of_the_file() {
    let reader = endless(1, Some(std::io::ErrorKind::StorageFull));
    let mut lines = read_lines(reader, "x", &JobFileLimits::default(), &Rng::seeded(1));
    assert!(matches!(lines.next(), Some(Err(LineError::Refused(_)))));
    assert!(matches!(lines.next(), Some(Err(LineError::Unreadable(_)))));
    assert!(lines.next().is_none());
}

#[test]
fn problems_over_a_thousand_are_only_counted() {
    let reader = endless(1500, None);
    let refused: Vec<_> = read_lines(reader, "x", &JobFileLimits::default(), &Rng::seeded(1)).collect();
    assert_eq!(refused.len(), MAX_PROBLEMS + 1);
    let Some(Err(LineError::Refused(last))) = refused.last() else { panic!("a refusal ends it") };
    assert_eq!(
        (last.problems[0].message.as_str(), last.problems[0].line),
        ("and 500 more problems, not listed", 1000)
    );

    let keys: String = (0..1500).map(|n| format!(r#","k{n}":1"#)).collect();
    let line = format!(r#"{{"model":"m","dropreel":{{"name":"a"{keys}}}}}"#);
    let refusal = read("x.jsonl", line.as_bytes(), &JobFileLimits::default()).expect_err("unknown keys");
    assert_eq!(refusal.problems.len(), MAX_PROBLEMS + 1);

    let document = format!("[{}5]", "5,".repeat(1499));
    let refusal = read("x.json", document.as_bytes(), &JobFileLimits::default()).expect_err("no objects");
    assert_eq!(refusal.problems.len(), MAX_PROBLEMS + 1);
    assert_eq!(refusal.problems[MAX_PROBLEMS].message, "and 500 more problems, not listed");
}

/// Values that change if a usual library parses and writes them again.
fn written_value() -> impl Strategy<Value = String> {
    let odd = r#"1.10 1e400 -0 123456789012345678901234567890 0.1E+2 true null "\u6625\/\ud83c\udf38" "}{,\"" {} [] [1,{"dropreel":{}}]"#;
    let odd: Vec<String> = odd.split(' ').map(str::to_owned).collect();
    let text = any::<String>().prop_map(|text| serde_json::Value::from(text).to_string());
    prop_oneof![prop::sample::select(odd), text]
}

fn blanks() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,3}"
}

/// The members of an object as text: `"key" : value`, with blanks around.
fn members() -> impl Strategy<Value = Vec<String>> {
    let member = (blanks(), blanks(), written_value(), blanks());
    prop::collection::vec(member, 0..6).prop_map(|members| {
        let numbered = members.into_iter().enumerate();
        numbered.map(|(n, (a, b, value, c))| format!("{a}\"k{n}\"{b}:{value}{c}")).collect()
    })
}

fn parsed(object: &str) -> std::collections::BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(object).expect("an object")
}

fn texts(object: &str) -> Vec<(String, String)> {
    parsed(object).into_iter().map(|(key, value)| (key, value.get().to_owned())).collect()
}

proptest! {
    #[test]
    fn body_is_the_text_without_the_dropreel_member(
        mut members in members(), blank in blanks(), model_at in 0_usize..7, member_at in 0_usize..8,
    ) {
        members.insert(model_at.min(members.len()), r#""model":"m""#.to_owned());
        members.insert(member_at.min(members.len()), format!(r#"{blank}"dropreel": {{"name": "n, }}"}}{blank}"#));
        let object = format!("{{{}}}", members.join(","));
        let drafts = read("x.json", object.as_bytes(), &JobFileLimits::default());
        let body = &drafts.expect("a good object")[0].body;

        // One part was removed and nothing else changed...
        let head = object.bytes().zip(body.bytes()).take_while(|(a, b)| a == b).count();
        let tail = object.bytes().rev().zip(body.bytes().rev()).take_while(|(a, b)| a == b).count();
        prop_assert!(head + tail >= body.len(), "{} became {}", object, body);
        // ...and it was the `dropreel` member.
        let mut left = texts(&object);
        left.retain(|(key, _)| key != "dropreel");
        prop_assert_eq!(texts(body), left);
    }

    #[test]
    fn matrix_changes_the_text_of_its_own_keys_only(
        mut members in members(), values in prop::collection::vec(written_value(), 1..4), member_at in 0_usize..8,
    ) {
        let mut distinct = values;
        distinct.sort();
        distinct.dedup();
        let matrix = format!(r#"{{"k0": [{0}], "k9": [{0}]}}"#, distinct.join(" , "));
        let at = member_at.min(members.len());
        members.insert(at, format!(r#""model":"m" ,"dropreel": {{"matrix": {matrix}}}"#));
        let object = format!("{{{}}}", members.join(","));
        let Ok(drafts) = read("x.json", object.as_bytes(), &JobFileLimits::default()) else {
            // Different texts of the same value.
            return Ok(());
        };
        let product = distinct.iter().flat_map(|k0| distinct.iter().map(move |k9| (k0, k9)));
        prop_assert_eq!(drafts.len(), distinct.len() * distinct.len());
        for (draft, (k0, k9)) in drafts.iter().zip(product) {
            let mut expected = texts(&object);
            expected.retain(|(key, _)| !["dropreel", "k0", "k9"].contains(&key.as_str()));
            expected.extend([("k0".to_owned(), k0.clone()), ("k9".to_owned(), k9.clone())]);
            expected.sort();
            prop_assert_eq!(texts(&draft.body), expected);
        }
    }

    #[test]
    fn callback_url_is_the_only_addition_to_a_body(members in members(), url in "[ -~]{0,40}") {
        let body = format!("{{{}}}", members.join(","));
        let sent = with_callback(&body, &url);
        let mut expected = texts(&body);
        expected.push(("callback_url".to_owned(), serde_json::Value::from(url).to_string()));
        expected.sort();
        prop_assert_eq!(texts(&sent), expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for name in ["x.json", "x.jsonl"] {
            let _ = read(name, &bytes, &JobFileLimits::default());
        }
    }

    #[test]
    fn damaged_files_never_panic_or_pass_as_finished(
        file in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(), with in any::<Vec<u8>>(), over in 0_usize..4,
    ) {
        let files = corpus(if over % 2 == 0 { "good" } else { "bad" });
        let (name, mut bytes, _) = files[file.index(files.len())].clone();
        let at = cut.index(bytes.len() + 1);
        bytes.splice(at..(at + over).min(bytes.len()), with);
        match read(&name, &bytes, &JobFileLimits::default()) {
            Ok(drafts) => {
                for draft in drafts {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&draft.body).is_ok() || draft.body.contains("1e400"));
                    parsed(&draft.body);
                }
            }
            Err(refusal) => {
                prop_assert!(!refusal.problems.is_empty());
                prop_assert!(refusal.problems.iter().all(|problem| problem.line > 0 && problem.column > 0));
            }
        }
    }
}

#[test]
fn files_with_too_many_jobs_are_rejected() {
    let limits = JobFileLimits { max_jobs: 3, ..JobFileLimits::default() };
    let job = r#"{"model":"wan2.5-t2v","prompt":"a"}"#;
    let two = r#"{"model":"m","dropreel":{"repeat":2}}"#;
    for objects in
        [vec![job; 3], vec![job; 4], vec![job; 5000], vec![two, job], vec![two; 2], vec![job, two, job]]
    {
        let jobs: usize = objects.iter().map(|object| if *object == two { 2 } else { 1 }).sum();
        for (name, text) in
            [("x.json", format!("[{}]", objects.join(","))), ("x.jsonl", objects.join("\n\n"))]
        {
            match read(name, text.as_bytes(), &limits) {
                Ok(drafts) => assert_eq!((drafts.len(), jobs), (3, 3), "{name}"),
                Err(refusal) => {
                    assert!(jobs > 3 && !refusal.unfinished(), "{name}: {refusal}");
                    assert_eq!(refusal.problems.len(), 1, "{name}: {refusal}");
                    assert!(refusal.to_string().contains("inbox.max_jobs"), "{name}: {refusal}");
                }
            }
        }
    }
}

/// The requests of `warnings.txt`, each with the warnings expected of it.
fn warning_cases() -> Vec<(String, Vec<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jobfiles/warnings.txt");
    let text = fs::read_to_string(path).expect("the cases are there").replace("{800}", &"春".repeat(800));
    let mut cases: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match (line.strip_prefix("  "), cases.last_mut()) {
            (Some(warning), Some((_, expected))) => expected.push(warning.to_owned()),
            _ => cases.push((line.to_owned(), Vec::new())),
        }
    }
    cases
}

/// The simulated provider has limits of its own: a wrong one in either place shows as a difference.
#[test]
fn newest_service_refuses_exactly_what_has_a_warning() {
    let options = Options { generation: Generation::New, ..Options::default() };
    let mut world = World::new(options, "https://example.com");
    let current: Vec<&str> =
        MODELS.iter().filter(|model| !model.takes("extra")).map(|model| model.name).collect();
    let limits = JobFileLimits { newest_host: true, ..JobFileLimits::default() };
    let (mut different, mut compared) = (String::new(), 0);
    for (number, (case, _)) in warning_cases().iter().enumerate() {
        let request = case.strip_prefix("newest ").unwrap_or(case);
        let draft = read("x.json", request.as_bytes(), &limits).expect(request).remove(0);
        // Whether the newest service knows the switch where sound is always on is not published.
        let is_unclear = draft.model == "wan2.5-preview" && draft.body.contains("generate_audio");
        if !current.contains(&draft.model.as_str()) || is_unclear {
            continue;
        }
        // These are cut, ignored or left to the maker of the model.
        let is_refusal = |warning: &&Problem| {
            !["characters", "takes pictures as"].iter().any(|part| warning.message.contains(part))
        };
        let warnings: Vec<String> = draft.warnings.iter().filter(is_refusal).map(to_line).collect();
        let answer = world.handle(&Request::submit(&number.to_string(), draft.body), NOW);
        if (answer.status == 200) != warnings.is_empty() {
            different +=
                &format!("--- {case}\n{} {}\n{}\n", answer.status, answer.value(), warnings.join("\n"));
        }
        compared += 1;
    }
    assert!(different.is_empty(), "warnings and refusals differ:\n{different}");
    assert!(compared >= 30, "only {compared} requests were compared");
}

#[test]
fn known_prices_are_those_that_the_newest_service_lists() {
    let options = Options { generation: Generation::New, ..Options::default() };
    let answer = World::new(options, "https://example.com").handle(&Request::get("/v1/models"), NOW).value();
    let catalogue = read_catalogue(&answer).expect("a list");
    for model in MODELS.iter().filter(|model| !model.takes("extra")) {
        let listed = catalogue.prices(model.name);
        let mut listed: Vec<_> =
            listed.iter().map(|listed| (listed.resolution.as_str(), listed.sound, listed.price)).collect();
        listed.sort();
        let mut known = model.second_prices();
        known.sort();
        assert_eq!(listed, known, "{}", model.name);
    }
}

#[test]
fn requests_have_their_expected_warnings() {
    let cases = warning_cases();
    let mut different = String::new();
    for (case, expected) in &cases {
        let (newest_host, request) = match case.strip_prefix("newest ") {
            Some(request) => (true, request),
            None => (false, case.as_str()),
        };
        let limits = JobFileLimits { newest_host, ..JobFileLimits::default() };
        let mut drafts = read("x.json", request.as_bytes(), &limits).expect(request);
        let warnings = drafts.remove(0).warnings;
        let is_expected = warnings.len() == expected.len()
            && warnings.iter().zip(expected).all(|(warning, expected)| {
                let (pointer, part) = expected.split_once(' ').expect("a pointer and a message");
                warning.pointer == pointer && warning.message.contains(part) && warning.column > 1
            });
        if !is_expected {
            let lines: Vec<String> = warnings.iter().map(to_line).collect();
            different += &format!("--- {case}\n{}\n", lines.join("\n"));
        }
    }
    assert!(different.is_empty(), "warnings differ from the expected ones:\n{different}");
    for model in MODELS {
        let of_model = |case: &str| case.contains(&format!(r#""model":"{}""#, model.name));
        assert!(
            cases.iter().any(|(case, expected)| of_model(case) && !expected.is_empty()),
            "{}",
            model.name
        );
    }
}

#[test]
fn warnings_are_limited_and_listed_for_rejected_files_too() {
    let keys: String =
        (0..1500).map(|n| format!(r#","promp{}":1"#, char::from_u32(0x4e00 + n).unwrap_or('x'))).collect();
    let job = format!(r#"{{"model":"wan2.6","image_urls":["https://example.com/a.png"]{keys}}}"#);
    let warnings =
        &read("x.json", job.as_bytes(), &JobFileLimits::default()).expect("a good file")[0].warnings;
    assert_eq!((warnings.len(), warnings[20].message.as_str()), (21, "and 1480 more warnings, not listed"));

    let good = r#"{"model":"wan2.6","prompt":"a","duration":7}"#;
    let bad = r#"{"model":"wan2.6","prompt":"a","duration":7,"seed":-1}"#;
    for (name, text) in [("x.json", format!("[{good},{bad}]")), ("x.jsonl", format!("{good}\n{bad}\n"))] {
        let refusal = read(name, text.as_bytes(), &JobFileLimits::default()).expect_err("a bad seed");
        assert_eq!(refusal.problems.len(), 1, "{name}");
        let pointers: Vec<&str> = refusal.warnings.iter().map(|warning| warning.pointer.as_str()).collect();
        let expected: &[&str] =
            if name == "x.json" { &["/0/duration", "/1/duration"] } else { &["/duration"] };
        assert_eq!(pointers, expected, "{name}");
    }
}

/// Reads a document with these defaults, the nearest first, as a job file in `folder`.
fn read_with(object: &str, folder: &str, defaults: &[&str]) -> Result<Vec<Draft>, Refusal> {
    let files: Vec<_> = defaults
        .iter()
        .enumerate()
        .map(|(level, text)| DefaultsFile::read(&format!("{level}/defaults.json"), text.as_bytes()))
        .collect::<Result<_, _>>()
        .expect("good defaults");
    let reader = JobFileReader::new(JobFileLimits::default(), Rng::seeded(1));
    reader.with_defaults(Arc::new(Defaults::new(folder, &files))).read_document(object.as_bytes(), "x")
}

#[test]
fn defaults_are_added_where_a_job_has_no_such_key() {
    let nearest =
        r#"{"duration": 5, "extra": {"audio": true}, "dropreel": {"priority": 3, "labels": {"a": "near"}}}"#;
    let outer = r#"{"model": "m", "duration": 9, "seed": 1.10,
        "dropreel": {"priority": 1, "max_cost_usd": 1, "labels": {"a": "far", "b": "far"}}}"#;
    // The object, and the body to be sent.
    let cases = [
        ("{}", r#"{"duration":5,"extra":{"audio": true},"model":"m","seed":1.10}"#),
        (r#"{ "n": 1.50 }"#, r#"{ "n": 1.50,"duration":5,"extra":{"audio": true},"model":"m","seed":1.10 }"#),
        (
            r#"{"duration":null,"extra":{},"model":"x","seed":7}"#,
            r#"{"duration":null,"extra":{},"model":"x","seed":7}"#,
        ),
        (
            r#"{"dropreel":{"priority":-1},"model":"m"}"#,
            r#"{"model":"m","duration":5,"extra":{"audio": true},"seed":1.10}"#,
        ),
    ];
    for (object, body) in cases {
        let drafts = read_with(object, "spring", &[nearest, outer]).expect("a good job");
        assert_eq!(drafts[0].body, body, "{object}");
    }
    let draft =
        &read_with(r#"{"dropreel":{"labels":{"b":"own"}}}"#, "spring/1", &[nearest, outer]).expect("good")[0];
    assert_eq!((draft.priority, draft.max_cost), (3, Some(Quota::new(500_000))));
    let labels: Vec<_> = draft.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("a", "near"), ("b", "own"), ("folder", "spring/1")]);
    let used: Vec<String> = draft.defaults.iter().map(ToString::to_string).collect();
    let expected = [
        "duration 5 from 0/defaults.json",
        r#"extra {"audio": true} from 0/defaults.json"#,
        "dropreel.labels.a \"near\" from 0/defaults.json",
        "dropreel.priority 3 from 0/defaults.json",
        "model \"m\" from 1/defaults.json",
        "seed 1.10 from 1/defaults.json",
        "dropreel.max_cost_usd 1 from 1/defaults.json",
    ];
    assert_eq!(used.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected.into());
}

#[test]
fn defaults_never_vary_a_key_that_the_job_has() {
    let defaults = r#"{"model": "m", "dropreel": {"matrix": {"size": ["a", "b"], "n": [1, 2]}}}"#;
    let bodies = |object: &str| -> Vec<String> {
        read_with(object, "", &[defaults]).expect("good").into_iter().map(|draft| draft.body).collect()
    };
    assert_eq!(bodies("{}").len(), 4);
    assert_eq!(
        bodies(r#"{"size":"c"}"#),
        [r#"{"size":"c","model":"m","n":1}"#, r#"{"size":"c","model":"m","n":2}"#]
    );
    assert_eq!(bodies(r#"{"size":"c","n":3}"#), [r#"{"size":"c","n":3,"model":"m"}"#]);
}

#[test]
fn problems_of_defaults_name_their_file() {
    let refusal = read_with(r#"{"prompt": "a"}"#, "", &[r#"{"model": "wan2.5-t2v", "duration": "5"}"#]);
    let problems = refusal.expect_err("a wrong duration").problems;
    assert_eq!((problems[0].pointer.as_str(), problems.len()), ("/duration", 1));
    assert!(problems[0].message.ends_with("(from 0/defaults.json)"), "{problems:?}");
    // What no defaults may hold, and the pointer of the problem.
    let bad = [
        (r#"{"dropreel": {"key": "k"}}"#, "/dropreel/key"),
        (r#"{"dropreel": {"name": "n"}}"#, "/dropreel/name"),
        (r#"{"dropreel": {"again": true}}"#, "/dropreel/again"),
        (r#"{"callback_url": "https://example.com/"}"#, "/callback_url"),
        (r#"{"dropreel": {"nmae": 1}}"#, "/dropreel/nmae"),
        (r#"{"dropreel": {"priority": "high"}}"#, "/dropreel/priority"),
        (r#"{"a": 1, "a": 2}"#, "/a"),
        ("[]", ""),
        ("{", ""),
        ("", ""),
    ];
    for (text, pointer) in bad {
        let refusal = DefaultsFile::read("d", text.as_bytes()).expect_err(text);
        assert_eq!(refusal.problems[0].pointer, pointer, "{text}");
    }
    let long = format!(r#"{{"a": "{}"}}"#, "x".repeat(64 << 10));
    assert!(DefaultsFile::read("d", long.as_bytes()).is_err());
    // Short jobs with long defaults are as much in memory as long jobs.
    let long = format!(r#"{{"model": "m", "a": "{}"}}"#, "x".repeat(60 << 10));
    let many = format!("[{}]", vec!["{}"; 2000].join(","));
    assert!(read_with(&many, "", &[&long]).is_err());
}

#[test]
fn line_above_the_header_declares_the_separator() {
    for (text, label) in [
        ("sep=;\r\nmodel;dropreel.labels.a\r\nm;1,2,3\r\n", "1,2,3"),
        ("\u{feff}SEP=,\nmodel,dropreel.labels.a;b;c\nm,x\n", "x"),
    ] {
        let drafts = read("x.csv", text.as_bytes(), &JobFileLimits::default()).expect("a good file");
        assert_eq!(drafts.len(), 1);
        assert_eq!(drafts[0].labels.values().next().map(String::as_str), Some(label), "{text}");
        assert_eq!(drafts[0].place.line, 3);
    }
    // `|` separates no cells: the line is a header, with a column that no job can have.
    assert!(read("x.csv", b"sep=|\nm\n", &JobFileLimits::default()).is_err());
}

proptest! {
    #[test]
    fn own_text_of_a_job_is_the_same_with_defaults(
        object in "\\{( \"[a-d]\" ?: ?(1\\.10|null|\"春\\\\n\"|\\[ \\]),?){0,3}\n?\\}",
        defaults in "\\{\"model\":\"m\"(, \"[a-f]\": ?(2|null|\\{\"x\": \\[1 \\]\\}))?(,\"dropreel\": \\{\"priority\":1\\})?\\}",
    ) {
        let Ok(with) = read_with(&object, "f", &[&defaults]) else { return Ok(()) };
        let body = &with[0].body;
        // Up to its last member, the body is the job's own text.
        let own = object.trim_end().trim_end_matches('}').trim_end();
        prop_assert!(body.starts_with(own), "{} {}", body, object);
        let parsed: BTreeMap<String, Box<RawValue>> = serde_json::from_str(body).expect("an object");
        let before: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&object).expect("an object");
        let added: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&defaults).expect("an object");
        for (key, value) in &parsed {
            let expected = before.get(key).or(added.get(key)).map(|value| value.get());
            prop_assert_eq!(Some(value.get()), expected, "{}", key);
        }
        let missing = added.keys().filter(|key| *key != "dropreel" && !parsed.contains_key(*key)).count();
        prop_assert_eq!(missing, 0);
    }

    #[test]
    fn csv_gives_back_every_text(cells in proptest::collection::vec("[^\\x00\\r]{1,12}", 1..5), tab in any::<bool>()) {
        let separator = if tab { "\t" } else { "," };
        let quote = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
        let header: Vec<String> = (0..cells.len()).map(|n| format!("dropreel.labels.{n}")).collect();
        let row: Vec<String> = cells.iter().map(quote).collect();
        let text = format!("model{separator}{}\nm{separator}{}\n", header.join(separator), row.join(separator));
        let drafts = read("x.csv", text.as_bytes(), &JobFileLimits::default()).expect("a good file");
        for (number, cell) in cells.iter().enumerate() {
            let label = drafts[0].labels.get(&number.to_string()).map_or("", String::as_str);
            prop_assert_eq!(label, if cell.trim().is_empty() { "" } else { cell });
        }
    }
}
