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
        let methods = rule.methods.as_ref().unwrap_or(&default.methods);
        let level = rule.tls_level.unwrap_or(default.tls_level);
        output::say(format_args!(
            "rule \"{}\": {methods} (tls proves {level})",
            rule.name
        ));
    }
    if config.policy.observe {
        output::say("observe: nothing of this is enforced");
    }
    Exit::Done
}
