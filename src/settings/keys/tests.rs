use super::*;

fn keys() -> Keys {
    Keys::built_in().expect("the built-in file")
}

#[test]
fn misspelt_key_gets_the_nearest_key() {
    let cases = [
        ("provider.base-url", "provider.base_url"),
        ("base_url", "provider.base_url"),
        ("provider.layout", "library.layout"),
        ("inbox.rescann", "inbox.rescan"),
        ("libary", "library"),
        ("datadir", "data_dir"),
        ("polling.intervall", "polling.interval"),
        ("callbacks.secret", "callbacks.secret_file"),
        ("admin.token", "admin.token_file"),
        ("inbox.max", "inbox.max_bytes"),
    ];
    let keys = keys();
    for (wrong, nearest) in cases {
        assert_eq!(keys.nearest_key(wrong), nearest, "{wrong}");
    }
}

#[test]
fn syntax_error_names_the_line_without_its_text() {
    let cases = [
        ("# a comment\n\n  api_key = sk-canary\n", 3),
        ("a = \"sk-canary\nb = 1\n", 1),
        ("[provider]\nproxy = \"http://me:canary@host\"\nproxy = \"canary2\"\n", 3),
        ("canary\n", 1),
        ("a = \"\"\"canary\ncanary | canary\n", 2),
    ];
    for (text, expected) in cases {
        let Err(SettingsProblem::Syntax { line, message, .. }) = parse(text, &Origin::Defaults) else {
            panic!("{text}")
        };
        assert!(!message.contains("canary"), "{text}: {message}");
        assert_eq!(line, expected, "{text}: {message}");
    }
}

#[test]
fn tables_are_sections_except_empty_ones() {
    let keys = keys();
    let sections: Vec<_> = keys.sections().into_iter().collect();
    let expected = [
        "admin",
        "budget",
        "callbacks",
        "callbacks.signature",
        "downloads",
        "inbox",
        "library",
        "media",
        "polling",
        "provider",
        "quarantine",
        "storage",
    ];
    assert_eq!(sections, expected);
    assert!(keys.default("provider.max_running_per_model").is_some());
    assert!(keys.default("callbacks.signature.scheme").is_some());
}

#[test]
fn variables_of_kubernetes_services_are_ignored() {
    let cases = [
        ("DROPREEL_SERVICE_HOST", "10.0.0.11", true),
        ("DROPREEL_SERVICE_PORT", "8788", true),
        ("DROPREEL_SERVICE_PORT_ADMIN", "8788", true),
        ("DROPREEL_PORT", "tcp://10.0.0.11:8788", true),
        ("DROPREEL_PORT_8788_TCP", "tcp://10.0.0.11:8788", true),
        ("DROPREEL_PORT_8788_TCP_PROTO", "tcp", true),
        ("DROPREEL_PORT_8788_TCP_PORT", "8788", true),
        ("DROPREEL_PORT_8788_TCP_ADDR", "10.0.0.11", true),
        ("DROPREEL_PORT_53_UDP_ADDR", "10.0.0.11", true),
        ("DROPREEL_ADMIN_SERVICE_HOST", "10.0.0.12", true),
        ("DROPREEL_ADMIN_SERVICE_PORT", "8788", true),
        ("DROPREEL_ADMIN_PORT", "tcp://10.0.0.12:8788", true),
        ("DROPREEL_ADMIN_PORT_8788_TCP_ADDR", "10.0.0.12", true),
        ("DROPREEL_PORT", "8788", false),
        ("DROPREEL_ADMIN__PORT", "8788", false),
        ("DROPREEL_PORT_TCP", "8788", false),
        ("DROPREEL_SERVICE", "10.0.0.11", false),
    ];
    for (name, value, ignored) in cases {
        let checked = keys().check_environment(&[(name, value)].into_iter().collect());
        assert_eq!(checked.is_empty(), ignored, "{name}={value}");
    }
}

#[test]
fn failpoint_variables_are_unknown_without_the_feature() {
    let environment = [("DROPREEL_FAIL_KILL_AT", "part-flushed:1")].into_iter().collect();
    assert_eq!(keys().check_environment(&environment).is_empty(), cfg!(feature = "failpoints"));
}
