//! The fences of `systemd/postern.service`: that they are tight, and that the daemon lives inside.
//!
//! Without a running systemd nothing can be fenced in for real. So systemd judges the unit, and a
//! trace of the daemon at work shows that it does nothing that the unit forbids.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::world::{Plan, SOON, World, letter, wait};

const BINARY: &str = env!("CARGO_BIN_EXE_postern");
const TO: &str = "p@clinic.example";

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("systemd")
        .join(name)
}

/// The standard output of a `systemd-analyze` that found no fault; `None` where there is none.
fn analyze(arguments: &[&str]) -> Option<String> {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .arg("--no-pager")
        .env("SYSTEMD_LOG_LEVEL", "notice")
        .output();
    let Ok(output) = output else {
        eprintln!("systemd-analyze is not installed: skipped (tests/run installs it)");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {complaint}{said}");
    assert_eq!(complaint, "", "{arguments:?}");
    Some(said)
}

/// An exposure of 1.5 at most, by systemd's own count.
#[test]
fn the_unit_is_tight() {
    let path = unit("postern.service");
    let said = analyze(&[
        "security",
        "--offline=true",
        "--threshold=15",
        path.to_str().unwrap(),
    ]);
    if let Some(said) = said {
        eprintln!("{}", said.lines().last().unwrap_or_default());
    }
}

#[test]
fn the_units_are_sound() {
    let folder = tempfile::tempdir().unwrap();
    let service = std::fs::read_to_string(unit("postern.service")).unwrap();
    let here = folder.path().join("postern.service");
    std::fs::write(&here, service.replace("/usr/bin/postern", BINARY)).unwrap();
    let socket = folder.path().join("postern.socket");
    std::fs::copy(unit("postern.socket"), &socket).unwrap();
    analyze(&[
        "verify",
        "--man=no",
        here.to_str().unwrap(),
        socket.to_str().unwrap(),
    ]);
}

/// The values of a setting, word by word, in order.
fn setting(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(unit("postern.service")).unwrap();
    let prefix = format!("{name}=");
    let lines = text.lines().filter_map(|line| line.strip_prefix(&prefix));
    lines
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect()
}

/// The system calls of a group, and of those in it.
fn group(name: &str) -> Option<BTreeSet<String>> {
    let mut calls = BTreeSet::new();
    for line in analyze(&["syscall-filter", name])?.lines() {
        let word = line.trim();
        if word == name || word.is_empty() || word.starts_with('#') {
            continue;
        }
        match word.starts_with('@') {
            true => calls.extend(group(word)?),
            false => drop(calls.insert(word.to_owned())),
        }
    }
    Some(calls)
}

/// What the unit's filter lets through; systemd always adds @default.
fn allowed() -> Option<BTreeSet<String>> {
    let mut calls = group("@default")?;
    let mut deny = false;
    for word in setting("SystemCallFilter") {
        let name = word.trim_start_matches('~');
        deny = deny || word.starts_with('~');
        for call in group(name)? {
            if deny {
                calls.remove(&call);
            } else {
                calls.insert(call);
            }
        }
    }
    Some(calls)
}

/// Runs a whole life under strace: start, a message in and out, reload, stop. Gives the trace, and
/// the folder that the daemon may write to.
async fn a_traced_life() -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (script, trace) = (folder.path().join("traced.sh"), folder.path().join("trace"));
    let text = format!(
        "#!/bin/sh\ncase \" $* \" in\n*\" serve \"*) exec strace -D -f -qq -s 0 -o {} {BINARY} \"$@\" ;;\nesac\nexec {BINARY} \"$@\"\n",
        trace.display(),
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let mut world = World::with_binary(&Plan::default(), script.to_str().unwrap());
    world.daemon.ready_limit(Duration::from_secs(60));
    world.daemon.start().await;
    world.add_account(crate::world::ACCOUNT, "@ward.example");
    let to = [TO, "p@typo.example"];
    let id = world.send(&to, letter(TO, "fenced", "hi\r\n")).await;
    world.wait_audit(&id, TO, "delivered").await;
    world.wait_audit(&id, to[1], "bounced").await;
    world.daemon.signal("HUP");
    world.daemon.wait_log("reloaded:", SOON).await;
    assert!(world.daemon.terminate().await.success());
    let read = || std::fs::read_to_string(&trace).unwrap_or_default();
    wait(SOON, "the end of the trace", || {
        read().contains("exit_group(")
    })
    .await;
    (read(), world.daemon.data_dir().display().to_string())
}

/// `PID NAME(ARGUMENTS`, of calls that were made.
fn calls(trace: &str) -> impl Iterator<Item = (&str, &str)> {
    trace.lines().filter_map(|line| {
        let (_, call) = line.split_once(' ')?;
        let (name, arguments) = call.trim_start().split_once('(')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        name.chars().all(is_name).then_some((name, arguments))
    })
}

#[tokio::test]
async fn the_daemon_lives_within_its_fences() {
    let Some(allowed) = allowed() else {
        return;
    };
    assert!(allowed.contains("fdatasync") && !allowed.contains("setuid"));
    let (trace, data) = a_traced_life().await;
    let made: BTreeSet<&str> = calls(&trace).map(|(name, _)| name).collect();
    assert!(made.len() > 30, "{made:?}");
    let forbidden: Vec<_> = made.iter().filter(|c| !allowed.contains(**c)).collect();
    assert!(forbidden.is_empty(), "the unit forbids {forbidden:?}");
    let families = setting("RestrictAddressFamilies");
    for (name, arguments) in calls(&trace) {
        match name {
            "socket" | "socketpair" => {
                let family = arguments.split(',').next().unwrap_or_default();
                assert!(families.iter().any(|f| f == family), "{arguments}");
            }
            // MemoryDenyWriteExecute.
            "mmap" => assert!(
                !arguments.contains("PROT_WRITE|PROT_EXEC"),
                "{name}({arguments}"
            ),
            "openat" => is_within_reach(arguments, &data),
            "mprotect" => assert!(!arguments.contains("PROT_EXEC"), "{name}({arguments}"),
            _ => {}
        }
    }
}

/// ProtectSystem=strict, ProtectHome, ProcSubset=pid: what is opened for writing lies in the data
/// folder, and of /proc only the processes are there.
fn is_within_reach(arguments: &str, data: &str) {
    let path = arguments.split('"').nth(1).unwrap_or_default();
    let writes = ["O_WRONLY", "O_RDWR", "O_CREAT"]
        .iter()
        .any(|flag| arguments.contains(flag));
    assert!(
        !writes || path.starts_with(data) || path == "/dev/null",
        "written outside of the data folder: {arguments}"
    );
    let shared = path.starts_with("/proc/") && !path.starts_with("/proc/self/");
    let missing = arguments.contains("ENOENT");
    assert!(!shared || missing, "not there with ProcSubset=pid: {path}");
}
