//! What the reads cost with few and with many jobs, counted in steps of SQLite's machine.

use std::collections::BTreeMap;

use super::*;
use crate::store::costs::{Steps, fill_history};

/// A read may cost this much more with [`MANY`] jobs than with [`FEW`].
const MOST_GROWTH: f64 = 1.5;
const FEW: u64 = 1_000;
const MANY: u64 = 40_000;
/// A list of what few of [`FEW`] jobs match may cost as much with [`MANY`] as this one with [`FEW`]: it examines as many jobs
/// as a page may.
const LONGEST_SEARCH: &str = "/jobs?q=none-such";
/// Reads whose answers are longer with [`MANY`] jobs: an export has a line for each, and of [`FEW`] jobs there are not as many
/// files as a report or a page of batches may have. They may cost as much more as there are more objects in the answer.
const LONGER_ANSWERS: [&str; 3] = ["/api/v1/export", "/api/v1/batches", "/api/v1/report"];

/// Every read of page and API: its route, as the router and `openapi.json` spell it, and what follows its fixed part.
const READS: [(&str, &[&str]); 26] = [
    ("/", &[""]),
    (
        "/jobs",
        &[
            "",
            "?sort=cost",
            "?sort=rating",
            "?sort=name",
            "?cursor=500",
            "?sort=cost&cursor=500",
            "?sort=rating&cursor=500",
            "?sort=name&cursor=500",
            "?state=succeeded",
            "?state=succeeded&sort=cost",
            "?state=succeeded&sort=rating",
            "?state=succeeded&sort=name",
            "?state=failed",
            "?state=held&sort=cost",
            "?label=project%3Dp3",
            "?label=project%3Dp3&sort=cost",
            "?label=project%3Dp3&sort=rating",
            "?label=project%3Dp3&sort=name",
            "?label=none%3Dsuch",
            "?folder=ads",
            "?folder=ads%2F3&sort=cost",
            "?q=street",
            "?q=street&sort=cost",
            "?q=none-such",
            "?rating=4%2B",
            "?rating=4%2B&sort=cost",
            "?rating=none",
            "?rating=none&sort=cost",
            "?rating=3&sort=name",
            "?file=shots-7.jsonl",
            "?file=none-such.jsonl",
            "?batch=b7",
            "?batch=b7&sort=cost",
            "?needs=true",
            "?needs=true&sort=cost",
            "?cause=too_expensive",
            "?model=model-2",
            "?model=model-2&sort=cost",
            "?model=none-such",
        ],
    ),
    ("/jobs/{job}", &["/shot-41", "/none-such"]),
    ("/batches", &["", "?cursor=50"]),
    (
        "/videos",
        &[
            "",
            "?sort=rating",
            "?sort=cost",
            "?q=street",
            "?q=none-such",
            "?model=model-2",
            "?label=project%3Dp3",
            "?rating=4%2B",
            "?batch=b7",
        ],
    ),
    ("/videos/{job}/{number}", &["/{id}/1"]),
    ("/compare", &["?o={id}.1"]),
    ("/media/{job}/{number}", &["/{id}/1"]),
    ("/media/{job}/{number}/poster", &["/{id}/1/poster"]),
    ("/quarantine/{job}/{name}", &["/{id}/none"]),
    ("/pictures/{name}", &["/none"]),
    ("/language/{language}", &["/en"]),
    ("/assets/{version}/{name}", &["/1/none"]),
    ("/api/v1/jobs", &["", "?limit=500", "?sort=cost", "?q=none-such"]),
    ("/api/v1/jobs/{job}", &["/shot-41", "/none-such"]),
    ("/api/v1/export", &["?state=held"]),
    ("/api/v1/batches", &["", "?limit=100"]),
    ("/api/v1/pictures/{name}", &["/none"]),
    ("/api/v1/status", &[""]),
    ("/api/v1/openapi.json", &[""]),
    ("/api/v1/models", &[""]),
    ("/api/v1/report", &["", "?disputes=true", "?since=2020-01-01"]),
    ("/api/v1/events", &[]),
    ("/metrics", &[""]),
    ("/healthz", &[""]),
    ("/readyz", &[""]),
];

/// A read: its address, the status of its answer and the objects in it, and the steps of each of its statements.
struct Counted {
    path: String,
    status: u16,
    objects: usize,
    statements: BTreeMap<String, i64>,
}

impl Counted {
    fn steps(&self) -> i64 {
        self.statements.values().sum()
    }

