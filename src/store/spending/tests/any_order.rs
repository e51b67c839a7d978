//! Whatever happens, in whatever order, the sums are those of the attempts, no submit exceeds a budget, and once every
//! task is settled, what is settled is what the provider charged.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::clock::calendar::Zone;
use crate::job::JobError;
use crate::store::tests::property_config;

/// In the last two the clocks change within a day of [`NOW`], or the day has no midnight.
const ZONES: [&str; 3] = ["UTC", "Australia/Sydney", "America/Santiago"];

#[derive(Clone, Debug)]
enum Step {
    Start { job: usize, cents: i64 },
    Answer { job: usize, kind: u8, frozen: Option<i64> },
    Status { task: usize, end: u8, cents: Option<i64> },
    Callback { job: usize },
    Operator { job: usize, action: OperatorAction },
    Time { minutes: i64 },
    Reopen,
}

fn steps() -> impl Strategy<Value = Step> {
    let job = 0_usize..6;
    let cents = prop::option::of(0_i64..50);
    let action =
        prop::sample::select(vec![OperatorAction::Cancel, OperatorAction::Retry, OperatorAction::Release]);
    prop_oneof![
        6 => (job.clone(), 1_i64..50).prop_map(|(job, cents)| Step::Start { job, cents }),
        4 => (job.clone(), 0_u8..5, cents.clone()).prop_map(|(job, kind, frozen)| Step::Answer { job, kind, frozen }),
        3 => (any::<usize>(), 0_u8..4, cents).prop_map(|(task, end, cents)| Step::Status { task, end, cents }),
        1 => job.clone().prop_map(|job| Step::Callback { job }),
        2 => (job, action).prop_map(|(job, action)| Step::Operator { job, action }),
        // The wall clock may also be set back.
        2 => (-600_i64..3000).prop_map(|minutes| Step::Time { minutes }),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(property_config(80))]

    #[test]
    fn no_submit_exceeds_a_budget_and_the_end_is_that_of_the_ledger(
        zone in prop::sample::select(ZONES.to_vec()),
        steps in prop::collection::vec(steps(), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::begin(zone).await;
            for step in steps {
                run.take(step).await;
                check_sums(&run.rig);
            }
            run.settle_all().await;
            check_sums(&run.rig);
            run.check_ledger();
        });
    }
}

struct Run {
    rig: Rig,
    jobs: Vec<JobId>,
    budgets: Budgets,
    now: Timestamp,
    /// The provider's ledger: the job of each task, and what it was charged in the end.
    ledger: BTreeMap<String, (JobId, Option<Quota>)>,
}

impl Run {
    async fn begin(zone: &str) -> Self {
        let rig = Rig::new();
        let budgets = Budgets { zone: Zone::named(zone).unwrap(), ..budgets() };
        rig.store.set_budgets(budgets.clone());
        let draft = |n| if n % 2 == 0 { draft(&format!("a{n}")) } else { spring(&format!("b{n}")) };
        let jobs = rig.ingest((0..6).map(draft).collect()).await;
        Self { rig, jobs, budgets, now: NOW, ledger: BTreeMap::new() }
    }

    async fn take(&mut self, step: Step) {
        self.take_one(step).await;
        // The task that callbacks name belongs to the attempt whose answer was lost, once there is one.
        let named = "SELECT attempts.task_id, jobs.id FROM attempts JOIN jobs ON jobs.nr = attempts.job
            WHERE attempts.task_id LIKE 'task-x%'";
        let connection = raw(&self.rig.path());
        let mut statement = connection.prepare_cached(named).unwrap();
        let owners = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        for (task, job) in owners.map(Result::unwrap) {
            self.ledger.entry(task).or_insert((job, None));
        }
    }

    async fn take_one(&mut self, step: Step) {
        match step {
            Step::Start { job, cents } => self.start(self.jobs[job], cents).await,
            Step::Answer { job, kind, frozen } => self.answer(job, kind, frozen).await,
            Step::Status { task, end, cents } => {
                let Some(nth) = task.checked_rem(self.ledger.len()) else { return };
                let task = self.ledger.keys().nth(nth).unwrap().clone();
                let phase = [Phase::Completed, Phase::Failed, Phase::Cancelled, Phase::Processing]
                    [usize::from(end)]
                .clone();
                self.status(&task, phase, cents.map(usd)).await;
            }
            Step::Callback { job } => {
                // Of a task that no attempt has: a refused submit may have made it, or one whose answer was lost.
                let id = self.jobs[job];
                let job_now = self.rig.store.details(id).await.unwrap().job;
                let task = format!("task-x{job}");
                let received = Event::CallbackReceived { hint: TaskId::parse(&task), quiet: false };
                self.rig.store.keep_delivery(id, b"{}".to_vec(), self.now).await.unwrap();
                let delivery = self.rig.store.unprocessed_deliveries(0, 1).await.unwrap().remove(0);
                let applied =
                    self.rig.store.process_delivery(&delivery, received, None, self.now).await.unwrap();
                let is_held = applied.job.state_name() == StateName::Held;
                // An earlier attempt whose answer was lost has the first claim to the task.
                let owners = "SELECT count(*) FROM attempts WHERE task_id = ?1";
                let count: i64 = raw(&self.rig.path()).query_row(owners, [&task], |row| row.get(0)).unwrap();
                assert!(job_now.refused_attempt().is_none() || is_held || count == 1, "{applied:?}");
            }
            Step::Operator { job, action } => {
                self.rig.store.apply(self.jobs[job], Event::Operator(action), self.now).await.unwrap();
            }
            Step::Time { minutes } => {
                self.now = Timestamp::from_millis(self.now.millis() + minutes * 60_000);
            }
            Step::Reopen => {
                let path = self.rig.path();
                let folder = std::mem::replace(&mut self.rig, Rig::new()).into_folder();
                self.rig = Rig::over(folder, tests::open(&path).unwrap());
                self.rig.store.set_budgets(self.budgets.clone());
            }
        }
    }

