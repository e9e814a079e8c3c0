//! The journal's engine behind the store contract.
//!
//! Owns the ways in for callers and the two threads' lives. Holds always: what
//! reads disk or index does so in a blocking thread; what writes goes through
//! the committer. Made by [`JournalStore::open`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::sys::metrics::Page;
use crate::types::{BoxFuture, Host, QueueId, Settlement, StoredCopy, Timestamp};

use super::super::{Due, Filter, Intake, SpoolError, Stats, Store, Stored, Survey};
use super::body::JournalBody;
use super::committer::Committer;
use super::copies;
use super::core::{Core, Found};
use super::intake::{JournalIntake, ask};
use super::job::Job;
use super::keeper::Keeper;
use super::{meters, query};

/// How often the keeper makes its round.
const ROUND: Duration = Duration::from_millis(500);

/// The journal with its sled index.
pub struct JournalStore {
    core: Arc<Core>,
    jobs: mpsc::Sender<Job>,
    keeping: Arc<Keeping>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    suspects: Mutex<Vec<QueueId>>,
}

/// What the keeper's thread shares with its store.
struct Keeping {
    keeper: Mutex<Keeper>,
    should_stop: Mutex<bool>,
    stop: Condvar,
}

impl Keeping {
    fn run(&self) {
        loop {
            let has_more = self.round();
            let stopped = self
                .should_stop
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let wait = if has_more { Duration::ZERO } else { ROUND };
            let (stopped, _) = self
                .stop
                .wait_timeout_while(stopped, wait, |stopped| !*stopped)
                .unwrap_or_else(PoisonError::into_inner);
            if *stopped {
                return;
            }
        }
    }

    /// A round that panics is one that failed; the next may not.
    fn round(&self) -> bool {
        let round = || {
            self.keeper
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .round()
        };
        catch_unwind(AssertUnwindSafe(round)).unwrap_or_else(|_| {
            tracing::error!("a round of the spool's keeper panicked");
            false
        })
    }

    fn stop(&self) {
        *self
            .should_stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.notify_all();
    }
}

impl JournalStore {
    pub(super) fn start(
        core: Arc<Core>,
        jobs: mpsc::Sender<Job>,
        committer: Committer,
        keeper: Keeper,
        suspects: Vec<QueueId>,
    ) -> std::io::Result<Arc<Self>> {
        let keeping = Arc::new(Keeping {
            keeper: Mutex::new(keeper),
            should_stop: Mutex::new(false),
            stop: Condvar::new(),
        });
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let committing = thread("spool-commit").spawn(move || committer.run())?;
        let kept = Arc::clone(&keeping);
        let keeping_on = thread("spool-keep").spawn(move || kept.run())?;
        Ok(Arc::new(Self {
            core,
            jobs,
            keeping,
            threads: Mutex::new(vec![committing, keeping_on]),
            suspects: Mutex::new(suspects),
        }))
    }

    /// Makes the keeper's round now, until nothing is left to do: heals what can
    /// be healed, moves the checkpoint, removes and compacts segments. It does so
    /// by itself twice a second; this is for `spool check` and for tests.
    pub async fn maintain(&self) {
        let keeping = Arc::clone(&self.keeping);
        // Rounds do not panic: see there.
        let _ = tokio::task::spawn_blocking(move || while keeping.round() {}).await;
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(super) fn jobs(&self) -> &mpsc::Sender<Job> {
        &self.jobs
    }

    /// Whether a message could be begun now.
    ///
    /// # Errors
    /// Why not, as [`Store::intake`].
    pub fn may_intake(&self) -> Result<(), SpoolError> {
        self.core.may_intake()
    }

    /// Writes what there is to see of the spool and of what waits in it. Touches
    /// the disk, so call it off the async threads.
    pub fn write_figures(&self, page: &mut Page) {
        meters::write(&self.core, page);
    }

    /// Does something that blocks.
    async fn blocking<T: Send + 'static>(
        &self,
        with: impl FnOnce(&Arc<Core>) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        if self.core.health().is_closed {
            return Err(SpoolError::Closed);
        }
        let core = Arc::clone(&self.core);
        tokio::task::spawn_blocking(move || with(&core))
            .await
            .map_err(|e| SpoolError::Sick(Arc::new(std::io::Error::other(e))))?
    }

