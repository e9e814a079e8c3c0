//! Addresses and ports for tests: free ports outside the ephemeral range, and loopback addresses
//! that no other test of this process is given.
//!
//! Everything in 127.0.0.0/8 can be bound on Linux without set-up. Servers that play MX hosts
//! stand on addresses of their own and share one port, the daemon's `delivery.port`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// A port that is free for TCP and UDP on every address at this moment.
///
/// Ports come from 10000-29999, below the range from which Linux takes the ports of outgoing
/// connections, so that nobody takes one between this call and the caller's bind; within a
/// process none is given twice until all have been.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST_PORT + (start.wrapping_add(step) % PORTS) as u16;
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        if TcpListener::bind(any).is_ok() && UdpSocket::bind(any).is_ok() {
            return port;
        }
    }
    panic!(
        "no free port in {FIRST_PORT}..{}",
        FIRST_PORT as u32 + PORTS
    );
}

/// A loopback address in 127.1.0.0-127.254.255.255 that this process was not given before.
pub fn loopback() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let second = 1 + std::process::id() % 254;
    IpAddr::V4(Ipv4Addr::new(
        127,
        second as u8,
        (n / 250) as u8,
        (1 + n % 250) as u8,
    ))
}

const FIRST_PORT: u16 = 10_000;
const PORTS: u32 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_addresses_are_not_given_twice() {
        let ports: Vec<u16> = (0..20).map(|_| free_port()).collect();
        let mut once = ports.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), ports.len(), "{ports:?}");
        assert_ne!(loopback(), loopback());
        assert!(loopback().is_loopback());
        assert!(TcpListener::bind((loopback(), free_port())).is_ok());
    }
}
