//! Postfix as a receiver; what it can't do by itself, a policy server beside it does
//! (SMTPD_POLICY_README).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_lab::Identity;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{Case, note};
use crate::gate::{Gate, Place};
use crate::mailbox::Ends;
use crate::postfix::{Postfix, Setup};
use crate::table::Table;

/// With these lines in main.cf, and this certificate.
fn start(gate: &Gate, case: &str, lines: &str, own: Option<Identity>) -> Case<Postfix> {
    let place = gate.place(&format!("postfix.{case}.example"));
    let identity = own.unwrap_or_else(|| gate.ca.issue(&[&place.host]));
    let server = serve(&place, lines, &identity);
    Case {
        place,
        mail: server.mail(),
        ends: Ends::Lf,
        server,
    }
}

fn serve(place: &Place, lines: &str, identity: &Identity) -> Postfix {
    let setup = Setup {
        host: &place.host,
        ip: place.addr.ip(),
        port: place.addr.port(),
        domain: &format!("{}, postfix.strict.example", place.domain),
        tls: "may",
        smarthost: None,
        lines: &format!("enable_original_recipient = no\n{lines}\n"),
    };
    Postfix::start_as(identity, &setup)
}

#[tokio::test]
async fn postfix() {
    let version = Postfix::version();
    let (gate, mut table) = (Gate::start().await, Table::default());
    let new = |case, lines: &str| start(&gate, case, lines, None);
    let ask = |policy| format!("smtpd_recipient_restrictions = check_policy_service inet:{policy}");
    let plain = new("plain", "");
    let tls12 = new("tls12", "smtpd_tls_protocols = >=TLSv1.2, <=TLSv1.2");
    let own = Identity::self_signed(&["mx.postfix.loose.example"]);
    let signed = start(&gate, "loose", "", Some(own));
    let grey = new("grey", &ask(policy(GREY, Duration::ZERO).await));
    let small = new("small", "message_size_limit = 100000");
    let single = new("single", "smtpd_recipient_limit = 1");
    let slow = new("slow", &ask(policy("dunno", SLOW).await));
    let note = note();
    let results = tokio::join!(
        tls12.peer(&gate).over_tls_1_2().takes(&note),
        signed.peer(&gate).self_signed("postfix.strict.example"),
        grey.peer(&gate).greylisted(),
        small.peer(&gate).too_large(200_000, &["5.3.4"]),
        single.peer(&gate).one_by_one(),
        slow.peer(&gate).tarpitted(SLOW),
        plain
            .peer(&gate)
            .all_bodies("postfix", &version, &mut table),
    );
    let cases = [
        ("TLS 1.2 only", results.0),
        ("self-signed certificate", results.1),
        ("greylisting", results.2),
        ("size limit, by SIZE", results.3),
        ("one recipient a transaction", results.4),
        ("tarpitting", results.5),
    ];
    table.rows("postfix", &version, cases);
    // It makes a copy a recipient however they come; each transaction has a line of its own.
    let transactions = single.server.log().matches(": client=").count();
    let counted = match transactions {
        3 => Ok("3 transactions".to_owned()),
        n => Err(format!("{n} transactions:\n{}", single.server.log())),
    };
    table.row("postfix", &version, "one recipient: its own log", counted);
    table.judge();
}

const GREY: &str = "451 4.7.1 Greylisted, try again";
const SLOW: Duration = Duration::from_secs(2);

/// A policy server that gives this answer to the first question and `dunno` to all others, each
/// after a while. Ends with the test's runtime.
async fn policy(first: &'static str, after: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let asked = Arc::default();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, first, after, Arc::clone(&asked)));
        }
    });
    addr
}

async fn answer(
    stream: TcpStream,
    first: &str,
    after: Duration,
    asked: Arc<std::sync::atomic::AtomicBool>,
) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|n| n > 0) {
        // An empty line ends a question.
        if line == "\n" {
            tokio::time::sleep(after).await;
            let again = asked.swap(true, std::sync::atomic::Ordering::Relaxed);
            let action = if again { "dunno" } else { first };
            let reply = format!("action={action}\n\n");
            if stream.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
        line.clear();
    }
}
