//! One domain's record, and what a sight of its hosts changes in it.
//!
//! Holds always: `encrypted_since` is set once every host that answered has shown
//! TLS on two days, and is not taken back by anything seen before it lapses. Called
//! by the memory alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LAPSE, PLAIN_LAPSE};
use crate::types::{CertificateFacts, Domain, HostSeen, Learnt, Offer, Timestamp};

/// Hosts of a domain at most.
const HOSTS_MAX: usize = 32;
/// Days on which a host must have offered TLS.
const DAYS: u32 = 2;

/// What is remembered of a domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DomainRecord {
    /// Since when it counts as encrypted, if it does (and has not lapsed).
    pub encrypted_since: Option<Timestamp>,
    /// The last handshake of any of its hosts.
    pub last_tls: Option<Timestamp>,
    /// When it was first heard of.
    pub first_seen: Timestamp,
    /// When one of its hosts last gave an answer.
    pub last_seen: Timestamp,
    /// When mail last went its way; what a probe sees does not count.
    pub last_mail: Timestamp,
    /// When it was last probed.
    pub last_probe: Timestamp,
    /// Its MTA-STS policy when it was last seen: mode and id.
    pub sts: Option<String>,
    /// Its hosts, by name. Most domains have one, and a map's node has room for eleven:
    /// hence the boxes.
    pub hosts: BTreeMap<String, Box<HostRecord>>,
}

/// What is remembered of a host of a domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostRecord {
    /// The first handshake.
    pub first_tls: Option<Timestamp>,
    /// The last one.
    pub last_tls: Option<Timestamp>,
    /// On how many days there was one.
    pub tls_days: u32,
    /// The first definite no.
    pub first_plain: Option<Timestamp>,
    /// The last one.
    pub last_plain: Option<Timestamp>,
    /// Of the last handshake: the version.
    pub version: Option<String>,
    /// The cipher suite.
    pub cipher: Option<String>,
    /// The key-exchange group.
    pub group: Option<String>,
    /// The certificate.
    pub certificate: Option<CertificateFacts>,
    /// Whether the host's name was proven.
    pub is_authenticated: bool,
    /// The last answers, the newest first: `tls`, or the reason.
    pub answers: Vec<(Timestamp, String)>,
    /// When it last counted as a turn for the better or the worse.
    pub last_turn: Option<Timestamp>,
}

/// What of a domain's record must not be lost.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gist {
    is_encrypted: bool,
    sts: Option<String>,
    hosts: Vec<HostGist>,
}

/// The same of a host's.
#[derive(Debug, PartialEq, Eq)]
struct HostGist {
    name: String,
    grade: Option<Grade>,
    tls_days: u32,
    facts: [Option<String>; 2],
    certificate: Option<String>,
    answer: Option<String>,
}

/// Answers of a host that are kept.
const ANSWERS: usize = 5;

/// A domain got better or worse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Which.
    pub domain: Domain,
    /// The host by which it did; `None`: all of them.
    pub host: Option<String>,
    /// Which way.
    pub way: Better,
    /// What was, and what is.
    pub what: String,
}

/// Which way a domain turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// For the better.
    Better,
    /// For the worse.
    Worse,
}

impl Better {
    /// The word that log and metrics use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
        }
    }
}

/// Whether this says something of the host's TLS.
pub(super) fn is_answer(seen: &HostSeen) -> bool {
    !matches!(seen.offer, Offer::Unknown(_))
}

impl DomainRecord {
    /// Whether it counts as encrypted now.
    #[must_use]
    pub fn is_encrypted(&self, now: Timestamp) -> bool {
        self.encrypted_since.is_some() && self.has_tls(now)
    }

    /// When it lapses, if it counts as encrypted.
    #[must_use]
    pub fn lapses(&self) -> Option<Timestamp> {
        self.encrypted_since?;
        self.last_tls.map(|last| last + LAPSE)
    }

    /// Whether it is known not to do TLS: of late at least one of its hosts said a
    /// definite no, and none is known to have TLS.
    #[must_use]
    pub fn lacks_tls(&self, now: Timestamp) -> bool {
        let recent = |at: Timestamp| now.since(at) < PLAIN_LAPSE;
        !self.has_tls(now)
            && self
                .hosts
                .values()
                .any(|h| h.last_plain.is_some_and(recent))
    }

    fn has_tls(&self, now: Timestamp) -> bool {
        self.last_tls.is_some_and(|last| now.since(last) < LAPSE)
    }

    /// What of it must not be lost. When a domain was last seen changes with each
    /// message, and may be written a minute late.
    pub(super) fn gist(&self) -> Gist {
        let hosts = self.hosts.iter().map(|(name, host)| HostGist {
            name: name.clone(),
            grade: Grade::of(host),
            tls_days: host.tls_days,
            facts: [&host.cipher, &host.group].map(Clone::clone),
            certificate: host.certificate.as_ref().map(|c| c.sha256.clone()),
            answer: host.answers.first().map(|(_, answer)| answer.clone()),
        });
        Gist {
            is_encrypted: self.encrypted_since.is_some(),
            sts: self.sts.clone(),
            hosts: hosts.collect(),
        }
    }

