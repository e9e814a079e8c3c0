//! One question, one decision.
//!
//! Owns the evaluation of rules. Holds always: the first rule that matches
//! decides, what it leaves unset is `[security]`'s; a rule that asks content, and all
//! with `raise`, only take methods away and raise levels, compared with what the same
//! recipient gets without them (design section 3.3); [`Policy::decide`] and
//! [`Policy::explain`] try rules through the same function, so that what is
//! explained is what is done. Called by `delivery` at each attempt and by
//! `explain`.

use std::fmt;

use crate::types::{
    HeaderEdits, Host, Mailbox, Message, Method, MethodsList, Origin, Principal, SmimeCipher,
};

use super::content::{Asked, Content};
use super::pattern::Pattern;
use super::stop::{Stop, Stopping};
use super::{Rule, Settings, Treatment};

/// What policy is asked: facts of one recipient of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// The recipient.
    pub recipient: &'a Mailbox,
    /// The sender; `None` is `<>`.
    pub sender: Option<&'a Mailbox>,
    /// The account that submitted, if one did.
    pub account: Option<&'a str>,
    /// The `bind` of the listener it came through, if it did.
    pub listener: Option<&'a str>,
    /// Whether Postern itself wrote it.
    pub own_mail: bool,
    /// What is known of its content.
    pub content: Content<'a>,
}

impl<'a> Question<'a> {
    /// The question about one recipient of a message in the spool.
    #[must_use]
    pub fn about(message: &'a Message, recipient: &'a Mailbox) -> Self {
        let (account, listener) = match &message.origin {
            Origin::Submitted(source) => match &source.principal {
                Principal::Account(name) => (Some(name.as_str()), Some(source.listener.as_str())),
                Principal::Network(_) | Principal::Certificate(_) => {
                    (None, Some(source.listener.as_str()))
                }
            },
            Origin::Own(_) | Origin::Test { .. } => (None, None),
        };
        Self {
            recipient,
            sender: message.envelope.sender.as_ref(),
            account,
            listener,
            own_mail: message.is_own_mail(),
            content: match (&message.facts.content, &message.origin) {
                (Some(facts), _) => Content::Noted {
                    facts,
                    size: message.facts.size,
                },
                (None, Origin::Submitted(_)) => Content::Unknown,
                (None, Origin::Own(_) | Origin::Test { .. }) => Content::Ours,
            },
        }
    }
}

/// What is to be done, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Methods and level that the configuration prescribes.
    pub treatment: Treatment,
    /// `[security] observe`: how it is delivered where `treatment` would not. The
    /// operator then asks for nothing, and what `treatment` comes to goes into the
    /// record. It is the operator's own part alone that this lowers: what others
    /// say (what the domain publishes, what a message asks for) is none of policy's
    /// business and is added by `assurance` to whatever list is walked.
    pub observe: Option<MethodsList>,
    /// What is changed in the header section of what goes out; nothing in own mail.
    pub edits: HeaderEdits,
    /// A rule that keeps it from going anywhere; never own mail.
    pub stop: Option<Stop>,
    /// The drop that follows once the hold is released.
    then: Option<Stop>,
    /// The rule that decided, with ` + ` and those that raised; `None`: `[security]`.
    pub rule: Option<String>,
    /// The configuration in force, for the evidence.
    pub configuration: String,
}

impl Decision {
    /// The same for a recipient whom an operator has released: nothing holds it.
    pub fn release(&mut self) {
        if self.stop.as_ref().is_some_and(|s| s.what == Stopping::Hold) {
            self.stop = self.then.take();
        }
    }
}

/// A condition of `when` (design section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// `recipient`.
    Recipient,
    /// `sender`.
    Sender,
    /// `recipient_domain`.
    RecipientDomain,
    /// `sender_domain`.
    SenderDomain,
    /// `account`.
    Account,
    /// `listener`.
    Listener,
    /// `subject_contains`.
    SubjectContains,
    /// `header`.
    Header,
    /// `min_size`.
    MinSize,
    /// `sensitivity`.
    Sensitivity,
    /// `sensitivity_label`.
    SensitivityLabel,
    /// `text_matches`.
    TextMatches,
}

