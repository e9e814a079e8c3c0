//! What an attempt learns of the hosts it connects to.
//!
//! Owns the notes for TLS memory. Holds always: they say what each connection of
//! this attempt itself showed; a connection that was kept from before adds nothing.
//! Filled by `open`, read at the end of an attempt or a probe.

use std::sync::{Mutex, PoisonError};

use super::watch::Sighting;
use crate::assurance::Published;
use crate::delivery::{Hop, failure};
use crate::types::{Host, HostSeen, Learnt, Offer, Reason, Timestamp, TlsLevel, Waiver};

/// Connections noted at most.
const MOST: usize = 64;

/// The notes.
#[derive(Debug, Default)]
pub(super) struct Notes {
    seen: Mutex<Vec<HostSeen>>,
    waiver: Mutex<Option<Waiver>>,
}

impl Notes {
    /// A connection was made, or tried.
    pub(super) fn saw(&self, hop: &Hop, sighting: &Sighting) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < MOST {
            seen.push(HostSeen {
                host: hop.host.to_string(),
                offer: offer(sighting),
            });
        }
    }

    /// `cleartext` has its turn by an operator's exception.
    pub(super) fn waived(&self, waiver: &Waiver) {
        let mut slot = self.waiver.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(waiver.clone());
    }

    /// What was learnt of the domain, if something was, and the exception used.
    pub(super) fn into_learnt(
        self,
        host: &Host,
        published: &Published,
        at: Timestamp,
        is_probe: bool,
    ) -> (Option<Learnt>, Option<Waiver>) {
        let hosts = self
            .seen
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let waiver = self
            .waiver
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let learnt = match host {
            Host::Domain(domain) if !hosts.is_empty() => Some(Learnt {
                domain: domain.clone(),
                at,
                is_probe,
                sts: published
                    .sts
                    .facts()
                    .map(|facts| format!("{} {}", facts.mode.as_str(), facts.id)),
                hosts,
            }),
            _ => None,
        };
        (learnt, waiver)
    }
}

/// What the connection says of the host.
fn offer(sighting: &Sighting) -> Offer {
    let reason = sighting.fault.as_ref().map(|fault| fault.reason);
    if let (Some(proof), Some(achieved)) = (&sighting.proof, &sighting.achieved) {
        return Offer::Tls {
            facts: proof.facts.clone(),
            is_authenticated: achieved.level() >= Some(TlsLevel::Authenticated),
        };
    }
    match (sighting.starttls, reason) {
        (Some(false), _) => Offer::Plain(Reason::NoStarttls),
        (_, Some(reason)) if failure::opens_cleartext(reason) && is_definite(sighting) => {
            Offer::Plain(reason)
        }
        (_, reason) => Offer::Unknown(reason.unwrap_or(Reason::Unreachable)),
    }
}

/// A 454 is temporary by name (RFC 3207 section 4).
fn is_definite(sighting: &Sighting) -> bool {
    let fault = sighting.fault.as_ref();
    fault.is_some_and(|fault| match fault.reason {
        Reason::StarttlsRefused => {
            let code = fault.reply.as_ref().map(|reply| reply.code);
            matches!(code, Some(500..=599))
        }
        _ => true,
    })
}
