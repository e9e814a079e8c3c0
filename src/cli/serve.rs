//! `postern serve`.

use super::{Exit, output};
use crate::config::Config;
use crate::service;

pub(super) fn run(config: Config) -> Exit {
    match service::serve(config) {
        Ok(()) => Exit::Done,
        Err(e) => {
            output::complain_of(&e);
            if e.is_configuration() {
                Exit::Config
            } else {
                Exit::Failed
            }
        }
    }
}
