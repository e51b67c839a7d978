//! What happens in a seed: job files, faults, crashes, an operator's actions, jumps of the clock. All of it is chosen before
//! the run begins.

use std::time::Duration;

use dropreel::rng::Rng;

use crate::hooks::HookFaults;

/// Everything that a seed decides before the run.
pub struct Scenario {
    pub files: Vec<(Duration, File)>,
    pub incidents: Vec<(Duration, Incident)>,
    /// When all faults end.
    pub faults_end: Duration,
    /// How long after that every job may take to settle.
    pub timeout: Duration,
    pub network_faults: NetworkFaults,
    pub settings: VariedSettings,
    /// `None`: there are no hooks.
    pub hooks: Option<HookFaults>,
}

/// A job file.
#[derive(Clone)]
pub struct File {
    /// Its path below the inbox. The folder of [`MOVED_FOLDER`] is moved in as a whole, with its defaults.
    pub name: String,
    pub bytes: Vec<u8>,
    /// `None`: it is invalid.
    pub jobs: Option<u32>,
}

/// Something that happens to the daemon.
#[derive(Clone, Debug)]
pub enum Incident {
    /// The provider has this fault plan from now on.
    Plan(String),
    /// SIGKILL after this many further steps; a restart after `down`.
    Crash {
        down: Duration,
        after_steps: u64,
    },
    /// An orderly stop; a restart after `down`.
    Stop {
        down: Duration,
    },
    /// The wall clock jumps by this many milliseconds.
    Jump(i64),
    /// The machine restarts with its clock in 1970.
    LoseClock,
    SetClock,
    Cancel(u64),
    Retry(u64),
    Release(u64),
    /// A retry while the next slow call about a job is on its way. Its answer is about the earlier attempt then.
    RetryDuringCall,
    Pause,
    Resume,
    /// This many bytes are left on the disk.
    FillDisk(u64),
    FreeDisk,
    /// The database is saved, to be restored later.
    SaveDatabase,
    Restore,
    /// The `defaults.json` of [`SHARED_FOLDER`] is replaced by the next version.
    ChangeDefaults,
}

/// Job files are dropped into this folder of the inbox while its `defaults.json` changes.
pub const SHARED_FOLDER: &str = "shared/day 1";
/// Folders with this beginning are moved in whole.
pub const MOVED_FOLDER: &str = "moved-";

/// The defaults of a folder, which the label `defaults` of a job shows.
pub fn defaults(version: &str) -> String {
    serde_json::json!({"watermark": false, "dropreel": {"labels": {"defaults": version}}}).to_string()
}

/// Whether the link of a task with this plan may die, while the network fails, before its file is stored: no other link is
/// ever given, nor when it expires, so the job takes as long as one with a permanent fault.
pub fn may_lose_link(prompt: &str) -> bool {
    prompt.contains("links=same") && prompt.contains("times=absent")
}

/// How often the network loses or repeats messages, as probabilities.
#[derive(Clone, Debug)]
pub struct NetworkFaults {
    pub request_lost: f64,
    pub answer_lost: f64,
    pub doubled: f64,
    pub callback_lost: f64,
    pub slowest: Duration,
}

impl NetworkFaults {
    pub const NONE: Self = Self {
        request_lost: 0.0,
        answer_lost: 0.0,
        doubled: 0.0,
        callback_lost: 0.0,
        slowest: Duration::from_millis(300),
    };
}

/// Settings that differ from seed to seed.
#[derive(Clone, Debug)]
pub struct VariedSettings {
    pub callbacks: bool,
    pub max_running: u32,
    pub submit_per_second: f64,
    pub concurrency: usize,
    /// Somebody follows the event stream.
    pub watched: bool,
}

