//! One round: a server between source and sink, and what it took; and all rounds in their order.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Instant;

use postern_lab::Ca;

use crate::cases::{CASES, Case};
use crate::contender::{Contender, Server};
use crate::group::Group;
use crate::measure::{Memory, Used, flushes, tree, used};
use crate::message;
use crate::options::{Load, Options, Setup};
use crate::parts::Sink;
use crate::report::{Figures, HEADINGS, line, line_without, ratio};

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

/// What was asked for, and on which machine.
fn print_machine(options: &Options) {
    println!(
        "{}; {} messages in the base case, {} rounds, {}",
        machine(),
        options.messages,
        options.rounds,
        if options.lockstep {
            "one command at a time"
        } else {
            "commands pipelined"
        }
    );
}

/// The machine, in a few words.
pub(crate) fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or("unknown")
        .trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, {model}, Linux {}", kernel.trim())
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
        &Setup {
            bind: (Ipv4Addr::UNSPECIFIED, port).into(),
            certificate: None,
            key: None,
            delay: case.delay,
            deferred: case.deferred,
            recipients: case.recipients,
            soak: false,
        },
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
        let load = Load {
            to,
            messages,
            first,
            size: case.size,
            connections: case.connections,
            per_connection: case.per_connection,
            recipients: case.recipients,
            sites: case.sites,
            domain: message::DOMAIN.to_owned(),
            roots: roots.map(Path::to_owned),
            lockstep: options.lockstep,
        };
        load.send()
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
pub(crate) fn site(number: u64, port: u16) -> Site {
    let [.., high, low] = number.to_be_bytes();
    SocketAddr::from(([127, 1, high, low], port))
}
