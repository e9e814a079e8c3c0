//! `postern check`.

use super::{Exit, output};
use crate::config::Config;
use crate::service;

pub(super) fn run(config: &Config) -> Exit {
    let faults = service::inspect(config);
    for fault in &faults {
        output::complain(fault.at(&config.path));
    }
    if !faults.is_empty() {
        return Exit::Config;
    }
    if config.policy.observe {
        output::complain(service::OBSERVE_IS_ON);
    }
    let default = &config.policy.default;
    output::say(format_args!("{}: no fault found", config.path.display()));
    output::say(format_args!("hostname: {}", config.hostname));
    for listener in &config.ingress.listeners {
        output::say(format_args!(
            "listener: {} {}",
            listener.bind,
            listener.kind.as_str()
        ));
    }
    output::say(format_args!(
        "methods: {} (tls proves {})",
        default.methods, default.tls_level
    ));
    for rule in &config.policy.rules {
        if rule.raise || rule.when.ask_content() {
            // It only takes away and raises, whatever it is laid over.
            let methods = rule.methods.as_ref();
            let methods = methods.map_or("leaves the methods".to_owned(), |methods| {
                format!("leaves at most {methods}")
            });
            let level = rule.tls_level;
            let level = level.map_or(String::new(), |level| {
                format!(" (tls proves {level} at least)")
            });
            output::say(format_args!(
                "rule \"{}\": {methods}{level}{}",
                rule.name,
                stops(rule.hold.is_some(), rule.drop.is_some())
            ));
            continue;
        }
        let methods = rule.methods.as_ref().unwrap_or(&default.methods);
        let level = rule.tls_level.unwrap_or(default.tls_level);
        output::say(format_args!(
            "rule \"{}\": {methods} (tls proves {level}){}",
            rule.name,
            stops(rule.hold.is_some(), rule.drop.is_some())
        ));
    }
    if config.policy.observe {
        output::say("observe: nothing of this is enforced");
    }
    Exit::Done
}

/// What a rule does before any method has its turn.
fn stops(holds: bool, drops: bool) -> &'static str {
    match (holds, drops) {
        (true, _) => ", but first holds",
        (false, true) => ", but first drops",
        (false, false) => "",
    }
}
