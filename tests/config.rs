//! The configuration file as a contract: defaults, every key's effect, and every
//! fault at once with its line.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;

use postern::config::{Config, parse};
use postern::spool::MasterKey;

const PATH: &str = "/etc/postern/postern.toml";
const HOSTNAME: &str = "hostname = \"relay.clinic.example\"\n";

fn shipped() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/postern.toml");
    std::fs::read_to_string(path).unwrap()
}

fn good(text: &str) -> (Config, BTreeSet<String>) {
    parse(text, Path::new(PATH)).unwrap_or_else(|e| panic!("{e}\n---\n{text}"))
}

/// The debug text of everything but path, hash and lines: what a key can change.
fn effect(text: &str) -> String {
    let (mut config, _) = good(text);
    config.hash = String::new();
    config.named.clear();
    format!("{config:#?}")
}

/// Uncomments the defaults, and the examples too if `examples`.
fn uncomment(text: &str, examples: bool) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let line = match line.strip_prefix("## ") {
            Some(example) if examples => example,
            Some(_) => "",
            None => match line.strip_prefix('#') {
                Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => {
                    rest
                }
                _ => line,
            },
        };
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[test]
fn the_shipped_file_shows_the_defaults() {
    let bare = effect(HOSTNAME);
    assert_eq!(effect(&shipped()), bare);
    assert_eq!(effect(&uncomment(&shipped(), false)), bare);
}

#[test]
fn the_shipped_file_shows_every_key() {
    let all = uncomment(&shipped(), true);
    // Asking with every table present makes all keys known.
    let (_, known) = good(&all);
    for key in &known {
        let last = key.rsplit('.').next().unwrap();
        let shown = all.lines().any(|line| {
            let name = line.split('=').next().unwrap_or_default().trim();
            name.rsplit('.').next() == Some(last)
        });
        assert!(shown, "conf/postern.toml does not show {key}");
    }
    for (key, _) in effects() {
        assert!(known.contains(key), "the table of effects names {key}");
    }
    let tested: BTreeSet<String> = effects().iter().map(|(key, _)| (*key).to_owned()).collect();
    let untested: Vec<_> = known.difference(&tested).collect();
    assert!(untested.is_empty(), "no effect is tested for {untested:?}");
}

const RELAY: &str =
    "[[listener]]\nbind = \"127.0.0.1:25\"\nkind = \"relay\"\nsender_domains = \"a.example\"\n";
const NET: &str = "networks = \"192.0.2.0/24\"\n";
const CERT: &str = "certificates = \"mx.a.example\"\n";
const RULE: &str = "[[rule]]\nname = \"r\"\ntls_level = \"authenticated\"\n";
const WHEN: &str = "when.recipient = \"x@a.example\"\n";
const ROUTE: &str = "[[route]]\ndomain = \"a.example\"\nhosts = \"mx.a.example\"\n";

