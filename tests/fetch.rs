//! HTTPS fetches against a real server: what is taken, and every way of not taking it
//! (pitfall E44, RFC 8461 section 3.3).

// A test may fail by panicking.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use postern::dns::DnsResolver;
use postern::fetch::{Fetch, FetchError, HttpsFetcher, Request, Settings};
use postern::sys::{SystemClock, TcpDialler};
use postern::types::{Domain, Reason};
use postern_lab::{Ca, DnsServer, HttpsServer, Identity, POLICY_PATH, Page, loopback};

const HOST: &str = "mta-sts.clinic.example";

struct World {
    ca: Ca,
    dns: DnsServer,
    ip: IpAddr,
    server: HttpsServer,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let ca = Ca::new();
        let dns = DnsServer::start("127.0.0.1:0".parse().unwrap());
        let ip = loopback();
        dns.a(HOST, ip);
        let server = HttpsServer::start((ip, 0).into(), ca.issue(&[HOST]));
        let folder = tempfile::tempdir().unwrap();
        ca.write_pem(folder.path().join("ca.pem"));
        World {
            ca,
            dns,
            ip,
            server,
            folder,
        }
    }

    fn fetcher(&self, blocked: &[&str]) -> HttpsFetcher {
        let settings = Settings {
            port: self.server.addr().port(),
            roots: vec![self.folder.path().join("ca.pem")],
            blocked: blocked.iter().map(|net| net.parse().unwrap()).collect(),
        };
        let dns = postern::dns::Settings {
            servers: vec![self.dns.addr()],
        };
        let resolver = Arc::new(DnsResolver::new(&dns).unwrap());
        let (dialler, clock) = (Arc::new(TcpDialler), Arc::new(SystemClock));
        HttpsFetcher::new(settings, resolver, dialler, clock).unwrap()
    }

    async fn get(&self) -> Result<String, FetchError> {
        self.get_within(Duration::from_secs(30)).await
    }

    async fn get_within(&self, time: Duration) -> Result<String, FetchError> {
        let got = self.fetcher(&[]).get(request(time)).await;
        got.map(|octets| String::from_utf8(octets).unwrap())
    }

    async fn page(&self, page: Page) -> Result<String, FetchError> {
        self.server.serve(HOST, POLICY_PATH, page);
        self.get().await
    }
}

fn request(time: Duration) -> Request {
    Request {
        host: Domain::parse(HOST).unwrap(),
        path: POLICY_PATH.to_owned(),
        media_type: Some("text/plain"),
        octets: 64 * 1024,
        time,
    }
}

#[tokio::test]
async fn e44_a_page_of_the_right_kind_is_fetched() {
    let world = World::new();
    assert_eq!(world.page(Page::text("hello")).await.unwrap(), "hello");
    let asked = world.server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (asked[0].host.as_str(), asked[0].path.as_str()),
        (HOST, POLICY_PATH)
    );
    assert_eq!(asked[0].sni.as_deref(), Some(HOST));
    let typed = Page::text("hello").media_type("Text/Plain; charset=utf-8");
    assert_eq!(world.page(typed).await.unwrap(), "hello");
    let open_ended = Page::text("hello").unsized_body();
    assert_eq!(world.page(open_ended).await.unwrap(), "hello");
    let most = Page::text("").padded(64 * 1024 - 6);
    assert!(world.page(most).await.unwrap().len() > 60_000);
}

#[tokio::test]
async fn e44_whatever_else_is_not() {
    let world = World::new();
    let other = World::new();
    other
        .server
        .serve(HOST, POLICY_PATH, Page::text("elsewhere"));
    let elsewhere = format!("https://{}/", other.server.addr());
    let text = || Page::text("hello");
    let cases = [
        (text().status(404), FetchError::Status(404)),
        (text().status(500), FetchError::Status(500)),
        (text().status(204), FetchError::Status(204)),
        (text().status(203), FetchError::Status(203)),
        (text().redirect(&elsewhere), FetchError::Redirect(301)),
        (
            text().redirect(POLICY_PATH).status(302),
            FetchError::Redirect(302),
        ),
        (text().status(304), FetchError::Redirect(304)),
        (text().media_type("text/html"), FetchError::MediaType),
        (text().without("Content-Type"), FetchError::MediaType),
        (text().padded(64 * 1024 + 1), FetchError::TooLarge),
        (
            text().padded(64 * 1024 + 1).unsized_body(),
            FetchError::TooLarge,
        ),
        (
            text().header("X-Long", &"x".repeat(20_000)),
            FetchError::Protocol,
        ),
        (text().padded(100).cut_at(50), FetchError::Protocol),
    ];
    for (page, expected) in cases {
        assert_eq!(world.page(page.clone()).await, Err(expected), "{page:?}");
    }
    assert_eq!(other.server.connections(), 0, "a redirect was followed");
}

#[tokio::test]
async fn e44_a_slow_server_has_so_much_time_in_all() {
    let world = World::new();
    for page in [
        Page::text("hello").late(Duration::from_secs(60)),
        Page::text("hello").dripping(Duration::from_secs(1)),
    ] {
        world.server.serve(HOST, POLICY_PATH, page);
        let got = world.get_within(Duration::from_millis(1500)).await;
        assert_eq!(got, Err(FetchError::TimedOut));
    }
}

#[tokio::test]
async fn e44_the_certificate_is_for_the_host() {
    let world = World::new();
    world.server.serve(HOST, POLICY_PATH, Page::text("hello"));
    let ca = &world.ca;
    let cases = [
        (ca.issue(&["clinic.example"]), Reason::CertificateName),
        (ca.issue(&["*.example"]), Reason::CertificateName),
        (ca.issue_expired(&[HOST]), Reason::CertificateExpired),
        (Ca::new().issue(&[HOST]), Reason::CertificateUntrusted),
        (Identity::self_signed(&[HOST]), Reason::CertificateUntrusted),
    ];
    for (identity, reason) in cases {
        world.server.identity(identity);
        assert_eq!(world.get().await, Err(FetchError::Certificate(reason)));
    }
    assert!(world.server.asked().is_empty(), "it was asked all the same");
    world.server.identity(ca.issue(&["*.clinic.example"]));
    assert_eq!(world.get().await.unwrap(), "hello");
}

#[tokio::test]
async fn e44_blocked_networks_are_not_connected_to() {
    let world = World::new();
    world.server.serve(HOST, POLICY_PATH, Page::text("hello"));
    let get = |blocked: &'static [&'static str]| {
        let fetcher = world.fetcher(blocked);
        async move { fetcher.get(request(Duration::from_secs(10))).await }
    };
    assert_eq!(get(&["127.0.0.0/8"]).await, Err(FetchError::Blocked));
    world.dns.remove(HOST);
    let IpAddr::V4(v4) = world.ip else {
        unreachable!("the lab is IPv4")
    };
    world.dns.aaaa(HOST, v4.to_ipv6_mapped());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(get(&["127.0.0.0/8"]).await, Err(FetchError::Blocked));
    assert_eq!(world.server.connections(), 0);
}

#[tokio::test]
async fn what_can_not_be_reached_says_why() {
    let world = World::new();
    world.dns.remove(HOST);
    assert_eq!(world.get().await, Err(FetchError::NoHost));
    world.dns.servfail(HOST);
    assert_eq!(world.get().await, Err(FetchError::Dns));
    world.dns.remove(HOST);
    let nobody: SocketAddr = (loopback(), 1).into();
    world.dns.a(HOST, nobody.ip());
    assert_eq!(world.get().await, Err(FetchError::Unreachable));
}
