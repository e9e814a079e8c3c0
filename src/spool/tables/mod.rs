//! Durable tables by name: what Postern has learnt and can learn again.
//!
//! Owns `tables/` (a sled database), `tables.key` and `tables.dump` in the spool's
//! folder. Holds always: what was put is with the system when the call returns, so
//! that it outlives the process, and on the disk within a second (sled's flush is no
//! fsync: an fdatasync of its file follows); once a day, and at a clean stop, all of
//! it goes to the dump, a plain file; a database that does not open, or is older
//! than its dump, is moved aside and made anew from that. Values are sealed, keys
//! are not: they hold ids and domains only. Opened by the service, once, after the
//! journal, whose lock it relies on; used as [`Table`]s by other rooms.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::sys::table::{Pair, VALUE_MAX};
use crate::sys::{Clock, Disk, Entropy, MemoryTable, Table, TableError};
use crate::types::Timestamp;

use super::{OpenError, Settings};

mod database;
mod dump;
mod open;
#[cfg(test)]
mod tests;

pub use open::TablesOpened;

use database::Database;
use open::Place;

/// Between two looks at whether something is to be made durable.
const ROUND: Duration = Duration::from_secs(1);
/// The age at which a dump is replaced.
const DUMP_AGE: Duration = Duration::from_secs(24 * 3600);
/// Octets of a table's name at most.
const NAME_MAX: usize = 32;

/// The open tables; see the module.
pub struct Tables {
    shared: Arc<Shared>,
    /// The thread that makes things durable, and what ends it.
    keeper: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

/// What the thread and the tables share.
struct Shared {
    database: Database,
    place: Place,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// What is to be done when.
struct State {
    /// The last dump's number.
    epoch: u64,
    /// When the dump was written that the folder holds, as far as this process
    /// knows; `None`: there is none.
    dumped: Option<Timestamp>,
    /// Whether something was changed since then.
    is_ahead: bool,
}

impl Tables {
    /// Opens the tables, or makes them anew where they can't be used; that costs
    /// knowledge, and is no reason not to start. Blocks.
    ///
    /// # Errors
    /// [`OpenError`]: the master key or the folder is no good.
    pub fn open(
        settings: &Settings,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Result<(Self, TablesOpened), OpenError> {
        let place = Place::below(&settings.folder);
        let (database, epoch, opened) = place.open(settings, &disk, entropy)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                epoch,
                // Its age is not known: the first round of a day is soon enough.
                dumped: place.has_dump(&*disk).then(|| clock.now()),
                is_ahead: false,
            }),
            database,
            place,
            disk,
            clock,
        });
        let keeper = Mutex::new(Some(start(&shared)));
        Ok((Self { shared, keeper }, opened))
    }

    /// The tables of a spool that no daemon has open, as they are: copies in memory,
    /// nothing on the disk is changed. Blocks.
    ///
    /// # Errors
    /// [`OpenError`]: the master key is missing, or no key.
    pub fn copy(
        settings: &Settings,
        disk: &Arc<dyn Disk>,
        entropy: &dyn Entropy,
    ) -> Result<TablesCopy, OpenError> {
        Ok(TablesCopy(
            Place::below(&settings.folder).copy(settings, disk, entropy)?,
        ))
    }

    /// The table of a name: small letters and hyphens, 32 at most. One name is one
    /// table, however often it is asked for.
    #[must_use]
    pub fn table(&self, name: &'static str) -> Arc<dyn Table> {
        debug_assert!(is_name(name), "{name}");
        Arc::new(Named {
            name,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Makes all of it durable, writes the dump and ends the thread. Whatever is
    /// asked of a table later fails. Blocks.
    pub fn close(&self) {
        let keeper = self
            .keeper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((stop, thread)) = keeper {
            drop(stop);
            // It has no other way to end but by a panic, and then nothing is owed.
            let _ = thread.join();
            self.shared.maintain(true);
            self.shared.database.close();
        }
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        self.close();
    }
}

/// Copies of tables, in memory.
#[derive(Default)]
pub struct TablesCopy(Vec<Pair>);

impl TablesCopy {
    /// The table of a name; what is put there goes nowhere.
    #[must_use]
    pub fn table(&self, name: &str) -> Arc<dyn Table> {
        let table = MemoryTable::default();
        let prefix = database::prefix(name);
        for (key, value) in &self.0 {
            if let Some(key) = key.strip_prefix(prefix.as_slice()) {
                // A table in memory does not fail.
                let _ = table.put(key, value);
            }
        }
        Arc::new(table)
    }
}

/// The thread that makes things durable.
fn start(shared: &Arc<Shared>) -> (Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = channel();
    let shared = Arc::clone(shared);
    let thread = std::thread::spawn(move || {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(ROUND) {
            shared.maintain(false);
        }
    });
    (stop, thread)
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes durable what is not, and the dump if it is time, or the last time.
    fn maintain(&self, is_last: bool) {
        let mut state = self.state();
        match self.place.sync(&self.database, &*self.disk) {
            Ok(changed) => state.is_ahead |= changed,
            Err(error) => {
                tracing::error!(%error, "the tables could not be made durable; the next start takes the daily dump");
                return;
            }
        }
        let now = self.clock.now();
        let is_old = state
            .dumped
            .is_none_or(|dumped| now.since(dumped) >= DUMP_AGE);
        if !state.is_ahead || !(is_old || is_last) {
            return;
        }
        let epoch = state.epoch + 1;
        match dump::write(&self.place, &self.database, &*self.disk, epoch) {
            Ok(()) => {
                *state = State {
                    epoch,
                    dumped: Some(now),
                    is_ahead: false,
                };
            }
            Err(error) => {
                tracing::error!(%error, "the tables' dump could not be written; tried again in a day");
                state.dumped = Some(now);
            }
        }
    }
}

/// One table.
struct Named {
    name: &'static str,
    shared: Arc<Shared>,
}

impl Named {
    fn tell<T>(&self, result: Result<T, std::io::Error>) -> Result<T, TableError> {
        result.map_err(|cause| TableError {
            table: self.name.to_owned(),
            cause,
        })
    }
}

impl Table for Named {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        self.tell(self.shared.database.get(self.name, key))
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), TableError> {
        if value.len() > VALUE_MAX {
            return self.tell(Err(std::io::ErrorKind::InvalidInput.into()));
        }
        self.tell(self.shared.database.put(self.name, key, value))
    }

    fn remove(&self, key: &[u8]) -> Result<(), TableError> {
        self.tell(self.shared.database.remove(self.name, key))
    }

    fn all(&self) -> Result<Vec<Pair>, TableError> {
        self.tell(self.shared.database.all(Some(self.name)))
    }
}

/// Whether a table may have this name.
fn is_name(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c == b'-';
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(fits)
}
