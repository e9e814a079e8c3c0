//! chasquid, written in Go. It can't be held to TLS 1.2 or to one recipient; it puts off and
//! answers slowly by its post-data hook.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use postern_lab::{Identity, free_port};

use super::Case;
use crate::gate::{Gate, Place};
use crate::mailbox::Ends;
use crate::server::{self, Server, System};
use crate::table::Table;

const PACKAGE: &str = "chasquid";

/// With these options, this script after DATA, and this certificate. `namespace` gives it a
/// system without DNS, so that it does not wait for SPF records that nobody has.
fn start(
    gate: &Gate,
    namespace: bool,
    case: &str,
    (options, hook): (&str, &str),
    own: Option<Identity>,
) -> Case<Server> {
    let place = gate.place(&format!("chasquid.{case}.example"));
    let folder = server::folder("chasquid-");
    let dir = folder.path().to_owned();
    let certs = dir.join("etc/certs").join(&place.host);
    let domain = dir.join("etc/domains").join(&place.domain);
    for path in ["etc/hooks", "data", "mail/tmp", "mail/new"].map(|name| dir.join(name)) {
        std::fs::create_dir_all(path).unwrap();
    }
    std::fs::create_dir_all(&certs).unwrap();
    std::fs::create_dir_all(&domain).unwrap();
    let identity = own.unwrap_or_else(|| gate.ca.issue(&[&place.host]));
    let files = identity.write(&dir, "mx");
    std::fs::rename(files.certificate, certs.join("fullchain.pem")).unwrap();
    std::fs::rename(files.private_key, certs.join("privkey.pem")).unwrap();
    script(&dir.join("mda.sh"), MDA);
    let hook = format!("#!/bin/sh\ncd '{}'\n{hook}\n", dir.display());
    script(&dir.join("etc/hooks/post-data"), &hook);
    std::fs::write(
        dir.join("etc/chasquid.conf"),
        config(&dir, &place) + options,
    )
    .unwrap();
    add_user(&dir, &place);
    let etc = dir.join("etc");
    let program = server::unpacked(PACKAGE).join("usr/bin/chasquid");
    let command = [
        &*program.to_string_lossy(),
        "-config_dir",
        &*etc.to_string_lossy(),
    ];
    let system = System {
        users: if namespace {
            &[("chasquid", 64_105)]
        } else {
            &[]
        },
        ..System::default()
    };
    Case {
        server: Server::start(folder, &system, &command, &[place.addr]),
        place,
        mail: dir.join("mail"),
        ends: Ends::Lf,
    }
}

fn script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn add_user(dir: &Path, place: &Place) {
    let output = Command::new(server::unpacked(PACKAGE).join("usr/bin/chasquid-util"))
        .arg(format!("-C={}", dir.join("etc").display()))
        .args(["user-add", &format!("p@{}", place.domain), "--password=x"])
        .output();
    let output = output.unwrap_or_else(|e| panic!("{e}: run tests/run interop"));
    assert!(output.status.success(), "{output:?}");
}

fn config(dir: &Path, place: &Place) -> String {
    let dir = dir.display();
    format!(
        r#"hostname: "{}"
smtp_address: "{}"
submission_address: "{}:{}"
data_dir: "{dir}/data"
mail_log_path: "<stderr>"
mail_delivery_agent_bin: "{dir}/mda.sh"
mail_delivery_agent_args: "{dir}/mail"
mail_delivery_agent_args: "%from%"
mail_delivery_agent_args: "%to%"
"#,
        place.host,
        place.addr,
        place.addr.ip(),
        free_port()
    )
}

/// Its delivery agent: FOLDER FROM TO, the message on stdin.
const MDA: &str = r#"#!/bin/sh
set -e
new=$(mktemp "$1/tmp/XXXXXX")
{ printf 'Return-Path: <%s>\nDelivered-To: %s\n' "$2" "$3"; cat; } > "$new"
mv "$new" "$1/new/"
"#;

#[tokio::test]
async fn chasquid() {
    let version = server::package_version(PACKAGE);
    let namespace = server::may_unshare().is_none();
    let (gate, mut table) = (Gate::start().await, Table::default());
    let new = |case, options, hook| start(&gate, namespace, case, (options, hook), None);
    let plain = new("plain", "", "");
    let own = Identity::self_signed(&["mx.chasquid.loose.example"]);
    let signed = start(&gate, namespace, "loose", ("", ""), Some(own));
    let grey = new("grey", "", "[ -e seen ] || { touch seen; exit 75; }");
    let small = new("small", "max_data_size_mb: 1\n", "");
    let slow = new("slow", "", "sleep 2");
    let results = tokio::join!(
        signed.peer(&gate).self_signed("chasquid.strict.example"),
        grey.peer(&gate).greylisted(),
        small.peer(&gate).too_large(2_000_000, &["5.3.4"]),
        slow.peer(&gate).tarpitted(Duration::from_secs(2)),
        plain
            .peer(&gate)
            .all_bodies("chasquid", &version, &mut table),
    );
    let cases = [
        ("self-signed certificate", results.0),
        ("greylisting, after DATA", results.1),
        ("size limit, by SIZE", results.2),
        ("tarpitting", results.3),
    ];
    table.rows("chasquid", &version, cases);
    table.judge();
}
