//! The configuration as users meet it: real files, the real environment, complete error messages.
#![allow(clippy::expect_used, reason = "a failing helper fails the test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dropreel::settings::{
    DEFAULT_CONFIG, Environment, LibraryMode, Purpose, Settings, Trust, keys_and_defaults, load, variable_of,
};

/// Every key with its default and another valid value, as documented (docs/reference.md#configuration).
const TABLE: [(&str, &str, &str); 58] = [
    ("admin.hosts", "[]", r#"["reel.example.com", "dropreel"]"#),
    ("admin.listen", r#""127.0.0.1:8788""#, "127.0.0.1:9788"),
    ("admin.read_token_file", r#""""#, "FOLDER/key"),
    ("admin.token_file", r#""""#, "FOLDER/token"),
    ("budget.per_day_usd", "0.0", "5"),
    ("budget.per_label", "{}", r#"{ "project=spring" = 50.0 }"#),
    ("budget.per_month_usd", "0.0", "100.5"),
    ("budget.prices", r#""""#, "FOLDER/prices.toml"),
    ("budget.time_zone", r#""""#, "Asia/Shanghai"),
    ("budget.warn_at", "0.8", "0.5"),
    ("callbacks.listen", r#""127.0.0.1:8787""#, "0.0.0.0:9787"),
    ("callbacks.public_url", r#""""#, "https://hooks.example.com/reel"),
    ("callbacks.secret_file", r#""""#, "FOLDER/callback"),
    ("callbacks.signature.header", r#""webhook-signature""#, "svix-signature"),
    ("callbacks.signature.scheme", r#""""#, "hmac-sha256-hex"),
    ("callbacks.signature.secret_file", r#""""#, "FOLDER/key"),
    ("callbacks.trust", r#""verify""#, "payload"),
    ("data_dir", r#""dropreel-data""#, "FOLDER/data"),
    ("downloads.alert_before_expiry", r#""4h""#, "2h"),
    ("downloads.allow_private_addresses", "false", "true"),
    ("downloads.concurrency", "4", "8"),
    ("downloads.hosts", "[]", r#"["cdn.example", "10.0.0.7:9000"]"#),
    ("downloads.max_bytes", r#""4GiB""#, "1GiB"),
    ("downloads.plain_http", "true", "false"),
    ("hooks", "[]", r#"[{ on = ["held"], run = ["/bin/true"] }]"#),
    ("inbox.dir", r#""""#, "FOLDER/drop"),
    ("inbox.max_bytes", r#""1MiB""#, "2MiB"),
    ("inbox.max_expansion", "50", "500"),
    ("inbox.max_jobs", "100000", "5000"),
    ("inbox.picture_wait", r#""60s""#, "5m"),
    ("inbox.recursive", "true", "false"),
    ("inbox.rescan", r#""10s""#, "20s"),
    ("inbox.settle", r#""2s""#, "500ms"),
    ("library.dir", r#""""#, "FOLDER/clips"),
    ("library.layout", r#""{date}/{name}.{ext}""#, "{label.project}/{id}.{ext}"),
    ("library.mode", r#""private""#, "group"),
    ("media.serve", "false", "true"),
    ("polling.callback_grace", r#""2m""#, "3m"),
    ("polling.give_up", r#""24h""#, "2d"),
    ("polling.interval", r#""5s""#, "6s"),
    ("polling.max_interval", r#""60s""#, "2m"),
    ("provider.api_key_file", r#""""#, "FOLDER/key"),
    ("provider.base_url", r#""https://qingbo.dev""#, "https://api.qingbo.ai"),
    ("provider.fair_by", r#""""#, "label.project"),
    ("provider.max_running", "20", "30"),
    ("provider.max_running_per_model", "{}", r#"{ "wan2.5-t2v" = 2, "Other" = 3 }"#),
    ("provider.proxy", r#""""#, "http://proxy.example:3128"),
    ("provider.quotes", r#""auto""#, "off"),
    ("provider.request_timeout", r#""30s""#, "45s"),
    ("provider.submit_per_second", "2.0", "3"),
    ("quarantine.max_bytes", r#""1GiB""#, "2GiB"),
    ("storage.access_key_id", r#""""#, "GK0123"),
    ("storage.database", r#""""#, "postgres://me@127.0.0.1/reels"),
    ("storage.database_password_file", r#""""#, "FOLDER/key"),
    ("storage.endpoint", r#""""#, "http://127.0.0.1:9000"),
    ("storage.library", r#""""#, "s3://reels/spring"),
    ("storage.region", r#""us-east-1""#, "auto"),
    ("storage.secret_key_file", r#""""#, "FOLDER/key"),
];

/// Variables that must be set for a key to have an effect.
const REQUIRED: [(&str, &[(&str, &str)]); 11] = [
    ("storage.database_password_file", &[("DROPREEL_STORAGE__DATABASE", "postgres://me@db/reels")]),
    (
        "storage.access_key_id",
        &[("DROPREEL_STORAGE__LIBRARY", "s3://reels"), ("AWS_SECRET_ACCESS_KEY", "secret")],
    ),
    ("storage.endpoint", &[("DROPREEL_STORAGE__LIBRARY", "s3://reels")]),
    ("storage.region", &[("DROPREEL_STORAGE__LIBRARY", "s3://reels")]),
    ("storage.secret_key_file", &[("DROPREEL_STORAGE__LIBRARY", "s3://reels"), ("AWS_ACCESS_KEY_ID", "id")]),
    ("media.serve", &[("DROPREEL_CALLBACKS__PUBLIC_URL", "https://reel.example.com")]),
    ("admin.read_token_file", &[("DROPREEL_ADMIN__TOKEN_FILE", "FOLDER/token")]),
    (
        "callbacks.signature.header",
        &[
            ("DROPREEL_CALLBACKS__SIGNATURE__SCHEME", "standard-webhooks"),
            ("DROPREEL_CALLBACKS__SIGNATURE__SECRET_FILE", "FOLDER/key"),
        ],
    ),
    ("callbacks.signature.scheme", &[("DROPREEL_CALLBACKS__SIGNATURE__SECRET_FILE", "FOLDER/key")]),
    ("callbacks.signature.secret_file", &[]),
    (
        "callbacks.trust",
        &[
            ("DROPREEL_CALLBACKS__SIGNATURE__SCHEME", "standard-webhooks"),
            ("DROPREEL_CALLBACKS__SIGNATURE__SECRET_FILE", "FOLDER/key"),
        ],
    ),
];

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { folder: tempfile::tempdir().expect("a folder") };
        fixture.private("key", "sk-from-file\n");
        fixture.private("token", "admin-token\n");
        fixture.private("prices.toml", "[[price]]\nmodel = \"wan2.5-t2v\"\nusd_per_second = 0.05\n");
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn private(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
        path
    }

    /// `text` as the configuration file, `FOLDER` replaced by the fixture's own.
    fn config(&self, text: &str) -> PathBuf {
        self.private("config.toml", &self.here(text))
    }

    fn here(&self, text: &str) -> String {
        text.replace("FOLDER", &self.folder.path().display().to_string())
    }

    fn environment(&self, variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| (*name, self.here(value))).collect()
    }

    fn load(&self, text: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
        load(Some(&self.config(text)), &self.environment(variables), Purpose::Daemon)
            .map_err(|invalid| invalid.to_string())
    }

    fn api_key(&self, text: &str, variables: &[(&str, &str)]) -> Option<String> {
        let settings = self.load(text, variables).expect("settings");
        settings.provider.api_key.map(|key| key.expose().to_owned())
    }

    fn error(&self, text: &str, variables: &[(&str, &str)]) -> String {
        self.load(text, variables).expect_err("a problem")
    }
}

#[test]
fn built_in_file_has_the_documented_keys_and_defaults() {
    let documented: Vec<_> =
        TABLE.iter().map(|(key, default, _)| (key.to_string(), default.to_string())).collect();
    assert_eq!(keys_and_defaults().expect("the built-in file"), documented);
}

#[test]
fn defaults_are_the_documented_values() {
    let settings = Fixture::new().load("", &[("STATE_DIRECTORY", "/srv/reel")]).expect("the defaults");
    let (second, minute, hour) = (Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(3600));
    assert_eq!(settings.data_dir, Path::new("/srv/reel"));
    let provider = settings.provider;
    assert_eq!(provider.base_url.as_str(), "https://qingbo.dev/");
    assert_eq!((provider.api_key, provider.proxy), (None, None));
    assert_eq!((provider.submit_per_second, provider.max_running), (2.0, 20));
    assert_eq!((provider.max_running_per_model.len(), provider.request_timeout), (0, 30 * second));
    let inbox = settings.inbox;
    assert_eq!(inbox.dir, Path::new("/srv/reel/inbox"));
    assert_eq!((inbox.rescan, inbox.settle, inbox.max_bytes), (10 * second, 2 * second, 1 << 20));
    assert_eq!(settings.library.dir, Path::new("/srv/reel/videos"));
    assert_eq!(settings.library.layout, "{date}/{name}.{ext}");
    assert_eq!((settings.library.mode, settings.callbacks.trust), (LibraryMode::Private, Trust::Verify));
    assert_eq!(settings.callbacks.listen.to_string(), "127.0.0.1:8787");
    assert_eq!(settings.callbacks.public_url, None);
    assert_eq!(settings.callbacks.secret_file, Path::new("/srv/reel/callback.secret"));
    let polling = settings.polling;
    assert_eq!((polling.callback_grace, polling.interval), (2 * minute, 5 * second));
    assert_eq!((polling.max_interval, polling.give_up), (minute, 24 * hour));
    let downloads = settings.downloads;
    assert_eq!((downloads.concurrency, downloads.max_bytes), (4, 4 << 30));
    assert_eq!((downloads.allow_private_addresses, downloads.alert_before_expiry), (false, 4 * hour));
    assert_eq!((downloads.plain_http, downloads.hosts.len()), (true, 0));
    assert_eq!(settings.quarantine.max_bytes, 1 << 30);
    assert_eq!(settings.admin.listen.to_string(), "127.0.0.1:8788");
    assert_eq!((settings.admin.token_file, settings.admin.token), (None, None));
}

#[test]
fn file_written_by_init_changes_nothing() {
    let fixture = Fixture::new();
    assert_eq!(fixture.load(DEFAULT_CONFIG, &[]), fixture.load("", &[]));
}

#[test]
fn each_key_can_be_set_in_the_file_and_by_a_variable() {
    let fixture = Fixture::new();
    for (key, default, other) in TABLE {
        let (section, name) = key
            .split_once('.')
            .map_or((String::new(), key), |(section, name)| (format!("[{section}]\n"), name));
        let bare = !default.starts_with('"');
        let line = |value: &str| {
            if bare { format!("{section}{name} = {value}") } else { format!("{section}{name} = {value:?}") }
        };

        let required =
            REQUIRED.iter().find(|(named, _)| *named == key).map_or(&[][..], |(_, required)| required);
        let defaults = fixture.load("", required).unwrap_or_else(|error| panic!("{key}: {error}"));
        let in_file = fixture.load(&line(other), required).unwrap_or_else(|error| panic!("{key}: {error}"));
        let variable = variable_of(key);
        let in_environment = fixture
            .load("", &[required, &[(&variable, other)]].concat())
            .unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(in_file, in_environment, "{key}");
        // The secret file has no effect without a scheme.
        assert_eq!(in_file == defaults, key == "callbacks.signature.secret_file", "{key} has an effect");

        let default = default.trim_matches('"');
        let overridden = fixture.load(&line(other), &[required, &[(&variable, default)]].concat());
        // An empty variable is a value, too: it brings back the default.
        assert_eq!(overridden.as_ref(), Ok(&defaults), "{key}");
    }
}

#[test]
fn unknown_key_is_reported_with_file_and_nearest_key() {
    let fixture = Fixture::new();
    let cases = [
        (
            "[provider]\nbase-url = \"https://canary.example\"",
            "unknown key `provider.base-url`",
            "`provider.base_url`",
        ),
        ("[inbox]\nmax_expanse = 50", "unknown key `inbox.max_expanse`", "`inbox.max_expansion`"),
        ("[budget]\nper_day = 1.0", "unknown key `budget.per_day`", "`budget.per_day_usd`"),
        (
            "[callbacks.signature]\nheadr = \"canary\"",
            "unknown key `callbacks.signature.headr`",
            "`callbacks.signature.header`",
        ),
        (
            "[callbacks.signatur]\nheader = \"canary\"",
            "unknown key `callbacks.signatur`",
            "nearest valid key",
        ),
        ("[videos]\nserve = true", "unknown key `videos`", "nearest valid key"),
    ];
    for (text, unknown, nearest) in cases {
        let error = fixture.error(text, &[]);
        assert!(error.contains(unknown) && error.contains(nearest), "{error}");
        assert!(error.contains(&fixture.here("FOLDER/config.toml")) && !error.contains("canary"), "{error}");
    }
    for (variable, nearest) in [
        ("DROPREEL_PROVIDER__BASEURL", "DROPREEL_PROVIDER__BASE_URL"),
        ("DROPREEL_API_KEY", "DROPREEL_PROVIDER__API_KEY"),
        ("DROPREEL_inbox__dir", "DROPREEL_INBOX__DIR"),
    ] {
        let error = fixture.error("", &[(variable, "canary")]);
        assert!(error.contains(&format!("environment variable {variable}")), "{error}");
        assert!(error.contains(&format!("is {nearest}")) && !error.contains("canary"), "{error}");
    }
}

#[test]
fn wrong_type_is_reported_with_key_and_origin() {
    let fixture = Fixture::new();
    let cases = [
        ("data_dir = 7", "`data_dir` must be text in quotes, not a whole number"),
        (
            "[provider]\nmax_running = \"20\"",
            "`provider.max_running` must be a whole number, not text in quotes",
        ),
        ("[provider]\nmax_running = 2.5", "`provider.max_running` must be a whole number, not a number"),
        ("[provider]\nmax_running_per_model = 2", "`provider.max_running_per_model` must be a table"),
        ("[downloads]\nallow_private_addresses = \"yes\"", "must be true or false, not text in quotes"),
        ("[polling]\ninterval = 5", "`polling.interval` must be text in quotes, not a whole number"),
        ("inbox = \"here\"", "`inbox` must be a section"),
    ];
    for (text, expected) in cases {
        let error = fixture.error(text, &[]);
        assert!(error.contains(expected) && error.contains(&fixture.here("FOLDER/config.toml")), "{error}");
    }
    let error = fixture.error("", &[("DROPREEL_PROVIDER__MAX_RUNNING", "many")]);
    assert!(
        error.contains(
            "variable DROPREEL_PROVIDER__MAX_RUNNING: `provider.max_running` must be a whole number"
        ),
        "{error}"
    );
}

#[test]
fn bad_secret_is_reported_without_its_text() {
    let fixture = Fixture::new();
    let scheme = ("DROPREEL_CALLBACKS__SIGNATURE__SCHEME", "standard-webhooks");
    let file = ("DROPREEL_CALLBACKS__SIGNATURE__SECRET_FILE", "FOLDER/signature");
    let token = ("DROPREEL_ADMIN__TOKEN_FILE", "FOLDER/token");
    fixture.private("signature", "whsec_canary!\n");
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[scheme], "`callbacks.signature.scheme` needs it"),
        (&[scheme, file], "must continue in base64"),
        (&[scheme, ("DROPREEL_CALLBACKS__SIGNATURE__SECRET_FILE", "FOLDER/nowhere")], "nowhere"),
        (&[scheme, file, ("DROPREEL_CALLBACKS__SIGNATURE__HEADER", "x-made-by")], "must end in `-signature`"),
        (&[token, ("DROPREEL_ADMIN__READ_TOKEN_FILE", "FOLDER/token")], "the same token"),
    ];
    for (variables, expected) in cases {
        let error = fixture.error("", variables);
        assert!(error.contains(expected) && !error.contains("canary"), "{error}");
    }
    // A credential may hold several secrets, for a rotation; its mode is not checked.
    fs::create_dir_all(fixture.path("credentials")).expect("made");
    fs::write(fixture.path("credentials/callback_signature"), "whsec_AAAA\nanother\n").expect("written");
    let settings =
        fixture.load("", &[scheme, ("CREDENTIALS_DIRECTORY", "FOLDER/credentials")]).expect("settings");
    assert_eq!(settings.callbacks.signature.map(|signature| signature.secrets.len()), Some(2));
}

#[test]
fn value_out_of_range_is_reported_with_the_range() {
    let fixture = Fixture::new();
    let cases = [
        ("data_dir", "", "must name a folder"),
        ("provider.submit_per_second", "0", "above 0 and at most 100"),
        ("provider.submit_per_second", "101", "above 0 and at most 100"),
        ("provider.submit_per_second", "nan", "above 0 and at most 100"),
        ("provider.max_running", "0", "1 to 10000"),
        ("provider.max_running", "-1", "1 to 10000"),
        ("provider.max_running_per_model", "{ \"wan2.5-t2v\" = 0 }", "`wan2.5-t2v` is 0; must be 1 to 10000"),
        ("provider.max_running_per_model", "{ a = \"2\" }", "whole number"),
        ("provider.request_timeout", "0s", "must be above zero"),
        ("provider.base_url", "http://qingbo.dev", "https://"),
        ("provider.proxy", "socks4://me:canary@proxy", "socks5://"),
        ("inbox.max_bytes", "257MiB", "at most 256MiB"),
        ("inbox.max_jobs", "0", "1 to 1000000"),
        ("inbox.max_expansion", "1001", "1 to 1000"),
        ("library.mode", "everybody", "private, group, public"),
        ("library.layout", "../{name}", "inside the library"),
        ("callbacks.trust", "payload", "needs signatures, `callbacks.signature.scheme`"),
        ("callbacks.trust", "blindly", "verify, payload"),
        ("callbacks.signature.scheme", "ed25519", "standard-webhooks, hmac-sha256-hex"),
        ("callbacks.signature.header", "a b", "name of an HTTP header"),
        ("admin.read_token_file", "FOLDER/token", "has no effect without `admin.token_file`"),
        ("callbacks.public_url", "hooks.example.com", "URL"),
        ("polling.interval", "61s", "longer than `polling.max_interval`"),
        ("polling.max_interval", "4s", "`polling.interval` must not be longer"),
        ("polling.interval", "5 s", "without a space"),
        ("downloads.concurrency", "65", "1 to 64"),
        ("downloads.hosts", r#"["https://cdn.example"]"#, "is not a host"),
        ("hooks", "[{ run = [\"x\"] }]", "hook 1: missing"),
        ("hooks", "[{ on = [\"held\"], run = \"https://canary.example\" }]", "hook 1: invalid type"),
        ("hooks", "[{ on = [], run = [\"x\"] }]", "`on` is empty; valid events: succeeded, failed, held"),
        ("hooks", "[{ on = [\"succeded\"], run = [\"x\"] }]", "did you mean `succeeded`?"),
        ("hooks", "[{ on = [\"held\"] }]", "needs `run = "),
        ("hooks", "[{ on = [\"held\"], run = [\"x\"], url = \"https://canary.example\" }]", "and not both"),
        ("hooks", "[{ on = [\"held\"], url = \"ftp://canary.example\" }]", "https:// or http://"),
        ("hooks", "[{ on = [\"held\"], run = [\"x\"], timeout = \"2h\" }]", "at most 1h"),
        ("hooks", "[{ on = [\"held\"], run = [\"x\"], retry = 3 }]", "unknown field `retry`"),
        ("hooks", "[{ on = [\"held\"], run = [\"x\"], at_once = 0 }]", "`at_once` must be from 1 to 64"),
        ("hooks", "[{ on = [\"held\"], run = [\"x\"], body = \"{text}\" }]", "`body` is for a `url`"),
        (
            "hooks",
            r#"[{ on = ["held"], url = "https://canary.example", body = '{"canary": "{nmae}"}' }]"#,
            "did you mean `{name}`?",
        ),
        (
            "hooks",
            r#"[{ on = ["held"], url = "https://canary.example", body = '{"canary": "{name}"' }]"#,
            "begins like JSON, but is not",
        ),
        (
            "hooks",
            "[{ on = [\"held\"], url = \"https://canary.example\", secret_file = \"FOLDER/none\" }]",
            "`secret_file`",
        ),
        (
            "hooks",
            "[{ on = [\"held\"], run = [\"x\"] }, { on = [\"failed\"], run = [\"x\"] }]",
            "the same `run` or `url`",
        ),
        ("admin.hosts", "[\"https://reel.example\"]", "name of a host alone"),
        ("admin.listen", "localhost:8788", "127.0.0.1:8787"),
        ("admin.listen", "0.0.0.0:8788", "needs `admin.token_file`"),
        ("admin.listen", "127.0.0.1:8787", "overlap; give them different ports"),
        ("callbacks.listen", "0.0.0.0:8788", "overlap; give them different ports"),
        ("inbox.dir", "/reel/videos", "same folder as the library"),
        ("library.dir", "/reel/accepted", "same folder as `accepted`"),
        ("library.dir", "/reel/quarantine/deep", "is inside `quarantine`"),
        ("inbox.dir", "/reel/accepted/2026-11-28", "is inside `accepted`"),
        ("inbox.dir", "/reel/rejected/../rejected/in", "is inside `rejected`"),
        ("inbox.dir", "/reel", "contains the library"),
    ];
    for (key, value, expected) in cases {
        let variable = variable_of(key);
        let mut variables = vec![(variable.as_str(), value)];
        if key != "data_dir" {
            variables.push(("DROPREEL_DATA_DIR", "/reel"));
        }
        let error = fixture.error("", &variables);
        assert!(
            error.contains(expected) && error.contains(&format!("variable {variable}: `{key}`")),
            "{key}: {error}"
        );
        assert!(!error.contains("canary"), "{error}");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let fixture = Fixture::new();
    let error = fixture.error(
        "[provider]\nbase_ur = 1\nmax_running = \"x\"\napi_key_file = \"FOLDER/none\"\n[polling]\ninterval = \"9\"",
        &[("DROPREEL_ADMIN__LISTEN", "here"), ("DROPREEL_NONSENSE", "1")],
    );
    assert!(error.starts_with("invalid configuration, 6 problems:"), "{error}");
}

#[test]
fn one_mistake_is_reported_once() {
    let fixture = Fixture::new();
    let cases: [&[(&str, &str)]; 4] = [
        &[("DROPREEL_ADMIN__LISTEN", "0.0.0.0:8788"), ("DROPREEL_ADMIN__TOKEN_FILE", "FOLDER/none")],
        &[
            ("DROPREEL_CALLBACKS__TRUST", "payload"),
            ("DROPREEL_CALLBACKS__SIGNATURE__SCHEME", "standard-webhooks"),
            ("DROPREEL_CALLBACKS__SIGNATURE__SECRET_FILE", "FOLDER/none"),
        ],
        &[("DROPREEL_CALLBACKS__TRUST", "payload"), ("DROPREEL_CALLBACKS__SIGNATURE__SCHEME", "ed25519")],
        &[("DROPREEL_POLLING__INTERVAL", "soon"), ("DROPREEL_POLLING__MAX_INTERVAL", "1s")],
    ];
    for variables in cases {
        let error = fixture.error("", variables);
        assert!(error.starts_with("invalid configuration: "), "{variables:?}: {error}");
    }
}

#[test]
fn client_loads_signed_payload_callbacks_without_their_secret() {
    let fixture = Fixture::new();
    let file = fixture.config(
        "[callbacks]\ntrust = \"payload\"\n[callbacks.signature]\nscheme = \"hmac-sha256-hex\"\nsecret_file = \"/nonexistent/secret\"",
    );
    let settings = load(Some(&file), &Environment::default(), Purpose::Client).expect("settings");
    assert_eq!(settings.callbacks.trust, Trust::Payload);
}

#[test]
fn syntax_error_is_reported_with_its_line_but_not_its_text() {
    let error = Fixture::new().error("data_dir = \"x\"\napi_key = sk-canary\n", &[]);
    assert!(error.contains("config.toml: not valid TOML") && error.contains("line 2"), "{error}");
    assert!(!error.contains("canary"), "{error}");
}

#[test]
fn api_key_comes_from_credential_then_file_then_variable() {
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.path("credentials")).expect("made");
    let in_environment = ("DROPREEL_PROVIDER__API_KEY", "sk-from-environment\n");
    let credentials = ("CREDENTIALS_DIRECTORY", "FOLDER/credentials");
    let with_file = "[provider]\napi_key_file = \"FOLDER/key\"";

    assert_eq!(fixture.api_key("", &[]), None);
    assert_eq!(fixture.api_key("", &[credentials]), None);
    assert_eq!(fixture.api_key("", &[in_environment, credentials]).as_deref(), Some("sk-from-environment"));
    assert_eq!(fixture.api_key(with_file, &[in_environment, credentials]).as_deref(), Some("sk-from-file"));
    // systemd sets the mode of a credential, so it is not checked.
    fs::write(fixture.path("credentials/api_key"), "sk-from-credential\n").expect("written");
    fs::set_permissions(fixture.path("credentials/api_key"), fs::Permissions::from_mode(0o440)).expect("set");
    assert_eq!(
        fixture.api_key(with_file, &[in_environment, credentials]).as_deref(),
        Some("sk-from-credential")
    );
}

#[test]
fn unusable_api_key_is_rejected_and_not_shown() {
    let fixture = Fixture::new();
    for bad in ["\n", "two words", "sk-canary\nsk-canary2"] {
        let error = fixture.error("", &[("DROPREEL_PROVIDER__API_KEY", bad)]);
        assert!(error.contains("DROPREEL_PROVIDER__API_KEY") && !error.contains("canary"), "{error}");
        fixture.private("key", bad);
        let error = fixture.error("", &[("DROPREEL_PROVIDER__API_KEY_FILE", "FOLDER/key")]);
        assert!(error.contains("provider.api_key_file") && !error.contains("canary"), "{error}");
    }
    fixture.private("key", "sk-canary\n");
    fs::set_permissions(fixture.path("key"), fs::Permissions::from_mode(0o644)).expect("set");
    let error = fixture.error("[provider]\napi_key_file = \"FOLDER/key\"", &[]);
    assert!(error.contains(&fixture.here("chmod 600 'FOLDER/key'")) && !error.contains("canary"), "{error}");
}

#[test]
fn api_key_in_the_configuration_file_is_rejected_and_not_shown() {
    let fixture = Fixture::new();
    for text in ["[provider]\napi_key = \"sk-canary\"", "api_key = \"sk-canary\""] {
        let error = fixture.error(text, &[]);
        assert!(error.contains("does not belong in this file") && error.contains("api_key_file"), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
}

#[test]
fn proxy_password_needs_a_file_not_readable_by_all() {
    let fixture = Fixture::new();
    let text = "[provider]\nproxy = \"http://me:canary@proxy.example:3128\"";
    let settings = fixture.load(text, &[]).expect("a private file");
    assert!(!format!("{settings:?}").contains("canary"));
    let file = fixture.config(text);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("set");
    let error =
        load(Some(&file), &Environment::default(), Purpose::Daemon).expect_err("an open file").to_string();
    assert!(error.contains("chmod 640") && !error.contains("canary"), "{error}");
}

#[test]
fn only_needed_secrets_are_read() {
    let fixture = Fixture::new();
    let file =
        fixture.config("[provider]\napi_key_file = \"FOLDER/key\"\n[admin]\ntoken_file = \"FOLDER/token\"");
    let read = |purpose| {
        let settings = load(Some(&file), &Environment::default(), purpose).expect("settings");
        (settings.provider.api_key.is_some(), settings.admin.token.is_some())
    };
    assert_eq!(read(Purpose::Daemon), (true, true));
    fs::remove_file(fixture.path("key")).expect("removed");
    assert_eq!(read(Purpose::Client), (false, true));
    fs::remove_file(fixture.path("token")).expect("removed");
    assert_eq!(read(Purpose::Offline), (false, false));
}

#[test]
fn admin_listener_off_loopback_needs_a_token() {
    let fixture = Fixture::new();
    let text = "[admin]\nlisten = \"0.0.0.0:8788\"\ntoken_file = \"FOLDER/token\"";
    let settings = fixture.load(text, &[]).expect("a token");
    assert_eq!(settings.admin.token.expect("read").expose(), "admin-token");
    let both_free =
        [("DROPREEL_ADMIN__LISTEN", "127.0.0.1:0"), ("DROPREEL_CALLBACKS__LISTEN", "127.0.0.1:0")];
    assert!(fixture.load("", &both_free).is_ok());
}

#[test]
fn state_directory_of_systemd_overrides_data_dir() {
    let fixture = Fixture::new();
    let set = [("STATE_DIRECTORY", "/var/lib/dropreel:/var/lib/other"), ("DROPREEL_DATA_DIR", "/elsewhere")];
    assert_eq!(fixture.load("", &set).expect("settings").data_dir, Path::new("/var/lib/dropreel"));
    assert!(fixture.error("", &[("STATE_DIRECTORY", "relative")]).contains("STATE_DIRECTORY"));
}

#[test]
fn named_file_must_exist() {
    let fixture = Fixture::new();
    let missing = fixture.path("missing.toml");
    for (named, environment) in [
        (Some(missing.as_path()), Environment::default()),
        (None, fixture.environment(&[("DROPREEL_CONFIG", "FOLDER/missing.toml")])),
    ] {
        let error = load(named, &environment, Purpose::Offline).expect_err("missing").to_string();
        assert!(error.contains("missing.toml") && error.contains("--config"), "{error}");
    }
}

/// The test below runs this in a process with a folder and an environment of its own.
#[test]
#[ignore = "part of default_files_and_the_real_environment_are_read_in_order"]
fn print_the_inbox() {
    let settings = load(None, &Environment::of_this_process(), Purpose::Daemon).expect("settings");
    println!("inbox={}", settings.inbox.dir.display());
}

#[test]
fn default_files_and_the_real_environment_are_read_in_order() {
    let fixture = Fixture::new();
    let run = |variables: &[(&str, &str)]| {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["print_the_inbox", "--exact", "--ignored", "--nocapture"])
            .current_dir(fixture.folder.path())
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (*name, fixture.here(value))))
            .output()
            .expect("run");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(run(&[]).contains("/dropreel-data/inbox"), "no file: the defaults");
    fixture.config("data_dir = \"/from-the-folder\"");
    assert!(run(&[]).contains("inbox=/from-the-folder/inbox"));
    fs::write(fixture.path("other.toml"), "data_dir = \"/from-the-variable\"").expect("written");
    let other = ("DROPREEL_CONFIG", "FOLDER/other.toml");
    assert!(run(&[other]).contains("inbox=/from-the-variable/inbox"));
    assert!(run(&[other, ("DROPREEL_INBOX__DIR", "/by-name")]).contains("inbox=/by-name"));
}
