//! End to end: the daemon as an operator runs it, in a world that the lab plays.
//!
//! Every test has a daemon of its own, on a folder, ports and loopback addresses of its own, and
//! knows of it only the command line, the configuration and the wire. No foreign software is
//! needed, but for `order.rs` and `sandbox.rs`, which run the daemon under strace, `service.rs`,
//! where Python plays systemd, `prometheus.rs`, and `protect.rs`, where gpg and openssl play the
//! recipients; tests/run fetches these.
//!
//! | file | shows |
//! | --- | --- |
//! | `submit.rs`, `relay.rs` | who may hand in mail, and who may not |
//! | `operator.rs` | what the command line tells, and its exit codes |
//! | `transcript.rs`, `transcripts/` | what the command line says to an operator who errs |
//! | `queue_hand.rs` | the queue in an operator's hand: hold, release, retry, remove, bounce |
//! | `spool.rs` | the spool in hand: export under load, import on another host, check, a new master key |
//! | `keys.rs` | recipients' keys in hand: add, list, find, approve, remove |
//! | `discovery.rs` | that keys are found where domains publish them, and what is made of them |
//! | `reload.rs` | that SIGHUP swaps the configuration whole, or not at all |
//! | `smuggling.rs` | that one message stays one, whatever stands for its end, and behind us too |
//! | `delivery.rs` | that mail arrives as it was handed in |
//! | `test_message.rs` | what `postern test` tells, and what it sends |
//! | `undeliverable.rs` | what senders are told when it does not |
//! | `domain.rs` | that a domain which did TLS gets no cleartext, and what operators see and do |
//! | `observe.rs` | that `[security] observe` delivers past the configuration and tells what that would have done |
//! | `weak.rs` | that nothing leaves below the level asked for |
//! | `sts.rs` | that a domain's MTA-STS policy is found, held to and told of |
//! | `crash.rs`, `damage.rs`, `full.rs` | that what got 250 survives kill -9, a damaged disk, a full one |
//! | `audit.rs` | that the audit is one chain, and that a change in it is found |
//! | `order.rs` | that the journal is on the disk before the 250 is said |
//! | `logging.rs` | that the log has the words of docs/logging.md |
//! | `prometheus.rs` | that Prometheus takes metrics, rules and the dashboard's queries |
//! | `probe.rs` | what `explain --probe` says of far sides, and that none hears of mail |
//! | `foretold.rs` | that what `explain --probe` foretells is what a delivery does |
//! | `protect.rs` | that `pgp` and `smime` give each recipient what they alone can read |
//! | `refusals.rs` | that a key which can't be used never leads to clear text, and says why |
//! | `metrics.rs` | what monitoring sees, and that it is right |
//! | `service.rs`, `sandbox.rs` | the service manager's part: notices, sockets handed over, credentials; and its fences |
//! | `secrets.rs` | that no content and no password is found in files and logs |
//! | `world.rs`, `dsn.rs` | the world they live in, and a reader of delivery reports |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod audit;
mod clocks;
mod content;
mod crash;
mod damage;
mod delivery;
mod discovery;
mod domain;
mod dsn;
mod foretold;
mod full;
mod keys;
mod logging;
mod metrics;
mod observe;
mod operator;
mod order;
mod probe;
mod prometheus;
mod protect;
mod queue_hand;
mod refusals;
mod relay;
mod reload;
mod replay;
mod rules_stop;
mod sandbox;
mod secrets;
mod service;
mod smuggling;
mod spool;
mod sts;
mod submit;
#[path = "../protect_support/mod.rs"]
mod support;
mod test_message;
mod transcript;
mod undeliverable;
mod weak;
mod world;
