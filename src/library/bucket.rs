//! The library in a bucket of an S3-compatible store: objects and their sidecars under the paths of `library.layout`, the
//! job's id in each, so that nothing of others is ever overwritten. An upload that is tried again writes the same bytes
//! under the same key.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::path::Path as ObjectPath;
use object_store::{
    Attribute, Attributes, BackoffConfig, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, RetryConfig, UpdateVersion,
};
use parking_lot::Mutex;

use crate::clock::Clock;
pub use crate::library::bucket_error::BucketError;
use crate::library::bucket_error::has_no_conditions;
use crate::library::bucket_http::{Connector, SILENCE};
use crate::library::part::Part;
use crate::library::published::Published;
use crate::rng::Rng;
use crate::settings::BucketSettings;

/// Longer files are uploaded in pieces of this length: each is held in memory, and sent again if it fails.
const PIECE_BYTES: u64 = 8 << 20;
/// The most pieces that S3 takes.
const MAX_PIECES: u64 = 10_000;
/// The name of the SHA-256 among the user-defined metadata of an object.
const SHA256: &str = "dropreel-sha256";

/// A bucket. Clones share the connections.
#[derive(Clone)]
pub struct Bucket {
    address: String,
    prefix: String,
    store: Arc<AmazonS3>,
    /// Why the last upload failed, if it did.
    trouble: Arc<Mutex<Option<String>>>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl Bucket {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When no keys are set, or the settings name nothing that can be called.
    pub fn open(settings: &BucketSettings) -> Result<Self, BucketError> {
        let keys = settings.keys.as_ref().ok_or_else(|| BucketError::NoKeys(settings.address.clone()))?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region)
            .with_access_key_id(&keys.id)
            .with_secret_access_key(keys.secret.expose())
            // The store compares it with what it received, and refuses what differs.
            .with_checksum_algorithm(Checksum::SHA256)
            // Not every store has it.
            .with_disable_bulk_delete(true)
            // Each try is one request: when it is tried again is decided, and seen, outside.
            .with_retry(RetryConfig {
                max_retries: 0,
                backoff: BackoffConfig::default(),
                retry_timeout: SILENCE,
            });
        if let Some(token) = &keys.session_token {
            builder = builder.with_token(token.expose());
        }
        let mut is_loopback = false;
        if let Some(endpoint) = &settings.endpoint {
            is_loopback = endpoint.host_str().is_some_and(|host| {
                host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
            });
            // `http:` is for a store on the same machine or network: the keys are never sent, only signatures.
            builder = builder
                .with_endpoint(endpoint.as_str().trim_end_matches('/'))
                .with_allow_http(endpoint.scheme() == "http");
        }
        let store = builder.with_http_connector(Connector { is_loopback }).build();
        Ok(Self {
            address: settings.address.clone(),
            prefix: settings.prefix.clone(),
            store: Arc::new(store.map_err(|error| BucketError::Settings(error.to_string()))?),
            trouble: Arc::default(),
        })
    }

    /// `s3://bucket/prefix`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Why the last upload failed, until one works.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Notes how an upload ended. Returns whether that is news.
    pub fn note(&self, trouble: Option<String>) -> bool {
        let mut last = self.trouble.lock();
        let is_news = last.is_some() != trouble.is_some();
        *last = trouble;
        is_news
    }

    /// Uploads a checked part, unless it is there already.
    ///
    /// # Errors
    /// See [`BucketError`]. The part still exists.
    pub async fn upload(
        &self,
        part: &Part,
        relative: &str,
        mime: &'static str,
        clock: &Clock,
    ) -> Result<(), BucketError> {
        let path = self.path(relative)?;
        match self.holds(&path, part.bytes(), part.sha256()).await {
            Ok(true) => return Ok(()),
            // Where listing is not allowed, a missing object is answered with a refusal.
            Ok(false) | Err(BucketError::Denied { .. }) => {}
            Err(error) => return Err(error),
        }
        let attributes = attributes(mime, part.sha256());
        let bytes = part.bytes();
        if bytes <= PIECE_BYTES {
            let whole = part.read_piece(0, bytes, clock).await?;
            let options = PutOptions { attributes, ..PutOptions::default() };
            self.answered(self.store.put_opts(&path, whole.into(), options).await)?;
        } else {
            self.upload_pieces(part, &path, attributes, clock).await?;
        }
        self.check_whole(&path, bytes, part.sha256()).await
    }

