//! Answers of any bytes, of the provider or a server in its place. Every answer has a verdict, no verdict claims more than
//! the answer proves, and its texts contain no secrets and no control characters.
//!
//! An input is a status (or `cut STATUS`, `lost`, `unsent`) on its first line, headers, an empty line and a body.
//! `LINK!` in it is replaced by an address with secrets, `LINK%` and `LINK/` by other spellings of it.
#![no_main]

use std::collections::HashSet;
use std::time::Duration;

use dropreel::clock::Timestamp;
use dropreel::job::event::{StatusVerdict, CancelVerdict, Phase, SubmitVerdict, TaskFacts};
use dropreel::job::retry::MAX_LINK_LIFETIME;
use dropreel::job::{JobError, TaskId};
use dropreel::provider::answer::{AccountRefusal, Classified, ReplyContext};
use dropreel::provider::classify::{classify_cancel, classify_status, classify_submit};
use dropreel::provider::reply::{ApiReply, CallOutcome};
use dropreel::provider::wire::read_error;
use libfuzzer_sys::fuzz_target;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);
const EARLIEST: Timestamp = Timestamp::from_millis(1_577_836_800_000);
const DAY: Duration = Duration::from_secs(24 * 3600);
const CANARY: &str = "c4n4ry";

fuzz_target!(|bytes: &[u8]| {
    let outcome = outcome(bytes);
    let context = ReplyContext { now: NOW, base_url: "https://api.example" };
    let task = TaskId::parse("t-1").expect("an id");
    let mut words = Vec::new();

    let submit = classify_submit(&outcome, context);
    check_common(&outcome, &submit, &mut words);
    check_submit(&outcome, &submit, &mut words);
    let poll = classify_status(&outcome, &task, context);
    check_common(&outcome, &poll, &mut words);
    check_status(&outcome, &poll, &mut words);
    let cancel = classify_cancel(&outcome, context);
    check_common(&outcome, &cancel, &mut words);
    match &cancel.verdict {
        CancelVerdict::Accepted => assert!(matches!(status(&outcome), 200..=299)),
        CancelVerdict::TooLate { why } => {
            assert!(matches!(status(&outcome), 400 | 404 | 409 | 422));
            words.push(why.clone());
        }
        CancelVerdict::Unanswered { why, not_before } => {
            check_wait(*not_before);
            words.push(why.clone());
        }
    }

    let named = contains(bytes, CANARY);
    for words in &words {
        assert!(!words.chars().any(|c| c.is_control() || bends(c)), "{words:?}");
        assert!(words.chars().count() < 1000, "{words:?}");
        assert!(named || !words.contains(CANARY), "{words:?}");
    }
});

fn outcome(bytes: &[u8]) -> CallOutcome {
    let (head, body) = split(bytes, b"\n\n");
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let why = || String::from_utf8_lossy(&with_secrets(body)).into_owned();
    match first {
        "lost" => return CallOutcome::Lost(why()),
        "unsent" => return CallOutcome::NotSent(why()),
        _ => {}
    }
    let (whole, status) = match first.strip_prefix("cut ") {
        Some(status) => (false, status),
        None => (true, first),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let value = HeaderValue::from_bytes(&with_secrets(value.as_bytes()));
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value) {
            headers.append(name, value);
        }
    }
    let body = if whole { Ok(with_secrets(body)) } else { Err(why()) };
    CallOutcome::Reply(ApiReply { status: status.parse().unwrap_or(200), headers, body })
}

/// Replaces each placeholder by an address with secrets, in a spelling in which services quote one.
fn with_secrets(bytes: &[u8]) -> Vec<u8> {
    const LINKS: [(&[u8], &[u8]); 3] = [
        (b"LINK!", b"https://c4n4ry:c4n4ry@hooks.example/callbacks/c4n4ry/c4n4ry?k=c4n4ry#c4n4ry"),
        (b"LINK/", br"https:\/\/hooks.example\/callbacks\/c4n4ry\/c4n4ry?k=c4n4ry"),
        (b"LINK%", b"https%3A%2F%2Fhooks.example%2Fcallbacks%2Fc4n4ry%2Fc4n4ry%3Fk%3Dc4n4ry"),
    ];
    let mut with_secrets = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        match LINKS.iter().find(|(mark, _)| rest.starts_with(mark)) {
            Some((mark, link)) => {
                with_secrets.extend_from_slice(link);
                rest = &rest[mark.len()..];
            }
            None => {
                with_secrets.push(*first);
                rest = after;
            }
        }
    }
    with_secrets
}

fn status(outcome: &CallOutcome) -> u16 {
    match outcome {
        CallOutcome::Reply(reply) => reply.status,
        CallOutcome::Lost(_) | CallOutcome::NotSent(_) => 0,
    }
}

fn whole(outcome: &CallOutcome) -> bool {
    matches!(outcome, CallOutcome::Reply(ApiReply { body: Ok(_), .. }))
}

fn check_common<V>(outcome: &CallOutcome, classified: &Classified<V>, words: &mut Vec<String>) {
    if let Some(AccountRefusal { suspension, is_certain }) = &classified.refusal {
        check_wait(suspension.until);
        words.push(suspension.message.clone());
        assert!(!is_certain || status(outcome) == 429, "only a limit says that it concerns the account");
    }
    let kept: Vec<char> = classified.unusable.iter().flat_map(|kept| kept.chars()).collect();
    for line in kept.split(|c| *c == '\n') {
        words.extend(line.chunks(900).map(|part| part.iter().collect::<String>()));
    }
    if let Some(time) = classified.provider_time {
        check_time(time);
    }
}

