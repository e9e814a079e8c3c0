//! What the transport must prove, and what a handshake did prove.
//!
//! Owns the sources of [`Required`] and the one step from a handshake to
//! [`Achieved`]. Holds always: sources are combined by maximum, so that none
//! lowers another (design section 2); an identity counts as proven only with
//! chain, name and signature; no I/O but in `sts`, which finds out what a domain
//! publishes. Called by `delivery` at each attempt.

mod published;
pub mod sts;

pub use published::Published;

mod memory;

pub use memory::{
    Better, Counts, DomainRecord, ExceptionError, Exceptions, HostRecord, LAPSE, NoMemory,
    PLAIN_LAPSE, Remembers, TlsMemory, Turn,
};

use crate::tls::Proof;
use crate::types::{
    Achieved, AuthenticatedBy, BelowFloor, Demand, Method, Reason, Required, TlsLevel, Transport,
};

/// What asks for protection in one attempt. What a message asks for (REQUIRETLS)
/// will stand here as a field of its own, beside what the domain publishes, what
/// the operator says and whether or not that is only observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demands<'a> {
    /// The rule that decided; `None`: `[security]`.
    pub rule: Option<&'a str>,
    /// The level it prescribes for the method `tls`; `None`: the operator only
    /// observes (`[security] observe`) and asks for nothing.
    pub level: Option<TlsLevel>,
    /// The same for methods that protect the content.
    pub protected_level: Option<TlsLevel>,
    /// Whether the route logs in: credentials go over authenticated TLS alone
    /// (pitfall E29).
    pub credentials: bool,
    /// What the recipient's domain publishes.
    pub published: &'a Published,
}

/// What a transaction by `method` must prove where it travels by `transport`: the maximum
/// of all who ask. Content that is protected itself leaves the operator's level aside, and
/// nobody else's (design section 3.3).
#[must_use]
pub fn required(method: Method, transport: Transport, demands: Demands<'_>) -> Required {
    let level = match method {
        Method::Tls => demands.level,
        Method::Pgp | Method::Smime => demands.protected_level,
        Method::Cleartext => None,
    };
    let operator = level.map_or_else(Required::nothing, |level| {
        let rule = demands.rule.map(str::to_owned);
        Required::at_least(level, Demand::Operator(rule))
    });
    let base = match transport {
        Transport::Cleartext => operator,
        Transport::Tls => operator.raise(Required::at_least(TlsLevel::Encrypted, Demand::Method)),
    };
    let login = match demands.credentials {
        true => Required::at_least(TlsLevel::Authenticated, Demand::Credentials),
        false => Required::nothing(),
    };
    base.raise(login).raise(demands.published.required())
}

/// What a handshake proved, and if not the identity, why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What the connection may be used for.
    pub achieved: Achieved,
    /// Why the peer's identity is not proven; `None` if it is.
    pub unproven: Option<Reason>,
}

