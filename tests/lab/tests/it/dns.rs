//! The DNS server against hickory's resolver, which is what Postern uses, and by hand.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use postern_lab::DnsServer;
use tokio::net::UdpSocket;

use crate::anywhere;

fn resolver(addr: SocketAddr) -> TokioResolver {
    let mut server = NameServerConfig::udp_and_tcp(addr.ip());
    for connection in &mut server.connections {
        connection.port = addr.port();
    }
    let config = ResolverConfig::from_parts(None, vec![], vec![server]);
    let mut options = ResolverOpts::default();
    options.timeout = Duration::from_millis(300);
    options.attempts = 0;
    options.cache_size = 0;
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.with_options(options).build().expect("a resolver")
}

/// The code of a "no": NXDOMAIN or NODATA carry it in one error, SERVFAIL in another.
async fn refusal(addr: SocketAddr, name: &str, kind: RecordType) -> ResponseCode {
    match resolver(addr).lookup(name, kind).await {
        Err(NetError::Dns(DnsError::NoRecordsFound(no))) => {
            assert!(no.soa.is_some(), "a no carries its SOA");
            no.response_code
        }
        Err(NetError::Dns(DnsError::ResponseCode(code))) => code,
        other => panic!("{name} {kind}: {other:?}"),
    }
}

async fn answers(addr: SocketAddr, name: &str, kind: RecordType) -> Vec<String> {
    let found = resolver(addr).lookup(name, kind).await.expect("an answer");
    let mut texts: Vec<String> = found.answers().iter().map(|r| r.data.to_string()).collect();
    texts.sort();
    texts
}

#[tokio::test]
async fn records_of_each_kind_are_found_whatever_the_case() {
    let dns = DnsServer::start(anywhere());
    dns.mx("clinic.example", 10, "mx1.clinic.example").mx(
        "Clinic.Example.",
        20,
        "mx2.clinic.example",
    );
    dns.a("mx1.clinic.example", "127.0.1.1")
        .aaaa("mx1.clinic.example", "::1");
    dns.txt("_mta-sts.clinic.example", &"v=STSv1; id=1;".repeat(20));
    dns.tlsa("_25._tcp.mx1.clinic.example", 3, 1, 1, &[7; 32]);
    let at = dns.addr();
    let mx = answers(at, "CLINIC.example.", RecordType::MX).await;
    assert_eq!(mx, ["10 mx1.clinic.example.", "20 mx2.clinic.example."]);
    assert_eq!(
        answers(at, "mx1.clinic.example.", RecordType::A).await,
        ["127.0.1.1"]
    );
    assert_eq!(
        answers(at, "mx1.clinic.example.", RecordType::AAAA).await,
        ["::1"]
    );
    let txt = answers(at, "_mta-sts.clinic.example.", RecordType::TXT).await;
    assert_eq!(txt, ["v=STSv1; id=1;".repeat(20)]);
    let tlsa = answers(at, "_25._tcp.mx1.clinic.example.", RecordType::TLSA).await;
    assert!(tlsa[0].starts_with("3 1 1 0707"), "{tlsa:?}");
    assert_eq!(dns.queries("clinic.example"), 1);
    assert_eq!(dns.queries("mx1.clinic.example"), 2);
    assert_eq!(dns.queries_of("mx1.clinic.example", "aaaa"), 1);
}