impl Condition {
    /// The key in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recipient => "recipient",
            Self::Sender => "sender",
            Self::RecipientDomain => "recipient_domain",
            Self::SenderDomain => "sender_domain",
            Self::Account => "account",
            Self::Listener => "listener",
            Self::SubjectContains => "subject_contains",
            Self::Header => "header",
            Self::MinSize => "min_size",
            Self::Sensitivity => "sensitivity",
            Self::SensitivityLabel => "sensitivity_label",
            Self::TextMatches => "text_matches",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What came of trying one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// It matches and is the first to do so.
    Decides,
    /// It matches, but an earlier one decided.
    TooLate,
    /// It matches and is one of those that raise what was decided.
    Raises,
    /// The first of its conditions that doesn't hold.
    Fails(Condition),
}

/// One rule's trial, for `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTrial {
    /// The rule's name.
    pub rule: String,
    /// What came of it.
    pub trial: Trial,
}

/// The rules of one configuration, ready to be asked.
#[derive(Debug, Clone)]
pub struct Policy {
    default: Treatment,
    rules: Vec<ReadyRule>,
    dsn_cleartext: bool,
    observe: bool,
    configuration: String,
}

/// A rule with its patterns made ready.
#[derive(Debug, Clone)]
struct ReadyRule {
    name: String,
    treatment: Treatment,
    /// The same as written.
    given: Rule,
    refuse_without_tls: bool,
    conditions: Vec<(Condition, Vec<Pattern>)>,
    content: Vec<(Condition, Asked)>,
}

impl Policy {
    /// Makes the settings ready. `configuration` names the file in force: the
    /// first 16 hex digits of its SHA-256.
    #[must_use]
    pub fn new(settings: Settings, configuration: String) -> Self {
        let rules = settings
            .rules
            .into_iter()
            .map(|rule| ReadyRule::new(rule, &settings.default))
            .collect();
        Self {
            default: settings.default,
            rules,
            dsn_cleartext: settings.dsn_cleartext,
            observe: settings.observe,
            configuration,
        }
    }

    /// The answer for one recipient: the first matching rule's, or
    /// `[security]`'s. Own mail takes of it the level, and the methods that own
    /// mail may use (design section 3.3). While the configuration is only observed,
    /// own mail is too: else a report would be lost where the message it tells of
    /// arrives.
    #[must_use]
    pub fn decide(&self, question: &Question<'_>) -> Decision {
        let facts = Facts::of(question);
        let mut matching = self
            .rules
            .iter()
            .filter(|rule| rule.unmet(&facts).is_none());
        let (raising, deciding): (Vec<_>, Vec<_>) =
            matching.by_ref().partition(|rule| rule.given.raise);
        // What the recipient gets whatever the message holds.
        let plain = deciding.iter().find(|rule| rule.content.is_empty());
        let mut treatment = plain.map_or(&self.default, |rule| &rule.treatment).clone();
        let first = deciding.first();
        if let Some(rule) = first.filter(|rule| !rule.content.is_empty()) {
            treatment = rule.tighten(&treatment);
        }
        for rule in &raising {
            treatment = rule.tighten(&treatment);
        }
        let (stop, then) = match question.own_mail {
            true => (None, None),
            // What the recipient gets without the content counts here too.
            false => {
                let first = first.filter(|rule| !rule.content.is_empty());
                let rules = plain.into_iter().chain(first).chain(&raising);
                stops(rules.copied(), &facts)
            }
        };
        let stopping = |rule: &&&ReadyRule| stop.as_ref().is_some_and(|s| s.rule == rule.name);
        let unnamed = plain.filter(stopping).filter(|plain| {
            let is_first = first.is_some_and(|first| first.name == plain.name);
            !is_first
        });
        let names = first.into_iter().chain(unnamed).chain(&raising);
        let names: Vec<&str> = names.map(|rule| rule.name.as_str()).collect();
        let mut edits = HeaderEdits::default();
        if !question.own_mail {
            let rules = first.into_iter().chain(&raising);
            edits = rules.fold(edits, |edits, rule| edits.and(&rule.given.edits));
        }
        if question.own_mail {
            treatment.methods = treatment.methods.for_own_mail(self.dsn_cleartext);
        }
        Decision {
            treatment,
            edits,
            stop,
            then,
            observe: self.observe.then(MethodsList::opportunistic),
            rule: (!names.is_empty()).then(|| names.join(" + ")),
            configuration: self.configuration.clone(),
        }
    }

