//! What a probe sees of each host and address.
//!
//! Owns the notes that `open` takes down on its way. Holds always: they are what
//! the delivering code itself came upon, and it goes on in the same way whether
//! somebody looks on or not. Filled by `walk` and `open`, read by `probe`.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use crate::delivery::Hop;
use crate::delivery::failure::Verdict;
use crate::tls::{Profile, Proof};
use crate::types::{Achieved, Failure, Method, Required};

/// One connection, or what was to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Where.
    pub address: SocketAddr,
    /// What its ClientHello offered: less at each further try.
    pub profile: Profile,
    /// The code of the greeting; `None`: none came.
    pub banner: Option<u16>,
    /// Whether EHLO offered STARTTLS; `None`: it did not come to that.
    pub starttls: Option<bool>,
    /// What the handshake proved; `None`: there was none, or it broke off.
    pub proof: Option<Proof>,
    /// What that counts for; `None`: nothing was proven, or it is below the floor.
    pub achieved: Option<Achieved>,
    /// Why the message would not be handed over here; `None`: it would.
    pub fault: Option<Failure>,
    /// What the system says of a connection that failed.
    pub detail: Option<String>,
}

impl Sighting {
    pub(super) fn at(address: SocketAddr, profile: Profile) -> Self {
        Self {
            address,
            profile,
            banner: None,
            starttls: None,
            proof: None,
            achieved: None,
            fault: None,
            detail: None,
        }
    }
}

/// What a host says about a method (design section 3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostVerdict {
    /// It proves what is required.
    Met,
    /// A definite no to the protection required.
    Unmet(Failure),
    /// Less than the recipient's domain has published: nothing may go there.
    Violated(Failure),
    /// Not reached, or no definite answer.
    Unknown(Failure),
    /// A permanent refusal that is not about protection.
    Refused(Failure),
    /// There is no such host to ask.
    Absent(Failure),
}

impl From<Option<&Verdict>> for HostVerdict {
    fn from(refusal: Option<&Verdict>) -> Self {
        match refusal.cloned() {
            None => Self::Met,
            Some(Verdict::Unmet(failure)) => Self::Unmet(failure),
            Some(Verdict::Violated(failure)) => Self::Violated(failure),
            Some(Verdict::Unknown(failure)) => Self::Unknown(failure),
            Some(Verdict::Refused(failure)) => Self::Refused(failure),
            Some(Verdict::Absent(failure)) => Self::Absent(failure),
        }
    }
}

/// One method's turn at one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The host.
    pub hop: Hop,
    /// The method.
    pub method: Method,
    /// What it must prove.
    pub required: Required,
    /// Its addresses, in the order tried.
    pub sightings: Vec<Sighting>,
    /// What came of it; `None`: the probe was cut off there.
    pub verdict: Option<HostVerdict>,
}

/// The notes, in the order taken.
#[derive(Debug, Default)]
pub(super) struct Watch {
    asked: Mutex<Vec<Asked>>,
}

impl Watch {
    /// A method has its turn at a host.
    pub(super) fn begins(&self, hop: &Hop, method: Method, required: &Required) {
        self.note(|asked| {
            asked.push(Asked {
                hop: hop.clone(),
                method,
                required: required.clone(),
                sightings: Vec::new(),
                verdict: None,
            });
        });
    }

    /// An address of that host was tried.
    pub(super) fn saw(&self, sighting: Sighting) {
        self.note(|asked| {
            if let Some(last) = asked.last_mut() {
                last.sightings.push(sighting);
            }
        });
    }

    /// The host's verdict; `None`: it is met.
    pub(super) fn judged(&self, refusal: Option<&Verdict>) {
        self.note(|asked| {
            if let Some(last) = asked.last_mut() {
                last.verdict = Some(refusal.into());
            }
        });
    }

    /// All notes.
    pub(super) fn into_notes(self) -> Vec<Asked> {
        self.asked
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut Vec<Asked>)) {
        change(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
