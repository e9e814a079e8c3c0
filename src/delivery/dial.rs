//! Which addresses of a host are tried, and from where.
//!
//! Owns the order (both families interleaved, RFC 5321 section 5.1), the cap, the
//! blocked networks and the source addresses. Holds always: an address in a
//! blocked network is not connected to, however it is written (v4-mapped, NAT64,
//! 6to4), unless an operator's route names the host. No I/O here. Called by
//! `attempt` and `explain`.

use std::net::IpAddr;

use super::settings::{Prefer, Settings};
use crate::dns::Families;
use crate::sys::is_blocked;
use crate::types::Reason;

/// Addresses of one host tried in one attempt (pitfall E37).
const ADDRESSES_MAX: usize = 5;

/// The families worth asking DNS for.
pub(super) fn families(prefer: Prefer) -> Families {
    match prefer {
        Prefer::Ipv4Only => Families::V4,
        Prefer::Ipv6 | Prefer::Ipv4 => Families::Both,
    }
}

/// The addresses to try, in order, at least one.
///
/// # Errors
/// [`Reason::Blocked`] if all are in blocked networks, [`Reason::NoHost`] if none
/// is of a family that may be used.
pub(super) fn candidates(
    addresses: Vec<IpAddr>,
    settings: &Settings,
    fixed_route: bool,
) -> Result<Vec<IpAddr>, Reason> {
    let usable: Vec<IpAddr> = addresses
        .into_iter()
        .map(|ip| ip.to_canonical())
        .filter(|ip| has_source(*ip, settings))
        .collect();
    if usable.is_empty() {
        return Err(Reason::NoHost);
    }
    let open: Vec<IpAddr> = usable
        .into_iter()
        .filter(|ip| fixed_route || !is_blocked(*ip, &settings.blocked))
        .collect();
    if open.is_empty() {
        return Err(Reason::Blocked);
    }
    let mut ordered = interleave(open, settings.prefer);
    ordered.truncate(ADDRESSES_MAX);
    Ok(ordered)
}

/// The configured addresses to send from to `to`; empty: the system's choice.
pub(super) fn sources(to: IpAddr, settings: &Settings) -> Vec<IpAddr> {
    let of_family = |ip: &&IpAddr| ip.is_ipv4() == to.is_ipv4();
    settings.sources.iter().filter(of_family).copied().collect()
}

/// Whether `ip`'s family may be used: not against the preference, and where
/// sources are configured, with one of them (SPF counts on them).
fn has_source(ip: IpAddr, settings: &Settings) -> bool {
    let wanted = ip.is_ipv4() || settings.prefer != Prefer::Ipv4Only;
    wanted && (settings.sources.is_empty() || !sources(ip, settings).is_empty())
}

/// Alternates the families, the preferred one first.
fn interleave(addresses: Vec<IpAddr>, prefer: Prefer) -> Vec<IpAddr> {
    let v6_first = prefer == Prefer::Ipv6;
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|ip| ip.is_ipv6() == v6_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    loop {
        match (first.next(), second.next()) {
            (None, None) => return ordered,
            (a, b) => ordered.extend(a.into_iter().chain(b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::settings;
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn e36_blocked_networks_in_every_spelling() {
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "0.0.0.0",
            "169.254.1.1",
            "100.64.0.1",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "fc00::1",
            "fe80::1",
        ] {
            let result = candidates(ips(&[ip]), &settings(), false);
            assert_eq!(result, Err(Reason::Blocked), "{ip}");
            assert!(candidates(ips(&[ip]), &settings(), true).is_ok(), "{ip}");
        }
        for ip in ["192.0.2.1", "2001:db8::1", "2002:c000:201::1"] {
            assert!(candidates(ips(&[ip]), &settings(), false).is_ok(), "{ip}");
        }
    }

    #[test]
    fn e37_both_families_under_a_cap() {
        let all = ips(&[
            "2001:db8::1",
            "2001:db8::2",
            "2001:db8::3",
            "192.0.2.1",
            "192.0.2.2",
            "192.0.2.3",
        ]);
        let order = |prefer| {
            let settings = Settings {
                prefer,
                ..settings()
            };
            candidates(all.clone(), &settings, false).unwrap()
        };
        assert_eq!(
            order(Prefer::Ipv6),
            ips(&[
                "2001:db8::1",
                "192.0.2.1",
                "2001:db8::2",
                "192.0.2.2",
                "2001:db8::3"
            ])
        );
        assert_eq!(order(Prefer::Ipv4).first(), ips(&["192.0.2.1"]).first());
        assert_eq!(
            order(Prefer::Ipv4Only),
            ips(&["192.0.2.1", "192.0.2.2", "192.0.2.3"])
        );
    }

    #[test]
    fn sources_decide_which_family_goes() {
        let settings = Settings {
            sources: ips(&["192.0.2.9"]),
            ..settings()
        };
        let all = ips(&["2001:db8::1", "198.51.100.1"]);
        let found = candidates(all, &settings, false).unwrap();
        assert_eq!(found, ips(&["198.51.100.1"]));
        assert_eq!(sources(found[0], &settings), ips(&["192.0.2.9"]));
        let v6 = candidates(ips(&["2001:db8::1"]), &settings, false);
        assert_eq!(v6, Err(Reason::NoHost));
    }
}
