//! Starting, reloading and stopping the ingress.
//!
//! Holds always: a reload that fails changes nothing; sessions under way go on
//! by the settings they began with; after [`Ingress::join`] no session is left.
//! Called by the composition root.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use super::front::{Front, Ports, StartError};
use super::listener::{Accepting, Sockets};
use super::meters::Figures;
use super::settings::Settings;
use super::shutdown::Shutdown;

/// The listeners at work.
#[derive(Debug)]
pub struct Ingress {
    addresses: Vec<SocketAddr>,
    fronts: Vec<Arc<RwLock<Arc<Front>>>>,
    ports: Ports,
    tasks: TaskTracker,
    accepting: Vec<AbortHandle>,
}

impl Ingress {
    /// Serves on sockets bound for these settings, until `shutdown` turns true.
    /// Reads the certificate, client roots and accounts. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is served.
    pub fn serve(
        sockets: Sockets,
        settings: &Settings,
        ports: Ports,
        shutdown: watch::Receiver<bool>,
    ) -> Result<Self, StartError> {
        let addresses = sockets.local_addresses();
        if sockets.0.len() != settings.listeners.len() {
            return Err(StartError::Listeners);
        }
        let fronts: Vec<_> = Front::make_all(settings, ports.clone(), None)?
            .into_iter()
            .map(|front| Arc::new(RwLock::new(front)))
            .collect();
        let tasks = TaskTracker::new();
        let mut ready = Vec::new();
        for ((socket, front), settings) in
            sockets.0.into_iter().zip(&fronts).zip(&settings.listeners)
        {
            let listener = TcpListener::from_std(socket).map_err(|cause| StartError::Bind {
                bind: settings.bind.clone(),
                cause,
            })?;
            ready.push(Accepting {
                listener,
                front: Arc::clone(front),
                tasks: tasks.clone(),
                shutdown: Shutdown::new(shutdown.clone()),
            });
        }
        let run = |accepting: Accepting| tasks.spawn(accepting.run()).abort_handle();
        let accepting = ready.into_iter().map(run).collect();
        tasks.close();
        Ok(Self {
            addresses,
            fronts,
            ports,
            tasks,
            accepting,
        })
    }

    /// The addresses served, in the order of the listeners.
    #[must_use]
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What there is to see, for as many as want to.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            fronts: self.fronts.clone(),
            accepting: self.accepting.clone(),
        }
    }

    /// Takes new settings in for sessions that begin from now on. Touches the
    /// disk.
    ///
    /// # Errors
    /// [`StartError`], and [`StartError::Listeners`] where other sockets would
    /// be needed; then the old settings stay.
    pub fn reload(&self, settings: &Settings) -> Result<(), StartError> {
        let now: Vec<_> = self.fronts.iter().map(|front| current(front)).collect();
        let same = now.len() == settings.listeners.len()
            && now
                .iter()
                .zip(&settings.listeners)
                .all(|(old, new)| old.rules.listener.address == new.address);
        if !same {
            return Err(StartError::Listeners);
        }
        let common = now.first().map(|front| front.common.as_ref());
        let fronts = Front::make_all(settings, self.ports.clone(), common)?;
        for (place, front) in self.fronts.iter().zip(fronts) {
            *place.write().unwrap_or_else(PoisonError::into_inner) = front;
        }
        Ok(())
    }

    /// Waits until the shutdown was asked for and the last session is over.
    pub async fn join(self) {
        self.tasks.wait().await;
    }
}

fn current(front: &RwLock<Arc<Front>>) -> Arc<Front> {
    Arc::clone(&front.read().unwrap_or_else(PoisonError::into_inner))
}