/// Faults and formats of a single task. All of them end.
const TASK_FAULTS: &[&str] = &[
    "submit=lost",
    "submit=lost",
    "submit=504-done",
    "submit=503",
    "submit=500x3",
    "submit=reset",
    "submit=cut",
    "submit=html200",
    "submit=empty",
    "submit=409x2",
    "submit=huge",
    "submit=redirectx1",
    "submit=slow:40s",
    "submit=400",
    "submit=price",
    "submit=same-id",
    "status=500x2",
    "status=reset",
    "status=404",
    "status=404x6",
    "status=html200",
    "status=empty",
    "status=cut",
    "status=slow:40s",
    "status=huge",
    "cancel=lost",
    "cancel=500",
    "media=short",
    "media=cut",
    "media=chunk-cut",
    "media=longx2",
    "media=html200x1",
    "media=magicx1",
    "media=no-moovx1",
    "media=halfx1",
    "media=zerox1",
    "media=gzipx1",
    "media=500x2",
    "media=403",
    "media=404x3",
    "media=410x1",
    "media=416",
    "media=reset:100",
    "media=reset:5000x3",
    "media=stall:3000",
    "media=slow:40s",
    "media=redirect:samex1",
    "callback=lost",
    "callback=early",
    "callback=progress",
    "callback=stale",
    "callback=shuffled",
    "callback=garbage",
    "callback=empty",
    "callback=huge",
    "callback=forged",
    "callback=late:90s",
    "callback=copies:10",
    "callback=copies:30",
    "submit-shape=wrapped",
    "submit-shape=old",
    "status-shape=wrapped",
    "callback-shape=event",
    "callback-shape=task",
    "callback-shape=data",
    "words=any",
    "processing=warming_up",
    "progress=int",
    "progress=null",
    "progress=101",
    "progress=-1",
    "times=ms",
    "times=us",
    "times=string",
    "times=iso",
    "times=absent",
    "times=far",
    "expires=absent",
    "expires=zero",
    "expires=far",
    "result=empty:2",
    "result=absent:3",
    "result=null:1",
    "result=none",
    "url=string",
    "url=merged",
    "outputs=2",
    "outputs=2",
    "outputs=3",
    "twice=yes",
    "kind=image",
    "size=200KiB",
    "link=20m",
    "link=20m expired=410",
    "link=5m links=same",
    "links=fresh",
    "ready=2m",
    "etag=weak",
    "etag=none",
    "ranges=ignored",
    "ranges=wrong",
    "ranges=refused",
    "length=chunked",
    "length=close",
    "end=task_failed",
    "end=upstream_unavailable",
    "end=cancelled",
    "end=never",
    "fail-shape=reason",
    "fail-shape=none",
    "refund=no end=task_failed",
    "run=20m",
    "run=1s",
    "queue=1m",
    "show-cost=no",
    "cost-percent=150",
    "cost-percent=50",
    "settle=after:5s",
    "settle=after:5s pending-cost=absent",
    "settle=never",
    "generation=new unlisted=yes",
    "generation=new unlisted=yes pending-cost=zero",
    "media-key=yes",
];

/// Faults of a single job that never heal. Its job must end or be held in time, and the others must not notice.
const PERMANENT_FAULTS: &[&str] = &[
    "submit=detail",
    "submit=429-endlessxall",
    "submit=503xall",
    "submit=html200xall",
    "submit=emptyxall",
    "submit=resetxall",
    "submit=lostxall",
    "submit=silencexall",
    "submit=stored500",
    "submit=same-idxall",
    "id=absent",
    "id=hostile",
    "status=html200xall",
    "status=emptyxall",
    "status=cutxall",
    "status=404xall",
    "status=503xall",
    "status=401xall",
    "status=429-endlessxall",
    "status=resetxall",
    "status=silencexall",
    "end=never",
    "end=never cancel=500xall",
    "result=none",
    "result=empty:9999",
    "media=500xall",
    "media=503xall outputs=2",
    "media=403xall",
    "media=410xall links=fresh",
    "media=403xall links=fresh link=20m",
    "media=reset:1000xall",
    "media=stall:100xall",
    "media=html200xall",
    "media=no-moovxall outputs=3",
    "media=zeroxall",
    "media=redirect:loopxall",
    "link=1m links=same",
];
/// Refusals of one job for ever, in words that may concern all calls.
const REFUSALS: &[&str] =
    &["submit=html403xall", "submit=no-model", "submit=401xall", "submit=402xall", "submit=redirectxall"];
