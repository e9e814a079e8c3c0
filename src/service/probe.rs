//! `postern explain --probe`: what the hosts said, and what would come of it.
//!
//! Owns the form of a probe's result: the JSON is part of the contract
//! (docs/postern.8.md), the text is for people. Holds always: the verdicts are
//! delivery's own; nothing is judged here. Called by `explain`.

use std::fmt;

use serde::Serialize;

use crate::delivery::{Asked, Explanation, Hop, HostVerdict, Prospect, Sighting};
use crate::tls::{Profile, Proof};
use crate::types::{Failure, Fate, Method, Reason, Stage, Would};

/// What a probe found.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ProbeStory {
    /// What would become of a message now: `delivered`, `deferred`, `bounced`,
    /// `dropped`.
    pub(super) outcome: &'static str,
    /// The method it would end at.
    method: Option<&'static str>,
    /// The host that would be given it.
    host: Option<String>,
    /// Why it would not be delivered.
    reason: Option<&'static str>,
    status: Option<String>,
    reply: Option<String>,
    passed_over: Vec<PassedOver>,
    /// What it would come to if the configuration were enforced; null: it is.
    would: Option<Would>,
    /// Each method's turn at each host, in the order taken.
    asked: Vec<AskedStory>,
    /// Hosts that nobody got to, for want of time or because there are too many.
    not_asked: Vec<String>,
}

/// A method that would not be used.
#[derive(Debug, Clone, Serialize)]
struct PassedOver {
    method: &'static str,
    reason: &'static str,
}

/// One method's turn at one host.
#[derive(Debug, Clone, Serialize)]
struct AskedStory {
    host: String,
    port: u16,
    preference: u16,
    method: &'static str,
    must_prove: Option<&'static str>,
    /// `met`, `unmet`, `unknown`; `refused`: it takes no mail from here, whatever
    /// the protection; `absent`: there is nothing to connect to.
    verdict: &'static str,
    reason: Option<&'static str>,
    addresses: Vec<AddressStory>,
}

/// One connection.
#[derive(Debug, Clone, Serialize)]
struct AddressStory {
    address: String,
    /// Whether it is a further try, with less on offer.
    second_try: bool,
    /// What its handshake offered: `full`, `classical` (key exchange), `tls1.2`.
    offer: &'static str,
    reached: bool,
    banner: Option<u16>,
    starttls: Option<bool>,
    tls: Option<TlsStory>,
    achieved: Option<&'static str>,
    authenticated_by: Option<&'static str>,
    /// Why it would not be used; null: it would.
    reason: Option<&'static str>,
    /// Where in the dialog that was.
    stage: Option<Stage>,
    reply: Option<String>,
    /// What the system says of a connection that failed.
    detail: Option<String>,
}

/// A finished handshake.
#[derive(Debug, Clone, Serialize)]
struct TlsStory {
    version: String,
    cipher: String,
    group: String,
    certificate: Option<CertificateStory>,
}

/// A certificate, and whether it verifies.
#[derive(Debug, Clone, Serialize)]
struct CertificateStory {
    sha256: String,
    names: Vec<String>,
    issuer: Option<String>,
    not_after: Option<String>,
    /// `ok`, or why not.
    chain: &'static str,
    name: &'static str,
    signature: &'static str,
}

