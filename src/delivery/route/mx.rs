//! MX records in order.
//!
//! Owns the reading of an MX set (RFC 5321 section 5.1, RFC 7505). No I/O. Called
//! by `route`.

use super::super::Hop;
use crate::dns::Mx;
use crate::sys::Entropy;
use crate::types::{Domain, Reason};

/// MX records looked at (pitfall E38).
const MX_MAX: usize = 50;

/// The usable hosts by preference, none twice.
///
/// # Errors
/// [`Reason::NullMx`] if the null MX stands alone; [`Reason::NoHost`] if there
/// are records and none can be used, which is no reason to try the domain itself
/// (pitfall E33). A null MX among others is ignored (pitfall E32).
pub(super) fn listed(mut records: Vec<Mx>) -> Result<Vec<(u16, Domain)>, Reason> {
    let has_null = records.iter().any(|mx| mx.exchange.is_none());
    records.sort_by_key(|mx| mx.preference);
    let mut hosts: Vec<(u16, Domain)> = Vec::new();
    for mx in records {
        let Some(name) = mx.exchange else { continue };
        if hosts.len() < MX_MAX && !hosts.iter().any(|(_, known)| *known == name) {
            hosts.push((mx.preference, name));
        }
    }
    match (hosts.is_empty(), has_null) {
        (false, _) => Ok(hosts),
        (true, true) => Err(Reason::NullMx),
        (true, false) => Err(Reason::NoHost),
    }
}

/// Shuffles hosts of equal preference, to spread the load (RFC 5321 section 5.1).
/// Without randomness they stay as they are.
pub(super) fn shuffle(hosts: &mut [Hop], entropy: &dyn Entropy) {
    for group in hosts.chunk_by_mut(|a, b| a.preference == b.preference) {
        for last in (1..group.len()).rev() {
            let mut random = [0; 4];
            if entropy.fill(&mut random).is_err() {
                return;
            }
            // The bias of the remainder is far below what spreads mail.
            let at = u32::from_le_bytes(random) as usize % (last + 1);
            group.swap(last, at);
        }
    }
}
