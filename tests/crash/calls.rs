//! Each call to the file system fails in one of the cases. The daemon may refuse to start, end, or keep running. Started
//! again without the fault, it finishes every job.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use dropreel::failpoints::FailPoint;
use rustix::io::Errno;

use crate::file_systems::{run_or_panic, text};
use crate::points::crash_harness::{CrashHarness, Ended};
use crate::points::in_parallel;
use crate::support::checker::When;

/// The kinds of calls, in the order of `enum kind` in failing_calls.c, with the errors of each.
const KINDS: &[(&str, &[Errno])] = &[
    ("write", &[Errno::IO, Errno::NOSPC, Errno::ROFS]),
    ("pwrite", &[Errno::NOSPC, Errno::IO, Errno::ROFS]),
    ("fsync", &[Errno::IO, Errno::NOSPC]),
    ("fdatasync", &[Errno::IO, Errno::NOSPC]),
    ("rename", &[Errno::IO, Errno::NOSPC, Errno::ROFS]),
    ("open", &[Errno::MFILE, Errno::IO, Errno::ROFS, Errno::NOSPC]),
    ("mkdir", &[Errno::NOSPC, Errno::IO, Errno::ROFS]),
    ("ftruncate", &[Errno::IO, Errno::NOSPC]),
    ("unlink", &[Errno::IO, Errno::ROFS]),
    ("link", &[Errno::IO, Errno::NOSPC, Errno::ROFS]),
    ("syncfs", &[Errno::IO, Errno::NOSPC]),
];
/// Where the shim counts how often a call failed.
const FIRED: usize = 16;
/// How long the daemon runs with a fault before it is stopped.
const TIME_WITH_FAULT: Duration = Duration::from_millis(1500);
/// How long the daemon may take to reach the call that fails.
const TIME_TO_FAULT: Duration = Duration::from_secs(40);

/// Which call fails.
#[derive(Clone, Copy, Debug)]
struct Case {
    kind: usize,
    /// Counted from 1; 0: no call fails.
    nth: u64,
    errno: Errno,
    /// All later calls of its kind fail too.
    all_later: bool,
}

/// What the daemon did about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reaction {
    RefusedToStart,
    Ended,
    KeptRunning,
}

struct Outcome {
    calls: [u64; KINDS.len()],
    fired: u64,
    reaction: Reaction,
}

/// The shim, built once for all cases.
struct Shim {
    folder: tempfile::TempDir,
}

impl Shim {
    fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crash/failing_calls.c");
        let library = folder.path().join("failing_calls.so");
        run_or_panic(
            "cc",
            &["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", text(&library), source, "-ldl"],
        );
        Self { folder }
    }

    /// Preloads the shim into the daemon. Returns the path of its report.
    fn load(&self, harness: &mut CrashHarness, case: Case) -> PathBuf {
        let below = harness.rig.beside("data").canonicalize().unwrap();
        let report = harness.rig.beside("calls");
        std::fs::write(&report, [0; 256]).unwrap();
        let library = self.folder.path().join("failing_calls.so");
        for (name, value) in [
            ("LD_PRELOAD", text(&library).to_owned()),
            ("DROPREEL_FAIL_CALLS_FOLDER", text(&below).to_owned()),
            ("DROPREEL_FAIL_CALLS_REPORT", text(&report).to_owned()),
            ("DROPREEL_FAIL_CALLS_KIND", case.kind.to_string()),
            ("DROPREEL_FAIL_CALLS_NTH", case.nth.to_string()),
            ("DROPREEL_FAIL_CALLS_ERRNO", case.errno.raw_os_error().to_string()),
            ("DROPREEL_FAIL_CALLS_ON", u8::from(case.all_later).to_string()),
        ] {
            harness.rig.set_variable(name, &value);
        }
        report
    }
}

fn unload(harness: &mut CrashHarness) {
    for name in ["LD_PRELOAD", "FOLDER", "REPORT", "KIND", "NTH", "ERRNO", "ON"] {
        harness.rig.unset_variable(name);
        harness.rig.unset_variable(&format!("DROPREEL_FAIL_CALLS_{name}"));
    }
}

fn read_report(report: &Path) -> [u64; 32] {
    let bytes = std::fs::read(report).unwrap();
    let mut numbers = [0; 32];
    for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = u64::from_ne_bytes(bytes.try_into().unwrap());
    }
    numbers
}

