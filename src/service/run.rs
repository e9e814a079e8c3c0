//! The daemon's life: build the rooms in order, run, stop in order.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::answers::Answers;
use super::export::Exports;
use super::learning::{self, Domains};
use super::logging::LogControl;
use super::metrics::Monitor;
use super::observe::Observing;
use super::reload::{Reloader, Reloads};
use super::signals::{self, Signals, Told};
use super::sink::{self, Sink, Ways};
use super::tables::Knowledge;
use super::test::Tests;
use super::{
    ServeError, addresses, control, discovery, files, handover, keys, logging, metrics, notify, sts,
};
use crate::config::Config;
use crate::delivery::Deliverer;
use crate::dns::DnsResolver;
use crate::ingress::{self, Ingress, Sockets};
use crate::outcome::Outcome;
use crate::outcome::audit::AuditLog;
use crate::policy::Policy;
use crate::protect::Protector;
use crate::protect::discovery::Discover;
use crate::protect::keys::KeyStore;
use crate::queue::Queue;
use crate::spool::{FreshReceiver, JournalStore, Opened, Store};
use crate::sys::{Clock, Entropy, RealDisk, SystemClock, SystemEntropy, TcpDialler};

/// Threads for what blocks (index, journal, cryptography) at most. Each keeps memory of its
/// own once it has run, and more than this do not make a disk or two cores any faster.
const BLOCKING_THREADS: usize = 64;

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// [`ServeError`] where it can't start; what was accepted is safe in any case.
pub fn serve(config: Config) -> Result<(), ServeError> {
    let log = logging::start(config.log);
    logging::hush_panics();
    // Core dumps would hold mail (design section 3.5).
    if let Err(e) = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0) {
        tracing::warn!("core dumps can't be switched off: {e}");
    }
    files::make_room(&config);
    let handed = handover::take().map_err(ServeError::HandedOver)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(ServeError::Runtime)?;
    runtime.block_on(run(config, log, handed))
}

