//! Prometheus itself as the judge: promtool takes the metrics and the rules, each alert fires when
//! it should and not before (rules_test.yml), and a Prometheus that watches a daemon at work has
//! an answer to every query of the dashboard.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use postern_lab::{free_port, loopback};
use serde_json::Value;

use crate::metrics::{ask, get, patient, some_mail, watched};
use crate::world::letter;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// One of the unpacked programs.
fn program(name: &str) -> Command {
    let path = format!("{ROOT}/tests/interop/.unpacked/prometheus/usr/bin/{name}");
    let there = std::path::Path::new(&path).exists();
    assert!(there, "{path} is missing: run tests/run, which fetches it");
    let mut command = Command::new(path);
    command.current_dir(ROOT);
    command
}

fn promtool(args: &[&str], input: &str) -> Output {
    let piped = program("promtool")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = piped.unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    let part = String::from_utf8_lossy;
    format!("{}{}", part(&output.stdout), part(&output.stderr))
}

#[test]
fn the_rules_are_taken_and_fire() {
    let check = promtool(&["check", "rules", "conf/prometheus-rules.yml"], "");
    assert!(check.status.success(), "{}", text(&check));
    let test = promtool(&["test", "rules", "tests/e2e/rules_test.yml"], "");
    assert!(test.status.success(), "{}", text(&test));
    // Every alert is tried.
    let read = |path: &str| std::fs::read_to_string(format!("{ROOT}/{path}")).unwrap();
    let tried = read("tests/e2e/rules_test.yml");
    for line in read("conf/prometheus-rules.yml").lines() {
        if let Some((_, alert)) = line.split_once("- alert: ") {
            let fires = format!("alertname: {alert}\n        exp_alerts: [{{");
            let tested = tried.contains(&fires);
            assert!(tested, "rules_test.yml has no case in which {alert} fires");
        }
    }
}

/// A Prometheus that asks a daemon every second; killed when dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: SocketAddr) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from((loopback(), free_port()));
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
             rule_files: [\"{ROOT}/conf/prometheus-rules.yml\"]\n\
             scrape_configs:\n  - job_name: postern\n    static_configs: [{{ targets: [\"{target}\"] }}]\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let at = |flag: &str, path: &str| format!("{flag}={}", folder.path().join(path).display());
        let child = program("prometheus")
            .arg(at("--config.file", "prometheus.yml"))
            .arg(at("--storage.tsdb.path", "data"))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Prometheus {
            child,
            address,
            _folder: folder,
        }
    }

    /// What an instant query gives.
    async fn query(&self, expression: &str) -> Value {
        let mut encoded = String::new();
        for octet in expression.bytes() {
            write!(encoded, "%{octet:02X}").unwrap();
        }
        self.api(&format!("query?query={encoded}")).await
    }

    async fn api(&self, path: &str) -> Value {
        // HTTP/1.0, so that the answer comes in one piece and the connection ends.
        let request = format!("GET /api/v1/{path} HTTP/1.0\r\n\r\n");
        let (_, body) = ask(self.address, request).await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// Waits until it has asked the daemon so many times.
    async fn has_scraped(&self, times: f64) {
        let limit = Instant::now() + Duration::from_secs(60);
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if postern_lab::Client::connect(self.address).await.is_ok() {
                let count = self.query("sum(count_over_time(postern_ready[1h]))").await;
                let value = count["result"][0]["value"][1].as_str();
                if value.is_some_and(|v| v.parse::<f64>().unwrap() >= times) {
                    return;
                }
            }
            assert!(
                Instant::now() < limit,
                "Prometheus has not asked {times} times"
            );
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Each panel's title with its queries.
fn queries() -> Vec<(String, String)> {
    let path = format!("{ROOT}/conf/grafana-dashboard.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut queries = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression
                .replace("$__rate_interval", "1m")
                .replace("$instance", ".*");
            queries.push((title.to_owned(), expression));
        }
    }
    queries
}

#[tokio::test]
async fn prometheus_answers_every_query_of_the_dashboard() {
    let (world, address) = watched(patient()).await;
    let prometheus = Prometheus::start(address);
    prometheus.has_scraped(1.0).await;
    some_mail(&world).await;
    let to = "p@clinic.example";
    world.send(&[to], letter(to, "five", "hi\r\n")).await;
    prometheus.has_scraped(4.0).await;

    let (_, scrape) = get(address, "/metrics").await;
    let check = promtool(&["check", "metrics"], &scrape);
    assert!(check.status.success(), "{}", text(&check));
    assert_eq!(text(&check), "", "promtool's advice");

    let queries = queries();
    assert!(queries.len() > 25, "{}", queries.len());
    for (title, query) in queries {
        let data = prometheus.query(&query).await;
        let series = data["result"].as_array().unwrap();
        assert!(!series.is_empty(), "panel {title}: nothing for {query}");
    }
    let rules = prometheus.api("rules").await;
    let rules = rules["groups"][0]["rules"].as_array().unwrap().clone();
    assert!(rules.len() > 8);
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        // All is well with this daemon, but its certificate is the lab's.
        let firing = rule["state"] == "firing";
        assert!(!firing, "{rule}");
    }
}
