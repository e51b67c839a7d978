//! `demo`: a simulated provider, a daemon and sample jobs, all in this process, in under a minute.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::args::Demo;
use crate::cli::term::{self, say, say_json, text};
use crate::cli::{Api, Context, Exit, Failure, follow};
use crate::clock::{Clock, Tick};
use crate::daemon::Daemon;
use crate::dice::Dice;
use crate::sandbox::{Options, Sandbox, start};
use crate::settings::{Environment, Purpose, load};

/// A demonstration that takes longer has gone wrong.
const PATIENCE: Duration = Duration::from_secs(120);

/// Name, model, prompt. Where the model wants pictures, the simulated provider takes any address.
const SAMPLES: [(&str, &str, &str); 8] = [
    ("sakura", "wan2.5-t2v", "春天的樱花树下,花瓣随风飘落"),
    ("lighthouse", "wan2.5-t2v", "a lighthouse in a storm, waves breaking over the rocks"),
    ("portrait", "wan2.5-i2v", "她转过头,微微一笑"),
    ("dawn-to-dusk", "wan2.5-i2v/frames", "one day over the old town"),
    ("lantern", "wan2.2-i2v-flash", "夜市里的灯笼轻轻摇晃"),
    ("reef", "wan2.2-i2v-plus", "a coral reef, fish passing in the light"),
    ("tea", "wan2.5-t2v", "steam rising from a cup of tea, close-up"),
    ("云海", "wan2.5-t2v", "清晨的山顶,云海翻涌"),
];

/// `demo`
pub(super) async fn demo(context: &Context, demo: &Demo) -> Result<Exit, Failure> {
    let (folder, kept) = match &demo.dir {
        Some(folder) => (folder.clone(), true),
        None => (std::env::temp_dir().join(format!("dropreel-demo-{}", std::process::id())), demo.keep),
    };
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    let played = tokio::select! {
        played = play(context, demo, &folder) => played,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Failed, "the demonstration was ended")),
    };
    if !kept {
        // What cannot be removed lies in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&folder);
    }
    let (jobs, took) = played?;
    tell(context, &jobs, took, &folder, kept)
}

async fn play(context: &Context, demo: &Demo, folder: &Path) -> Result<(Vec<Value>, Duration), Failure> {
    let clock = &context.clock;
    let began = clock.tick();
    let sandbox = provider(clock).await?;
    let daemon = daemon(folder, &sandbox, clock).await?;
    let api = Api::new(daemon.admin_address(), None)?;
    let inbox = folder.join("inbox");
    if !context.json {
        eprintln!("a simulated provider is at {}, dropreel watches {}", sandbox.base_url(), inbox.display());
    }
    for number in 0..demo.jobs {
        let (name, job) = sample(number);
        // Under another name until it is whole, as any careful writer would.
        let unfinished = inbox.join(format!("{name}.json.part"));
        std::fs::write(&unfinished, serde_json::to_string_pretty(&job).unwrap_or_default())?;
        publish(&unfinished, &inbox.join(format!("{name}.json")))?;
    }
    let jobs = all_taken(&api, clock, demo.jobs, began).await?;
    let followed = clock.within(PATIENCE, follow::until_ended(&api, clock, jobs)).await;
    let jobs =
        followed.ok_or_else(|| Failure::new(Exit::Failed, "the demonstration did not end in time"))??;
    let took = clock.tick().since(began);
    daemon.stop().await;
    sandbox.stop().await;
    Ok((jobs, took))
}

#[expect(clippy::disallowed_methods, reason = "a demonstration of how others drop files")]
fn publish(from: &Path, to: &Path) -> Result<(), Failure> {
    Ok(std::fs::rename(from, to)?)
}

async fn provider(clock: &Clock) -> Result<Sandbox, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let options = Options {
        queue_time: (Duration::from_millis(500), Duration::from_secs(2)),
        run_time: (Duration::from_secs(3), Duration::from_secs(8)),
        ..Options::default()
    };
    Ok(start(listener, options, clock.clone()).await?)
}