/// Faults that never heal, but not for all outputs: those whose links work must be stored all the same.
const OUTPUT_FAULTS: &[&str] = &[
    "outputs=2 media-output=0 media=403xall",
    "outputs=3 media-output=0 media=410xall links=fresh",
    // Links of twenty minutes end these sooner.
    "outputs=2 media-output=0 media=403xall link=20m",
    "outputs=2 media-output=1 media=500xall link=20m",
    "outputs=3 media-output=0 media=stall:100xall link=20m",
    "outputs=3 media-output=1 media=no-moovxall",
    "outputs=2 media-output=0 media=redirect:filexall link=20m",
    "outputs=3 media-output=1 media=redirect:metadataxall links=fresh link=20m",
    "outputs=2 media-output=0 media-host=dead.example link=20m",
    "queue=1s run=1s status=slow:1sx2 status=503xall media=500x3",
];
/// Failing jobs whose calls take long, so that an operator's retry overtakes their answers.
const SLOW_CALLS: &[&str] = &[
    "submit=503x2 submit=slow:20sxall",
    "queue=1s run=10s status=404x2 status=slow:20sxall",
    "queue=1s run=10s status=slow:20sxall media=403xall link=20m",
];
/// The jobs with these faults are named after their files.
pub const PERMANENT_NAME: &str = "sick";

/// Faults for all jobs, for a while.
const PROVIDER_FAULTS: &[&str] = &[
    "submit=401 models=401",
    "submit=402 balance=402",
    "submit=401",
    "submit=402",
    "submit=429",
    "submit=429-endlessxall",
    "submit=html403",
    "submit=429:30s",
    "submit=429-reset:2m",
    "submit=503xall",
    "submit=resetxall",
    "submit=lostxall",
    "submit=html502xall",
    "submit=redirect",
    "submit=403",
    "submit=500xall",
    "submit=504-donexall",
    "status=401 models=401",
    "status=401",
    "status=429:20s",
    "status=503xall",
    "status=resetxall",
    "status=404xall",
    "status=html502xall",
    "media=503xall",
    "media=reset:1000xall",
    "media=403xall",
    "media=429xall",
    "callback=lost",
    "callback=copies:10",
    "callback=shuffled",
    "callback=forged",
];

/// How long after the last fault a job may take that has none of its own, whatever others have.
pub const HEALTHY_TIMEOUT: Duration = seconds(2 * 3600);
/// How long one with a permanent fault may take: the longest bound is that of an output that never arrives.
const PERMANENT_TIMEOUT: Duration = seconds(29 * 3600);

const MODELS: &[&str] = &["wan2.5-t2v", "wan2.5-t2v", "other-model"];

