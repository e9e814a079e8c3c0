//! What monitoring sees of a daemon at work: figures that are right, health and readiness that
//! are true, and a dashboard and alerts that ask for what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use postern_lab::{Client, Stage, free_port, loopback};

use crate::logging::documented;
use crate::world::{PASSWORD, Plan, RELAY, SENDER, SOON, World, letter, wait};

/// A world whose daemon serves metrics, and where.
pub(crate) async fn watched(plan: Plan) -> (World, SocketAddr) {
    let address = SocketAddr::from((loopback(), free_port()));
    let tables = format!("[metrics]\nbind = \"{address}\"\n{}", plan.tables);
    (World::start(&Plan { tables, ..plan }).await, address)
}

/// Sends octets and gives status and body of the answer.
pub(crate) async fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> (u16, String) {
    let mut client = Client::connect(address).await.unwrap();
    client.send(request).await.unwrap();
    let answer = String::from_utf8(client.read_eof().await.unwrap()).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    ask(
        address,
        format!("GET {path} HTTP/1.1\r\nHost: relay\r\n\r\n"),
    )
    .await
}

/// One reading of all figures.
struct Scrape {
    text: String,
    values: BTreeMap<String, f64>,
}

impl Scrape {
    async fn take(address: SocketAddr) -> Scrape {
        let (status, text) = get(address, "/metrics").await;
        assert_eq!(status, 200);
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        };
        let values = samples.map(sample).collect();
        Scrape { text, values }
    }

    /// The value of a series, exactly as written.
    fn value(&self, series: &str) -> f64 {
        let found = self.values.get(series);
        *found.unwrap_or_else(|| panic!("no {series} in:\n{}", self.text))
    }

    /// The sum over all series that contain these words.
    fn sum(&self, words: &[&str]) -> f64 {
        let fits = |series: &&String| words.iter().all(|word| series.contains(word));
        self.values
            .keys()
            .filter(fits)
            .map(|s| self.values[s])
            .sum()
    }

    /// All names, as queries use them.
    fn names(&self) -> BTreeSet<&str> {
        let name = |series: &'_ String| series.find('{').unwrap_or(series.len());
        self.values.keys().map(|s| &s[..name(s)]).collect()
    }
}

/// Two messages delivered to three recipients, one bounced and its report delivered, one deferred,
/// one sender refused, one login failed.
pub(crate) async fn some_mail(world: &World) {
    let to = ["p@clinic.example", "q@clinic.example"];
    world.send(&to, letter(to[0], "one", "hi\r\n")).await;
    let mut peer = Client::connect_from("127.0.0.1:0".parse().unwrap(), world.relay)
        .await
        .unwrap();
    peer.greet("scanner.ward.example").await.unwrap();
    let text = letter(to[0], "two", "hi\r\n");
    let reply = peer.submit(SENDER, &to[..1], text).await.unwrap();
    assert_eq!(reply.code, 250);
    let gone = "p@typo.example";
    let id = world.send(&[gone], letter(gone, "three", "hi\r\n")).await;
    world.wait_audit(&id, gone, "bounced").await;
    let slow = world.mx("slow.example", |b| b.reply(Stage::Mail, "451 4.3.2 later"));
    let late = "p@slow.example";
    let id = world.send(&[late], letter(late, "four", "hi\r\n")).await;
    world.wait_audit(&id, late, "queued").await;
    assert_eq!(slow.count(), 0);
    let mut client = world.client().await;
    let refused = client.line("MAIL FROM:<x@elsewhere.example>").await;
    assert!(refused.unwrap().code >= 500);
    let mut thief = world.starttls(world.submission, &world.client_tls()).await;
    let reply = thief.auth_plain("ward", "not the password").await.unwrap();
    assert_eq!(reply.code, 535);
    world.far.wait_messages(2, SOON).await;
    world.home.wait_messages(1, SOON).await;
}

pub(crate) fn patient() -> Plan {
    Plan {
        retry: r#"["1h"]"#,
        expire: "1d",
        delay_notice: "1d",
        ..Plan::default()
    }
}

