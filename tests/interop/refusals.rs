//! What a mail server does when Postern, its smarthost, says no: its own report comes back
//! through Postern and says in Postern's words why; and what is not for ever is tried again.

use postern_lab::Client;

use crate::house::{LIMIT, SENDER, TO};
use crate::opensmtpd::Build;
use crate::site::{Mta, Running, Site, Way};
use crate::table::Table;

/// Those whom nothing allows to send here; their own server is the lab's.
const STRANGER: &str = "mallory@other.example";
const ANOTHER: &str = "trent@other.example";

/// Waits for the server's report to this sender, which must have come through Postern and say
/// this.
fn report(site: &Site, running: &Running, to: &str, says: &str) -> Result<String, String> {
    let to = format!("\nDelivered-To: {to}\n");
    let of = ["Return-Path: <>\n", &to];
    let report = site.house.postfix.wait_message_with(&of, LIMIT);
    let report = report.map_err(|_| format!("no report; its log:\n{}", running.log()))?;
    let report = String::from_utf8_lossy(&report);
    let words: Vec<&str> = report.split_whitespace().collect();
    let text = words.join(" ");
    if !text.contains("by relay.ward.example with ESMTPS") {
        return Err(format!(
            "the report did not come through Postern:\n{report}"
        ));
    }
    // By which Postern decides, the envelope being empty.
    if !text
        .to_lowercase()
        .contains("mailer-daemon@mta.ward.example")
    {
        return Err(format!("the report is from somebody else:\n{report}"));
    }
    match text.contains(says) {
        true => Ok(format!("its report says {says:?}")),
        false => Err(format!("the report doesn't say {says:?}:\n{report}")),
    }
}

fn message(from: &str, id: &str) -> Vec<u8> {
    format!("From: {from}\r\nTo: {TO}\r\nSubject: Refused\r\nX-Lab-Id: {id}\r\n\r\nhi\r\n").into()
}

/// For ever: the sender is told; of a message that is too large not by every server.
async fn refused(mta: Mta, too_large: &str, reported: bool) {
    if !mta.may_run() {
        return;
    }
    let site = Site::start("[limits]\nmessage_size = \"1MiB\"\n").await;
    let (mut table, name, version) = (Table::default(), mta.name(), mta.version());
    {
        let running = site.run(mta, Way::Network, Way::Network);
        site.inject(STRANGER, &[TO], &message(STRANGER, "no")).await;
        let says = "The sender <mallory@other.example> is not allowed for this relay";
        let result = report(&site, &running, STRANGER, says);
        table.row(name, &version, "a sender not allowed", result);
        let large = [message(SENDER, "large"), b"0123456789\r\n".repeat(100_000)].concat();
        site.inject(SENDER, &[TO], &large).await;
        let result = match reported {
            true => report(&site, &running, SENDER, too_large),
            false => running.logs(too_large).await,
        };
        table.row(name, &version, "a message too large", result);
    }
    {
        site.add_account();
        let running = site.run(mta, Way::Submission, Way::Submission);
        site.inject(ANOTHER, &[TO], &message(ANOTHER, "no")).await;
        let says = "The sender <trent@other.example> is not allowed for account mta";
        let result = report(&site, &running, ANOTHER, says);
        table.row(
            name,
            &version,
            "a sender not allowed for the account",
            result,
        );
    }
    // To a listener that wants a certificate, without one: not even the report gets through.
    let running = site.run(mta, Way::Certificate, Way::Network);
    site.inject(SENDER, &[TO], &message(SENDER, "bare")).await;
    let said = "no client certificate of a name that may relay here was shown";
    let result = running.logs(said).await;
    table.row(name, &version, "no certificate where one is needed", result);
    table.judge();
}

/// For a while: the message waits and arrives.
async fn deferred(mta: Mta) {
    if !mta.may_run() {
        return;
    }
    let mut site = Site::start("[limits]\nconnections_per_client = 1\n").await;
    let (mut table, name, version) = (Table::default(), mta.name(), mta.version());
    {
        let running = site.run(mta, Way::Submission, Way::Submission);
        site.inject(SENDER, &[TO], &message(SENDER, "login")).await;
        let mut result = running.logs("535 5.7.8").await;
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
    let mut result = running.logs("421 4.7.0").await;
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
    let mut result = running.logs("Connection refused").await;
    site.house.daemon.start().await;
    result = result.and_then(|_| arrives(&site, "away"));
    table.row(name, &version, "Postern is away, then it is back", result);
    table.judge();
}

fn arrives(site: &Site, id: &str) -> Result<String, String> {
    let id = format!("\nX-Lab-Id: {id}\n");
    let arrived = site.house.postfix.wait_message(&id, LIMIT);
    arrived.map(|_| "waits, tries again, arrives".to_owned())
}

#[tokio::test]
async fn a_postfix_is_refused() {
    // It knows the limit by EHLO's SIZE, and does not even try.
    refused(Mta::Postfix, "exceeds size limit 1048576 of server", true).await;
}

/// An account without the server's own name: its report is refused, and that was it.
#[tokio::test]
async fn a_postfix_without_its_own_name_loses_reports() {
    let (site, mut table) = (Site::start("").await, Table::default());
    site.house.add_account("mta", &["@ward.example"]);
    let running = site.run(Mta::Postfix, Way::Submission, Way::Submission);
    site.inject(STRANGER, &[TO], &message(STRANGER, "no")).await;
    let said = "The From address <MAILER-DAEMON@mta.ward.example> is not allowed for account mta";
    let case = "its own name is no sender: no report";
    table.row(
        "postfix",
        &Mta::Postfix.version(),
        case,
        running.logs(said).await,
    );
    table.judge();
}

#[tokio::test]
async fn a_postfix_is_deferred() {
    deferred(Mta::Postfix).await;
}

#[tokio::test]
async fn an_exim_is_refused() {
    refused(
        Mta::Exim,
        "552 5.3.4 Message too large: the limit is 1048576 octets",
        true,
    )
    .await;
}

#[tokio::test]
async fn an_exim_is_deferred() {
    deferred(Mta::Exim).await;
}

#[tokio::test]
async fn an_opensmtpd_is_refused() {
    // Its report holds the whole message, and is too large itself.
    refused(
        Mta::OpenSmtpd(Build::Shipped),
        "message too large for peer",
        false,
    )
    .await;
}

/// It tries again only after minutes: so just that it will.
#[tokio::test]
async fn an_opensmtpd_is_deferred() {
    let mta = Mta::OpenSmtpd(Build::Shipped);
    if !mta.may_run() {
        return;
    }
    let (site, mut table) = (Site::start("").await, Table::default());
    let running = site.run(mta, Way::Submission, Way::Submission);
    site.inject(SENDER, &[TO], &message(SENDER, "login")).await;
    let result = running.logs("535 5.7.8").await;
    let result = match result {
        Ok(_) => running.logs("result=\"TempFail\"").await,
        error => error,
    };
    let case = "no such account: the message waits";
    table.row(mta.name(), &mta.version(), case, result);
    table.judge();
}