impl Scenario {
    pub fn from_seed(seed: u64) -> Self {
        let rng = Rng::seeded(seed ^ 0x5eed_0000);
        let lasting = rng.below(8) == 0;
        let faults_end = seconds(if lasting { 300 + rng.below(360) } else { 60 + rng.below(600) });
        let mut incidents = Vec::new();
        let mut at = |incident| incidents.push((seconds(rng.below(faults_end.as_secs())), incident));
        for _ in 0..rng.below(4) {
            at(Incident::Plan(random_words(&rng, PROVIDER_FAULTS, 2)));
        }
        for _ in 0..rng.below(4) {
            let down = down_time(&rng);
            at(match rng.below(5) {
                0 => Incident::Stop { down },
                _ => Incident::Crash { down, after_steps: rng.below(60) },
            });
        }
        for _ in 0..rng.below(4) {
            let nth = rng.below(1000);
            at(match rng.below(3) {
                0 => Incident::Cancel(nth),
                1 => Incident::Retry(nth),
                _ => Incident::Release(nth),
            });
        }
        match rng.below(12) {
            0 => {
                let far = [120, 600, 7200, 93_600, 200_000][usize::try_from(rng.below(5)).unwrap()] * 1000;
                at(Incident::Jump(if rng.below(2) == 0 { far } else { -far }));
                at(Incident::SetClock);
            }
            1 => {
                at(Incident::LoseClock);
                at(Incident::SetClock);
            }
            2 => {
                at(Incident::Pause);
                at(Incident::Resume);
            }
            3 | 4 => {
                at(Incident::FillDisk(rng.below(3) * 40_000));
                at(Incident::FreeDisk);
                at(Incident::FillDisk(rng.below(40_000)));
            }
            5 => {
                at(Incident::SaveDatabase);
                at(Incident::Restore);
            }
            _ => {}
        }
        if lasting {
            incidents.extend([1, 2].map(|at| (seconds(at), Incident::RetryDuringCall)));
        }
        incidents.sort_by_key(|(at, _)| *at);
        let probability = |most: f64| if rng.below(2) == 0 { 0.0 } else { rng.fraction() * most };
        let network_faults = NetworkFaults {
            request_lost: probability(0.2),
            answer_lost: probability(0.3),
            doubled: probability(0.2),
            callback_lost: probability(0.6),
            slowest: Duration::from_millis([50, 300, 3000, 40_000][usize::try_from(rng.below(4)).unwrap()]),
        };
        let settings = VariedSettings {
            callbacks: rng.below(4) > 0,
            max_running: [1, 2, 20, 20][usize::try_from(rng.below(4)).unwrap()],
            submit_per_second: [0.2, 2.0, 10.0][usize::try_from(rng.below(3)).unwrap()],
            concurrency: [1, 4][usize::try_from(rng.below(2)).unwrap()],
            watched: seed % 3 == 1,
        };
        let mut files = files(&rng, faults_end);
        // Numbers of their own: everything else of a seed is as it would be without folders.
        let folder_rng = Rng::seeded(seed ^ 0xf01d_0000);
        for (number, (_, file)) in files.iter_mut().enumerate() {
            let folder = match folder_rng.below(4) {
                0 => format!("{SHARED_FOLDER}/"),
                1 => format!("{MOVED_FOLDER}{number}/night/"),
                _ => String::new(),
            };
            file.name.insert_str(0, &folder);
        }
        if files.iter().any(|(_, file)| file.name.starts_with(SHARED_FOLDER)) {
            let changes = 0..folder_rng.below(4);
            let at = |_| seconds(folder_rng.below(faults_end.as_secs()));
            incidents.extend(changes.map(at).map(|at| (at, Incident::ChangeDefaults)));
            incidents.sort_by_key(|(at, _)| *at);
        }
        let mut timeout = HEALTHY_TIMEOUT;
        if lasting {
            files.push((seconds(rng.below(faults_end.as_secs() / 3)), permanently_faulty(&rng)));
            timeout = PERMANENT_TIMEOUT;
        }
        if files.iter().any(|(_, file)| may_lose_link(&String::from_utf8_lossy(&file.bytes))) {
            timeout = PERMANENT_TIMEOUT;
        }
        let hooks = (seed % 3 == 2).then(|| hook_faults(seed, faults_end));
        if hooks.as_ref().is_some_and(|hooks| hooks.down.is_some()) {
            timeout = PERMANENT_TIMEOUT;
        }
        Self { files, incidents, faults_end, timeout, network_faults, settings, hooks }
    }
}

/// The receiver of hooks fails often or is slow, and in every fourth of these seeds cannot be reached for hours.
fn hook_faults(seed: u64, faults_end: Duration) -> HookFaults {
    // Numbers of their own, as for folders.
    let rng = Rng::seeded(seed ^ 0x0040_0cfa);
    let probability = |most: f64| if rng.below(2) == 0 { 0.0 } else { rng.fraction() * most };
    let down = (rng.below(4) == 0).then(|| {
        let from = seconds(rng.below(faults_end.as_secs()));
        (from, seconds(1800 + rng.below(4 * 3600)))
    });
    HookFaults { failing: probability(0.5), answer_lost: probability(0.3), slow: probability(0.3), down }
}

