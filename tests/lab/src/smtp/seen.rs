//! What a scripted server has seen, and how a test waits for it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openssl::sha::sha256;
use tokio::sync::Notify;

use crate::runtime::on_lab;
use crate::wire::TlsSeen;

/// One message that a server has taken.
#[derive(Clone, Debug)]
pub struct Received {
    /// The connection it came over, counted from 1.
    pub connection: usize,
    /// Which message it was on that connection, counted from 1.
    pub nth: usize,
    /// The client's address.
    pub peer: SocketAddr,
    /// What the client said in EHLO or HELO.
    pub helo: String,
    /// The reverse path without its brackets; empty for `<>`.
    pub mail_from: String,
    /// The parameters of MAIL, as they came: `SIZE=1234`, `BODY=8BITMIME`, `REQUIRETLS`.
    pub mail_params: Vec<String>,
    /// The accepted recipients in order, without brackets.
    pub rcpt_to: Vec<String>,
    /// The parameters of each RCPT, joined by spaces; as many as recipients.
    pub rcpt_params: Vec<String>,
    /// The content after removal of dot-stuffing.
    pub data: Arc<[u8]>,
    /// The content as it came, with dot-stuffing and the final dot.
    pub raw: Arc<[u8]>,
    /// How it was protected; `None` for cleartext.
    pub tls: Option<TlsSeen>,
    /// The account, if the client logged in.
    pub auth: Option<String>,
    /// False if the server cut the connection instead of answering the final dot.
    pub answered: bool,
}

impl Received {
    /// The content as text; octets that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }

    /// What stands behind the empty line.
    pub fn body(&self) -> &[u8] {
        let end = memchr::memmem::find(&self.data, b"\r\n\r\n");
        end.map_or(&[], |end| &self.data[end + 4..])
    }

    /// The first header field of this name, unfolded, without the space around it.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers(name).into_iter().next()
    }

    /// All header fields of this name, unfolded, in order.
    pub fn headers(&self, name: &str) -> Vec<String> {
        let end = memchr::memmem::find(&self.data, b"\r\n\r\n").unwrap_or(self.data.len());
        let head = String::from_utf8_lossy(&self.data[..end]);
        let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
        let wanted = fields.filter(|(field, _)| field.trim_end().eq_ignore_ascii_case(name));
        wanted.map(|(_, value)| value.trim().to_owned()).collect()
    }
}

/// The memory of one server.
#[derive(Default)]
pub(super) struct Log {
    seen: Mutex<Seen>,
    changed: Notify,
}

/// Its content.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) messages: Vec<Received>,
    pub(super) count: usize,
    pub(super) octets: u64,
    pub(super) hash: u128,
    pub(super) ids: Vec<String>,
    pub(super) commands: Vec<String>,
    pub(super) errors: Vec<String>,
    pub(super) violations: Vec<String>,
    pub(super) connections: usize,
    pub(super) open: usize,
    pub(super) peak: usize,
}

impl Seen {
    /// Takes in a message; with `discard` only the counts, the hash and its id.
    pub(super) fn take(&mut self, message: Received, discard: bool) {
        self.count += 1;
        self.octets += message.data.len() as u64;
        let hash = sha256(&message.data);
        let half = hash.first_chunk::<16>().copied().unwrap_or_default();
        self.hash = self.hash.wrapping_add(u128::from_be_bytes(half));
        self.ids.extend(message.header("X-Lab-Id"));
        if !discard {
            self.messages.push(message);
        }
    }
}

impl Log {
    pub(super) fn read<T>(&self, get: impl FnOnce(&Seen) -> T) -> T {
        get(&self.lock())
    }

    pub(super) fn write<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let value = change(&mut self.lock());
        self.changed.notify_waiters();
        value
    }

    /// Waits until the condition holds; false when the time is up before.
    pub(super) async fn wait(
        self: &Arc<Self>,
        limit: Duration,
        done: impl Fn(&Seen) -> bool + Send + 'static,
    ) -> bool {
        let log = self.clone();
        let waiting = async move {
            loop {
                let change = log.changed.notified();
                tokio::pin!(change);
                // From here on no change is missed; only then look.
                change.as_mut().enable();
                if log.read(&done) {
                    return;
                }
                change.await;
            }
        };
        on_lab(async move { tokio::time::timeout(limit, waiting).await.is_ok() }).await
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
