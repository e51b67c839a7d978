//! The grid of the outputs in the library: filters in the address, pages by cursor.

pub(super) mod card;
pub(super) mod filter;
pub(super) mod view;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use strum::VariantArray;

use crate::job::state::StateName;
use crate::pricing::models::MODELS;
use crate::server::admin::page::frame::{Frame, render};
use crate::server::admin::page::messages::videos::VideoMessages;
use crate::server::admin::page::videos::card::{Card, add_posters, cards};
use crate::server::admin::page::videos::filter::{Chip, VideoQuery};
use crate::server::admin::problem::Problem;
use crate::server::admin::state::AdminState;

pub(super) use card::Card as VideoCard;

const PAGE_SIZE: u32 = 48;

#[derive(Template)]
#[template(path = "videos.html")]
struct VideosTemplate {
    frame: Frame,
    t: &'static VideoMessages,
    query: VideoQuery,
    chips: Vec<Chip>,
    cards: Vec<Card>,
    models: Vec<&'static str>,
    /// The choices of the form: the word in the address, and its text.
    kinds: [(&'static str, &'static str); 3],
    orders: [(&'static str, &'static str); 3],
    /// The address of the next page.
    older: Option<String>,
}

/// `GET /videos`.
pub(super) async fn get_videos(request: HttpRequest, admin: web::Data<AdminState>) -> HttpResponse {
    let page = load(&request, &admin).await;
    render(&request, page)
}

async fn load(request: &HttpRequest, admin: &AdminState) -> Result<VideosTemplate, Problem> {
    let frame = Frame::load(request, admin).await?;
    let t = frame.m.videos;
    let query = VideoQuery::parse(request, &admin.server.clock.zone())?;
    let store = &admin.server.store;
    let page =
        store.library_outputs(query.filter.clone(), query.order, query.cursor.clone(), PAGE_SIZE).await?;
    let file_name = page.outputs.first().and_then(|output| output.file_name.as_deref());
    let chips = query.chips(t, file_name);
    let mut cards = cards(&page.outputs, &frame);
    add_posters(&mut cards, admin).await?;
    Ok(VideosTemplate {
        t,
        chips,
        older: page.next.map(|cursor| query.address_of_page(&cursor)),
        cards,
        models: MODELS.iter().map(|model| model.name).collect(),
        kinds: [("video", t.video), ("image", t.image), ("audio", t.audio)],
        orders: [("", t.newest), ("rating", t.best), ("cost", t.expensive)],
        query,
        frame,
    })
}
