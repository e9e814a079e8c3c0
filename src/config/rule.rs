//! `[security]`, `[dsn]` and `[[rule]]`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::listener::any_text;
use super::reader::Section;
use super::routing::parse_domain_pattern;
use super::word;
use crate::policy::{Conditions, Rule, Settings, TextMatches, Treatment};
use crate::protect;
use crate::types::content::{COUNT_MAX, PATTERNS_MAX};
use crate::types::units::{parse_duration, parse_size};
use crate::types::{HeaderEdits, Method, MethodsList, SmimeCipher, TextPattern, TlsLevel, Trust};

pub(super) fn read(top: &Section<'_, '_, '_>, protect: &protect::Settings) -> Settings {
    let section = top.section("security");
    let given = Given::read(&section, protect);
    let observe = section.flag("observe").unwrap_or(false);
    let probe = section.flag("probe").unwrap_or(true);
    section.finish();
    let usual = Treatment::default();
    let default = Treatment {
        methods: given
            .methods
            .unwrap_or_else(|| MethodsList::usual(protect.pgp.is_some(), protect.smime.is_some())),
        tls_level: given.tls_level.unwrap_or(usual.tls_level),
        protected_level: None,
        fallback_after: given.fallback_after.unwrap_or(usual.fallback_after),
        security_patience: given.security_patience.unwrap_or(usual.security_patience),
        key_trust: given.key_trust.unwrap_or(usual.key_trust),
        accept_encrypted: given.accept_encrypted.unwrap_or(usual.accept_encrypted),
        smime_cipher: given.smime_cipher,
    };
    let dsn = top.section("dsn");
    let dsn_cleartext = dsn.flag("cleartext").unwrap_or(false);
    dsn.finish();
    let mut names = BTreeSet::new();
    let mut rules = Vec::new();
    for section in top.sections("rule") {
        if let Some(rule) = read_rule(&section, protect) {
            if !names.insert(rule.name.clone()) {
                section.fault(
                    section.line(),
                    format_args!("two rules are named \"{}\"", rule.name),
                );
            }
            rules.push(rule);
        }
    }
    let settings = Settings {
        default,
        rules,
        dsn_cleartext,
        observe,
        probe,
    };
    if settings.wanted().patterns.len() > PATTERNS_MAX {
        let most = PATTERNS_MAX;
        top.fault(
            top.line_of("rule"),
            format_args!("rules may count {most} different text_matches patterns, not more"),
        );
    }
    settings
}

/// What `[security]` and a rule both may prescribe.
struct Given {
    methods: Option<MethodsList>,
    tls_level: Option<TlsLevel>,
    fallback_after: Option<Duration>,
    security_patience: Option<Duration>,
    key_trust: Option<Trust>,
    accept_encrypted: Option<bool>,
    smime_cipher: Option<SmimeCipher>,
}

/// The keys of [`Given`].
const TREATMENT: [&str; 7] = [
    "methods",
    "tls_level",
    "fallback_after",
    "security_patience",
    "key_trust",
    "accept_encrypted",
    "smime_cipher",
];

impl Given {
    fn read(section: &Section<'_, '_, '_>, protect: &protect::Settings) -> Self {
        let words = section.list("methods", any_text);
        let methods = words.and_then(|words| {
            MethodsList::parse(&words)
                .inspect_err(|e| section.fault(section.line_of("methods"), e))
                .ok()
        });
        if let Some(method) = methods.as_ref().and_then(|list| lacking(list, protect)) {
            section.fault(
                section.line_of("methods"),
                format_args!("\"{method}\" needs a [{method}] section, which may be empty"),
            );
        }
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
            key_trust: section.parsed("key_trust", |text| {
                word(
                    text,
                    &[
                        ("discovered", Trust::Discovered),
                        ("verified", Trust::Verified),
                        ("manual", Trust::Manual),
                    ],
                )
            }),
            accept_encrypted: section.flag("accept_encrypted"),
            smime_cipher: section.parsed("smime_cipher", parse_cipher),
        }
    }
}

/// `aes-256-cbc` or `aes-256-gcm`.
pub(super) fn parse_cipher(text: &str) -> Result<SmimeCipher, impl std::fmt::Display + use<>> {
    word(
        text,
        &[
            ("aes-256-cbc", SmimeCipher::Aes256Cbc),
            ("aes-256-gcm", SmimeCipher::Aes256Gcm),
        ],
    )
}

/// The first method of a list that is not configured.
fn lacking(list: &MethodsList, protect: &protect::Settings) -> Option<Method> {
    let lacks = |method: &Method| match method {
        Method::Pgp => protect.pgp.is_none(),
        Method::Smime => protect.smime.is_none(),
        Method::Tls | Method::Cleartext => false,
    };
    list.methods().iter().copied().find(lacks)
}