/// Each key with two configurations that differ in it alone.
fn effects() -> Vec<(&'static str, [String; 2])> {
    let change = |before: &str, after: &str| [before.to_owned(), format!("{before}{after}")];
    let top = |line: &str| [String::new(), format!("{line}\n")];
    let section = |name: &str, line: &str| [String::new(), format!("[{name}]\n{line}\n")];
    let listener =
        |bind: &str, kind: &str| format!("[[listener]]\nbind = \"{bind}\"\nkind = \"{kind}\"\n");
    vec![
        ("data_dir", top("data_dir = \"/srv/postern\"")),
        ("control", top("control = \"/run/postern/control.sock\"")),
        ("postmaster", top("postmaster = \"it@clinic.example\"")),
        ("log_addresses", top("log_addresses = true")),
        (
            "tls.certificate",
            [
                "[tls]\ncertificate = \"a.pem\"\nprivate_key = \"key.pem\"\n".into(),
                "[tls]\ncertificate = \"b.pem\"\nprivate_key = \"key.pem\"\n".into(),
            ],
        ),
        (
            "tls.private_key",
            [
                "[tls]\ncertificate = \"a.pem\"\nprivate_key = \"key.pem\"\n".into(),
                "[tls]\ncertificate = \"a.pem\"\nprivate_key = \"other.pem\"\n".into(),
            ],
        ),
        (
            "listener.bind",
            [
                listener("127.0.0.1:587", "submission"),
                listener("127.0.0.1:588", "submission"),
            ],
        ),
        (
            "listener.kind",
            [
                listener("127.0.0.1:465", "submission"),
                listener("127.0.0.1:465", "submissions"),
            ],
        ),
        (
            "listener.tls",
            change(&format!("{RELAY}{NET}"), "tls = \"required\"\n"),
        ),
        (
            "listener.refuse_without_tls",
            change(&format!("{RELAY}{NET}"), "refuse_without_tls = true\n"),
        ),
        (
            "listener.networks",
            [
                format!("{RELAY}{NET}"),
                format!("{RELAY}networks = \"192.0.2.1\"\n"),
            ],
        ),
        (
            "listener.certificates",
            change(&format!("{RELAY}{NET}"), CERT),
        ),
        (
            "listener.require",
            change(&format!("{RELAY}{NET}{CERT}"), "require = \"both\"\n"),
        ),
        (
            "listener.client_roots",
            change(
                &format!("{RELAY}{CERT}"),
                "client_roots = [\"roots.pem\"]\n",
            ),
        ),
        (
            "listener.sender_domains",
            [
                format!("{RELAY}{NET}"),
                format!("{RELAY}{NET}").replace("a.example", "b.example"),
            ],
        ),
        ("log.format", section("log", "format = \"json\"")),
        ("log.level", section("log", "level = \"debug\"")),
        (
            "metrics.bind",
            section("metrics", "bind = \"127.0.0.1:9587\""),
        ),
        (
            "accounts.file",
            section("accounts", "file = \"people.toml\""),
        ),
        (
            "limits.message_size",
            section("limits", "message_size = \"20MiB\""),
        ),
        ("limits.recipients", section("limits", "recipients = 100")),
        ("limits.connections", section("limits", "connections = 10")),
        (
            "limits.connections_per_client",
            section("limits", "connections_per_client = 5"),
        ),
        (
            "spool.master_key",
            section("spool", "master_key = \"keys/spool\""),
        ),
        ("spool.max_size", section("spool", "max_size = \"1GiB\"")),
        (
            "dns.servers",
            section("dns", "servers = [\"127.0.0.1:5353\", \"192.0.2.53\"]"),
        ),
        ("network.blocked", section("network", "blocked = []")),
        (
            "network.https_port",
            section("network", "https_port = 8443"),
        ),
        (
            "network.https_roots",
            section("network", "https_roots = [\"ca.pem\"]"),
        ),
        ("delivery.port", section("delivery", "port = 2525")),
        ("delivery.retry", section("delivery", "retry = [\"1m\"]")),
        ("delivery.expire", section("delivery", "expire = \"2d\"")),
        (
            "delivery.delay_notice",
            section("delivery", "delay_notice = \"1h\""),
        ),
        (
            "delivery.sources",
            section("delivery", "sources = [\"192.0.2.7\"]"),
        ),
        (
            "delivery.prefer",
            section("delivery", "prefer = \"ipv4-only\""),
        ),
        (
            "delivery.connections",
            section("delivery", "connections = 7"),
        ),
        (
            "delivery.connections_per_site",
            section("delivery", "connections_per_site = 3"),
        ),
        ("trust.roots", section("trust", "roots = [\"ca.pem\"]")),
        (
            "security.methods",
            section("security", "methods = [\"tls\", \"drop\"]"),
        ),
        (
            "security.tls_level",
            section("security", "tls_level = \"authenticated\""),
        ),
        (
            "security.fallback_after",
            section("security", "fallback_after = \"1h\""),
        ),
        (
            "security.smime_cipher",
            section("security", "smime_cipher = \"aes-256-gcm\""),
        ),
        (
            "security.accept_encrypted",
            section("security", "accept_encrypted = true"),
        ),
        (
            "security.key_trust",
            section("security", "key_trust = \"verified\""),
        ),
        ("keys.discovery", section("keys", "discovery = []")),
        ("keys.refresh", section("keys", "refresh = \"12h\"")),
        ("keys.not_found", section("keys", "not_found = \"10m\"")),
        ("keys.cache", section("keys", "cache = 1000")),
        (
            "pgp.signing_key",
            change("[pgp]\n", "signing_key = \"keys/pgp.asc\"\n"),
        ),
        (
            "smime.signing_certificate",
            [
                "[smime]\nsigning_certificate = \"a.pem\"\nsigning_key = \"a.key\"\n".into(),
                "[smime]\nsigning_certificate = \"b.pem\"\nsigning_key = \"a.key\"\n".into(),
            ],
        ),
        (
            "smime.signing_key",
            [
                "[smime]\nsigning_certificate = \"a.pem\"\nsigning_key = \"a.key\"\n".into(),
                "[smime]\nsigning_certificate = \"a.pem\"\nsigning_key = \"b.key\"\n".into(),
            ],
        ),
        (
            "smime.authorities",
            change("[smime]\n", "authorities = \"a.pem\"\n"),
        ),
        (
            "smime.intermediates",
            change("[smime]\n", "intermediates = \"a.pem\"\n"),
        ),
        (
            "smime.revocations",
            change("[smime]\n", "revocations = \"a.crl\"\n"),
        ),
        (
            "smime.cipher",
            change("[smime]\n", "cipher = \"aes-256-gcm\"\n"),
        ),
        (
            "security.security_patience",
            section("security", "security_patience = \"1h\""),
        ),
        ("security.observe", section("security", "observe = true")),
        ("security.probe", section("security", "probe = false")),
        ("audit.keep", section("audit", "keep = \"30d\"")),
        ("dsn.cleartext", section("dsn", "cleartext = true")),
        (
            "rule.name",
            [
                format!("{RULE}{WHEN}"),
                format!("{RULE}{WHEN}").replace("\"r\"", "\"s\""),
            ],
        ),
        (
            "rule.methods",
            change(
                &format!("{RULE}{WHEN}"),
                "methods = [\"tls\", \"cleartext\"]\n",
            ),
        ),
        (
            "rule.refuse_without_tls",
            change(&format!("{RULE}{WHEN}"), "refuse_without_tls = true\n"),
        ),
        (
            "rule.tls_level",
            [
                format!("{RULE}{WHEN}methods = \"tls\"\n"),
                format!("{RULE}{WHEN}methods = \"tls\"\n").replace("authenticated", "encrypted"),
            ],
        ),
        (
            "rule.fallback_after",
            [
                format!("{RULE}{WHEN}"),
                format!("{RULE}fallback_after = \"1h\"\n{WHEN}"),
            ],
        ),
        (
            "rule.smime_cipher",
            [
                format!("{RULE}{WHEN}"),
                format!("{RULE}smime_cipher = \"aes-256-cbc\"\n{WHEN}"),
            ],
        ),
        (
            "rule.accept_encrypted",
            [
                format!("{RULE}{WHEN}"),
                format!("{RULE}accept_encrypted = true\n{WHEN}"),
            ],
        ),
        (
            "rule.key_trust",
            [
                format!("{RULE}{WHEN}"),
                format!("{RULE}key_trust = \"manual\"\n{WHEN}"),
            ],
        ),
        (
            "rule.security_patience",
            [
                format!("{RULE}{WHEN}"),
                format!("{RULE}security_patience = \"1h\"\n{WHEN}"),
            ],
        ),
        (
            "rule.hold",
            [
                format!("{RULE}{WHEN}"),
                format!("{RULE}hold = \"a reason\"\n{WHEN}"),
            ],
        ),
        (
            "rule.drop",
            [
                format!("{RULE}{WHEN}"),
                format!("{RULE}drop = \"a reason\"\n{WHEN}"),
            ],
        ),
        (
            "rule.when.subject_contains",
            change(
                &format!("{RULE}{WHEN}"),
                "when.subject_contains = \"[encrypt]\"\n",
            ),
        ),
        (
            "rule.when.header",
            change(
                &format!("{RULE}{WHEN}"),
                "when.header = \"X-Class: secret*\"\n",
            ),
        ),
        (
            "rule.when.min_size",
            change(&format!("{RULE}{WHEN}"), "when.min_size = \"1MiB\"\n"),
        ),
        (
            "rule.when.text_matches.pattern",
            change(
                &format!("{RULE}{WHEN}"),
                "when.text_matches.pattern = \"a+\"\n",
            ),
        ),
        (
            "rule.when.text_matches.at_least",
            change(
                &format!("{RULE}when.text_matches.pattern = \"a+\"\n"),
                "when.text_matches.at_least = 3\n",
            ),
        ),
        (
            "rule.when.sensitivity",
            change(&format!("{RULE}{WHEN}"), "when.sensitivity = \"private\"\n"),
        ),
        (
            "rule.when.sensitivity_label",
            change(
                &format!("{RULE}{WHEN}"),
                "when.sensitivity_label = \"secret\"\n",
            ),
        ),
        (
            "rule.strip_subject_tag",
            [
                format!("{RULE}when.subject_contains = \"[a]\"\n"),
                format!("{RULE}strip_subject_tag = true\nwhen.subject_contains = \"[a]\"\n"),
            ],
        ),
        (
            "rule.add_header",
            [
                format!("{RULE}{WHEN}"),
                format!("{RULE}add_header = \"X-A: b\"\n{WHEN}"),
            ],
        ),
        (
            "rule.remove_header",
            [
                format!("{RULE}{WHEN}"),
                format!("{RULE}remove_header = \"X-A\"\n{WHEN}"),
            ],
        ),
        (
            "rule.raise",
            [
                format!("{RULE}{WHEN}"),
                format!("{RULE}raise = true\n{WHEN}"),
            ],
        ),
        (
            "rule.when.recipient",
            change(&format!("{RULE}when.account = \"a\"\n"), WHEN),
        ),
        (
            "rule.when.sender",
            change(&format!("{RULE}{WHEN}"), "when.sender = \"y@a.example\"\n"),
        ),
        (
            "rule.when.recipient_domain",
            change(
                &format!("{RULE}{WHEN}"),
                "when.recipient_domain = \".a.example\"\n",
            ),
        ),
        (
            "rule.when.sender_domain",
            change(
                &format!("{RULE}{WHEN}"),
                "when.sender_domain = \"a.example\"\n",
            ),
        ),
        (
            "rule.when.account",
            change(&format!("{RULE}{WHEN}"), "when.account = \"lab\"\n"),
        ),
        (
            "rule.when.listener",
            change(&format!("{RULE}{WHEN}"), "when.listener = \"[::]:587\"\n"),
        ),
        (
            "route.domain",
            [
                ROUTE.to_owned(),
                ROUTE.replace("domain = \"a.example\"", "domain = \"*\""),
            ],
        ),
        (
            "route.hosts",
            [
                ROUTE.to_owned(),
                ROUTE.replace("mx.a.example", "mx.a.example:2525"),
            ],
        ),
        (
            "route.username",
            [
                format!("{ROUTE}username = \"a\"\npassword_file = \"p\"\n"),
                format!("{ROUTE}username = \"b\"\npassword_file = \"p\"\n"),
            ],
        ),
        (
            "route.password_file",
            [
                format!("{ROUTE}username = \"a\"\npassword_file = \"p\"\n"),
                format!("{ROUTE}username = \"a\"\npassword_file = \"q\"\n"),
            ],
        ),
    ]
    .into_iter()
    .map(|(key, pair)| (key, pair.map(|text| format!("{HOSTNAME}{text}"))))
    .chain([
        (
            "hostname",
            [HOSTNAME.to_owned(), HOSTNAME.replace("relay", "gate")],
        ),
        // `off` is its only value, so its effect is that others are refused.
        ("dns.dnssec", [HOSTNAME.to_owned(), String::new()]),
    ])
    .collect()
}

