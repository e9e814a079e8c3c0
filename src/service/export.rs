//! The export of a running spool, streamed onto the control socket.
//!
//! Owns the frames. Holds always: the spool is asked for a record when the one
//! before has been taken, so a slow reader holds up nothing but itself, and one
//! that takes nothing for a while, or is gone, ends its export; one export runs
//! at a time. Called by the control socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::control::{Answer, ExportCounts};
use crate::spool::{Exported, JournalStore};

/// How long a reader may take nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Exports of one spool.
#[derive(Clone)]
pub(super) struct Exports {
    store: Arc<JournalStore>,
    one: Arc<Semaphore>,
}

impl Exports {
    pub(super) fn new(store: Arc<JournalStore>) -> Self {
        Self {
            store,
            one: Arc::new(Semaphore::new(1)),
        }
    }

    /// Streams an export: the answer `export`, the frames, the empty frame. What is
    /// to be answered behind them is given back, or instead of them if it could not
    /// begin.
    ///
    /// # Errors
    /// The reader is gone, or took nothing.
    pub(super) async fn stream(
        &self,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<Result<ExportCounts, String>> {
        let Ok(_one) = self.one.try_acquire() else {
            return Ok(Err("another export is running: wait for its end".to_owned()));
        };
        let store = Arc::clone(&self.store);
        let begun = tokio::task::spawn_blocking(move || store.export()).await?;
        let mut export = match begun {
            Ok(export) => export,
            Err(e) => return Ok(Err(e.to_string())),
        };
        let mut line = serde_json::to_vec(&Answer::Export)?;
        line.push(b'\n');
        give(to, &line).await?;
        let result = loop {
            let next = tokio::task::spawn_blocking(move || {
                let record = export.next_piece();
                (export, record)
            });
            let record;
            (export, record) = next.await?;
            match record {
                Ok(Some(octets)) => {
                    let length = u32::try_from(octets.len()).map_err(io::Error::other)?;
                    give(to, &length.to_be_bytes()).await?;
                    give(to, &octets).await?;
                }
                Ok(None) => break Ok(counts(export.tally())),
                Err(e) => break Err(e.to_string()),
            }
        };
        give(to, &0u32.to_be_bytes()).await?;
        Ok(result)
    }
}

/// What an export holds, as the control socket says it.
pub(super) fn counts(exported: &Exported) -> ExportCounts {
    ExportCounts {
        messages: exported.messages,
        recipients: exported.recipients,
        octets: exported.octets,
        damaged: exported.damaged.iter().map(ToString::to_string).collect(),
    }
}

/// Writes, as long as the reader takes some of it now and then.
async fn give(to: &mut (impl AsyncWrite + Unpin), mut octets: &[u8]) -> io::Result<()> {
    while !octets.is_empty() {
        let taken = timeout(PATIENCE, to.write(octets)).await??;
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        octets = octets.get(taken..).unwrap_or_default();
    }
    timeout(PATIENCE, to.flush()).await?
}
