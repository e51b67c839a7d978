//! Fetches the pictures of a submit from this machine, as the provider fetches them from the internet. Addresses of other
//! machines are believed: the sandbox needs no network.

use std::time::Duration;

use serde_json::Value;
use url::{Host, Url};

use crate::clock::Clock;

const KEYS: [&str; 5] = ["image_urls", "first_frame", "last_frame", "first_frame_image", "last_frame_image"];
/// Longest time for one picture.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whether every picture of a submit with this body that is on this machine can be fetched.
pub(crate) async fn are_fetchable(body: &[u8], client: &reqwest::Client, clock: &Clock) -> bool {
    for url in on_this_machine(body) {
        let fetched = async {
            let response = client.get(url).send().await.ok()?;
            let media_type = response.headers().get("content-type")?.to_str().ok()?.to_owned();
            let is_picture = response.status().is_success() && media_type.starts_with("image/");
            response.bytes().await.ok().filter(|bytes| is_picture && !bytes.is_empty())
        };
        if clock.within(TIMEOUT, fetched).await.flatten().is_none() {
            return false;
        }
    }
    true
}

fn on_this_machine(body: &[u8]) -> Vec<Url> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let texts = KEYS.iter().filter_map(|key| body.get(key)).flat_map(|value| match value {
        Value::Array(items) => &items[..],
        one => std::slice::from_ref(one),
    });
    let urls = texts.filter_map(|text| Url::parse(text.as_str()?).ok());
    urls.filter(|url| match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pictures_of_this_machine_are_fetched() {
        let body = br#"{"image_urls": ["https://example.com/a.png", "http://127.0.0.1:1/b.png", 7],
            "first_frame": "http://localhost/c.png", "last_frame": "http://[::1]/d.png", "prompt": "http://127.0.0.1/"}"#;
        let paths: Vec<String> = on_this_machine(body).iter().map(|url| url.path().to_owned()).collect();
        assert_eq!(paths, ["/b.png", "/c.png", "/d.png"]);
        assert!(on_this_machine(b"not JSON").is_empty());
    }
}
