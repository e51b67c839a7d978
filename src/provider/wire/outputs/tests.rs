use super::*;
use OutputKind::{Audio, Image, Video};

const NOW: Timestamp = Timestamp::from_millis(1_720_000_100_000);
const BASE: &str = "https://qingbo.dev/gate";
const DONE: Timestamp = Timestamp::from_millis(1_720_000_030_000);

fn found(text: &str) -> Vec<ReportedOutput> {
    found_as(text, &Phase::Completed, Some(BASE))
}

fn found_as(text: &str, phase: &Phase, base: Option<&str>) -> Vec<ReportedOutput> {
    let value: Value = serde_json::from_str(text).expect("JSON");
    let object = value.as_object().expect("an object");
    let base = base.map(|base| Url::parse(base).expect("an address"));
    let context = OutputContext { phase, completed_at: Some(DONE), now: NOW, base: base.as_ref() };
    read_outputs(object, &[object], &context)
}

#[test]
fn outputs_are_found_in_every_format() {
    type Found<'a> = &'a [(OutputKind, u16, &'a str)];
    let cases: &[(&str, Found)] = &[
        (r#"{"result":{"videos":[{"url":"https://h/a.mp4"}]}}"#, &[(Video, 0, "https://h/a.mp4")]),
        (
            r#"{"result":{"videos":[{"url":["https://h/a","https://h/b"]}]}}"#,
            &[(Video, 0, "https://h/a"), (Video, 1, "https://h/b")],
        ),
        (
            r#"{"result":{"videos":[{"url":"https://h/a"},{"url":["https://h/b"]}],"images":[{"url":"https://h/c"}],"audios":["https://h/d"]}}"#,
            &[
                (Video, 0, "https://h/a"),
                (Video, 1, "https://h/b"),
                (Image, 0, "https://h/c"),
                (Audio, 0, "https://h/d"),
            ],
        ),
        (r#"{"result":{"video":{"url":"https://h/a"}}}"#, &[(Video, 0, "https://h/a")]),
        (r#"{"result":{"videos":null,"video_url":"https://h/a"}}"#, &[(Video, 0, "https://h/a")]),
        (
            r#"{"result":[{"url":"https://h/a"},"https://h/b.PNG"]}"#,
            &[(Video, 0, "https://h/a"), (Image, 0, "https://h/b.PNG")],
        ),
        (r#"{"result":{"url":"https://h/a.wav?x=1"}}"#, &[(Audio, 0, "https://h/a.wav?x=1")]),
        (r#"{"result":null,"output":"https://h/a"}"#, &[(Video, 0, "https://h/a")]),
        (r#"{"result":{},"video_url":"http://h/a"}"#, &[(Video, 0, "http://h/a")]),
        (r#"{"fail_reason":"https://h/a.mp4"}"#, &[(Video, 0, "https://h/a.mp4")]),
        // The same link twice is one output, whatever its kind.
        (
            r#"{"result":{"videos":[{"url":["https://h/a","https://h/a"]},{"url":"https://h/a"}],"images":["https://h/a"]}}"#,
            &[(Video, 0, "https://h/a")],
        ),
        // An unusable link is an output, an empty one is not.
        (
            r#"{"result":{"videos":["ftp://h/a","","https://h/b",7,null,{}]}}"#,
            &[(Video, 0, "ftp://h/a"), (Video, 1, "https://h/b")],
        ),
        (r#"{"metadata":{"url":"https://h/a"}}"#, &[(Video, 0, "https://h/a")]),
        (r#"{"content":{"video_url":"https://h/a"}}"#, &[(Video, 0, "https://h/a")]),
        (r#"{"content":{"url":"https://h/a"}}"#, &[(Video, 0, "https://h/a")]),
        (r#"{"output":{"video_url":"https://h/a"}}"#, &[(Video, 0, "https://h/a")]),
        (r#"{"task_result":{"videos":[{"id":"1","url":"https://h/a"}]}}"#, &[(Video, 0, "https://h/a")]),
        (
            r#"{"unsigned_urls":["https://h/a","https://h/b.png"]}"#,
            &[(Video, 0, "https://h/a"), (Image, 0, "https://h/b.png")],
        ),
        (r#"{"resultUrl":"https://h/a"}"#, &[(Video, 0, "https://h/a")]),
        (r#"{"result":{"videos":[],"videoUrl":"https://h/a"}}"#, &[(Video, 0, "https://h/a")]),
        // Relative to the provider, to the scheme, and without a scheme.
        (
            r#"{"result":{"videos":["/v1/videos/t-1/content","//h/b","cdn.example/c"]}}"#,
            &[
                (Video, 0, "https://qingbo.dev/v1/videos/t-1/content"),
                (Video, 1, "https://h/b"),
                (Video, 2, "https://cdn.example/c"),
            ],
        ),
        (
            r#"{"result":{"images":[{"url":"data:image/png;base64,iVBORw0KGgo="}]}}"#,
            &[(Image, 0, "data:image/png;base64,iVBORw0KGgo=")],
        ),
        (r#"{"video_url":"data:image/png;base64,iVBO"}"#, &[(Image, 0, "data:image/png;base64,iVBO")]),
        // An unknown shape with one media link.
        (
            r#"{"files":{"main":"https://h/a.mp4?x=1"},"image_urls":["https://h/mine.png"],"cover":"https://h/c.jpg"}"#,
            &[(Video, 0, "https://h/a.mp4?x=1")],
        ),
        (
            r#"{"resultJson":"{\"links\":[\"https://h/a.mp4\"]}","docs":"https://h/docs"}"#,
            &[(Video, 0, "https://h/a.mp4")],
        ),
        (r#"{"files":["https://h/a.mp4","https://h/b.mp4"]}"#, &[]),
        (r#"{"input":{"clip":"https://h/mine.mp4"},"docs":"https://h/docs"}"#, &[]),
        // No outputs.
        (r#"{"urls":{"get":"https://h/get"},"image_urls":["https://h/mine.png"],"fail_reason":"no"}"#, &[]),
        (r#"{"result":"none"}"#, &[]),
        (r#"{"result":{"videos":[7,null,{}]}}"#, &[]),
    ];
    for (text, expected) in cases {
        let found = found(text);
        let found: Vec<_> = found.iter().map(|o| (o.kind, o.index, o.link.expose())).collect();
        assert_eq!(found, *expected, "{text}");
    }
}

#[test]
fn the_reason_of_a_failure_is_not_an_output() {
    assert_eq!(found_as(r#"{"fail_reason":"https://h/help"}"#, &Phase::Failed, None), []);
    assert_eq!(found_as(r#"{"help":"https://h/help.mp4"}"#, &Phase::Failed, None), []);
}

#[test]
fn answer_with_links_relative_to_nothing_known_has_no_outputs() {
    let text = r#"{"result":{"videos":["https://h/a","/b"]}}"#;
    assert_eq!(found_as(text, &Phase::Completed, None), []);
    assert_eq!(found(text).len(), 2);
}

#[test]
fn links_expire_at_the_nearest_time_within_a_week() {
    let week = DONE.plus(MAX_LINK_LIFETIME).millis();
    let cases = [
        (r#"{"result":{"videos":[{"url":"https://h/a","expires_at":1720086400}]}}"#, Some(1_720_086_400_000)),
        (r#"{"result":{"expires_at":"1720086400000","videos":["https://h/a"]}}"#, Some(1_720_086_400_000)),
        (r#"{"expires_at":1720086400,"result":{"videos":["https://h/a"]}}"#, Some(1_720_086_400_000)),
        (
            r#"{"expires_at":1720086400,"result":{"videos":[{"url":"https://h/a","expires_at":0}]}}"#,
            Some(1_720_086_400_000),
        ),
        (r#"{"result":{"videos":[{"url":"https://h/a","expires_at":1740000000}]}}"#, Some(week)),
        (r#"{"result":{"videos":[{"url":"https://h/a","expires_at":253402300799}]}}"#, None),
        (r#"{"result":{"videos":[{"url":"https://h/a"}]}}"#, None),
    ];
    for (text, expected) in cases {
        assert_eq!(found(text)[0].expires_at.map(Timestamp::millis), expected, "{text}");
    }
}

#[test]
fn long_lists_are_cut() {
    let links: Vec<_> = (0..1000).map(|n| format!("\"https://h/{n}\"")).collect();
    assert_eq!(found(&format!(r#"{{"result":{{"videos":[{}]}}}}"#, links.join(","))).len(), MAX_OUTPUTS);
}
