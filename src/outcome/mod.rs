//! (skeleton)

mod settings;
pub use settings::*;