    /// Whether the rule that decides, or one that raises, refuses a recipient at RCPT
    /// whose domain is known not to do TLS.
    #[must_use]
    pub fn refuses_without_tls(&self, question: &Question<'_>) -> bool {
        let facts = Facts::of(question);
        let matching = self
            .rules
            .iter()
            .filter(|rule| rule.unmet(&facts).is_none());
        // The first match decides; rules that only raise don't hide it, and count too.
        let mut decided = false;
        let mut counts =
            matching.filter(|rule| rule.given.raise || !std::mem::replace(&mut decided, true));
        counts.any(|rule| rule.refuse_without_tls)
    }

    /// Every rule in order with what came of it.
    #[must_use]
    pub fn explain(&self, question: &Question<'_>) -> Vec<RuleTrial> {
        let facts = Facts::of(question);
        let mut decided = false;
        self.rules
            .iter()
            .map(|rule| RuleTrial {
                rule: rule.name.clone(),
                trial: match rule.unmet(&facts) {
                    Some(condition) => Trial::Fails(condition),
                    None if rule.given.raise => Trial::Raises,
                    None if std::mem::replace(&mut decided, true) => Trial::TooLate,
                    None => Trial::Decides,
                },
            })
            .collect()
    }
}

/// What stops a message that these rules match, and what does once a hold is released.
fn stops<'a>(
    rules: impl Iterator<Item = &'a ReadyRule>,
    facts: &Facts<'_>,
) -> (Option<Stop>, Option<Stop>) {
    let stops = rules.filter_map(|rule| Stop::of(&rule.given, rule.is_certain(facts)));
    let (mut holds, drops): (Vec<_>, Vec<_>) = stops.partition(|s| s.what == Stopping::Hold);
    let drop = drops.into_iter().next();
    match holds.is_empty() {
        true => (drop, None),
        false => (Some(holds.swap_remove(0)), drop),
    }
}

impl ReadyRule {
    /// Whether it matches not only because something was not noted.
    fn is_certain(&self, facts: &Facts<'_>) -> bool {
        let mut content = self.content.iter();
        content.all(|(_, asked)| asked.is_known(facts.content))
    }

    fn new(rule: Rule, default: &Treatment) -> Self {
        let when = &rule.when;
        let conditions = [
            (Condition::Recipient, &when.recipient),
            (Condition::Sender, &when.sender),
            (Condition::RecipientDomain, &when.recipient_domain),
            (Condition::SenderDomain, &when.sender_domain),
            (Condition::Account, &when.account),
            (Condition::Listener, &when.listener),
        ];
        let conditions = conditions
            .into_iter()
            .filter(|(_, texts)| !texts.is_empty())
            .map(|(condition, texts)| {
                let ready = texts.iter().map(|text| ready(condition, text));
                (condition, ready.collect())
            })
            .collect();
        Self {
            conditions,
            content: Asked::all(&rule.when),
            given: rule.clone(),
            refuse_without_tls: rule.refuse_without_tls,
            treatment: Treatment {
                methods: rule.methods.unwrap_or_else(|| default.methods.clone()),
                tls_level: rule.tls_level.unwrap_or(default.tls_level),
                protected_level: None,
                fallback_after: rule.fallback_after.unwrap_or(default.fallback_after),
                security_patience: rule.security_patience.unwrap_or(default.security_patience),
                key_trust: rule.key_trust.unwrap_or(default.key_trust),
                accept_encrypted: rule.accept_encrypted.unwrap_or(default.accept_encrypted),
                smime_cipher: rule.smime_cipher.or(default.smime_cipher),
            },
            name: rule.name,
        }
    }

