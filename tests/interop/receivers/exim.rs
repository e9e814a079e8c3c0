//! Exim, which does TLS by GnuTLS.

use std::path::Path;
use std::time::Duration;

use postern_lab::Identity;

use super::{Case, note};
use crate::exim::{self, Exim};
use crate::gate::{Gate, Place};
use crate::mailbox::Ends;
use crate::server;
use crate::table::Table;

/// With these main options, these statements before a recipient is accepted, and this certificate.
fn start(gate: &Gate, case: &str, options: &str, acl: &str, own: Option<Identity>) -> Case<Exim> {
    let place = gate.place(&format!("exim.{case}.example"));
    let folder = server::folder("exim-");
    let identity = own.unwrap_or_else(|| gate.ca.issue(&[&place.host]));
    identity.write(folder.path(), "mx");
    let config = config(folder.path(), &place, options, acl);
    let server = Exim::start(folder, &config, place.addr);
    Case {
        place,
        mail: server.dir().join("mail"),
        ends: Ends::Lf,
        server,
    }
}

fn config(dir: &Path, place: &Place, options: &str, acl: &str) -> String {
    format!(
        "{}{options}
tls_advertise_hosts = *
tls_certificate = {2}/mx.pem
tls_privatekey = {2}/mx.key
acl_smtp_rcpt = rcpt
begin acl
rcpt:
{acl}
  accept domains = {3} : *.example
begin routers
all:
  driver = accept
  transport = box
begin transports
{}",
        exim::main_section(dir, &place.host, place.addr),
        exim::maildir_transport(dir, "box"),
        dir.display(),
        place.domain,
    )
}

#[tokio::test]
async fn exim() {
    let version = Exim::version();
    if let Some(why) = server::may_unshare() {
        return Table::not_run("exim", &version, &why);
    }
    let (gate, mut table) = (Gate::start().await, Table::default());
    let new = |case, options, acl| start(&gate, case, options, acl, None);
    let plain = new("plain", "", "");
    let tls12 = new("tls12", TLS_1_2, "");
    let own = Identity::self_signed(&["mx.exim.loose.example"]);
    let signed = start(&gate, "loose", "", "", Some(own));
    let grey = new("grey", "", GREY);
    let small = new("small", "message_size_limit = 100K", "");
    let single = new("single", "", SINGLE);
    let slow = new("slow", "", "  warn delay = 2s");
    let note = note();
    let results = tokio::join!(
        tls12.peer(&gate).over_tls_1_2().takes(&note),
        signed.peer(&gate).self_signed("exim.strict.example"),
        grey.peer(&gate).greylisted(),
        small.peer(&gate).too_large(200_000, &["5.3.4"]),
        single.peer(&gate).one_by_one(),
        slow.peer(&gate).tarpitted(Duration::from_secs(2)),
        plain.peer(&gate).all_bodies("exim", &version, &mut table),
    );
    let cases = [
        ("TLS 1.2 only", results.0),
        ("self-signed certificate", results.1),
        ("greylisting", results.2),
        ("size limit, by SIZE", results.3),
        ("one recipient a transaction", results.4),
        ("tarpitting", results.5),
    ];
    table.rows("exim", &version, cases);
    let log = single.server.log();
    table.logged("exim", &version, &log, "One recipient at a time");
    table.judge();
}

/// A GnuTLS priority string.
const TLS_1_2: &str = "tls_require_ciphers = NORMAL:-VERS-ALL:+VERS-TLS1.2";

const GREY: &str = "  defer !seen = -1s / key=$sender_address-$local_part@$domain
    message = 451 4.7.1 Greylisted, try again";

const SINGLE: &str = "  defer condition = ${if >{$rcpt_count}{1}}
    message = 452 4.5.3 One recipient at a time";
