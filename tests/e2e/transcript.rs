//! What the command line says to a new operator who errs: transcripts, one file a
//! scene, in `transcripts/`.
//!
//! Each file is commands and what they must print, stdout before stderr, and how
//! they end. What differs from run to run is written `ID`, `TIME`, `DAY`,
//! `DIR`, `ADDRESS`.
//! `POSTERN_TRANSCRIPTS=write` writes the files anew, to be read before they are
//! committed: each complaint must say what to do, in a line or two.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use postern_lab::Stage;

use crate::full::Tmpfs;
use crate::world::{Plan, SOON, World, letter, wait};

const TO: &str = "p@clinic.example";
/// Debian's `nobody`.
const NOBODY: u32 = 65_534;

fn patient() -> Plan {
    Plan {
        retry: r#"["1h"]"#,
        expire: "1d",
        delay_notice: "1d",
        ..Plan::default()
    }
}

/// A way to run commands, and what to mask in what they print.
struct Scene<'a> {
    world: &'a World,
    /// The id of the one message that waits, if there is one.
    id: String,
    /// As another user, with a copy of the program that he may run.
    other: Option<(u32, PathBuf)>,
}

#[tokio::test]
async fn a_running_daemon() {
    let world = World::start(&patient()).await;
    let id = waiting(&world).await;
    let scene = Scene {
        world: &world,
        id,
        other: None,
    };
    scene.play("running");
}

#[tokio::test]
async fn a_stopped_daemon() {
    let mut world = World::start(&patient()).await;
    let id = waiting(&world).await;
    world.daemon.terminate().await;
    let scene = Scene {
        world: &world,
        id,
        other: None,
    };
    scene.play("stopped");
}

/// A user who is not in the group `postern`.
#[tokio::test]
async fn no_rights() {
    let world = World::start(&patient()).await;
    let id = waiting(&world).await;
    let program = world.daemon.dir().join("postern");
    std::fs::copy(env!("CARGO_BIN_EXE_postern"), &program).unwrap();
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    open(world.daemon.dir(), 0o755);
    open(&program, 0o755);
    open(&world.daemon.config_file(), 0o644);
    let scene = Scene {
        world: &world,
        id,
        other: Some((NOBODY, program)),
    };
    if !scene.may_change_user() {
        eprintln!("no_rights: only root can be somebody else; not shown");
        return;
    }
    scene.play("no-rights");
}

/// The disk with the data folder is full to the last octet.
#[tokio::test]
async fn a_full_disk() {
    let world = World::new(&patient());
    let Some(_disk) = Tmpfs::mount(&world.daemon.data_dir(), "1m") else {
        eprintln!("a_full_disk: no tmpfs could be mounted here (root is needed); not shown");
        return;
    };
    let filler = world.daemon.data_dir().join("filler");
    // Until it fails, which is the aim.
    let _ = std::fs::write(filler, vec![0; 2 << 20]);
    let scene = Scene {
        world: &world,
        id: String::new(),
        other: None,
    };
    scene.play("full-disk");
}

/// One message waits; gives its id.
async fn waiting(world: &World) -> String {
    world
        .far
        .change(|k| k.reply(Stage::Mail, "451 4.3.2 under repair"));
    let id = world.send(&[TO], letter(TO, "waits", "hi\r\n")).await;
    let is_tried = || world.queue()[0]["recipients"][0]["last_reply"].is_string();
    wait(SOON, "the first attempt", is_tried).await;
    id
}

impl Scene<'_> {
    fn play(&self, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/e2e/transcripts")
            .join(format!("{name}.txt"));
        let expected = std::fs::read_to_string(&path).unwrap();
        let mut seen = String::new();
        for line in expected.lines() {
            if let Some(command) = line.strip_prefix("$ postern ") {
                self.command(command, &mut seen);
            } else if line.starts_with('#') {
                writeln!(seen, "{line}\n").unwrap();
            }
        }
        if std::env::var("POSTERN_TRANSCRIPTS").as_deref() == Ok("write") {
            std::fs::write(&path, seen).unwrap();
        } else {
            assert!(
                seen == expected,
                "{name}.txt is not what is said now:\n{seen}"
            );
        }
    }

    /// Runs one command, with what stands behind ` < ` on its standard input.
    fn command(&self, command: &str, seen: &mut String) {
        writeln!(seen, "$ postern {command}").unwrap();
        let (arguments, input) = command.split_once(" < ").unwrap_or((command, ""));
        let arguments = words(arguments, &self.id);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let output = match &self.other {
            None if arguments.first() == Some(&"--config") => self.run_bare(&arguments),
            None => self.world.daemon.run_with_stdin(&arguments, input),
            Some((user, program)) => self.run_as(*user, program, &arguments),
        };
        for said in [&output.stdout, &output.stderr] {
            seen.push_str(&self.mask(&String::from_utf8_lossy(said)));
        }
        writeln!(seen, "[exit {}]", output.status.code().unwrap_or(-1)).unwrap();
    }

    fn run_as(&self, user: u32, program: &Path, arguments: &[&str]) -> Output {
        Command::new(program)
            .arg("--config")
            .arg(self.world.daemon.config_file())
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .uid(user)
            .gid(user)
            .output()
            .unwrap()
    }

    /// With a configuration file of the command's own.
    fn run_bare(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_postern"))
            .args(arguments)
            .current_dir(self.world.daemon.dir())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn may_change_user(&self) -> bool {
        let attempt = Command::new("true").uid(NOBODY).gid(NOBODY).output();
        attempt.is_ok_and(|output| output.status.success())
    }

    /// What differs from run to run, under its name.
    fn mask(&self, text: &str) -> String {
        let folder = self.world.daemon.dir().display().to_string();
        let mut text = text.replace(&folder, "DIR");
        if !self.id.is_empty() {
            text = text.replace(&self.id, "ID");
        }
        text.split_inclusive([' ', '\n', '=', ')', ']', ',', '"'])
            .map(mask_word)
            .collect()
    }
}

fn mask_word(word: &str) -> String {
    let bare = word.trim_end_matches([' ', '\n', '=', ')', ']', ',', '"', ':']);
    let is_time = bare.len() >= 20 && bare.ends_with('Z') && bare.as_bytes()[10] == b'T';
    let is_day = bare.len() == 10 && bare.starts_with("20") && bare.as_bytes()[7] == b'-';
    let is_address = bare.parse::<std::net::SocketAddr>().is_ok();
    // Addresses of the lab differ, those that a command brings don't.
    let name = match () {
        () if is_time && !bare.starts_with("2001-") => "TIME",
        () if is_day => "DAY",
        () if is_address && bare.starts_with("127.") => "ADDRESS",
        () => return word.to_owned(),
    };
    word.replace(bare, name)
}

/// Arguments as a shell would take them, as far as transcripts need it.
fn words(line: &str, id: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('"').enumerate() {
        match at % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    let words = words.into_iter();
    words
        .map(|word| if word == "ID" { id.to_owned() } else { word })
        .collect()
}
