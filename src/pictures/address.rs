//! The public addresses of local pictures: `{public_url}/media/{token}/{name}`. The token names the job and proves, by a MAC
//! over job and name, that dropreel made the address.

use std::sync::Arc;

use parking_lot::RwLock;
use url::Url;

use crate::job::JobId;
use crate::jobfile::pictures::{PictureContent, PictureType};
use crate::secret::{CallbackSecrets, Secret};
use crate::sha256::sha256_hex;

/// Begins the paths of all pictures.
pub const PATH_PREFIX: &str = "/media/";

/// The job in the address of the picture by which `doctor` tests the way: no real one has this id.
pub const PROBE_JOB: &str = "00000000-0000-7000-8000-000000000000";
/// That picture: a PNG of one pixel.
pub const PROBE: &[u8] = b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3A\x7E\x9B\x55\
    \0\0\0\nIDAT\x78\xDA\x63\x68\0\0\0\x82\0\x81\xDA\x45\x08\x3B\0\0\0\0IEND\xAE\x42\x60\x82";

/// The content of [`PROBE`].
pub fn probe_content() -> PictureContent {
    PictureContent { sha256: sha256_hex(PROBE), picture_type: PictureType::Png }
}

/// Makes the addresses, under the callback secret in force.
#[derive(Clone)]
pub struct PictureUrls {
    /// Without a final slash; `None`: no pictures are served.
    base: Option<String>,
    secrets: Arc<RwLock<CallbackSecrets>>,
}

impl PictureUrls {
    /// Below this public URL; `None`: no pictures are served.
    pub fn new(public_url: Option<&Url>, secrets: Arc<RwLock<CallbackSecrets>>) -> Self {
        let base = public_url.map(|url| url.as_str().trim_end_matches('/').to_owned());
        Self { base, secrets }
    }

    /// The address of [`PROBE`].
    pub fn probe_url(&self) -> Option<Secret> {
        self.url(JobId::parse(PROBE_JOB)?, &probe_content())
    }

    /// The address of a picture of a job: a secret until the job has ended.
    pub fn url(&self, job: JobId, content: &PictureContent) -> Option<Secret> {
        let (base, name) = (self.base.as_ref()?, content.file_name());
        let token = self.secrets.read().picture_token(&job.to_string(), &name);
        Some(Secret::new(format!("{base}{PATH_PREFIX}{job}.{}/{name}", token.expose())))
    }
}

/// The job and the picture that a path below the public URL names, if its token is valid. Nothing is decoded: an address
/// has only one spelling.
pub fn verify(path: &str, secrets: &CallbackSecrets) -> Option<(JobId, PictureContent)> {
    let (token, name) = path.strip_prefix(PATH_PREFIX)?.split_once('/')?;
    let (id, mac) = token.split_once('.')?;
    secrets.verify_picture(id, name, mac).then_some(())?;
    Some((JobId::parse(id)?, PictureContent::of_file_name(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::rng::Rng;

    #[test]
    fn address_is_valid_for_its_job_and_picture_and_in_its_spelling_only() {
        let rng = Rng::seeded(1);
        let [job, other] =
            [0, 1].map(|order| JobId::new(Timestamp::from_millis(1_775_285_160_000), order, &rng));
        let content =
            |digit: &str| PictureContent { sha256: digit.repeat(64), picture_type: PictureType::Png };
        let secrets = CallbackSecrets::new(Secret::new("the secret"), Vec::new());
        let shared = Arc::new(RwLock::new(secrets.clone()));
        let public = Url::parse("https://hooks.example.com/reel/").unwrap();
        let urls = PictureUrls::new(Some(&public), shared.clone());
        let url = urls.url(job, &content("a")).unwrap();
        let path = url.expose().strip_prefix("https://hooks.example.com/reel").unwrap().to_owned();
        assert_eq!(verify(&path, &secrets), Some((job, content("a"))));

        let rotated = CallbackSecrets::new(Secret::new("a new secret"), vec![Secret::new("the secret")]);
        assert!(verify(&path, &rotated).is_some());
        let forgotten = CallbackSecrets::new(Secret::new("a new secret"), Vec::new());
        assert_eq!(verify(&path, &forgotten), None);
        let callback_token = secrets.token(&job.to_string()).expose().to_owned();
        for wrong in [
            path.replace(&job.to_string(), &other.to_string()),
            path.replace(&"a".repeat(64), &"b".repeat(64)),
            path.replace(".png", ".jpg"),
            format!("{path}/"),
            format!("{path}?x"),
            path.replace("/media/", "/media//"),
            path.replace("/media/", "/media/./"),
            path.replacen('-', "%2D", 1),
            path.to_uppercase(),
            format!("/media/{job}.{callback_token}/{}", content("a").file_name()),
            format!("/media/{job}./{}", content("a").file_name()),
            "/media/".to_owned(),
            "/media/a/../b".to_owned(),
        ] {
            assert_eq!(verify(&wrong, &secrets), None, "{wrong}");
        }
        let probe = urls.probe_url().unwrap();
        let (_, probe) = probe.expose().split_once("/reel").unwrap();
        assert_eq!(
            verify(probe, &secrets),
            JobId::parse(PROBE_JOB).map(|job| (job, probe_content())),
            "{probe}"
        );
        assert!(crate::pictures::describe(PROBE).is_ok_and(|picture| picture.content == probe_content()));
        assert_eq!(PictureUrls::new(None, shared).url(job, &content("a")), None);
    }
}