    async fn upload_pieces(
        &self,
        part: &Part,
        path: &ObjectPath,
        attributes: Attributes,
        clock: &Clock,
    ) -> Result<(), BucketError> {
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let mut upload = self.answered(self.store.put_multipart_opts(path, options).await)?;
        let piece = PIECE_BYTES.max(part.bytes().div_ceil(MAX_PIECES));
        let mut at = 0;
        let sent = loop {
            if at >= part.bytes() {
                break self.answered(upload.complete().await).map(drop);
            }
            let length = piece.min(part.bytes() - at);
            let content = match part.read_piece(at, length, clock).await {
                Ok(content) => content,
                Err(error) => break Err(error.into()),
            };
            if let Err(error) = self.answered(upload.put_part(content.into()).await) {
                break Err(error);
            }
            at += length;
        };
        if sent.is_err() {
            // What cannot be removed now is left to the bucket's own rules (docs/deploy.md).
            let _ = upload.abort().await;
        }
        sent
    }

    /// Writes the sidecar of an uploaded part, and proves that both are there.
    ///
    /// # Errors
    /// See [`BucketError`].
    pub async fn publish(
        &self,
        part: &Part,
        relative: &str,
        sidecar: Vec<u8>,
    ) -> Result<Published, BucketError> {
        self.check_whole(&self.path(relative)?, part.bytes(), part.sha256()).await?;
        self.put_sidecar(relative, sidecar).await?;
        let published = Published::new(relative.to_owned(), part.bytes(), part.sha256().to_owned());
        Ok(published.in_bucket(self.address.clone()))
    }

    pub(super) async fn put_sidecar(&self, relative: &str, sidecar: Vec<u8>) -> Result<(), BucketError> {
        let path = self.path(&format!("{relative}.json"))?;
        let (bytes, sha256) = (sidecar.len() as u64, crate::sha256::sha256_hex(&sidecar));
        let attributes = attributes("application/json", &sha256);
        let options = PutOptions { attributes, ..PutOptions::default() };
        self.answered(self.store.put_opts(&path, sidecar.into(), options).await)?;
        self.check_whole(&path, bytes, &sha256).await
    }

    /// The sidecar of an object; `None`: somebody has removed it.
    pub(super) async fn sidecar(&self, relative: &str) -> Result<Option<Bytes>, BucketError> {
        let path = self.path(&format!("{relative}.json"))?;
        match self.store.get(&path).await {
            Ok(found) => self.answered(found.bytes().await).map(Some),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(BucketError::new(&self.address, &error)),
        }
    }

