//! Whatever happens, in whatever order, the sums are those of the jobs, and a report says what a count of them says.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::api::report::ReportGroup;
use crate::clock::calendar::Zone;
use crate::job::adoption::{FoundTask, TaskDescription};
use crate::job::budget::Budgets;
use crate::job::event::{
    Event, OperatorAction, Phase, ReportedOutput, StatusVerdict, SubmitVerdict, TaskFacts,
};
use crate::job::output::{OutputKey, OutputKind, Stored};
use crate::job::{JobId, TaskId};
use crate::jobfile::Draft;
use crate::library::published::Published;
use crate::secret::Secret;
use crate::store::downloads::Plan;
use crate::store::start_attempt::AttemptStart;
use crate::store::tests::{NOW, Rig, draft, parts, property_config, raw, url};

const ZONES: [&str; 4] = ["UTC", "Asia/Shanghai", "America/New_York", "Asia/Kathmandu"];
const KEY: OutputKey = OutputKey { kind: OutputKind::Video, index: 0 };

#[derive(Clone, Debug)]
enum Step {
    Submit(usize),
    /// Its task ends, with this cost or none yet.
    End {
        job: usize,
        phase: Phase,
        cost: Option<i64>,
    },
    Store(usize),
    /// A task that some job has or had is polled again.
    Settle {
        task: usize,
        cost: i64,
    },
    Operator(usize, OperatorAction),
    Label(usize, Option<String>),
    Adopt(i64),
    Time(i64),
    Zone(&'static str),
    Prune,
}

fn steps() -> impl Strategy<Value = Step> {
    let job = 0_usize..5;
    let phase =
        prop::sample::select(vec![Phase::Completed, Phase::Completed, Phase::Failed, Phase::Cancelled]);
    let action = prop::sample::select(vec![
        OperatorAction::Cancel,
        OperatorAction::Retry,
        OperatorAction::Retry,
        OperatorAction::Dismiss,
        OperatorAction::Undismiss,
    ]);
    prop_oneof![
        5 => job.clone().prop_map(Step::Submit),
        5 => (job.clone(), phase, prop::option::of(0_i64..50)).prop_map(|(job, phase, cost)| Step::End { job, phase, cost }),
        4 => job.clone().prop_map(Step::Store),
        2 => (any::<usize>(), 0_i64..50).prop_map(|(task, cost)| Step::Settle { task, cost }),
        3 => (job.clone(), action).prop_map(|(job, action)| Step::Operator(job, action)),
        2 => (job, prop::option::of("[ab]")).prop_map(|(job, value)| Step::Label(job, value)),
        1 => (0_i64..50).prop_map(Step::Adopt),
        3 => (-300_i64..4000).prop_map(Step::Time),
        1 => prop::sample::select(ZONES.to_vec()).prop_map(Step::Zone),
        1 => Just(Step::Prune),
    ]
}

proptest! {
    #![proptest_config(property_config(60))]

    #[test]
    fn report_says_what_a_count_of_the_jobs_says(steps in prop::collection::vec(steps(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::begin().await;
            for step in steps {
                run.take(step).await;
                run.check().await;
            }
        });
    }
}

#[tokio::test]
async fn sums_that_cannot_be_read_stop_no_job() {
    let rig = Rig::new();
    rig.skip_counts();
    let jobs = rig.ingest(vec![draft("a"), draft("b")]).await;
    let cancel = Event::Operator(OperatorAction::Cancel);
    rig.store.apply(jobs[0], cancel.clone(), NOW).await.unwrap();
    let spoiled = raw(&rig.path()).execute("UPDATE report_sums SET times = 'x'", []).unwrap();
    assert!(spoiled > 0);
    rig.store.apply(jobs[1], cancel, NOW).await.unwrap();
    let report = rig.store.report(NOW.minus(Duration::from_secs(86_400))).await.unwrap();
    assert_eq!(report.total.cancelled, 2);
}

struct Run {
    rig: Rig,
    jobs: Vec<JobId>,
    /// The job of each task.
    tasks: Vec<(TaskId, JobId)>,
    now: Timestamp,
    zone: Zone,
    /// How many jobs were removed, and what they cost.
    removed: (u64, i64),
}

/// State, end, cost, label and file of each job that has ended.
type Ended = (String, Timestamp, i64, Option<String>, Option<String>);

impl Run {
    async fn begin() -> Self {
        let rig = Rig::new();
        let mut jobs = Vec::new();
        for file in ["a.json", "b.json"] {
            let drafts =
                (0..3).map(|n| Draft { model: format!("m{}", n % 2), ..draft(&format!("{file} {n}")) });
            jobs.extend(rig.ingest_file(file, file, drafts.collect(), NOW).await.unwrap());
        }
        let moved = rig.store.unmoved().await.unwrap().into_iter().map(|file| (file.nr, None)).collect();
        rig.store.mark_moved(moved, NOW).await.unwrap();
        Self { rig, jobs, tasks: Vec::new(), now: NOW, zone: Zone::UTC, removed: (0, 0) }
    }

