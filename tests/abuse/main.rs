//! Load and abuse: what many hostile clients at once do to the real daemon, and to an honest
//! sender meanwhile.
//!
//! Each scene has a daemon with the default limits (but for what it says) and runs alone. While
//! the attack goes on, an account submits and a listed network relays, each again and again, and
//! the daemon's memory, files and disk are watched. Every scene has a small form, which CI runs,
//! and a full one, for the figures of docs/attacks.md:
//!
//! ```sh
//! cargo build --release --locked
//! POSTERN_ABUSE=full POSTERN_BINARY=target/release/postern \
//!     cargo test --locked --test abuse -- --nocapture
//! ```
//!
//! | file | shows |
//! | --- | --- |
//! | `loris.rs` | a thousand connections that say an octet now and then, in every phase |
//! | `floods.rs` | recipients, logins, commands, connections without end |
//! | `messages.rs` | messages of 5 GB, of 100,000 fields, nested 10,000 deep |
//! | `scene.rs`, `watch.rs` | the daemon, the honest senders, the gauges |

// Test code, though clippy knows only #[test] functions as such; clients here are no room's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod floods;
mod loris;
mod messages;
mod scene;
mod watch;
#[path = "../e2e/world.rs"]
#[allow(dead_code)]
mod world;
