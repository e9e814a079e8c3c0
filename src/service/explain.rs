//! `postern explain`: what would happen, by the code that delivers.
//!
//! Owns the story's form: the JSON is part of the contract (design section 4.1),
//! the text is for people (`text`).

mod text;

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::domain::AsTold;
use super::probe::ProbeStory;
use super::run::{Keyring, deliverer};
use super::sts;
use super::sts_story::StsStory;
use crate::assurance::Published;
use crate::config::Config;
use crate::control::DomainView;
use crate::delivery::{Deliverer, Explanation, Hop, KeyKnown};
use crate::message::{Texts, content_facts};
use crate::policy::{Content, Question, Stop, Stopping, Trial};
use crate::types::units::print_duration;
use crate::types::{
    ContentFacts, Demand, Ending, Failure, Learnt, Mailbox, Method, Remembered, Required, Trust,
};

/// The message in question.
#[derive(Debug, Clone)]
pub struct Case {
    /// To whom.
    pub recipient: Mailbox,
    /// From whom; `None` is `<>`.
    pub sender: Option<Mailbox>,
    /// The account that submits.
    pub account: Option<String>,
    /// The listener it comes through.
    pub listener: Option<String>,
    /// What is in it; `None`: nothing that any rule asks for.
    pub content: Option<(ContentFacts, u64)>,
}

/// What would happen, and why.
#[derive(Debug, Clone, Serialize)]
pub struct Story {
    recipient: String,
    /// The rule that decides; null: `[security]`.
    rule: Option<String>,
    configuration: String,
    rules: Vec<RuleStory>,
    /// What the configuration prescribes.
    methods: Vec<MethodStory>,
    ending: &'static str,
    /// A rule that keeps it from going anywhere; null: none does.
    stop: Option<StopStory>,
    /// When the next method, or the ending, has its turn.
    waits: WaitsStory,
    /// `[security] observe`: the methods by which it is delivered where the above
    /// would not, which only goes into the record; null: the above is enforced.
    observe: Option<Vec<MethodStory>>,
    /// The domain's MTA-STS policy, or why it has none.
    sts: StsStory,
    /// What is remembered of the domain forbids `cleartext`: `encrypted`, or
    /// `excepted` where an operator's exception lets it all the same; null: nothing.
    memory: Option<&'static str>,
    /// Who made the exception, until when and why.
    exception: Option<String>,
    /// The `domain` of the fixed route that replaces MX.
    route: Option<String>,
    logs_in: bool,
    site: Option<String>,
    hosts: Vec<HostStory>,
    /// Why there is no host to try.
    no_route: Option<NoRouteStory>,
    /// What the hosts said, if they were asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<ProbeStory>,
}

/// A rule that holds or drops.
#[derive(Debug, Clone, Serialize)]
struct StopStory {
    /// `hold` or `drop`.
    what: &'static str,
    rule: String,
    reason: String,
    #[serde(skip)]
    note: String,
}

impl StopStory {
    fn new(stop: &Stop) -> Self {
        Self {
            what: match stop.what {
                Stopping::Hold => "hold",
                Stopping::Drop => "drop",
            },
            rule: stop.rule.clone(),
            reason: stop.reason.clone(),
            note: stop.note(),
        }
    }
}

/// The two clocks.
#[derive(Debug, Clone, Serialize)]
struct WaitsStory {
    fallback_after: String,
    security_patience: String,
}

/// One rule's part.
#[derive(Debug, Clone, Serialize)]
struct RuleStory {
    name: String,
    /// `decides`, `raises`, `too-late`, or the condition that doesn't hold.
    outcome: &'static str,
    condition: Option<&'static str>,
}

/// One method's part.
#[derive(Debug, Clone, Serialize)]
struct MethodStory {
    method: &'static str,
    /// What the transport must prove; null: nothing.
    must_prove: Option<&'static str>,
    because: Option<String>,
    /// The recipient's key, where the method encrypts the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<KeyStory>,
}

/// The key that a method would use, or why there is none.
#[derive(Debug, Clone, Serialize)]
struct KeyStory {
    fingerprint: Option<String>,
    /// How far it is trusted.
    trust: Option<&'static str>,
    /// Why there is none to use.
    reason: Option<&'static str>,
    /// Each key that is known and can't be used, with why.
    refused: Vec<RefusedKey>,
    /// Whether a delivery looks at the domain's key directory too.
    looked_up: bool,
}

