use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::clock::Timestamp;
use crate::money::Quota;

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<f64>().prop_map(|n| n.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        ".{0,12}".prop_map(|s| Value::String(s).to_string()),
        prop::sample::select(vec![
            r#""completed""#,
            r#""FAILED""#,
            r#""45%""#,
            r#""https://h/x""#,
            r#""\ud800""#,
            "1e999",
            r#""t-1""#,
            "NaN",
            r#""/v1/x""#,
            r#""data:image/png;base64,iVBO""#,
            "\"one\ntwo\"",
        ])
        .prop_map(str::to_owned),
    ];
    let key = prop::sample::select(vec![
        "task_id",
        "id",
        "status",
        "progress",
        "data",
        "task",
        "result",
        "videos",
        "url",
        "error",
        "code",
        "message",
        "cost",
        "completed_at",
        "expires_at",
        "fail_reason",
        "reset_at",
        "output",
        "task_status",
        "taskId",
        "content",
        "metadata",
        "result_url",
        "task_status_msg",
        "detail",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|pairs| {
                let pairs: Vec<_> = pairs.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
                format!("{{{}}}", pairs.join(","))
            }),
        ]
    })
}

fn read_all(bytes: &[u8], now: Timestamp) {
    let task = TaskId::parse("t-1").expect("a task id");
    let _ = read_submit(bytes);
    let _ = task_hint(bytes);
    let _ = read_error(bytes, now);
    if let Ok(facts) = read_status(bytes, &task, now, None) {
        assert!(facts.progress.is_none_or(|progress| progress <= 100));
        assert!(facts.cost.is_none_or(|cost| cost >= Quota::ZERO));
    }
}

proptest! {
    #[test]
    fn readers_do_not_panic_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300), now in any::<i64>()) {
        read_all(&bytes, Timestamp::from_millis(now));
    }

    #[test]
    fn readers_do_not_panic_on_any_json(text in json(), cut in any::<prop::sample::Index>()) {
        let now = Timestamp::from_millis(1_775_285_200_000);
        read_all(text.as_bytes(), now);
        read_all(&text.as_bytes()[..cut.index(text.len() + 1)], now);
    }
}
