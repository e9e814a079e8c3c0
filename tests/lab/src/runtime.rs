//! The lab's own runtime, on which every server of the lab runs.
//!
//! A test runtime is often a single thread. If the servers ran there, a test that blocks (for
//! instance in [`crate::Daemon::run`]) would stop the very DNS server that the daemon is waiting
//! for. So the lab has two threads of its own, made when first needed and kept for the life of
//! the process. Only lab code runs on them, so a panic there is a fault of the lab: it ends the
//! process with a message instead of leaving a test to wait for a server that is gone.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

/// The runtime itself. Entering it lets a std socket be turned into a tokio one anywhere.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("postern-lab")
            .enable_all()
            .build()
            .expect("the lab's runtime can be built")
    })
}

/// Starts a task of the lab. The task ends when the handle is aborted or the future is done.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    let work = runtime().spawn(task);
    let handle = work.abort_handle();
    runtime().spawn(async move {
        if let Err(error) = work.await
            && error.is_panic()
        {
            eprintln!("postern-lab: a task of the lab panicked (see above): a fault of the lab");
            std::process::exit(101);
        }
    });
    handle
}

/// Runs a future on the lab's runtime and hands its result to the caller, whatever runtime (or
/// paused clock) the caller lives in.
pub(crate) async fn on_lab<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    match runtime().spawn(future).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Like [`on_lab`], for callers that are not async: blocks the calling thread.
pub(crate) fn block_on_lab<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    let (send, receive) = std::sync::mpsc::channel();
    spawn(async move {
        // The receiver waits below until this has been sent; it can't be gone.
        let _ = send.send(future.await);
    });
    receive.recv().expect("the lab's runtime gives an answer")
}

/// A task of the lab that ends with its owner.
#[derive(Debug)]
pub(crate) struct Task(AbortHandle);

impl Task {
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(spawn(task))
    }
}

impl Task {
    /// Waits, blocking, until a task that was told to end has let go of everything it held.
    pub(crate) fn ended(self) {
        while !self.0.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How long an accept loop rests after an error such as "too many open files".
pub(crate) const ACCEPT_REST: Duration = Duration::from_millis(20);
