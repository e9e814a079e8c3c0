//! One walk along one methods list, with what asks for protection on it.
//!
//! Owns the choice of the lists that an attempt walks: the configured one, and
//! while that is only observed (`[security] observe`) an opportunistic one for
//! those whom it did not serve. Holds always: both are walked by the same code and
//! each transaction on either has its permit; who only observes takes back the
//! operator's own demand and no other. Called by `walk`, by the report for what
//! has no route, and by `explain`.

use crate::assurance::{self, Demands, Published};
use crate::delivery::Credentials;
use crate::policy::Decision;
use crate::types::{
    Encrypted, Ending, Method, MethodsList, Required, SmimeCipher, Transport, Trust,
};

/// A list and its demands.
pub(super) struct Leg<'a> {
    list: &'a MethodsList,
    demands: Demands<'a>,
    key_trust: Trust,
    accept_encrypted: bool,
    smime_cipher: Option<SmimeCipher>,
}

impl<'a> Leg<'a> {
    /// What the configuration prescribes.
    pub(super) fn configured(
        decision: &'a Decision,
        login: Option<&Credentials>,
        published: &'a Published,
    ) -> Self {
        Self {
            list: &decision.treatment.methods,
            demands: Demands {
                rule: decision.rule.as_deref(),
                level: Some(decision.treatment.tls_level),
                protected_level: decision.treatment.protected_level,
                credentials: login.is_some(),
                published,
            },
            key_trust: decision.treatment.key_trust,
            accept_encrypted: decision.treatment.accept_encrypted,
            smime_cipher: decision.treatment.smime_cipher,
        }
    }

    /// How it is delivered where the configured list would not, if that is only
    /// observed.
    pub(super) fn observed(
        decision: &'a Decision,
        login: Option<&Credentials>,
        published: &'a Published,
    ) -> Option<Self> {
        decision.observe.as_ref().map(|list| Self {
            list,
            demands: Demands {
                rule: decision.rule.as_deref(),
                level: None,
                protected_level: None,
                credentials: login.is_some(),
                published,
            },
            key_trust: decision.treatment.key_trust,
            accept_encrypted: decision.treatment.accept_encrypted,
            smime_cipher: decision.treatment.smime_cipher,
        })
    }

    /// The methods in the order tried.
    pub(super) fn methods(&self) -> &'a [Method] {
        self.list.methods()
    }

    /// What happens when none succeeds.
    pub(super) fn ending(&self) -> Ending {
        self.list.ending()
    }

    /// How far a recipient's key must be trusted at least.
    pub(super) fn key_trust(&self) -> Trust {
        self.key_trust
    }

    /// What `smime` encrypts with, if not with what `[smime]` says.
    pub(super) fn smime_cipher(&self) -> Option<SmimeCipher> {
        self.smime_cipher
    }

    /// Whether content that came encrypted counts as what `method` makes of others: in the
    /// turn of the method that would have made it so, or of the first that protects, where
    /// the list has not that one.
    pub(super) fn accepts(&self, encrypted: Option<Encrypted>, method: Method) -> bool {
        let made_by = match encrypted {
            Some(Encrypted::OpenPgp) => Method::Pgp,
            Some(Encrypted::Smime) => Method::Smime,
            None => return false,
        };
        let fits = method == made_by || !self.methods().contains(&made_by);
        self.accept_encrypted && fits
    }

    /// What a transaction by `method` must prove where it travels by `transport`.
    pub(super) fn required(&self, method: Method, transport: Transport) -> Required {
        assurance::required(method, transport, self.demands)
    }

    /// Each method with what its least transport must prove, for `explain`.
    pub(super) fn all_required(&self) -> Vec<(Method, Required)> {
        let methods = self.methods().iter().copied();
        let least = methods.filter_map(|method| Some((method, *method.transports().last()?)));
        least
            .map(|(method, transport)| (method, self.required(method, transport)))
            .collect()
    }
}
