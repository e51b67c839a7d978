//! The language of a page: the one chosen on the page, else the first accepted one of the browser that
//! exists.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::server::admin::page::messages::Messages;
use crate::server::admin::page::messages::chinese::CHINESE;
use crate::server::admin::page::messages::english::ENGLISH;
use crate::server::admin::problem::Problem;
use crate::server::admin::query::Query;

const COOKIE: &str = "dropreel-language";

pub(in crate::server::admin) fn choose_messages(request: &HttpRequest) -> &'static Messages {
    from_cookie(request).or_else(|| from_accept_language(request)).unwrap_or(&ENGLISH)
}

fn parse_language(tag: &str) -> Option<&'static Messages> {
    let tag = tag.trim().to_ascii_lowercase();
    match tag.split('-').next() {
        Some("zh") => Some(&CHINESE),
        Some("en") => Some(&ENGLISH),
        _ => None,
    }
}

fn from_cookie(request: &HttpRequest) -> Option<&'static Messages> {
    let cookies = request.headers().get_all(header::COOKIE).filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim() == COOKIE).and_then(|(_, tag)| parse_language(tag))
}

/// Reads `Accept-Language` in its written order, which browsers sort by preference.
fn from_accept_language(request: &HttpRequest) -> Option<&'static Messages> {
    let tags = request.headers().get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
    tags.split(',').find_map(|tag| parse_language(tag.split(';').next().unwrap_or(tag)))
}

/// `GET /language/{language}?back=/...`: stores the choice in a cookie.
pub(super) async fn set_language(
    request: HttpRequest,
    language: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let messages = parse_language(&language).ok_or_else(Problem::unknown_address)?;
    let query = Query::parse(&request, &["back"])?;
    // Redirect to our own pages only: an address that begins with two slashes is another host.
    let is_local =
        |back: &&str| back.starts_with('/') && !back.starts_with("//") && !back.contains(['\\', '\n', '\r']);
    let back = query.single("back")?.filter(is_local).unwrap_or("/");
    let cookie = format!("{COOKIE}={}; Path=/; Max-Age=31536000; SameSite=Strict; HttpOnly", messages.lang);
    Ok(HttpResponse::SeeOther()
        .insert_header((header::LOCATION, back))
        .insert_header((header::SET_COOKIE, cookie))
        .finish())
}
