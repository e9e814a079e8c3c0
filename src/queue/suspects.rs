//! What was in flight when the last process ended uncleanly.
//!
//! Holds always: such a message's attempt is counted before it is made again, so
//! that one which crashes the process can't do it for ever; they go behind the
//! rest of the backlog and one at a time (design section 3.1). Called once, by the
//! dispatcher before its loop.

use std::collections::HashSet;
use std::time::Duration;

use crate::delivery::Lane;
use crate::outcome::Decision;
use crate::spool::SpoolError;
use crate::types::{QueueId, Reason};

use super::attempt::{deferral, job_of, settle};
use super::schedule;
use super::shared::Shared;

/// Before the store is asked again.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Counts the attempt of each suspect and moves it behind the rest.
pub(super) async fn raise(shared: &Shared, suspects: &HashSet<QueueId>) {
    for id in suspects {
        let stored = loop {
            match shared.store.load(*id).await {
                Ok(stored) => break Some(stored),
                Err(SpoolError::Full | SpoolError::Sick(_)) => {
                    tokio::time::sleep(STORE_PAUSE).await;
                }
                Err(SpoolError::Unknown | SpoolError::Damaged | SpoolError::Closed) => break None,
            }
        };
        let Some(stored) = stored else { continue };
        let now = shared.now();
        for (host, _) in stored.message.by_host() {
            // Only what was due can have been in flight.
            let (Some(job), later) = job_of(&stored, &host, |when| when <= now) else {
                continue;
            };
            let report = deferral(&job, now, Reason::Interrupted);
            let random = shared.random();
            let settings = &shared.settings;
            let decisions: Vec<Decision> = job
                .recipients
                .iter()
                .map(|r| schedule::interrupted(r, &job.message, now, settings, random))
                .collect();
            let settlement = shared.outcome.settle(&job, &report, &decisions).await;
            settle(shared, settlement, later, &mut Lane::default()).await;
        }
    }
}
