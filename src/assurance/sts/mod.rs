//! MTA-STS (RFC 8461): what a domain has promised about the hosts that take its
//! mail, and how it is found out, kept and held.
//!
//! Owns the record, the policy file, the cache and its refreshing. Holds always: a
//! policy belongs to the recipient's domain itself, without inheritance and without
//! following a CNAME of that domain (pitfall E45); a policy that is kept and has not
//! expired holds, whatever DNS and HTTPS say or keep silent of (section 3.3), until
//! another one was fetched whole; what is not known yet holds up the mail of that
//! one domain. Asked by `delivery` at each attempt, set up by `service`.
//!
//! Where DNS fails at `_mta-sts` and nothing is kept, the RFC says nothing: section
//! 3.3 lets mail go where there is a record and no policy to be had. mox gives the
//! attempt up; resolvers for Postfix either let the mail go or make it wait for as
//! long as a delegation is broken. Here it waits for [`DNS_PATIENCE`], since a fault
//! of a moment must not cost protection, and then goes as the operator's own demand
//! has it, since a domain with a broken delegation must not be cut off for ever; who
//! can forge DNS could as well have said that there is no record.

mod cache;
mod policy;
mod record;
mod refresh;
mod standing;

pub use cache::{Cache, Sources};
pub use policy::{MxPattern, Policy, PolicyError};
pub use record::{PolicyId, find as find_record, parse as parse_record};
pub use standing::{Absent, Held, Standing};

use std::time::Duration;

/// How long a domain's mail waits while DNS fails at its record.
pub const DNS_PATIENCE: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests;
