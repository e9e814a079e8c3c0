//! One round: a server between source and sink, and what it took; and all rounds in their order.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use postern_lab::Ca;

use crate::cases::{CASES, Case};
use crate::contender::{Contender, Server};
use crate::group::Group;
use crate::measure::{Memory, Used, flushes, tree, used};
use crate::options::Options;
use crate::report::{Figures, HEADINGS, line, line_without, ratio};
use crate::sink::Taken;
use crate::source::Sent;

/// Where a domain's mail goes: the sink, at one of its loopback addresses.
pub(crate) type Site = SocketAddr;

/// Runs what the options ask for, and prints it.
pub(crate) fn run_all(options: &Options) {
    let wanted = |case: &&Case| match options.cases.is_empty() {
        true => options.all || case.first,
        false => options.cases.iter().any(|name| case.name == name),
    };
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
    if options.list || cases.is_empty() {
        for case in CASES {
            println!(
                "{}{}",
                case.name,
                if case.first {
                    " (run without asking)"
                } else {
                    ""
                }
            );
        }
        return;
    }
    let mut contenders = vec![Contender::Nobody, Contender::Postern];
    contenders.extend(options.peer.iter().map(|peer| Contender::Peer(*peer)));
    print_machine(options);
    println!("{HEADINGS}");
    let mut ratios = Vec::new();
    for case in cases {
        let mut rounds = vec![Vec::new(); contenders.len()];
        for _ in 0..options.rounds.max(1) {
            for (contender, figures) in contenders.iter().zip(&mut rounds) {
                if contender.cannot(case).is_none() {
                    figures.push(run(options, case, *contender));
                }
            }
        }
        let medians: Vec<Option<Figures>> = rounds
            .iter()
            .map(|rounds| Figures::median(rounds))
            .collect();
        for (contender, figures) in contenders.iter().zip(&medians) {
            match (figures, contender.cannot(case)) {
                (Some(figures), _) => println!("{}", line(case, &contender.name(), figures)),
                (None, why) => {
                    let why = why.unwrap_or_default();
                    println!("{}", line_without(case, &contender.name(), why));
                }
            }
        }
        for (contender, theirs) in contenders.iter().zip(&medians).skip(2) {
            if let (Some(ours), Some(theirs)) = (&medians[1], theirs) {
                ratios.push(ratio(case, &contender.name(), ours, theirs));
            }
        }
    }
    println!();
    for ratio in ratios {
        println!("{ratio}");
    }
}

fn print_machine(options: &Options) {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or("unknown")
        .trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!(
        "{cores} cores, {model}, Linux {}; {} messages in the base case, {} rounds, {}",
        kernel.trim(),
        options.messages,
        options.rounds,
        if options.lockstep {
            "one command at a time"
        } else {
            "commands pipelined"
        }
    );
}

