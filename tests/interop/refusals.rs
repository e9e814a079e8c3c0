//! What a mail server does when Postern, its smarthost, says no: its own report comes back
//! through Postern and says in Postern's words why; and what is not for ever is tried again.

use std::time::{Duration, Instant};

use postern_lab::Client;

use crate::house::{LIMIT, SENDER, TO};
use crate::smarthost::{Mta, Running, Site, Way};
use crate::table::Table;

/// Nobody's but its own server's.
const STRANGER: &str = "mallory@other.example";

/// Waits for the server's report to this sender, which must have come through Postern and say
/// this.
fn report(site: &Site, to: &str, says: &str) -> Result<String, String> {
    let to = format!("\nDelivered-To: {to}\n");
    let of = ["Return-Path: <>\n", &to];
    let report = site.house.postfix.wait_message_with(&of, LIMIT)?;
    let report = String::from_utf8_lossy(&report);
    let words: Vec<&str> = report.split_whitespace().collect();
    let text = words.join(" ");
    if !text.contains("by relay.ward.example with ESMTPS") {
        return Err(format!(
            "the report did not come through Postern:\n{report}"
        ));
    }
    match text.contains(says) {
        true => Ok(format!("its report says {says:?}")),
        false => Err(format!("the report doesn't say {says:?}:\n{report}")),
    }
}

fn message(from: &str, id: &str) -> Vec<u8> {
    format!("From: {from}\r\nTo: {TO}\r\nSubject: Refused\r\nX-Lab-Id: {id}\r\n\r\nhi\r\n").into()
}

/// For ever: the sender is told.
async fn refused(mta: Mta, too_large: &str) {
    let site = Site::start("[limits]\nmessage_size = \"1MiB\"\n").await;
    let (mut table, name, version) = (Table::default(), mta.name(), mta.version());
    {
        let _running = site.run(mta, Way::Network, Way::Network);
        site.inject(STRANGER, &[TO], &message(STRANGER, "no")).await;
        let says = "The sender <mallory@other.example> is not allowed for this relay";
        let result = report(&site, STRANGER, says);
        table.row(name, &version, "a sender not allowed", result);
        let large = [message(SENDER, "large"), b"0123456789\r\n".repeat(100_000)].concat();
        site.inject(SENDER, &[TO], &large).await;
        table.row(
            name,
            &version,
            "a message too large",
            report(&site, SENDER, too_large),
        );
    }
    // To a listener that wants a certificate, without one: not even the report gets through.
    let running = site.run(mta, Way::Certificate, Way::Network);
    site.inject(SENDER, &[TO], &message(SENDER, "bare")).await;
    let said = "no client certificate of a name that may relay here was shown";
    let result = logs(&running, said).await;
    table.row(name, &version, "no certificate where one is needed", result);
    table.judge();
}

/// For a while: the message waits and arrives.
async fn deferred(mta: Mta) {
    let mut site = Site::start("[limits]\nconnections_per_client = 1\n").await;
    let (mut table, name, version) = (Table::default(), mta.name(), mta.version());
    {
        let running = site.run(mta, Way::Submission, Way::Submission);
        site.inject(SENDER, &[TO], &message(SENDER, "login")).await;
        let mut result = logs(&running, "535 5.7.8").await;
        site.add_account();
        result = result.and_then(|_| arrives(&site, "login"));
        table.row(name, &version, "no such account, then there is one", result);
    }
    let running = site.run(mta, Way::Network, Way::Network);
    let from = (site.mta.ip(), 0).into();
    let other = Client::connect_from(from, site.listener(Way::Network))
        .await
        .unwrap();
    site.inject(SENDER, &[TO], &message(SENDER, "busy")).await;
    let mut result = logs(&running, "421 4.7.0").await;
    drop(other);
    result = result.and_then(|_| arrives(&site, "busy"));
    table.row(
        name,
        &version,
        "421, too many connections, then not",
        result,
    );
    site.house.daemon.terminate().await;
    site.inject(SENDER, &[TO], &message(SENDER, "away")).await;
    let mut result = logs(&running, "Connection refused").await;
    site.house.daemon.start().await;
    result = result.and_then(|_| arrives(&site, "away"));
    table.row(name, &version, "Postern is away, then it is back", result);
    table.judge();
}

/// Waits until the server's log says this.
async fn logs(running: &Running, text: &str) -> Result<String, String> {
    let deadline = Instant::now() + LIMIT;
    while !running.log().contains(text) {
        if Instant::now() > deadline {
            return Err(format!("the log doesn't say {text:?}:\n{}", running.log()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(format!("its log says {text:?}"))
}

fn arrives(site: &Site, id: &str) -> Result<String, String> {
    let id = format!("\nX-Lab-Id: {id}\n");
    let arrived = site.house.postfix.wait_message(&id, LIMIT);
    arrived.map(|_| "waits, tries again, arrives".to_owned())
}

#[tokio::test]
async fn a_postfix_is_refused() {
    // It knows the limit by EHLO's SIZE, and does not even try.
    refused(Mta::Postfix, "exceeds size limit 1048576 of server").await;
}

#[tokio::test]
async fn a_postfix_is_deferred() {
    deferred(Mta::Postfix).await;
}
