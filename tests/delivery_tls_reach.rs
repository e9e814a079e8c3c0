//! Old but legal far sides that rustls can't speak to: a second table in
//! `docs/tls-matrix.md`, from real handshakes, beside what OpenSSL's own client gets from
//! the same server. `POSTERN_MATRIX=write` writes it anew.

// A test may fail by panicking.
#![allow(clippy::unwrap_used)]

mod delivery_support;

use delivery_support::*;
use postern::types::TlsLevel;
use postern_lab::{Ca, Client, ClientTls, SmtpBuilder, TlsVersion};

const NIST: &str = "SP 800-52r2";
const RFC: &str = "RFC 8446";

/// How a server is bent into a far side.
type Bend = Box<dyn Fn(SmtpBuilder, &Ca) -> SmtpBuilder>;

/// A far side: its name, what allows it, whether it is above the floor, how it is made.
struct Row {
    name: String,
    allowed_by: &'static str,
    above_floor: bool,
    bend: Bend,
}

fn row(
    name: &str,
    allowed_by: &'static str,
    above_floor: bool,
    bend: impl Fn(SmtpBuilder, &Ca) -> SmtpBuilder + 'static,
) -> Row {
    Row {
        name: name.to_owned(),
        allowed_by,
        above_floor,
        bend: Box::new(bend),
    }
}

/// Only TLS 1.2, with this suite and a key that fits it.
fn suite(name: &'static str, above_floor: bool) -> Row {
    row(
        &format!("TLS 1.2, {name}"),
        NIST,
        above_floor,
        move |mx, ca| old(mx, ca, name),
    )
}

fn old(mx: SmtpBuilder, ca: &Ca, suite: &str) -> SmtpBuilder {
    let ca = match suite.contains("ECDSA") {
        true => ca.clone(),
        false => ca.rsa(2048),
    };
    mx.identity(ca.issue(&[MX]))
        .tls_versions(TlsVersion::V1_2, TlsVersion::V1_2)
        .ciphers(&format!("{suite}:@SECLEVEL=0"))
}

fn group(name: &'static str, allowed_by: &'static str) -> Row {
    row(
        &format!("TLS 1.3, group {name}"),
        allowed_by,
        true,
        move |mx, _| {
            mx.tls_versions(TlsVersion::V1_3, TlsVersion::V1_3)
                .groups(name)
        },
    )
}

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        ("ECDHE-ECDSA-AES256-SHA384", false),
        ("ECDHE-ECDSA-AES128-SHA256", false),
        ("ECDHE-RSA-AES256-SHA384", false),
        ("ECDHE-RSA-AES128-SHA256", false),
        ("ECDHE-RSA-AES128-SHA", false),
        ("DHE-RSA-AES256-SHA256", false),
        ("DHE-RSA-AES128-SHA256", false),
        ("DHE-RSA-AES256-GCM-SHA384", true),
        ("DHE-RSA-AES128-GCM-SHA256", true),
        ("DHE-RSA-AES256-CCM", true),
        ("ECDHE-ECDSA-AES256-CCM", true),
        ("ECDHE-ECDSA-AES128-CCM", true),
    ]
    .map(|(name, above_floor)| suite(name, above_floor))
    .into();
    for (name, allowed_by) in [("P-521", NIST), ("X448", RFC)] {
        let title = format!("TLS 1.2, ECDHE-RSA-AES256-GCM-SHA384, group {name}");
        rows.push(row(&title, allowed_by, true, move |mx, ca| {
            old(mx, ca, "ECDHE-RSA-AES256-GCM-SHA384").groups(name)
        }));
        rows.push(group(name, allowed_by));
    }
    rows.extend([group("ffdhe2048", NIST), group("ffdhe3072", NIST)]);
    rows.push(row(
        "TLS 1.3, TLS_AES_128_CCM_SHA256",
        NIST,
        true,
        |mx, _| {
            mx.tls_versions(TlsVersion::V1_3, TlsVersion::V1_3)
                .ciphersuites("TLS_AES_128_CCM_SHA256")
        },
    ));
    rows
}

/// What OpenSSL's client gets from the same server.
async fn openssl(world: &World) -> String {
    let tls = ClientTls::insecure()
        .ciphers("ALL:@SECLEVEL=1")
        .versions(TlsVersion::V1_2, TlsVersion::V1_3);
    let mut client = Client::connect(world.mx.addr()).await.unwrap();
    client.greet("relay.example").await.unwrap();
    match client.starttls(&tls, MX).await {
        Ok(_) => {
            let seen = client.tls().unwrap();
            format!("{} {}", seen.version, seen.cipher)
        }
        Err(_) => "nothing".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_whom_a_second_library_would_reach() {
    let mut table = String::from(
        "| old but legal far side | allowed by | floor | Postern, at `encrypted` | OpenSSL's client |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    let (mut lost, mut lost_above) = (Vec::new(), 0);
    let rows = rows();
    for row in &rows {
        let world = World::new(&row.bend);
        let fate = fate(&world.attempt(TlsLevel::Encrypted).await);
        let other = openssl(&world).await;
        if fate != "delivered" && other != "nothing" {
            lost.push(format!("| {} |", row.name));
            lost_above += usize::from(row.above_floor);
        }
        let floor = if row.above_floor { "above" } else { "below" };
        let (name, by) = (&row.name, row.allowed_by);
        table += &format!("| {name} | {by} | {floor} | {fate} | {other} |\n");
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tls-matrix.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let first = page.find("| far side |").unwrap();
    let matrix = page[first..].split("\n\n").next().unwrap();
    // Behind the title and the line below it.
    let all = matrix.lines().count() - 2;
    let in_matrix = lost.iter().filter(|name| matrix.contains(*name)).count();
    table += &format!(
        "\n{} of these {} far sides are out of reach for want of a library that speaks to \
         them; {lost_above} of those would be above the floor. {in_matrix} of the {all} rows of the \
         first table are such ({} %).\n",
        lost.len(),
        rows.len(),
        (100 * in_matrix + all / 2) / all,
    );
    let begin = page.find("| old but legal far side |").unwrap();
    let end = page[begin..]
        .find("\n## ")
        .map_or(page.len(), |at| begin + at);
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