    async fn take(&mut self, step: Step) {
        let store = self.rig.store.clone();
        match step {
            Step::Submit(job) => {
                let Some(id) = self.existing(job).await else { return };
                let start =
                    store.start_attempt(id, parts(url("https://example.org/x")), self.now).await.unwrap();
                let AttemptStart::Send(attempt) = start else { return };
                let task = TaskId::parse(&format!("task-{}", self.tasks.len())).unwrap();
                let verdict = SubmitVerdict::Accepted { task: task.clone(), reserved: None };
                let answered = Event::SubmitAnswered { attempt: attempt.number(), verdict };
                store.apply(id, answered, self.now).await.unwrap();
                self.tasks.push((task, id));
            }
            Step::End { job, phase, cost } => {
                let Some(id) = self.existing(job).await else { return };
                let Some(task) = self.task_of(id).await else { return };
                let link = Secret::new("https://cdn.example/1");
                let outputs = match phase {
                    Phase::Completed => {
                        vec![ReportedOutput { kind: KEY.kind, index: 0, link, expires_at: None }]
                    }
                    _ => Vec::new(),
                };
                let facts = TaskFacts { cost: cost.map(Quota::new), outputs, ..TaskFacts::of(phase) };
                self.poll(id, task, facts).await;
            }
            Step::Store(job) => {
                let Some(id) = self.existing(job).await else { return };
                let Some(task) = self.task_of(id).await else { return };
                let (path, host) = (format!("{task}.mp4"), "cdn.example".to_owned());
                let published = Published::for_test(&path, 9, "1");
                let plan = Plan { path, bytes: 9, sha256: "1".to_owned(), host: host.clone() };
                if store.plan_output(id, task.clone(), KEY, plan, None).await.unwrap() {
                    let stored = Event::Stored(Stored::new(task, KEY, &published, host, self.now));
                    store.apply(id, stored, self.now).await.unwrap();
                }
            }
            Step::Settle { task, cost } => {
                let Some(nth) = task.checked_rem(self.tasks.len()) else { return };
                let (task, id) = self.tasks[nth].clone();
                if store.details(id).await.is_ok() {
                    let facts = TaskFacts { cost: Some(Quota::new(cost)), ..TaskFacts::of(Phase::Failed) };
                    self.poll(id, task, facts).await;
                }
            }
            Step::Operator(job, action) => {
                let Some(id) = self.existing(job).await else { return };
                store.apply(id, Event::Operator(action), self.now).await.unwrap();
            }
            Step::Label(job, value) => {
                let Some(id) = self.existing(job).await else { return };
                store.set_labels(id, [("project".to_owned(), value)].into(), self.now).await.unwrap();
            }
            Step::Adopt(cost) => {
                let task = TaskId::parse(&format!("foreign-{}", self.tasks.len())).unwrap();
                let description = TaskDescription {
                    model: Some("m0".into()),
                    prompt: None,
                    created_at: Some(self.now.minus(Duration::from_secs(60))),
                };
                let facts = TaskFacts { cost: Some(Quota::new(cost)), ..TaskFacts::of(Phase::Failed) };
                let found = FoundTask { task: task.clone(), description, facts, sent_at: self.now };
                let adopted =
                    store.adopt(vec![found], None, "https://qingbo.dev".into(), self.now).await.unwrap();
                self.tasks.push((task, adopted[0].job));
            }
            Step::Time(minutes) => self.now = Timestamp::from_millis(self.now.millis() + minutes * 60_000),
            Step::Zone(name) => {
                self.zone = Zone::named(name).unwrap();
                store.set_budgets(Budgets { zone: self.zone.clone(), ..Budgets::default() });
                store.count_days().await.unwrap();
            }
            Step::Prune => {
                let sum = |ended: &[Ended]| (ended.len() as u64, ended.iter().map(|job| job.2).sum::<i64>());
                let before = sum(&self.ended());
                while store.prune_some(self.now.minus(Duration::from_secs(24 * 3600))).await.unwrap() > 0 {}
                let after = sum(&self.ended());
                self.removed = (self.removed.0 + before.0 - after.0, self.removed.1 + before.1 - after.1);
            }
        }
    }

