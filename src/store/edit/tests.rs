use super::*;
use crate::api::list::JobFilter;
use crate::job::event::OperatorAction;
use crate::job::state::StateName;
use crate::store::estimates::JobEstimate;
use crate::store::start_attempt::{AttemptParts, AttemptStart};
use crate::store::tests::{NOW, Rig, accepted, draft, parts};

fn dear(name: &str) -> Draft {
    Draft {
        body: r#"{"model":"wan2.5-t2v","resolution":"1080p","duration":10}"#.into(),
        labels: [("project".to_owned(), "autumn".to_owned())].into(),
        ..draft(name)
    }
}

#[tokio::test]
async fn edit_after_a_submit_changes_nothing_and_says_why() {
    let rig = Rig::new();
    let job = rig.ingest(vec![draft("sakura")]).await[0];
    let attempt = rig.start_attempt(job, Box::new(|_| None)).await;
    let before = rig.store.details(job).await.unwrap();
    for event in [None, Some(accepted("task-1")), Some(Event::Operator(OperatorAction::Retry))] {
        if let Some(event) = event {
            rig.store.apply(job, event, NOW).await.unwrap();
        }
        let edited = rig.store.edit(job, dear("other"), NOW).await.unwrap();
        assert!(
            matches!(&edited.reply, Some(ActionReply::Rejected(why)) if why.contains("dropreel again")),
            "{edited:?}"
        );
    }
    let after = rig.store.details(job).await.unwrap();
    assert_eq!((&after.labels, after.job.identity()), (&before.labels, before.job.identity()));
    assert_eq!(rig.store.request(job).await.unwrap(), attempt.body());
}

#[tokio::test]
async fn job_edited_after_its_estimate_is_not_bought_at_the_old_one() {
    let rig = Rig::new();
    let job = rig.ingest(vec![draft("sakura")]).await[0];
    let start = |estimate: JobEstimate| {
        let parts = AttemptParts {
            estimate: estimate.estimate,
            estimated_change: Some(estimate.change),
            ..parts(Box::new(|_| None))
        };
        rig.store.start_attempt(job, parts, NOW)
    };
    let old = rig.store.estimate_job(job).await.unwrap();
    rig.store.edit(job, dear("sakura"), NOW).await.unwrap();
    assert_eq!(start(old.clone()).await.unwrap(), AttemptStart::Changed);
    assert_eq!(rig.state(job).await, StateName::Pending);
    let new = rig.store.estimate_job(job).await.unwrap();
    assert!(new.estimate.quota > old.estimate.quota);
    assert!(
        matches!(start(new).await.unwrap(), AttemptStart::Send(attempt) if attempt.body() == dear("").body)
    );
}

#[tokio::test]
async fn labels_of_an_edited_job_are_those_of_lists() {
    let rig = Rig::new();
    let job = rig.ingest(vec![draft("sakura")]).await[0];
    let applied = rig.store.edit(job, dear("boat"), NOW).await.unwrap();
    assert!(matches!(applied.reply, Some(ActionReply::Done(_))), "{applied:?}");
    for (label, count) in [("project=spring", 0), ("project=autumn", 1)] {
        let filter = JobFilter { labels: vec![label.parse().unwrap()], ..JobFilter::default() };
        assert_eq!(rig.store.list(filter, None, 10).await.unwrap().jobs.len(), count, "{label}");
    }
    let history = rig.store.history(job).await.unwrap();
    assert_eq!(
        (history[1].event.as_str(), history[1].detail.as_str()),
        (
            "edited",
            r#"it was {"model":"wan2.5-t2v","seed":1.10,"dropreel":{"name":"sakura","labels":{"project":"spring"}}}"#
        )
    );
}
