//! From merged values to [`Settings`]: each is read by its meaning, and every fault is noted before any is told.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use config::Config;
use serde::Deserialize;

use crate::secret::Secret;
use crate::settings::environment::Environment;
use crate::settings::layer::API_KEY_VARIABLE;
use crate::settings::load::Purpose;
use crate::settings::private::{PrivateFileError, as_secret, read_credential, read_secret};
use crate::settings::problem::{Invalid, Origin, Problem};
use crate::settings::units::{duration, size};
use crate::settings::values::{base_url, http_url, layout, optional_path, path, per_model, within};
use crate::settings::{Downloads, Inbox, Library, LibraryMode, Polling, Provider, Settings};

/// The merged layers on their way to settings, with the faults found so far.
pub(crate) struct Reading<'a> {
    pub(crate) merged: Config,
    pub(crate) origins: BTreeMap<String, Origin>,
    pub(crate) environment: &'a Environment,
    pub(crate) purpose: Purpose,
    pub(crate) problems: Vec<Problem>,
}

impl Reading<'_> {
    /// The settings, or everything that is wrong.
    pub(crate) fn settings(mut self, config_file: Option<PathBuf>) -> Result<Settings, Invalid> {
        // Every section is read before the first that failed ends it: a person wants to see all faults.
        let data_dir = self.data_dir();
        let provider = self.provider();
        let inbox = self.inbox(data_dir.as_deref());
        let library = self.library(data_dir.as_deref());
        let callbacks = self.callbacks(data_dir.as_deref());
        let polling = self.polling();
        let downloads = self.downloads();
        let admin = self.admin();
        let hooks = self.hooks();
        let settings = (|| {
            Some(Settings {
                config_file: config_file.map(|path| std::path::absolute(&path).unwrap_or(path)),
                data_dir: data_dir?,
                provider: provider?,
                inbox: inbox?,
                library: library?,
                callbacks: callbacks?,
                polling: polling?,
                downloads: downloads?,
                admin: admin?,
                hooks: hooks?,
            })
        })();
        if let Some(settings) = &settings {
            self.folders_apart(settings);
            self.doors_apart(settings);
        }
        match settings {
            Some(settings) if self.problems.is_empty() => Ok(settings),
            _ => Err(Invalid { problems: self.problems }),
        }
    }

    fn data_dir(&mut self) -> Option<PathBuf> {
        // Read in any case: a fault in the file does not go away under systemd.
        let set = self.read("data_dir", |text: String| match text.as_str() {
            "" => Err("must name a folder".to_owned()),
            text => path(text),
        });
        let Some(given) = self.environment.get("STATE_DIRECTORY") else { return set };
        // systemd lists several folders with colons; the first is the service's own (systemd.exec(5)).
        let first = given.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
        let first = Path::new(OsStr::from_bytes(first));
        if first.is_absolute() {
            return Some(first.to_owned());
        }
        self.problems.push(Problem::BadValue {
            key: "data_dir".to_owned(),
            origin: Origin::Variable("STATE_DIRECTORY".to_owned()),
            why: "must begin with an absolute path, as systemd sets it".to_owned(),
        });
        None
    }

    fn provider(&mut self) -> Option<Provider> {
        let base_url = self.read("provider.base_url", |text: String| base_url(&text));
        let submit_per_second = self.read("provider.submit_per_second", |rate: f64| {
            if rate > 0.0 && rate <= 100.0 {
                Ok(rate)
            } else {
                Err("must be above 0 and at most 100".to_owned())
            }
        });
        let max_running = self.read("provider.max_running", |count| within(count, 1, 10_000));
        let max_running_per_model = self.read("provider.max_running_per_model", per_model);
        let request_timeout = self.duration("provider.request_timeout");
        let proxy = self.proxy();
        let api_key = self.api_key();
        Some(Provider {
            base_url: base_url?,
            api_key: api_key?,
            submit_per_second: submit_per_second?,
            max_running: max_running?,
            max_running_per_model: max_running_per_model?,
            request_timeout: request_timeout?,
            proxy: proxy?,
        })
    }

    fn proxy(&mut self) -> Option<Option<Secret>> {
        let key = "provider.proxy";
        let proxy = self.read(key, |text: String| {
            if text.is_empty() {
                return Ok(None);
            }
            let url = http_url(&text)?;
            Ok(Some((url.password().is_some(), Secret::new(text))))
        })?;
        let Some((has_password, proxy)) = proxy else { return Some(None) };
        if has_password
            && let Origin::File(file) = self.origin(key)
            && fs::metadata(&file).is_ok_and(|facts| facts.mode() & 0o007 != 0)
        {
            let why = format!(
                "holds a password, and everybody may read this file; run: chmod 640 '{}'",
                file.display()
            );
            self.bad(key, why);
            return None;
        }
        Some(Some(proxy))
    }

    fn api_key(&mut self) -> Option<Option<Secret>> {
        let key = "provider.api_key_file";
        let file = self.read(key, |text: String| optional_path(&text))?;
        if self.purpose != Purpose::Daemon {
            return Some(None);
        }
        if let Some(credential) = self.credential("api_key") {
            return self.secret("systemd credential api_key", read_credential(&credential));
        }
        if let Some(file) = file {
            return self.secret(key, read_secret(&file));
        }
        let Some(text) = self.environment.get(API_KEY_VARIABLE) else { return Some(None) };
        let secret = text.to_str().and_then(as_secret);
        if secret.is_none() {
            self.problems.push(Problem::BadValue {
                key: "provider.api_key".to_owned(),
                origin: Origin::Variable(API_KEY_VARIABLE.to_owned()),
                why: "must be the key alone: visible ASCII characters without spaces".to_owned(),
            });
        }
        secret.map(Some)
    }

    fn inbox(&mut self, data_dir: Option<&Path>) -> Option<Inbox> {
        let dir = self.folder("inbox.dir", data_dir, "inbox");
        let rescan = self.duration("inbox.rescan");
        let settle = self.duration("inbox.settle");
        let max_bytes = self.read("inbox.max_bytes", |text: String| match size(&text)? {
            bytes if bytes <= 256 << 20 => Ok(bytes),
            _ => Err("must be at most 256MiB".to_owned()),
        });
        Some(Inbox { dir: dir?, rescan: rescan?, settle: settle?, max_bytes: max_bytes? })
    }

    fn library(&mut self, data_dir: Option<&Path>) -> Option<Library> {
        let dir = self.folder("library.dir", data_dir, "videos");
        let layout = self.read("library.layout", |text: String| layout(&text));
        let mode = self.read("library.mode", |text: String| match text.as_str() {
            "private" => Ok(LibraryMode::Private),
            "group" => Ok(LibraryMode::Group),
            "public" => Ok(LibraryMode::Public),
            _ => Err(format!("`{text}` is not one of private, group, public")),
        });
        Some(Library { dir: dir?, layout: layout?, mode: mode? })
    }

    fn polling(&mut self) -> Option<Polling> {
        let callback_grace = self.duration("polling.callback_grace");
        let interval = self.duration("polling.interval");
        let max_interval = self.duration("polling.max_interval");
        let give_up = self.duration("polling.give_up");
        if let (Some(first), Some(longest)) = (interval, max_interval)
            && first > longest
        {
            let why = "`polling.interval` must not be longer than `polling.max_interval`";
            self.bad_together(["polling.interval", "polling.max_interval"], why.to_owned());
        }
        Some(Polling {
            callback_grace: callback_grace?,
            interval: interval?,
            max_interval: max_interval?,
            give_up: give_up?,
        })
    }

    fn downloads(&mut self) -> Option<Downloads> {
        let concurrency = self.read("downloads.concurrency", |count| within(count, 1, 64));
        let max_bytes = self.read("downloads.max_bytes", |text: String| size(&text));
        let allow_private_addresses = self.read("downloads.allow_private_addresses", Ok);
        let alert_before_expiry = self.duration("downloads.alert_before_expiry");
        Some(Downloads {
            concurrency: concurrency? as usize,
            max_bytes: max_bytes?,
            allow_private_addresses: allow_private_addresses?,
            alert_before_expiry: alert_before_expiry?,
        })
    }

    /// A folder that takes in job files must not be one that this program writes JSON into: sidecars and reasons
    /// would be read as jobs.
    fn folders_apart(&mut self, settings: &Settings) {
        let ours = [
            ("the library", settings.library.dir.clone()),
            ("`accepted`", settings.accepted_dir()),
            ("`rejected`", settings.rejected_dir()),
            ("`quarantine`", settings.quarantine_dir()),
        ];
        for (folder, key, others) in [
            (&settings.inbox.dir, "inbox.dir", &ours[..]),
            (&settings.library.dir, "library.dir", &ours[1..]),
        ] {
            if let Some((name, _)) = others.iter().find(|(_, other)| other == folder) {
                let why = format!("`{key}` is the same folder as {name}; it must be a folder of its own");
                self.bad_together([key, "library.dir"], why);
            }
        }
    }

    fn doors_apart(&mut self, settings: &Settings) {
        let (public, admin) = (settings.callbacks.listen, settings.admin.listen);
        let meet = public.ip() == admin.ip() || public.ip().is_unspecified() || admin.ip().is_unspecified();
        if meet && public.port() == admin.port() && public.port() != 0 {
            let why = format!(
                "`admin.listen` ({admin}) and `callbacks.listen` ({public}) meet; give them different ports"
            );
            self.bad_together(["admin.listen", "callbacks.listen"], why);
        }
    }

    pub(crate) fn read<'de, V: Deserialize<'de>, T>(
        &mut self,
        key: &str,
        meaning: impl FnOnce(V) -> Result<T, String>,
    ) -> Option<T> {
        let value = match self.merged.get(key) {
            Ok(value) => meaning(value),
            // Types were checked layer by layer, and what was faulty has its default below it.
            Err(_) => Err("is missing from the built-in defaults; please report this".to_owned()),
        };
        value.map_err(|why| self.bad(key, why)).ok()
    }

    fn duration(&mut self, key: &str) -> Option<std::time::Duration> {
        self.read(key, |text: String| duration(&text))
    }

    pub(crate) fn folder(&mut self, key: &str, data_dir: Option<&Path>, default: &str) -> Option<PathBuf> {
        let set = self.read(key, |text: String| optional_path(&text))?;
        set.or_else(|| data_dir.map(|data_dir| data_dir.join(default)))
    }

    fn secret(&mut self, key: &str, read: Result<Secret, PrivateFileError>) -> Option<Option<Secret>> {
        self.told(key, read).map(Some)
    }

    /// What was read from a file of secrets, or its fault noted under `key`.
    pub(crate) fn told<T>(&mut self, key: &str, read: Result<T, PrivateFileError>) -> Option<T> {
        let told = |source| self.problems.push(Problem::Secret { key: key.to_owned(), source });
        read.map_err(told).ok()
    }

    /// The systemd credential of that name, if this service has it (systemd.exec(5), `LoadCredential=`).
    pub(crate) fn credential(&self, name: &str) -> Option<PathBuf> {
        let credential = Path::new(self.environment.get("CREDENTIALS_DIRECTORY")?).join(name);
        // What cannot be looked at is read all the same, for the error that says why.
        (!matches!(credential.try_exists(), Ok(false))).then_some(credential)
    }

    fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Defaults)
    }

    /// A fault between two keys, told of the one that a person set: a default is nobody's mistake.
    fn bad_together(&mut self, [first, second]: [&str; 2], why: String) {
        let key = if self.origin(first) == Origin::Defaults { second } else { first };
        self.bad(key, why);
    }

    pub(crate) fn bad(&mut self, key: &str, why: String) {
        let origin = self.origin(key);
        self.problems.push(Problem::BadValue { key: key.to_owned(), origin, why });
    }
}
