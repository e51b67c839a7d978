//! The configuration, typed and checked (docs/reference.md#configuration).
//!
//! [`load`] merges the built-in defaults, a file and the environment; [`load_callback_secrets`] keeps the secrets of
//! callback URLs.

mod callback_secrets;
mod database;
mod environment;
mod hook_body;
mod hooks;
mod keys;
mod listeners;
mod load;
mod parse;
mod price_file;
mod problem;
mod reader;
mod secret_file;
mod sections;
mod storage;
mod units;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64;
use strum::{EnumString, IntoStaticStr, VariantArray};
use url::Url;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::clock::calendar::Zone;
use crate::job::budget::Budgets;
use crate::job::label::Label;
use crate::money::Quota;
use crate::pricing::price_book::OperatorPrice;
use crate::secret::Secret;
pub use crate::settings::callback_secrets::{
    CallbackSecretsError, load_callback_secrets, rotate_callback_secret,
};
pub use crate::settings::database::DatabaseServer;
pub use crate::settings::environment::Environment;
pub use crate::settings::hook_body::{BodyField, BodyTemplate, Placeholder};
pub use crate::settings::hooks::{Hook, HookTarget};
pub use crate::settings::keys::variable_of;
pub use crate::settings::load::{keys_and_defaults, load};
pub use crate::settings::problem::{InvalidSettings, Origin, SettingsProblem};
pub use crate::settings::secret_file::SecretFileError;
pub use crate::settings::storage::{BucketKeys, BucketSettings};
pub use crate::settings::units::{age, duration};

/// The complete annotated configuration: it defines keys and defaults, and `dropreel init` writes it.
pub const DEFAULT_CONFIG: &str = include_str!("../../config.toml");

/// What the settings are for. Only the secrets that are needed are read, so that users who may not read the others can
/// still run the commands that do without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `serve`, `doctor`: all secrets.
    Daemon,
    /// Commands that talk to the daemon: the admin token.
    Client,
    /// `check`, `completions`: no secret.
    Offline,
}

/// All settings. Paths are absolute, ranges are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The configuration file; `None` if there was none.
    pub config_file: Option<PathBuf>,
    /// The folder of all data that has no folder of its own.
    pub data_dir: PathBuf,
    /// `[provider]`
    pub provider: ProviderSettings,
    /// `[inbox]`
    pub inbox: InboxSettings,
    /// `[library]`
    pub library: LibrarySettings,
    /// `[callbacks]`
    pub callbacks: CallbackSettings,
    /// `[polling]`
    pub polling: PollingSettings,
    /// `[downloads]`
    pub downloads: DownloadSettings,
    /// `[storage]`: the bucket of the library; `None`: the library is a folder.
    pub bucket: Option<BucketSettings>,
    /// `[storage]`: the server of the database; `None`: it is a file.
    pub database_server: Option<DatabaseServer>,
    /// `[media]`
    pub media: ServingSettings,
    /// `[quarantine]`
    pub quarantine: QuarantineSettings,
    /// `[budget]`
    pub budget: BudgetSettings,
    /// `[admin]`
    pub admin: AdminSettings,
    /// `[[hooks]]`
    pub hooks: Vec<Hook>,
}

impl Settings {
    /// The database file (docs/reference.md#folders), unless there is a [`Settings::database_server`].
    pub fn database_file(&self) -> PathBuf {
        self.data_dir.join("dropreel.db")
    }

    /// Where job files go once their jobs are committed: one folder per day.
    pub fn accepted_dir(&self) -> PathBuf {
        self.data_dir.join("accepted")
    }

    /// Where bad job files go, with their reasons.
    pub fn rejected_dir(&self) -> PathBuf {
        self.data_dir.join("rejected")
    }

    /// Where copies of local pictures are kept.
    pub fn pictures_dir(&self) -> PathBuf {
        self.data_dir.join("pictures")
    }

    /// Where downloads go that are not the expected media.
    pub fn quarantine_dir(&self) -> PathBuf {
        self.data_dir.join("quarantine")
    }
}

/// `[provider]`: the service that makes the videos.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderSettings {
    /// Scheme, host and perhaps a port. `https`, or `http` on loopback.
    pub base_url: Url,
    /// The API key; `None` if none is set, or the [`Purpose`] needs none.
    pub api_key: Option<Secret>,
    /// Limit of new tasks per second: above 0, at most 100.
    pub submit_per_second: f64,
    /// Limit of concurrent tasks at the provider: 1 to 10,000.
    pub max_running: u32,
    /// The same by model.
    pub max_running_per_model: BTreeMap<String, u32>,
    /// Limit of a whole call.
    pub request_timeout: Duration,
    /// Whether prices are asked for.
    pub quotes: Quotes,
    /// The key of the label whose values take turns.
    pub fair_by: Option<String>,
    /// The proxy for calls to the provider, an `http`, `https`, `socks5` or `socks5h` URL that may carry a password. `None`: the proxy of the
    /// usual environment variables.
    pub proxy: Option<Secret>,
}

/// `[inbox]`: the watched folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxSettings {
    pub dir: PathBuf,
    /// Whether the folders below it are read too.
    pub recursive: bool,
    /// Time between two scans of the folder.
    pub rescan: Duration,
    /// How long a file must be unchanged before a bad one is rejected.
    pub settle: Duration,
    /// Largest job file in bytes, 1 to 256 MiB. Line files have their own limit (docs/reference.md#job-files).
    pub max_bytes: u64,
    /// Most jobs of one file: 1 to 1,000,000.
    pub max_jobs: u32,
    /// Most jobs of one object by `repeat` and `matrix`: 1 to 1,000.
    pub max_expansion: u32,
    /// How long a job file waits for a picture that it names.
    pub picture_wait: Duration,
}

