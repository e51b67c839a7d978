//! `demo`: a simulated provider, a daemon and sample jobs, all in this process, in under a minute.

use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::args::{Demo, Filter};
use crate::cli::term::{self, say, say_json, text};
use crate::cli::{Api, Context, Exit, Failure, follow, show};
use crate::clock::{Clock, Tick, Timestamp};
use crate::daemon::Daemon;
use crate::rng::Rng;
use crate::sandbox::{Options, Sandbox, start};
use crate::settings::{Environment, Purpose, load};

/// A demonstration that takes longer has gone wrong.
const PATIENCE: Duration = Duration::from_secs(120);
/// The settings of a demonstration's daemon, and the mark of its folder.
const SETTINGS: &str = "demo.toml";

/// Name, model, prompt. Where the model wants pictures, the simulated provider takes any address.
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

/// `demo`
pub(super) async fn demo(context: &Context, demo: &Demo) -> Result<Exit, Failure> {
    let rng = Rng::from_system();
    // Tells the jobs of this demonstration from those of an earlier one in the same folder.
    let run = data_encoding::HEXLOWER.encode(&rng.id_bytes());
    let (folder, kept) = match &demo.dir {
        Some(folder) => (own_folder(folder)?, true),
        None => (temporary_folder(&run)?, demo.keep),
    };
    let played = stage(context, demo, &folder, &run, rng).await;
    if !kept {
        // What cannot be removed lies in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&folder);
    }
    let (jobs, took) = played?;
    tell(context, &jobs, took, &folder, kept)
}

/// A folder that is nobody else's: a new or empty one, or that of an earlier demonstration. A daemon's own folder would
/// have its jobs sent to a provider that only pretends.
fn own_folder(folder: &Path) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(folder)?;
    let folder = folder.canonicalize()?;
    let empty = std::fs::read_dir(&folder)?.next().is_none();
    if empty || folder.join(SETTINGS).is_file() {
        return Ok(folder);
    }
    let shown = term::plain(&folder.display().to_string());
    Err(Failure::new(Exit::Usage, format!("{shown} is not empty; give --dir a new folder, or leave it out")))
}

/// A new folder for this user alone. Its name cannot be foreseen, so nobody can be there before us.
fn temporary_folder(run: &str) -> Result<PathBuf, Failure> {
    let folder = std::env::temp_dir().join(format!("dropreel-demo-{run}"));
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder.canonicalize()?)
}

/// Sets everything up, plays, and takes it all down again, also when it is ended early.
async fn stage(
    context: &Context,
    demo: &Demo,
    folder: &Path,
    run: &str,
    rng: Rng,
) -> Result<(Vec<Value>, Duration), Failure> {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let sandbox = provider(&context.clock).await?;
    let daemon = daemon(folder, &sandbox, &context.clock, rng).await?;
    if !context.json {
        let (base, inbox) = (sandbox.base_url(), folder.join("inbox"));
        let inbox = term::plain(&inbox.display().to_string());
        term::tell(&format!("a simulated provider is at {base}, dropreel watches {inbox}"));
    }
    let ended = || Failure::new(Exit::Failed, "the demonstration was ended");
    let played = tokio::select! {
        played = play(context, demo, folder, run, &daemon) => played,
        _ = tokio::signal::ctrl_c() => Err(ended()),
        _ = terminated.recv() => Err(ended()),
    };
    daemon.stop().await;
    sandbox.stop().await;
    played
}

