//! `postern check`: whether the files that the configuration names can be used.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use super::{access, keys};
use crate::config::{Config, Fault};
use crate::ingress::accounts::Accounts;
use crate::protect::Protector;
use crate::sys::{SystemClock, SystemEntropy};
use crate::tls::{Identity, read_certificates};

/// Every fault of what the configuration names, by line.
#[must_use]
pub fn inspect(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |path: &Path, e: &dyn Display| {
        let named = config.named.iter().find(|named| named.path == path);
        let (line, key) = named.map_or((0, ""), |named| (named.line, named.key.as_str()));
        let message = if key.is_empty() {
            e.to_string()
        } else {
            format!("{key}: {e}")
        };
        faults.push(Fault { line, message });
    };
    let ingress = &config.ingress;
    if let Some(tls) = &ingress.tls
        && let Err(e) = Identity::load(tls.certificate.clone(), tls.private_key.clone())
    {
        fault(&tls.certificate, &e);
    }
    let listeners = ingress.listeners.iter().flat_map(|l| &l.client_roots);
    let servers = config.delivery.roots.iter().chain(&config.fetch.roots);
    for path in listeners.chain(servers) {
        if let Err(e) = read_certificates(path) {
            fault(path, &e);
        }
    }
    for route in &config.delivery.routes {
        if let Some(credentials) = &route.credentials
            && let Err(e) = std::fs::read(&credentials.password_file)
        {
            let path = &credentials.password_file;
            fault(path, &format_args!("{}: {e}", path.display()));
        }
    }
    if ingress.accounts.exists()
        && let Err(e) = Accounts::read(&ingress.accounts)
    {
        fault(&ingress.accounts, &e);
    }
    let protector = Protector::new(
        &config.protect,
        Arc::new(keys::store(config)),
        Arc::new(SystemClock),
        Arc::new(SystemEntropy::default()),
    );
    if let Err(e) = protector.and_then(|own| own.check_signers(&config.protect)) {
        fault(&e.path, &e);
    }
    for (path, denied) in access::denied(config) {
        fault(&path, &denied);
    }
    faults.sort();
    faults
}
