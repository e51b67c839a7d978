//! One seed: the scheduler that alone decides what happens next, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dropreel::clock::Timestamp;
use dropreel::job::event::OperatorAction;
use dropreel::rng::Rng;
use dropreel::sandbox::Options;
use dropreel::sandbox::fault_plan::FaultPlan;
use dropreel::sandbox::http_types::{Request, TransmissionEnd};
use dropreel::sandbox::ledger::Ledger;
use dropreel::sandbox::outbox::Callback;
use dropreel::sandbox::world::World;
use dropreel::settings::Settings;
use tokio::sync::oneshot;

use crate::checker::{self, Evidence, HarnessLog, When};
use crate::machine::{Machine, rests};
use crate::network::{Delivered, Network, Outgoing};
use crate::restraint::Restraint;
use crate::story::{Happening, Story, Weather};

const BEGIN: Timestamp = Timestamp::from_millis(1_795_500_000_000);
/// More steps without time passing mean an endless loop.
const MOST_STEPS: u64 = 200_000;
/// Where the simulated provider and its media are.
pub const BASE: &str = "http://127.0.0.1:9";

/// What waits for its time.
enum Due {
    Arrive(Box<Request>, Option<oneshot::Sender<Delivered>>),
    Deliver(oneshot::Sender<Delivered>, Delivered),
    Callback(Box<Callback>),
    CallbackAnswered(u64, Option<u16>),
    Drop(usize),
    Happen(Happening),
    Start,
    Heal,
}

/// What came of a seed.
pub struct Outcome {
    pub violations: Vec<String>,
    pub trace: Vec<String>,
    pub fired: BTreeMap<String, u64>,
    /// Name of each job, with what became of it: state, cost, hashes of its files.
    pub ends: BTreeMap<String, String>,
    pub simulated: Duration,
}

pub struct Run<'a> {
    story: Story,
    seed: u64,
    rng: Rng,
    real: Timestamp,
    world: World,
    network: Network,
    due: BTreeMap<(Timestamp, u64), Due>,
    made: u64,
    machine: Option<Machine>,
    starts: u64,
    /// The daemon's wall clock less the world's, in milliseconds.
    skew: i64,
    folder: &'a Path,
    settings: Settings,
    log: HarnessLog,
    weather: Weather,
    awaiting_answer: BTreeSet<u64>,
    remembered: Option<[Option<Vec<u8>>; 2]>,
    restored: bool,
    disk_full: bool,
    healed: Option<Timestamp>,
    restraint: Restraint,
    violations: Vec<String>,
    trace: Vec<String>,
    fired: BTreeMap<String, u64>,
    /// What the provider does when nothing else is planned.
    plan: String,
}

impl<'a> Run<'a> {
    /// A run of `story` in an empty `folder`.
    pub fn new(seed: u64, story: Story, folder: &'a Path, settings: &Settings, plan: &str) -> Self {
        let options = Options {
            fault_plan: FaultPlan::parse(plan).unwrap(),
            seed,
            queue_time: (Duration::from_millis(100), Duration::from_secs(20)),
            run_time: (Duration::from_secs(2), Duration::from_secs(120)),
            balance: dropreel::money::Quota::new(1_000_000_000_000),
            ..Options::default()
        };
        let mut settings = settings.clone();
        settings.data_dir = folder.join("data");
        settings.inbox.dir = settings.data_dir.join("inbox");
        settings.library.dir = settings.data_dir.join("videos");
        settings.callbacks.secret_file = settings.data_dir.join("callback.secret");
        settings.provider.max_running = story.settings.max_running;
        settings.provider.submit_per_second = story.settings.submit_per_second;
        settings.downloads.concurrency = story.settings.concurrency;
        if !story.settings.callbacks {
            settings.callbacks.public_url = None;
        }
        let mut run = Self {
            seed,
            rng: Rng::seeded(seed),
            real: BEGIN,
            world: World::new(options, BASE),
            network: Network::default(),
            due: BTreeMap::new(),
            made: 0,
            machine: None,
            starts: 0,
            skew: 0,
            folder,
            restraint: Restraint::new(&settings),
            settings,
            log: HarnessLog::default(),
            weather: story.weather.clone(),
            awaiting_answer: BTreeSet::new(),
            remembered: None,
            restored: false,
            disk_full: false,
            healed: None,
            violations: Vec::new(),
            trace: Vec::new(),
            fired: BTreeMap::new(),
            plan: plan.to_owned(),
            story,
        };
        for number in 0..run.story.files.len() {
            let after = run.story.files[number].0;
            run.after(after, Due::Drop(number));
        }
        for (after, happening) in run.story.happenings.clone() {
            run.after(after, Due::Happen(happening));
        }
        let heal = run.story.heal;
        run.after(heal, Due::Heal);
        run.after(Duration::ZERO, Due::Start);
        run
    }