/// Drops the sample jobs and follows them to their ends.
async fn play(
    context: &Context,
    demo: &Demo,
    folder: &Path,
    run: &str,
    daemon: &Daemon,
) -> Result<(Vec<Value>, Duration), Failure> {
    let clock = &context.clock;
    let began = clock.tick();
    let api = Api::new(daemon.admin_address(), None)?;
    let inbox = folder.join("inbox");
    for number in 0..demo.jobs {
        let (name, job) = sample(number, run);
        // Under another name until it is whole, as any careful writer would.
        let unfinished = inbox.join(format!("{name}.json.part"));
        std::fs::write(&unfinished, serde_json::to_string_pretty(&job).unwrap_or_default())?;
        publish(&unfinished, &inbox.join(format!("{name}.json")))?;
    }
    let jobs = all_taken(&api, clock, demo.jobs, run, began).await?;
    let followed = clock.within(PATIENCE, follow::until_ended(&api, clock, jobs)).await;
    let jobs =
        followed.ok_or_else(|| Failure::new(Exit::Failed, "the demonstration did not end in time"))??;
    Ok((jobs, clock.tick().since(began)))
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

async fn daemon(folder: &Path, sandbox: &Sandbox, clock: &Clock, rng: Rng) -> Result<Daemon, Failure> {
    let settings = folder.join(SETTINGS);
    std::fs::write(
        &settings,
        "# Made by `dropreel demo`.\n[provider]\nsubmit_per_second = 20.0\n\n[inbox]\nsettle = \"200ms\"\n\n\
         [callbacks]\nlisten = \"127.0.0.1:0\"\npublic_url = \"http://127.0.0.1:0\"\n\n\
         # Asked often, so that the bars move.\n[polling]\ncallback_grace = \"400ms\"\ninterval = \"400ms\"\n\
         max_interval = \"600ms\"\n\n[downloads]\nallow_private_addresses = true\n\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n",
    )?;
    // The person's own environment has no say in a demonstration.
    let environment: Environment = [
        ("DROPREEL_DATA_DIR", folder.as_os_str().to_owned()),
        ("DROPREEL_PROVIDER__BASE_URL", sandbox.base_url().into()),
        ("DROPREEL_PROVIDER__API_KEY", "sk-demo".into()),
    ]
    .into_iter()
    .collect();
    let settings = load(Some(&settings), &environment, Purpose::Daemon)?;
    let daemon = Daemon::start(settings, clock.clone(), rng).await;
    daemon.map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

fn sample(number: u32, run: &str) -> (String, Value) {
    let place = usize::try_from(number).unwrap_or(0);
    let (name, model, prompt) = SAMPLES[place % SAMPLES.len()];
    let name =
        if place < SAMPLES.len() { name.to_owned() } else { format!("{name}-{}", place / SAMPLES.len() + 1) };
    let mut job = json!({
        "model": model.split('/').next(), "prompt": prompt, "aspect_ratio": "16:9", "duration": 5,
        "dropreel": {"name": name, "labels": {"project": "demo", "run": run}, "again": true},
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
async fn all_taken(
    api: &Api,
    clock: &Clock,
    count: u32,
    run: &str,
    began: Tick,
) -> Result<Vec<Value>, Failure> {
    let filter = Filter { labels: vec![format!("run={run}")], ..Filter::default() };
    loop {
        let jobs = show::fetch(api, &filter, count).await?.0;
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
    let library = folder.join("videos");
    let rows = jobs.iter().map(|job| row(job, &library)).collect();
    let heads = ["NAME", "MODEL", "TIME", "SIZE", "COST", "FILE"];
    say(&format!("\n{}\n", term::table(&heads, rows, term::width())))?;
    say(&format!(
        "{succeeded} of {} videos stored in {:.1} s, none of it real money.",
        jobs.len(),
        took.as_secs_f64()
    ))?;
    if kept {
        say(&format!(
            "The videos are in {}; any player plays them.",
            term::plain(&library.display().to_string())
        ))?;
    } else {
        say("The folder is removed again; `dropreel demo --keep` keeps it.")?;
    }
    say("Next: `dropreel init`, put your key into DROPREEL_PROVIDER__API_KEY, and `dropreel serve`.")?;
    Ok(exit)
}

fn row(job: &Value, library: &Path) -> Vec<String> {
    let file = &job["files"][0];
    let path = PathBuf::from(text(file, "path"));
    let time = |key: &str| job[key].as_str().and_then(Timestamp::parse_rfc3339);
    let took = time("created_at").zip(time("finished_at"));
    let took = took.map_or_else(String::new, |(from, to)| format!("{:.1}s", to.since(from).as_secs_f64()));
    let size = file["bytes"].as_u64().map_or_else(String::new, term::bytes);
    let cost = job["cost_usd"].as_f64().map_or_else(String::new, |usd| format!("${usd:.2}"));
    let stored = match job["state"].as_str() {
        Some("succeeded") => path.strip_prefix(library).unwrap_or(&path).display().to_string(),
        _ => text(job, "state"),
    };
    vec![text(job, "name"), text(job, "model"), took, size, cost, term::plain(&stored)]
}