async fn run(config: Config, log: LogControl, handed: Vec<TcpListener>) -> Result<(), ServeError> {
    let hangup = signals::hangup().map_err(ServeError::Signals)?;
    let clock = Arc::new(SystemClock);
    let entropy = Arc::new(SystemEntropy::default());
    make_folder(&config.data_dir)?;
    let (ways, learnt, teller) = sink::ways(entropy.clone());
    let (journal, fresh) = open_spool(&config, ways).await?;
    let knowledge = Knowledge::open(&config).await;
    let store: Arc<dyn Store> = journal.clone();

    let sts = sts::open(&config, knowledge.table(sts::TABLE)).await?;
    let refreshing = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&sts).keep_fresh()));
    let keys = Arc::new(keys::store(&config));
    let table = knowledge.table(discovery::TABLE);
    let finder = discovery::open(&config, table, Arc::clone(&keys)).await?;
    let memory = learning::memory(&config, &knowledge).await;
    let ring = Keyring {
        store: Arc::clone(&keys),
        finder: Some(Arc::clone(&finder) as Arc<dyn Discover>),
    };
    let deliverer = deliverer(&config, &ring)?.holding_to(Arc::clone(&sts));
    let deliverer = Arc::new(deliverer.remembering(memory.clone()));
    let domains = Domains::new(
        &config,
        memory,
        teller,
        Arc::clone(&deliverer),
        clock.clone(),
    );
    let learning = domains.start(learnt);
    let outcome = Arc::new(Outcome::new(
        config.outcome.clone(),
        clock.clone(),
        entropy.clone(),
    ));

    let (stop, stopping) = watch::channel(false);
    // Before the first message is taken in: it may be another daemon's.
    let socket = control::bind(&config.control).map_err(|source| ServeError::Control {
        path: config.control.clone(),
        source,
    })?;
    let sockets = Sockets::bind(&config.ingress.listeners, handed)?;
    let ports = ingress::Ports {
        store: Arc::clone(&store),
        clock: clock.clone(),
        entropy: entropy.clone(),
        foresight: Arc::new(domains.clone()),
    };
    let ingress = Ingress::serve(sockets, &config.ingress, ports, stopping.clone())?;
    let for_metrics = metrics::bind(config.metrics).await?;
    let queue = Queue {
        settings: config.queue.clone(),
        store: Arc::clone(&store),
        fresh,
        deliver: deliverer,
        outcome: Arc::clone(&outcome),
        clock: clock.clone(),
        entropy,
        shutdown: stopping,
    };
    let queue = queue.start();
    let tests = Tests::new(&config);
    let answers = Answers {
        store: Arc::clone(&store),
        queue: queue.questions(),
        clock,
        log: log.clone(),
        surveyed: Default::default(),
        tests: tests.clone(),
        exports: Exports::new(Arc::clone(&journal)),
        sts: Arc::clone(&sts),
        domains: domains.clone(),
        finder: Arc::clone(&finder),
    };
    let answering = tokio::spawn(control::serve(socket, answers));
    let observing = Observing::default();
    let figures = Arc::new(Reloads::default());
    let monitor = Monitor {
        observing: observing.clone(),
        reloads: Arc::clone(&figures),
        log: log.clone(),
        domains: domains.clone(),
        ingress: ingress.figures(),
        store: journal,
        queue: queue.questions(),
        outcome: Arc::clone(&outcome),
        sts: Arc::clone(&sts),
        finder: Arc::clone(&finder),
        keys,
        started: SystemClock.now(),
    };
    let _monitoring = metrics::serve(for_metrics, monitor);
    let mut signals = Signals::new(hangup).map_err(ServeError::Signals)?;
    observing.tell(&config);
    tell_ready(&config, &ingress);
    let watchdog = notify::watchdog(Arc::clone(&store), queue.questions());

    let control = config.control.clone();
    let mut reloader = Reloader {
        config,
        ingress,
        queue: queue.questions(),
        outcome,
        tests,
        observing,
        figures,
        log,
        sts,
        finder,
        ring,
        domains,
    };
    until_stopped(&mut signals, &mut reloader).await;
    tracing::info!("stopping");
    notify::stopping();
    if let Some(watchdog) = watchdog {
        watchdog.abort();
    }
    let _ = stop.send(true);
    tokio::join!(reloader.ingress.join(), queue.join());
    answering.abort();
    refreshing.abort();
    learning.finish().await;
    knowledge.close().await;
    store.close().await;
    let _ = std::fs::remove_file(&control);
    tracing::info!("stopped");
    Ok(())
}

/// Reloads whenever told to, until told to stop.
async fn until_stopped(signals: &mut Signals, reloader: &mut Reloader) {
    while signals.next().await == Told::Reload {
        notify::reloading();
        reloader.reload().await;
        notify::ready();
    }
}

/// Delivery with the real ports: what the daemon delivers with is what `explain`
/// explains with. What domains publish is put in by the caller.
pub(super) fn deliverer(config: &Config, ring: &Keyring) -> Result<Deliverer, ServeError> {
    let policy = Arc::new(Policy::new(config.policy.clone(), config.hash.clone()));
    let resolver = Arc::new(DnsResolver::new(&config.dns)?);
    let mut settings = config.delivery.clone();
    settings.own_addresses = addresses::expand(&settings.own_addresses);
    let clock = Arc::new(SystemClock);
    let entropy = Arc::new(SystemEntropy::default());
    let dialler = Arc::new(TcpDialler);
    let protector = protector(config, ring, clock.clone(), entropy.clone())?;
    let deliverer = Deliverer::new(settings, policy, resolver, dialler, clock, entropy)?;
    Ok(match protector {
        Some(protector) => deliverer.protecting(protector),
        None => deliverer,
    })
}

