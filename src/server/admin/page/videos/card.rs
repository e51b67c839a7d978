//! An output as the grid shows it.

use crate::job::output::OutputKind;
use crate::library::Library;
use crate::server::admin::page::format::DisplayTime;
use crate::server::admin::page::frame::Frame;
use crate::server::admin::page::parameters::{Asked, Parameters, badges};
use crate::server::admin::problem::Problem;
use crate::server::admin::state::AdminState;
use crate::store::library_outputs::LibraryOutput;

/// An output in the grid.
pub(in crate::server::admin::page) struct Card {
    /// `JOB.NUMBER`: names it in addresses and for scripts.
    pub item: String,
    pub job: String,
    /// Its key, as the API names it.
    pub key: String,
    pub kind: &'static str,
    /// The job's name, with the number of any output but the first.
    pub name: String,
    pub model: String,
    pub media: String,
    pub view: String,
    pub path: String,
    pub has_poster: bool,
    /// What differs from the neighbour.
    pub badges: Vec<String>,
    pub stored: DisplayTime,
    pub cost: Option<String>,
    pub rating: Option<u8>,
    pub can_run_again: bool,
}

impl Card {
    pub(in crate::server::admin::page) fn new(output: &LibraryOutput, frame: &Frame) -> Self {
        let LibraryOutput { job, number, .. } = output;
        Self {
            item: format!("{job}.{number}"),
            job: job.to_string(),
            key: output.key.to_string(),
            kind: output.key.kind.into_str(),
            name: if *number > 1 { format!("{} · {number}", output.name) } else { output.name.clone() },
            model: output.model.clone(),
            media: format!("/media/{job}/{number}"),
            view: format!("/videos/{job}/{number}"),
            path: output.file.path.clone(),
            has_poster: false,
            badges: Vec::new(),
            stored: DisplayTime::new(frame.m, output.file.stored_at, frame.now),
            cost: output.cost.map(|cost| cost.to_string()),
            rating: output.rating,
            can_run_again: !output.is_adopted,
        }
    }

    /// The rating as an attribute; empty without one.
    pub(in crate::server::admin::page) fn rating_text(&self) -> String {
        self.rating.map(|rating| rating.to_string()).unwrap_or_default()
    }

    /// Whether a browser can draw a picture of it.
    pub(in crate::server::admin::page) fn needs_poster(&self) -> bool {
        !self.has_poster && self.kind != OutputKind::Audio.into_str()
    }
}

/// The outputs as cards, each with what differs from its neighbour: the nearest of the same job file, else one beside it
/// with the same prompt.
pub(in crate::server::admin::page) fn cards(outputs: &[LibraryOutput], frame: &Frame) -> Vec<Card> {
    let parameters: Vec<Parameters> =
        outputs.iter().map(|output| Parameters::parse(output.request.as_deref().unwrap_or(""))).collect();
    let asked = |at: usize| Asked { prompt: outputs[at].prompt.as_deref(), parameters: &parameters[at] };
    let card = |(at, output): (usize, &LibraryOutput)| {
        let differing =
            neighbours(outputs, at).map(|other| badges(&asked(at), &asked(other), frame.m.videos.prompt));
        let badges = differing.into_iter().find(|badges| !badges.is_empty()).unwrap_or_default();
        Card { badges, ..Card::new(output, frame) }
    };
    outputs.iter().enumerate().map(card).collect()
}

/// The places of the outputs to compare this one with, the most similar first.
fn neighbours(outputs: &[LibraryOutput], at: usize) -> impl Iterator<Item = usize> {
    let one = &outputs[at];
    let is_sibling = |other: &usize| outputs[*other].batch == one.batch && outputs[*other].job != one.job;
    let is_variation = |other: &usize| outputs[*other].prompt == one.prompt && outputs[*other].job != one.job;
    let siblings = [(at + 1..outputs.len()).find(is_sibling), (0..at).rev().find(is_sibling)];
    let beside = [Some(at + 1).filter(|next| *next < outputs.len()), at.checked_sub(1)];
    siblings.into_iter().flatten().chain(beside.into_iter().flatten().filter(is_variation))
}

/// Looks which cards have a poster.
pub(in crate::server::admin::page) async fn add_posters(
    cards: &mut [Card],
    admin: &AdminState,
) -> Result<(), Problem> {
    let paths = cards.iter().map(|card| card.path.clone()).collect();
    for (card, has_poster) in cards.iter_mut().zip(find_posters(paths, admin).await?) {
        card.has_poster = has_poster;
    }
    Ok(())
}

/// Whether each of these files of the library has a poster.
pub(in crate::server::admin::page) async fn find_posters(
    paths: Vec<String>,
    admin: &AdminState,
) -> Result<Vec<bool>, Problem> {
    let library: Library = admin.server.library.clone();
    let look = move || paths.iter().map(|path| library.has_poster(path)).collect();
    let found = admin.server.clock.run_blocking(look).await;
    found.map_err(|_| Problem::busy("a bug: looking for posters panicked"))
}