/// Behaviours of callbacks, which must not change an outcome; `None`: no callbacks.
pub const CALLBACKS: &[Option<&str>] = &[
    Some(""),
    None,
    Some("callback=lost"),
    Some("callback=copies:10"),
    Some("callback=early"),
    Some("callback=late:90s"),
    Some("callback=shuffled"),
    Some("callback=forged"),
    Some("callback=garbage"),
    Some("callback=stale callback=progress"),
];

/// Ends and formats that depend on the task only.
const FAULTS_WITHOUT_CHANCE: &[&str] = &[
    "outputs=2",
    "outputs=3",
    "end=task_failed",
    "end=upstream_rate_limited",
    "end=cancelled",
    "kind=image",
    "words=any",
    "status-shape=wrapped",
    "url=merged",
    "result=empty:2",
    "refund=no end=task_failed",
    "submit=400",
    "times=iso",
    "media=500x2",
    "link=20m",
    "cost=1234",
    "twice=yes",
];

impl Scenario {
    /// A scenario without network faults and incidents. Its outcome must not depend on callbacks.
    pub fn without_faults(seed: u64, callbacks: bool) -> Self {
        let rng = Rng::seeded(seed ^ 0xca11);
        let file = |number: u64| {
            let prompt =
                format!("scene {number} [sandbox: {}]", random_words(&rng, FAULTS_WITHOUT_CHANCE, 2));
            let body = serde_json::json!({"model": "wan2.5-t2v", "prompt": prompt});
            let name = format!("job-{number}.json");
            (seconds(30 * number), File { name, bytes: body.to_string().into_bytes(), jobs: Some(1) })
        };
        Self {
            files: (0..4).map(file).collect(),
            incidents: Vec::new(),
            faults_end: seconds(150),
            timeout: HEALTHY_TIMEOUT,
            network_faults: NetworkFaults::NONE,
            settings: VariedSettings {
                callbacks,
                max_running: 20,
                submit_per_second: 10.0,
                concurrency: 4,
                watched: false,
            },
            hooks: None,
        }
    }
}

impl Scenario {
    /// A scenario without faults whose jobs are submitted in the order of their names.
    pub fn over_days(jobs: u32) -> Self {
        let line = |number: u32| {
            let dropreel = serde_json::json!({"name": format!("job-{number:02}"), "priority": jobs - number});
            let mut request = serde_json::json!({"model": "wan2.7", "resolution": "720p", "duration": 5, "prompt": "scene"});
            request["dropreel"] = dropreel;
            request.to_string()
        };
        let bytes = (0..jobs).map(line).collect::<Vec<_>>().join("\n").into_bytes();
        Self {
            files: vec![(seconds(1), File { name: "jobs.jsonl".into(), bytes, jobs: Some(jobs) })],
            ..Self::without_faults(0, true)
        }
    }
}

impl Scenario {
    /// A scenario without faults whose jobs, of these lengths and with tasks that take these times, run two at a time.
    pub fn one_after_another(
        jobs: u32,
        length: impl Fn(u32) -> u32,
        run_seconds: impl Fn(u32) -> u32,
        watched: bool,
    ) -> Self {
        let line = |number: u32| {
            let (length, run) = (length(number), run_seconds(number));
            let prompt = format!("scene [sandbox: queue=1s run={run}s]");
            serde_json::json!({"model": "wan2.7", "resolution": "720p", "duration": length, "prompt": prompt})
                .to_string()
        };
        let bytes = (0..jobs).map(line).collect::<Vec<_>>().join("\n").into_bytes();
        let scenario = Self::without_faults(0, true);
        Self {
            files: vec![(
                Duration::from_secs(1),
                File { name: "jobs.jsonl".into(), bytes, jobs: Some(jobs) },
            )],
            settings: VariedSettings { max_running: 2, watched, ..scenario.settings },
            timeout: Duration::from_secs(6 * 3600),
            ..scenario
        }
    }
}

