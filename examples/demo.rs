//! The demo: Postern at work on one machine, without a network.
//!
//! Starts DNS, four recipient servers of different strength, the sender's own
//! server and a real Postern daemon; submits real messages over STARTTLS with
//! AUTH; prints for each what was decided, what was proved, and what the sender
//! was told. With `--serve` it keeps running and prints the commands to try.

#![allow(clippy::expect_used)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use postern_lab::{
    Ca, Client, ClientTls, Daemon, DnsServer, Identity, SmtpServer, TlsVersion, free_port, loopback,
};
use serde_json::Value;

const SENDER: &str = "ward@clinic.example";
/// Has an OpenPGP key.
const ANNA: &str = "anna@plain.example";
/// Has an X.509 certificate.
const OTTO: &str = "otto@weak.example";
const PASSWORD: &str = "correct horse battery staple";
const PATIENCE: Duration = Duration::from_secs(20);

/// One message of the demo.
struct Case {
    to: &'static str,
    about: &'static str,
    /// Whether the sender gets a report.
    reported: bool,
}

const CASES: [Case; 8] = [
    Case {
        to: "lab@modern.example",
        about: "TLS 1.3 and a certificate from a trusted root; a rule demands just that",
        reported: false,
    },
    Case {
        to: "office@selfsigned.example",
        about: "TLS 1.3, but a self-signed certificate; encryption alone is demanded",
        reported: false,
    },
    Case {
        to: "records@selfsigned.example",
        about: "the same server; for this address a rule demands a proven identity",
        reported: true,
    },
    Case {
        to: "doctor@weak.example",
        about: "the server offers TLS 1.1 at best",
        reported: true,
    },
    Case {
        to: "doctor@plain.example",
        about: "the server offers no TLS at all",
        reported: true,
    },
    Case {
        to: ANNA,
        about: "the same server; of this person an OpenPGP key is known",
        reported: false,
    },
    Case {
        to: OTTO,
        about: "the server with TLS 1.1; of this person an S/MIME certificate is known",
        reported: false,
    },
    Case {
        to: "news@plain.example",
        about: "the same server; for this address a rule allows cleartext",
        reported: false,
    },
];

fn main() -> ExitCode {
    // The daemon and its commands are this same program, called by the script
    // `postern` that the demo writes: an example has no other binary beside it.
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|a| a == "postern") {
        let name = std::ffi::OsString::from("postern");
        return postern::cli::run(std::iter::once(name).chain(arguments));
    }
    let serve = std::env::args().any(|a| a == "--serve");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(demo(serve));
    ExitCode::SUCCESS
}

/// The world outside.
struct World {
    ca: Ca,
    dns: DnsServer,
    port: u16,
    home: SmtpServer,
    servers: Vec<SmtpServer>,
}

fn build_world() -> World {
    let ca = Ca::new();
    let dns = DnsServer::start(SocketAddr::new(loopback(), 0));
    let port = free_port();
    let mut world = World {
        home: host(&dns, port, "clinic.example", |b| b),
        servers: Vec::new(),
        ca,
        dns,
        port,
    };
    let trusted = world.ca.issue(&["mx.modern.example"]);
    let own = Identity::self_signed(&["mx.selfsigned.example"]);
    world.servers = vec![
        host(&world.dns, port, "modern.example", |b| b.identity(trusted)),
        host(&world.dns, port, "selfsigned.example", |b| b.identity(own)),
        host(&world.dns, port, "weak.example", |b| {
            b.tls_versions(TlsVersion::V1_0, TlsVersion::V1_1)
                .ciphers("ALL:@SECLEVEL=0")
        }),
        host(&world.dns, port, "plain.example", |b| b.no_starttls()),
    ];
    world
}

/// A domain with one MX host, `mx.DOMAIN`, on an address of its own.
fn host(
    dns: &DnsServer,
    port: u16,
    domain: &str,
    knobs: impl FnOnce(postern_lab::SmtpBuilder) -> postern_lab::SmtpBuilder,
) -> SmtpServer {
    let address = loopback();
    let name = format!("mx.{domain}");
    dns.mx(domain, 10, &name).a(&name, address);
    knobs(SmtpServer::builder(SocketAddr::new(address, port)).name(&name)).start()
}

/// Writes the script that is `postern` for this demo.
fn write_script(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let program = std::env::current_exe().expect("this program's path");
    let script = folder.join("postern");
    let text = format!("#!/bin/sh\nexec '{}' postern \"$@\"\n", program.display());
    std::fs::write(&script, text).expect("the script can be written");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("the script can be made executable");
    script
}

