//! Runs one seed: the scheduler that decides what happens next, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dropreel::clock::Timestamp;
use dropreel::clock::calendar::Zone;
use dropreel::job::JobId;
use dropreel::job::event::OperatorAction;
use dropreel::money::Quota;
use dropreel::rng::Rng;
use dropreel::sandbox::Options;
use dropreel::sandbox::fault_plan::FaultPlan;
use dropreel::sandbox::http_types::{Request, TransmissionEnd};
use dropreel::sandbox::ledger::Ledger;
use dropreel::sandbox::outbox::Callback;
use dropreel::sandbox::world::World;
use dropreel::settings::Settings;
use tokio::sync::oneshot;

use crate::call_limits::CallLimits;
use crate::checker::{self, DailyBudget, Evidence, HarnessLog, When};
use crate::days::Submitted;
use crate::folders::{self, Folders};
use crate::hooks::{Receiver, Reception, hook};
use crate::isolation::{Isolation, is_neutral, stored_beside_a_fault};
use crate::network::{Delivered, HookMessage, Network, Outgoing};
use crate::process::{DaemonProcess, Target, is_settled};
use crate::scenario::{
    HEALTHY_TIMEOUT, Incident, MOVED_FOLDER, NetworkFaults, PERMANENT_NAME, SHARED_FOLDER, Scenario,
    may_lose_link,
};

const BEGIN: Timestamp = Timestamp::from_millis(1_795_500_000_000);
/// More steps than this at one time mean an endless loop.
const MAX_STEPS: u64 = 200_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A call that takes this long is slow enough for an operator to act meanwhile.
const SLOW_CALL: Duration = Duration::from_secs(10);
/// The address of the simulated provider and its media.
pub const BASE: &str = "http://127.0.0.1:8009";

/// The path of submits.
const SUBMITS: &str = "/v1/tasks";

/// What is scheduled.
enum Due {
    Arrive(Box<Request>, Option<oneshot::Sender<Delivered>>),
    /// The answer to a call, and whether the call was about no job.
    Deliver(oneshot::Sender<Delivered>, Delivered, bool),
    Callback(Box<Callback>),
    CallbackAnswered(u64, Option<u16>),
    HookAnswered(oneshot::Sender<Result<u16, String>>, Result<u16, String>),
    Drop(usize),
    Incident(Incident),
    /// An operator's retry of this job, if a call about it is still on its way.
    RetryDuringCall(JobId),
    Start,
    EndFaults,
}

/// The outcome of a seed.
pub struct Outcome {
    pub violations: Vec<String>,
    pub trace: Vec<String>,
    pub fired: BTreeMap<String, u64>,
    /// The outcome of each job by name: state, cost, hashes of its files.
    pub outcomes: BTreeMap<String, String>,
    pub simulated: Duration,
    /// All attempts, the first one first.
    pub submitted: Vec<Submitted>,
}

/// In half of the seeds: enough for three jobs of unknown price.
pub const DAILY_BUDGET: Quota = Quota::new(1_350_000);
/// The zones whose midnights renew it, and when the run begins: on the day before the clocks change, where they do.
const ZONES: [(&str, Timestamp); 5] = [
    ("UTC", BEGIN),
    ("Asia/Shanghai", BEGIN),
    // 2026-10-24T14:00Z; the next day has 25 hours.
    ("Europe/Berlin", Timestamp::from_millis(1_792_850_400_000)),
    // 2026-03-07T18:00Z; the next day has 23 hours.
    ("America/New_York", Timestamp::from_millis(1_772_906_400_000)),
    // 2026-09-05T16:00Z; the next day begins at 01:00.
    ("America/Santiago", Timestamp::from_millis(1_788_624_000_000)),
];

/// The budget of a seed.
pub fn daily_budget(seed: u64) -> (Option<DailyBudget>, Timestamp) {
    let (zone, begin) = ZONES[usize::try_from(seed / 2 % 5).unwrap()];
    let budget = DailyBudget { limit: DAILY_BUDGET.get(), zone };
    if seed.is_multiple_of(2) { (Some(budget), begin) } else { (None, BEGIN) }
}

