//! Two to four outputs side by side: what was asked for, with the differences marked.

mod words;

use std::collections::BTreeSet;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use strum::VariantArray;

use crate::job::JobId;
use crate::job::output::OutputKind;
use crate::job::state::StateName;
use crate::server::admin::page::format;
use crate::server::admin::page::frame::{Frame, render};
use crate::server::admin::page::messages::videos::VideoMessages;
use crate::server::admin::page::parameters::Parameters;
use crate::server::admin::page::videos::VideoCard;
use crate::server::admin::problem::Problem;
use crate::server::admin::query::Query;
use crate::server::admin::state::AdminState;
use crate::store::details::JobDetails;
use crate::store::library_outputs::LibraryOutput;
use words::Piece;

/// Most outputs to compare.
const MAX_COMPARED: usize = 4;
const LETTERS: [&str; MAX_COMPARED] = ["A", "B", "C", "D"];

#[derive(Template)]
#[template(path = "compare.html")]
struct CompareTemplate {
    frame: Frame,
    t: &'static VideoMessages,
    panes: Vec<Pane>,
    /// Rows in which the outputs differ.
    different: Vec<Row>,
    equal: Vec<Row>,
    equal_text: String,
    prompts_differ: bool,
}

/// One of the outputs.
struct Pane {
    letter: &'static str,
    card: VideoCard,
    /// Its prompt, with what differs marked.
    prompt: Vec<Piece>,
}

/// A parameter with its value in each output.
struct Row {
    name: String,
    values: Vec<String>,
}

/// A link that compares an output with those of other jobs of the same file.
pub(super) struct SiblingsLink {
    pub text: String,
    pub address: String,
}

/// `GET /compare?o=JOB.NUMBER&o=...`.
pub(super) async fn get_comparison(request: HttpRequest, admin: web::Data<AdminState>) -> HttpResponse {
    let page = load(&request, &admin).await;
    render(&request, page)
}

async fn load(request: &HttpRequest, admin: &AdminState) -> Result<CompareTemplate, Problem> {
    let frame = Frame::load(request, admin).await?;
    let t = frame.m.videos;
    let query = Query::parse(request, &["o"])?;
    let mut outputs: Vec<LibraryOutput> = Vec::new();
    for item in query.values("o") {
        let found = find(item, admin).await?;
        if !outputs.iter().any(|output| (output.job, output.number) == (found.job, found.number)) {
            outputs.push(found);
        }
    }
    if outputs.len() > MAX_COMPARED {
        return Err(Problem::bad_request(t.compare_limit));
    }
    let (different, equal) = rows(&outputs, t);
    let prompts: Vec<&str> =
        outputs.iter().map(|output| output.prompt.as_deref().unwrap_or_default()).collect();
    let marked = words::compare(&prompts);
    let panes = outputs.iter().zip(LETTERS).zip(marked);
    Ok(CompareTemplate {
        t,
        panes: panes
            .map(|((output, letter), prompt)| Pane { letter, card: VideoCard::new(output, &frame), prompt })
            .collect(),
        equal_text: t.equal.replace("{n}", &equal.len().to_string()),
        different,
        equal,
        prompts_differ: prompts.windows(2).any(|pair| pair[0] != pair[1]),
        frame,
    })
}

async fn find(item: &str, admin: &AdminState) -> Result<LibraryOutput, Problem> {
    let unknown = || Problem::bad_request(format!("no output is named `{item}`; use JOB.NUMBER"));
    let (job, number) = item.rsplit_once('.').ok_or_else(unknown)?;
    let (job, number) = JobId::parse(job).zip(number.parse::<u32>().ok()).ok_or_else(unknown)?;
    let outputs = admin.server.store.outputs_of_job(job).await?;
    outputs.into_iter().find(|output| output.number == number).ok_or_else(unknown)
}

/// The rows that differ, and those that do not.
fn rows(outputs: &[LibraryOutput], t: &VideoMessages) -> (Vec<Row>, Vec<Row>) {
    let parameters: Vec<Parameters> =
        outputs.iter().map(|output| Parameters::parse(output.request.as_deref().unwrap_or(""))).collect();
    let names: BTreeSet<&str> =
        parameters.iter().flat_map(|parameters| parameters.iter().map(|(name, _)| name)).collect();
    let mut rows: Vec<Row> = names
        .into_iter()
        .map(|name| Row {
            name: name.to_owned(),
            values: parameters.iter().map(|one| one.get(name).unwrap_or("–").to_owned()).collect(),
        })
        .collect();
    let of = |value: fn(&LibraryOutput) -> String| outputs.iter().map(value).collect();
    let cost = |output: &LibraryOutput| output.cost.map_or_else(|| "–".to_owned(), |cost| cost.to_string());
    rows.push(Row { name: t.cost.to_owned(), values: of(cost) });
    rows.push(Row { name: t.size.to_owned(), values: of(|output| format::bytes(output.file.bytes)) });
    rows.into_iter().partition(|row| row.values.windows(2).any(|pair| pair[0] != pair[1]))
}

/// A link to compare an output with the videos of neighbours in its job file, if it has any.
pub(super) fn siblings_link(
    t: &VideoMessages,
    job: JobId,
    number: u32,
    near: &[JobDetails],
) -> Option<SiblingsLink> {
    let at = near.iter().position(|details| details.job.id() == job)?;
    let mut others: Vec<(usize, String)> = Vec::new();
    for (place, details) in near.iter().enumerate().filter(|(place, _)| *place != at) {
        let video = details.files.iter().position(|file| file.key.kind == OutputKind::Video);
        if let Some(index) = video {
            others.push((place.abs_diff(at), format!("{}.{}", details.job.id(), index + 1)));
        }
    }
    others.sort_by_key(|(distance, _)| *distance);
    others.truncate(MAX_COMPARED - 1);
    if others.is_empty() {
        return None;
    }
    let text = t.compare_siblings.replace("{n}", &others.len().to_string());
    let others = others.into_iter().map(|(_, item)| format!("&o={item}"));
    Some(SiblingsLink { text, address: format!("/compare?o={job}.{number}{}", others.collect::<String>()) })
}
