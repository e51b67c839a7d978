//! The sections of the two doors: who is let in, and by what.

use std::path::{Path, PathBuf};

use crate::secret::Secret;
use crate::settings::check::Reading;
use crate::settings::load::Purpose;
use crate::settings::private::{read_credential, read_secret, read_secrets};
use crate::settings::values::{address, header_name, optional_path, public_url};
use crate::settings::{Admin, CallbackSignature, Callbacks, SignatureScheme, Trust};

impl Reading<'_> {
    pub(crate) fn callbacks(&mut self, data_dir: Option<&Path>) -> Option<Callbacks> {
        let listen = self.read("callbacks.listen", |text: String| address(&text));
        let public_url = self.read("callbacks.public_url", |text: String| public_url(&text));
        let secret_file = self.folder("callbacks.secret_file", data_dir, "callback.secret");
        let trust = self.read("callbacks.trust", |text: String| match text.as_str() {
            "verify" => Ok(Trust::Verify),
            "payload" => Ok(Trust::Payload),
            _ => Err(format!("`{text}` is not one of verify, payload")),
        });
        let signature = self.signature();
        if let (Some(Trust::Payload), Some(None)) = (trust, &signature) {
            let why = "`payload` believes what a callback says, and whoever learns its address can say anything: \
                       that needs signatures, `callbacks.signature.scheme`";
            self.bad("callbacks.trust", why.to_owned());
        }
        Some(Callbacks {
            listen: listen?,
            public_url: public_url?,
            secret_file: secret_file?,
            trust: trust?,
            signature: signature?,
        })
    }

    fn signature(&mut self) -> Option<Option<CallbackSignature>> {
        let key = "callbacks.signature.secret_file";
        let scheme = self.read("callbacks.signature.scheme", |text: String| match text.as_str() {
            "" => Ok(None),
            "standard-webhooks" => Ok(Some(SignatureScheme::StandardWebhooks)),
            "hmac-sha256-hex" => Ok(Some(SignatureScheme::HmacSha256Hex)),
            _ => Err(format!("`{text}` is not one of standard-webhooks, hmac-sha256-hex, or empty")),
        });
        let header = self.read("callbacks.signature.header", |text: String| header_name(&text));
        let file = self.read(key, |text: String| optional_path(&text));
        let (scheme, header, file) = (scheme?, header?, file?);
        let Some(scheme) = scheme else { return Some(None) };
        if scheme == SignatureScheme::StandardWebhooks && !header.ends_with("-signature") {
            let why =
                "must end in `-signature`, for the id and the time stand in headers of the same beginning";
            self.bad("callbacks.signature.header", why.to_owned());
            return None;
        }
        if self.purpose != Purpose::Daemon {
            return Some(None);
        }
        let read = match (self.credential("callback_signature"), file) {
            (Some(credential), _) => read_secrets(&credential, true),
            (None, Some(file)) => read_secrets(&file, false),
            (None, None) => {
                self.bad(key, "`callbacks.signature.scheme` needs it".to_owned());
                return None;
            }
        };
        let secrets = self.told(key, read)?;
        for secret in &secrets {
            if scheme.key(secret).is_none() {
                let why = "a secret that begins with `whsec_` must go on in base64".to_owned();
                self.bad(key, why);
                return None;
            }
        }
        Some(Some(CallbackSignature { scheme, header, secrets }))
    }

    pub(crate) fn admin(&mut self) -> Option<Admin> {
        let listen = self.read("admin.listen", |text: String| address(&text));
        let (token_file, token) = self.token("admin.token_file", "admin_token")?;
        let (_, read_token) = self.token("admin.read_token_file", "admin_read_token")?;
        let exposed = listen.is_some_and(|listen| !listen.ip().to_canonical().is_loopback());
        let has_token = token_file.is_some() || self.credential("admin_token").is_some();
        if let (Some(listen), true, false) = (listen, exposed, has_token) {
            let why = format!("`{listen}` can be reached from other machines: that needs `admin.token_file`");
            self.bad("admin.listen", why);
        }
        if !has_token && read_token.is_some() {
            let why = "without `admin.token_file` everybody here may order, and so look".to_owned();
            self.bad("admin.read_token_file", why);
        }
        if token.is_some() && token == read_token {
            let why = "holds the same token as `admin.token_file`: who may look could order".to_owned();
            self.bad("admin.read_token_file", why);
        }
        Some(Admin { listen: listen?, token_file, token, read_token })
    }

    /// The file that is set, and the token that is in it or in the systemd credential.
    fn token(&mut self, key: &str, credential: &str) -> Option<(Option<PathBuf>, Option<Secret>)> {
        let file = self.read(key, |text: String| optional_path(&text))?;
        if self.purpose == Purpose::Offline {
            return Some((file, None));
        }
        let read = match (self.credential(credential), &file) {
            (Some(credential), _) => read_credential(&credential),
            (None, Some(file)) => read_secret(file),
            (None, None) => return Some((None, None)),
        };
        let token = self.told(key, read)?;
        Some((file, Some(token)))
    }
}