/// Turns a finished handshake into what it proves.
///
/// `vouched` says what stands behind the name that was checked.
///
/// # Errors
/// [`BelowFloor`], by what was negotiated (pitfall E26).
pub fn judge(proof: Proof, vouched: AuthenticatedBy) -> Result<Judged, BelowFloor> {
    let (by, unproven) = match proof.verdict.identity() {
        Ok(()) => (Some(vouched), None),
        Err(reason) => (None, Some(reason)),
    };
    Ok(Judged {
        achieved: Achieved::handshake(proof.facts, by)?,
        unproven,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::CertificateVerdict;
    use crate::types::TlsFacts;
    use AuthenticatedBy::{MtaSts, PkixUnsignedMx, Route};
    use TlsLevel::{Authenticated, Encrypted};

    #[test]
    fn required_table() {
        let cases = [
            // method, operator's level, credentials, level, who asks
            (
                Method::Tls,
                Encrypted,
                false,
                Some(Encrypted),
                Some("operator"),
            ),
            (
                Method::Tls,
                Authenticated,
                false,
                Some(Authenticated),
                Some("operator"),
            ),
            (
                Method::Tls,
                Encrypted,
                true,
                Some(Authenticated),
                Some("credentials"),
            ),
            (
                Method::Tls,
                Authenticated,
                true,
                Some(Authenticated),
                Some("operator"),
            ),
            (Method::Cleartext, Authenticated, false, None, None),
            (
                Method::Cleartext,
                Encrypted,
                true,
                Some(Authenticated),
                Some("credentials"),
            ),
        ];
        for (method, level, credentials, expected, by) in cases {
            let required = required(
                method,
                method.transports()[0],
                Demands {
                    rule: Some("r"),
                    level: Some(level),
                    protected_level: None,
                    credentials,
                    published: &Published::nothing(),
                },
            );
            assert_eq!(required.level(), expected, "{method} {level} {credentials}");
            let asks = required.by().map(|by| match by {
                Demand::Operator(rule) => {
                    assert_eq!(rule.as_deref(), Some("r"));
                    "operator"
                }
                Demand::Method => "method",
                Demand::Credentials => "credentials",
                Demand::MtaSts => "mta-sts",
            });
            assert_eq!(asks, by, "{method} {level} {credentials}");
        }
    }

    /// Who only observes lowers the operator's own part, and nothing else.
    #[test]
    fn observed_table() {
        let asked = |method, credentials| {
            let demands = Demands {
                rule: Some("r"),
                level: None,
                protected_level: None,
                credentials,
                published: &Published::nothing(),
            };
            let required = required(method, method.transports()[0], demands);
            (required.level(), required.by().cloned())
        };
        let credentials = (Some(Authenticated), Some(Demand::Credentials));
        let method = (Some(Encrypted), Some(Demand::Method));
        assert_eq!(asked(Method::Tls, false), method);
        assert_eq!(asked(Method::Tls, true), credentials);
        assert_eq!(asked(Method::Cleartext, false), (None, None));
        assert_eq!(asked(Method::Cleartext, true), credentials);
    }

    fn proof(version: &str, verdict: CertificateVerdict) -> Proof {
        let facts = TlsFacts {
            version: version.into(),
            cipher: "TLS_AES_128_GCM_SHA256".into(),
            group: "X25519".into(),
            certificate: None,
        };
        Proof {
            facts,
            issuer: None,
            verdict,
        }
    }

    #[test]
    fn judgement_table() {
        let good = CertificateVerdict {
            chain: Ok(()),
            name: Ok(()),
            signature: Ok(()),
        };
        let chain = |reason| CertificateVerdict {
            chain: Err(reason),
            ..good
        };
        let name = CertificateVerdict {
            name: Err(Reason::CertificateName),
            ..good
        };
        let expired = Reason::CertificateExpired;
        let untrusted = Reason::CertificateUntrusted;
        let cases = [
            (good, PkixUnsignedMx, None),
            (good, Route, None),
            (good, MtaSts, None),
            (name, PkixUnsignedMx, Some(Reason::CertificateName)),
            (name, Route, Some(Reason::CertificateName)),
            (name, MtaSts, Some(Reason::CertificateName)),
            (chain(expired), PkixUnsignedMx, Some(expired)),
            (chain(untrusted), Route, Some(untrusted)),
            (chain(untrusted), MtaSts, Some(untrusted)),
        ];
        for (verdict, vouched, unproven) in cases {
            let judged = judge(proof("TLSv1.3", verdict), vouched).unwrap();
            let by = unproven.is_none().then_some(vouched);
            assert_eq!(judged.achieved.authenticated_by(), by);
            assert_eq!(judged.unproven, unproven);
            let level = by.map_or(Encrypted, AuthenticatedBy::level);
            assert_eq!(judged.achieved.level(), Some(level));
        }
    }

    #[test]
    fn e26_a_perfect_certificate_does_not_lift_a_weak_handshake() {
        let good = CertificateVerdict {
            chain: Ok(()),
            name: Ok(()),
            signature: Ok(()),
        };
        assert!(judge(proof("TLSv1.1", good), Route).is_err());
    }
}
