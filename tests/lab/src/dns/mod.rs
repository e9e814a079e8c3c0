//! A DNS server whose zones a test writes in a line each.
//!
//! It answers as a recursive resolver would (RA set, CNAMEs followed inside), over UDP and TCP on
//! one port, and can be changed while it runs. Names compare without case. A name it does not
//! know is NXDOMAIN; a known name without the type asked is NODATA; both carry an SOA with a
//! minimum of one second, so that nothing a test changes stays cached for long. `zone.rs` decides
//! what is answered; this file owns the sockets.

mod zone;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_resolver::proto::op::{Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, TLSA, TXT};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::runtime::{self, Task};
use zone::{Manner, Verdict, Zones};

/// A running DNS server. Clones are handles to the same server; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct DnsServer {
    addr: SocketAddr,
    zones: Arc<Mutex<Zones>>,
    _tasks: Arc<[Task; 2]>,
}

impl DnsServer {
    /// Starts a server on UDP and TCP. Port 0 takes a free one (see [`DnsServer::addr`]).
    pub fn start(addr: SocketAddr) -> DnsServer {
        let _context = runtime::runtime().enter();
        let (udp, tcp) = bind_pair(addr).expect("the DNS server's address can be bound");
        let addr = udp.local_addr().expect("a bound socket has an address");
        let zones = Arc::new(Mutex::new(Zones::default()));
        let tasks = [
            Task::spawn(serve_udp(udp, zones.clone())),
            Task::spawn(serve_tcp(tcp, zones.clone())),
        ];
        DnsServer {
            addr,
            zones,
            _tasks: Arc::new(tasks),
        }
    }

    /// Where the server listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Adds an MX record.
    pub fn mx(&self, domain: &str, preference: u16, host: &str) -> &Self {
        self.add(domain, RData::MX(MX::new(preference, name(host))))
    }

    /// Adds the "accepts no mail" MX record `0 .` (RFC 7505).
    pub fn null_mx(&self, domain: &str) -> &Self {
        self.add(domain, RData::MX(MX::new(0, Name::root())))
    }

    /// Adds an IPv4 address; the argument may be `"127.0.1.1"` or an address value.
    pub fn a(&self, host: &str, ip: impl ToString) -> &Self {
        match address(&ip.to_string()) {
            IpAddr::V4(v4) => self.add(host, RData::A(A(v4))),
            IpAddr::V6(v6) => panic!("A {host}: {v6} is no IPv4 address"),
        }
    }

    /// Adds an IPv6 address.
    pub fn aaaa(&self, host: &str, ip: impl ToString) -> &Self {
        match address(&ip.to_string()) {
            IpAddr::V6(v6) => self.add(host, RData::AAAA(AAAA(v6))),
            IpAddr::V4(v4) => panic!("AAAA {host}: {v4} is no IPv6 address"),
        }
    }

    /// Adds a TXT record; text over 255 octets is split into several strings.
    pub fn txt(&self, owner: &str, text: &str) -> &Self {
        let strings = text.as_bytes().chunks(255).collect();
        self.add(owner, RData::TXT(TXT::from_bytes(strings)))
    }

    /// Adds an alias.
    pub fn cname(&self, owner: &str, target: &str) -> &Self {
        self.add(owner, RData::CNAME(CNAME(name(target))))
    }

    /// Adds a TLSA record (RFC 6698) by its numbers, for instance `3, 1, 1` and a SHA-256 hash.
    pub fn tlsa(&self, owner: &str, usage: u8, selector: u8, matching: u8, data: &[u8]) -> &Self {
        let record = TLSA::new(
            usage.into(),
            selector.into(),
            matching.into(),
            data.to_vec(),
        );
        self.add(owner, RData::TLSA(record))
    }

    /// Every query for the name gets SERVFAIL.
    pub fn servfail(&self, owner: &str) -> &Self {
        self.behave(owner, Manner::Servfail)
    }

    /// Queries for the name get no answer.
    pub fn silent(&self, owner: &str) -> &Self {
        self.behave(owner, Manner::Silent)
    }

    /// Over UDP the answer is empty and marked as truncated; TCP answers in full.
    pub fn truncate(&self, owner: &str) -> &Self {
        self.behave(owner, Manner::Truncate)
    }

    /// An alias is given without what it leads to, as a server does that is no resolver.
    pub fn unfollowed(&self, owner: &str) -> &Self {
        self.behave(owner, Manner::Unfollowed)
    }

    /// Queries for the name over TCP get no answer.
    pub fn no_tcp(&self, owner: &str) -> &Self {
        self.behave(owner, Manner::NoTcp)
    }

    /// Answers for the name carry the AD bit, as a validating resolver's would for a signed zone,
    /// if the query asked for it (AD or DO bit) and every alias on the way is signed too.
    pub fn signed(&self, owner: &str) -> &Self {
        self.behave(owner, Manner::Signed)
    }

