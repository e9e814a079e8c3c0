//! Mail servers that hand their mail to Postern, their smarthost, in each of the ways that
//! `docs/smarthost.md` shows.

use crate::bodies::{self, Body};
use crate::house::{LIMIT, SENDER, TO, arrived};
use crate::opensmtpd::Build;
use crate::site::{Mta, Site, Way};
use crate::table::Table;

/// Another recipient than `TO`, in the same envelope.
const ALSO: &str = "q@clinic.example";

/// All bodies, each way.
async fn each_way(mta: impl Fn(Way) -> Mta) {
    if !mta(Way::Submission).may_run() {
        return;
    }
    let (site, mut table) = (Site::start("").await, Table::default());
    site.add_account();
    for way in Way::ALL {
        let mta = mta(way);
        let (name, version) = (mta.name(), mta.version());
        let running = site.run(mta, way, way);
        for (case, result) in site.all_bodies(name, way).await {
            table.row(name, &version, &case, result);
        }
        let case = format!("{}: it verifies the relay", way.label());
        table.row(name, &version, &case, running.verified());
    }
    table.judge();
}

#[tokio::test]
async fn postfix() {
    each_way(|_| Mta::Postfix).await;
}

impl Site {
    /// Sends all bodies, then looks at each where it arrives.
    async fn all_bodies(&self, mta: &str, way: Way) -> Vec<(String, Result<String, String>)> {
        let bodies = match way {
            Way::Submission => bodies::all(),
            _ => bodies::small(),
        };
        let id = |n: usize| format!("{mta}-{}-{n}", way.label()).replace([' ', '+'], "");
        for (n, body) in bodies.iter().enumerate() {
            let message = body.message(SENDER, TO, &id(n));
            self.inject(SENDER, &[TO, ALSO], &message).await;
        }
        let look = |(n, body): (usize, &Body)| {
            let case = format!("{}: {}", way.label(), body.name);
            (case, self.arrives(way, body, &id(n)))
        };
        bodies.iter().enumerate().map(look).collect()
    }

    /// Body, envelope, and how Postern says it came in, for each recipient.
    fn arrives(&self, way: Way, body: &Body, id: &str) -> Result<String, String> {
        let id = format!("\nX-Lab-Id: {id}\n");
        let mut result = Err("no recipient".to_owned());
        for to in [TO, ALSO] {
            let to = format!("\nDelivered-To: {to}\n");
            let message = self.house.postfix.wait_message_with(&[&id, &to], LIMIT)?;
            let head = String::from_utf8_lossy(&message[..message.len().min(4096)]);
            if !head.starts_with(&format!("Return-Path: <{SENDER}>\n")) {
                return Err(format!("another envelope sender:\n{head}"));
            }
            let words: Vec<&str> = head.split_whitespace().collect();
            let by = format!("by relay.ward.example with {} id", way.protocol());
            if !words.join(" ").contains(&by) {
                return Err(format!("not {by:?}:\n{head}"));
            }
            result = arrived(&message, body);
            result.as_ref().map_err(Clone::clone)?;
        }
        result
    }
}

#[tokio::test]
async fn exim() {
    each_way(|_| Mta::Exim).await;
}

/// Debian's build shows no certificate; see `opensmtpd.rs`.
#[tokio::test]
async fn opensmtpd() {
    let build = |way| match way {
        Way::Certificate | Way::Both => Mta::OpenSmtpd(Build::Mended),
        _ => Mta::OpenSmtpd(Build::Shipped),
    };
    each_way(build).await;
    let shipped = Mta::OpenSmtpd(Build::Shipped);
    if !shipped.may_run() {
        return;
    }
    let (site, mut table) = (Site::start("").await, Table::default());
    let running = site.run(shipped, Way::Certificate, Way::Certificate);
    site.inject(SENDER, &[TO], b"Subject: hello\r\n\r\nhi\r\n")
        .await;
    let result = running.logs("No valid route").await;
    let result = result.and_then(|_| match site.house.daemon.log() {
        log if log.contains("TLS handshake failed") => {
            Ok("no handshake, the message waits".to_owned())
        }
        log => Err(log),
    });
    let case = "relay by certificate: Debian's build unmended";
    table.row(shipped.name(), &shipped.version(), case, result);
    table.judge();
}