async fn daemon(folder: &Path, sandbox: &Sandbox, clock: &Clock) -> Result<Daemon, Failure> {
    let settings = folder.join("config.toml");
    std::fs::write(
        &settings,
        format!(
            "# Made by `dropreel demo`.\ndata_dir = {:?}\n\n[provider]\nbase_url = {:?}\nsubmit_per_second = 20.0\n\n\
             [inbox]\nsettle = \"200ms\"\n\n[callbacks]\nlisten = \"127.0.0.1:0\"\n\
             public_url = \"http://127.0.0.1:0\"\n\n# Asked often, so that the bars move.\n[polling]\n\
             callback_grace = \"400ms\"\ninterval = \"400ms\"\nmax_interval = \"600ms\"\n\n[downloads]\n\
             allow_private_addresses = true\n\n[admin]\nlisten = \"127.0.0.1:0\"\n",
            folder.display().to_string(),
            sandbox.base_url()
        ),
    )?;
    // The person's own environment has no say in a demonstration.
    let environment: Environment = [("DROPREEL_PROVIDER__API_KEY", "sk-demo")].into_iter().collect();
    let settings = load(Some(&settings), &environment, Purpose::Daemon)?;
    let daemon = Daemon::start(settings, clock.clone(), Dice::from_system()).await;
    daemon.map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

fn sample(number: u32) -> (String, Value) {
    let place = usize::try_from(number).unwrap_or(0);
    let (name, model, prompt) = SAMPLES[place % SAMPLES.len()];
    let name =
        if place < SAMPLES.len() { name.to_owned() } else { format!("{name}-{}", place / SAMPLES.len() + 1) };
    let mut job = json!({
        "model": model.split('/').next(), "prompt": prompt, "aspect_ratio": "16:9", "duration": 5,
        "dropreel": {"name": name, "labels": {"project": "demo"}},
    });
    if model.contains("i2v") && !model.ends_with("/frames") {
        job["image_urls"] = json!(["https://example.com/reference.png"]);
    }
    if model.ends_with("/frames") {
        job["first_frame"] = json!("https://example.com/dawn.png");
        job["last_frame"] = json!("https://example.com/dusk.png");
    }
    (name, job)
}

/// Waits until the daemon has taken all files in.
async fn all_taken(api: &Api, clock: &Clock, count: u32, began: Tick) -> Result<Vec<Value>, Failure> {
    loop {
        let mut page = api.get(&["api", "v1", "jobs"], &[("limit", "200")]).await?;
        let jobs = page["jobs"].as_array_mut().map(std::mem::take).unwrap_or_default();
        if jobs.len() >= usize::try_from(count).unwrap_or(usize::MAX) {
            return Ok(jobs.into_iter().rev().collect());
        }
        if clock.tick().since(began) > PATIENCE {
            return Err(Failure::new(Exit::Failed, "the inbox did not take the sample files in"));
        }
        clock.sleep(Duration::from_millis(50)).await;
    }
}

fn tell(
    context: &Context,
    jobs: &[Value],
    took: Duration,
    folder: &Path,
    kept: bool,
) -> Result<Exit, Failure> {
    let succeeded = jobs.iter().filter(|job| job["state"] == "succeeded").count();
    let exit = if succeeded == jobs.len() { Exit::Done } else { Exit::Failed };
    if context.json {
        say_json(&json!({"jobs": jobs, "seconds": took.as_secs_f64(), "folder": folder, "kept": kept}))?;
        return Ok(exit);
    }
    let rows = jobs.iter().map(|job| row(job, folder)).collect();
    say(&format!(
        "\n{}\n",
        term::table(&["NAME", "MODEL", "STATE", "SIZE", "COST", "FILE"], rows, term::width())
    ))?;
    say(&format!(
        "{succeeded} of {} videos stored in {:.1} s, none of it real money.",
        jobs.len(),
        took.as_secs_f64()
    ))?;
    if kept {
        say(&format!("All of it is in {}; the videos play in any player.", folder.display()))?;
    } else {
        say("The folder is removed again; `dropreel demo --keep` keeps it.")?;
    }
    say("Next: `dropreel init`, put your key into DROPREEL_PROVIDER__API_KEY, and `dropreel serve`.")?;
    Ok(exit)
}

fn row(job: &Value, folder: &Path) -> Vec<String> {
    let file = &job["files"][0];
    let path = PathBuf::from(text(file, "path"));
    let below = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
    let size = file["bytes"].as_u64().map_or_else(String::new, term::bytes);
    let cost = job["cost_usd"].as_f64().map_or_else(String::new, |usd| format!("${usd:.2}"));
    vec![text(job, "name"), text(job, "model"), text(job, "state"), size, cost, term::plain(&below)]
}
