//! Networks that are never connected to, in every spelling of an address.
//!
//! Holds always: an address counts as the IPv4 address that it stands for too
//! (v4-mapped, NAT64, 6to4). Called by `delivery` for mail and by `fetch` for HTTPS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Whether `ip`, or an IPv4 address it stands for, is in a blocked network.
#[must_use]
pub fn is_blocked(ip: IpAddr, blocked: &[IpNet]) -> bool {
    let inside = |ip: IpAddr| blocked.iter().any(|net| net.contains(&ip));
    let embedded = match ip {
        IpAddr::V6(v6) => embedded_v4(v6).map(IpAddr::V4),
        IpAddr::V4(_) => None,
    };
    inside(ip) || embedded.is_some_and(inside)
}

/// The IPv4 address inside a v4-mapped (RFC 4291 section 2.5.5), NAT64 (RFC 6052
/// section 2.1) or 6to4 (RFC 3056 section 2) address.
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        (0x2002, _) => Some(join(b, c)),
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => Some(join(g, h)),
        _ => v6.to_ipv4(),
    }
}