#[test]
fn every_key_has_an_effect() {
    for (key, [before, after]) in effects() {
        if key == "dns.dnssec" {
            let text = format!("{HOSTNAME}[dns]\ndnssec = \"validate\"\n");
            assert!(parse(&text, Path::new(PATH)).is_err());
            continue;
        }
        assert_ne!(effect(&before), effect(&after), "{key} changes nothing");
    }
}

/// Outside of the service its credentials are where systemd keeps them.
#[test]
fn the_master_key_may_be_a_credential() {
    let key = |value: &str| format!("{HOSTNAME}[spool]\nmaster_key = \"{value}\"\n");
    let (config, _) = good(&key("credential:postern.master"));
    let place = "/run/credentials/postern.service/postern.master";
    assert_eq!(
        config.spool.master_key,
        MasterKey::Credential(Path::new(place).to_owned())
    );
    let (config, _) = good(&key("keys/master"));
    assert_eq!(
        config.spool.master_key,
        MasterKey::File("/etc/postern/keys/master".into())
    );
    for bad in ["credential:", "credential:../master", "credential:a/b"] {
        let faults = parse(&key(bad), Path::new(PATH)).unwrap_err();
        assert!(faults.to_string().contains("no name of a cred"), "{faults}");
    }
}

#[test]
fn paths_are_relative_to_the_file() {
    let (config, _) = good("hostname = \"a.example\"\n[accounts]\nfile = \"people.toml\"\n");
    assert_eq!(
        config.ingress.accounts,
        Path::new("/etc/postern/people.toml")
    );
}

