//! What a status answer says about the request of a task (docs/provider.md#status-answers).

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::job::TaskId;
use crate::job::adoption::TaskDescription;
use crate::provider::wire::json::{field, id_under, nested_objects, parse};
use crate::provider::wire::text::{clean, without_secrets};
use crate::provider::wire::time::read_time;

/// The longest name of a model that is kept, in characters.
const MODEL: usize = 200;
/// The longest prompt that is kept, in characters.
const PROMPT: usize = 8000;
/// Keys under which some services repeat the request.
const REQUESTS: [&str; 4] = ["input", "request", "params", "parameters"];

/// What an answer about `task` says of its request. Nothing, if it cannot be read.
pub fn read_description(bytes: &[u8], task: &TaskId, now: Timestamp) -> TaskDescription {
    let Ok(answer) = parse(bytes) else { return TaskDescription::default() };
    let objects = nested_objects(&answer);
    let is_named = |object: &&&Map<String, Value>| {
        ["task_id", "id"].iter().any(|key| id_under(object, key).as_ref() == Some(task))
    };
    let Some(named) = objects.iter().find(is_named) else { return TaskDescription::default() };
    let requests = REQUESTS.iter().filter_map(|key| field(named, key)?.as_object());
    let places: Vec<&Map<String, Value>> = std::iter::once(*named).chain(requests).collect();
    let text = |key: &str| places.iter().find_map(|place| field(place, key)?.as_str());
    let filled = |text: String| (!text.trim().is_empty()).then_some(text);
    TaskDescription {
        model: text("model").map(|model| clean(model, MODEL)).and_then(filled),
        prompt: text("prompt").map(|prompt| without_secrets(prompt, PROMPT)).and_then(filled),
        created_at: ["created_at", "submit_time"]
            .iter()
            .find_map(|key| read_time(field(named, key)?, now))
            .filter(|at| *at <= now),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);

    #[test]
    fn description_is_what_the_object_of_the_task_says() {
        let of = |model: Option<&str>, prompt: Option<&str>, created_at: Option<i64>| TaskDescription {
            model: model.map(str::to_owned),
            prompt: prompt.map(str::to_owned),
            created_at: created_at.map(Timestamp::from_millis),
        };
        let cases = [
            (
                json!({"task_id": "task-1", "model": "wan2.6", "created_at": 1_775_285_100, "prompt": "春天"}),
                of(Some("wan2.6"), Some("春天"), Some(1_775_285_100_000)),
            ),
            (
                json!({"code": "ok", "model": "gateway", "data": {"id": "task-1", "input": {"model": "wan2.6", "prompt": "a"}}}),
                of(Some("wan2.6"), Some("a"), None),
            ),
            (json!({"task_id": "task-1", "model": "", "prompt": 7, "created_at": "x"}), of(None, None, None)),
            (json!({"task_id": "task-1", "created_at": 1_775_999_999}), of(None, None, None)),
            (json!({"task_id": "task-2", "model": "wan2.6"}), of(None, None, None)),
            (json!([1]), of(None, None, None)),
        ];
        let task = TaskId::parse("task-1").expect("a safe id");
        for (answer, expected) in cases {
            let bytes = answer.to_string();
            assert_eq!(read_description(bytes.as_bytes(), &task, NOW), expected, "{answer}");
        }
        assert_eq!(read_description(b"<html>", &task, NOW), TaskDescription::default());
    }
}
