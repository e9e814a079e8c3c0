//! What the recipient's domain publishes about the protection of its mail.
//!
//! Holds always: it belongs to the domain, not to the site that serves it, and a
//! fixed route leaves none of it (design section 3.4); it asks for more, never for
//! less. DANE will stand here beside MTA-STS. No I/O. Used by `delivery`.

use super::sts::{Absent, Standing};
use crate::tls::Proof;
use crate::types::{AuthenticatedBy, Demand, Domain, Host, Reason, Required, StsFacts, TlsLevel};

/// What a domain publishes, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its MTA-STS policy, or why it has none.
    pub sts: Standing,
}

impl Published {
    /// Nothing that binds.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            sts: Standing::Absent(Absent::NotAsked),
        }
    }

    /// What the transport must prove for its sake.
    #[must_use]
    pub fn required(&self) -> Required {
        match self.sts.enforced() {
            Some(_) => Required::at_least(TlsLevel::Secure, Demand::MtaSts),
            None => Required::nothing(),
        }
    }

    /// Whether it lets mail go to this host at all.
    ///
    /// # Errors
    /// Why not: mail to the domain must not even begin with this host.
    pub fn admits(&self, host: &Host) -> Result<(), Reason> {
        match &self.sts {
            Standing::Unknown => Err(Reason::StsUnknown),
            sts if sts.enforced().is_some() && !self.lists(host) => Err(Reason::StsHost),
            Standing::Absent(_) | Standing::Policy(..) => Ok(()),
        }
    }

    /// What it makes of the name of a host, found by unsigned DNS.
    #[must_use]
    pub fn vouches(&self, host: &Host) -> AuthenticatedBy {
        match self.sts.enforced() {
            Some(_) if self.lists(host) => AuthenticatedBy::MtaSts,
            _ => AuthenticatedBy::PkixUnsignedMx,
        }
    }

    /// What is wrong by it with a host over which mail has gone or would go, whether
    /// or not it is enforced.
    #[must_use]
    pub fn finding(&self, host: &Host, proof: Option<&Proof>) -> Option<Reason> {
        let identity = proof.map(|proof| proof.verdict.identity());
        self.sts.finding(domain(host), identity)
    }

    /// For the evidence.
    #[must_use]
    pub fn facts(&self) -> Option<StsFacts> {
        self.sts.facts()
    }

    /// Whether the policy, of whatever mode, lists a host.
    #[must_use]
    pub fn lists(&self, host: &Host) -> bool {
        let held = self.sts.held();
        held.zip(domain(host))
            .is_some_and(|(held, host)| held.policy.lists(host))
    }
}

impl Default for Published {
    fn default() -> Self {
        Self::nothing()
    }
}

fn domain(host: &Host) -> Option<&Domain> {
    match host {
        Host::Domain(domain) => Some(domain),
        Host::Literal(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::sts::{Held, Policy, PolicyId};
    use super::super::{Demands, required};
    use super::*;
    use crate::types::{Method, StsMode, StsSource, Timestamp};

    pub(in super::super) fn published(mode: StsMode, mx: &str) -> Published {
        let text = format!(
            "version: STSv1\nmode: {}\nmx: {mx}\nmax_age: 1\n",
            mode.as_str()
        );
        let held = Held {
            policy: Policy::parse(text.as_bytes()).unwrap(),
            id: PolicyId::parse("1").unwrap(),
            fetched_at: Timestamp::from_micros(0),
            used_at: Timestamp::from_micros(0),
        };
        assert_eq!(held.policy.max_age, Duration::from_secs(1));
        Published {
            sts: Standing::Policy(Arc::new(held), StsSource::Cache),
        }
    }

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    /// Only `enforce` binds (pitfall E41), and only for hosts that it lists.
    #[test]
    fn e41_what_each_mode_asks() {
        let (mx, other) = (host("mx.b.example"), host("mx.other.example"));
        for (mode, binds) in [
            (StsMode::Enforce, true),
            (StsMode::Testing, false),
            (StsMode::None, false),
        ] {
            let published = published(mode, "*.b.example");
            let level = binds.then_some(TlsLevel::Secure);
            assert_eq!(published.required().published(), level);
            assert_eq!(published.admits(&mx), Ok(()));
            let (refused, by) = match binds {
                true => (Err(Reason::StsHost), AuthenticatedBy::MtaSts),
                false => (Ok(()), AuthenticatedBy::PkixUnsignedMx),
            };
            assert_eq!(published.admits(&other), refused);
            assert_eq!(published.admits(&host("[192.0.2.1]")), refused);
            assert_eq!(published.vouches(&mx), by);
            assert_eq!(published.vouches(&other), AuthenticatedBy::PkixUnsignedMx);
        }
    }

    #[test]
    fn without_a_policy_nothing_is_asked_and_nothing_vouched_for() {
        let mx = host("mx.b.example");
        assert_eq!(Published::nothing().required(), Required::nothing());
        assert_eq!(Published::nothing().admits(&mx), Ok(()));
        let unknown = Published {
            sts: Standing::Unknown,
        };
        assert_eq!(unknown.admits(&mx), Err(Reason::StsUnknown));
        assert_eq!(unknown.vouches(&mx), AuthenticatedBy::PkixUnsignedMx);
    }

    proptest::proptest! {
        /// The level is the maximum of the sources, whatever the others say.
        #[test]
        fn no_source_lowers_another(level in 0usize..4, credentials: bool, mode in 0usize..4, method in 0usize..4, best in 0u8..2) {
            let levels = [
                None,
                Some(TlsLevel::Encrypted),
                Some(TlsLevel::Authenticated),
                Some(TlsLevel::Secure),
            ];
            let method = [Method::Tls, Method::Cleartext, Method::Pgp, Method::Smime][method];
            let transports = method.transports();
            let transport = transports[usize::from(best).min(transports.len() - 1)];
            let published = match StsMode::ALL.get(mode) {
                Some(mode) => published(*mode, "mx.b.example"),
                None => Published::nothing(),
            };
            let asked = |level, credentials, published| {
                let rule = None;
                let demands = Demands { rule, level, protected_level: None, credentials, published };
                required(method, transport, demands).level()
            };
            let nothing = Published::nothing();
            let all = asked(levels[level], credentials, &published);
            let alone = [
                asked(levels[level], false, &nothing),
                asked(None, credentials, &nothing),
                asked(None, false, &published),
            ];
            proptest::prop_assert_eq!(all, alone.into_iter().max().flatten());
        }
    }
}