    /// The content of a small object and its version; `None`: it does not exist, or that may not be asked.
    pub(super) async fn versioned(
        &self,
        relative: &str,
    ) -> Result<Option<(Bytes, UpdateVersion)>, BucketError> {
        match self.answered(self.store.get(&self.path(relative)?).await) {
            Ok(found) => {
                let version =
                    UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
                Ok(Some((self.answered(found.bytes().await)?, version)))
            }
            // Where listing is not allowed, a missing object is answered with a refusal.
            Err(BucketError::NotFound { .. } | BucketError::Denied { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a small object if it still has this version; `None`: if it does not exist. Returns whether it was written.
    /// Where the store has no conditional writes, it is written in any case.
    pub(super) async fn replace(
        &self,
        relative: &str,
        content: Vec<u8>,
        version: Option<UpdateVersion>,
    ) -> Result<bool, BucketError> {
        let path = self.path(relative)?;
        let mode = match version {
            None => PutMode::Create,
            Some(version) if version.e_tag.is_some() => PutMode::Update(version),
            Some(_) => PutMode::Overwrite,
        };
        let content = PutPayload::from(content);
        let answer = match self.store.put_opts(&path, content.clone(), mode.into()).await {
            Err(error) if has_no_conditions(&error) => self.store.put(&path, content).await,
            answer => answer,
        };
        match answer {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(false)
            }
            Err(error) => Err(BucketError::new(&self.address, &error)),
        }
    }

    /// Reads a range of an object, which is `bytes` long.
    ///
    /// # Errors
    /// When it cannot be read, or has another length.
    pub async fn read(
        &self,
        relative: &str,
        range: Range<u64>,
        bytes: u64,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, BucketError> {
        let path = self.path(relative)?;
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let found = self.answered(self.store.get_opts(&path, options).await)?;
        if found.meta.size != bytes {
            return Err(self.not_whole(&path));
        }
        Ok(found.into_stream().map(|chunk| chunk.map_err(std::io::Error::other)).boxed())
    }

    /// Writes, reads and removes a small object. Returns whether the store has conditional writes: it does not create an
    /// object that exists.
    ///
    /// # Errors
    /// See [`BucketError`].
    pub async fn check(&self, rng: &Rng) -> Result<bool, BucketError> {
        let id = data_encoding::HEXLOWER.encode(&rng.id_bytes());
        let path = self.path(&format!(".dropreel-check-{id}"))?;
        self.answered(self.store.put(&path, id.clone().into()).await)?;
        let again = self.store.put_opts(&path, id.clone().into(), PutMode::Create.into()).await;
        let read = match self.store.get(&path).await {
            Ok(found) => self.answered(found.bytes().await),
            Err(error) => Err(BucketError::new(&self.address, &error)),
        };
        self.answered(self.store.delete(&path).await)?;
        if read? != id.as_bytes() {
            return Err(self.not_whole(&path));
        }
        match again {
            Ok(_) => Ok(false),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(true),
            Err(error) if has_no_conditions(&error) => Ok(false),
            Err(error) => Err(BucketError::new(&self.address, &error)),
        }
    }

    /// Whether an object is there with this length, uploaded with this hash.
    async fn holds(&self, path: &ObjectPath, bytes: u64, sha256: &str) -> Result<bool, BucketError> {
        let head = GetOptions { head: true, ..GetOptions::default() };
        match self.store.get_opts(path, head).await {
            Ok(found) => {
                let hash = found.attributes.get(&Attribute::Metadata(SHA256.into()));
                Ok(found.meta.size == bytes && hash.is_some_and(|hash| **hash == *sha256))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(BucketError::new(&self.address, &error)),
        }
    }

    async fn check_whole(&self, path: &ObjectPath, bytes: u64, sha256: &str) -> Result<(), BucketError> {
        let is_whole = self.holds(path, bytes, sha256).await?;
        if is_whole { Ok(()) } else { Err(self.not_whole(path)) }
    }

    fn not_whole(&self, path: &ObjectPath) -> BucketError {
        BucketError::NotWhole { bucket: self.address.clone(), key: path.to_string() }
    }

    fn path(&self, relative: &str) -> Result<ObjectPath, BucketError> {
        let key =
            if self.prefix.is_empty() { relative.to_owned() } else { format!("{}/{relative}", self.prefix) };
        ObjectPath::parse(&key).map_err(|error| BucketError::Settings(error.to_string()))
    }

    fn answered<T>(&self, answer: object_store::Result<T>) -> Result<T, BucketError> {
        answer.map_err(|error| BucketError::new(&self.address, &error))
    }
}

fn attributes(mime: &'static str, sha256: &str) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::ContentType, mime.into());
    attributes.insert(Attribute::Metadata(SHA256.into()), sha256.to_owned().into());
    attributes
}
