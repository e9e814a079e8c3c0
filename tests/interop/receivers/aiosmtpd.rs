//! aiosmtpd, which can be set up for every case: one process of `receiver.py` with a server a
//! case, stored as it came.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_lab::Identity;
use serde_json::{Value, json};

use super::{Case, note};
use crate::gate::Gate;
use crate::mailbox::Ends;
use crate::server::{self, Server, System};
use crate::table::Table;

const PACKAGES: [&str; 3] = ["python3-aiosmtpd", "python3-attr", "python3-public"];

/// A server of the process, with these options; its entry in the file goes into the list.
fn case(
    gate: &Gate,
    (dir, list): (&Path, &mut Vec<Value>),
    name: &str,
    more: Value,
    own: Option<Identity>,
) -> Case<()> {
    let place = gate.place(&format!("aiosmtpd.{name}.example"));
    let identity = own.unwrap_or_else(|| gate.ca.issue(&[&place.host]));
    let files = identity.write(dir, name);
    let mail = dir.join(format!("mail-{name}"));
    let mut entry = json!({
        "host": place.host,
        "ip": place.addr.ip().to_string(),
        "port": place.addr.port(),
        "certificate": files.certificate,
        "key": files.private_key,
        "folder": mail,
    });
    if let (Some(entry), Value::Object(more)) = (entry.as_object_mut(), more) {
        entry.extend(more);
    }
    list.push(entry);
    Case {
        place,
        mail,
        ends: Ends::CrLf,
        server: (),
    }
}

/// Starts the process and waits for its last server, which stands for all.
fn start(folder: tempfile::TempDir, list: &[Value], last: std::net::SocketAddr) -> Server {
    let file = folder.path().join("servers.json");
    std::fs::write(&file, serde_json::to_vec(list).unwrap()).unwrap();
    let path: Vec<PathBuf> = PACKAGES
        .iter()
        .map(|package| server::unpacked(package).join("usr/lib/python3/dist-packages"))
        .collect();
    let path = std::env::join_paths(path).unwrap();
    let system = System {
        environment: &[("PYTHONPATH", &*path.to_string_lossy())],
        ..System::default()
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/receiver.py");
    let command = ["python3", "-W", "ignore", script, &*file.to_string_lossy()];
    Server::start(folder, &system, &command, &[last])
}

#[tokio::test]
async fn aiosmtpd() {
    let version = server::package_version(PACKAGES[0]);
    let (gate, mut table) = (Gate::start().await, Table::default());
    let (folder, mut list) = (server::folder("aiosmtpd-"), Vec::new());
    let dir = folder.path().to_owned();
    let own = Identity::self_signed(&["mx.aiosmtpd.loose.example"]);
    let signed = case(&gate, (&dir, &mut list), "loose", json!({}), Some(own));
    let mut new = |name, more| case(&gate, (&dir, &mut list), name, more, None);
    let plain = new("plain", json!({}));
    let tls12 = new("tls12", json!({"tls_1_2": true}));
    let grey = new("grey", json!({"greylist": true}));
    let small = new("small", json!({"size": 100_000}));
    let quiet = new("quiet", json!({"quiet_size": 100_000}));
    let single = new("single", json!({"single": true}));
    let slow = new("slow", json!({"delay": 0.7}));
    let _server = start(folder, &list, slow.place.addr);
    let note = note();
    let results = tokio::join!(
        tls12.peer(&gate).over_tls_1_2().takes(&note),
        signed.peer(&gate).self_signed("aiosmtpd.strict.example"),
        grey.peer(&gate).greylisted(),
        small.peer(&gate).too_large(200_000, &["5.3.4"]),
        quiet.peer(&gate).too_large(200_000, &["5.2.3", "552"]),
        single.peer(&gate).one_by_one(),
        slow.peer(&gate).tarpitted(Duration::from_secs(2)),
        plain
            .peer(&gate)
            .all_bodies("aiosmtpd", &version, &mut table),
    );
    let cases = [
        ("TLS 1.2 only", results.0),
        ("self-signed certificate", results.1),
        ("greylisting", results.2),
        ("size limit, by SIZE", results.3),
        ("size limit, by a code of its own", results.4),
        ("one recipient a transaction", results.5),
        ("tarpitting", results.6),
    ];
    table.rows("aiosmtpd", &version, cases);
    table.judge();
}
