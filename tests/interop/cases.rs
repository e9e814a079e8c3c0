//! The cases: what is tried with whom.

use std::process::Stdio;

use postern_lab::loopback;

use crate::bodies::{self, Body};
use crate::house::{House, PASSWORD, SENDER, TO, USER};
use crate::postfix::{Postfix, Setup};
use crate::senders::{self, Sender, Way};
use crate::table::Table;

/// Sends all bodies each way and looks at them in Postfix' maildir.
async fn through(sender: Sender, ways: &[(Way, &str, Vec<Body>)]) {
    let (house, mut table) = (House::start().await, Table::default());
    let version = sender.version();
    for (way, label, bodies) in ways {
        for (n, body) in bodies.iter().enumerate() {
            let id = format!("{}-{label}-{n}", sender.name()).replace([' ', '+'], "");
            let message = body.message(SENDER, TO, &id);
            let arriving = sender.arriving(body);
            let result = sender
                .submit(&house, *way, &message)
                .and_then(|()| house.arrives(&arriving, &id));
            table.row(
                sender.name(),
                &version,
                &format!("{label}: {}", arriving.name),
                result,
            );
        }
    }
    house.settled().await;
    table.row(
        "postfix",
        &Postfix::version(),
        &format!("receives from {}", sender.name()),
        house.only_tls_1_3(),
    );
    table.judge();
}

#[tokio::test]
async fn swaks() {
    let ways = [
        (
            Way::StartTls,
            "STARTTLS + AUTH PLAIN",
            bodies::not_empty(bodies::all()),
        ),
        (
            Way::Implicit,
            "tls-on-connect + AUTH LOGIN",
            bodies::not_empty(bodies::small()),
        ),
    ];
    through(Sender::Swaks, &ways).await;
}

#[tokio::test]
async fn smtplib() {
    let ways = [
        (Way::StartTls, "STARTTLS + AUTH", bodies::all()),
        (Way::Implicit, "SMTP_SSL + AUTH", bodies::all()),
    ];
    through(Sender::Smtplib, &ways).await;
}

#[tokio::test]
async fn msmtp() {
    let ways = [
        (Way::StartTls, "STARTTLS + AUTH PLAIN", bodies::all()),
        (Way::Implicit, "implicit TLS + AUTH PLAIN", bodies::small()),
    ];
    through(Sender::Msmtp, &ways).await;
}

#[tokio::test]
async fn curl() {
    let ways = [
        (Way::StartTls, "smtp:// --ssl-reqd + AUTH", bodies::all()),
        (Way::Implicit, "smtps:// + AUTH", bodies::all()),
    ];
    through(Sender::Curl, &ways).await;
}

#[tokio::test]
async fn s_nail() {
    let ways = [
        (Way::StartTls, "smtp-use-starttls, AUTH", bodies::all()),
        (Way::Implicit, "smtps:// + AUTH", bodies::small()),
    ];
    through(Sender::SNail, &ways).await;
}

#[tokio::test]
async fn aiosmtplib() {
    let ways = [
        (Way::StartTls, "start_tls + AUTH", bodies::all()),
        (Way::Implicit, "use_tls + AUTH", bodies::small()),
    ];
    through(Sender::AioSmtpLib, &ways).await;
}

#[tokio::test]
async fn nodemailer() {
    let ways = [
        (Way::StartTls, "requireTLS + AUTH", bodies::all()),
        (Way::Implicit, "secure + AUTH", bodies::small()),
    ];
    through(Sender::Nodemailer, &ways).await;
}