/// All faults come at once, each with its line.
#[test]
fn all_faults_at_once() {
    let text = r#"hostname = "under_score.example"
colour = "red"
log_addresses = "yes"
[limits]
recipients = 5
message_size = "50MB"
[delivery]
retry = ["5m", "soon"]
[security]
methods = ["cleartext", "tls"]
tls_level = "strong"
[[listener]]
bind = "587"
kind = "relay"
tsl = "required"
[[rule]]
name = "empty"
"#;
    let faults = parse(text, Path::new(PATH)).unwrap_err();
    let lines: Vec<usize> = faults.faults.iter().map(|f| f.line).collect();
    let text = faults.to_string();
    for (line, word) in [
        (1, "underscore"),
        (2, "unknown key \"colour\""),
        (3, "log_addresses must be true or false"),
        (5, "from 100"),
        (6, "50MiB"),
        (8, "soon"),
        (10, "directly after \"tls\""),
        (11, "authenticated or secure"),
        (13, "address and a port"),
        (16, "rule.when is missing"),
        (16, "does nothing"),
    ] {
        assert!(lines.contains(&line), "no fault in line {line}:\n{text}");
        assert!(text.contains(word), "nothing about {word}:\n{text}");
    }
    assert!(text.starts_with("/etc/postern/postern.toml:1: "), "{text}");
}

