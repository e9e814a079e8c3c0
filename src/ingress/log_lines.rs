//! The log lines of messages accepted and commands refused.
//!
//! Holds always: no subject, no content; full addresses only where the operator
//! asked for them; every value is one word. Called by the socket task.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::auth::log_name;
use super::front::Front;
use crate::spool::Ticket;
use crate::types::{Mailbox, Origin, Principal, QueueId};

/// One line: `id=… from_domain=… client=… … status=accepted`.
#[derive(Debug)]
pub(super) struct Accepted(String);

impl Accepted {
    /// Made before the commit, which takes the ticket away.
    pub(super) fn of(id: QueueId, ticket: &Ticket, log_addresses: bool) -> Self {
        let envelope = &ticket.envelope;
        let sender = envelope.sender.as_ref();
        let domain = sender.map_or_else(|| "<>".to_owned(), |s| s.host().to_string());
        let mut line = format!("id={id} from_domain={domain}");
        if let Origin::Submitted(source) = &ticket.origin {
            // Writing to a String can't fail, here and below.
            let _ = write!(
                line,
                " client={} listener={} principal={} proto={}",
                source.client,
                source.listener,
                principal(&source.principal),
                source.protocol.as_str(),
            );
        }
        let _ = write!(
            line,
            " size={} nrcpt={} status=accepted",
            ticket.facts.size,
            envelope.recipients.len(),
        );
        if log_addresses {
            let from = sender.map_or_else(String::new, Mailbox::to_string);
            let _ = write!(line, " from=<{}>", log_address(&from));
            for recipient in &envelope.recipients {
                let _ = write!(line, " to=<{}>", log_address(&recipient.to_string()));
            }
        }
        Self(line)
    }
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One line for each 4xx and 5xx among these replies, and for a run of equal ones:
/// thousands of recipients too many are one thing that happened, not thousands.
/// Each is counted. Their texts may name addresses.
pub(super) fn log_refusals(replies: &[u8], client: IpAddr, front: &Front) {
    let listener = &front.rules.listener.bind;
    for run in refusals(replies, front).chunk_by(|a, b| a == b) {
        let Some(shown) = run.first() else { continue };
        let times = match run.len() {
            1 => String::new(),
            times => format!(" times={times}"),
        };
        tracing::info!(
            "client={client} listener={listener} status=refused reply=\"{shown}\"{times}"
        );
    }
}

fn refusals(replies: &[u8], front: &Front) -> Vec<String> {
    let (listener, log_addresses) = (&front.rules.listener, front.common.log_addresses);
    let mut refusals = Vec::new();
    for line in replies.split(|octet| *octet == b'\n') {
        // The last line of a reply alone has a blank there.
        let [first @ (b'4' | b'5'), _, _, b' ', ..] = line else {
            continue;
        };
        front.common.meters.refused(listener.kind, *first);
        let text = String::from_utf8_lossy(line);
        let shown = match (log_addresses, text.match_indices(' ').nth(1)) {
            (false, Some((codes, _))) => text.get(..codes).unwrap_or_default(),
            _ => text.trim_end(),
        };
        // An address in the text can't end the quotes.
        refusals.push(shown.replace('"', "'"));
    }
    refusals
}

/// Lets one of many like lines through a second: a flood of connections must not
/// become a flood of the log.
#[derive(Debug, Default)]
pub(super) struct Sparse(Mutex<(Option<Instant>, u64)>);

impl Sparse {
    /// How many were left out before this one; `None` if it is to be left out too.
    pub(super) fn tell(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, untold) = &mut *state;
        if told.is_some_and(|told| told.elapsed() < SPARSE) {
            *untold += 1;
            return None;
        }
        *told = Some(Instant::now());
        Some(std::mem::take(untold))
    }
}

/// The time between two lines of a kind.
const SPARSE: Duration = Duration::from_secs(1);

fn principal(principal: &Principal) -> String {
    match principal {
        Principal::Account(name) => format!("account:{}", log_name(name)),
        Principal::Network(ip) => format!("network:{ip}"),
        Principal::Certificate(name) => format!("certificate:{}", log_name(name)),
    }
}

/// A quoted local part may hold blanks, which would end the word.
fn log_address(address: &str) -> String {
    address.replace([' ', '<', '>'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_a_line_a_second() {
        let sparse = Sparse::default();
        assert_eq!(sparse.tell(), Some(0));
        assert_eq!([(); 3].map(|()| sparse.tell()), [None; 3]);
        tokio::time::advance(SPARSE).await;
        assert_eq!(sparse.tell(), Some(3));
    }
}