/// `[library]`: the folder of finished media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibrarySettings {
    pub dir: PathBuf,
    /// Template of a file's path; `library::layout` checks its placeholders.
    pub layout: String,
    /// Who may read finished files.
    pub mode: LibraryMode,
}

/// `library.mode`: who may read finished files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum LibraryMode {
    /// The daemon's own user.
    Private,
    /// Its group, too.
    Group,
    /// All users.
    Public,
}

/// `[callbacks]`: the public listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackSettings {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The public URL of the listener, perhaps with a path; `None`: no callbacks.
    pub public_url: Option<Url>,
    /// The file of the secret of callback URLs: the configured one, or `callback.secret` in `data_dir`.
    pub secret_file: PathBuf,
    /// Whether the body of a callback counts.
    pub trust: Trust,
    /// How callbacks are signed; `None` if they are not, or the [`Purpose`] needs no secret.
    pub signature: Option<CallbackSignature>,
}

/// `[callbacks.signature]`: the provider's signature, without which a callback is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackSignature {
    /// How it is computed.
    pub scheme: SignatureScheme,
    /// The header that holds it, in lower case.
    pub header: String,
    /// The valid secrets, at least one.
    pub secrets: Vec<Secret>,
}

/// `callbacks.signature.scheme`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum SignatureScheme {
    /// HMAC-SHA256 over `id.time.body`, in base64 (standardwebhooks.com, "Signature scheme").
    StandardWebhooks,
    /// HMAC-SHA256 over the body, in hexadecimal, `sha256=` before it or not.
    HmacSha256Hex,
}

impl SignatureScheme {
    /// The key that a configured secret encodes; `None` if its encoding is invalid.
    pub fn key(self, secret: &Secret) -> Option<Zeroizing<Vec<u8>>> {
        match (self, secret.expose().strip_prefix("whsec_")) {
            (Self::StandardWebhooks, Some(encoded)) => {
                BASE64.decode(encoded.as_bytes()).ok().filter(|key| !key.is_empty()).map(Zeroizing::new)
            }
            _ => Some(Zeroizing::new(secret.expose().as_bytes().to_vec())),
        }
    }
}

/// `provider.quotes`: whether the provider is asked for prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Quotes {
    /// Where it quotes.
    Auto,
    /// Never.
    Off,
}

/// `callbacks.trust`: whether the body of a callback counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Trust {
    /// It only triggers a status query.
    Verify,
    /// It counts if it is signed and unambiguous; otherwise it triggers a status query.
    Payload,
}

/// `[polling]`: status queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollingSettings {
    /// Wait before the first poll when callbacks are on.
    pub callback_grace: Duration,
    /// Wait before the first poll when callbacks are off; at most `max_interval`.
    pub interval: Duration,
    /// The longest wait between polls.
    pub max_interval: Duration,
    /// After this time an unfinished task is held.
    pub give_up: Duration,
}

/// `[downloads]`: fetching finished files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadSettings {
    /// Concurrent downloads: 1 to 64.
    pub concurrency: usize,
    /// Largest file in bytes, at least 1.
    pub max_bytes: u64,
    /// Whether media hosts may have private addresses.
    pub allow_private_addresses: bool,
    /// Whether links on `http:` are downloaded, if TLS does not work on the same host.
    pub plain_http: bool,
    /// If not empty, only these media hosts.
    pub hosts: Vec<MediaHost>,
    /// How long before a link expires to warn about a file that is not stored yet.
    pub alert_before_expiry: Duration,
}

/// A media host that may be downloaded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaHost {
    /// As in a URL: lower case, an IPv6 address in brackets.
    pub name: String,
    /// `None`: any port.
    pub port: Option<u16>,
}

/// `[media]`: local pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServingSettings {
    /// Whether the public listener serves them.
    pub serve: bool,
}

/// `[quarantine]`: downloads that are not the media they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineSettings {
    /// Largest size of the folder in bytes; the oldest files go first.
    pub max_bytes: u64,
}

/// `[budget]`: what may be spent.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetSettings {
    /// For the jobs submitted on one day; `None`: no limit.
    pub per_day: Option<Quota>,
    /// For the jobs submitted in one month; `None`: no limit.
    pub per_month: Option<Quota>,
    /// For all jobs with a label.
    pub per_label: BTreeMap<Label, Quota>,
    /// The share at which to warn, above 0 to 1.
    pub warn_at: f64,
    /// The operator's own prices, from the file that `budget.prices` names.
    pub prices: Vec<OperatorPrice>,
    /// Whose midnights begin days and months; `None`: the system's.
    pub zone: Option<Zone>,
}

impl BudgetSettings {
    /// The budgets, with the system's time zone where none is set.
    pub fn budgets(&self, clock: &Clock) -> Budgets {
        Budgets {
            per_day: self.per_day,
            per_month: self.per_month,
            per_label: self.per_label.clone(),
            warn_at: self.warn_at,
            zone: self.zone.clone().unwrap_or_else(|| clock.zone()),
        }
    }
}

/// `[admin]`: the page, the API, metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// The address to listen on; off loopback only with a token. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Names that the listener may be asked for by, besides its address and localhost.
    pub hosts: Vec<String>,
    pub token_file: Option<PathBuf>,
    /// The token; `None` if none is set, or the [`Purpose`] needs none.
    pub token: Option<Secret>,
    /// A token that allows reading only; `None` as with `token`.
    pub read_token: Option<Secret>,
}
