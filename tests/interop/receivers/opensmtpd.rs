//! OpenSMTPD, as Debian 12 ships it and with its handshake mended (`opensmtpd.rs` says why).

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use postern_lab::Identity;

use super::{Case, note};
use crate::gate::{Gate, Place};
use crate::mailbox::Ends;
use crate::opensmtpd::{Build, OpenSmtpd};
use crate::server;
use crate::table::Table;

/// With these lines, this filter at each recipient, and this certificate.
fn start(
    gate: &Gate,
    case: &str,
    build: Build,
    (lines, filter): (&str, Option<&str>),
    own: Option<Identity>,
) -> Case<OpenSmtpd> {
    let place = gate.place(&format!("opensmtpd.{case}.example"));
    let folder = server::folder("opensmtpd-");
    // Its privilege separation knows RSA keys, and with OpenSSL 3 the shim only those.
    let identity = own.unwrap_or_else(|| gate.ca.rsa(2048).issue(&[&place.host]));
    let files = identity.write(folder.path(), "mx");
    std::fs::set_permissions(files.private_key, PermissionsExt::from_mode(0o600)).unwrap();
    let script = folder.path().join("filter.sh");
    std::fs::write(&script, FILTER).unwrap();
    std::fs::set_permissions(script, PermissionsExt::from_mode(0o755)).unwrap();
    let config = config(folder.path(), &place, lines, filter);
    let server = OpenSmtpd::start(folder, build, &config, place.addr);
    Case {
        place,
        mail: server.dir().join("mail"),
        ends: Ends::Lf,
        server,
    }
}

fn config(dir: &Path, place: &Place, lines: &str, filter: Option<&str>) -> String {
    let Place { host, addr, .. } = place;
    let dir = dir.display();
    let (define, apply) = match filter {
        Some(kind) => (
            format!("filter \"own\" proc-exec \"{dir}/filter.sh {kind}\""),
            "filter \"own\"",
        ),
        None => (String::new(), ""),
    };
    format!(
        r#"pki "mx" cert "{dir}/mx.pem"
pki "mx" key "{dir}/mx.key"
{lines}
{define}
table users {{ "@" = "mailbox" }}
listen on {} port {} tls pki "mx" hostname {host} {apply}
action "in" maildir "{dir}/mail/box" user mailbox virtual <users>
match from any for any action "in"
"#,
        addr.ip(),
        addr.port()
    )
}

/// A filter for smtpd-filters(7): puts each recipient off once, or answers slowly.
const FILTER: &str = r#"#!/bin/sh
seen=" "
while IFS="|" read -r kind version time system phase session token rcpt; do
  case "$kind" in
  config) [ "$version" != ready ] || printf "register|filter|smtp-in|rcpt-to\nregister|ready\n" ;;
  filter)
    answer=proceed
    if [ "$1" = slow ]; then sleep 2; else
      case "$seen" in *" $rcpt "*) ;; *) answer="reject|451 4.7.1 Greylisted, try again" ;; esac
    fi
    seen="$seen$rcpt "
    echo "filter-result|$session|$token|$answer" ;;
  esac
done
"#;

#[tokio::test]
async fn opensmtpd() {
    let version = OpenSmtpd::version();
    if let Some(why) = server::may_unshare() {
        return Table::not_run("opensmtpd", &version, &why);
    }
    let (gate, mut table) = (Gate::start().await, Table::default());
    let new = |case, lines, filter| start(&gate, case, Build::Mended, (lines, filter), None);
    let plain = new("plain", "", None);
    let shipped = start(&gate, "shipped", Build::Shipped, ("", None), None);
    let tls12 = start(&gate, "tls12", Build::MendedTls12, ("", None), None);
    let own = Identity::self_signed_rsa(&["mx.opensmtpd.loose.example"], 2048);
    let signed = start(&gate, "loose", Build::Mended, ("", None), Some(own));
    let grey = new("grey", "", Some("grey"));
    let small = new("small", "smtp max-message-size 100K", None);
    let single = new("single", "smtp limit max-rcpt 1", None);
    let slow = new("slow", "", Some("slow"));
    let note = note();
    let results = tokio::join!(
        tls12.peer(&gate).over_tls_1_2().takes(&note),
        signed.peer(&gate).self_signed("opensmtpd.strict.example"),
        grey.peer(&gate).greylisted(),
        small.peer(&gate).too_large(200_000, &["5.3.4"]),
        single.peer(&gate).one_by_one(),
        slow.peer(&gate).tarpitted(Duration::from_secs(2)),
        plain
            .peer(&gate)
            .all_bodies("opensmtpd", &version, &mut table),
        shipped
            .peer(&gate)
            .fails_in_the_handshake("opensmtpd.opportunistic.example"),
    );
    let cases = [
        ("TLS 1.2 only", results.0),
        ("self-signed certificate", results.1),
        ("greylisting", results.2),
        ("size limit, by SIZE", results.3),
        ("one recipient a transaction", results.4),
        ("tarpitting", results.5),
        ("Debian's build unmended: each handshake fails", results.7),
    ];
    table.rows("opensmtpd", &version, cases);
    let log = shipped.server.log();
    table.logged("opensmtpd", &version, &log, "missing private key");
    table.judge();
}
