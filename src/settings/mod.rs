//! The configuration, typed and checked (docs/reference.md#configuration): what a person set, or the default.
//!
//! Only values live here. Nothing in this room connects, listens or makes a client; the rooms above do, from these
//! values. [`load`] reads them; [`load_callback_secrets`] keeps the secrets behind callback addresses.

mod check;
mod environment;
mod hooks;
mod layer;
mod listeners;
mod load;
mod private;
mod problem;
mod secrets;
mod units;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64;
use url::Url;
use zeroize::Zeroizing;

pub use crate::settings::environment::Environment;
pub use crate::settings::hooks::{Hook, HookTarget};
pub use crate::settings::load::{Purpose, keys_and_defaults, load, variable_of};
pub use crate::settings::private::PrivateFileError;
pub use crate::settings::problem::{Invalid, Origin, Problem};
pub use crate::settings::secrets::{SecretsError, load_callback_secrets, rotate_callback_secret};
pub use crate::settings::units::{age, duration};

use crate::secret::Secret;

/// The complete annotated configuration: the defaults themselves, and what `dropreel init` writes.
pub const DEFAULT_CONFIG: &str = include_str!("../../config.toml");

/// Everything that can be set. Paths are absolute, ranges are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The configuration file these came from; `None` when there was none and the defaults stand.
    pub config_file: Option<PathBuf>,
    /// The folder of everything.
    pub data_dir: PathBuf,
    /// `[provider]`
    pub provider: Provider,
    /// `[inbox]`
    pub inbox: Inbox,
    /// `[library]`
    pub library: Library,
    /// `[callbacks]`
    pub callbacks: Callbacks,
    /// `[polling]`
    pub polling: Polling,
    /// `[downloads]`
    pub downloads: Downloads,
    /// `[admin]`
    pub admin: Admin,
    /// `[[hooks]]`
    pub hooks: Vec<Hook>,
}

impl Settings {
    /// The database (docs/reference.md#folders).
    pub fn database(&self) -> PathBuf {
        self.data_dir.join("dropreel.db")
    }

    /// Where job files go once their jobs are committed; holds one folder per day.
    pub fn accepted_dir(&self) -> PathBuf {
        self.data_dir.join("accepted")
    }

    /// Where bad job files go, with their reasons.
    pub fn rejected_dir(&self) -> PathBuf {
        self.data_dir.join("rejected")
    }

    /// Where downloads go that are not what they should be.
    pub fn quarantine_dir(&self) -> PathBuf {
        self.data_dir.join("quarantine")
    }
}

/// `[provider]`: the service that makes the videos.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Scheme and host, perhaps a port: no path, no query, no user. `https`, or `http` on loopback.
    pub base_url: Url,
    /// The API key; `None` when none is set, or none was wanted ([`Purpose`]).
    pub api_key: Option<Secret>,
    /// New tasks per second at most: above 0, at most 100.
    pub submit_per_second: f64,
    /// Tasks at the provider at one time: 1 to 10,000.
    pub max_running: u32,
    /// The same for single models.
    pub max_running_per_model: BTreeMap<String, u32>,
    /// How long one call may take altogether.
    pub request_timeout: Duration,
    /// The proxy for calls to the provider, an `http` or `https` URL that may carry a password. `None`: what the
    /// usual proxy variables say.
    pub proxy: Option<Secret>,
}

/// `[inbox]`: the watched folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbox {
    /// The folder.
    pub dir: PathBuf,
    /// Time between full looks at the folder.
    pub rescan: Duration,
    /// How long a file must be still before it is judged.
    pub settle: Duration,
    /// The largest job file in bytes, 1 to 256 MiB; line files have their own limit
    /// (docs/reference.md#job-files).
    pub max_bytes: u64,
}

/// `[library]`: the folder of finished media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// The folder.
    pub dir: PathBuf,
    /// Template of a file's path in it; its placeholders are judged by `library::layout`, which knows them.
    pub layout: String,
    /// Who may read finished files.
    pub mode: LibraryMode,
}

/// `library.mode`: who may read finished files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LibraryMode {
    /// The daemon's own user.
    Private,
    /// Its group, too.
    Group,
    /// Everybody.
    Public,
}

/// `[callbacks]`: the public door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callbacks {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The door's address from outside, perhaps with a path; `None`: no callbacks.
    pub public_url: Option<Url>,
    /// The file of the secret behind the callback addresses: the one given, or `callback.secret` in `data_dir`.
    pub secret_file: PathBuf,
    /// What a callback's body is worth.
    pub trust: Trust,
    /// How callbacks are signed; `None`: they are not, or it was not wanted ([`Purpose`]).
    pub signature: Option<CallbackSignature>,
}

/// `[callbacks.signature]`: the provider's signature, without which nothing is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackSignature {
    /// How it is made.
    pub scheme: SignatureScheme,
    /// The header that holds it, in lower case.
    pub header: String,
    /// The secrets, any of which may have made it: at least one.
    pub secrets: Vec<Secret>,
}

/// `callbacks.signature.scheme`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureScheme {
    /// HMAC-SHA256 over `id.time.body`, in base64 (standardwebhooks.com, "Signature scheme").
    StandardWebhooks,
    /// HMAC-SHA256 over the body, in hexadecimal, `sha256=` before it or not.
    HmacSha256Hex,
}

impl SignatureScheme {
    /// The bytes that a configured secret stands for; `None` if it is misspelt.
    pub fn key(self, secret: &Secret) -> Option<Zeroizing<Vec<u8>>> {
        match (self, secret.expose().strip_prefix("whsec_")) {
            (Self::StandardWebhooks, Some(encoded)) => {
                BASE64.decode(encoded.as_bytes()).ok().filter(|key| !key.is_empty()).map(Zeroizing::new)
            }
            _ => Some(Zeroizing::new(secret.expose().as_bytes().to_vec())),
        }
    }
}

/// `callbacks.trust`: what a callback's body is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It only triggers a status query.
    Verify,
    /// It counts, where it is signed and clear; where not, it triggers a status query.
    Payload,
}

/// `[polling]`: asking how tasks are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polling {
    /// Wait before the first poll of a task that should call back.
    pub callback_grace: Duration,
    /// Wait before the first poll without callbacks, at most `max_interval`.
    pub interval: Duration,
    /// The longest wait between polls.
    pub max_interval: Duration,
    /// A task not finished by then is held.
    pub give_up: Duration,
}

/// `[downloads]`: fetching finished files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Downloads {
    /// Files at one time: 1 to 64.
    pub concurrency: usize,
    /// The largest file in bytes, at least 1.
    pub max_bytes: u64,
    /// Whether private addresses may be fetched from.
    pub allow_private_addresses: bool,
    /// How long before a link dies to warn about a file not yet stored.
    pub alert_before_expiry: Duration,
}

/// `[admin]`: the page, the API, metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The address to listen on; off loopback only with a token. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The file of the token.
    pub token_file: Option<PathBuf>,
    /// The token; `None` when no file is set, or none was wanted ([`Purpose`]).
    pub token: Option<Secret>,
    /// A token that may look and not order; `None` as with `token`.
    pub read_token: Option<Secret>,
}
