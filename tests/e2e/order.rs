//! The order of things, as the kernel saw it: between the last write to the journal and the `250`
//! there is an fdatasync of that segment, and a new segment's folder is fsynced before the first
//! `250` that relies on it.
//!
//! kill -9 can't show this, since the page cache survives it; so the daemon runs under strace. The
//! relay listener in the clear is used, so that the `250` can be seen in the trace.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_lab::{Client, Stage};

use crate::world::{Plan, SENDER, SOON, World, letter, queue_id};

/// A system call, over the lines of the trace from where it began to where it had ended.
#[derive(Debug)]
struct Call {
    name: String,
    arguments: String,
    begin: usize,
    end: usize,
    good: bool,
}

/// A script that runs the daemon under strace, and where the trace will be. With -D the daemon is
/// the process that was started, so that signals reach it; strace follows and ends with it.
fn traced(folder: &Path) -> (PathBuf, PathBuf) {
    let found = std::process::Command::new("strace").arg("-V").output();
    assert!(
        found.is_ok(),
        "strace is not installed: run tests/run, which installs it"
    );
    let (script, trace) = (folder.join("traced.sh"), folder.join("trace"));
    let text = format!(
        "#!/bin/sh\ncase \" $* \" in\n*\" serve \"*) exec strace -D -f -y -s 64 -o {} \
         -e trace=pwrite64,write,writev,pwritev,fdatasync,fsync,sendto,sendmsg,openat {} \"$@\" ;;\nesac\nexec {} \"$@\"\n",
        trace.display(),
        BINARY,
        BINARY
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    (script, trace)
}

const BINARY: &str = env!("CARGO_BIN_EXE_postern");

#[tokio::test]
async fn the_journal_is_on_the_disk_before_the_250() {
    let folder = tempfile::tempdir().unwrap();
    let (script, trace) = traced(folder.path());
    let mut world = World::with_binary(&Plan::default(), script.to_str().unwrap());
    world.daemon.ready_limit(Duration::from_secs(60));
    // The far side stalls, so that no settlement comes between.
    world
        .far
        .change(|k| k.delay(Stage::Banner, Duration::from_secs(600)));
    world.daemon.start().await;
    let mut client = Client::connect(world.relay).await.unwrap();
    client.greet("mta.ward.example").await.unwrap();
    let to = "p@clinic.example";
    let large = "0123456789abcdefghijklmnopqrstuvwxyz\r\n".repeat(20 * 1024 * 1024 / 38);
    let mut ids = Vec::new();
    // Over 64 MiB in all, so that a second segment is begun on the way.
    for body in [
        "hi\r\n", "ho\r\n", &large, "hi\r\n", &large, &large, &large, "ho\r\n",
    ] {
        let reply = client
            .submit(SENDER, &[to], letter(to, "order", body))
            .await
            .unwrap();
        ids.push(queue_id(&reply));
    }
    world.daemon.kill9();
    crate::world::wait(SOON, "the end of the trace", || {
        std::fs::read_to_string(&trace)
            .unwrap_or_default()
            .contains("killed by SIGKILL")
    })
    .await;
    judge(&calls(&std::fs::read_to_string(&trace).unwrap()), &ids);
}

fn judge(calls: &[Call], ids: &[String]) {
    let mut after = 0;
    let mut made = 0;
    for id in ids {
        let said = format!("250 2.0.0 Ok: queued as {id}");
        let reply = calls
            .iter()
            .find(|c| c.arguments.contains(&said))
            .expect("the 250 is in the trace");
        assert!(reply.begin > after, "the replies are in order");
        let before = || calls.iter().filter(|c| c.begin < reply.begin);
        let written = before().filter(|c| c.begin > after && writes(c) && segment(c).is_some());
        let last = written
            .max_by_key(|c| c.end)
            .unwrap_or_else(|| panic!("{id}: nothing was written to the journal"));
        let file = segment(last).unwrap();
        let synced = before().any(|c| {
            c.name == "fdatasync"
                && segment(c) == Some(file)
                && c.begin > last.end
                && c.end < reply.begin
                && c.good
        });
        assert!(
            last.good && synced,
            "{id}: 250 before the journal was on the disk: {last:?}"
        );
        for new in before().filter(|c| {
            c.name == "openat" && c.arguments.contains("O_CREAT") && segment(c).is_some()
        }) {
            made += usize::from(new.begin > after);
            let folder = before().any(|c| {
                c.name == "fsync"
                    && is_folder(c)
                    && c.begin > new.end
                    && c.end < reply.begin
                    && c.good
            });
            assert!(
                folder,
                "{id}: the folder of a new segment was not on the disk: {new:?}"
            );
        }
        after = reply.begin;
    }
    assert!(made >= 2, "{made} segments were made");
}

fn writes(call: &Call) -> bool {
    matches!(
        call.name.as_str(),
        "write" | "writev" | "pwrite64" | "pwritev"
    )
}

/// The segment a call is about: a number of eight digits in the folder `seg`.
fn segment(call: &Call) -> Option<&str> {
    let (_, rest) = call.arguments.split_once("/spool/seg/")?;
    let digits = rest.get(..8)?;
    let ends = rest[8..].starts_with(['>', '"']);
    (ends && digits.bytes().all(|b| b.is_ascii_hexdigit())).then_some(digits)
}

fn is_folder(call: &Call) -> bool {
    call.arguments.contains("/spool/seg>")
}

/// Reads a trace; calls that were interrupted by others stand on two lines.
fn calls(trace: &str) -> Vec<Call> {
    let mut open: Vec<(String, Call)> = Vec::new();
    let mut done = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((pid, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            if let Some(at) = open.iter().position(|(p, _)| p == pid) {
                let (_, mut call) = open.remove(at);
                (call.end, call.good) = (number, is_good(resumed));
                call.arguments.push_str(resumed);
                done.push(call);
            }
        } else if let Some((name, arguments)) = rest.split_once('(') {
            let call = Call {
                name: name.to_owned(),
                arguments: arguments.to_owned(),
                begin: number,
                end: number,
                good: is_good(rest),
            };
            match rest.ends_with("<unfinished ...>") {
                true => open.push((pid.to_owned(), call)),
                false => done.push(call),
            }
        }
    }
    done.extend(open.into_iter().map(|(_, call)| call));
    done
}

fn is_good(line: &str) -> bool {
    line.rsplit_once("= ")
        .is_some_and(|(_, result)| !result.starts_with(['-', '?']))
}

#[test]
fn traces_are_read() {
    let text = "12 write(5</d/spool/seg/00000001>, \"x\", 1) = 1\n\
                13 fdatasync(5</d/spool/seg/00000001> <unfinished ...>\n\
                12 sendto(9<socket:[1]>, \"250 2.0.0 Ok: queued as AB\", 26, 0, NULL, 0) = 26\n\
                13 <... fdatasync resumed>) = 0\n";
    let calls = calls(text);
    assert_eq!(calls.len(), 3);
    assert_eq!(
        (
            calls[2].name.as_str(),
            calls[2].begin,
            calls[2].end,
            calls[2].good
        ),
        ("fdatasync", 1, 3, true)
    );
    assert_eq!(segment(&calls[0]), Some("00000001"));
    let early = std::panic::catch_unwind(|| judge(&calls, &["AB".to_owned()]));
    assert!(early.is_err(), "a 250 before the end of fdatasync is seen");
}