    /// What this rule leaves of a treatment: methods are taken away, the level rises,
    /// waits are the longer ones.
    fn tighten(&self, treatment: &Treatment) -> Treatment {
        let given = &self.given;
        let tls_level = given
            .tls_level
            .max(Some(treatment.tls_level))
            .unwrap_or(treatment.tls_level);
        // Whose list has none that may go in the clear gets none by what a message holds.
        let may_be_clear =
            |method: &Method| *method == Method::Cleartext || method.protects_content();
        let methods = match &given.methods {
            Some(methods) => treatment.methods.restricted_to(methods),
            None => treatment.methods.clone(),
        };
        let is_bound = treatment.protected_level.is_some()
            || !treatment.methods.methods().iter().any(may_be_clear)
                && methods.methods().iter().any(may_be_clear);
        Treatment {
            methods,
            tls_level,
            protected_level: treatment.protected_level.max(is_bound.then_some(tls_level)),
            fallback_after: given
                .fallback_after
                .unwrap_or_default()
                .max(treatment.fallback_after),
            security_patience: given
                .security_patience
                .unwrap_or_default()
                .max(treatment.security_patience),
            key_trust: given
                .key_trust
                .max(Some(treatment.key_trust))
                .unwrap_or(treatment.key_trust),
            // It spares a copy of our own, so it can only be taken away.
            accept_encrypted: treatment.accept_encrypted && given.accept_encrypted != Some(false),
            // Of the two only the better one raises anything.
            smime_cipher: given
                .smime_cipher
                .filter(|cipher| *cipher == SmimeCipher::Aes256Gcm)
                .or(treatment.smime_cipher),
        }
    }

    /// The first condition that doesn't hold; `None`: the rule matches.
    fn unmet(&self, facts: &Facts<'_>) -> Option<Condition> {
        let plain = self.unmet_envelope(facts);
        let content = || {
            let asked = self.content.iter();
            let mut failing = asked.filter(|(_, asked)| !asked.holds(facts.content));
            failing.next().map(|(condition, _)| *condition)
        };
        plain.or_else(content)
    }

    fn unmet_envelope(&self, facts: &Facts<'_>) -> Option<Condition> {
        let (condition, _) = self.conditions.iter().find(|(condition, patterns)| {
            let holds = match facts.get(*condition) {
                Some(text) => patterns.iter().any(|pattern| pattern.matches(text)),
                None => patterns.iter().any(Pattern::is_empty),
            };
            !holds
        })?;
        Some(*condition)
    }
}

fn ready(condition: Condition, text: &str) -> Pattern {
    match condition {
        Condition::Recipient | Condition::Sender => Pattern::address(text),
        Condition::RecipientDomain | Condition::SenderDomain => Pattern::domain(text),
        _ => Pattern::text(text),
    }
}

/// A question's texts in lower case, made once for all rules. A host may be an
/// address literal: it counts as a domain here, lest a rule for all domains
/// leave it out.
struct Facts<'a> {
    recipient: String,
    sender: Option<String>,
    recipient_domain: String,
    sender_domain: Option<String>,
    account: Option<String>,
    listener: Option<String>,
    content: Content<'a>,
}

impl<'a> Facts<'a> {
    fn of(question: &Question<'a>) -> Self {
        let host = |host: &Host| host.to_string().to_lowercase();
        Self {
            recipient: question.recipient.to_string().to_lowercase(),
            sender: question.sender.map(|s| s.to_string().to_lowercase()),
            recipient_domain: host(question.recipient.host()),
            sender_domain: question.sender.map(|s| host(s.host())),
            account: question.account.map(str::to_lowercase),
            listener: question.listener.map(str::to_lowercase),
            content: question.content,
        }
    }

    fn get(&self, condition: Condition) -> Option<&str> {
        match condition {
            Condition::Recipient => Some(&self.recipient),
            Condition::Sender => self.sender.as_deref(),
            Condition::RecipientDomain => Some(&self.recipient_domain),
            Condition::SenderDomain => self.sender_domain.as_deref(),
            Condition::Account => self.account.as_deref(),
            Condition::Listener => self.listener.as_deref(),
            // Asked elsewhere: these are no texts of the envelope.
            Condition::SubjectContains
            | Condition::Header
            | Condition::MinSize
            | Condition::Sensitivity
            | Condition::SensitivityLabel
            | Condition::TextMatches => None,
        }
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "stop_tests.rs"]
mod stop_tests;
