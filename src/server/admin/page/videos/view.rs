//! One output in full: the player, and beside it what was asked for, the rating, and the other files of the job.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use strum::VariantArray;

use crate::job::JobId;
use crate::job::state::StateName;
use crate::server::admin::page::compare;
use crate::server::admin::page::format;
use crate::server::admin::page::frame::{Frame, render};
use crate::server::admin::page::messages::videos::VideoMessages;
use crate::server::admin::page::parameters::Parameters;
use crate::server::admin::page::videos::card::{Card, add_posters};
use crate::server::admin::problem::Problem;
use crate::server::admin::state::AdminState;

/// Most other jobs of the same file to compare with.
const MAX_SIBLINGS: u32 = 3;

#[derive(Template)]
#[template(path = "view.html")]
struct ViewTemplate {
    frame: Frame,
    t: &'static VideoMessages,
    card: Card,
    job_name: String,
    prompt: Option<String>,
    parameters: Parameters,
    labels: Vec<(String, String)>,
    batch: String,
    file_name: Option<String>,
    /// The folder of the file, below the library.
    folder: String,
    /// The file's whole path.
    path: String,
    size: String,
    /// "2 of 3", if the job has several files.
    place: String,
    /// All files of the job, if it has several.
    all: Vec<Card>,
    siblings: Option<compare::SiblingsLink>,
}

/// `GET /videos/{job}/{number}`.
pub(in crate::server::admin::page) async fn get_view(
    request: HttpRequest,
    path: web::Path<(String, u32)>,
    admin: web::Data<AdminState>,
) -> HttpResponse {
    let page = load(&request, path.into_inner(), &admin).await;
    render(&request, page)
}

async fn load(
    request: &HttpRequest,
    (job, number): (String, u32),
    admin: &AdminState,
) -> Result<ViewTemplate, Problem> {
    let frame = Frame::load(request, admin).await?;
    let t = frame.m.videos;
    let job = JobId::parse(&job).ok_or_else(Problem::unknown_address)?;
    let store = &admin.server.store;
    let outputs = store.outputs_of_job(job).await?;
    let at = outputs.iter().position(|output| output.number == number);
    let at = at.ok_or_else(Problem::unknown_address)?;
    let family = store.jobs_of_same_file(job, MAX_SIBLINGS).await?;
    let mut all: Vec<Card> = outputs.iter().map(|output| Card::new(output, &frame)).collect();
    add_posters(&mut all, admin).await?;
    let output = &outputs[at];
    let place = t.of_outputs.replace("{n}", &number.to_string()).replace("{total}", &all.len().to_string());
    let is_single = all.len() == 1;
    let mut card = Card::new(output, &frame);
    card.has_poster = all[at].has_poster;
    Ok(ViewTemplate {
        t,
        card,
        job_name: output.name.clone(),
        prompt: output.prompt.clone(),
        parameters: Parameters::parse(output.request.as_deref().unwrap_or("")),
        labels: output.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        batch: output.batch.clone(),
        file_name: output.file_name.clone(),
        folder: output.file.path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned(),
        path: output.file.place().location(admin.server.library_dir()),
        size: format::bytes(output.file.bytes),
        place: if is_single { String::new() } else { place },
        all: if is_single { Vec::new() } else { all },
        siblings: compare::siblings_link(t, job, number, &family.near),
        frame,
    })
}