fn read_rule(section: &Section<'_, '_, '_>, protect: &protect::Settings) -> Option<Rule> {
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
        subject_contains: when.list("subject_contains", some_text).unwrap_or_default(),
        header: when.list("header", parse_header).unwrap_or_default(),
        min_size: when.parsed("min_size", parse_size),
        sensitivity: when.list("sensitivity", some_text).unwrap_or_default(),
        sensitivity_label: when
            .list("sensitivity_label", some_text)
            .unwrap_or_default(),
        text_matches: read_text_matches(&when),
    };
    when.finish();
    let is_there = when.has("text_matches");
    if conditions == Conditions::default() && section.has("when") && !is_there {
        section.fault(
            when.line(),
            "rule.when holds no condition, so nothing would say when it applies",
        );
    }
    let raise = section.flag("raise").unwrap_or(false);
    let given = Given::read(section, protect);
    if given.accept_encrypted == Some(true) && (raise || conditions.ask_content()) {
        section.fault(
            section.line_of("accept_encrypted"),
            "accept_encrypted = true has no effect in a rule that raises or asks for content, \
             which can only take it away: write it into [security] or another rule",
        );
    }
    let edits = read_edits(section, &conditions);
    let refuse_without_tls = section.flag("refuse_without_tls").unwrap_or(false);
    let hold = section.parsed("hold", parse_reason);
    let drop = section.parsed("drop", parse_reason);
    if hold.is_some() && drop.is_some() {
        section.fault(
            section.line_of("drop"),
            "a rule holds or drops, not both: take one out",
        );
    }
    let stops = section.has("hold") || section.has("drop");
    let does = !edits.is_empty() || refuse_without_tls || stops;
    if !does && !TREATMENT.iter().any(|key| section.has(key)) {
        section.fault(
            section.line(),
            "the rule does nothing: give it methods, tls_level, hold, drop or refuse_without_tls",
        );
    }
    section.finish();
    Some(Rule {
        name: name?.value,
        when: conditions,
        raise,
        methods: given.methods,
        tls_level: given.tls_level,
        fallback_after: given.fallback_after,
        security_patience: given.security_patience,
        key_trust: given.key_trust,
        accept_encrypted: given.accept_encrypted,
        smime_cipher: given.smime_cipher,
        edits,
        refuse_without_tls,
        hold,
        drop,
    })
}

/// `text_matches = { pattern = "…", at_least = 3 }`.
fn read_text_matches(when: &Section<'_, '_, '_>) -> Option<TextMatches> {
    let section = when.section("text_matches");
    let pattern = section.parsed("pattern", TextPattern::parse);
    let at_least = section.number("at_least", 1..=COUNT_MAX).unwrap_or(1);
    if when.has("text_matches") && !section.has("pattern") {
        section.fault(section.line(), "rule.when.text_matches.pattern is missing");
    }
    section.finish();
    pattern.map(|pattern| TextMatches { pattern, at_least })
}

/// What a rule changes in the message.
fn read_edits(section: &Section<'_, '_, '_>, when: &Conditions) -> HeaderEdits {
    let strip = section.flag("strip_subject_tag").unwrap_or(false);
    if strip && when.subject_contains.is_empty() {
        section.fault(
            section.line_of("strip_subject_tag"),
            "strip_subject_tag takes out what when.subject_contains names, so it needs that",
        );
    }
    let tags = when.subject_contains.iter().filter(|_| strip);
    HeaderEdits {
        strip_subject: tags.map(|tag| tag.to_lowercase()).collect(),
        remove: section
            .list("remove_header", parse_name)
            .unwrap_or_default(),
        add: section.list("add_header", parse_line).unwrap_or_default(),
    }
}

/// The name of a field that a message can do without.
fn parse_name(text: &str) -> Result<String, &'static str> {
    let is_name = !text.is_empty() && text.bytes().all(|b| matches!(b, b'!'..=b'9' | b';'..=b'~'));
    let is_needed = ["from", "date", "received", "content-type", "mime-version"]
        .contains(&text.to_lowercase().as_str());
    match (is_name, is_needed) {
        (true, false) => Ok(text.to_owned()),
        (true, true) => Err("is a field that no message can do without"),
        (false, _) => Err("must be a field name, e.g. \"X-Internal\""),
    }
}

/// A whole field, `Name: value`, in ASCII and on one line.
fn parse_line(text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "must be a field on one line in ASCII, e.g. \"X-Class: secret\"";
    let (name, value) = parse_header(text).map_err(|_| WRONG)?;
    let name = parse_name(&name).map_err(|_| WRONG)?;
    match value.bytes().all(|b| matches!(b, b' '..=b'~')) && text.len() <= 900 {
        true => Ok(format!("{name}: {value}")),
        false => Err(WRONG),
    }
}

/// A text that every message would hold is no condition.
fn some_text(text: &str) -> Result<String, &'static str> {
    match text.trim().is_empty() {
        true => Err("must not be empty"),
        false => Ok(text.to_owned()),
    }
}

/// Why a rule holds or drops: a line that the audit and the queue show.
fn parse_reason(text: &str) -> Result<String, &'static str> {
    let is_line = !text.trim().is_empty() && text.len() <= 200;
    match is_line && !text.chars().any(char::is_control) {
        true => Ok(text.trim().to_owned()),
        false => Err("must say why, in one line of 200 octets at most"),
    }
}

/// `Name: pattern`.
fn parse_header(text: &str) -> Result<(String, String), &'static str> {
    const WRONG: &str = "must be a field name, a colon and a pattern, e.g. \"X-Class: secret*\"";
    let (name, pattern) = text.split_once(':').ok_or(WRONG)?;
    let name = name.trim();
    let is_name = !name.is_empty() && name.bytes().all(|b| matches!(b, b'!'..=b'~'));
    match is_name {
        true => Ok((name.to_owned(), pattern.trim().to_owned())),
        false => Err(WRONG),
    }
}
