//! The dispatcher with a scripted delivery and a store in memory, under tokio's
//! paused clock.

mod ends;
mod hand;
mod limits;
mod trouble;
mod waits;
pub(super) mod world;
