//! Dialogs with far sides, a file a case: `tests/dialogs/egress`, where README.md
//! tells the format. A case is added without touching code.

use std::net::IpAddr;

use postern_lab::{DnsServer, cases, unescape};

use super::*;
use crate::dns::{self, DnsFailure, DnsResolver};

/// A case as its file has it.
struct Dialog {
    hosts: Vec<FarSide>,
    recipients: Vec<String>,
    methods: Option<Vec<String>>,
    level: TlsLevel,
    /// The message, if it is not the usual one.
    body: Option<String>,
    /// Lines of DNS, if it is not the usual one.
    dns: Vec<String>,
    /// Lines for a DNS server, if the real resolver is to ask one.
    zones: Vec<String>,
    /// What must come of it, each a line without its `=> `.
    expected: Vec<String>,
}

#[tokio::test(start_paused = true)]
async fn every_dialog_ends_as_its_file_says() {
    let mut wrong = Vec::new();
    for (name, text) in cases("egress", 120) {
        for fault in play(&text).await {
            wrong.push(format!("{name}: {fault}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Those in which the real resolver asks a DNS server, so the clock is the world's.
#[tokio::test]
async fn every_dialog_over_real_dns_ends_as_its_file_says() {
    let mut wrong = Vec::new();
    for (name, text) in cases("egress-dns", 5) {
        for fault in play(&text).await {
            wrong.push(format!("{name}: {fault}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Plays a dialog; gives what came out otherwise than expected.
async fn play(text: &str) -> Vec<String> {
    let ca = Ca::new();
    let dialog = read(text, &ca);
    assert!(!dialog.expected.is_empty(), "nothing is expected");
    let hosts: Vec<&FarSide> = dialog.hosts.iter().collect();
    let mut world = World::new(ca, &hosts).level(dialog.level);
    if let Some(methods) = &dialog.methods {
        world = world.methods(&methods.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let recipients: Vec<&str> = dialog.recipients.iter().map(String::as_str).collect();
    if !dialog.dns.is_empty() {
        world.dns = dialog.dns.iter().fold(FakeDns::new(), zone);
    }
    let server = DnsServer::start("127.0.0.1:0".parse().unwrap());
    if !dialog.zones.is_empty() {
        dialog.zones.iter().for_each(|line| serve(&server, line));
        let settings = dns::Settings {
            servers: vec![server.addr()],
        };
        world.resolver = Some(Arc::new(DnsResolver::new(&settings).unwrap()));
    }
    let dialled = world.network.dialled.clone();
    let (deliverer, _) = world.deliverer();
    let job = match &dialog.body {
        Some(body) => job_with(&recipients, body),
        None => job(&recipients),
    };
    let report = attempt(&deliverer, &job, &mut Lane::default()).await;
    let dialled = dialled.lock().unwrap().clone();
    let fates = fates(&report);
    let mut wrong = Vec::new();
    for expected in &dialog.expected {
        let found = find(expected, &dialog, &fates, &dialled);
        if found != *expected {
            wrong.push(format!("expected \"{expected}\", found \"{found}\""));
        }
    }
    wrong
}

/// What is the case, in the words of an expectation.
fn find(expected: &str, dialog: &Dialog, fates: &[String], dialled: &[IpAddr]) -> String {
    let counts = |count: &dyn Fn(&FarSide) -> usize| {
        let counts: Vec<_> = dialog.hosts.iter().map(|h| count(h).to_string()).collect();
        counts.join(" ")
    };
    match expected.split_once(' ').unwrap() {
        ("connections", _) => format!("connections {}", counts(&FarSide::connections)),
        ("dialled", _) => {
            let all: Vec<_> = dialled.iter().map(ToString::to_string).collect();
            match all.is_empty() {
                true => "dialled none".to_owned(),
                false => format!("dialled {}", all.join(" ")),
            }
        }
        ("dials", _) => format!("dials {}", dialled.len()),
        ("ends", wanted) => {
            let bodies = dialog.hosts.iter().flat_map(FarSide::bodies);
            let last = bodies.last().unwrap_or_default();
            match last.ends_with(unescape(wanted).as_bytes()) {
                true => expected.to_owned(),
                false => format!("ends {:?}", String::from_utf8_lossy(&last)),
            }
        }
        ("messages", _) => format!("messages {}", counts(&messages)),
        ("never", verb) => match dialog.hosts.iter().any(|host| host.heard_any(verb)) {
            true => format!("heard {verb}"),
            false => expected.to_owned(),
        },
        ("heard", verb) => match dialog.hosts.iter().any(|host| host.heard_any(verb)) {
            true => expected.to_owned(),
            false => format!("never {verb}"),
        },
        (recipient, _) => {
            let at = dialog.recipients.iter().position(|r| r == recipient);
            let at = at.unwrap_or_else(|| panic!("{recipient} is no recipient"));
            format!("{recipient} {}", fates[at])
        }
    }
}

/// A line of DNS: `mx PREFERENCE HOST ...`, `a NAME ADDRESS ...`, `known NAME`, or a
/// name whose records `fail`.
fn zone(dns: FakeDns, line: &String) -> FakeDns {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["mx", "fails"] => dns.mx_fails("b.example", DnsFailure::Refused("SERVFAIL".into())),
        ["mx", "times-out"] => dns.mx_fails("b.example", DnsFailure::TimedOut),
        ["mx", ref set @ ..] => {
            let pairs = set
                .chunks(2)
                .map(|pair| (pair[0].parse().unwrap(), pair[1]));
            dns.mx("b.example", &pairs.collect::<Vec<(u16, &str)>>())
        }
        ["a", name, "fails"] => dns.a_fails(name, DnsFailure::Refused("SERVFAIL".into())),
        ["a", name, ref all @ ..] => all.iter().fold(dns, |dns, ip| dns.a(name, ip)),
        ["known", name] => dns.known(name),
        ["unknown", _] => dns,
        _ => panic!("\"{line}\" is no line of DNS"),
    }
}

/// A line for the DNS server: `mx DOMAIN PREFERENCE HOST`, `many-mx DOMAIN NUMBER` (all
/// hosts at 192.0.2.99, where nobody is), `a NAME ADDRESS`, `cname NAME NAME`, or a
/// name with a manner.
fn serve(server: &DnsServer, line: &String) {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["mx", domain, preference, host] => server.mx(domain, preference.parse().unwrap(), host),
        ["many-mx", domain, number] => {
            for n in 0..number.parse().unwrap() {
                let host = format!("mx{n}.{domain}");
                server.mx(domain, n, &host).a(&host, "192.0.2.99");
            }
            server
        }
        ["a", name, address] => server.a(name, address),
        ["cname", name, target] => server.cname(name, target),
        ["servfail", name] => server.servfail(name),
        ["truncated", name] => server.truncate(name),
        ["no-tcp", name] => server.no_tcp(name),
        ["unfollowed", name] => server.unfollowed(name),
        _ => panic!("\"{line}\" is no line of a zone"),
    };
}

/// The usual job with another message.
fn job_with(recipients: &[&str], body: &str) -> Job {
    let octets = Bytes::copy_from_slice(body.as_bytes());
    let mut job = job_of(recipients, MemoryBody::new([octets]));
    Arc::make_mut(&mut job.message).facts.eight_bit = !body.is_ascii();
    job
}

/// Messages that a host got; a dot alone takes back a DATA (E9) and is none.
fn messages(host: &FarSide) -> usize {
    let bodies = host.bodies();
    bodies.iter().filter(|body| *body != b".\r\n").count()
}

fn read(text: &str, ca: &Ca) -> Dialog {
    let mut dialog = Dialog {
        hosts: Vec::new(),
        recipients: vec!["a".to_owned()],
        methods: None,
        level: TlsLevel::Encrypted,
        body: None,
        dns: Vec::new(),
        zones: Vec::new(),
        expected: Vec::new(),
    };
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "host" => {
                let host = host(rest, dialog.hosts.len() + 1, ca);
                dialog.hosts.push(host);
            }
            "to" => dialog.recipients = words(rest),
            "methods" => dialog.methods = Some(words(rest)),
            "level" => dialog.level = level(rest),
            "body" => dialog.body = Some(unescape(rest)),
            "dns" => dialog.dns.push(rest.to_owned()),
            "zone" => dialog.zones.push(rest.to_owned()),
            "=>" => dialog.expected.push(rest.to_owned()),
            verb => {
                let host = dialog.hosts.pop().expect("a host before its replies");
                dialog.hosts.push(host.says(verb, &[&unescape(rest)]));
            }
        }
    }
    dialog
}

/// `tls`, `untrusted` (a certificate of nobody's) or `plain`, then what EHLO offers.
fn host(line: &str, number: usize, ca: &Ca) -> FarSide {
    let mut words = line.split(", ");
    let name = format!("mx{number}.b.example");
    let tls = match words.next().unwrap() {
        "tls" => ca.tls(&name),
        "wrong-name" => ca.tls("other.example"),
        "untrusted" => Ca::new().tls(&name),
        "plain" => None,
        other => panic!("\"{other}\" is no kind of host"),
    };
    let offers: Vec<&str> = words.collect();
    match offers.is_empty() {
        true => FarSide::new(tls),
        false => FarSide::offering(tls, &offers),
    }
}

fn level(word: &str) -> TlsLevel {
    match word {
        "encrypted" => TlsLevel::Encrypted,
        "authenticated" => TlsLevel::Authenticated,
        "secure" => TlsLevel::Secure,
        other => panic!("\"{other}\" is no level"),
    }
}
