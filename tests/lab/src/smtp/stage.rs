//! The steps of an SMTP dialogue at which a server can be bent, and what it may do there.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use openssl::ssl::SslVersion;

/// A step at which the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The greeting, before any command.
    Banner,
    /// EHLO.
    Ehlo,
    /// HELO.
    Helo,
    /// STARTTLS, the reply before the handshake.
    StartTls,
    /// The end of an AUTH exchange.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA, the reply before the content.
    Data,
    /// The final dot: the reply that takes or refuses the message.
    Dot,
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
}

/// A TLS version; the order is the obvious one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.0, only at security level 0.
    V1_0,
    /// TLS 1.1, only at security level 0.
    V1_1,
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl TlsVersion {
    pub(crate) fn openssl(self) -> SslVersion {
        match self {
            TlsVersion::V1_0 => SslVersion::TLS1,
            TlsVersion::V1_1 => SslVersion::TLS1_1,
            TlsVersion::V1_2 => SslVersion::TLS1_2,
            TlsVersion::V1_3 => SslVersion::TLS1_3,
        }
    }
}

/// What the server does at a stage instead of the usual.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Sends these octets. Their first three digits decide how the session goes on.
    Say(Vec<u8>),
    /// Closes the connection without a word.
    Cut,
    /// Takes the message, then closes without a word. Only at the final dot.
    TakeAndCut,
}

/// The script of a server: for each stage, acts in order, some only for a number of times.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    acts: HashMap<Stage, VecDeque<(Act, Option<usize>)>>,
    delays: HashMap<Stage, Duration>,
}

impl Script {
    /// For good: whatever was scripted for the stage before is forgotten.
    pub(super) fn always(&mut self, stage: Stage, act: Act) {
        self.acts.insert(stage, VecDeque::from([(act, None)]));
    }

    /// For `n` times, after those scripted earlier.
    pub(super) fn times(&mut self, stage: Stage, n: usize, act: Act) {
        if n > 0 {
            self.acts
                .entry(stage)
                .or_default()
                .push_back((act, Some(n)));
        }
    }

    pub(super) fn delay(&mut self, stage: Stage, delay: Duration) {
        self.delays.insert(stage, delay);
    }

    pub(super) fn delay_of(&self, stage: Stage) -> Duration {
        self.delays.get(&stage).copied().unwrap_or_default()
    }

    /// The act that is due now, which counts as done.
    pub(super) fn take(&mut self, stage: Stage) -> Option<Act> {
        let queue = self.acts.get_mut(&stage)?;
        let (act, left) = queue.front_mut()?;
        let act = act.clone();
        if let Some(left) = left {
            *left -= 1;
            if *left == 0 {
                queue.pop_front();
            }
        }
        Some(act)
    }
}

/// A reply as it goes over the wire: lines may be parted by `\n` in the text.
pub(super) fn wire_form(reply: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for line in reply.lines() {
        out.extend_from_slice(line.trim_end_matches('\r').as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_for_a_number_of_times_come_in_order_and_then_the_usual() {
        let mut script = Script::default();
        script.times(Stage::Mail, 2, Act::Cut);
        script.times(Stage::Mail, 1, Act::Say(b"451 x\r\n".to_vec()));
        assert!(matches!(script.take(Stage::Mail), Some(Act::Cut)));
        assert!(matches!(script.take(Stage::Mail), Some(Act::Cut)));
        assert!(matches!(script.take(Stage::Mail), Some(Act::Say(_))));
        assert!(script.take(Stage::Mail).is_none());
        script.always(Stage::Mail, Act::Cut);
        assert!((0..9).all(|_| script.take(Stage::Mail).is_some()));
    }
}