fn small_load(harness: &mut CrashHarness) {
    harness.drop_job("plain", "callback=copies:2", &[], &["succeeded"]);
    harness.drop_job("two", "outputs=2", &[], &["succeeded"]);
    harness.drop_job("late", "media=html200x1 run=150ms", &[], &["succeeded"]);
    harness.drop_file("lines.jsonl", LINES.as_bytes(), Some(2));
    harness.expected.insert("one".to_owned(), &["succeeded"]);
    harness.expected.insert("other".to_owned(), &["succeeded"]);
    harness.drop_file("bad.json", br#"{"model": 7}"#, None);
}

const LINES: &str = concat!(
    r#"{"model":"wan2.5-t2v","prompt":"a [sandbox: queue=20ms run=60ms]","duration":5,"dropreel":{"name":"one"}}"#,
    "\n",
    r#"{"model":"wan2.5-t2v","prompt":"b [sandbox: queue=20ms run=60ms]","duration":5,"dropreel":{"name":"other"}}"#,
    "\n",
);

impl Case {
    const NONE: Self = Self { kind: 0, nth: 0, errno: Errno::IO, all_later: false };

    async fn run(self, shim: &Shim) -> Result<Outcome, String> {
        let mut harness = CrashHarness::set_up("", self.nth).await;
        harness.timeout = Duration::from_secs(100);
        small_load(&mut harness);
        if KINDS[self.kind].0 == "syncfs" {
            harness.drop_folders(9);
        }
        let report = shim.load(&mut harness, self);
        let reaction = match harness.rig.try_start_daemon().await {
            Err(status) => check_exit(&harness, status).map(|()| Reaction::RefusedToStart)?,
            Ok(()) => self.run_with_fault(&mut harness, &report).await?,
        };
        if reaction != Reaction::RefusedToStart {
            harness.check(When::Always, "after the fault")?;
        }
        let counted = read_report(&report);
        unload(&mut harness);
        if let Err(status) = harness.rig.try_start_daemon().await {
            return Err(format!("no start after the fault ({status}):\n{}", harness.rig.output()));
        }
        harness.finish(true).await?;
        let mut calls = [0; KINDS.len()];
        calls.copy_from_slice(&counted[..KINDS.len()]);
        Ok(Outcome { calls, fired: counted[FIRED], reaction })
    }

    /// Waits until the daemon has ended, every job has succeeded, or the time with the fault is over.
    async fn run_with_fault(self, harness: &mut CrashHarness, report: &Path) -> Result<Reaction, String> {
        let start = Instant::now();
        let mut fired_at: Option<Instant> = None;
        while !all_ended(harness).await {
            if let Some(status) = harness.rig.exit_status() {
                return check_exit(harness, status).map(|()| Reaction::Ended);
            }
            if fired_at.is_none() && read_report(report)[FIRED] > 0 {
                fired_at = Some(Instant::now());
            }
            if fired_at
                .map_or(start.elapsed() > TIME_TO_FAULT, |fired_at| fired_at.elapsed() > TIME_WITH_FAULT)
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Half of them get SIGTERM: a stop must work after a fault, too.
        if self.nth.is_multiple_of(2) {
            let stopped = tokio::time::timeout(Duration::from_secs(30), harness.rig.stop()).await;
            match stopped {
                Ok(Some(0 | 1)) => {}
                Ok(code) => return Err(format!("stopped with {code:?}:\n{}", harness.rig.output())),
                Err(_) => return Err(format!("does not stop:\n{}", harness.rig.output())),
            }
        } else {
            harness.rig.kill();
        }
        Ok(Reaction::KeptRunning)
    }
}

async fn all_ended(harness: &CrashHarness) -> bool {
    let Some(jobs) = harness.jobs().await else { return false };
    let succeeded = |job: &serde_json::Value| job["state"] == "succeeded";
    jobs.len() >= harness.expected.len() && jobs.iter().all(succeeded)
}

/// Checks that the daemon ended with an exit code and a message, and not by a panic.
fn check_exit(harness: &CrashHarness, status: ExitStatus) -> Result<(), String> {
    let output = harness.rig.output();
    let reported = !output.trim().is_empty() && !output.contains("panicked");
    match status.code() {
        Some(1 | 2) if reported => Ok(()),
        _ => Err(format!("the daemon ended with {status}:\n{output}")),
    }
}

fn cases(counts: &[u64; KINDS.len()], all: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, (_, errnos)) in KINDS.iter().enumerate() {
        // Only files of many folders need it: one flush of where they go, and one of where they were.
        let last = if KINDS[kind].0 == "syncfs" { 2 } else { counts[kind] };
        if all {
            // Beyond the number of calls, which differs a little from run to run.
            for nth in 1..=last + last / 10 {
                for (place, errno) in errnos.iter().enumerate() {
                    cases.push(Case {
                        kind,
                        nth,
                        errno: *errno,
                        all_later: (nth + place as u64).is_multiple_of(3),
                    });
                }
            }
            continue;
        }
        // A download that finds the disk full waits a minute: too long for CI.
        let quick = |errno: &&Errno| **errno != Errno::NOSPC || !["write", "open"].contains(&KINDS[kind].0);
        let errnos: Vec<&Errno> = errnos.iter().filter(quick).collect();
        // A first start consists of flushes, and each leaves the database in another state.
        if KINDS[kind].0 == "fdatasync" {
            cases.extend((1..=18.min(last)).map(|nth| Case {
                kind,
                nth,
                errno: Errno::IO,
                all_later: false,
            }));
        }
        let picked = last.min(9);
        for place in 0..picked {
            let nth = 1 + place * (last - 1) / (picked - 1).max(1);
            let errno = *errnos[usize::try_from(place).unwrap() % errnos.len()];
            cases.push(Case { kind, nth, errno, all_later: place % 3 == 2 });
        }
    }
    cases
}

/// Parses a case as a failed run prints it: `fsync:15:28:false`.
fn parse_case(text: &str) -> Option<Case> {
    let mut parts = text.split(':');
    let name = parts.next()?;
    let kind = KINDS.iter().position(|(known, _)| *known == name)?;
    let nth = parts.next()?.parse().ok()?;
    let errno = Errno::from_raw_os_error(parts.next()?.parse().ok()?);
    Some(Case { kind, nth, errno, all_later: parts.next()?.parse().ok()? })
}

/// `DROPREEL_CALLS=all` for every call with every error; `DROPREEL_CALLS=fsync:15:28:false` for that case alone.
#[test]
fn restart_after_any_failed_call_finishes_every_job() {
    let filter = std::env::var("DROPREEL_CALLS").unwrap_or_default();
    let start = Instant::now();
    let shim = Shim::build();
    let without_fault = in_parallel(&[Case::NONE], async |case| case.run(&shim).await).remove(0);
    let counts = without_fault.unwrap_or_else(|why| panic!("without a fault: {why}")).calls;
    let single = parse_case(&filter);
    let cases = single.map_or_else(|| cases(&counts, filter == "all"), |case| vec![case]);
    let results = in_parallel(&cases, async |case| case.run(&shim).await);
    let mut fired: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    let mut reactions: BTreeMap<Reaction, u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (case, result) in cases.iter().zip(results) {
        match result {
            Ok(outcome) => {
                let (runs, hits) = fired.entry(case.kind).or_default();
                *runs += 1;
                *hits += u64::from(outcome.fired > 0);
                *reactions.entry(outcome.reaction).or_default() += 1;
            }
            Err(why) => {
                let (name, errno) = (KINDS[case.kind].0, case.errno.raw_os_error());
                let replay = format!("DROPREEL_CALLS={name}:{}:{errno}:{}", case.nth, case.all_later);
                wrong.push(format!("{replay}\n{why}"));
            }
        }
    }
    eprintln!("calls: {} cases, {reactions:?} in {:?}", cases.len(), start.elapsed());
    for (kind, (name, _)) in KINDS.iter().enumerate() {
        let (runs, hits) = fired.get(&kind).copied().unwrap_or_default();
        eprintln!("  {name:12}{:5} calls, failed in {hits} of {runs} cases", counts[kind]);
        if single.is_none() && (hits * 2 < runs || (counts[kind] > 0 && hits == 0)) {
            wrong.push(format!("{name} failed in {hits} of {runs} cases only"));
        }
    }
    for name in ["write", "pwrite", "fsync", "rename", "open", "mkdir", "unlink"] {
        let kind = KINDS.iter().position(|(known, _)| *known == name).unwrap();
        assert!(counts[kind] > 0, "no {name} was counted: the shim is not loaded");
    }
    assert!(wrong.is_empty(), "{} of {} went wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
}

/// The calls of each kind in the output of `strace -y`.
fn calls_in_trace(trace: &str, below: &str) -> [u64; KINDS.len()] {
    let mut counts = [0; KINDS.len()];
    for line in trace.lines() {
        let Some((call, arguments)) = line.split_once('(') else { continue };
        let call = call.rsplit(' ').next().unwrap_or_default();
        let kind = match call {
            "write" | "writev" => "write",
            "pwrite64" => "pwrite",
            "rename" | "renameat" | "renameat2" => "rename",
            "open" | "openat" => "open",
            "mkdir" | "mkdirat" => "mkdir",
            "unlink" | "unlinkat" => "unlink",
            "link" | "linkat" => "link",
            other => other,
        };
        // The C library lists folders with calls that the shim does not count.
        let lists = kind == "open" && arguments.contains("O_NONBLOCK|O_CLOEXEC|O_DIRECTORY");
        let is_below = arguments.contains(&format!("<{below}")) || arguments.contains(&format!("\"{below}"));
        if let Some(place) = KINDS.iter().position(|(known, _)| *known == kind).filter(|_| is_below && !lists)
        {
            counts[place] += 1;
        }
    }
    counts
}

#[test]
fn shim_counts_every_call_that_the_kernel_sees() {
    let shim = Shim::build();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (mut harness, report, trace) = runtime.block_on(async {
        let mut harness = CrashHarness::set_up("", 1).await;
        small_load(&mut harness);
        let report = shim.load(&mut harness, Case::NONE);
        let trace = harness.rig.beside("trace");
        (harness, report, trace)
    });
    let library = format!("LD_PRELOAD={}", text(&shim.folder.path().join("failing_calls.so")));
    harness.rig.unset_variable("LD_PRELOAD");
    let daemon = harness.rig.command(&["serve"]);
    let calls = "write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,syncfs,rename,renameat,renameat2,open,openat,openat2,\
                 creat,mkdir,mkdirat,ftruncate,truncate,fallocate,sync_file_range,copy_file_range,sendfile,unlink,\
                 unlinkat,rmdir,link,linkat,symlinkat";
    let calls = format!("trace={}", calls.replace(' ', ""));
    let mut strace = std::process::Command::new("strace");
    strace.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    strace.args(["-f", "-y", "-s", "8", "-e", &calls, "-o", text(&trace), "-E", &library]);
    strace.arg(daemon.get_program()).arg("serve");
    for (name, value) in daemon.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    let mut strace =
        strace.stderr(std::process::Stdio::null()).spawn().expect("strace, from Debian's package");
    let library_folder = harness.rig.path("videos");
    let start = Instant::now();
    let clips = || {
        crate::support::files_below(&library_folder)
            .iter()
            .filter(|path| text(path).ends_with(".mp4"))
            .count()
    };
    while clips() < 6 {
        assert!(start.elapsed() < Duration::from_secs(90), "the daemon under strace stores nothing");
        std::thread::sleep(Duration::from_millis(100));
    }
    let tracer = strace.id();
    let children = std::fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children")).unwrap();
    let daemon = rustix::process::Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(daemon, rustix::process::Signal::TERM).unwrap();
    strace.wait().unwrap();
    let below = harness.rig.path("").canonicalize().unwrap();
    let trace = std::fs::read_to_string(trace).unwrap();
    let (kernel, counted) = (calls_in_trace(&trace, text(&below)), read_report(&report));
    eprintln!("calls: the kernel saw {kernel:?}");
    assert_eq!(kernel, counted[..KINDS.len()], "in the order of KINDS");
    for other in
        ["pwritev", "openat2", "creat(", "truncate(", "fallocate", "copy_file_range", "sendfile", "symlinkat"]
    {
        let uncounted = trace.lines().find(|line| {
            line.split('(').next().is_some_and(|call| !call.ends_with("ftruncate"))
                && line.contains(other)
                && line.contains(text(&below))
        });
        assert_eq!(uncounted, None, "the shim does not know this call");
    }
}

#[tokio::test]
async fn name_left_unflushed_by_a_kill_is_flushed_before_the_job_succeeds() {
    let shim = Shim::build();
    let mut harness = CrashHarness::set_up("", 1).await;
    harness.rig.set_variable("DROPREEL_FAIL_KILL_AT", &format!("{}:1", FailPoint::PublishRenamed.into_str()));
    harness.rig.start_daemon().await;
    harness.drop_job("half", "", &[], &["succeeded"]);
    assert!(matches!(harness.until_ended_or_settled().await, Ok(Ended::Died)));
    harness.rig.unset_variable("DROPREEL_FAIL_KILL_AT");
    let kind = KINDS.iter().position(|(name, _)| *name == "fsync").unwrap();
    shim.load(&mut harness, Case { kind, nth: 1, errno: Errno::IO, all_later: true });
    let library = harness.rig.path("videos").canonicalize().unwrap();
    harness.rig.set_variable("DROPREEL_FAIL_CALLS_FOLDER", text(&library));
    harness.rig.start_daemon().await;
    harness.rig.until_output("not stored yet").await;
    assert_eq!(harness.rig.job("half").await["state"], "downloading");
    harness.rig.kill();
    unload(&mut harness);
    harness.rig.start_daemon().await;
    harness.finish(true).await.unwrap();
}
