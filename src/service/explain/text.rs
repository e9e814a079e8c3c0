//! The story of `postern explain` as text for people.
//!
//! Holds always: what the JSON says, in the order in which it matters, a line a thing.

use std::fmt::{self, Display, Formatter};

use super::{KeyStory, MethodStory, RuleStory, Story};

impl Display for MethodStory {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let method = self.method;
        let Some(key) = &self.key else {
            return match (self.must_prove, &self.because) {
                (Some(level), Some(because)) => {
                    write!(f, "method {method}: must prove {level}, for {because}")
                }
                _ => write!(f, "method {method}: proves nothing"),
            };
        };
        write!(f, "method {method}: {key}; over the best TLS on offer")?;
        match (self.must_prove, &self.because) {
            (Some(level), Some(because)) => {
                write!(f, ", which must prove {level}, for {because}")
            }
            _ => write!(f, ", down to none"),
        }
    }
}

impl Display for KeyStory {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (&self.fingerprint, self.trust) {
            (Some(fingerprint), Some(trust)) => {
                write!(f, "encrypts to {fingerprint} ({trust})")?;
            }
            _ => write!(f, "no key to use ({})", self.reason.unwrap_or_default())?,
        }
        for refused in &self.refused {
            write!(f, "; {}: {}", refused.fingerprint, refused.reason)?;
        }
        if self.looked_up {
            write!(f, " (a delivery also asks the domain's key directory)")?;
        }
        Ok(())
    }
}

impl Display for RuleStory {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match (self.outcome, self.condition) {
            ("decides", _) => write!(f, "rule \"{name}\": decides"),
            ("raises", _) => write!(f, "rule \"{name}\": matches, and raises what was decided"),
            ("too-late", _) => write!(f, "rule \"{name}\": matches, but an earlier one decided"),
            (_, condition) => write!(
                f,
                "rule \"{name}\": does not match ({})",
                condition.unwrap_or("no condition")
            ),
        }
    }
}

impl Display for Story {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "recipient: {}", self.recipient)?;
        self.decision(f)?;
        self.waiting(f)?;
        writeln!(f, "{}", self.sts)?;
        self.way(f)?;
        match &self.probe {
            Some(probe) => write!(f, "\n{probe}"),
            None => Ok(()),
        }
    }
}

impl Story {
    /// Rules and methods.
    fn decision(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for rule in &self.rules {
            writeln!(f, "{rule}")?;
        }
        if self.rule.is_none() {
            writeln!(f, "no rule matches: [security] decides")?;
        }
        if let Some(stop) = &self.stop {
            writeln!(f, "{}", stop.note)?;
        }
        for method in &self.methods {
            writeln!(f, "{method}")?;
        }
        writeln!(f, "otherwise: {}", self.ending)
    }

    /// How long it waits, and what is known of the domain that holds it back.
    fn waiting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let waits = &self.waits;
        writeln!(
            f,
            "what comes next waits: {} after acceptance (fallback_after); {} where some hosts \
             don't answer (security_patience)",
            waits.fallback_after, waits.security_patience
        )?;
        match (&self.exception, self.memory) {
            (Some(exception), _) => writeln!(f, "its hosts did TLS before, but: {exception}")?,
            (None, Some(_)) => writeln!(
                f,
                "its hosts did TLS before (postern domain show): cleartext is passed over, and \
                 it waits"
            )?,
            (None, None) => {}
        }
        let Some(observe) = &self.observe else {
            return Ok(());
        };
        writeln!(
            f,
            "observe is on: where the above would not deliver, the record says so, and it goes by"
        )?;
        for method in observe {
            writeln!(f, "  {method}")?;
        }
        Ok(())
    }

    /// Route and hosts.
    fn way(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(pattern) = &self.route {
            let login = if self.logs_in { ", with a login" } else { "" };
            writeln!(f, "route \"{pattern}\" replaces MX{login}")?;
        }
        match &self.no_route {
            Some(no) => {
                let then = if no.permanent {
                    "not delivered"
                } else {
                    "tried again later"
                };
                write!(f, "no host: {} ({}): {then}", no.reason, no.status)?;
            }
            None => write!(f, "hosts, in the order tried:")?,
        }
        for host in &self.hosts {
            write!(f, "\n  {} {}:{}", host.preference, host.host, host.port)?;
            match host.reason {
                Some(reason) => write!(f, " ({reason})")?,
                None => write!(f, " {}", host.addresses.join(" "))?,
            }
            if host.sts_listed == Some(false) {
                write!(f, " (not in the MTA-STS policy)")?;
            }
        }
        Ok(())
    }
}