impl ProbeStory {
    pub(super) fn new(explanation: &Explanation, prospect: Prospect) -> Self {
        let failure = match &prospect.fate {
            None | Some(Fate::Delivered(_)) => None,
            Some(
                Fate::Deferred(why) | Fate::Bounced(why) | Fate::Dropped(why) | Fate::Held(why),
            ) => Some(why),
        };
        let hosts = explanation.hosts.iter().map(|(hop, _)| hop);
        let nobody_asked = |hop: &&Hop| !prospect.asked.iter().any(|asked| asked.hop == **hop);
        Self {
            outcome: match &prospect.fate {
                None | Some(Fate::Delivered(_)) => "delivered",
                Some(Fate::Deferred(_)) => "deferred",
                Some(Fate::Bounced(_)) => "bounced",
                Some(Fate::Dropped(_)) => "dropped",
                Some(Fate::Held(_)) => "held",
            },
            method: prospect.method.map(Method::as_str),
            host: match (&failure, &prospect.evidence.remote) {
                (None, Some(remote)) => Some(remote_text(remote)),
                _ => None,
            },
            reason: failure.map(|why| why.reason.as_str()),
            status: failure.map(|why| why.status.clone()),
            reply: failure.and_then(|why| why.reply.as_ref().map(ToString::to_string)),
            passed_over: prospect
                .evidence
                .passed_over
                .iter()
                .map(|(method, reason)| PassedOver {
                    method: method.as_str(),
                    reason: reason.as_str(),
                })
                .collect(),
            would: prospect.evidence.would,
            not_asked: hosts.filter(nobody_asked).map(place).collect(),
            asked: prospect.asked.into_iter().map(asked_story).collect(),
        }
    }
}

fn place(hop: &Hop) -> String {
    format!("{}:{}", hop.host, hop.port)
}

fn remote_text(remote: &crate::types::Remote) -> String {
    match remote.address {
        Some(address) => format!("{}[{}]:{}", remote.name, address.ip(), address.port()),
        None => remote.name.clone(),
    }
}

fn asked_story(asked: Asked) -> AskedStory {
    let (verdict, why) = match &asked.verdict {
        Some(HostVerdict::Met) => ("met", None),
        Some(HostVerdict::Unmet(why)) => ("unmet", Some(why)),
        Some(HostVerdict::Violated(why)) => ("violated", Some(why)),
        Some(HostVerdict::Unknown(why)) => ("unknown", Some(why)),
        Some(HostVerdict::Refused(why)) => ("refused", Some(why)),
        Some(HostVerdict::Absent(why)) => ("absent", Some(why)),
        // The probe was cut off there.
        None => ("unknown", None),
    };
    AskedStory {
        host: asked.hop.host.to_string(),
        port: asked.hop.port,
        preference: asked.hop.preference,
        method: asked.method.as_str(),
        must_prove: asked.required.level().map(|level| level.as_str()),
        verdict,
        reason: why.map(|why| why.reason.as_str()),
        addresses: asked.sightings.into_iter().map(address_story).collect(),
    }
}

fn address_story(seen: Sighting) -> AddressStory {
    let fault = seen.fault.as_ref();
    let achieved = seen.achieved.as_ref();
    AddressStory {
        address: seen.address.to_string(),
        second_try: seen.profile != Profile::Full,
        offer: seen.profile.as_str(),
        reached: fault.is_none_or(|fault| fault.stage != Stage::Connect),
        banner: seen.banner,
        starttls: seen.starttls,
        achieved: achieved.and_then(|a| a.level()).map(|level| level.as_str()),
        authenticated_by: achieved
            .and_then(|a| a.authenticated_by())
            .map(|by| by.as_str()),
        reason: fault.map(|fault| fault.reason.as_str()),
        stage: fault.map(|fault| fault.stage),
        reply: fault.and_then(reply_text),
        detail: seen.detail,
        tls: seen.proof.map(tls_story),
    }
}

fn reply_text(fault: &Failure) -> Option<String> {
    fault.reply.as_ref().map(ToString::to_string)
}

fn tls_story(proof: Proof) -> TlsStory {
    let (facts, verdict, issuer) = (proof.facts, proof.verdict, proof.issuer);
    TlsStory {
        version: facts.version,
        cipher: facts.cipher,
        group: facts.group,
        certificate: facts.certificate.map(|certificate| CertificateStory {
            sha256: certificate.sha256,
            names: certificate.names,
            issuer,
            not_after: certificate.not_after.map(|at| at.to_string()),
            chain: word(verdict.chain),
            name: word(verdict.name),
            signature: word(verdict.signature),
        }),
    }
}

fn word(result: Result<(), Reason>) -> &'static str {
    result.map_or_else(Reason::as_str, |()| "ok")
}