fn check_submit(outcome: &CallOutcome, classified: &Classified<SubmitVerdict>, words: &mut Vec<String>) {
    let status = status(outcome);
    match &classified.verdict {
        SubmitVerdict::Accepted { task, reserved } => {
            assert!(matches!(status, 200..=299) && whole(outcome) && classified.refusal.is_none());
            check_task(task);
            assert!(reserved.is_none_or(|reserved| reserved.get() >= 0));
        }
        SubmitVerdict::Refused(error) => {
            check_error(error, words);
            // The one 5xx that is a refusal, and the one that needs no body of the provider's.
            let code = match outcome {
                CallOutcome::Reply(reply) => read_error(reply.bytes(), NOW).and_then(|error| error.code),
                CallOutcome::Lost(_) | CallOutcome::NotSent(_) => None,
            };
            let priceless = code.is_some_and(|code| code.eq_ignore_ascii_case("price_not_configured"));
            assert!(matches!(status, 400..=499) || (status >= 500 && priceless));
            assert!(whole(outcome) || status == 413);
        }
        SubmitVerdict::NotExecuted { why, not_before } => {
            words.push(why.clone());
            check_wait(*not_before);
            assert!(matches!(outcome, CallOutcome::NotSent(_)) || classified.refusal.is_some());
        }
        SubmitVerdict::Blocked { why, not_before } => {
            words.push(why.clone());
            check_wait(*not_before);
            assert!(matches!(status, 300..=499) && !matches!(status, 408 | 409 | 425 | 499));
        }
        SubmitVerdict::Unknown { why, not_before } => {
            words.push(why.clone());
            check_wait(*not_before);
            assert!(!matches!(outcome, CallOutcome::NotSent(_)));
        }
        SubmitVerdict::Replayed { why } => {
            words.push(why.clone());
            assert!(status >= 400);
        }
        SubmitVerdict::DuplicateTask { .. } => panic!("only the store knows"),
        SubmitVerdict::Suspended { .. } => panic!("only the submit stage knows"),
    }
}

fn check_status(outcome: &CallOutcome, classified: &Classified<StatusVerdict>, words: &mut Vec<String>) {
    match &classified.verdict {
        StatusVerdict::Answered(facts) => {
            assert!(matches!(status(outcome), 200..=299) && whole(outcome));
            check_facts(facts, words);
            if let CallOutcome::Reply(reply) = outcome
                && let Ok(serde_json::Value::Object(object)) = serde_json::from_slice(reply.bytes())
                && let Some(named) = object.get("task_id").and_then(|id| TaskId::parse(id.as_str()?.trim()))
            {
                assert_eq!(named.as_str(), "t-1", "the facts of another task are none");
            }
        }
        StatusVerdict::Missing => assert!(matches!(status(outcome), 400 | 404 | 422) && whole(outcome)),
        StatusVerdict::Unanswered { why, not_before } | StatusVerdict::Unreadable { why, not_before } => {
            check_wait(*not_before);
            words.push(why.clone());
        }
    }
}

fn check_facts(facts: &TaskFacts, words: &mut Vec<String>) {
    let ended = matches!(facts.phase, Phase::Completed | Phase::Failed | Phase::Cancelled);
    if let Phase::Unclear(word) = &facts.phase {
        assert!(word.chars().count() <= 65, "{word}");
        words.push(word.clone());
    }
    assert!(facts.progress.is_none_or(|progress| progress <= 100));
    assert!(facts.cost.is_none_or(|cost| ended && cost.get() >= 0));
    assert!(facts.completed_at.is_none() || ended);
    if let Some(time) = facts.completed_at {
        check_time(time);
    }
    if let Some(error) = &facts.error {
        assert!(matches!(facts.phase, Phase::Failed | Phase::Cancelled));
        check_error(error, words);
    }
    let outputs = &facts.outputs;
    assert!(outputs.len() <= 256);
    let links: HashSet<&str> = outputs.iter().map(|output| output.link.expose()).collect();
    assert_eq!(links.len(), outputs.len(), "no output twice");
    let places: HashSet<(&str, u16)> =
        outputs.iter().map(|output| (output.kind.into_str(), output.index)).collect();
    assert_eq!(places.len(), outputs.len(), "no place twice");
    for output in outputs {
        assert!(output.index == 0 || places.contains(&(output.kind.into_str(), output.index - 1)));
        if let Some(time) = output.expires_at {
            check_time(time);
            assert!(time <= facts.completed_at.unwrap_or(NOW).plus(MAX_LINK_LIFETIME));
        }
    }
    assert!(!format!("{outputs:?}").contains("http"), "links are secrets");
}

fn check_task(task: &TaskId) {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/=+~".contains(&byte);
    assert!((1..=512).contains(&task.as_str().len()) && task.as_str().bytes().all(safe), "{task}");
    assert!(!task.as_str().split('/').any(|segment| matches!(segment, "" | "." | "..")));
}

fn check_error(error: &JobError, words: &mut Vec<String>) {
    assert!(!error.code.is_empty() && error.code.chars().count() <= 65 && !error.message.is_empty());
    words.extend([error.code.clone(), error.message.clone()]);
}

fn check_wait(until: Option<Timestamp>) {
    let Some(until) = until else { return };
    assert!(until >= NOW.plus(Duration::from_secs(1)) && until <= NOW.plus(DAY), "{until:?}");
}

fn check_time(time: Timestamp) {
    assert!((EARLIEST..=NOW.plus(DAY * 400)).contains(&time), "{time:?}");
}

fn bends(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> (&'a [u8], &'a [u8]) {
    match bytes.windows(at.len()).position(|window| window == at) {
        Some(found) => (&bytes[..found], &bytes[found + at.len()..]),
        None => (bytes, b""),
    }
}
