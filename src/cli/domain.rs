//! `postern domain`.

use std::fmt;

use clap::Subcommand;

use super::{Exit, daemon, output};
use crate::config::Config;
use crate::control::{Answer, DomainOrder, DomainView, HostView, Request};
use crate::service;
use crate::types::{Domain as Name, Mailbox};

/// What is remembered of recipients' domains, and the exceptions to it.
#[derive(Debug, Subcommand)]
pub(super) enum Domain {
    /// Every domain that is remembered, or has an exception.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// What is remembered of one domain.
    Show {
        /// The domain.
        domain: Name,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Have the daemon look at a domain's hosts now, without sending; exit 0 if mail
    /// would be delivered, 1 if not.
    Probe {
        /// The domain.
        domain: Name,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let a domain that did TLS before have cleartext for a while, where a rule
    /// allows cleartext at all.
    Allow {
        /// The domain.
        domain: Name,
        /// Until when: a time, or how long from now (14d); a year at most.
        #[arg(long, value_name = "TIME")]
        until: String,
        /// Why; it is shown wherever the exception is.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forget what is remembered of a domain, and take its exception back.
    Forget {
        /// The domain.
        domain: Name,
    },
}

impl Domain {
    pub(super) fn run(self, config: &Config) -> Exit {
        let result = match self {
            Self::List { json } => list(config, json),
            Self::Show { domain, json } => show(config, &domain, json),
            Self::Probe { domain, json } => probe(config, &domain, json),
            Self::Allow {
                domain,
                until,
                reason,
                json,
            } => allow(config, &domain, until, reason, json),
            Self::Forget { domain } => {
                let domain = domain.to_string();
                changed(config, DomainOrder::Forget { domain }).map(|_| Exit::Done)
            }
        };
        result.unwrap_or_else(|exit| exit)
    }
}

/// What is remembered of a recipient's domain: by the daemon, or else by its files;
/// `None` where neither can be read, or there is nothing.
pub(super) fn told(config: &Config, recipient: &Mailbox) -> Option<DomainView> {
    let domain = recipient.host().domain()?;
    let order = DomainOrder::Show {
        domain: domain.to_string(),
    };
    let views = match daemon::ask_quietly(config, &Request::Domain { order }) {
        Some(Answer::Domains { domains }) => domains,
        _ => service::remembered(config, Some(domain)).ok()?,
    };
    views.into_iter().next()
}

fn list(config: &Config, json: bool) -> Result<Exit, Exit> {
    let domains = read(config, DomainOrder::List, None)?;
    if json {
        output::json(&domains);
        return Ok(Exit::Done);
    }
    let rows: Vec<[String; 4]> = domains
        .iter()
        .map(|view| {
            let until = view.exception.as_ref().map(|e| &e.until);
            let exception = until.map(|until| format!("exception until {until}"));
            [
                view.domain.clone(),
                view.state.clone(),
                view.last_seen.clone().unwrap_or_else(|| "-".into()),
                exception.unwrap_or_default(),
            ]
        })
        .collect();
    output::columns(&rows);
    Ok(Exit::Done)
}

fn show(config: &Config, domain: &Name, json: bool) -> Result<Exit, Exit> {
    let order = DomainOrder::Show {
        domain: domain.to_string(),
    };
    let view = one(read(config, order, Some(domain))?)?;
    let exit = match (view.state.as_str(), &view.exception) {
        ("unknown", None) => Exit::Failed,
        _ => Exit::Done,
    };
    print(&view, json);
    Ok(exit)
}

fn probe(config: &Config, domain: &Name, json: bool) -> Result<Exit, Exit> {
    let order = DomainOrder::Probe {
        domain: domain.to_string(),
    };
    let Answer::Probed {
        story,
        text,
        delivered,
        domain,
    } = daemon::ask(config, &Request::Domain { order })?
    else {
        return Err(other_answer());
    };
    match json {
        true => output::json(&serde_json::json!({ "explain": story, "domain": domain })),
        false => {
            output::say(text);
            output::say(format_args!("remembered now:\n{}", Told(&domain)));
        }
    }
    Ok(match delivered {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

fn allow(
    config: &Config,
    domain: &Name,
    until: String,
    reason: String,
    json: bool,
) -> Result<Exit, Exit> {
    let order = DomainOrder::Allow {
        domain: domain.to_string(),
        until,
        reason,
    };
    let view = changed(config, order)?;
    print(&view, json);
    Ok(Exit::Done)
}

fn print(view: &DomainView, json: bool) {
    match json {
        true => output::json(view),
        false => output::say(Told(view)),
    }
}

/// From the daemon, or from the files of one that is stopped.
fn read(
    config: &Config,
    order: DomainOrder,
    domain: Option<&Name>,
) -> Result<Vec<DomainView>, Exit> {
    match daemon::ask_if_running(config, &Request::Domain { order })? {
        Some(Answer::Domains { domains }) => Ok(domains),
        Some(_) => Err(other_answer()),
        None => service::remembered(config, domain).map_err(|e| {
            output::complain(e);
            Exit::Failed
        }),
    }
}

/// By the daemon alone.
fn changed(config: &Config, order: DomainOrder) -> Result<DomainView, Exit> {
    match daemon::ask(config, &Request::Domain { order })? {
        Answer::Domains { domains } => one(domains),
        _ => Err(other_answer()),
    }
}

fn one(domains: Vec<DomainView>) -> Result<DomainView, Exit> {
    domains.into_iter().next().ok_or_else(other_answer)
}

fn other_answer() -> Exit {
    output::complain(
        "the daemon gave another answer than was asked for: is it of another version?",
    );
    Exit::Failed
}

/// A domain in words.
struct Told<'a>(&'a DomainView);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.0;
        let name = &view.domain;
        match view.state.as_str() {
            "encrypted" => write!(f, "{name}: encrypted, so no cleartext")?,
            "no-tls" => write!(f, "{name}: known not to do TLS")?,
            "seen" => write!(f, "{name}: seen, and nothing is certain yet")?,
            _ => write!(f, "{name}: nothing is remembered")?,
        }
        if let (Some(since), Some(lapses)) = (&view.encrypted_since, &view.lapses) {
            write!(f, "\n  since {since}; lapses {lapses} unless seen again")?;
        }
        for (what, at) in [
            ("last answer", &view.last_seen),
            ("last mail", &view.last_mail),
            ("last probe", &view.last_probe),
        ] {
            if let Some(at) = at {
                write!(f, "\n  {what} {at}")?;
            }
        }
        if let Some(sts) = &view.sts {
            write!(f, "\n  MTA-STS policy {sts}")?;
        }
        if let Some(e) = &view.exception {
            let (owner, made, until, reason) = (&e.owner, &e.made, &e.until, &e.reason);
            write!(
                f,
                "\n  exception by {owner} of {made} until {until}: {reason}"
            )?;
        }
        for host in &view.hosts {
            tell_host(host, f)?;
        }
        Ok(())
    }
}

fn tell_host(host: &HostView, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "\n  host {}: TLS on {} days", host.host, host.tls_days)?;
    if let (Some(version), Some(cipher), Some(group)) = (&host.version, &host.cipher, &host.group) {
        write!(f, ", {version} {cipher} {group}")?;
    }
    if let Some(certificate) = &host.certificate {
        let name = match host.authenticated {
            true => "name proven",
            false => "name not proven",
        };
        write!(f, ", {name}")?;
        if let Some(end) = &certificate.not_after {
            write!(f, ", certificate until {end}")?;
        }
    }
    let ago: Vec<String> = host
        .answers
        .iter()
        .map(|(at, answer)| format!("{at} {answer}"))
        .collect();
    if !ago.is_empty() {
        write!(f, "\n    answers: {}", ago.join(", "))?;
    }
    Ok(())
}