    async fn settled(&self, mut settlement: Settlement) -> Result<(), SpoolError> {
        let kept = std::mem::take(&mut settlement.copies);
        let copies = copies::write(&self.core, &self.jobs, settlement.id, kept).await?;
        ask(&self.jobs, |reply| Job::Settle {
            settlement,
            copies,
            reply,
        })
        .await
    }

    async fn shut(&self) {
        let was_closed = std::mem::replace(&mut self.core.health().is_closed, true);
        if was_closed {
            return;
        }
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(Job::Close { reply }).await.is_ok() {
            // An error says that the committer has ended, which is the aim.
            let _ = answer.await;
        }
        self.keeping.stop();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let keeping = Arc::clone(&self.keeping);
        let core = Arc::clone(&self.core);
        let finish = move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a thread of the spool had panicked");
                }
            }
            let mut keeper = keeping
                .keeper
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = keeper.finish() {
                tracing::error!(%error, "the spool could not be closed cleanly");
            }
            // In this order: sled's own lock lies within ours.
            drop(
                core.index
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            );
            drop(
                core.lock
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            );
        };
        let _ = tokio::task::spawn_blocking(finish).await;
    }
}

impl Drop for JournalStore {
    /// Without [`Store::close`] this is a crash, as far as the next opening can
    /// tell: what was answered is there.
    fn drop(&mut self) {
        self.keeping.stop();
    }
}

/// A found message with its body.
fn stored(core: &Arc<Core>, found: Found) -> Stored {
    let id = found.message.id;
    let copies = found.copies.into_iter().map(|(entry, head)| {
        let size = head.size();
        let (index, name) = (head.index, entry.copy);
        let body = JournalBody::of_copy(Arc::clone(core), id, (index, name), size);
        let copy = StoredCopy {
            method: head.method,
            proof: head.proof,
            body: Arc::new(body),
        };
        (index, copy)
    });
    Stored {
        copies: copies.collect(),
        message: Arc::new(found.message),
        recipients: found.statuses,
        body: Arc::new(JournalBody::new(
            Arc::clone(core),
            id,
            found.place,
            found.size,
        )),
    }
}

impl Store for JournalStore {
    fn intake(&self) -> Result<Box<dyn Intake>, SpoolError> {
        self.core.may_intake()?;
        let id = self.core.ids.next()?;
        let core = Arc::clone(&self.core);
        Ok(Box::new(JournalIntake::new(core, self.jobs.clone(), id)))
    }

    fn settle(&self, settlement: Settlement) -> BoxFuture<'_, Result<(), SpoolError>> {
        Box::pin(self.settled(settlement))
    }

    fn load(&self, id: QueueId) -> BoxFuture<'_, Result<Stored, SpoolError>> {
        Box::pin(self.blocking(move |core| Ok(stored(core, core.find(id)?))))
    }

    fn due_hosts(&self) -> BoxFuture<'_, Result<Vec<(Host, Timestamp)>, SpoolError>> {
        Box::pin(self.blocking(|core| query::due_hosts(core)))
    }

    fn due(
        &self,
        host: &Host,
        after: Option<Due>,
        until: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Due>, SpoolError>> {
        let host = host.clone();
        Box::pin(self.blocking(move |core| query::due(core, &host, after, until, limit)))
    }

    fn held(&self, until: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<Due>, SpoolError>> {
        Box::pin(self.blocking(move |core| query::held(core, until, limit)))
    }

    fn take_overflow(&self) -> Vec<Host> {
        self.core.fresh.take_overflow()
    }

    fn list(
        &self,
        filter: &Filter,
        after: Option<QueueId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored>, SpoolError>> {
        let filter = filter.clone();
        Box::pin(self.blocking(move |core| {
            let found = query::list(core, &filter, after, limit)?;
            Ok(found.into_iter().map(|f| stored(core, f)).collect())
        }))
    }

    fn stats(&self) -> BoxFuture<'_, Result<Stats, SpoolError>> {
        Box::pin(self.blocking(|core| query::stats(core)))
    }

    fn survey(&self, moments: Vec<Timestamp>) -> BoxFuture<'_, Result<Survey, SpoolError>> {
        Box::pin(self.blocking(move |core| query::survey(core, &moments)))
    }

    fn begin_attempt(&self, id: QueueId) {
        self.core.slots.begin(id);
    }

    fn end_attempt(&self, id: QueueId) {
        self.core.slots.end(id);
    }

    fn take_suspects(&self) -> Vec<QueueId> {
        std::mem::take(&mut *self.suspects.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shut())
    }
}
