//! The lab: the outside world for Postern's tests, demo and benchmark, on loopback.
//!
//! It plays DNS, certificate authorities, MX hosts and submitting clients, and runs the daemon as
//! a child process. It knows nothing of the `postern` crate: what it says and expects comes from
//! the RFCs, so that a misunderstanding in the product is not repeated in its tests.
//!
//! How a test uses it:
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use postern_lab::{Ca, Client, ClientTls, Daemon, DnsServer, SmtpServer, free_port, loopback};
//! # let (ip, port, submission) = (loopback(), free_port(), "127.0.0.1:1587".parse().unwrap());
//! let ca = Ca::new();
//! let dns = DnsServer::start("127.0.0.1:0".parse().unwrap());
//! dns.mx("clinic.example", 10, "mx.clinic.example").a("mx.clinic.example", ip);
//! let mx = SmtpServer::builder((ip, port).into()).identity(ca.issue(&["mx.clinic.example"])).start();
//! let mut daemon = Daemon::new("target/debug/postern");
//! daemon.config(&format!("dns.servers = ['{}']\ndelivery.port = {port}\n# ...", dns.addr())).start().await;
//! let mut client = Client::connect(submission).await?;
//! client.greet("ward.example").await?;
//! client.starttls(&ClientTls::trusting(&ca), "relay.example").await?;
//! client.submit("dr@ward.example", &["p@clinic.example"], "Subject: hi\r\n\r\nhi\r\n").await?;
//! let got = mx.wait_messages(1, std::time::Duration::from_secs(5)).await;
//! assert_eq!(got[0].tls.as_ref().unwrap().version, "TLSv1.3");
//! assert_eq!(mx.violations(), Vec::<String>::new());
//! # Ok(()) }
//! ```
//!
//! | module | plays |
//! | --- | --- |
//! | `dns/` | a resolver whose zones are written in a line each |
//! | `ca.rs` | a certificate authority |
//! | `https.rs` | HTTPS servers with what domains publish there |
//! | `smtp/` | MX hosts with knobs, and servers that follow a script |
//! | `smuggle.rs` | false ends of messages, for smuggling |
//! | `client.rs` | a submitting client |
//! | `daemon.rs` | the daemon, as a child process |
//! | `cases.rs` | the files of `tests/dialogs` |
//! | `mta/` | other people's mail servers, from unpacked packages |
//! | `net.rs` | free ports and loopback addresses |
//! | `wire.rs`, `runtime.rs` | what these stand on: a connection with TLS, the lab's threads |

#![forbid(unsafe_code)]

mod ca;
mod cases;
mod client;
mod daemon;
mod dns;
mod https;
pub mod mta;
mod net;
mod runtime;
mod smtp;
mod smuggle;
mod wire;

pub use ca::{Ca, Identity, IdentityFiles};
pub use cases::{cases, lines, unescape};
pub use client::{Client, ClientTls, Reply};
pub use daemon::Daemon;
pub use dns::DnsServer;
pub use https::{Asked, HttpsServer, POLICY_PATH, Page};
pub use net::{free_port, loopback};
pub use smtp::{
    Dialog, DialogServer, Intolerance, LenientServer, Received, SmtpBuilder, SmtpServer, Stage,
    Taken, TlsVersion,
};
pub use smuggle::{FALSE_ENDS, FalseEnd};
pub use wire::TlsSeen;