/// Recipients' keys: those that are known, and who looks for others.
pub(super) struct Keyring {
    pub(super) store: Arc<KeyStore>,
    pub(super) finder: Option<Arc<dyn Discover>>,
}

impl Keyring {
    /// What is known, and nobody who looks.
    pub(super) fn known(config: &Config) -> Self {
        Self {
            store: Arc::new(keys::store(config)),
            finder: None,
        }
    }
}

/// Who encrypts, if a method that does is configured.
fn protector(
    config: &Config,
    ring: &Keyring,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Option<Arc<Protector>>, ServeError> {
    let settings = &config.protect;
    if settings.pgp.is_none() && settings.smime.is_none() {
        return Ok(None);
    }
    let protector = Protector::new(settings, Arc::clone(&ring.store), clock, entropy)?;
    let protector = match &ring.finder {
        Some(finder) => protector.finding(Arc::clone(finder)),
        None => protector,
    };
    Ok(Some(Arc::new(protector)))
}

/// Makes the data folder, for the service alone and its group to read.
pub(super) fn make_folder(folder: &Path) -> Result<(), ServeError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(folder)
        .map_err(|source| ServeError::Folder {
            path: folder.to_owned(),
            source,
        })
}

/// Opens the spool and tells what it found.
async fn open_spool(
    config: &Config,
    ways: Ways,
) -> Result<(Arc<JournalStore>, FreshReceiver), ServeError> {
    let config = config.clone();
    let opening = tokio::task::spawn_blocking(move || open_journal(&config, Some(ways)));
    let (store, fresh, opened) = opening
        .await
        .map_err(|e| ServeError::Runtime(std::io::Error::other(e)))??;
    report(&opened);
    Ok((store, fresh))
}

/// Opens the spool, which recovers what a crash left, with the audit behind it.
/// Blocks.
///
/// # Errors
/// [`ServeError::Audit`] or [`ServeError::Spool`].
pub(super) fn open_journal(
    config: &Config,
    ways: Option<Ways>,
) -> Result<(Arc<JournalStore>, FreshReceiver, Opened), ServeError> {
    let audit = AuditLog::open(
        Arc::new(RealDisk),
        Arc::new(SystemClock),
        &SystemEntropy::default(),
        &config.outcome,
    )?;
    Ok(JournalStore::open(
        config.spool.clone(),
        Arc::new(RealDisk),
        Arc::new(SystemClock),
        Arc::new(SystemEntropy::default()),
        Box::new(Sink::new(audit, ways)),
    )?)
}

/// Names what the opening found; what is lost, as an error.
fn report(opened: &Opened) {
    tracing::info!(
        "spool open: clean={} replayed={} damaged={}",
        opened.was_clean,
        opened.replayed,
        opened.damaged.len()
    );
    if let Some(reason) = &opened.rebuilt {
        tracing::warn!("spool: the index was rebuilt from the journal: {reason:?}");
    }
    if let Some(cut) = &opened.cut {
        tracing::warn!(
            "spool: a torn end of {} octets, never acknowledged, was cut from segment {} at {}",
            cut.octets,
            cut.segment,
            cut.offset
        );
    }
    for record in &opened.damaged {
        let id = record.id.map(|id| id.to_string());
        tracing::error!(
            "spool: {} damaged octets in segment {} at {}, message {}; a copy is in damaged/",
            record.octets,
            record.segment,
            record.offset,
            id.as_deref().unwrap_or("unknown")
        );
    }
}

fn tell_ready(config: &Config, ingress: &Ingress) {
    for (listener, address) in config
        .ingress
        .listeners
        .iter()
        .zip(ingress.local_addresses())
    {
        tracing::info!("listening on {address} ({})", listener.kind.as_str());
    }
    let default = &config.policy.default;
    tracing::info!(
        "ready: hostname={} methods=\"{}\" tls_level={} rules={} configuration={}",
        config.hostname,
        default.methods,
        default.tls_level,
        config.policy.rules.len(),
        config.hash
    );
    notify::ready();
}