    async fn poll(&self, id: JobId, task: TaskId, facts: TaskFacts) {
        let polled = Event::StatusPolled { task, sent_at: self.now, verdict: StatusVerdict::Answered(facts) };
        self.rig.store.apply(id, polled, self.now).await.unwrap();
    }

    async fn existing(&self, job: usize) -> Option<JobId> {
        let id = self.jobs[job];
        self.rig.store.details(id).await.is_ok().then_some(id)
    }

    async fn task_of(&self, id: JobId) -> Option<TaskId> {
        self.rig.store.details(id).await.unwrap().job.task().cloned()
    }

    fn ended(&self) -> Vec<Ended> {
        let connection = raw(&self.rig.path());
        let sql = "SELECT state, finished_at, (SELECT coalesce(sum(charged_quota), 0) FROM attempts WHERE job = jobs.nr),
                (SELECT key || '=' || value FROM labels WHERE labels.job = jobs.nr), file_name
            FROM jobs JOIN batches ON batches.nr = jobs.batch WHERE state IN ('succeeded', 'failed', 'cancelled', 'expired')";
        let mut statement = connection.prepare_cached(sql).unwrap();
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
            .unwrap();
        rows.map(Result::unwrap).collect()
    }

    async fn check(&self) {
        assert_eq!(wrong_sums(&raw(&self.rig.path())).unwrap(), 0);
        let ended = self.ended();
        let all = self.rig.store.report(Timestamp::from_millis(0)).await.unwrap();
        let cost: i64 = ended.iter().map(|job| job.2).sum();
        let expected = (ended.len() as u64 + self.removed.0, cost + self.removed.1);
        assert_eq!((all.total.jobs, all.total.cost_quota), expected);
        if self.removed.0 > 0 {
            return;
        }
        // From the middle of a day on.
        let since = self.now.minus(Duration::from_secs(30 * 3600));
        let report = self.rig.store.report(since).await.unwrap();
        let ended: Vec<Ended> = ended.into_iter().filter(|job| job.1 >= since).collect();
        let count = |key: fn(&Ended, &Zone) -> Option<String>| {
            let mut groups: BTreeMap<String, (u64, u64, i64)> = BTreeMap::new();
            for job in &ended {
                let Some(key) = key(job, &self.zone) else { continue };
                let group = groups.entry(key).or_default();
                *group = (group.0 + 1, group.1 + u64::from(job.0 == "succeeded"), group.2 + job.2);
            }
            groups
        };
        let said = |groups: &[ReportGroup]| -> BTreeMap<String, (u64, u64, i64)> {
            let groups = groups.iter().map(|ReportGroup { key, totals }| {
                (key.clone(), (totals.jobs, totals.succeeded, totals.cost_quota))
            });
            groups.collect()
        };
        assert_eq!(said(&report.by_day), count(|job, zone| Some(zone.date_of(job.1))));
        assert_eq!(said(&report.by_label), count(|job, _| job.3.clone()));
        assert_eq!(said(&report.by_file), count(|job, _| job.4.clone()));
    }
}