/// Keys and methods that are not built yet are errors like any unknown ones.
#[test]
fn what_is_not_built_is_refused() {
    for text in [
        "[security]\nmethods = [\"tls\", \"pgp\"]\n",
        "[audit]\nkeep = \"12h\"\n",
        "[audit]\nkeep = \"forever\"\n",
        "[network]\nhttps_port = 0\n",
        "[[rule]]\nname = \"a\"\nmethods = [\"tls\"]\nwhen.subject_contains = \"\"\n",
        "[[rule]]\nname = \"a\"\nmethods = [\"tls\"]\nwhen.header = \"X-Class\"\n",
        "[[rule]]\nname = \"a\"\nstrip_subject_tag = true\nwhen.account = \"x\"\n",
        "[[rule]]\nname = \"a\"\nremove_header = \"From\"\nwhen.account = \"x\"\n",
        "[[rule]]\nname = \"a\"\nadd_header = \"X-A: b\\nBcc: c@d.example\"\nwhen.account = \"x\"\n",
        "[[rule]]\nname = \"a\"\nmethods = [\"tls\"]\nwhen.min_size = \"much\"\n",
        "[[rule]]\nname = \"a\"\naccept_encrypted = true\nwhen.subject_contains = \"x\"\n",
        "[[rule]]\nname = \"a\"\nraise = true\naccept_encrypted = true\nwhen.account = \"x\"\n",
        "[[rule]]\nname = \"a\"\nhold = \"\"\nwhen.account = \"x\"\n",
        "[[rule]]\nname = \"a\"\ndrop = \"a\\nb\"\nwhen.account = \"x\"\n",
        "[[rule]]\nname = \"a\"\nhold = \"a\"\ndrop = \"b\"\nwhen.account = \"x\"\n",
        "[[rule]]\nname = \"a\"\nmethods = [\"tls\"]\nwhen.text_matches = { pattern = \"a(\" }\n",
        "[[rule]]\nname = \"a\"\nmethods = [\"tls\"]\nwhen.text_matches = { pattern = \"a*\" }\n",
        "[[rule]]\nname = \"a\"\nmethods = [\"tls\"]\nwhen.text_matches = { at_least = 2 }\n",
        "[[rule]]\nname = \"a\"\nmethods = [\"tls\"]\nwhen.text_matches = { pattern = \"a\", at_least = 0 }\n",
    ] {
        assert!(
            parse(&format!("{HOSTNAME}{text}"), Path::new(PATH)).is_err(),
            "{text}"
        );
    }
}

