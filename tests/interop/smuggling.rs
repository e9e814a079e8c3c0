//! Smuggling through Postern into a real Postfix: one message in, one message there, for the
//! recipient that was named.

use std::net::SocketAddr;
use std::time::Duration;

use postern_lab::{Client, FALSE_ENDS, FalseEnd};

use crate::bodies::{self, VICTIM};
use crate::house::{House, SENDER, TO};
use crate::postfix::Postfix;
use crate::table::Table;

const PAUSE: Duration = Duration::from_micros(300);

#[tokio::test]
async fn nothing_is_smuggled_into_postfix() {
    let (house, mut table) = (House::start().await, Table::default());
    for end in FALSE_ENDS {
        let refused = is_refused(house.relay, end).await;
        table.row("client", "-", &format!("false end: {}", end.name), refused);
    }
    let bodies = bodies::envelopes();
    for (n, body) in bodies.iter().enumerate() {
        let id = format!("legal-{n}");
        let result = match hand_in(house.relay, &body.message(SENDER, TO, &id)).await {
            Ok(()) => house.arrives(body, &id),
            Err(why) => Err(why),
        };
        let case = format!("legal: {}", body.name);
        table.row("postfix", &Postfix::version(), &case, result);
    }
    house.settled().await;
    let result = nothing_else_is_there(&house, bodies.len());
    let case = "nothing was smuggled";
    table.row("postfix", &Postfix::version(), case, result);
    table.judge();
}

/// An octet a segment: one refusal, and the answer to QUIT.
async fn is_refused(addr: SocketAddr, end: &FalseEnd) -> Result<String, String> {
    let mut client = up_to_data(addr).await?;
    let (octets, ..) = end.attack(SENDER, VICTIM);
    let sent = client.send_slowly(octets.chunks(1), PAUSE).await;
    sent.map_err(|e| e.to_string())?;
    let heard = client.read_eof().await.map_err(|e| e.to_string())?;
    let heard = String::from_utf8_lossy(&heard);
    let codes: Vec<_> = heard.lines().filter_map(|line| line.get(..3)).collect();
    match codes[..] {
        ["550", "221"] => Ok("550 once".into()),
        _ => Err(format!("{heard:?}")),
    }
}

async fn hand_in(addr: SocketAddr, message: &[u8]) -> Result<(), String> {
    let mut client = Client::connect(addr).await.map_err(|e| e.to_string())?;
    let greeted = client.greet("printer.ward.example").await;
    greeted.map_err(|e| e.to_string())?;
    let reply = client.submit(SENDER, &[TO], message).await;
    match reply.map_err(|e| e.to_string())? {
        reply if reply.code == 250 => Ok(()),
        reply => Err(format!("{reply:?}")),
    }
}

async fn up_to_data(addr: SocketAddr) -> Result<Client, String> {
    let mut client = Client::connect(addr).await.map_err(|e| e.to_string())?;
    let greeted = client.greet("printer.ward.example").await;
    greeted.map_err(|e| e.to_string())?;
    let (mail, rcpt) = (format!("MAIL FROM:<{SENDER}>"), format!("RCPT TO:<{TO}>"));
    for line in [&mail, &rcpt, "DATA"] {
        let reply = client.line(line).await.map_err(|e| e.to_string())?;
        if !reply.is_ok() {
            return Err(format!("{line}: {reply:?}"));
        }
    }
    Ok(client)
}

fn nothing_else_is_there(house: &House, expected: usize) -> Result<String, String> {
    let messages = house.postfix.messages().len();
    let log = house.postfix.log();
    match messages == expected && !log.contains(VICTIM) {
        true => Ok(format!("{messages} messages, none for {VICTIM}")),
        false => Err(format!("{messages} messages for {expected}\n{log}")),
    }
}