/// Half of the budgets stay when the faults end: the rest of the jobs waits for the next days.
fn keeps_budget(seed: u64) -> bool {
    seed.is_multiple_of(4)
}

pub struct Run<'a> {
    scenario: Scenario,
    seed: u64,
    rng: Rng,
    begin: Timestamp,
    real: Timestamp,
    world: World,
    network: Network,
    due: BTreeMap<(Timestamp, u64), Due>,
    made: u64,
    process: Option<DaemonProcess>,
    starts: u64,
    /// The daemon's wall clock minus the world's, in milliseconds.
    skew: i64,
    folder: &'a Path,
    settings: Settings,
    log: HarnessLog,
    network_faults: NetworkFaults,
    awaiting_answer: BTreeSet<u64>,
    saved_database: Option<[Option<Vec<u8>>; 2]>,
    restored: bool,
    disk_full: bool,
    faults_ended: Option<Timestamp>,
    call_limits: CallLimits,
    isolation: Isolation,
    /// The keys of refused submits.
    refused: BTreeSet<String>,
    /// How many more retries are to overtake the answer of a slow call.
    retries_during_calls: u32,
    /// Until when answers may arrive that such a retry has overtaken.
    late_answers_until: Timestamp,
    violations: Vec<String>,
    trace: Vec<String>,
    fired: BTreeMap<String, u64>,
    /// The fault plan when no incident has set another.
    plan: String,
    folders: Folders,
    receiver: Option<Receiver>,
    /// Whether the daemon's clock was always that of the world.
    was_never_skewed: bool,
}

/// The plan of `words`, with a list of models that has the scenario's. In every eighth seed one is missing, and its jobs
/// are held.
fn fault_plan(seed: u64, words: &str) -> FaultPlan {
    let listed = if seed % 8 == 3 { "" } else { "catalogue=also:other-model" };
    FaultPlan::parse(&format!("{listed} {words}")).unwrap()
}

impl<'a> Run<'a> {
    /// A run of `scenario` in an empty `folder`.
    pub fn new(seed: u64, scenario: Scenario, folder: &'a Path, settings: &Settings, plan: &str) -> Self {
        let options = Options {
            fault_plan: fault_plan(seed, plan),
            seed,
            queue_time: (Duration::from_millis(100), Duration::from_secs(20)),
            run_time: (Duration::from_secs(2), Duration::from_secs(120)),
            balance: Quota::new(1_000_000_000_000),
            ..Options::default()
        };
        let mut settings = settings.clone();
        settings.data_dir = folder.join("data");
        settings.inbox.dir = settings.data_dir.join("inbox");
        settings.library.dir = settings.data_dir.join("videos");
        settings.callbacks.secret_file = settings.data_dir.join("callback.secret");
        settings.provider.max_running = scenario.settings.max_running;
        settings.provider.quotes = dropreel::settings::Quotes::Off;
        settings.provider.submit_per_second = scenario.settings.submit_per_second;
        settings.downloads.concurrency = scenario.settings.concurrency;
        if !scenario.settings.callbacks {
            settings.callbacks.public_url = None;
        }
        settings.hooks = scenario.hooks.iter().map(|_| hook()).collect();
        let (daily_budget, begin) = daily_budget(seed);
        if let Some(DailyBudget { limit, zone }) = daily_budget {
            settings.budget.per_day = Some(Quota::new(limit));
            settings.budget.zone = Zone::named(zone);
        }
        let mut run = Self {
            seed,
            rng: Rng::seeded(seed),
            begin,
            real: begin,
            world: World::new(options, BASE),
            network: Network::default(),
            due: BTreeMap::new(),
            made: 0,
            process: None,
            starts: 0,
            skew: 0,
            folder,
            call_limits: CallLimits::new(&settings),
            settings,
            log: HarnessLog { daily_budget, ..HarnessLog::default() },
            network_faults: scenario.network_faults.clone(),
            awaiting_answer: BTreeSet::new(),
            saved_database: None,
            restored: false,
            disk_full: false,
            faults_ended: None,
            isolation: Isolation::default(),
            refused: BTreeSet::new(),
            retries_during_calls: 0,
            late_answers_until: begin,
            violations: Vec::new(),
            trace: Vec::new(),
            fired: BTreeMap::new(),
            plan: plan.to_owned(),
            folders: Folders::default(),
            receiver: scenario.hooks.clone().map(|faults| Receiver::new(faults, seed, begin)),
            was_never_skewed: true,
            scenario,
        };
        for number in 0..run.scenario.files.len() {
            let after = run.scenario.files[number].0;
            run.after(after, Due::Drop(number));
        }
        for (after, incident) in run.scenario.incidents.clone() {
            run.after(after, Due::Incident(incident));
        }
        let faults_end = run.scenario.faults_end;
        run.after(faults_end, Due::EndFaults);
        run.after(Duration::ZERO, Due::Start);
        run
    }

