//! `[security]`, `[dsn]` and `[[rule]]`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::listener::any_text;
use super::reader::Section;
use super::routing::parse_domain_pattern;
use super::word;
use crate::policy::{Conditions, Rule, Settings, Treatment};
use crate::types::units::parse_duration;
use crate::types::{MethodsList, TlsLevel};

pub(super) fn read(top: &Section<'_, '_, '_>) -> Settings {
    let section = top.section("security");
    let given = Given::read(&section);
    let observe = section.flag("observe").unwrap_or(false);
    let probe = section.flag("probe").unwrap_or(true);
    section.finish();
    let usual = Treatment::default();
    let default = Treatment {
        methods: given.methods.unwrap_or(usual.methods),
        tls_level: given.tls_level.unwrap_or(usual.tls_level),
        fallback_after: given.fallback_after.unwrap_or(usual.fallback_after),
        security_patience: given.security_patience.unwrap_or(usual.security_patience),
    };
    let dsn = top.section("dsn");
    let dsn_cleartext = dsn.flag("cleartext").unwrap_or(false);
    dsn.finish();
    let mut names = BTreeSet::new();
    let mut rules = Vec::new();
    for section in top.sections("rule") {
        if let Some(rule) = read_rule(&section) {
            if !names.insert(rule.name.clone()) {
                section.fault(
                    section.line(),
                    format_args!("two rules are named \"{}\"", rule.name),
                );
            }
            rules.push(rule);
        }
    }
    Settings {
        default,
        rules,
        dsn_cleartext,
        observe,
        probe,
    }
}

/// What `[security]` and a rule both may prescribe.
struct Given {
    methods: Option<MethodsList>,
    tls_level: Option<TlsLevel>,
    fallback_after: Option<Duration>,
    security_patience: Option<Duration>,
}

/// The keys of [`Given`].
const TREATMENT: [&str; 4] = [
    "methods",
    "tls_level",
    "fallback_after",
    "security_patience",
];

impl Given {
    fn read(section: &Section<'_, '_, '_>) -> Self {
        let words = section.list("methods", any_text);
        let methods = words.and_then(|words| {
            MethodsList::parse(&words)
                .inspect_err(|e| section.fault(section.line_of("methods"), e))
                .ok()
        });
        let tls_level = section.parsed("tls_level", |text| {
            word(
                text,
                &[
                    ("encrypted", TlsLevel::Encrypted),
                    ("authenticated", TlsLevel::Authenticated),
                    ("secure", TlsLevel::Secure),
                ],
            )
        });
        Self {
            methods,
            tls_level,
            fallback_after: section.parsed("fallback_after", parse_duration),
            security_patience: section.parsed("security_patience", parse_duration),
        }
    }
}

fn read_rule(section: &Section<'_, '_, '_>) -> Option<Rule> {
    let name = section.text("name");
    if !section.has("name") {
        section.fault(section.line(), "rule.name is missing");
    }
    let when = section.section("when");
    if !section.has("when") {
        section.fault(
            section.line(),
            "rule.when is missing (for all recipients, use [security])",
        );
    }
    let conditions = Conditions {
        recipient: when.list("recipient", any_text).unwrap_or_default(),
        sender: when.list("sender", any_text).unwrap_or_default(),
        recipient_domain: when
            .list("recipient_domain", parse_domain_pattern)
            .unwrap_or_default(),
        sender_domain: when
            .list("sender_domain", parse_domain_pattern)
            .unwrap_or_default(),
        account: when.list("account", any_text).unwrap_or_default(),
        listener: when.list("listener", any_text).unwrap_or_default(),
    };
    when.finish();
    if conditions == Conditions::default() && section.has("when") {
        section.fault(
            when.line(),
            "rule.when holds no condition, so nothing would say when it applies",
        );
    }
    let given = Given::read(section);
    let refuse_without_tls = section.flag("refuse_without_tls").unwrap_or(false);
    if !TREATMENT.iter().any(|key| section.has(key)) && !refuse_without_tls {
        section.fault(
            section.line(),
            "the rule does nothing: give it methods, tls_level or refuse_without_tls",
        );
    }
    section.finish();
    Some(Rule {
        name: name?.value,
        when: conditions,
        methods: given.methods,
        tls_level: given.tls_level,
        fallback_after: given.fallback_after,
        security_patience: given.security_patience,
        refuse_without_tls,
    })
}