    /// Takes in what was seen; says what got better or worse.
    pub(super) fn learn(&mut self, learnt: &Learnt) -> Vec<Turn> {
        let now = learnt.at;
        self.lapse(now);
        if self.first_seen == Timestamp::default() {
            self.first_seen = now;
        }
        match learnt.is_probe {
            true => self.last_probe = self.last_probe.max(now),
            false => self.last_mail = self.last_mail.max(now),
        }
        if !learnt.hosts.is_empty() {
            self.sts.clone_from(&learnt.sts);
        }
        let mut turns = Vec::new();
        for seen in &learnt.hosts {
            if let Some((way, what)) = self.see(seen, now) {
                turns.push(Turn {
                    domain: learnt.domain.clone(),
                    host: Some(seen.host.clone()),
                    way,
                    what,
                });
            }
        }
        if self.encrypted_since.is_none() && self.is_proven(now) {
            self.encrypted_since = Some(now);
            turns.push(Turn {
                domain: learnt.domain.clone(),
                host: None,
                way: Better::Better,
                what: "it counts as encrypted from now on".into(),
            });
        }
        turns
    }

    /// Forgets what was last seen too long ago.
    fn lapse(&mut self, now: Timestamp) {
        if !self.has_tls(now) {
            self.encrypted_since = None;
        }
        let recent = |at: &Option<Timestamp>| at.is_some_and(|at| now.since(at) < LAPSE);
        self.hosts.retain(|_, host| {
            if !recent(&host.last_tls) {
                (host.first_tls, host.last_tls, host.tls_days) = (None, None, 0);
            }
            let answers = host.answers.first().map(|(at, _)| *at);
            recent(&host.last_tls) || recent(&host.last_plain) || recent(&answers)
        });
    }

    /// Whether every host that answered of late offered TLS on two days.
    fn is_proven(&self, now: Timestamp) -> bool {
        let recent = |at: Option<Timestamp>| at.is_some_and(|at| now.since(at) < LAPSE);
        let mut answering = self
            .hosts
            .values()
            .filter(|host| recent(host.last_tls) || recent(host.last_plain))
            .peekable();
        answering.peek().is_some() && answering.all(|host| host.tls_days >= DAYS)
    }

    fn see(&mut self, seen: &HostSeen, now: Timestamp) -> Option<(Better, String)> {
        if !self.hosts.contains_key(&seen.host) && self.hosts.len() >= HOSTS_MAX {
            // Whoever never had TLS makes room; one that had is not displaced by
            // names that a forged answer made up.
            let oldest = self.hosts.iter().filter(|(_, h)| h.last_tls.is_none());
            let oldest = oldest.min_by_key(|(_, h)| h.last_plain);
            let name = oldest.map(|(name, _)| name.clone())?;
            self.hosts.remove(&name);
        }
        let host = self.hosts.entry(seen.host.clone()).or_default();
        let before = Grade::of(host);
        host.see(&seen.offer, now);
        if is_answer(seen) {
            self.last_seen = self.last_seen.max(now);
        }
        if matches!(seen.offer, Offer::Tls { .. }) {
            self.last_tls = self.last_tls.max(Some(now));
        }
        let turn = Grade::turn(before, Grade::of(host))?;
        // A farm of unlike machines behind one name is not worth a line each time.
        let of_late = host
            .last_turn
            .is_some_and(|last| now.since(last) < std::time::Duration::from_secs(24 * 3600));
        host.last_turn = Some(now);
        (!of_late).then_some(turn)
    }
}

impl HostRecord {
    fn see(&mut self, offer: &Offer, now: Timestamp) {
        let answer = match offer {
            Offer::Tls {
                facts,
                is_authenticated,
            } => {
                let is_new_day = self.last_tls.is_none_or(|last| last.day() != now.day());
                // A clock that was set back proves no second day.
                if is_new_day && self.last_tls.is_none_or(|last| last < now) {
                    self.tls_days = self.tls_days.saturating_add(1);
                }
                self.first_tls.get_or_insert(now);
                self.last_tls = self.last_tls.max(Some(now));
                self.version = Some(facts.version.clone());
                self.cipher = Some(facts.cipher.clone());
                self.group = Some(facts.group.clone());
                self.certificate = facts.certificate.clone();
                self.is_authenticated = *is_authenticated;
                "tls".to_owned()
            }
            Offer::Plain(reason) => {
                self.first_plain.get_or_insert(now);
                self.last_plain = self.last_plain.max(Some(now));
                reason.to_string()
            }
            Offer::Unknown(reason) => reason.to_string(),
        };
        self.answers.insert(0, (now, answer));
        self.answers.truncate(ANSWERS);
    }
}

/// How well a host protects, as far as its last answer tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Plain,
    Tls(bool, String),
}

impl Grade {
    fn of(host: &HostRecord) -> Option<Self> {
        match (host.last_tls, host.last_plain) {
            (None, None) => None,
            (tls, plain) if plain > tls => Some(Self::Plain),
            _ => Some(Self::Tls(
                host.is_authenticated,
                host.version.clone().unwrap_or_default(),
            )),
        }
    }

    fn turn(before: Option<Self>, after: Option<Self>) -> Option<(Better, String)> {
        let (before, after) = (before?, after?);
        let way = match after.cmp(&before) {
            std::cmp::Ordering::Equal => return None,
            std::cmp::Ordering::Greater => Better::Better,
            std::cmp::Ordering::Less => Better::Worse,
        };
        Some((way, format!("{before} before, {after} now")))
    }
}

impl std::fmt::Display for Grade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain => f.write_str("no TLS"),
            Self::Tls(true, version) => write!(f, "{version} with a proven name"),
            Self::Tls(false, version) => write!(f, "{version} without a proven name"),
        }
    }
}