    /// Runs to the end and says what came of it.
    pub fn play(mut self) -> Outcome {
        self.prepare();
        let end = BEGIN.plus(self.story.heal).plus(self.story.patience);
        let mut look = self.real;
        while self.real < end && self.violations.is_empty() {
            self.drain(None);
            let wake = self.machine.as_ref().and_then(|machine| machine.clock.next_wake());
            let times = [
                self.due.first_key_value().map(|((at, _), _)| *at),
                self.world.next_due(),
                wake.map(|wake| self.real.plus(wake.max(Duration::from_millis(1)))),
                Some(end),
            ];
            let next = times.into_iter().flatten().min().unwrap_or(end).max(self.real);
            self.pass_time(next);
            while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= self.real) {
                let due = entry.remove();
                self.happens(due);
                self.drain(None);
            }
            self.send_callbacks();
            // A stage whose work failed looks again within a minute, whether anything rings or not.
            let healed = self.healed.is_some_and(|healed| self.real.since(healed) >= Duration::from_secs(60));
            if healed && self.real.since(look) >= Duration::from_secs(30) {
                look = self.real;
                if self.at_rest() {
                    break;
                }
            }
        }
        self.finish()
    }

    fn prepare(&self) {
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

    fn note(&mut self, what: impl std::fmt::Display) {
        let after = self.real.since(BEGIN).as_millis();
        let what = what.to_string().replace(&*self.folder.to_string_lossy(), "FOLDER");
        self.trace.push(format!("{:>6}.{:03} {what}", after / 1000, after % 1000));
    }

    fn fired(&mut self, what: &str) {
        *self.fired.entry(what.to_owned()).or_default() += 1;
    }

    fn chance(&self, share: f64) -> bool {
        share > 0.0 && self.rng.fraction() < share
    }

    fn hop(&self) -> Duration {
        let most = u64::try_from(self.weather.slowest.as_millis()).unwrap();
        // Mostly quick, now and then as slow as it gets.
        let most = if self.rng.below(8) == 0 { most } else { most / 10 };
        Duration::from_millis(1 + self.rng.below(most.max(1)))
    }

    fn pass_time(&mut self, to: Timestamp) {
        let by = to.since(self.real);
        self.real = to;
        if let Some(machine) = &self.machine {
            machine.clock.advance(by);
        }
    }

    /// Runs the daemon until all of it waits, or for a number of steps.
    fn drain(&mut self, steps: Option<u64>) {
        let (mut idle, mut last, mut count) = (0, u64::MAX, 0);
        while idle < 3 && steps.is_none_or(|most| count < most) {
            let Some(machine) = &self.machine else { return };
            let now = machine.step();
            idle = if now == last { idle + 1 } else { 0 };
            last = now;
            count += 1;
            self.collect();
            if let Some(why) = self.machine.as_ref().and_then(Machine::ended) {
                self.note(format_args!("the daemon ends: {why}"));
                self.fired("ended by itself");
                // As the service unit has it.
                return self.crash(Duration::from_secs(10));
            }
            if count > MOST_STEPS {
                self.violations
                    .push("I12: the daemon works on and on without waiting for anything".to_owned());
                return;
            }
        }
    }

    /// Takes what the daemon has sent and answered, and decides what becomes of it.
    fn collect(&mut self) {
        for Outgoing { request, reply } in self.network.outgoing() {
            let (real, skewed) = (self.real, self.skew != 0);
            self.restraint.sent(&request, real, skewed, &mut self.violations);
            let shown = shown(&request);
            if self.chance(self.weather.request_lost) {
                self.fired("request lost");
                let lost = if self.rng.below(2) == 0 { Delivered::NotSent } else { Delivered::Lost };
                self.note(format_args!("{shown} is lost on its way"));
                let wait = self.hop();
                self.after(wait, Due::Deliver(reply, lost));
                continue;
            }
            self.note(format_args!("{shown} goes out"));
            if self.chance(self.weather.doubled) {
                self.fired("request doubled");
                let wait = self.hop() + self.hop();
                self.after(wait, Due::Arrive(Box::new(request.clone()), None));
            }
            let wait = self.hop();
            self.after(wait, Due::Arrive(Box::new(request), Some(reply)));
        }
        for answered in self.network.answered() {
            self.awaiting_answer.remove(&answered.number);
            self.note(format_args!("callback {} is answered {}", answered.number, answered.status));
            let lost = self.chance(self.weather.answer_lost);
            let wait = self.hop();
            self.after(wait, Due::CallbackAnswered(answered.number, (!lost).then_some(answered.status)));
        }
    }

    fn happens(&mut self, due: Due) {
        match due {
            Due::Arrive(request, reply) => self.arrive(&request, reply),
            Due::Deliver(reply, delivered) => {
                // A process that died meanwhile, or has given up waiting, hears nothing.
                if let Delivered::Answer(answer) = &delivered
                    && !reply.is_closed()
                {
                    self.restraint.heard(answer, self.real);
                }
                let _ = reply.send(delivered);
            }
            Due::Callback(callback) => {
                let heard = self.machine.as_ref().is_some_and(|machine| {
                    machine.send_callback(callback.number, callback.url.expose(), callback.body.clone())
                });
                self.note(format_args!("callback {} for {} arrives", callback.number, callback.task_id));
                if heard {
                    self.awaiting_answer.insert(callback.number);
                } else {
                    self.world.callback_answered(callback.number, None, self.real);
                }
            }
            Due::CallbackAnswered(number, status) => self.world.callback_answered(number, status, self.real),
            Due::Drop(number) => self.drop_file(number),
            Due::Start => self.start(),
            Due::Heal => self.heal(),
            Due::Happen(happening) => {
                if self.healed.is_none() {
                    self.note(format_args!("{happening:?}"));
                    self.happening(happening);
                }
            }
        }
    }

    fn arrive(&mut self, request: &Request, reply: Option<oneshot::Sender<Delivered>>) {
        let answer = self.world.handle(request, self.real);
        self.note(format_args!(
            "{} is answered {}{}",
            shown(request),
            answer.status,
            if answer.is_complete() { "" } else { ", not whole" }
        ));
        let Some(reply) = reply else { return };
        let mut wait = self.hop() + answer.transmission.delay;
        if answer.transmission.after_callback.is_some() {
            wait += Duration::from_secs(3);
        }
        if let Some(bytes_per_second) = answer.transmission.bytes_per_second {
            wait += Duration::from_secs(answer.body.len() / bytes_per_second.max(1));
        }
        let delivered = if self.chance(self.weather.answer_lost) {
            self.fired("answer lost");
            Delivered::Lost
        } else if answer.transmission.end == TransmissionEnd::NoResponse {
            Delivered::Lost
        } else {
            Delivered::Answer(Box::new(answer))
        };
        // Without any sign, only the daemon's own patience ends the call.
        if matches!(delivered, Delivered::Lost) && self.rng.below(3) == 0 {
            wait += Duration::from_secs(3600);
        }
        self.after(wait, Due::Deliver(reply, delivered));
    }

    fn send_callbacks(&mut self) {
        for callback in self.world.take_due_callbacks(self.real) {
            if self.chance(self.weather.callback_lost) {
                self.fired("callback lost");
                self.world.callback_answered(callback.number, None, self.real);
                continue;
            }
            let wait = self.hop();
            self.after(wait, Due::Callback(Box::new(callback)));
        }
    }

    fn drop_file(&mut self, number: usize) {
        let file = self.story.files[number].1.clone();
        let inbox = &self.settings.inbox.dir;
        let hidden = inbox.join(format!(".{}", file.name));
        let made = dropreel::fs::create_private_folder(inbox).is_ok();
        if !made || std::fs::write(&hidden, &file.bytes).is_err() {
            let _ = std::fs::remove_file(&hidden);
            return self.after(Duration::from_secs(20), Due::Drop(number));
        }
        crate::rename(&hidden, &inbox.join(&file.name));
        self.log.record_drop(&file.name, &file.bytes, file.jobs);
        let text = String::from_utf8_lossy(&file.bytes).replace('\n', " ");
        self.note(format_args!("{} is dropped: {text}", file.name));
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.real.millis() + self.skew)
    }

    fn start(&mut self) {
        if self.machine.is_some() {
            return;
        }
        self.starts += 1;
        self.note("the daemon starts");
        let seed = self.seed.wrapping_mul(31).wrapping_add(self.starts);
        self.machine = Some(Machine::start(&self.settings, &self.network, self.wall(), seed));
    }

    fn take_orders(&mut self, machine: &Machine) {
        for job in machine.orders() {
            *self.log.extra_charges.entry(job.to_string()).or_default() += 1;
        }
    }

    fn crash(&mut self, down: Duration) {
        let Some(machine) = self.machine.take() else { return };
        self.note(format_args!("the daemon dies, down for {down:?}"));
        self.take_orders(&machine);
        machine.kill(&self.settings.data_dir);
        self.restraint.died(self.real);
        drop(self.network.outgoing());
        drop(self.network.answered());
        for number in std::mem::take(&mut self.awaiting_answer) {
            self.world.callback_answered(number, None, self.real);
        }
        self.check(When::Always);
        self.after(down, Due::Start);
    }

    fn happening(&mut self, happening: Happening) {
        let name = format!("{happening:?}");
        self.fired(name.split([' ', '(']).next().unwrap_or_default());
        match happening {
            Happening::Plan(words) => self.world.set_fault_plan(FaultPlan::parse(&words).unwrap()),
            Happening::Crash { down, after_steps } => {
                self.drain(Some(after_steps));
                self.crash(down);
            }
            Happening::Stop { down } => {
                if let Some(machine) = &self.machine {
                    machine.ask_to_stop();
                }
                self.drain(None);
                self.crash(down);
            }
            Happening::Jump(millis) => self.set_skew(self.skew + millis),
            Happening::LoseClock => {
                self.crash(Duration::from_secs(30));
                self.skew = -self.real.millis();
            }
            Happening::SetClock => self.set_skew(0),
            Happening::Cancel(nth) => self.order(OperatorAction::Cancel, nth),
            Happening::Retry(nth) => self.order(OperatorAction::Retry, nth),
            Happening::Release(nth) => self.order(OperatorAction::Release, nth),
            Happening::Pause => self.pause(true),
            Happening::Resume => self.pause(false),
            Happening::FillDisk(left) => self.fill_disk(left),
            Happening::FreeDisk => self.free_disk(),
            Happening::Remember => self.remembered = Some(database(&self.settings.data_dir)),
            Happening::Restore => self.restore(),
        }
    }

    fn set_skew(&mut self, skew: i64) {
        self.skew = skew;
        self.restraint.clock_moved();
        if let Some(machine) = &self.machine {
            machine.clock.jump_to(self.wall());
        }
    }

    fn order(&self, order: OperatorAction, nth: u64) {
        if let Some(machine) = &self.machine {
            machine.order(order, nth);
        }
    }

    fn pause(&self, paused: bool) {
        if let Some(machine) = &self.machine {
            machine.pause(paused);
        }
    }

    fn fill_disk(&mut self, left: u64) {
        // Only a disk of our own may be filled.
        if crate::has_own_disk() {
            crate::fill(self.folder, left);
            self.disk_full = true;
            self.fired("disk full");
        }
    }

    fn free_disk(&mut self) {
        crate::free(self.folder);
        self.disk_full = false;
    }

    fn restore(&mut self) {
        let Some(files) = self.remembered.take() else { return };
        self.crash(Duration::from_secs(5));
        self.restored = true;
        self.restraint.forget();
        for (name, bytes) in DATABASE.iter().zip(files) {
            let path = self.settings.data_dir.join(name);
            match bytes {
                Some(bytes) => std::fs::write(path, bytes).unwrap(),
                None => drop(std::fs::remove_file(path)),
            }
        }
    }

    /// All faults end: what still goes wrong after this is the daemon's own doing.
    fn heal(&mut self) {
        self.note("all faults end");
        self.weather = Weather::CALM;
        self.world.set_fault_plan(FaultPlan::parse(&self.plan).unwrap());
        self.free_disk();
        if self.skew != 0 {
            self.set_skew(0);
        }
        self.pause(false);
        self.healed = Some(self.real);
        if self.machine.is_none() {
            self.start();
        }
        // A person's pause may have been on the disk and not in this process.
        self.drain(None);
        self.pause(false);
    }

    /// Whether nothing is left to do, by the database's own rows.
    fn at_rest(&mut self) -> bool {
        let Some(machine) = &self.machine else { return false };
        if !machine.is_open() {
            return false;
        }
        let inbox = std::fs::read_dir(&self.settings.inbox.dir).map_or(0, |entries| entries.count());
        let network = self.due.values().all(|due| matches!(due, Due::Deliver(..) | Due::Happen(_)));
        inbox == 0 && network && crate::states(&self.settings.data_dir).iter().all(|state| rests(state))
    }

    fn check(&mut self, when: When) {
        let ledger: &Ledger = self.world.ledger();
        let evidence =
            Evidence { data_dir: &self.settings.data_dir, ledger, log: &self.log, output: "", when };
        let found = checker::check(&evidence);
        // What an older database has forgotten cannot be held against the daemon; paying twice can.
        let counts = |violation: &checker::Violation| !self.restored || (violation.invariant == 4);
        let found: Vec<String> = found.iter().filter(|one| counts(one)).map(ToString::to_string).collect();
        self.violations.extend(found);
        if !self.restored {
            self.log.record_library(&self.settings.data_dir);
        }
    }

    fn finish(mut self) -> Outcome {
        if let Some(machine) = self.machine.take() {
            self.take_orders(&machine);
            machine.kill(&self.settings.data_dir);
        }
        if self.violations.is_empty() {
            self.check(When::Finally);
        }
        for (fault, times) in &self.world.ledger().faults {
            *self.fired.entry(format!("provider {fault}")).or_default() += times;
        }
        Outcome {
            ends: crate::ends(&self.settings.data_dir),
            violations: self.violations,
            trace: self.trace,
            fired: self.fired,
            simulated: self.real.since(BEGIN),
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

fn shown(request: &Request) -> String {
    let key = request.idempotency_key.as_deref().map_or(String::new(), |key| format!(" {key}"));
    let range = request.range.as_deref().map_or(String::new(), |range| format!(" {range}"));
    format!("{} {}{key}{range}", request.method, request.path)
}