impl fmt::Display for ProbeStory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.asked.is_empty() {
            writeln!(f, "asked, without a word about sender or recipient:")?;
        }
        for asked in &self.asked {
            writeln!(f, "{asked}")?;
        }
        for host in &self.not_asked {
            writeln!(f, "  {host}: not asked (no time left, or too many hosts)")?;
        }
        for passed in &self.passed_over {
            writeln!(f, "not by {}: {}", passed.method, passed.reason)?;
        }
        let reason = self.reason.unwrap_or_default();
        let status = self.status.as_deref().unwrap_or_default();
        match self.outcome {
            "delivered" => write!(
                f,
                "would be delivered: by {} to {}",
                self.method.unwrap_or_default(),
                self.host.as_deref().unwrap_or_default()
            ),
            "deferred" => write!(f, "would wait and be tried again: {reason} ({status})"),
            ending => write!(f, "would be {ending}: {reason} ({status})"),
        }?;
        if let Some(reply) = &self.reply {
            write!(f, ", said \"{reply}\"")?;
        }
        let Some(would) = &self.would else {
            return Ok(());
        };
        write!(f, "\nif observe were off: {}", would.method)?;
        match would.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for AskedStory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (preference, host, port) = (self.preference, &self.host, self.port);
        write!(f, "  {preference} {host}:{port} by {}", self.method)?;
        match self.must_prove {
            Some(level) => write!(f, ", must prove {level}: {}", self.verdict)?,
            None => write!(f, ", must prove nothing: {}", self.verdict)?,
        }
        if let Some(reason) = self.reason {
            write!(f, " ({reason})")?;
        }
        for address in &self.addresses {
            write!(f, "\n{address}")?;
        }
        Ok(())
    }
}

impl fmt::Display for AddressStory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "    {}", self.address)?;
        match self.offer {
            "classical" => write!(f, " once more, with classical key exchange")?,
            "tls1.2" => write!(f, " once more, with TLS 1.2 at most")?,
            _ => {}
        }
        let reason = self.reason.unwrap_or_default();
        if !self.reached {
            write!(f, ": not reached ({reason}")?;
            if let Some(detail) = &self.detail {
                write!(f, ": {detail}")?;
            }
            return f.write_str(")");
        }
        match self.banner {
            Some(code) => write!(f, ": banner {code}")?,
            None => write!(f, ": no banner")?,
        }
        match self.starttls {
            Some(true) => write!(f, ", STARTTLS offered")?,
            Some(false) => write!(f, ", STARTTLS not offered")?,
            None => {}
        }
        if let Some(tls) = &self.tls {
            write!(f, "\n{tls}")?;
        }
        if let Some(level) = self.achieved {
            write!(f, "\n      proves {level}")?;
            if let Some(by) = self.authenticated_by {
                write!(f, " by {by}")?;
            }
        }
        if self.reason.is_some() {
            write!(f, "\n      not used: {reason}")?;
            if let Some(reply) = &self.reply {
                write!(f, ", said \"{reply}\"")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for TlsStory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (version, cipher, group) = (&self.version, &self.cipher, &self.group);
        write!(f, "      {version} {cipher} {group}")?;
        let Some(certificate) = &self.certificate else {
            return write!(f, "\n      no certificate");
        };
        write!(
            f,
            "\n      certificate for {}",
            match certificate.names.is_empty() {
                true => "no name".to_owned(),
                false => certificate.names.join(" "),
            }
        )?;
        if let Some(issuer) = &certificate.issuer {
            write!(f, ", issued by \"{issuer}\"")?;
        }
        if let Some(until) = &certificate.not_after {
            write!(f, ", until {until}")?;
        }
        write!(f, "\n      sha256 {}", certificate.sha256)?;
        let (chain, name) = (certificate.chain, certificate.name);
        write!(f, "\n      chain: {chain}, name: {name}")?;
        match certificate.signature {
            "ok" => Ok(()),
            reason => write!(f, ", signature: {reason}"),
        }
    }
}
