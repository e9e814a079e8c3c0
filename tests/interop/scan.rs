//! What sslscan finds at the three kinds of listener: nothing older than TLS 1.2, no
//! suite below the floor, no renegotiation, no Heartbleed.
//!
//! Its report is read as text, an element a line. It can't tell of compression: the
//! OpenSSL it is built with has none, as rustls has none.

use std::net::SocketAddr;

use crate::house::House;
use crate::senders;
use crate::table::Table;

/// The suites of the floor (design section 1), for a server with an ECDSA key.
const FLOOR: [&str; 6] = [
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_sslscan_finds() {
    let (house, mut table) = (House::start().await, Table::default());
    let version = senders::version("sslscan");
    let listeners = [
        ("submission", house.submission, true),
        ("submissions", house.submissions, false),
        ("relay", house.relay, true),
    ];
    // It asks again and again, with pauses; all three at once.
    let scans = listeners
        .map(|(kind, addr, starttls)| (kind, std::thread::spawn(move || scan(addr, starttls))));
    for (kind, scan) in scans {
        let result = scan.join().unwrap().and_then(|report| judge(&report));
        table.row("sslscan", &version, &format!("{kind} listener"), result);
    }
    table.judge();
}

fn scan(addr: SocketAddr, starttls: bool) -> Result<String, String> {
    let mut command = senders::limited("sslscan");
    command.args(["--xml=-", "--show-ciphers"]);
    if starttls {
        command.arg("--starttls-smtp");
    }
    let output = command.arg(addr.to_string()).output();
    let output = output.map_err(|e| format!("sslscan: {e}; run tests/run interop"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn judge(report: &str) -> Result<String, String> {
    let (mut versions, mut suites) = (Vec::new(), 0);
    for line in report.lines().map(str::trim) {
        let value = |name: &str| attribute(line, name).unwrap_or_default();
        if line.starts_with("<protocol ") && value("enabled") != "0" {
            versions.push(format!("{}{}", value("type"), value("version")));
        } else if line.starts_with("<cipher ") {
            suites += 1;
            if !FLOOR.contains(&value("cipher")) {
                return Err(format!("below the floor: {line}"));
            }
        } else if line.starts_with("<renegotiation ") && value("supported") != "0" {
            return Err(format!("renegotiates: {line}"));
        } else if line.starts_with("<heartbleed ") && value("vulnerable") != "0" {
            return Err(line.to_owned());
        }
    }
    if versions != ["tls1.2", "tls1.3"] || suites < FLOOR.len() {
        return Err(format!("{versions:?}, {suites} suites:\n{report}"));
    }
    Ok(format!(
        "TLS 1.2 and 1.3, {suites} suites, no renegotiation"
    ))
}

/// The value of an attribute of an element.
fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let begin = element.find(&format!(" {name}=\""))? + name.len() + 3;
    element[begin..].split('"').next()
}