/// A Postfix without TLS gets nothing; the report arrives at another one and Python can read it.
#[tokio::test]
async fn a_postfix_without_tls_gets_nothing() {
    let (house, mut table) = (House::start().await, Table::default());
    let ip = loopback();
    let setup = Setup {
        host: "mx.weak.example",
        ip,
        port: house.port,
        domain: "weak.example",
        tls: "none",
        smarthost: None,
        lines: "",
    };
    let weak = Postfix::start(&house.ca, &setup);
    house
        .dns
        .mx("weak.example", 10, "mx.weak.example")
        .a("mx.weak.example", ip);
    submit_to(&house, "p@weak.example");
    let version = Postfix::version();
    let report = house
        .postfix
        .wait_message("report-type=", std::time::Duration::from_secs(30));
    table.row(
        "postfix",
        &version,
        "no TLS: the sender gets a report",
        report
            .as_ref()
            .map(|_| "arrived over TLSv1.3".into())
            .map_err(Clone::clone),
    );
    table.row(
        "postfix",
        &version,
        "no TLS: it sees no MAIL",
        saw_no_mail(&weak),
    );
    if let Ok(report) = report {
        table.row(
            "email",
            &senders::version("python3"),
            "reads the report",
            read(&house, &report),
        );
    }
    table.judge();
}

/// A message with markers in subject and body, by Python over STARTTLS.
fn submit_to(house: &House, to: &str) {
    let file = house.daemon.dir().join("weak.eml");
    let text =
        format!("From: {SENDER}\r\nTo: {to}\r\nSubject: Zebrafish-4711\r\n\r\nQuetzal-0815\r\n");
    std::fs::write(&file, text).unwrap();
    let addr = house.submission;
    let sent = senders::python("submit.py")
        .args(["starttls", &addr.ip().to_string(), &addr.port().to_string()])
        .arg(house.roots())
        .args([USER, PASSWORD, SENDER, to])
        .arg(&file)
        .output()
        .unwrap();
    assert!(sent.status.success(), "{sent:?}");
}

fn saw_no_mail(weak: &Postfix) -> Result<String, String> {
    let log = weak.log();
    let touched = log.contains("connect from") && weak.messages().is_empty();
    match touched && !log.contains("mail=") && !log.contains("from=<") {
        true => Ok("connected, nothing sent".to_owned()),
        false => Err(log),
    }
}

/// What Python's email package makes of a report; it must hold neither subject nor body.
fn read(house: &House, report: &[u8]) -> Result<String, String> {
    for secret in ["Zebrafish-4711", "Quetzal-0815"] {
        if memchr::memmem::find(report, secret.as_bytes()).is_some() {
            return Err(format!("{secret} is in the report"));
        }
    }
    let file = house.daemon.dir().join("report.eml");
    std::fs::write(&file, report).unwrap();
    let output = senders::python("read_dsn.py")
        .arg(&file)
        .arg("p@weak.example")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).replace('\n', " ");
    match output.status.success() {
        true => Ok(said.chars().take(29).collect()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// What OpenSSL's client gets at the listeners: TLS 1.2 and 1.3, and nothing older.
#[tokio::test]
async fn openssl() {
    let (house, mut table) = (House::start().await, Table::default());
    let version = senders::version("openssl");
    for (label, addr, starttls) in [
        ("STARTTLS", house.submission, true),
        ("implicit TLS", house.submissions, false),
    ] {
        for (flag, taken) in [
            ("-tls1_3", true),
            ("-tls1_2", true),
            ("-tls1_1", false),
            ("-tls1", false),
        ] {
            let mut command = senders::limited("openssl");
            command.args([
                "s_client",
                "-connect",
                &addr.to_string(),
                flag,
                "-cipher",
                "ALL:@SECLEVEL=0",
                "-CAfile",
            ]);
            command
                .arg(house.roots())
                .args(["-verify_return_error", "-brief"])
                .stdin(Stdio::null());
            if starttls {
                command.args(["-starttls", "smtp"]);
            }
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let result = match said.contains("CONNECTION ESTABLISHED") == taken {
                true if taken => Ok("taken".to_owned()),
                true => Ok("refused".to_owned()),
                false => Err(said),
            };
            table.row("openssl", &version, &format!("{label}: {flag}"), result);
        }
    }
    table.judge();
}