/// A key that can't be used.
#[derive(Debug, Clone, Serialize)]
struct RefusedKey {
    fingerprint: String,
    reason: &'static str,
}

/// One host's part.
#[derive(Debug, Clone, Serialize)]
struct HostStory {
    host: String,
    port: u16,
    preference: u16,
    addresses: Vec<String>,
    /// Why it can't be tried.
    reason: Option<&'static str>,
    /// Whether the domain's MTA-STS policy lists it; null: there is none.
    sts_listed: Option<bool>,
}

/// Why there is no host.
#[derive(Debug, Clone, Serialize)]
struct NoRouteStory {
    permanent: bool,
    reason: &'static str,
    status: String,
}

/// Asks policy, DNS and what the domain publishes, with the configuration in the file,
/// as delivery would; with `probe`, also the hosts. `kept` is what the daemon keeps of
/// the domain's MTA-STS policy, if one could be asked, `told` what is remembered of it.
///
/// # Errors
/// What can't be set up, in words.
pub fn explain(
    config: &Config,
    case: &Case,
    kept: Option<Option<String>>,
    told: Option<&DomainView>,
    probe: bool,
) -> Result<Story, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let domain = case.recipient.domain();
        let kept = kept.as_ref().map(Option::as_deref);
        let cache = sts::cache_knowing(config, domain, kept);
        let (sts, known) = cache.map_err(|e| e.to_string())?;
        let deliverer = deliverer(config, &Keyring::known(config)).map_err(|e| e.to_string())?;
        let mut deliverer = deliverer.holding_to(sts);
        if let (Some(view), Some(domain)) = (told, domain) {
            deliverer = deliverer.remembering(Arc::new(AsTold::of(domain, view)));
        }
        let question = case.question();
        if !probe {
            let explanation = deliverer.explain(question).await;
            let story = Story::new(&case.recipient, explanation, known);
            return Ok(story.with_discovery(config));
        }
        let (story, _) = probe_with(&deliverer, case, known).await?;
        Ok(story.with_discovery(config))
    })
}

/// What would happen, by asking the hosts, and what was learnt of them.
pub(super) async fn probe_with(
    deliverer: &Deliverer,
    case: &Case,
    known: bool,
) -> Result<(Story, Option<Learnt>), String> {
    let (explanation, mut prospect) = deliverer
        .probe(case.question())
        .await
        .ok_or("DNS did not answer within a minute; look at [dns] servers")?;
    let learnt = prospect.learnt.take();
    let probe = ProbeStory::new(&explanation, prospect);
    let mut story = Story::new(&case.recipient, explanation, known);
    story.probe = Some(probe);
    Ok((story, learnt))
}

impl Case {
    /// What is noted of a message with these header lines (`Name: value`) and this text, as
    /// if it had been accepted with this configuration.
    #[must_use]
    pub fn noted(config: &Config, lines: &[String], text: &str, size: u64) -> (ContentFacts, u64) {
        let header = lines.iter().fold(String::new(), |header, line| {
            header + &line.replace(['\r', '\n'], " ") + "\r\n"
        });
        let wanted = &config.ingress.wanted;
        let facts = ContentFacts {
            texts: Texts::of(text).count(&wanted.patterns),
            ..content_facts((header + "\r\n").as_bytes(), wanted)
        };
        (facts, size)
    }

    /// As policy is asked.
    pub(super) fn question(&self) -> Question<'_> {
        Question {
            recipient: &self.recipient,
            sender: self.sender.as_ref(),
            account: self.account.as_deref(),
            listener: self.listener.as_deref(),
            own_mail: false,
            content: match &self.content {
                Some((facts, size)) => Content::Noted { facts, size: *size },
                None => Content::Ours,
            },
        }
    }
}

impl Story {
    /// Whether a message would be delivered now; `None`: nobody was asked.
    #[must_use]
    pub fn would_be_delivered(&self) -> Option<bool> {
        let probe = self.probe.as_ref();
        probe.map(|probe| probe.outcome == "delivered")
    }

    /// Says where a delivery looks keys up, which `explain` does not.
    fn with_discovery(mut self, config: &Config) -> Self {
        for method in &mut self.methods {
            if let Some(key) = &mut method.key {
                let by_hand = key.trust == Some(Trust::Manual.as_str());
                key.looked_up =
                    config.keys.wkd && !by_hand && method.method == Method::Pgp.as_str();
            }
        }
        self
    }

