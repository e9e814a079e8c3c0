//! The tables of what was learnt, for the rooms that keep something in them.
//!
//! Holds always: tables that can't be used are told and keep nobody from starting:
//! what is learnt then lasts until the next start. Opened after the spool, closed
//! before it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Config;
use crate::spool::{Tables, TablesCopy, TablesOpened};
use crate::sys::{Disk, MemoryTable, RealDisk, SystemClock, SystemEntropy, Table};

/// The running daemon's tables.
pub(super) struct Knowledge {
    tables: Option<Tables>,
    /// Those in memory, where there are no others.
    in_memory: Mutex<HashMap<&'static str, Arc<MemoryTable>>>,
}

impl Knowledge {
    /// Opens the tables of the spool and tells what was found.
    pub(super) async fn open(config: &Config) -> Self {
        let settings = config.spool.clone();
        let opening = tokio::task::spawn_blocking(move || {
            let (disk, clock) = (Arc::new(RealDisk), Arc::new(SystemClock));
            Tables::open(&settings, disk, clock, &SystemEntropy::default())
        });
        let opened = match opening.await {
            Ok(result) => result.map_err(|e| e.to_string()),
            Err(e) => Err(e.to_string()),
        };
        let tables = match opened {
            Ok((tables, opened)) => {
                report(&opened);
                Some(tables)
            }
            Err(error) => {
                tracing::error!(
                    "what was learnt of domains can't be used, and what is learnt now lasts until \
                     the next start only: {error}"
                );
                None
            }
        };
        Self {
            tables,
            in_memory: Mutex::default(),
        }
    }

    /// The table of a name: small letters and hyphens.
    pub(super) fn table(&self, name: &'static str) -> Arc<dyn Table> {
        match &self.tables {
            Some(tables) => tables.table(name),
            None => {
                let mut tables = self
                    .in_memory
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                Arc::clone(tables.entry(name).or_default()) as Arc<dyn Table>
            }
        }
    }

    /// Makes all of it durable.
    pub(super) async fn close(self) {
        // It can only fail by a panic, which the log has.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

/// The tables of a daemon that is stopped, as they are; none where there are none.
///
/// # Errors
/// Why they can't be read, and what to do.
pub(super) fn copy(config: &Config) -> Result<TablesCopy, crate::spool::OpenError> {
    if !config.spool.folder.join("tables.key").exists() {
        return Ok(TablesCopy::default());
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    Tables::copy(&config.spool, &disk, &SystemEntropy::default())
}

fn report(opened: &TablesOpened) {
    let Some(why) = &opened.replaced else { return };
    match &opened.lost {
        None => tracing::warn!(
            "the tables of what was learnt of domains were made anew from their dump of a day ago \
             at most ({} entries): {why}",
            opened.restored
        ),
        Some(lost) => {
            tracing::error!("the tables of what was learnt of domains begin anew: {why}; {lost}")
        }
    }
}
