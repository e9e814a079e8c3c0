//! How the queue grows, and shrinks again: `--growth`.
//!
//! Mail for thousands of domains whose servers don't answer, and beside it mail for one that
//! does. Each round fills the queue, stops the server by kill -9 and starts it again, then has
//! the servers answer: first all but a tenth of the mail is taken, which stays scattered over
//! the whole spool, then the rest. Each line of the table is one round.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use postern_lab::{Ca, Daemon, DnsServer};

use crate::measure::{disk, resident};
use crate::message;
use crate::options::{Load, Options, Setup};
use crate::parts::Sink;
use crate::postern::{Setting, route, set_up, start_again, stop};
use crate::round::{machine, site};

/// Octets of a message.
const SIZE: u64 = 4 << 10;
/// Connections of the source.
const CONNECTIONS: usize = 20;
/// Messages for the domain that answers, by which acceptance is measured, and how often.
const BESIDE: u64 = 20_000;
const TIMES: usize = 9;
/// Of a hundred messages, how many are not taken at first.
const DEFERRED: u64 = 10;
/// Pieces of the filling, of which the first and the last are compared.
const PIECES: u64 = 10;
/// What the name of the domain begins with that answers.
const ANSWERS: &str = "fast";
/// How long the spool must not shrink to count as settled.
const QUIET: Duration = Duration::from_secs(8);
const MIB: f64 = 1024.0 * 1024.0;

const HEADINGS: &str = "\
| queued | round | filling: accepted/s, first tenth | last tenth | accepted/s, empty queue | full | full to empty: median (least to most) of nine pairs | start after kill -9, s | after a stop, s | peak MiB, filling | after the start | spool, octets per octet | of it index | delivered/s | 1/10 left: octets per octet | peak MiB, emptying | empty: MiB more than before | audit, MiB |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |";

/// Runs all of it and prints the table. Acceptance is compared with that of a server whose queue
/// is empty, and the two take turns, so that whatever else goes on here concerns both.
pub(crate) fn run(options: &Options) {
    println!(
        "{}; messages of {SIZE} octets, {CONNECTIONS} connections, {} domains",
        machine(),
        options.domains
    );
    println!("{HEADINGS}");
    for queued in &options.queued {
        // Each start tries one message of each domain, and waits for minutes with that.
        let least = 5 * options.domains;
        assert!(*queued >= least, "--queued must be {least} or more");
        let mut empty = Plant::start(options, 0);
        let mut plant = Plant::start(options, *queued);
        for round in 1..=options.churn {
            println!("| {queued} | {round} | {} |", plant.round(&mut empty));
        }
    }
}

/// A server between source and sinks.
struct Plant {
    daemon: Daemon,
    binary: std::path::PathBuf,
    listen: SocketAddr,
    /// Where the servers of the many domains are, when they are there.
    port: u16,
    answers: Sink,
    /// Messages sent to the domain that answers.
    answered: u64,
    queued: u64,
    domains: u64,
    /// The number of the next message for the many.
    next: u64,
    _dns: DnsServer,
}

impl Plant {
    fn start(options: &Options, queued: u64) -> Plant {
        let (port, fast) = (postern_lab::free_port(), postern_lab::free_port());
        let dns = zones(options.domains, port);
        let listen = (Ipv4Addr::LOCALHOST, postern_lab::free_port()).into();
        let answers = (Ipv4Addr::LOCALHOST, fast).into();
        let setting = Setting {
            listen,
            tls_in: false,
            methods: "\"tls\", \"cleartext\"",
            delivery: format!("port = {port}\nconnections_per_site = {CONNECTIONS}"),
            rest: format!(
                "\n[dns]\nservers = [\"{}\"]\n\n[network]\nblocked = []\n{}",
                dns.addr(),
                route(&message::domain(ANSWERS, 0), answers)
            ),
        };
        let binary = options.postern();
        let mut daemon = set_up(&binary, &Ca::new(), &setting);
        daemon.ready_limit(Duration::from_secs(600));
        start_again(&mut daemon);
        let mut plant = Plant {
            daemon,
            binary,
            listen,
            port,
            answers: sink(answers, 0),
            answered: 0,
            queued,
            domains: options.domains,
            next: 0,
            _dns: dns,
        };
        // Code is warm before anything counts.
        plant.accepts(BESIDE);
        plant
    }

    /// Fills the queue and empties it; gives the columns of the table's line.
    fn round(&mut self, other: &mut Plant) -> String {
        let content = (self.queued * SIZE) as f64;
        let before = self.settle(0);
        let (first, last) = self.fill();
        let (empty, full, ratio) = compare(other, self);
        let filling = self.peak();
        let (spool, index) = (
            self.spool(),
            disk(&self.daemon.data_dir().join("spool/index")),
        );
        self.daemon.kill9();
        let after_kill = self.start_again();
        stop(&mut self.daemon);
        let after_stop = self.start_again();
        std::thread::sleep(Duration::from_secs(20));
        let started = self.peak();
        let (rate, tenth) = self.empty();
        let emptying = self.peak();
        let left = self.settle(before) as f64 - before as f64;
        [
            format!("{first:.0} | {last:.0} | {empty:.0} | {full:.0} | {ratio}"),
            format!("{after_kill:.1} | {after_stop:.1} | {filling:.0} | {started:.0}"),
            format!(
                "{:.2} | {:.2}",
                spool as f64 / content,
                index as f64 / content
            ),
            format!(
                "{rate:.0} | {:.2}",
                tenth as f64 / content * 100.0 / DEFERRED as f64
            ),
            format!("{emptying:.0} | {:.0}", left / MIB),
            format!(
                "{:.0}",
                disk(&self.daemon.data_dir().join("audit")) as f64 / MIB
            ),
        ]
        .join(" | ")
    }

