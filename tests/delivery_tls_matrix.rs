//! The matrix of far sides that differ in TLS: `docs/tls-matrix.md`, a row each, with
//! what comes of mail to them and what the evidence says. This test makes the table
//! from real handshakes with OpenSSL and holds the page against it;
//! `POSTERN_MATRIX=write` writes it anew.

// A test may fail by panicking.
#![allow(clippy::unwrap_used)]

mod delivery_support;

use delivery_support::*;
use postern::types::{AuthenticatedBy, Fate, Report, TlsLevel};
use postern_lab::{Ca, Identity, Intolerance, SmtpBuilder, TlsVersion};

/// A row: what the far side is, and how it is bent into that.
type Row = (String, Box<dyn Fn(SmtpBuilder, &Ca) -> SmtpBuilder>);

fn row(name: &str, bend: impl Fn(SmtpBuilder, &Ca) -> SmtpBuilder + 'static) -> Row {
    (name.to_owned(), Box::new(bend))
}

/// Only TLS 1.2, with this suite and a key that fits it.
fn suite(name: &'static str) -> Row {
    row(&format!("TLS 1.2, {name}"), move |mx, ca| {
        let ca = match name.contains("ECDSA") {
            true => ca.clone(),
            false => ca.rsa(2048),
        };
        mx.identity(ca.issue(&[MX]))
            .tls_versions(TlsVersion::V1_2, TlsVersion::V1_2)
            .ciphers(&format!("{name}:@SECLEVEL=0"))
    })
}

fn group(name: &'static str) -> Row {
    row(&format!("TLS 1.3, group {name}"), move |mx, _| {
        mx.groups(name)
    })
}

/// Can't stand TLS 1.3 on offer, and says so by an alert.
fn alert(name: &str, number: u8) -> Row {
    let name = format!("alert {name} when TLS 1.3 is on offer");
    row(&name, move |mx, _| {
        mx.intolerant(Intolerance::AlertsAtTls13(number))
    })
}

fn certificate(name: &str, issue: impl Fn(&Ca) -> Identity + 'static) -> Row {
    row(&format!("certificate: {name}"), move |mx, ca| {
        mx.identity(issue(ca))
    })
}

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES256-SHA384",
        "ECDHE-RSA-AES128-SHA",
        "DHE-RSA-AES256-GCM-SHA384",
        "AES256-GCM-SHA384",
        "AES256-SHA",
        "ECDHE-RSA-NULL-SHA",
        "AECDH-AES256-SHA",
    ]
    .map(suite)
    .into();
    rows.extend(
        [
            "X25519",
            "P-256",
            "P-384",
            "P-521",
            "X448",
            "X25519MLKEM768",
            "SecP256r1MLKEM768",
            "SecP384r1MLKEM1024",
            "MLKEM768",
        ]
        .map(group),
    );
    for (name, version) in [("TLS 1.0", TlsVersion::V1_0), ("TLS 1.1", TlsVersion::V1_1)] {
        rows.push(row(name, move |mx, _| mx.tls_versions(version, version)));
    }
    rows.extend([
        certificate("RSA-1024", |ca| ca.rsa(1024).issue(&[MX])),
        certificate("RSA-2048", |ca| ca.rsa(2048).issue(&[MX])),
        certificate("RSA-4096", |ca| ca.rsa(4096).issue(&[MX])),
        certificate("ECDSA P-256", |ca| ca.issue(&[MX])),
        certificate("ECDSA P-384", |ca| ca.p384().issue(&[MX])),
        certificate("Ed25519", |ca| ca.ed25519().issue(&[MX])),
        certificate("expired", |ca| ca.issue_expired(&[MX])),
        certificate("not yet valid", |ca| ca.issue_not_yet_valid(&[MX])),
        certificate("of another name", |ca| ca.issue(&["mx.other.example"])),
        certificate("wildcard", |ca| ca.issue(&["*.clinic.example"])),
        certificate("wildcard one label too high", |ca| ca.issue(&["*.example"])),
        certificate("self-signed", |_| Identity::self_signed(&[MX])),
        certificate("of a client's kind", |ca| ca.issue_client(MX)),
        certificate("by an intermediate", |ca| {
            ca.intermediate(None).issue(&[MX])
        }),
        certificate("four intermediates", |ca| {
            let fourth = (0..4).fold(ca.clone(), |ca, _| ca.intermediate(None));
            fourth.issue(&[MX])
        }),
        certificate("intermediate not sent", |ca| {
            let mut identity = ca.intermediate(None).issue(&[MX]);
            let own = identity.chain.find("-----END").unwrap();
            let end = identity.chain[own..].find('\n').unwrap();
            identity.chain.truncate(own + end + 1);
            identity
        }),
        certificate("name constraints that allow it", |ca| {
            ca.intermediate(Some("clinic.example")).issue(&[MX])
        }),
        certificate("name constraints that forbid it", |ca| {
            ca.intermediate(Some("other.example")).issue(&[MX])
        }),
        row("asks for a client certificate", |mx, ca| {
            mx.client_certificates(ca)
        }),
        row("sends ten session tickets", |mx, _| mx.tickets(10)),
        row("closes when TLS 1.3 is on offer", |mx, _| {
            mx.intolerant(Intolerance::ClosesAtTls13)
        }),
        alert("internal_error", 80),
        alert("decode_error", 50),
        alert("protocol_version", 70),
        alert("handshake_failure", 40),
        row("closes instead of a handshake", |mx, _| mx.handshake_cut()),
        row("STARTTLS hidden", |mx, _| mx.no_starttls()),
        row("STARTTLS masked", |mx, _| mx.starttls_masked()),
        row("STARTTLS answered 454", |mx, _| {
            mx.starttls_reply("454 4.7.0 not now")
        }),
    ]);
    rows
}

/// What came of it, and what the evidence says of the transport.
fn cell(report: &Report, saw_mail: bool) -> String {
    let recipient = &report.recipients[0];
    let is_delivered = matches!(recipient.fate, Fate::Delivered(_));
    assert_eq!(
        is_delivered, saw_mail,
        "MAIL FROM where nothing was delivered"
    );
    match recipient.evidence.tls.as_ref().filter(|_| is_delivered) {
        Some(tls) => {
            let by = recipient.evidence.authenticated_by;
            let by = by.map_or("nobody", AuthenticatedBy::as_str);
            format!(
                "delivered: {} {} {}, authenticated by {by}",
                tls.version, tls.cipher, tls.group
            )
        }
        None => fate(report),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_what_each_far_side_gets() {
    let mut table =
        String::from("| far side | at `encrypted` | at `authenticated` |\n| --- | --- | --- |\n");
    for (name, bend) in rows() {
        let mut cells = Vec::new();
        for level in [TlsLevel::Encrypted, TlsLevel::Authenticated] {
            let world = World::new(&bend);
            let report = world.attempt(level).await;
            cells.push(cell(&report, world.saw("MAIL")));
        }
        table += &format!("| {name} | {} |\n", cells.join(" | "));
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tls-matrix.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let begin = page.find("| far side |").unwrap();
    let end = begin + page[begin..].find("\n\n").unwrap() + 1;
    if std::env::var("POSTERN_MATRIX").as_deref() == Ok("write") {
        let page = [&page[..begin], &table, &page[end..]].concat();
        std::fs::write(&path, page).unwrap();
    } else {
        assert!(
            page[begin..end] == table,
            "docs/tls-matrix.md is not what is:\n{table}"
        );
    }
}