#[tokio::test]
async fn every_kind_of_no_is_told_apart() {
    let dns = DnsServer::start(anywhere());
    dns.a("host.deep.example", "127.0.0.1")
        .servfail("broken.example")
        .null_mx("silent.example");
    let at = dns.addr();
    assert_eq!(
        refusal(at, "nobody.example.", RecordType::MX).await,
        ResponseCode::NXDomain
    );
    assert_eq!(
        refusal(at, "host.deep.example.", RecordType::MX).await,
        ResponseCode::NoError
    );
    assert_eq!(
        refusal(at, "deep.example.", RecordType::MX).await,
        ResponseCode::NoError
    );
    assert_eq!(
        refusal(at, "broken.example.", RecordType::MX).await,
        ResponseCode::ServFail
    );
    let null = resolver(at)
        .lookup("silent.example.", RecordType::MX)
        .await
        .expect("an answer");
    assert!(matches!(&null.answers()[0].data,
        RData::MX(mx) if mx.preference == 0 && mx.exchange.is_root()));
    dns.silent("silent.example");
    let silence = resolver(at).lookup("silent.example.", RecordType::MX).await;
    assert!(matches!(silence, Err(NetError::Timeout)), "{silence:?}");
    dns.remove("silent.example").remove("broken.example");
    assert_eq!(
        refusal(at, "silent.example.", RecordType::MX).await,
        ResponseCode::NXDomain
    );
    assert_eq!(
        refusal(at, "broken.example.", RecordType::MX).await,
        ResponseCode::NXDomain
    );
}

#[tokio::test]
async fn truncated_answers_come_over_tcp() {
    let dns = DnsServer::start(anywhere());
    dns.a("big.example", "127.0.0.1").truncate("big.example");
    assert_eq!(
        answers(dns.addr(), "big.example.", RecordType::A).await,
        ["127.0.0.1"]
    );
    assert_eq!(
        dns.queries("big.example"),
        2,
        "once over UDP, once over TCP"
    );
    // An answer that is really too large for UDP goes the same way.
    for n in 0..200 {
        dns.mx("huge.example", n, &format!("mx{n}.huge.example"));
    }
    assert_eq!(
        answers(dns.addr(), "huge.example.", RecordType::MX)
            .await
            .len(),
        200
    );
}

#[tokio::test]
async fn aliases_are_followed_inside() {
    let dns = DnsServer::start(anywhere());
    dns.cname("www.example", "a.example")
        .cname("a.example", "b.example")
        .a("b.example", "127.0.0.9");
    dns.cname("loop.example", "loop.example")
        .cname("dangling.example", "gone.example");
    let found = ask(&dns, "www.example", RecordType::A, false).await;
    assert_eq!(found.answers.len(), 3);
    assert!(found.metadata.recursion_available);
    let code = |message: Message| message.metadata.response_code;
    assert_eq!(
        code(ask(&dns, "loop.example", RecordType::A, false).await),
        ResponseCode::ServFail
    );
    assert_eq!(
        code(ask(&dns, "dangling.example", RecordType::A, false).await),
        ResponseCode::NXDomain
    );
    assert_eq!(
        ask(&dns, "a.example", RecordType::CNAME, false)
            .await
            .answers
            .len(),
        1
    );
}

#[tokio::test]
async fn the_ad_bit_is_given_to_those_who_ask_when_all_names_are_signed() {
    let dns = DnsServer::start(anywhere());
    dns.cname("www.example", "b.example")
        .signed("www.example")
        .a("b.example", "127.0.0.9");
    let ad = |message: Message| message.metadata.authentic_data;
    assert!(
        !ad(ask(&dns, "www.example", RecordType::A, true).await),
        "b is not signed"
    );
    dns.signed("b.example");
    assert!(ad(ask(&dns, "www.example", RecordType::A, true).await));
    assert!(
        !ad(ask(&dns, "www.example", RecordType::A, false).await),
        "not asked for"
    );
}

/// One query over UDP without a resolver in between.
async fn ask(dns: &DnsServer, name: &str, kind: RecordType, want_ad: bool) -> Message {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.metadata.authentic_data = want_ad;
    query.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    let socket = UdpSocket::bind(anywhere()).await.expect("a socket");
    socket
        .send_to(&query.to_vec().expect("a query"), dns.addr())
        .await
        .expect("sent");
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).await.expect("an answer");
    Message::from_vec(&buffer[..length]).expect("a message")
}