    /// Messages a second that are accepted for the domain that answers.
    fn accepts(&mut self, messages: u64) -> f64 {
        let rate = self.send(ANSWERS, 1, self.answered, messages);
        self.answered += messages;
        self.answers.wait(self.answered);
        rate
    }

    /// Sends what stays; gives the rates of the first and the last piece.
    fn fill(&mut self) -> (f64, f64) {
        let piece = self.queued / PIECES;
        let mut rates = Vec::new();
        for number in 0..PIECES {
            let messages = match number {
                0 => self.queued - piece * (PIECES - 1),
                _ => piece,
            };
            rates.push(self.send(message::DOMAIN, self.domains, self.next, messages));
            self.next += messages;
        }
        (rates[0], rates[rates.len() - 1])
    }

    fn send(&self, domain: &str, sites: u64, first: u64, messages: u64) -> f64 {
        let load = Load {
            to: self.listen,
            messages,
            first,
            size: SIZE as usize,
            connections: CONNECTIONS,
            per_connection: 0,
            recipients: 1,
            sites,
            domain: domain.to_owned(),
            roots: None,
            lockstep: false,
        };
        let sent = load.send();
        assert_eq!(sent.accepted, messages, "the source had all accepted");
        messages as f64 / sent.seconds
    }

    /// Has the servers answer until all is delivered; gives the rate of the first part, and what
    /// the spool takes when a tenth is left.
    fn empty(&mut self) -> (f64, u64) {
        let mut sink = sink((Ipv4Addr::UNSPECIFIED, self.port).into(), DEFERRED);
        // So that it forgets whose servers did not answer. What was tried and deferred comes
        // later than the rest; by hand, not to wait for it.
        self.daemon.kill9();
        self.start_again();
        let begun = Instant::now();
        let taken = |id: &u64| !message::is_deferred(*id, DEFERRED);
        let first = (self.next - self.queued..self.next).filter(taken).count() as u64;
        let half = first / 2;
        let rate = half as f64 / (sink.wait(half) - begun).as_secs_f64();
        self.retry();
        sink.wait(first);
        let tenth = self.settle(0);
        sink.take_all();
        self.retry();
        sink.wait(self.queued);
        (rate, tenth)
    }

    /// Has the server try what waits, now.
    fn retry(&self) {
        let status = Command::new(&self.binary)
            .arg("--config")
            .arg(self.daemon.config_file())
            .args(["queue", "retry", "--sender", "load@clinic.example"])
            .stdout(std::process::Stdio::null())
            .status();
        // What is being delivered just then is named, with status 1.
        assert!(status.is_ok_and(|status| status.code().is_some_and(|code| code < 2)));
    }

    /// Waits until the spool shrinks no more, or is as small as `enough`; gives its size.
    fn settle(&self, enough: u64) -> u64 {
        let (mut least, mut since) = (u64::MAX, Instant::now());
        loop {
            let now = self.spool();
            if now < least {
                (least, since) = (now, Instant::now());
            }
            if now <= enough || since.elapsed() > QUIET {
                return now;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Starts the server; gives the seconds until it is ready.
    fn start_again(&mut self) -> f64 {
        let begun = Instant::now();
        start_again(&mut self.daemon);
        begun.elapsed().as_secs_f64()
    }

    fn spool(&self) -> u64 {
        disk(&self.daemon.data_dir().join("spool"))
    }

    /// The most memory since its start, MiB.
    fn peak(&self) -> f64 {
        let pid = self.daemon.pid().expect("the daemon is running");
        resident(pid).1 as f64 / MIB
    }
}

/// What two servers accept a second, the medians of some times in turn, and how much of the one
/// the other accepts: the median of the pairs, since what else goes on here comes and goes, with
/// the least and the most.
fn compare(one: &mut Plant, other: &mut Plant) -> (f64, f64, String) {
    let (mut ones, mut others, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let (first, second) = (one.accepts(BESIDE), other.accepts(BESIDE));
        ones.push(first);
        others.push(second);
        ratios.push(second / first);
    }
    let ratios = sorted(ratios);
    let (least, most) = (ratios[0], ratios[TIMES - 1]);
    let ratio = format!("{:.2} ({least:.2} to {most:.2})", ratios[TIMES / 2]);
    let median = |of: Vec<f64>| sorted(of)[TIMES / 2];
    (median(ones), median(others), ratio)
}

fn sorted(mut of: Vec<f64>) -> Vec<f64> {
    of.sort_by(f64::total_cmp);
    of
}

/// A sink that takes mail in clear.
fn sink(bind: SocketAddr, deferred: u64) -> Sink {
    let setup = Setup {
        bind,
        certificate: None,
        key: None,
        delay: 0,
        deferred,
        recipients: 1,
        soak: false,
    };
    Sink::start(&setup, None)
}

/// A server of names for the many domains: each has a mail server at an address of its own.
fn zones(domains: u64, port: u16) -> DnsServer {
    let dns = DnsServer::start((Ipv4Addr::LOCALHOST, 0).into());
    dns.ttl(86_400);
    for number in 0..domains {
        let host = message::domain("mx", number);
        dns.mx(&message::domain(message::DOMAIN, number), 10, &host);
        dns.a(&host, site(number, port).ip());
    }
    dns
}
