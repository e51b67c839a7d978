//! Which language a reader is shown: the one chosen, else the browser's first that there is.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::server::admin::page::messages::{CHINESE, ENGLISH, Words};
use crate::server::admin::problem::Problem;
use crate::server::admin::query::Query;

const COOKIE: &str = "dropreel-language";

/// The words for this reader.
pub(super) fn of(request: &HttpRequest) -> &'static Words {
    let chosen = chosen(request).or_else(|| wished(request));
    chosen.unwrap_or(&ENGLISH)
}

fn called(language: &str) -> Option<&'static Words> {
    let language = language.trim().to_ascii_lowercase();
    match language.split('-').next() {
        Some("zh") => Some(&CHINESE),
        Some("en") => Some(&ENGLISH),
        _ => None,
    }
}

fn chosen(request: &HttpRequest) -> Option<&'static Words> {
    let cookies = request.headers().get_all(header::COOKIE).filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim() == COOKIE).and_then(|(_, language)| called(language))
}

/// `Accept-Language` in the order it is written, which is the order browsers write it in.
fn wished(request: &HttpRequest) -> Option<&'static Words> {
    let wishes = request.headers().get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
    wishes.split(',').find_map(|wish| called(wish.split(';').next().unwrap_or(wish)))
}

/// `GET /language/{language}?back=/...`: remembers the choice.
pub(super) async fn choose(
    request: HttpRequest,
    language: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let words = called(&language).ok_or_else(Problem::unknown_address)?;
    let query = Query::parse(&request, &["back"])?;
    // Only to a page of ours: what begins with two strokes is another host.
    let is_ours =
        |back: &&str| back.starts_with('/') && !back.starts_with("//") && !back.contains(['\\', '\n', '\r']);
    let back = query.single("back")?.filter(is_ours).unwrap_or("/");
    let cookie = format!("{COOKIE}={}; Path=/; Max-Age=31536000; SameSite=Strict; HttpOnly", words.lang);
    Ok(HttpResponse::SeeOther()
        .insert_header((header::LOCATION, back))
        .insert_header((header::SET_COOKIE, cookie))
        .finish())
}
