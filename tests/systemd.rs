//! The files of `systemd/`: they agree with each other and with docs/reference.md#command-line, and the unit is confined.
#![allow(clippy::expect_used, reason = "a test's helpers may fail like a test")]

use std::path::Path;
use std::process::Command;

const UNIT: &str = include_str!("../systemd/dropreel.service");
const USERS: &str = include_str!("../systemd/dropreel.sysusers");
const FOLDERS: &str = include_str!("../systemd/dropreel.tmpfiles");

/// The values that `key` is set to, in order.
fn values(key: &str) -> Vec<&'static str> {
    let lines = UNIT.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(name, _)| *name == key).map(|(_, value)| value).collect()
}

/// The lines of a table as words, without comments and empty lines.
fn rows(table: &'static str) -> Vec<Vec<&'static str>> {
    let lines = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn unit_starts_watches_and_stops_the_daemon_as_documented() {
    let documented = [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("WatchdogSec", "60"),
        ("ExecStart", "/usr/bin/dropreel --config /etc/dropreel/config.toml serve"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("Restart", "on-failure"),
        // Exit code 2 is wrong usage or configuration (docs/reference.md#command-line).
        ("RestartPreventExitStatus", "2 243"),
        ("KillSignal", "SIGTERM"),
        ("TimeoutStopSec", "20"),
        ("LoadCredential", "api_key:/etc/dropreel/api_key"),
        ("LimitCORE", "0"),
        ("UMask", "0077"),
        ("CapabilityBoundingSet", ""),
        ("ProtectSystem", "strict"),
    ];
    for (key, value) in documented {
        assert_eq!(values(key), [value], "{key}");
    }
    for bound in ["StartLimitIntervalSec", "RestartSec", "LimitNOFILE", "MemoryMax", "TasksMax"] {
        assert_eq!(values(bound).len(), 1, "{bound}");
    }
}

#[test]
fn user_and_folders_are_the_same_in_all_three_files() {
    let (user, group, state) = (values("User")[0], values("Group")[0], values("StateDirectory")[0]);
    assert_eq!(rows(USERS)[0][..2], ["u", user]);
    assert_eq!(user, group);
    let folders = rows(FOLDERS);
    let state = format!("/var/lib/{state}");
    let inbox = format!("{state}/inbox");
    let mode = |path: &str| {
        let row = folders.iter().find(|row| row[0] == "d" && row[1] == path).expect("a folder");
        assert_eq!(row[3..5], [user, group], "{path}");
        u32::from_str_radix(row[2], 8).expect("octal")
    };
    assert_eq!(format!("{:04o}", mode(&state)), values("StateDirectoryMode")[0]);
    assert_eq!(mode(&state) & 0o017, 0o010, "the group can enter the folder, others cannot");
    assert_eq!(mode(&inbox), 0o3770, "the group drops files, the daemon can read and only it can move them");
}

#[test]
fn unit_has_a_low_exposure_in_systemd_analyze() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/dropreel.service");
    let Ok(analysis) = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", "--threshold=15"])
        .arg(unit)
        .output()
    else {
        return; // Without systemd there is nothing to check; CI has it.
    };
    let reported = String::from_utf8_lossy(&analysis.stdout);
    assert!(analysis.status.success(), "{}", reported.lines().last().unwrap_or_default());
}