    /// Runs to the end and returns the outcome.
    pub fn run(mut self) -> Outcome {
        self.prepare();
        let jobs: u32 = self.scenario.files.iter().filter_map(|(_, file)| file.jobs).sum();
        // One job at least fits into each day.
        let days = if keeps_budget(self.seed) { DAY * (jobs + 1) } else { Duration::ZERO };
        let end = self.begin.plus(self.scenario.faults_end).plus(self.scenario.timeout).plus(days);
        let (mut last_check, mut last_isolation_check) = (self.real, self.real);
        while self.real < end && self.violations.is_empty() {
            self.run_daemon(None);
            let wake = self.process.as_ref().and_then(|process| process.clock.next_wake());
            let times = [
                self.due.first_key_value().map(|((at, _), _)| *at),
                self.world.next_due(),
                wake.map(|wake| self.real.plus(wake.max(Duration::from_millis(1)))),
                Some(end),
            ];
            let next = times.into_iter().flatten().min().unwrap_or(end).max(self.real);
            self.advance_to(next);
            while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= self.real) {
                let due = entry.remove();
                self.handle(due);
                self.run_daemon(None);
            }
            self.send_callbacks();
            let healed = self.faults_ended.map_or(Duration::ZERO, |ended| self.real.since(ended));
            let spacing = Duration::from_secs(if self.faults_ended.is_some() { 300 } else { 30 });
            if self.real.since(last_isolation_check) >= spacing {
                last_isolation_check = self.real;
                self.check_isolation();
            }
            // A stage whose work failed runs again within a minute, even without a notification.
            if healed >= Duration::from_secs(60) && self.real.since(last_check) >= Duration::from_secs(30) {
                last_check = self.real;
                if self.is_settled() {
                    self.check_isolation();
                    if !self.isolation.awaits_output() {
                        break;
                    }
                }
                self.check_healthy_jobs();
            }
        }
        self.finish()
    }

    fn prepare(&mut self) {
        if self.scenario.files.iter().any(|(_, file)| file.name.starts_with(SHARED_FOLDER)) {
            self.folders.change_defaults(&self.settings.inbox.dir, self.begin);
        }
        let data_dir = &self.settings.data_dir;
        dropreel::fs::create_private_folder(data_dir).unwrap();
        for name in ["callback.secret", "callback.secrets-known"] {
            let secret = format!("{}\n", "c".repeat(43));
            dropreel::fs::write_durably(&data_dir.join(name), secret.as_bytes()).unwrap();
        }
    }

    fn after(&mut self, wait: Duration, due: Due) {
        self.made += 1;
        self.due.insert((self.real.plus(wait), self.made), due);
    }

    fn trace(&mut self, what: impl std::fmt::Display) {
        let after = self.real.since(self.begin).as_millis();
        let what = what.to_string().replace(&*self.folder.to_string_lossy(), "FOLDER");
        self.trace.push(format!("{:>6}.{:03} {what}", after / 1000, after % 1000));
    }

    fn count_fault(&mut self, what: &str) {
        *self.fired.entry(what.to_owned()).or_default() += 1;
    }

    fn chance(&self, share: f64) -> bool {
        share > 0.0 && self.rng.fraction() < share
    }

    fn latency(&self) -> Duration {
        let most = u64::try_from(self.network_faults.slowest.as_millis()).unwrap();
        // Mostly fast, sometimes as slow as possible.
        let most = if self.rng.below(8) == 0 { most } else { most / 10 };
        Duration::from_millis(1 + self.rng.below(most.max(1)))
    }

    fn advance_to(&mut self, to: Timestamp) {
        let by = to.since(self.real);
        self.real = to;
        if let Some(process) = &self.process {
            process.clock.advance(by);
        }
    }

    /// Runs the daemon until all its tasks wait, or for a number of steps.
    fn run_daemon(&mut self, steps: Option<u64>) {
        let (mut idle, mut last, mut count) = (0, u64::MAX, 0);
        while idle < 3 && steps.is_none_or(|most| count < most) {
            let Some(process) = &self.process else { return };
            let now = process.step();
            idle = if now == last { idle + 1 } else { 0 };
            last = now;
            count += 1;
            self.collect();
            if let Some(why) = self.process.as_ref().and_then(DaemonProcess::ended) {
                self.trace(format_args!("the daemon ends: {why}"));
                self.count_fault("ended by itself");
                // The service unit restarts it after ten seconds.
                return self.crash(Duration::from_secs(10));
            }
            if count > MAX_STEPS {
                self.violations.push("I12: the daemon works without ever waiting".to_owned());
                return;
            }
        }
    }

    /// Takes the requests and answers that the daemon has sent, and schedules their arrival or loss.
    fn collect(&mut self) {
        for Outgoing { request, reply } in self.network.outgoing() {
            let (real, skewed) = (self.real, self.skew != 0);
            self.call_limits.sent(&request, real, skewed, &mut self.violations);
            let text = describe(&request);
            if self.chance(self.network_faults.request_lost) {
                self.count_fault("request lost");
                let lost = if self.rng.below(2) == 0 { Delivered::NotSent } else { Delivered::Lost };
                self.trace(format_args!("{text} is lost"));
                self.isolation.answered(&request, None, Duration::ZERO);
                self.log.lost_requests.insert(request.path);
                let wait = self.latency();
                self.after(wait, Due::Deliver(reply, lost, false));
                continue;
            }
            self.trace(format_args!("{text} is sent"));
            if self.chance(self.network_faults.doubled) {
                self.count_fault("request doubled");
                let wait = self.latency() + self.latency();
                self.after(wait, Due::Arrive(Box::new(request.clone()), None));
            }
            let wait = self.latency();
            self.isolation.delayed(&request, wait);
            self.after(wait, Due::Arrive(Box::new(request), Some(reply)));
        }
        for HookMessage { id, reply } in self.network.hook_messages() {
            let (real, are_faults_over) = (self.real, self.faults_ended.is_some());
            let Some(receiver) = &mut self.receiver else { continue };
            let Reception { wait, answer, fault } = receiver.receive(&id, real, are_faults_over);
            self.trace(format_args!("hook {id} is sent: {answer:?} after {wait:?}"));
            if let Some(fault) = fault {
                self.count_fault(fault);
            }
            self.after(wait, Due::HookAnswered(reply, answer));
        }
        for answered in self.network.answered() {
            self.awaiting_answer.remove(&answered.number);
            self.trace(format_args!("callback {} is answered {}", answered.number, answered.status));
            let lost = self.chance(self.network_faults.answer_lost);
            let wait = self.latency();
            self.after(wait, Due::CallbackAnswered(answered.number, (!lost).then_some(answered.status)));
        }
    }

    fn handle(&mut self, due: Due) {
        match due {
            Due::Arrive(request, None) if self.is_lost_money(&request) => {
                self.trace(format_args!("a copy of {} is lost", describe(&request)));
            }
            Due::Arrive(request, reply) => self.arrive(&request, reply),
            Due::Deliver(reply, delivered, is_neutral) => {
                // A process that has died or stopped waiting receives nothing.
                if let Delivered::Answer(answer) = &delivered
                    && !reply.is_closed()
                {
                    self.call_limits.answer_received(answer, is_neutral, self.disk_full, self.real);
                }
                let _ = reply.send(delivered);
                if self.real <= self.late_answers_until {
                    self.run_daemon(None);
                    self.check(When::Always);
                }
            }
            Due::Callback(callback) => {
                let is_listening = self.process.as_ref().is_some_and(|process| {
                    process.send_callback(callback.number, callback.url.expose(), callback.body.clone())
                });
                self.trace(format_args!("callback {} for {} arrives", callback.number, callback.task_id));
                if is_listening {
                    self.awaiting_answer.insert(callback.number);
                } else {
                    self.world.callback_answered(callback.number, None, self.real);
                }
            }
            Due::CallbackAnswered(number, status) => self.world.callback_answered(number, status, self.real),
            // A process that has died or stopped waiting receives nothing.
            Due::HookAnswered(reply, answer) => drop(reply.send(answer)),
            Due::Drop(number) => self.drop_file(number),
            Due::RetryDuringCall(job) => self.retry_during_call(job),
            Due::Start => self.start(),
            Due::EndFaults => self.end_faults(),
            Due::Incident(incident) => {
                if self.faults_ended.is_none() {
                    self.trace(format_args!("{incident:?}"));
                    self.apply_incident(incident);
                }
            }
        }
    }

    fn arrive(&mut self, request: &Request, reply: Option<oneshot::Sender<Delivered>>) {
        let answer = self.world.handle(request, self.real);
        self.trace(format_args!(
            "{} is answered {}{}",
            describe(request),
            answer.status,
            if answer.is_complete() { "" } else { ", incomplete" }
        ));
        let Some(reply) = reply else { return };
        if request.path == SUBMITS && (400..500).contains(&answer.status) {
            self.refused.extend(request.idempotency_key.clone());
        }
        let mut wait = self.latency() + answer.transmission.delay;
        if answer.transmission.after_callback.is_some() {
            wait += Duration::from_secs(3);
        }
        if let Some(bytes_per_second) = answer.transmission.bytes_per_second {
            wait += Duration::from_secs(answer.body.len() / bytes_per_second.max(1));
        }
        let delivered = if self.chance(self.network_faults.answer_lost) {
            self.count_fault("answer lost");
            Delivered::Lost
        } else if answer.transmission.end == TransmissionEnd::NoResponse {
            Delivered::Lost
        } else {
            Delivered::Answer(Box::new(answer))
        };
        if matches!(delivered, Delivered::Lost) {
            self.log.lost_requests.insert(request.path.clone());
        }
        // Without a reset, only the daemon's timeout ends the call.
        if matches!(delivered, Delivered::Lost) && self.rng.below(3) == 0 {
            wait += Duration::from_secs(3600);
        }
        let answer = if let Delivered::Answer(answer) = &delivered { Some(&**answer) } else { None };
        self.isolation.answered(request, answer, wait);
        if answer.is_some_and(|answer| answer.transmission.delay >= SLOW_CALL)
            && let Some(job) = self.job_of(request)
        {
            self.after(Duration::from_secs(1), Due::RetryDuringCall(job));
        }
        self.after(wait, Due::Deliver(reply, delivered, is_neutral(request)));
    }

    /// Whether this copy of a refused submit would make a task of which nothing would ever tell the daemon: no answer,
    /// and perhaps no callback.
    fn is_lost_money(&self, request: &Request) -> bool {
        let refused = request.idempotency_key.as_ref().is_some_and(|key| self.refused.contains(key));
        let faulty_callback = request.body.windows(9).any(|words| words == b"callback=")
            || self.world.fault_plan().to_string().contains("callback=");
        let tells =
            self.scenario.settings.callbacks && self.network_faults.callback_lost == 0.0 && !faulty_callback;
        request.path == SUBMITS && refused && !tells
    }

    /// The job that a submit, status query or cancel call is about.
    fn job_of(&self, request: &Request) -> Option<JobId> {
        let task = request.path.strip_prefix("/v1/tasks/").and_then(|rest| rest.split('/').next());
        let made = self.world.ledger().tasks.iter().find(|made| Some(made.task_id.as_str()) == task);
        let key = request.idempotency_key.as_deref().or_else(|| made?.key.as_deref())?;
        JobId::parse(key.split('.').next()?)
    }

    fn retry_during_call(&mut self, job: JobId) {
        let paid = |run: &Self| run.process.as_ref().map_or(0, |process| process.paid_actions().len());
        let before = paid(self);
        if self.retries_during_calls == 0 || self.faults_ended.is_some() {
            return;
        }
        self.act(OperatorAction::Retry, Target::Job(job));
        self.run_daemon(None);
        if paid(self) > before {
            self.trace(format_args!("job {job} is retried during a call"));
            self.count_fault("retry during a call");
            self.retries_during_calls -= 1;
            self.late_answers_until = self.real.plus(Duration::from_secs(60));
        }
    }

    fn send_callbacks(&mut self) {
        for callback in self.world.take_due_callbacks(self.real) {
            if self.chance(self.network_faults.callback_lost) {
                self.count_fault("callback lost");
                self.world.callback_answered(callback.number, None, self.real);
                continue;
            }
            let wait = self.latency();
            self.after(wait, Due::Callback(Box::new(callback)));
        }
    }

    fn drop_file(&mut self, number: usize) {
        let file = self.scenario.files[number].1.clone();
        if self.folders.drop_file(&self.settings.inbox.dir, &file.name, &file.bytes, self.real).is_err() {
            return self.after(Duration::from_secs(20), Due::Drop(number));
        }
        if file.name.contains('/') {
            self.count_fault(if file.name.starts_with(MOVED_FOLDER) {
                "folder moved in"
            } else {
                "file dropped in a folder"
            });
        }
        self.log.record_drop(&file.name, &file.bytes, file.jobs);
        let text = String::from_utf8_lossy(&file.bytes).replace('\n', " ");
        self.trace(format_args!("{} is dropped: {text}", file.name));
    }

    fn daemon_clock(&self) -> Timestamp {
        Timestamp::from_millis(self.real.millis() + self.skew)
    }

    fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        self.starts += 1;
        self.trace("the daemon starts");
        let seed = self.seed.wrapping_mul(31).wrapping_add(self.starts);
        let (clock, is_watched) = (self.daemon_clock(), self.scenario.settings.watched);
        self.process = Some(DaemonProcess::start(&self.settings, &self.network, clock, seed, is_watched));
    }

    fn crash(&mut self, down: Duration) {
        let Some(process) = self.process.take() else { return };
        self.trace(format_args!("the daemon dies, down for {down:?}"));
        record_paid_actions(&mut self.log, &process);
        process.kill(&self.settings.data_dir);
        self.call_limits.process_died(self.real);
        drop(self.network.outgoing());
        drop(self.network.answered());
        drop(self.network.hook_messages());
        for number in std::mem::take(&mut self.awaiting_answer) {
            self.world.callback_answered(number, None, self.real);
        }
        self.check(When::Always);
        self.after(down, Due::Start);
    }

    fn apply_incident(&mut self, incident: Incident) {
        let name = format!("{incident:?}");
        self.count_fault(name.split([' ', '(']).next().unwrap_or_default());
        match incident {
            Incident::Plan(words) => self.world.set_fault_plan(fault_plan(self.seed, &words)),
            Incident::Crash { down, after_steps } => {
                self.run_daemon(Some(after_steps));
                self.crash(down);
            }
            Incident::Stop { down } => {
                if let Some(process) = &self.process {
                    process.request_stop();
                }
                self.run_daemon(None);
                self.crash(down);
            }
            Incident::Jump(millis) => self.set_skew(self.skew + millis),
            Incident::LoseClock => {
                self.crash(Duration::from_secs(30));
                self.skew = -self.real.millis();
                self.was_never_skewed = false;
            }
            Incident::SetClock => self.set_skew(0),
            Incident::Cancel(nth) => self.act(OperatorAction::Cancel, Target::Nth(nth)),
            Incident::Retry(nth) => self.act(OperatorAction::Retry, Target::Nth(nth)),
            Incident::Release(nth) => self.act(OperatorAction::Release, Target::Nth(nth)),
            Incident::RetryDuringCall => self.retries_during_calls += 1,
            Incident::Pause => self.pause(true),
            Incident::Resume => self.pause(false),
            Incident::FillDisk(left) => self.fill_disk(left),
            Incident::FreeDisk => self.free_disk(),
            Incident::SaveDatabase => self.saved_database = Some(database(&self.settings.data_dir)),
            Incident::Restore => self.restore(),
            Incident::ChangeDefaults => self.folders.change_defaults(&self.settings.inbox.dir, self.real),
        }
    }

    fn set_skew(&mut self, skew: i64) {
        self.skew = skew;
        self.was_never_skewed = false;
        self.call_limits.clock_moved();
        if let Some(process) = &self.process {
            process.clock.jump_to(self.daemon_clock());
        }
    }

    fn act(&self, action: OperatorAction, target: Target) {
        if let Some(process) = &self.process {
            process.act(action, target);
        }
    }

    fn pause(&self, paused: bool) {
        if let Some(process) = &self.process {
            process.pause(paused);
        }
    }

    fn fill_disk(&mut self, left: u64) {
        // Without a file system of its own, the run would fill the machine's.
        if crate::has_own_disk() {
            crate::fill(self.folder, left);
            self.disk_full = true;
            self.count_fault("disk full");
        }
    }

    fn free_disk(&mut self) {
        crate::free(self.folder);
        self.disk_full = false;
    }

    fn restore(&mut self) {
        let Some(files) = self.saved_database.take() else { return };
        self.crash(Duration::from_secs(5));
        self.restored = true;
        self.call_limits.database_restored();
        for (name, bytes) in DATABASE.iter().zip(files) {
            let path = self.settings.data_dir.join(name);
            match bytes {
                Some(bytes) => std::fs::write(path, bytes).unwrap(),
                None => drop(std::fs::remove_file(path)),
            }
        }
    }

    /// Ends all faults: any later problem is the daemon's.
    fn end_faults(&mut self) {
        self.trace("all faults end");
        self.network_faults = NetworkFaults::NONE;
        self.world.set_fault_plan(fault_plan(self.seed, &self.plan));
        self.free_disk();
        if self.skew != 0 {
            self.set_skew(0);
        }
        self.pause(false);
        self.faults_ended = Some(self.real);
        self.check(When::Always);
        // The jobs that wait for the next day go on, as after a reload, or wait for it.
        if !keeps_budget(self.seed) {
            self.log.daily_budget = None;
            self.settings.budget.per_day = None;
            if let Some(process) = &self.process {
                process.lift_budgets();
            }
        }
        if self.process.is_none() {
            self.start();
        }
        // The new process may have read a pause from the database.
        self.run_daemon(None);
        self.pause(false);
    }

    /// Whether nothing is left to do, by the rows of the database.
    fn is_settled(&mut self) -> bool {
        let Some(process) = &self.process else { return false };
        if !process.is_open() {
            return false;
        }
        let inbox = folders::job_files(&self.settings.inbox.dir);
        let network = self.due.values().all(|due| matches!(due, Due::Deliver(..) | Due::Incident(_)));
        let hooks = self.receiver.is_none() || crate::due_hook_calls(&self.settings.data_dir) == 0;
        inbox == 0
            && network
            && hooks
            && crate::states(&self.settings.data_dir).iter().all(|state| is_settled(state))
    }

    /// I17: jobs without a fault of their own do not wait for those with a permanent one.
    fn check_healthy_jobs(&mut self) {
        let late = self.faults_ended.is_some_and(|ended| self.real.since(ended) >= HEALTHY_TIMEOUT);
        if !late || self.restored || keeps_budget(self.seed) {
            return;
        }
        let waiting: Vec<String> = crate::unsettled(&self.settings.data_dir)
            .into_iter()
            .filter(|(name, prompt)| !name.starts_with(PERMANENT_NAME) && !may_lose_link(prompt))
            .map(|(name, _)| name)
            .collect();
        if !waiting.is_empty() {
            self.violations.push(format!("I17: {waiting:?} still wait beside jobs whose faults never heal"));
        }
    }

    /// I17 and I18, while the daemon runs.
    fn check_isolation(&mut self) {
        let is_open = self.process.as_ref().is_some_and(DaemonProcess::is_open);
        if is_open && !self.restored {
            let healed = self.faults_ended.is_some();
            let found = self.isolation.check(&self.settings.data_dir, self.real, healed);
            self.violations.extend(found);
        }
    }

    fn check(&mut self, when: When) {
        let ledger: &Ledger = self.world.ledger();
        let mut log = self.log.clone();
        if let Some(process) = &self.process {
            record_paid_actions(&mut log, process);
        }
        let evidence = Evidence { data_dir: &self.settings.data_dir, ledger, log: &log, output: "", when };
        let found = checker::check(&evidence);
        // An older database lacks facts, so only double charges count.
        let counts = |violation: &checker::Violation| !self.restored || (violation.invariant == 4);
        let found: Vec<String> = found.iter().filter(|one| counts(one)).map(ToString::to_string).collect();
        self.violations.extend(found);
        self.violations.extend(self.folders.check(&self.settings.data_dir));
        if !self.restored {
            let receiver = self.receiver.iter();
            let is_final = when == When::Finally;
            let wrong = receiver.flat_map(|receiver| {
                receiver.check(&self.settings.data_dir, self.was_never_skewed, is_final)
            });
            self.violations.extend(wrong);
            self.log.record_library(&self.settings.data_dir);
        }
    }

    fn finish(mut self) -> Outcome {
        if let Some(process) = self.process.take() {
            record_paid_actions(&mut self.log, &process);
            process.kill(&self.settings.data_dir);
        }
        if self.violations.is_empty() {
            self.check(When::Finally);
        }
        // After a violation the database may be in any state.
        let is_sound = self.violations.is_empty();
        let stored = if is_sound { stored_beside_a_fault(&self.settings.data_dir) } else { 0 };
        if stored > 0 {
            *self.fired.entry("output stored beside a lasting fault".to_owned()).or_default() += stored;
        }
        let over_budget = if is_sound { crate::times_over_budget(&self.settings.data_dir) } else { 0 };
        if over_budget > 0 {
            *self.fired.entry("job over budget".to_owned()).or_default() += over_budget;
        }
        for (fault, times) in &self.world.ledger().faults {
            *self.fired.entry(format!("provider {fault}")).or_default() += times;
        }
        Outcome {
            outcomes: crate::outcomes(&self.settings.data_dir),
            violations: self.violations,
            trace: self.trace,
            fired: self.fired,
            simulated: self.real.since(self.begin),
            submitted: crate::submitted(&self.settings.data_dir),
        }
    }
}

const DATABASE: [&str; 2] = ["dropreel.db", "dropreel.db-wal"];

fn database(data_dir: &Path) -> [Option<Vec<u8>>; 2] {
    DATABASE.map(|name: &str| -> Option<Vec<u8>> {
        let path: PathBuf = data_dir.join(name);
        std::fs::read(path).ok()
    })
}

fn record_paid_actions(log: &mut HarnessLog, process: &DaemonProcess) {
    for job in process.paid_actions() {
        *log.extra_charges.entry(job.to_string()).or_default() += 1;
    }
}

fn describe(request: &Request) -> String {
    let key = request.idempotency_key.as_deref().map_or(String::new(), |key| format!(" {key}"));
    let range = request.range.as_deref().map_or(String::new(), |range| format!(" {range}"));
    format!("{} {}{key}{range}", request.method, request.path)
}