fn configuration(world: &World, submission: u16, roots: &Path) -> String {
    format!(
        r#"hostname = "relay.clinic.example"
data_dir = "data"

[[listener]]
bind = "127.0.0.1:{submission}"
kind = "submission"

[dns]
servers = ["{dns}"]

[network]
blocked = []

[delivery]
port = {port}

[trust]
roots = ["{roots}"]

[pgp]
[smime]

[[rule]]
name = "identity-proven"
when.recipient = ["*@modern.example", "records@selfsigned.example"]
tls_level = "authenticated"

[[rule]]
name = "newsletter"
when.recipient = "news@plain.example"
methods = ["tls", "cleartext"]
"#,
        dns = world.dns.addr(),
        port = world.port,
        roots = roots.display(),
    )
}

async fn demo(serve: bool) {
    let world = build_world();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let roots = folder.path().join("roots.pem");
    world.ca.write_pem(&roots);
    let script = write_script(folder.path());
    let submission = free_port();
    let mut daemon = Daemon::new(&script);
    daemon.config(&configuration(&world, submission, &roots));
    let account = "account add ward --password-stdin --sender @clinic.example";
    let account: Vec<&str> = account.split(' ').collect();
    let added = daemon.run_with_stdin(&account, PASSWORD);
    assert!(
        added.status.success(),
        "{}",
        String::from_utf8_lossy(&added.stderr)
    );
    add_keys(&daemon, folder.path());
    daemon.start().await;
    println!("Postern is running, with DNS and five mail servers on loopback addresses.");
    println!("{}", daemon.run_ok(&["check"]).trim_end());
    for (n, case) in (1..).zip(&CASES) {
        println!("\n{n}. To {}: {}", case.to, case.about);
        show(&world, &daemon, submission, case).await;
    }
    let cleartext = world.servers.iter().flat_map(SmtpServer::commands);
    let exposed = cleartext.filter(|c| c.contains("doctor@")).count();
    println!(
        "\nAddresses of doctor@weak.example and doctor@plain.example seen by their servers: {exposed}"
    );
    if serve {
        keep_serving(&daemon, &script, submission).await;
    }
    daemon.terminate().await;
}

/// Submits one message and tells its story.
async fn show(world: &World, daemon: &Daemon, submission: u16, case: &Case) {
    let reports = world.home.count();
    let id = submit(submission, case.to).await;
    let entry = wait_for_outcome(daemon, &id).await;
    println!("   accepted:  250 2.0.0 Ok: queued as {id}");
    println!("   decided:   {}", decided(&entry));
    println!("   proved:    {}", proved(&entry));
    println!("   outcome:   {}", outcome(&entry));
    if let Some(content) = content(world, &entry) {
        println!("   content:   {content}");
    }
    if case.reported {
        let got = world.home.wait_messages(reports + 1, PATIENCE).await;
        let report = got.last().map(|m| m.text()).unwrap_or_default();
        println!("   told:      {}", first_sentence(&report));
    } else {
        println!("   told:      nothing, for the message was delivered");
    }
}

async fn submit(port: u16, to: &str) -> String {
    let server = SocketAddr::from(([127, 0, 0, 1], port));
    let mut client = Client::connect(server).await.expect("a connection");
    client
        .greet("ward.clinic.example")
        .await
        .expect("a greeting");
    client
        .starttls(&ClientTls::insecure(), "relay.clinic.example")
        .await
        .expect("STARTTLS");
    client.line("EHLO ward.clinic.example").await.expect("EHLO");
    client.auth_plain("ward", PASSWORD).await.expect("AUTH");
    let text = format!(
        "From: {SENDER}\r\nTo: {to}\r\nSubject: Results of the blood test\r\n\r\nAll is well.\r\n"
    );
    let reply = client
        .submit(SENDER, &[to], text.as_bytes())
        .await
        .expect("a reply");
    assert!(reply.is_ok(), "the message was refused: {}", reply.text());
    let _ = client.quit().await;
    let id = reply
        .text()
        .rsplit(' ')
        .next()
        .unwrap_or_default()
        .to_owned();
    id.trim().to_owned()
}