#[tokio::test]
async fn the_figures_are_right() {
    let (world, address) = watched(patient()).await;
    let before = Scrape::take(address).await;
    assert_eq!(before.sum(&["postern_accepted_messages_total"]), 0.0);
    assert_eq!(before.value("postern_queue_messages"), 0.0);
    some_mail(&world).await;
    let mut scrape = Scrape::take(address).await;
    let settled = |s: &Scrape| s.sum(&["postern_outcomes_total", "\"delivered\""]) >= 4.0;
    while !settled(&scrape) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        scrape = Scrape::take(address).await;
    }
    for (series, value) in [
        (
            "postern_accepted_messages_total{listener=\"submission\"}",
            3.0,
        ),
        ("postern_accepted_messages_total{listener=\"relay\"}", 1.0),
        (
            "postern_accepted_messages_total{listener=\"submissions\"}",
            0.0,
        ),
        (
            "postern_accepted_recipients_total{listener=\"submission\"}",
            4.0,
        ),
        ("postern_accept_seconds_count", 4.0),
        ("postern_auth_failures_total{reason=\"refused\"}", 1.0),
        ("postern_own_mail_total{kind=\"dsn\"}", 1.0),
        ("postern_delivery_seconds_count", 4.0),
        ("postern_delivery_seconds_bucket{le=\"3600\"}", 4.0),
        ("postern_queue_messages", 1.0),
        ("postern_queue_recipients{state=\"queued\"}", 1.0),
        ("postern_queue_recipients{state=\"held\"}", 0.0),
        ("postern_queue_recipients{state=\"dead\"}", 0.0),
        ("postern_reload_successful", 1.0),
        ("postern_observe", 0.0),
        ("postern_sites_backing_off", 0.0),
        ("postern_spool_state{state=\"ok\"}", 1.0),
        ("postern_spool_state{state=\"sick\"}", 0.0),
        ("postern_ready", 1.0),
        (
            "postern_outcomes_total{status=\"delivered\",method=\"tls\",reason=\"none\"}",
            4.0,
        ),
        (
            "postern_outcomes_total{status=\"bounced\",method=\"none\",reason=\"no-such-domain\"}",
            1.0,
        ),
        (
            "postern_outcomes_total{status=\"deferred\",method=\"tls\",reason=\"deferred\"}",
            1.0,
        ),
    ] {
        assert_eq!(scrape.value(series), value, "{series}\n{}", scrape.text);
    }
    assert!(scrape.value("postern_refusals_total{listener=\"submission\",class=\"5xx\"}") >= 2.0);
    assert_eq!(
        scrape.sum(&["delivery_tls_total", "TLSv1.3", "X25519"]),
        4.0
    );
    // All who submitted; the peer on the relay listener did not ask for TLS.
    let tls = ["postern_ingress_tls_total", "TLSv1.3", "X25519"];
    assert!(scrape.sum(&tls) >= 5.0, "{}", scrape.text);
    let relay = [&tls[..], &["listener=\"relay\""]].concat();
    assert_eq!(scrape.sum(&relay), 0.0);
    assert_eq!(scrape.sum(&["postern_by_hand"]), 0.0);
    assert!(scrape.value("postern_log_lines_total{level=\"warn\"}") >= 1.0);
    assert_eq!(
        scrape.value("postern_log_lines_total{level=\"error\"}"),
        0.0
    );
    assert!(scrape.value("postern_spool_flush_seconds_count") >= 4.0);
    assert!(scrape.value("postern_spool_group_jobs_sum") >= 4.0);
    assert!(scrape.value("postern_spool_disk_bytes") > 1000.0);
    assert!(scrape.value("postern_spool_room_bytes") > 1e6);
    assert!(scrape.value("postern_queue_oldest_age_seconds") < 60.0);
    let connections = scrape.sum(&["postern_ingress_connections_total"]);
    assert!(connections >= 6.0, "{connections}");
    let end = scrape.value("postern_certificate_expiry_timestamp_seconds");
    let started = scrape.value("postern_start_timestamp_seconds");
    assert!(end > started, "{end} {started}");
    // Nothing of a person, of a place, of what was said.
    for word in ["example", "ward", "later", "127.0.0", PASSWORD] {
        assert!(!scrape.text.contains(word), "{word} in:\n{}", scrape.text);
    }
    asked_for_exists(&scrape);
    is_documented(&scrape);
}

