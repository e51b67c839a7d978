//! The demo's sample jobs.

use serde_json::{Value, json};

/// Name, model, prompt. Where a model needs images, the simulated provider accepts any address.
const SAMPLES: [(&str, &str, &str); 8] = [
    ("sakura", "wan2.5-t2v", "春天的樱花树下,花瓣随风飘落"),
    ("lighthouse", "wan2.5-t2v", "a lighthouse in a storm, waves breaking over the rocks"),
    ("portrait", "wan2.5-i2v", "她转过头,微微一笑"),
    ("old-town", "wan2.5-i2v/frames", "one day over the old town"),
    ("lantern", "wan2.2-i2v-flash", "夜市里的灯笼轻轻摇晃"),
    ("reef", "wan2.2-i2v-plus", "a coral reef, fish passing in the light"),
    ("tea", "wan2.5-t2v", "steam rising from a cup of tea, close-up"),
    ("云海", "wan2.5-t2v", "清晨的山顶,云海翻涌"),
];

/// The name and the job file of a sample. `run` labels the jobs of this demo.
pub(super) fn sample(number: usize, run: &str) -> (String, Value) {
    let (name, model, prompt) = SAMPLES[number % SAMPLES.len()];
    let name = match number / SAMPLES.len() {
        0 => name.to_owned(),
        round => format!("{name}-{}", round + 1),
    };
    let (model, frames) = match model.strip_suffix("/frames") {
        Some(model) => (model, true),
        None => (model, false),
    };
    let mut job = json!({
        "model": model, "prompt": prompt, "aspect_ratio": "16:9", "duration": 5,
        "dropreel": {"name": name, "labels": {"project": "demo", "run": run}, "again": true},
    });
    if frames {
        job["first_frame"] = json!("https://example.com/dawn.png");
        job["last_frame"] = json!("https://example.com/dusk.png");
    } else if model.contains("i2v") {
        job["image_urls"] = json!(["https://example.com/reference.png"]);
    }
    (name, job)
}