#[test]
fn nothing_makes_an_open_relay_by_accident() {
    for (text, word) in [
        (RELAY.to_owned(), "networks or certificates"),
        (format!("{RELAY}networks = \"0.0.0.0/0\"\n"), "open relay"),
        (
            format!("{RELAY}networks = [\"0.0.0.0/1\", \"128.0.0.0/1\"]\n"),
            "open relay",
        ),
        (format!("{RELAY}networks = \"2000::/3\"\n"), "open relay"),
        // All of IPv4, as IPv6 writes it.
        (
            format!("{RELAY}networks = \"::ffff:0.0.0.0/96\"\n"),
            "open relay",
        ),
        (
            format!("{RELAY}{NET}require = \"both\"\n"),
            "needs networks and certificates",
        ),
        (
            RELAY.replace("sender_domains = \"a.example\"\n", NET),
            "sender_domains",
        ),
        (
            format!("[[listener]]\nbind = \"127.0.0.1:587\"\nkind = \"submission\"\n{NET}"),
            "relay\" alone",
        ),
        (
            "[[listener]]\nbind = \"127.0.0.1:587\"\nkind = \"submission\"\ntls = \"optional\"\n"
                .into(),
            "passwords need TLS",
        ),
    ] {
        let faults = parse(&format!("{HOSTNAME}{text}"), Path::new(PATH)).unwrap_err();
        assert!(faults.to_string().contains(word), "{faults}");
    }
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let faults = parse(
        "hostname = \"a.example\"\n[limits\nx = 1\n",
        Path::new(PATH),
    )
    .unwrap_err();
    assert!(faults.faults.iter().any(|f| f.line == 2), "{faults}");
}
