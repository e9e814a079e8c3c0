//! Rules → methods list and level for one recipient, from facts.
//!
//! Owns the rules and their evaluation. Holds always: no I/O, no clock; the same
//! question gets the same answer, and every answer names the rule that gave it.
//! Asked by `delivery` at each attempt and by `explain`.

mod content;
mod decide;
mod pattern;
pub mod replay;
mod stop;

pub use content::Content;
pub use decide::{Condition, Decision, Policy, Question, RuleTrial, Trial};
pub use pattern::check_domain_pattern;
pub use stop::{Stop, Stopping};

use std::time::Duration;

use crate::types::{HeaderEdits, MethodsList, SmimeCipher, TextPattern, TlsLevel, Trust, Wanted};

/// The policy's part of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// For recipients that no rule catches: `[security]`.
    pub default: Treatment,
    /// `[[rule]]` in order; the first match decides.
    pub rules: Vec<Rule>,
    /// `[dsn] cleartext`.
    pub dsn_cleartext: bool,
    /// `[security] observe`: what is prescribed goes into the record alone.
    pub observe: bool,
    /// `[security] probe`: domains that mail goes to are looked at daily.
    pub probe: bool,
}

/// What a rule or `[security]` prescribes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Treatment {
    /// Methods in the order tried.
    pub methods: MethodsList,
    /// What the method `tls` must prove.
    pub tls_level: TlsLevel,
    /// What the transport of `pgp` and `smime` must prove; `None`: nothing. It is asked only
    /// where the content has brought these in for a recipient who has neither them nor
    /// `cleartext` without it: what stands in a message lets no address go in the clear.
    pub protected_level: Option<TlsLevel>,
    /// How old a message must be before the next method has its turn.
    pub fallback_after: Duration,
    /// For how long hosts that don't answer are tried before the next method has
    /// its turn, where others have answered that they can't.
    pub security_patience: Duration,
    /// How far a key must be trusted at least, for `pgp` and `smime`.
    pub key_trust: Trust,
    /// Whether content that came encrypted ([`crate::types::Encrypted`]) counts as
    /// protected.
    pub accept_encrypted: bool,
    /// What `smime` encrypts with; `None`: what `[smime] cipher` says.
    pub smime_cipher: Option<SmimeCipher>,
}

impl Default for Treatment {
    /// `["tls", "bounce"]` at `encrypted`, at once, after 15 minutes of patience; any
    /// key that is known.
    fn default() -> Self {
        Self {
            methods: MethodsList::default(),
            tls_level: TlsLevel::Encrypted,
            protected_level: None,
            fallback_after: Duration::ZERO,
            security_patience: Duration::from_secs(15 * 60),
            key_trust: Trust::Discovered,
            accept_encrypted: false,
            smime_cipher: None,
        }
    }
}

/// One `[[rule]]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// Its name, unique, for audit and `explain`.
    pub name: String,
    /// When it applies.
    pub when: Conditions,
    /// Whether it is one of those that apply afterwards, all of them, and only raise.
    pub raise: bool,
    /// Its methods; `None`: those of `[security]`.
    pub methods: Option<MethodsList>,
    /// Its level; `None`: that of `[security]`.
    pub tls_level: Option<TlsLevel>,
    /// Its `fallback_after`; `None`: that of `[security]`.
    pub fallback_after: Option<Duration>,
    /// Its `security_patience`; `None`: that of `[security]`.
    pub security_patience: Option<Duration>,
    /// Its `key_trust`; `None`: that of `[security]`.
    pub key_trust: Option<Trust>,
    /// Its `accept_encrypted`; `None`: that of `[security]`.
    pub accept_encrypted: Option<bool>,
    /// Its `smime_cipher`; `None`: that of `[security]`.
    pub smime_cipher: Option<SmimeCipher>,
    /// What it changes in the header section of what goes out.
    pub edits: HeaderEdits,
    /// Recipients whose domain is known not to do TLS are refused at RCPT.
    pub refuse_without_tls: bool,
    /// Why its recipients are held until somebody releases them.
    pub hold: Option<String>,
    /// Why its recipients are dropped at once.
    pub drop: Option<String>,
}

/// Conditions of a rule. All that are given (not empty) must hold; each holds if
/// one of its patterns matches. Comparisons ignore case; `*` stands for any run
/// of characters. What isn't there (the sender of `<>`, the account of a relayed
/// message) is matched by `""` alone, not by `*`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// The recipient's address.
    pub recipient: Vec<String>,
    /// The sender's address; `<>` has none, so only `""` matches it.
    pub sender: Vec<String>,
    /// The recipient's domain: exact, or `.example` for subdomains.
    pub recipient_domain: Vec<String>,
    /// The sender's domain, likewise.
    pub sender_domain: Vec<String>,
    /// The account that submitted.
    pub account: Vec<String>,
    /// The `bind` of the listener it came through.
    pub listener: Vec<String>,
    /// Texts in the Subject.
    pub subject_contains: Vec<String>,
    /// Header fields: name and pattern of the value.
    pub header: Vec<(String, String)>,
    /// Octets of the message, at least.
    pub min_size: Option<u64>,
    /// The value of the Sensitivity field.
    pub sensitivity: Vec<String>,
    /// The name or GUID of a Microsoft sensitivity label.
    pub sensitivity_label: Vec<String>,
    /// A pattern that the message's text has, so many times.
    pub text_matches: Option<TextMatches>,
}

/// `text_matches`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextMatches {
    /// What is counted.
    pub pattern: TextPattern,
    /// How often it must be there.
    pub at_least: usize,
}

impl Conditions {
    /// Whether it asks the message's content.
    #[must_use]
    pub fn ask_content(&self) -> bool {
        !self.subject_contains.is_empty()
            || !self.header.is_empty()
            || self.min_size.is_some()
            || !self.sensitivity.is_empty()
            || !self.sensitivity_label.is_empty()
            || self.text_matches.is_some()
    }
}

impl Settings {
    /// What the rules ask of messages' content, to be noted at acceptance.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let fields = self.rules.iter().flat_map(|rule| &rule.when.header);
        let mut fields: Vec<String> = fields.map(|(name, _)| name.to_lowercase()).collect();
        fields.sort();
        fields.dedup();
        let mut patterns: Vec<TextPattern> = Vec::new();
        let asked = self
            .rules
            .iter()
            .filter_map(|r| r.when.text_matches.as_ref());
        for TextMatches { pattern, .. } in asked {
            if !patterns.contains(pattern) {
                patterns.push(pattern.clone());
            }
        }
        Wanted { fields, patterns }
    }
}
