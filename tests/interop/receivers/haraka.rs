//! Haraka, on Node. It comes from npm, which a machine need not have: then the table says so.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_lab::Identity;

use super::{Case, note};
use crate::gate::Gate;
use crate::mailbox::Ends;
use crate::server::{self, Server, System};
use crate::table::Table;

/// With this variable in its environment, this many octets a message at most (0: any number), and
/// this certificate.
fn start(
    gate: &Gate,
    case: &str,
    variable: (&str, &str),
    databytes: usize,
    own: Option<Identity>,
) -> Case<Server> {
    let place = gate.place(&format!("haraka.{case}.example"));
    let folder = server::folder("haraka-");
    let dir = folder.path().to_owned();
    for path in ["config", "plugins", "mail/tmp"] {
        std::fs::create_dir_all(dir.join(path)).unwrap();
    }
    let identity = own.unwrap_or_else(|| gate.ca.issue(&[&place.host]));
    let files = identity.write(&dir, "mx");
    std::fs::rename(files.certificate, dir.join("config/tls_cert.pem")).unwrap();
    std::fs::rename(files.private_key, dir.join("config/tls_key.pem")).unwrap();
    let listen = format!("listen={}\nnodes=0\n", place.addr);
    for (name, text) in [
        ("smtp.ini", &*listen),
        ("me", &*place.host),
        ("plugins", "tls\nstore\n"),
        ("tls.ini", "[main]\n"),
        ("loglevel", "LOGNOTICE"),
        // It breaks lines of more than 992 octets, dot and line end counted, unless told otherwise.
        ("max_data_line_length", "1001"),
        ("databytes", &*databytes.to_string()),
    ] {
        std::fs::write(dir.join("config").join(name), text).unwrap();
    }
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/haraka/store.js");
    std::fs::copy(plugin, dir.join("plugins/store.js")).unwrap();
    let mail = dir.join("mail");
    let program = package().join("bin/haraka");
    let command = [
        "node",
        &*program.to_string_lossy(),
        "-c",
        &*dir.to_string_lossy(),
    ];
    let system = System {
        environment: &[("STORE", &*mail.to_string_lossy()), variable],
        ..System::default()
    };
    Case {
        server: Server::start(folder, &system, &command, &[place.addr]),
        place,
        mail,
        ends: Ends::CrLf,
    }
}

/// Where `npm ci` has put it.
fn package() -> PathBuf {
    server::unpacked("haraka").join("node_modules/Haraka")
}

fn version() -> Option<String> {
    let text = std::fs::read(package().join("package.json")).ok()?;
    let package: serde_json::Value = serde_json::from_slice(&text).ok()?;
    Some(package["version"].as_str()?.to_owned())
}

#[tokio::test]
async fn haraka() {
    let Some(version) = version() else {
        return Table::not_run("haraka", "?", "not installed: tests/run needs npm for it");
    };
    let (gate, mut table) = (Gate::start().await, Table::default());
    let new = |case, variable, size| start(&gate, case, variable, size, None);
    let nothing = ("NODE_NO_WARNINGS", "1");
    let plain = new("plain", nothing, 0);
    let tls12 = new("tls12", ("NODE_OPTIONS", "--tls-max-v1.2"), 0);
    let own = Identity::self_signed(&["mx.haraka.loose.example"]);
    let signed = start(&gate, "loose", nothing, 0, Some(own));
    let grey = new("grey", ("GREY", "1"), 0);
    let small = new("small", nothing, 100_000);
    let slow = new("slow", ("SLOW", "1"), 0);
    let note = note();
    let results = tokio::join!(
        tls12.peer(&gate).over_tls_1_2().takes(&note),
        signed.peer(&gate).self_signed("haraka.strict.example"),
        grey.peer(&gate).greylisted(),
        small.peer(&gate).too_large(200_000, &["5.3.4"]),
        slow.peer(&gate).tarpitted(Duration::from_secs(2)),
        plain.peer(&gate).all_bodies("haraka", &version, &mut table),
    );
    let cases = [
        ("TLS 1.2 only", results.0),
        ("self-signed certificate", results.1),
        ("greylisting", results.2),
        ("size limit, by SIZE", results.3),
        ("tarpitting", results.4),
    ];
    table.rows("haraka", &version, cases);
    table.judge();
}