fn files(rng: &Rng, faults_end: Duration) -> Vec<(Duration, File)> {
    let mut files: Vec<(Duration, File)> = Vec::new();
    for number in 0..1 + rng.below(4) {
        let at = seconds(rng.below(faults_end.as_secs() * 2 / 3));
        let (name, bytes, jobs) = match rng.below(10) {
            0 => (format!("bad-{number}.json"), "{\"prompt\": \"no model\"}".to_owned(), None),
            1 | 2 => {
                let count = 2 + rng.below(2);
                let jobs: Vec<String> = (0..count).map(|_| job(rng)).collect();
                (format!("list-{number}.json"), format!("[{}]", jobs.join(",\n")), Some(count))
            }
            3 => {
                let jobs = [job(rng), job(rng)];
                (format!("lines-{number}.jsonl"), format!("{}\n{}\n", jobs[0], jobs[1]), Some(2))
            }
            _ => (format!("job-{number}.json"), job(rng), Some(1)),
        };
        let jobs = jobs.map(|count| u32::try_from(count).unwrap());
        files.push((at, File { name, bytes: bytes.into_bytes(), jobs }));
    }
    files
}

/// A file of jobs whose faults never heal.
fn permanently_faulty(rng: &Rng) -> File {
    let others = [REFUSALS, OUTPUT_FAULTS, OUTPUT_FAULTS, SLOW_CALLS];
    let others = others.into_iter().filter(|_| rng.below(4) > 0);
    let kinds: Vec<_> = (0..1 + rng.below(2)).map(|_| PERMANENT_FAULTS).chain(others).collect();
    let job = |kind: &[&'static str]| {
        let words = kind[usize::try_from(rng.below(kind.len() as u64)).unwrap()];
        let prompt = format!("scene {} [sandbox: {words}]", rng.below(1 << 40));
        serde_json::json!({"model": "wan2.5-t2v", "prompt": prompt, "duration": 5}).to_string()
    };
    let jobs: Vec<String> = kinds.into_iter().map(job).collect();
    let bytes = format!("[{}]", jobs.join(",\n")).into_bytes();
    File { name: format!("{PERMANENT_NAME}.json"), bytes, jobs: u32::try_from(jobs.len()).ok() }
}

fn job(rng: &Rng) -> String {
    let words = random_words(rng, TASK_FAULTS, 3);
    let model = MODELS[usize::try_from(rng.below(MODELS.len() as u64)).unwrap()];
    // A picture cut to the length that its header states looks complete.
    let picture = words.contains("kind=image");
    let is_detectable =
        |word: &&str| !picture || !(word.starts_with("media=half") || word.starts_with("media=long"));
    // A provider that has executed a submit does not refuse its key for good: it answers with the task.
    let executed = ["submit=lost", "submit=504-done", "submit=cut"].iter().any(|word| words.contains(word));
    let is_possible = |word: &&str| !executed || !["submit=price", "submit=400"].contains(word);
    let words = words.split(' ').filter(is_detectable).filter(is_possible).collect::<Vec<_>>().join(" ");
    // Each prompt is different, so that no file is a repeated copy.
    let prompt = format!("scene {} [sandbox: {words}]", rng.below(1 << 40));
    serde_json::json!({"model": model, "prompt": prompt, "duration": 5}).to_string()
}

fn random_words(rng: &Rng, of: &[&str], most: u64) -> String {
    let count = rng.below(most + 1);
    let words: Vec<&str> =
        (0..count).map(|_| of[usize::try_from(rng.below(of.len() as u64)).unwrap()]).collect();
    words.join(" ")
}

fn down_time(rng: &Rng) -> Duration {
    match rng.below(10) {
        0 => Duration::from_secs(3600 * (1 + rng.below(40))),
        1 => Duration::from_secs(60 * rng.below(30)),
        _ => Duration::from_millis(rng.below(5000)),
    }
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
