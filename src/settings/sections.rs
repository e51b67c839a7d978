//! Reads the sections of the configuration.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::clock::calendar::Zone;
use crate::secret::Secret;
use crate::settings::keys::API_KEY_VARIABLE;
use crate::settings::parse::{
    base_url, fair_by, layout, limit_in_usd, media_hosts, optional_path, path, per_label, per_model,
    proxy_url, within,
};
use crate::settings::price_file;
use crate::settings::problem::{Origin, SettingsProblem};
use crate::settings::reader::{Reader, Unusable};
use crate::settings::secret_file::{parse_secret, read_credential, read_secret};
use crate::settings::units::size;
use crate::settings::{
    BudgetSettings, DownloadSettings, InboxSettings, LibrarySettings, PollingSettings, ProviderSettings,
    Purpose, QuarantineSettings, ServingSettings, Settings,
};

impl Reader<'_> {
    /// All settings. They are usable only if no problem was recorded.
    pub(super) fn settings(&mut self, config_file: Option<PathBuf>) -> Result<Settings, Unusable> {
        let data_dir = self.data_dir()?;
        let settings = Settings {
            config_file: config_file.map(|path| std::path::absolute(&path).unwrap_or(path)),
            provider: self.provider()?,
            inbox: self.inbox(&data_dir)?,
            library: self.library(&data_dir)?,
            callbacks: self.callbacks(&data_dir)?,
            polling: self.polling()?,
            downloads: self.downloads()?,
            bucket: self.bucket()?,
            database_server: self.database_server()?,
            media: ServingSettings { serve: self.read("media.serve", Ok)? },
            quarantine: self.quarantine()?,
            budget: self.budget()?,
            admin: self.admin()?,
            hooks: self.hooks()?,
            data_dir,
        };
        self.check_folders(&settings);
        self.check_serving(&settings);
        self.check_listeners(&settings);
        Ok(settings)
    }

    fn data_dir(&mut self) -> Result<PathBuf, Unusable> {
        // Read in any case: systemd does not make a bad value in the file right.
        let set = self.text("data_dir", |text| match text {
            "" => Err("must name a folder".to_owned()),
            text => path(text),
        })?;
        let Some(state_directory) = self.environment.get("STATE_DIRECTORY") else { return Ok(set) };
        // systemd separates several folders by colons; the first is the service's own (systemd.exec(5)).
        let first = state_directory.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
        let first = Path::new(OsStr::from_bytes(first));
        if first.is_absolute() {
            return Ok(first.to_owned());
        }
        self.problems.push(SettingsProblem::BadValue {
            key: "data_dir".to_owned(),
            origin: Origin::Variable("STATE_DIRECTORY".to_owned()),
            why: "must begin with an absolute path, as systemd sets it".to_owned(),
        });
        Ok(set)
    }

    fn provider(&mut self) -> Result<ProviderSettings, Unusable> {
        Ok(ProviderSettings {
            base_url: self.text("provider.base_url", base_url)?,
            submit_per_second: self.read("provider.submit_per_second", |rate: f64| {
                let is_valid = rate > 0.0 && rate <= 100.0;
                is_valid.then_some(rate).ok_or_else(|| "must be above 0 and at most 100".to_owned())
            })?,
            max_running: self.read("provider.max_running", |count| within(count, 1, 10_000))?,
            max_running_per_model: self.read("provider.max_running_per_model", per_model)?,
            request_timeout: self.duration("provider.request_timeout")?,
            quotes: self.word("provider.quotes")?,
            fair_by: self.text("provider.fair_by", fair_by)?,
            proxy: self.proxy()?,
            api_key: self.api_key()?,
        })
    }

    fn proxy(&mut self) -> Result<Option<Secret>, Unusable> {
        let key = "provider.proxy";
        let proxy = self.text(key, |text| {
            if text.is_empty() {
                return Ok(None);
            }
            let has_password = proxy_url(text)?.password().is_some();
            Ok(Some((has_password, Secret::new(text))))
        })?;
        let Some((has_password, proxy)) = proxy else { return Ok(None) };
        if has_password
            && let Origin::File(file) = self.origin(key)
            && std::fs::metadata(&file).is_ok_and(|found| found.mode() & 0o007 != 0)
        {
            let file = file.display();
            self.reject(
                key,
                format!("contains a password, but all users can read this file; run: chmod 640 '{file}'"),
            );
        }
        Ok(Some(proxy))
    }

    fn api_key(&mut self) -> Result<Option<Secret>, Unusable> {
        let key = "provider.api_key_file";
        let file = self.text(key, optional_path)?;
        if self.purpose != Purpose::Daemon {
            return Ok(None);
        }
        if let Some(credential) = self.credential("api_key") {
            return Ok(self.secret("systemd credential api_key", read_credential(&credential)));
        }
        if let Some(file) = file {
            return Ok(self.secret(key, read_secret(&file)));
        }
        let Some(text) = self.environment.get(API_KEY_VARIABLE) else { return Ok(None) };
        let secret = text.to_str().and_then(parse_secret);
        if secret.is_none() {
            self.problems.push(SettingsProblem::BadValue {
                key: "provider.api_key".to_owned(),
                origin: Origin::Variable(API_KEY_VARIABLE.to_owned()),
                why: "must be the key alone: visible ASCII characters without spaces".to_owned(),
            });
        }
        Ok(secret)
    }

    fn inbox(&mut self, data_dir: &Path) -> Result<InboxSettings, Unusable> {
        Ok(InboxSettings {
            dir: self.path_or("inbox.dir", data_dir, "inbox")?,
            recursive: self.read("inbox.recursive", Ok)?,
            rescan: self.duration("inbox.rescan")?,
            settle: self.duration("inbox.settle")?,
            max_bytes: self.text("inbox.max_bytes", |text| match size(text)? {
                bytes if bytes <= 256 << 20 => Ok(bytes),
                _ => Err("must be at most 256MiB".to_owned()),
            })?,
            max_jobs: self.read("inbox.max_jobs", |count| within(count, 1, 1_000_000))?,
            max_expansion: self.read("inbox.max_expansion", |count| within(count, 1, 1_000))?,
            picture_wait: self.duration("inbox.picture_wait")?,
        })
    }

    fn library(&mut self, data_dir: &Path) -> Result<LibrarySettings, Unusable> {
        Ok(LibrarySettings {
            dir: self.path_or("library.dir", data_dir, "videos")?,
            layout: self.text("library.layout", layout)?,
            mode: self.word("library.mode")?,
        })
    }

    fn polling(&mut self) -> Result<PollingSettings, Unusable> {
        let polling = PollingSettings {
            callback_grace: self.duration("polling.callback_grace")?,
            interval: self.duration("polling.interval")?,
            max_interval: self.duration("polling.max_interval")?,
            give_up: self.duration("polling.give_up")?,
        };
        if polling.interval > polling.max_interval {
            let why = "`polling.interval` must not be longer than `polling.max_interval`";
            self.reject_pair(["polling.interval", "polling.max_interval"], why);
        }
        Ok(polling)
    }

    fn downloads(&mut self) -> Result<DownloadSettings, Unusable> {
        Ok(DownloadSettings {
            concurrency: self.read("downloads.concurrency", |count| within(count, 1, 64))? as usize,
            max_bytes: self.text("downloads.max_bytes", size)?,
            allow_private_addresses: self.read("downloads.allow_private_addresses", Ok)?,
            plain_http: self.read("downloads.plain_http", Ok)?,
            hosts: self.read("downloads.hosts", media_hosts)?,
            alert_before_expiry: self.duration("downloads.alert_before_expiry")?,
        })
    }

    fn budget(&mut self) -> Result<BudgetSettings, Unusable> {
        Ok(BudgetSettings {
            per_day: self.read("budget.per_day_usd", limit_in_usd)?,
            per_month: self.read("budget.per_month_usd", limit_in_usd)?,
            per_label: self.read("budget.per_label", per_label)?,
            warn_at: self.read("budget.warn_at", |share: f64| {
                let is_valid = share > 0.0 && share <= 1.0;
                is_valid.then_some(share).ok_or_else(|| "must be above 0 and at most 1".to_owned())
            })?,
            prices: self.text("budget.prices", |path| match optional_path(path)? {
                Some(path) => price_file::read(&path),
                None => Ok(Vec::new()),
            })?,
            zone: self.text("budget.time_zone", |name| match name {
                "" => Ok(None),
                name => Zone::named(name).map(Some).ok_or_else(|| {
                    format!("`{name}` is no time zone that this machine knows, such as Asia/Shanghai")
                }),
            })?,
        })
    }

    fn quarantine(&mut self) -> Result<QuarantineSettings, Unusable> {
        Ok(QuarantineSettings { max_bytes: self.text("quarantine.max_bytes", size)? })
    }

    /// No folder may feed the inbox: dropreel would read its own sidecars, reasons and accepted files as job files. The
    /// inbox may lie in the library, where `library.layout` and each publication keep out of it.
    fn check_folders(&mut self, settings: &Settings) {
        let written = [
            ("the library", settings.library.dir.clone()),
            ("`accepted`", settings.accepted_dir()),
            ("`rejected`", settings.rejected_dir()),
            ("`quarantine`", settings.quarantine_dir()),
            ("`pictures`", settings.pictures_dir()),
        ];
        for (key, folder, others) in [
            ("inbox.dir", &settings.inbox.dir, &written[..]),
            ("library.dir", &settings.library.dir, &written[1..]),
        ] {
            let folder = resolved(folder);
            let conflict = others.iter().enumerate().find_map(|(number, (name, other))| {
                let other = resolved(other);
                let may_contain = key == "inbox.dir" && number == 0;
                match (folder == other, folder.starts_with(&other), other.starts_with(&folder)) {
                    (true, ..) => Some(format!("is the same folder as {name}")),
                    (_, true, _) if !may_contain => Some(format!("is inside {name}")),
                    (_, _, true) if key == "inbox.dir" => Some(format!("contains {name}")),
                    _ => None,
                }
            });
            if let Some(conflict) = conflict {
                let why = format!("`{key}` {conflict}; it must be a folder of its own");
                self.reject_pair([key, "library.dir"], why);
            }
        }
    }

    fn check_serving(&mut self, settings: &Settings) {
        if settings.media.serve && settings.callbacks.public_url.is_none() {
            let why =
                "`media.serve` needs `callbacks.public_url`: the provider fetches the pictures from there";
            self.reject_pair(["media.serve", "callbacks.public_url"], why);
        }
    }

    fn check_listeners(&mut self, settings: &Settings) {
        let (public, admin) = (settings.callbacks.listen, settings.admin.listen);
        let overlap =
            public.ip() == admin.ip() || public.ip().is_unspecified() || admin.ip().is_unspecified();
        if overlap && public.port() == admin.port() && public.port() != 0 {
            let why = format!(
                "`admin.listen` ({admin}) and `callbacks.listen` ({public}) overlap; give them different ports"
            );
            self.reject_pair(["admin.listen", "callbacks.listen"], why);
        }
    }
}

/// The path without links and dots, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    for ancestor in path.ancestors() {
        if let Ok(mut found) = ancestor.canonicalize() {
            found.extend(missing.iter().rev());
            return found;
        }
        missing.extend(ancestor.file_name());
    }
    path.to_owned()
}