/// One case with one contender.
fn run(options: &Options, case: &Case, contender: Contender) -> Figures {
    let ca = Ca::new();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let identity = ca
        .issue(&[crate::stream::NAME])
        .write(folder.path(), "sink");
    let roots = folder.path().join("roots.pem");
    ca.write_pem(&roots);
    let direct = contender == Contender::Nobody;
    // The source does not come again, so a sink that stands alone defers nothing.
    let case = &Case {
        deferred: if direct { 0 } else { case.deferred },
        ..*case
    };
    let port = postern_lab::free_port();
    let mut sink = Sink::start(
        case,
        port,
        (case.tls_out || direct && case.tls_in).then_some(&identity),
    );
    let sites: Vec<Site> = (0..case.sites).map(|number| site(number, port)).collect();
    let listen = (Ipv4Addr::LOCALHOST, postern_lab::free_port()).into();
    let server = Server::start(options, &ca, case, contender, listen, &sites);
    let source = |first, messages| {
        let to = if direct {
            (Ipv4Addr::LOCALHOST, port).into()
        } else {
            listen
        };
        let roots = case.tls_in.then_some(roots.as_path());
        send(options, case, to, roots, first, messages)
    };
    let messages = case.messages(options.messages);
    // Connections are open and code is warm before anything counts.
    let warm = (messages / 20).max(case.connections as u64 * 2);
    source(0, warm);
    sink.wait(case.taken(0, warm) * case.recipients);

    let watched = server.as_ref().map_or(std::process::id(), Server::pid);
    let place = server
        .as_ref()
        .map_or(folder.path(), Server::folder)
        .to_owned();
    let memory = Memory::watch(watched);
    let group = server.as_ref().and_then(|_| Group::of(&tree(watched)));
    let cpu_of = |used: Used| group.as_ref().and_then(Group::cpu).unwrap_or(used.cpu);
    let (before, sink_before, flushed) = (used(watched), used(sink.pid()), flushes(&place));
    let (own_before, cpu_before) = (used(std::process::id()), cpu_of(before));
    let begun = Instant::now();
    let sent = source(warm, messages);
    let took = sink.wait(case.taken(0, warm + messages) * case.recipients);
    let seconds = (took - begun).as_secs_f64();
    let (after, sink_after) = (used(watched), used(sink.pid()));
    let cpu = cpu_of(after) - cpu_before;
    assert_eq!(
        (sent.accepted, sent.refused),
        (messages, 0),
        "the source had all accepted"
    );
    let thousands = messages as f64 / 1000.0;
    let sink_cpu = sink_after.cpu - sink_before.cpu;
    // What ended is in ours: the source. The others are in the tree as well.
    let source_cpu = used(std::process::id()).cpu
        - own_before.cpu
        - sink_cpu
        - server.as_ref().map_or(0.0, |_| after.cpu - before.cpu);
    let figures = Figures {
        accepted: messages as f64 / sent.seconds,
        delivered: case.taken(warm, messages) as f64 / seconds,
        p50: sent.p50,
        p99: sent.p99,
        cpu: server.as_ref().map_or(0.0, |_| cpu) / thousands,
        cpu_load: (sink_cpu + source_cpu) / thousands,
        memory: memory.peak() as f64 / 1024.0,
        written: server
            .as_ref()
            .map_or(0.0, |_| (after.written - before.written) as f64)
            / 1024.0
            / messages as f64,
        flushes: match (server.as_ref(), flushed, flushes(&place)) {
            (Some(_), Some(before), Some(after)) => (after - before) as f64 / messages as f64,
            _ => 0.0,
        },
    };
    if let Some(server) = server.filter(|_| options.keep) {
        server.keep();
    }
    figures
}

/// The sink's address for a domain: each its own, so that each is a site of its own.
fn site(number: u64, port: u16) -> Site {
    let [.., high, low] = number.to_be_bytes();
    SocketAddr::from(([127, 1, high, low], port))
}

/// Runs a source to its end.
fn send(
    options: &Options,
    case: &Case,
    to: SocketAddr,
    roots: Option<&Path>,
    first: u64,
    messages: u64,
) -> Sent {
    let mut command = own(["source"]);
    command
        .args(["--to", &to.to_string()])
        .args(["--messages", &messages.to_string()])
        .args(["--first", &first.to_string()])
        .args(["--size", &case.size.to_string()])
        .args(["--connections", &case.connections.to_string()])
        .args(["--per-connection", &case.per_connection.to_string()])
        .args(["--recipients", &case.recipients.to_string()])
        .args(["--sites", &case.sites.to_string()]);
    if let Some(roots) = roots {
        command.arg("--roots").arg(roots);
    }
    if options.lockstep {
        command.arg("--lockstep");
    }
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.expect("the source can be run");
    serde_json::from_slice(&output.stdout).expect("the source prints its figures")
}

/// This program again, as a part of itself.
fn own<const N: usize>(args: [&str; N]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(args);
    command
}

/// The sink while it runs.
struct Sink {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Sink {
    fn start(case: &Case, port: u16, identity: Option<&postern_lab::IdentityFiles>) -> Sink {
        let mut command = own(["sink"]);
        command
            .args(["--bind", &format!("0.0.0.0:{port}")])
            .args(["--delay", &case.delay.to_string()])
            .args(["--deferred", &case.deferred.to_string()])
            .args(["--recipients", &case.recipients.to_string()]);
        if let Some(identity) = identity {
            command.arg("--certificate").arg(&identity.certificate);
            command.arg("--key").arg(&identity.private_key);
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("the sink can be run");
        let ask = child.stdin.take().expect("its stdin is a pipe");
        let answers = BufReader::new(child.stdout.take().expect("its stdout is a pipe"));
        let sink = Sink {
            child,
            ask,
            answers,
        };
        while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        sink
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn taken(&mut self) -> Taken {
        self.ask.write_all(b"\n").expect("the sink listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the sink answers");
        serde_json::from_str(&line).expect("the sink tells its figures")
    }

    /// Waits until so many copies have come, as long as any come; gives when the last was seen.
    fn wait(&mut self, copies: u64) -> Instant {
        let (mut last, mut since) = (Taken::default(), Instant::now());
        loop {
            let taken = self.taken();
            if taken != last {
                (last, since) = (taken, Instant::now());
            }
            if taken.copies >= copies {
                return since;
            }
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "{} of {copies} copies have come, and none for a minute: {taken:?}",
                taken.copies
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
