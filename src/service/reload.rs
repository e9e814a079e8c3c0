//! SIGHUP: the configuration swapped whole, or not at all.
//!
//! Holds always: what runs is one file as it stood at one moment, the one whose
//! hash the audit names. A file with a fault, or one that asks for what only a
//! restart can do, changes nothing, and the log says every reason; everything that
//! can fail is done before the first room is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::assurance::sts::{Cache, Sources};
use crate::config::{self, Config};
use crate::delivery::Deliver;
use crate::ingress::Ingress;
use crate::outcome::Outcome;
use crate::protect::discovery::Finder;
use crate::queue::{Questions, Renewal};
use crate::sys::metrics::{Counter, Page};

use super::learning::Domains;
use super::logging::LogControl;
use super::observe::Observing;
use super::run::{Keyring, deliverer};
use super::test::Tests;
use super::{files, inspect, sts};

/// What is reloaded, and what is in force.
pub(super) struct Reloader {
    pub(super) config: Config,
    pub(super) ingress: Ingress,
    pub(super) queue: Questions,
    pub(super) outcome: Arc<Outcome>,
    pub(super) tests: Tests,
    pub(super) observing: Observing,
    pub(super) figures: Arc<Reloads>,
    pub(super) log: LogControl,
    pub(super) sts: Arc<Cache>,
    pub(super) finder: Arc<Finder>,
    pub(super) ring: Keyring,
    pub(super) domains: Domains,
}

/// What there is to see of reloads.
#[derive(Debug)]
pub(super) struct Reloads {
    count: Counter<1>,
    /// Whether the file as it was last read is in force.
    in_force: AtomicBool,
}

impl Default for Reloads {
    fn default() -> Self {
        Self {
            count: Counter::with([["taken"], ["refused"]]),
            in_force: AtomicBool::new(true),
        }
    }
}

impl Reloads {
    fn note(&self, taken: bool) {
        self.count.count([if taken { "taken" } else { "refused" }]);
        self.in_force.store(taken, Ordering::Relaxed);
    }

    /// Writes them.
    pub(super) fn write(&self, page: &mut Page) {
        page.counter(
            "postern_reloads_total",
            "Reloads of the configuration: taken, or refused for a fault.",
            ["result"],
            &self.count,
        );
        page.gauge(
            "postern_reload_successful",
            "Whether the configuration file as it was last read is in force.",
            f64::from(u8::from(self.in_force.load(Ordering::Relaxed))),
        );
    }
}

impl Reloader {
    /// Reads the file anew and goes by it, or says why not.
    pub(super) async fn reload(&mut self) {
        // Files are read, and no other task has to wait for that.
        let prepared = tokio::task::block_in_place(|| self.prepare());
        let (config, renewal, sources) = match prepared {
            Ok(prepared) => prepared,
            Err(faults) => {
                self.figures.note(false);
                for fault in faults {
                    tracing::error!("reload: {fault}");
                }
                tracing::error!(
                    "reload: nothing was changed; configuration={} stays in force",
                    self.config.hash
                );
                return;
            }
        };
        self.finder
            .renew(config.keys.clone(), Arc::clone(&sources.fetch));
        self.sts.use_sources(sources);
        self.queue.renew(renewal).await;
        self.tests.renew(&config);
        self.log.configure(config.log.level);
        files::make_room(&config);
        self.observing.tell(&config);
        self.figures.note(true);
        tracing::info!(
            "reloaded: methods=\"{}\" tls_level={} rules={} configuration={}",
            config.policy.default.methods,
            config.policy.default.tls_level,
            config.policy.rules.len(),
            config.hash
        );
        self.config = config;
    }

    /// Everything that can fail; the ingress comes last, since it is told at once.
    fn prepare(&self) -> Result<(Config, Renewal, Sources), Vec<String>> {
        let config = config::load(&self.config.path).map_err(|faults| {
            let path = &faults.path;
            faults
                .faults
                .iter()
                .map(|fault| fault.at(path))
                .collect::<Vec<_>>()
        })?;
        let mut faults: Vec<String> = inspect(&config)
            .iter()
            .map(|fault| fault.at(&config.path))
            .collect();
        faults.extend(
            restarts(&self.config, &config)
                .into_iter()
                .map(|what| format!("{what} has changed, which needs a restart")),
        );
        if !faults.is_empty() {
            return Err(faults);
        }
        let sources = sts::sources(&config).map_err(|e| vec![e.to_string()])?;
        let deliver = deliverer(&config, &self.ring).map_err(|e| vec![e.to_string()])?;
        let deliver = deliver.holding_to(Arc::clone(&self.sts));
        let deliver = Arc::new(deliver.remembering(self.domains.as_memory()));
        let outcome = self.outcome.renewed(config.outcome.clone());
        let renewal = Renewal {
            settings: config.queue.clone(),
            deliver: Arc::clone(&deliver) as Arc<dyn Deliver>,
            outcome: Arc::new(outcome),
        };
        let ingress = self.ingress.reload(&config.ingress);
        ingress.map_err(|e| vec![e.to_string()])?;
        self.domains.renew(&config, deliver);
        Ok((config, renewal, sources))
    }
}

/// What differs that only a restart can change, by its key.
fn restarts(now: &Config, new: &Config) -> Vec<&'static str> {
    let binds = |config: &Config| -> Vec<_> {
        let listeners = config.ingress.listeners.iter();
        listeners.map(|listener| listener.address).collect()
    };
    let changes = [
        ("data_dir", now.data_dir != new.data_dir),
        ("control", now.control != new.control),
        (
            "spool.master_key",
            now.spool.master_key != new.spool.master_key,
        ),
        ("spool.max_size", now.spool.max_size != new.spool.max_size),
        ("[log] format", now.log.format != new.log.format),
        ("[metrics] bind", now.metrics != new.metrics),
        (
            "[audit] keep",
            now.outcome.audit_keep != new.outcome.audit_keep,
        ),
        (
            "[[listener]] bind, or the number or order of the listeners,",
            binds(now) != binds(new),
        ),
    ];
    let changes = changes.into_iter().filter(|(_, differs)| *differs);
    changes.map(|(key, _)| key).collect()
}
