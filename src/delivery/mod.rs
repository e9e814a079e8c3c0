//! One attempt as a row of named steps: route, dial, handshake, permit,
//! transaction.
//!
//! Owns the [`Deliver`] contract and what stands behind it. Holds always:
//! delivery is a function from a job to a [`Report`]; it never writes the spool,
//! never sends a DSN, never logs an outcome; no transaction is begun without a
//! `Permit`. Called by `queue`.
//!
//! The steps and where they are:
//!
//! | step | file |
//! | --- | --- |
//! | find the hosts | `route/` |
//! | group recipients by what policy decides, walk their methods list | `attempt/walk.rs` |
//! | choose addresses, connect, handshake, hold what it proved against what is required | `dial.rs`, `attempt/open.rs` |
//! | make a copy for one recipient | `attempt/protected.rs` |
//! | ask for a permit, send | `attempt/transact.rs` |
//! | or, for a probe, look and go | `attempt/probe.rs`, `attempt/watch.rs` |
//! | the dialog, without I/O, and the octets around it | `session/`, `connection.rs`, `pump.rs` |
//! | what a failure means, and how long to wait for it | `failure.rs`, `timeouts.rs` |

mod attempt;
mod connection;
mod dial;
mod failure;
#[doc(hidden)]
pub mod fuzzing;
mod pump;
mod route;
mod session;
mod settings;
#[cfg(test)]
mod testing;
mod timeouts;

use std::time::Duration;

pub use attempt::{
    Asked, Deliverer, DeliveryError, Explanation, HostVerdict, KeyKnown, Prospect, Sighting,
};
pub use route::RoutePatternError;
pub use settings::{BLOCKED, Credentials, Prefer, RouteSettings, Settings};

use crate::types::{BoxFuture, Failure, Host, Job, Report, Site};

/// Where a host's mail goes, good for `ttl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The hosts as one destination: connections and backoff belong to it.
    pub site: Site,
    /// The hosts in the order to try them, at least one.
    pub hosts: Vec<Hop>,
    /// Whether an operator's `[[route]]` says so, which replaces MX.
    pub fixed: Option<FixedRoute>,
    /// How long this may be kept.
    pub ttl: Duration,
}

/// One host to try.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// Its name, or the address of an address literal.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// MX preference; hosts of equal preference stand shuffled.
    pub preference: u16,
}

/// What an operator's `[[route]]` adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedRoute {
    /// The `domain` pattern of the route, for `explain`.
    pub pattern: String,
}

/// A kept connection to a site, or none yet. The queue holds it between
/// attempts without looking inside; dropping it ends the connection.
#[derive(Default)]
pub struct Lane {
    kept: Option<Box<attempt::Kept>>,
}

impl Lane {
    /// Whether a connection is kept, so that an idle lane is worth holding.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.kept.is_some()
    }
}

/// The contract between queue and delivery.
pub trait Deliver: Send + Sync + 'static {
    /// Finds the hosts that take mail for `host` (a domain, or the literal
    /// itself). Cheap when asked again within the route's `ttl`.
    ///
    /// # Errors
    /// Why there is none, and whether that is for good (`permanent`).
    fn route<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Route, NoRoute>>;

    /// The report for a job whose host has no route: the policy's ending for
    /// what is permanent, a deferral otherwise.
    fn unroutable<'a>(&'a self, job: &'a Job, why: &'a NoRoute) -> Report;

    /// One attempt for all of a job's recipients. Uses the lane's connection
    /// where it fits and leaves one there for the next job where it can.
    fn attempt<'a>(
        &'a self,
        job: &'a Job,
        route: &'a Route,
        lane: &'a mut Lane,
    ) -> BoxFuture<'a, Report>;

    /// Says QUIT on a lane that won't be used again (bounded to a few seconds).
    fn hang_up(&self, lane: Lane) -> BoxFuture<'_, ()>;
}

/// Why there is no route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoRoute {
    /// Whether asking again can't help.
    pub permanent: bool,
    /// The reason.
    pub failure: Failure,
}