    async fn start(&self, job: JobId, cents: i64) {
        let before = self.rig.store.details(job).await.unwrap().job.state_name();
        if let AttemptStart::Send(_) = start(&self.rig, job, cents, self.now).await
            && before == StateName::Pending
        {
            let labels = self.rig.store.details(job).await.unwrap().labels;
            for (budget, spent) in self.rig.store.spent(self.now).await.unwrap() {
                let fits = spent.total() <= budget.limit;
                assert!(fits || !budget.scope.includes(&labels), "{budget:?} {spent:?}");
            }
        }
    }

    async fn answer(&mut self, job: usize, kind: u8, frozen: Option<i64>) {
        let id = self.jobs[job];
        let attempt = self.rig.store.details(id).await.unwrap().job.attempts();
        let task = format!("task-{job}-{attempt}");
        let verdict = match kind {
            0 => SubmitVerdict::Refused(JobError { code: "c".into(), message: "m".into() }),
            1 => not_executed(),
            2 => unknown(),
            _ => accepted(&task, frozen),
        };
        let applied = self.rig.store.apply(id, answered(attempt, verdict), self.now).await.unwrap();
        if applied.job.task().is_some_and(|known| known.as_str() == task) {
            self.ledger.entry(task).or_insert((id, None));
        }
    }

    async fn status(&mut self, task: &str, phase: Phase, cost: Option<Quota>) {
        let (job, charged) = self.ledger.get_mut(task).unwrap();
        if phase.is_end() {
            *charged = cost.or(*charged);
        }
        let facts = TaskFacts { cost, ..TaskFacts::of(phase) };
        let (task, verdict) = (TaskId::parse(task).unwrap(), StatusVerdict::Answered(facts));
        let polled = Event::StatusPolled { task, sent_at: self.now, verdict };
        self.rig.store.apply(*job, polled, self.now).await.unwrap();
    }

    /// The provider names the final cost of every task, one after the other.
    async fn settle_all(&mut self) {
        let open = self.ledger.iter().filter(|(_, (_, charged))| charged.is_none());
        let open: Vec<String> = open.map(|(task, _)| task.clone()).collect();
        for (cents, task) in (7..).zip(open) {
            self.status(&task, Phase::Failed, Some(usd(cents))).await;
        }
    }

    /// Only attempts without a task are reserved; all others are settled at what they cost.
    fn check_ledger(&self) {
        let charged = self.ledger.values().filter_map(|(_, charged)| *charged).fold(Quota::ZERO, Quota::plus);
        let connection = raw(&self.rig.path());
        let sum = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, Quota>(0)).unwrap();
        assert_eq!(sum("SELECT coalesce(sum(settled), 0) FROM spending"), charged);
        assert_eq!(sum("SELECT coalesce(sum(charged_quota), 0) FROM attempts"), charged);
        let without_task = "SELECT coalesce(sum(counted_quota), 0) FROM attempts WHERE task_id IS NULL";
        assert_eq!(sum("SELECT coalesce(sum(reserved), 0) FROM spending"), sum(without_task));
    }
}

/// The sums must be those of the attempts.
fn check_sums(rig: &Rig) {
    let connection = raw(&rig.path());
    let rows = |sql: &str| -> Vec<(String, i64, i64)> {
        let mut statement = connection.prepare_cached(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.map(Result::unwrap).filter(|(_, reserved, settled)| (*reserved, *settled) != (0, 0)).collect()
    };
    let of_attempts = "sum(counted_quota * (1 - counted_settled)), sum(counted_quota * counted_settled)
        FROM attempts";
    assert_eq!(
        rows("SELECT cast(quarter AS TEXT), reserved, settled FROM spending ORDER BY quarter"),
        rows(&format!(
            "SELECT cast(counted_at / 900000 AS TEXT), {of_attempts}
             GROUP BY counted_at / 900000 ORDER BY counted_at / 900000"
        )),
    );
    assert_eq!(
        rows("SELECT key || '=' || value, reserved, settled FROM label_spending ORDER BY 1"),
        rows(&format!(
            "SELECT labels.key || '=' || value, {of_attempts} JOIN labels ON labels.job = attempts.job
             GROUP BY 1 ORDER BY 1"
        )),
    );
}