/// The page names every metric with its labels, and nothing else.
fn is_documented(scrape: &Scrape) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `postern_"));
    let documented: BTreeMap<String, BTreeSet<String>> = rows
        .map(|row| {
            let (name, rest) = row.split_once('`').unwrap();
            let labels = rest.split('|').nth(1).unwrap().split(',');
            let labels = labels.map(|l| l.trim().to_owned());
            let labels = labels.filter(|l| !l.is_empty()).collect();
            (format!("postern_{name}"), labels)
        })
        .collect();
    for (series, labels) in scrape.values.keys().filter_map(|s| s.split_once('{')) {
        let base = ["_bucket", "_sum", "_count"];
        let name = base.iter().find_map(|end| series.strip_suffix(end));
        let wanted = documented.get(name.unwrap_or(series)).unwrap();
        let labels = labels.trim_end_matches('}').split(',');
        let names = labels.map(|l| l.split('=').next().unwrap().to_owned());
        let there: BTreeSet<String> = names.filter(|l| l != "le").collect();
        assert_eq!(&there, wanted, "labels of {series}");
    }
    let types = scrape
        .text
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE "));
    let there: BTreeSet<String> = types
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    let documented: BTreeSet<String> = documented.into_keys().collect();
    assert_eq!(there, documented);
}

/// What dashboard and alerts ask for is there, and what they compare with is a label's value.
fn asked_for_exists(scrape: &Scrape) {
    let names = scrape.names();
    for file in ["conf/grafana-dashboard.json", "conf/prometheus-rules.yml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(path).unwrap();
        let is_of_name = |c: char| c.is_ascii_lowercase() || c == '_';
        let words = text.split(|c: char| !is_of_name(c));
        let asked: BTreeSet<&str> = words.filter(|w| w.starts_with("postern_")).collect();
        assert!(asked.len() > 5, "{file} asks for {asked:?}");
        for name in asked {
            assert!(names.contains(name), "{file} asks for {name}");
        }
    }
}

#[tokio::test]
async fn health_and_readiness_are_told() {
    let (mut world, address) = watched(Plan::default()).await;
    assert_eq!(get(address, "/healthz").await, (200, "ok\n".into()));
    assert_eq!(
        get(address, "/readyz?verbose").await,
        (200, "ready\n".into())
    );
    // A session in a transaction has 10 s at the end; meanwhile no new ones are taken.
    let mut client = world.client().await;
    let begun = client.line(&format!("MAIL FROM:<{SENDER}>")).await.unwrap();
    assert_eq!(begun.code, 250);
    world.daemon.signal("TERM");
    world.daemon.wait_log("stopping", SOON).await;
    let mut answer = get(address, "/readyz").await;
    while answer.0 == 200 {
        answer = get(address, "/readyz").await;
    }
    assert_eq!(answer, (503, "a listener takes no connections\n".into()));
    client.line("QUIT").await.unwrap();
    assert!(world.daemon.wait_exit(SOON).await.success());
}

#[tokio::test]
async fn nothing_else_is_served_and_nobody_is_kept_waiting() {
    let (world, address) = watched(Plan::default()).await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 404),
        ("GET /metrics/../etc HTTP/1.1\r\n\r\n".to_owned(), 404),
        (
            "POST /metrics HTTP/1.1\r\nContent-Length: 1\r\n\r\nx".to_owned(),
            404,
        ),
        ("EHLO relay\r\n\r\n".to_owned(), 400),
        (
            format!("GET /metrics HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(9000)),
            431,
        ),
    ] {
        assert_eq!(ask(address, &request).await.0, status, "{request}");
    }
    let head = ask(address, "HEAD /healthz HTTP/1.1\r\n\r\n").await;
    assert_eq!(head, (200, String::new()));
    // More clients than are taken at once, which never ask: after 10 s their turn is over.
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(Client::connect(address).await.unwrap());
    }
    let asked = std::time::Instant::now();
    assert_eq!(get(address, "/healthz").await.0, 200);
    assert!(
        asked.elapsed() < Duration::from_secs(25),
        "{:?}",
        asked.elapsed()
    );
    assert!(!world.daemon.log().contains("panick"));
}