/// The audit's last entry about a message, once it is final.
async fn wait_for_outcome(daemon: &Daemon, id: &str) -> Value {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let output = daemon.run(&["audit", "show", id, "--json"]);
        let entries: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if let Some(last) = entries.last()
            && last["state"] != "queued"
        {
            return last.clone();
        }
        assert!(
            std::time::Instant::now() < deadline,
            "no outcome for {id}:\n{}",
            daemon.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn word<'a>(value: &'a Value, none: &'a str) -> &'a str {
    value.as_str().unwrap_or(none)
}

fn decided(entry: &Value) -> String {
    let rule = match entry["rule"].as_str() {
        Some(rule) => format!("rule \"{rule}\""),
        None => "no rule, so [security]".to_owned(),
    };
    let method = word(&entry["method"], "none");
    let required = word(&entry["required"], "nothing");
    match method {
        "pgp" | "smime" => format!("{rule}: method {method}, whatever the connection proves"),
        _ => format!("{rule}: method {method}, which must prove: {required}"),
    }
}

fn proved(entry: &Value) -> String {
    let tls = &entry["tls"];
    if tls.is_null() {
        return "nothing".to_owned();
    }
    format!(
        "{} {} {}, certificate {}…, identity by {}",
        word(&tls["version"], "?"),
        word(&tls["cipher"], "?"),
        word(&tls["group"], "?"),
        word(&tls["certificate"]["sha256"], "none")
            .get(..16)
            .unwrap_or("none"),
        word(&tls["authenticated_by"], "nothing"),
    )
}

/// How the content was protected, and what of it the server has seen.
fn content(world: &World, entry: &Value) -> Option<String> {
    let content = &entry["content"];
    let certificate = content["certificate"].as_str()?;
    let to = entry["recipient"].as_str().unwrap_or_default().to_owned();
    let mut messages = world.servers.iter().flat_map(SmtpServer::messages);
    let seen = messages.find(|message| message.rcpt_to == [to.as_str()])?;
    let readable = ["All is well", "blood test"]
        .iter()
        .any(|text| seen.text().contains(text));
    Some(format!(
        "{} to {}…; the server saw \"Subject: {}\", and of the content: {}",
        word(&content["cipher"], "?"),
        certificate.get(..16).unwrap_or(certificate),
        seen.header("Subject").unwrap_or_default(),
        if readable { "all" } else { "nothing" },
    ))
}

/// Makes a key for two recipients, and adds their certificates as an operator would.
fn add_keys(daemon: &Daemon, folder: &Path) {
    let (pgp, smime) = (folder.join("anna.asc"), folder.join("otto.pem"));
    std::fs::write(&pgp, openpgp_certificate(ANNA)).expect("a file");
    std::fs::write(&smime, x509_certificate(OTTO)).expect("a file");
    for file in [pgp, smime] {
        daemon.run_ok(&["key", "add", &file.to_string_lossy()]);
    }
}

fn openpgp_certificate(address: &str) -> Vec<u8> {
    use sequoia_openpgp::cert::CertBuilder;
    use sequoia_openpgp::serialize::SerializeInto;
    let builder = CertBuilder::general_purpose(Some(format!("<{address}>")));
    let (certificate, _) = builder.generate().expect("a key");
    let public = certificate.strip_secret_key_material();
    public.armored().to_vec().expect("a certificate")
}

fn x509_certificate(address: &str) -> String {
    let mut params = rcgen::CertificateParams::default();
    let name = address.to_owned().try_into().expect("an address");
    params.subject_alt_names = vec![rcgen::SanType::Rfc822Name(name)];
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyAgreement];
    let key = rcgen::KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("a certificate").pem()
}

fn outcome(entry: &Value) -> String {
    let state = word(&entry["state"], "?");
    let remote = word(&entry["remote"], "no host");
    match entry["reason"].as_str() {
        Some(reason) => format!("{state} ({reason}) at {remote}"),
        None => format!("{state} to {remote}: {}", word(&entry["reply"], "")),
    }
}

/// The first sentence of a report's text part, on one line.
fn first_sentence(report: &str) -> String {
    let text = report
        .split("\r\n\r\n")
        .find(|part| part.starts_with("Your message"))
        .unwrap_or(report);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

async fn keep_serving(daemon: &Daemon, script: &Path, submission: u16) {
    let config = daemon.config_file();
    let postern = format!("{} --config {}", script.display(), config.display());
    println!("\nStill running. In another terminal:\n");
    println!(
        "  swaks --server 127.0.0.1:{submission} --tls --auth-user ward --auth-password '{PASSWORD}' \\\n    \
         --from {SENDER} --to doctor@plain.example"
    );
    println!("  {postern} queue list");
    println!("  {postern} audit list");
    println!("  {postern} explain doctor@plain.example --from {SENDER}");
    println!("\nCtrl-C ends it.");
    let _ = tokio::signal::ctrl_c().await;
}
