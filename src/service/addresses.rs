//! The addresses under which this machine's listeners can be reached.

use std::net::{IpAddr, SocketAddr};

use nix::ifaddrs::getifaddrs;

/// Replaces each wildcard address (`0.0.0.0`, `[::]`) by the machine's own
/// addresses, so that an MX set that leads back here is recognised as such (RFC
/// 5321 section 5.1). Where the system doesn't tell them, the relay's name alone
/// has to do.
pub(super) fn expand(listeners: &[SocketAddr]) -> Vec<SocketAddr> {
    let machine = machine_addresses();
    let mut own = Vec::new();
    for listener in listeners {
        own.push(*listener);
        if listener.ip().is_unspecified() {
            // A listener on [::] takes IPv4 too.
            let both = listener.is_ipv6();
            let reached = machine.iter().filter(|ip| both || ip.is_ipv4());
            own.extend(reached.map(|ip| SocketAddr::new(*ip, listener.port())));
        }
    }
    own
}

fn machine_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else {
        tracing::warn!("the machine's addresses can't be listed");
        return Vec::new();
    };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e36_a_wildcard_listener_is_every_address_of_the_machine() {
        let own = expand(&["[::]:25".parse().unwrap(), "192.0.2.1:587".parse().unwrap()]);
        for text in ["[::]:25", "127.0.0.1:25", "192.0.2.1:587"] {
            assert!(own.contains(&text.parse().unwrap()), "{text} in {own:?}");
        }
        assert!(!own.contains(&"127.0.0.1:587".parse().unwrap()));
    }
}
