//! A domain with an MX host, a policy host and a DNS, and a relay that knows of them.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern::assurance::sts::{Cache, Sources};
use postern::delivery::{Deliverer, Settings};
use postern::dns::DnsResolver;
use postern::fetch::{self, HttpsFetcher};
use postern::sys::{Clock, MemoryTable, SystemClock, TcpDialler};
use postern::types::{Report, Timestamp, TlsLevel};
use postern_lab::{Ca, HttpsServer, Page, SmtpBuilder, SmtpServer, loopback};

use crate::delivery_support::{self, MX, attempt, job_to};

pub(crate) const DOMAIN: &str = "clinic.example";
pub(crate) const DAY: u64 = 86_400;

/// The cache's clock: the machine's, and as much later as a test says. (Certificates
/// are judged by the machine's alone.)
#[derive(Default)]
pub(crate) struct Later(Mutex<Duration>);

impl Clock for Later {
    fn now(&self) -> Timestamp {
        SystemClock.now() + *self.0.lock().unwrap()
    }
}

pub(crate) struct World {
    pub(crate) base: delivery_support::World,
    pub(crate) https: HttpsServer,
    pub(crate) cache: Arc<Cache>,
    table: Arc<MemoryTable>,
    clock: Arc<Later>,
}

impl World {
    pub(crate) fn new(bend: impl FnOnce(SmtpBuilder, &Ca) -> SmtpBuilder) -> World {
        let base = delivery_support::World::new(bend);
        let ip = loopback();
        base.dns.a(&format!("mta-sts.{DOMAIN}"), ip);
        let identity = base.ca.issue(&[&format!("mta-sts.{DOMAIN}")]);
        let https = HttpsServer::start((ip, 0).into(), identity);
        let (table, clock) = (Arc::<MemoryTable>::default(), Arc::<Later>::default());
        let sources = sources(&base, &https);
        let cache = Cache::new(sources, table.clone(), clock.clone());
        World {
            cache: Arc::new(cache),
            base,
            https,
            table,
            clock,
        }
    }

    /// One that nothing is wrong with.
    pub(crate) fn good() -> World {
        World::new(|mx, _| mx)
    }

    /// What the domain publishes from now on.
    pub(crate) fn publish(&self, id: &str, mode: &str, mx: &[&str]) {
        self.record(Some(id));
        self.https.policy(DOMAIN, Page::policy(mode, mx, 7 * DAY));
    }

    /// The record from now on.
    pub(crate) fn record(&self, id: Option<&str>) {
        let name = format!("_mta-sts.{DOMAIN}");
        self.base.dns.remove(&name);
        if let Some(id) = id {
            self.base.dns.txt(&name, &format!("v=STSv1; id={id};"));
        }
    }

    /// Time goes by, and what DNS said is forgotten.
    pub(crate) fn passes(&self, minutes: u64) {
        *self.clock.0.lock().unwrap() += Duration::from_secs(60 * minutes);
        self.cache.use_sources(sources(&self.base, &self.https));
    }

    /// The relay is started anew, with what it has on disk.
    pub(crate) fn restart(&mut self) {
        let sources = sources(&self.base, &self.https);
        let cache = Cache::new(sources, self.table.clone(), self.clock.clone());
        self.cache = Arc::new(cache);
    }

    /// A relay with this level and this list.
    pub(crate) fn relay(&self, level: TlsLevel, methods: &[&str]) -> Deliverer {
        self.relay_as(self.base.settings(), level, methods)
    }

    pub(crate) fn relay_as(
        &self,
        settings: Settings,
        level: TlsLevel,
        methods: &[&str],
    ) -> Deliverer {
        let deliverer = self.base.deliverer(settings, level, methods);
        deliverer.holding_to(Arc::clone(&self.cache))
    }

    /// One attempt with the default list: at level `encrypted`, `tls` or `cleartext`,
    /// so that whatever holds it back is the domain's own word.
    pub(crate) async fn send(&self) -> Report {
        self.send_to(DOMAIN).await
    }

    pub(crate) async fn send_to(&self, domain: &str) -> Report {
        let relay = self.relay(TlsLevel::Encrypted, &["tls", "cleartext"]);
        attempt(&relay, &job_to(domain)).await
    }

    /// The domain's own MX host is as it should be.
    pub(crate) fn mend(&self) {
        let (ca, addr) = (&self.base.ca, self.base.mx.addr());
        let good = SmtpServer::builder(addr).name(MX);
        let good = good.identity(ca.issue(&[MX]));
        self.base.mx.change(|_| good);
    }

    /// Another MX host in the same network.
    pub(crate) fn host(
        &self,
        name: &str,
        bend: impl FnOnce(SmtpBuilder) -> SmtpBuilder,
    ) -> SmtpServer {
        let ip: IpAddr = loopback();
        let builder = SmtpServer::builder((ip, self.base.mx.addr().port()).into()).name(name);
        let server = bend(builder).start();
        self.base.dns.remove(name);
        self.base.dns.a(name, ip);
        server
    }

    /// The domain's mail goes to these from now on, says DNS.
    pub(crate) fn mx(&self, hosts: &[&str]) {
        self.base.dns.remove(DOMAIN);
        for host in hosts {
            self.base.dns.mx(DOMAIN, 10, host);
        }
    }
}

fn sources(base: &delivery_support::World, https: &HttpsServer) -> Sources {
    let settings = fetch::Settings {
        port: https.addr().port(),
        roots: vec![base.folder.path().join("ca.pem")],
        blocked: vec![],
    };
    let dns = postern::dns::Settings {
        servers: vec![base.dns.addr()],
    };
    let resolver = Arc::new(DnsResolver::new(&dns).unwrap());
    let (dialler, clock) = (Arc::new(TcpDialler), Arc::new(SystemClock));
    let fetch = HttpsFetcher::new(settings, resolver.clone(), dialler, clock).unwrap();
    Sources {
        resolver,
        fetch: Arc::new(fetch),
    }
}

/// Whether a server heard of anybody: sender, recipient, or the message itself.
pub(crate) fn heard(server: &SmtpServer) -> bool {
    let said = |line: &String| {
        let line = line.to_ascii_uppercase();
        [" MAIL", " RCPT", " DATA", " BDAT", "CLINIC", "NURSE"]
            .iter()
            .any(|word| line.contains(word))
    };
    server.count() > 0 || server.commands().iter().any(said)
}

/// The MX host that all is well with.
pub(crate) const GOOD: &str = MX;