    /// The most steps that it may take with many jobs, where this one is with few.
    fn may_cost(&self, many: &Self, longest_search: i64) -> f64 {
        let steps = self.steps() as f64;
        let allowed =
            if is_filtered(&self.path) { steps.max(longest_search as f64) } else { steps.max(200.0) };
        let longer = LONGER_ANSWERS.iter().any(|path| self.path.starts_with(path));
        let objects = if longer { many.objects as f64 / self.objects.max(1) as f64 } else { 1.0 };
        allowed * objects.max(1.0) * MOST_GROWTH
    }

    /// The statements that take more steps than with few jobs, those that grow most first.
    fn growth(&self, few: &Self) -> String {
        let growth =
            |(sql, more): (&String, &i64)| (*more - few.statements.get(sql).unwrap_or(&0), sql.clone());
        let mut grown: Vec<(i64, String)> = self.statements.iter().map(growth).collect();
        grown.sort_unstable_by(|one, other| other.cmp(one));
        grown.iter().take(3).map(|(more, sql)| format!("\n{more} more: {sql}")).collect()
    }
}

/// The steps of each read in a database of this many jobs.
async fn count_steps(jobs: u64) -> Vec<Counted> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dropreel.db");
    let steps = Steps::of(&path);
    let rig = Rig::in_folder(folder);
    fill_history(&path, jobs, Clock::machine().now());
    let admin = TestAdmin::on(rig, |_| {});
    let id = admin.get("/api/v1/jobs/shot-41").await.json()["id"].as_str().unwrap().to_owned();
    let mut counted = Vec::new();
    for (route, variants) in READS {
        let fixed = route.split("/{").next().unwrap_or(route);
        for variant in variants {
            steps.take();
            let answer = admin.get(&format!("{fixed}{variant}").replace("{id}", &id)).await;
            counted.push(Counted {
                path: format!("{fixed}{variant}"),
                status: answer.status,
                objects: answer.body.matches('{').count(),
                statements: steps.take(),
            });
        }
    }
    counted
}

fn is_filtered(path: &str) -> bool {
    let parameters = path.split_once('?').map_or("", |(_, query)| query).split('&');
    parameters
        .filter_map(|parameter| parameter.split('=').next())
        .any(|name| !name.is_empty() && !["sort", "cursor", "limit", "disputes", "since"].contains(&name))
}

/// The reads that cost more with many jobs, with their statements that do; and a table of them all.
fn compare(few: &[Counted], many: &[Counted]) -> (Vec<String>, String) {
    let longest = few.iter().find(|read| read.path == LONGEST_SEARCH).map_or(0, Counted::steps);
    let (mut grown, mut table) = (Vec::new(), String::new());
    for (few, many) in few.iter().zip(many) {
        let (path, before, after) = (&few.path, few.steps(), many.steps());
        let ratio = after as f64 / before.max(1) as f64;
        table.push_str(&format!("| {path} | {} | {before} | {after} | {ratio:.2} |\n", few.status));
        if after as f64 > few.may_cost(many, longest) {
            grown.push(format!("{path}: {before} steps, {after}{}", many.growth(few)));
        }
    }
    (grown, table)
}

#[tokio::test]
async fn read_costs_the_same_with_few_and_with_many_jobs() {
    let (few, many) = (count_steps(FEW).await, count_steps(MANY).await);
    let failed = few.iter().filter(|read| read.status >= 400 && !read.path.contains("none"));
    // The history has rows, and no files.
    let failed: Vec<_> = failed.map(|read| &read.path).filter(|path| !path.starts_with("/media")).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let (grown, table) = compare(&few, &many);
    assert!(grown.is_empty(), "cost more the more jobs there are:\n{}\nof\n{table}", grown.join("\n"));
}

#[tokio::test]
#[ignore = "a measurement: takes minutes"]
async fn steps_of_reads_at_a_thousand_and_a_million_jobs() {
    let (few, many) = (count_steps(1_000).await, count_steps(1_000_000).await);
    let (grown, table) = compare(&few, &many);
    println!("{table}{}", grown.join("\n"));
}

#[test]
fn every_route_that_reads_is_measured() {
    let sources = [include_str!("../mod.rs"), include_str!("../page/mod.rs")];
    let mut routes: Vec<&str> = Vec::new();
    for part in sources.iter().flat_map(|source| source.split("resource(").skip(1)) {
        let part = part.trim_start();
        let methods = part.split_once('[').map_or("", |(_, rest)| rest.split(']').next().unwrap_or(""));
        if !methods.contains("Method::GET") {
            continue;
        }
        routes.push(match part.strip_prefix('"') {
            Some(path) => path.split('"').next().unwrap(),
            None => "/api/v1/jobs/{job}",
        });
    }
    routes.sort_unstable();
    let mut measured: Vec<&str> = READS.iter().map(|(route, _)| *route).collect();
    measured.sort_unstable();
    assert_eq!(measured, routes);
}
