//! MTA-STS over real sockets: the matrix that a mail administrator can check
//! (`docs/sts-matrix.md`), and the attacks that it is there for (docs/attacks.md).

// A test may fail by panicking.
#![allow(clippy::unwrap_used, clippy::panic)]

mod attacks;
#[path = "../delivery_support/mod.rs"]
mod delivery_support;
mod matrix;
mod more;
mod world;