#[tokio::test]
async fn without_the_table_nothing_listens() {
    let mut world = World::start(&Plan::default()).await;
    assert!(!world.daemon.log().contains("metrics on"));
    // An address that is taken is told, and no start.
    let taken = world.submission;
    world.daemon.terminate().await;
    let tables = format!("[metrics]\nbind = \"{taken}\"\n");
    let config = world.config(&Plan {
        tables,
        ..Plan::default()
    });
    world.daemon.config(&config);
    let error = world.daemon.try_start().await.unwrap_err();
    assert!(error.contains("78"), "{error}");
    let log = world.daemon.log();
    assert!(
        log.contains(&format!("[metrics] bind = \"{taken}\"")),
        "{log}"
    );
}

#[tokio::test]
async fn a_renewed_certificate_shows_without_a_client() {
    let (world, address) = watched(Plan::default()).await;
    const EXPIRY: &str = "postern_certificate_expiry_timestamp_seconds";
    let first = Scrape::take(address).await.value(EXPIRY);
    let short = world.ca.issue_expired(&[RELAY]);
    short.write(world.daemon.dir(), "relay");
    let mut now = first;
    let limit = std::time::Instant::now() + SOON;
    while now == first && std::time::Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(200)).await;
        now = Scrape::take(address).await.value(EXPIRY);
    }
    assert_ne!(now, first);
    wait(SOON, "the log line", || {
        world.daemon.log().contains("certificate reloaded")
    })
    .await;
}

/// What is held is not queued, what is removed is counted, and a refused reload shows until one
/// is taken.
#[tokio::test]
async fn the_operators_hand_shows() {
    let plan = patient();
    let (mut world, address) = watched(patient()).await;
    let slow = world.mx("slow.example", |b| b.reply(Stage::Mail, "451 4.3.2 later"));
    let late = ["p@slow.example", "q@slow.example"];
    let id = world.send(&late, letter(late[0], "four", "hi\r\n")).await;
    world.wait_audit(&id, late[1], "queued").await;
    assert_eq!(slow.count(), 0);
    world.daemon.run_ok(&["queue", "hold", &id]);
    let scrape = Scrape::take(address).await;
    for (series, value) in [
        ("postern_queue_recipients{state=\"queued\"}", 0.0),
        ("postern_queue_recipients{state=\"held\"}", 2.0),
        ("postern_by_hand_recipients_total{action=\"hold\"}", 2.0),
    ] {
        assert_eq!(scrape.value(series), value, "{series}\n{}", scrape.text);
    }
    world.daemon.run_ok(&["queue", "remove", &id]);
    let scrape = Scrape::take(address).await;
    let removed = "postern_by_hand_recipients_total{action=\"remove\"}";
    assert_eq!(scrape.value(removed), 2.0);
    assert_eq!(
        scrape.value("postern_queue_recipients{state=\"held\"}"),
        0.0
    );

    let good = world.config(&Plan {
        tables: format!("[metrics]\nbind = \"{address}\"\n"),
        ..plan
    });
    let bad = format!("{good}\n[nonsense]\n");
    for (text, word, in_force) in [(&bad, "stays in force", 0.0), (&good, "reloaded", 1.0)] {
        world.daemon.config(text);
        world.daemon.signal("HUP");
        world.daemon.wait_log(word, SOON).await;
        let scrape = Scrape::take(address).await;
        assert_eq!(scrape.value("postern_reload_successful"), in_force);
        assert_eq!(
            scrape.value("postern_reloads_total{result=\"refused\"}"),
            1.0
        );
    }
    let scrape = Scrape::take(address).await;
    assert!(scrape.value("postern_log_lines_total{level=\"error\"}") >= 2.0);
    documented(&world.daemon.log());
}
