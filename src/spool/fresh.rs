//! The way of fresh messages to the queue.
//!
//! Owns the bounded channel's sending end and the hosts of what did not fit.
//! Holds always: sending never waits; a message that does not fit is in the due
//! index anyway, and its hosts are named until asked for. The set of hosts is
//! bounded by the hosts of the due index. Called by the engines.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::types::Host;

use super::{Fresh, FreshReceiver};

/// Messages the channel holds. Bodies held with them are 64 KiB at most
/// (larger ones are read back), so this bounds the memory to 64 MiB.
const CAPACITY: usize = 1024;

/// The sending end.
pub(super) struct FreshSender {
    channel: mpsc::Sender<Fresh>,
    overflow: Mutex<BTreeSet<Host>>,
}

impl FreshSender {
    /// Both ends.
    pub(super) fn new() -> (Self, FreshReceiver) {
        let (channel, receiver) = mpsc::channel(CAPACITY);
        let sender = Self {
            channel,
            overflow: Mutex::default(),
        };
        (sender, receiver)
    }

    /// Hands a message over, or notes its hosts.
    pub(super) fn send(&self, fresh: Fresh) {
        if let Err(
            mpsc::error::TrySendError::Full(fresh) | mpsc::error::TrySendError::Closed(fresh),
        ) = self.channel.try_send(fresh)
        {
            let hosts = fresh.message.by_host();
            self.overflow
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(hosts.into_iter().map(|(host, _)| host));
        }
    }

    /// The hosts noted since last asked.
    pub(super) fn take_overflow(&self) -> Vec<Host> {
        let mut overflow = self.overflow.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *overflow).into_iter().collect()
    }
}
