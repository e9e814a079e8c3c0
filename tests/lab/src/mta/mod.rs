//! Other people's mail servers, from unpacked Debian packages, for the interop tests and the
//! benchmark.
//!
//! Debian's mail servers exclude one another as packages, so none is installed: `tests/run
//! interop` unpacks them into `tests/interop/.unpacked`, and each is run on a temporary folder,
//! in the foreground, as root. Whoever starts one writes what it is to do; what it needs in order
//! to run at all is written here.
//!
//! | module | runs |
//! | --- | --- |
//! | `server.rs` | any server, so that nothing stays behind |
//! | `postfix.rs`, `exim.rs`, `opensmtpd.rs` | these three |

pub mod exim;
pub mod opensmtpd;
pub mod postfix;
pub mod server;
