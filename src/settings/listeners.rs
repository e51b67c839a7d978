//! Reads the sections of the two listeners, and what protects them.

use std::path::{Path, PathBuf};

use crate::secret::Secret;
use crate::settings::parse::{address, header_name, host_names, optional_path, public_url};
use crate::settings::reader::{Reader, Unusable};
use crate::settings::secret_file::{read_credential, read_secret, read_secrets};
use crate::settings::{AdminSettings, CallbackSettings, CallbackSignature, Purpose, SignatureScheme, Trust};

impl Reader<'_> {
    pub(super) fn callbacks(&mut self, data_dir: &Path) -> Result<CallbackSettings, Unusable> {
        let scheme = self.optional_word("callbacks.signature.scheme")?;
        let callbacks = CallbackSettings {
            listen: self.text("callbacks.listen", address)?,
            public_url: self.text("callbacks.public_url", public_url)?,
            secret_file: self.path_or("callbacks.secret_file", data_dir, "callback.secret")?,
            trust: self.word("callbacks.trust")?,
            signature: self.signature(scheme)?,
        };
        if callbacks.trust == Trust::Payload && scheme.is_none() {
            let why = "`payload` trusts the body of a callback, which anyone who learns its URL can send: it needs \
                       signatures, `callbacks.signature.scheme`";
            self.reject_pair(["callbacks.trust", "callbacks.signature.scheme"], why);
        }
        Ok(callbacks)
    }

    fn signature(&mut self, scheme: Option<SignatureScheme>) -> Result<Option<CallbackSignature>, Unusable> {
        let (header_key, file_key) = ("callbacks.signature.header", "callbacks.signature.secret_file");
        let header = self.text(header_key, header_name)?;
        let file = self.text(file_key, optional_path)?;
        let Some(scheme) = scheme else { return Ok(None) };
        if scheme == SignatureScheme::StandardWebhooks && !header.ends_with("-signature") {
            let why =
                "must end in `-signature`: the id and the timestamp are in headers with the same prefix";
            self.reject(header_key, why);
        }
        if self.purpose != Purpose::Daemon {
            return Ok(None);
        }
        let read = match (self.credential("callback_signature"), file) {
            (Some(credential), _) => read_secrets(&credential, true),
            (None, Some(file)) => read_secrets(&file, false),
            (None, None) => {
                self.reject(file_key, "`callbacks.signature.scheme` needs it");
                return Ok(None);
            }
        };
        let Some(secrets) = self.secret(file_key, read) else { return Ok(None) };
        if secrets.iter().any(|secret| scheme.key(secret).is_none()) {
            self.reject(file_key, "a secret that begins with `whsec_` must continue in base64");
        }
        Ok(Some(CallbackSignature { scheme, header, secrets }))
    }

    pub(super) fn admin(&mut self) -> Result<AdminSettings, Unusable> {
        let listen = self.text("admin.listen", address)?;
        let hosts = self.read("admin.hosts", host_names)?;
        let (token_file, token) = self.token("admin.token_file", "admin_token")?;
        let (_, read_token) = self.token("admin.read_token_file", "admin_read_token")?;
        let has_token = token_file.is_some() || self.credential("admin_token").is_some();
        if !has_token && !listen.ip().to_canonical().is_loopback() {
            let why = format!("`{listen}` can be reached from other machines: it needs `admin.token_file`");
            self.reject("admin.listen", why);
        }
        if !has_token && read_token.is_some() {
            let why = "has no effect without `admin.token_file`: all users of this machine have full access";
            self.reject("admin.read_token_file", why);
        }
        if token.is_some() && token == read_token {
            let why = "contains the same token as `admin.token_file`, so it would allow all actions";
            self.reject("admin.read_token_file", why);
        }
        Ok(AdminSettings { listen, hosts, token_file, token, read_token })
    }

    /// The configured file, and the token in it or in the systemd credential.
    fn token(&mut self, key: &str, credential: &str) -> Result<(Option<PathBuf>, Option<Secret>), Unusable> {
        let file = self.text(key, optional_path)?;
        if self.purpose == Purpose::Offline {
            return Ok((file, None));
        }
        let read = match (self.credential(credential), &file) {
            (Some(credential), _) => read_credential(&credential),
            (None, Some(file)) => read_secret(file),
            (None, None) => return Ok((None, None)),
        };
        let token = self.secret(key, read);
        Ok((file, token))
    }
}