    /// Forgets all records and manners of the name.
    pub fn remove(&self, owner: &str) -> &Self {
        self.lock().remove(owner);
        self
    }

    /// Sets the TTL, in seconds, of records added from now on (1 at the start).
    pub fn ttl(&self, seconds: u32) -> &Self {
        self.lock().ttl = seconds;
        self
    }

    /// How many queries asked for this name, whatever the type.
    pub fn queries(&self, owner: &str) -> usize {
        self.lock().queries(owner, None)
    }

    /// How many queries asked for this name and type (`"MX"`, `"TLSA"`, …).
    pub fn queries_of(&self, owner: &str, record_type: &str) -> usize {
        self.lock().queries(owner, Some(record_type))
    }

    fn add(&self, owner: &str, data: RData) -> &Self {
        self.lock().add(owner, data);
        self
    }

    fn behave(&self, owner: &str, manner: Manner) -> &Self {
        self.lock().behave(owner, manner);
        self
    }

    fn lock(&self) -> MutexGuard<'_, Zones> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Binds UDP and TCP to one port. With port 0 the kernel picks it for UDP, and another process
/// may have it for TCP; then the next one is tried.
fn bind_pair(addr: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = if addr.port() == 0 { 50 } else { 1 };
    loop {
        tries -= 1;
        let udp = std::net::UdpSocket::bind(addr)?;
        match std::net::TcpListener::bind(udp.local_addr()?) {
            Ok(tcp) => {
                udp.set_nonblocking(true)?;
                tcp.set_nonblocking(true)?;
                return Ok((UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?));
            }
            Err(error) if tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

async fn serve_udp(socket: UdpSocket, zones: Arc<Mutex<Zones>>) {
    let mut buffer = vec![0; 65_535];
    loop {
        // An error here is an ICMP message about an earlier answer; it concerns nobody.
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        if let Some(answer) = answer(&buffer[..length], &zones, Transport::Udp) {
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zones: Arc<Mutex<Zones>>) {
    loop {
        match listener.accept().await {
            // A client that goes away early ends only its own connection.
            Ok((stream, _)) => drop(runtime::spawn({
                let zones = zones.clone();
                async move { drop(serve_connection(stream, &zones).await) }
            })),
            Err(_) => tokio::time::sleep(runtime::ACCEPT_REST).await,
        }
    }
}

async fn serve_connection(mut stream: TcpStream, zones: &Mutex<Zones>) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await?;
        if let Some(answer) = answer(&query, zones, Transport::Tcp) {
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            let framed = [&length.to_be_bytes()[..], &answer].concat();
            stream.write_all(&framed).await?;
        }
    }
}

/// One query in, one answer out; `None` for silence.
fn answer(query: &[u8], zones: &Mutex<Zones>, transport: Transport) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    if query.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut response = reply_to(&query);
    let question = query.queries.first();
    match question.filter(|_| query.metadata.op_code == OpCode::Query) {
        None => response.metadata.response_code = ResponseCode::NotImp,
        Some(question) => {
            let mut zones = zones.lock().unwrap_or_else(PoisonError::into_inner);
            match zones.look_up(question.name(), question.query_type()) {
                Verdict::Silence => return None,
                Verdict::Servfail => response.metadata.response_code = ResponseCode::ServFail,
                Verdict::Answer(found) if found.no_tcp && transport == Transport::Tcp => {
                    return None;
                }
                Verdict::Answer(found) => {
                    let wants_proof = query.metadata.authentic_data
                        || query
                            .edns
                            .as_ref()
                            .is_some_and(|edns| edns.flags().dnssec_ok);
                    response.metadata.authentic_data = found.signed && wants_proof;
                    response.metadata.response_code = found.code;
                    response.answers = found.answers;
                    response.authorities = found.authorities;
                    if found.truncate && transport == Transport::Udp {
                        response = response.truncate();
                    }
                }
            }
        }
    }
    let octets = response.to_vec().ok()?;
    let room = usize::from(query.max_payload());
    if transport == Transport::Udp && octets.len() > room {
        return response.truncate().to_vec().ok();
    }
    Some(octets)
}

/// An empty answer to the query: same id, question and EDNS version, RA set.
fn reply_to(query: &Message) -> Message {
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata = Metadata::response_from_request(&query.metadata);
    response.metadata.recursion_available = true;
    response.add_queries(query.queries.iter().cloned());
    if let Some(edns) = &query.edns {
        let mut own = hickory_resolver::proto::op::Edns::new();
        own.set_max_payload(4096)
            .set_dnssec_ok(edns.flags().dnssec_ok);
        response.set_edns(own);
    }
    response
}

#[derive(Clone, Copy, PartialEq)]
enum Transport {
    Udp,
    Tcp,
}

/// A host name as written in a test, with or without the final dot.
fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a name in a test is a valid DNS name");
    name.set_fqdn(true);
    name
}

fn address(text: &str) -> IpAddr {
    text.parse()
        .expect("an address in a test is a valid IP address")
}