    fn new(recipient: &Mailbox, explanation: Explanation, known: bool) -> Self {
        let published = explanation.published;
        let decision = explanation.decision;
        let route = explanation.route;
        let fixed = route.as_ref().ok().and_then(|route| route.fixed.as_ref());
        let rules = explanation.trials.into_iter().map(|trial| RuleStory {
            name: trial.rule,
            outcome: match trial.trial {
                Trial::Decides => "decides",
                Trial::TooLate => "too-late",
                Trial::Raises => "raises",
                Trial::Fails(_) => "fails",
            },
            condition: match trial.trial {
                Trial::Fails(condition) => Some(condition.as_str()),
                _ => None,
            },
        });
        Self {
            recipient: recipient.to_string(),
            rules: rules.collect(),
            methods: method_stories(&explanation.required, &explanation.keys),
            observe: explanation
                .observed
                .as_deref()
                .map(|observed| method_stories(observed, &[])),
            ending: match decision.treatment.methods.ending() {
                Ending::Bounce => "bounce",
                Ending::Drop => "drop",
            },
            stop: decision.stop.as_ref().map(StopStory::new),
            waits: WaitsStory {
                fallback_after: print_duration(decision.treatment.fallback_after),
                security_patience: print_duration(decision.treatment.security_patience),
            },
            memory: match &explanation.remembered {
                Remembered::Nothing => None,
                Remembered::Encrypted => Some("encrypted"),
                Remembered::Waived(_) => Some("excepted"),
            },
            exception: match &explanation.remembered {
                Remembered::Waived(waiver) => Some(waiver.note()),
                _ => None,
            },
            rule: decision.rule,
            configuration: decision.configuration,
            route: fixed.map(|fixed| fixed.pattern.clone()),
            logs_in: explanation.logs_in,
            site: route.as_ref().ok().map(|route| route.site.to_string()),
            hosts: explanation
                .hosts
                .into_iter()
                .map(|host| host_story(host, &published))
                .collect(),
            sts: StsStory::new(&published, known),
            no_route: route.err().map(|no| NoRouteStory {
                permanent: no.permanent,
                reason: no.failure.reason.as_str(),
                status: no.failure.status,
            }),
            probe: None,
        }
    }
}

fn method_stories(
    required: &[(Method, Required)],
    keys: &[(Method, KeyKnown)],
) -> Vec<MethodStory> {
    let methods = required.iter();
    methods
        .map(|(method, required)| MethodStory {
            method: method.as_str(),
            must_prove: required.level().map(|level| level.as_str()),
            because: because(required),
            key: keys
                .iter()
                .find(|(known, _)| known == method)
                .map(|(_, key)| key_story(key)),
        })
        .collect()
}

fn key_story(key: &KeyKnown) -> KeyStory {
    let nothing = KeyStory {
        fingerprint: None,
        trust: None,
        reason: None,
        refused: Vec::new(),
        looked_up: false,
    };
    match key {
        KeyKnown::Usable { fingerprint, trust } => KeyStory {
            fingerprint: Some(fingerprint.clone()),
            trust: Some(trust.as_str()),
            ..nothing
        },
        KeyKnown::None(none) => KeyStory {
            reason: Some(none.reason().as_str()),
            refused: none
                .refused
                .iter()
                .map(|(fingerprint, refusal)| RefusedKey {
                    fingerprint: fingerprint.clone(),
                    reason: refusal.as_str(),
                })
                .collect(),
            ..nothing
        },
        KeyKnown::Unreadable(reason) => KeyStory {
            reason: Some(reason.as_str()),
            ..nothing
        },
    }
}

fn because(required: &Required) -> Option<String> {
    required.by().map(|demand| match demand {
        Demand::Operator(Some(rule)) => format!("rule \"{rule}\""),
        Demand::Operator(None) => "[security]".to_owned(),
        Demand::Method => "the method itself".to_owned(),
        Demand::Credentials => "the route logs in".to_owned(),
        Demand::MtaSts => "the domain's MTA-STS policy".to_owned(),
    })
}

fn host_story(
    (hop, addresses): (Hop, Result<Vec<IpAddr>, Failure>),
    published: &Published,
) -> HostStory {
    let held = published.sts.held();
    HostStory {
        sts_listed: held.map(|_| published.lists(&hop.host)),
        host: hop.host.to_string(),
        port: hop.port,
        preference: hop.preference,
        reason: addresses.as_ref().err().map(|e| e.reason.as_str()),
        addresses: addresses
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}
