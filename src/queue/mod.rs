//! When: which message is attempted next, where, and how many at once.
//!
//! Owns the run loop from a due job over delivery and outcome back into the
//! spool. One dispatcher task holds all state; lane tasks, one a connection, make
//! the attempts. Holds always:
//! - no recipient is attempted twice at once: a message is taken for a host until
//!   its settlement is in the store;
//! - what is not held in memory is in the due index and has a hint of when, so
//!   dropping work is always safe, and memory is bounded by the constants here,
//!   not by the number of messages;
//! - an outcome is never lost: a settlement is repeated until the store takes it;
//! - no attempt can end the dispatcher: a panic in one is a deferral.
//!
//! Started by `service`; asked by `control` through [`Questions`].

mod attempt;
mod claims;
mod dispatcher;
mod event;
#[cfg(test)]
mod fixture;
mod hand;
mod health;
mod host;
mod hosts;
mod index;
mod lane;
mod lanes;
mod meters;
mod reload;
pub mod schedule;
mod settings;
mod shared;
mod site;
mod stats;
mod suspects;
#[cfg(test)]
mod tests;
mod timeline;
mod waiting;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::delivery::Deliver;
use crate::outcome::Outcome;
use crate::spool::{FreshReceiver, Store};
use crate::sys::{Clock, Entropy};
use crate::types::QueueId;

pub use hand::{Handled, Order, concerned};
pub use meters::write_figures;
pub use reload::Renewal;
pub use settings::Settings;
pub use stats::{SiteError, SiteStats};

use dispatcher::Dispatcher;
use shared::Shared;

/// What the queue is made of.
pub struct Queue {
    /// When and how many.
    pub settings: Settings,
    /// Where messages lie.
    pub store: Arc<dyn Store>,
    /// What was accepted just now.
    pub fresh: FreshReceiver,
    /// Who makes attempts.
    pub deliver: Arc<dyn Deliver>,
    /// What follows from them.
    pub outcome: Arc<Outcome>,
    /// The date.
    pub clock: Arc<dyn Clock>,
    /// Jitter.
    pub entropy: Arc<dyn Entropy>,
    /// Turns true, or is dropped, when the queue is to end.
    pub shutdown: watch::Receiver<bool>,
}

impl Queue {
    /// Starts the dispatcher; needs a tokio runtime.
    #[must_use]
    pub fn start(self) -> QueueHandle {
        let (questions, asked) = mpsc::channel(8);
        let shared = Arc::new(Shared::new(
            self.settings,
            self.store,
            self.deliver,
            self.outcome,
            self.clock,
            self.entropy,
        ));
        let dispatcher = Dispatcher::new(shared);
        let task = tokio::spawn(dispatcher.run(self.fresh, asked, self.shutdown));
        QueueHandle {
            task,
            questions: Questions(questions),
        }
    }
}

/// A running queue.
#[derive(Debug)]
pub struct QueueHandle {
    task: JoinHandle<()>,
    questions: Questions,
}

/// The way to ask a running queue.
#[derive(Debug, Clone)]
pub struct Questions(mpsc::Sender<Question>);

/// What the dispatcher can be asked.
#[derive(Debug)]
enum Question {
    Stats(oneshot::Sender<Vec<SiteStats>>),
    Hand(Order, hand::Answer),
    Renew(Box<Renewal>, oneshot::Sender<()>),
}

impl QueueHandle {
    /// Waits until the queue has ended: after `shutdown`, and at most 10 s for the
    /// attempts under way.
    pub async fn join(self) {
        if let Err(error) = self.task.await {
            tracing::error!("the queue has ended: {error}");
        }
    }

    /// The way to ask it, for as many as want to.
    #[must_use]
    pub fn questions(&self) -> Questions {
        self.questions.clone()
    }
}

impl Questions {
    /// What the queue is doing, site by site, for `queue stats`; empty when it has
    /// ended.
    pub async fn stats(&self) -> Vec<SiteStats> {
        self.ask().await.unwrap_or_default()
    }

    /// The same; `None` when it has ended.
    pub async fn ask(&self) -> Option<Vec<SiteStats>> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Question::Stats(answer)).await.ok()?;
        answered.await.ok()
    }

    /// Gives it new settings; answered when every attempt that begins goes by them.
    pub async fn renew(&self, renewal: Renewal) {
        let (answer, answered) = oneshot::channel();
        let question = Question::Renew(Box::new(renewal), answer);
        if self.0.send(question).await.is_ok() {
            // A queue that has ended meanwhile needs no settings.
            let _ = answered.await;
        }
    }

    /// Has an operator's order carried out; what became of each of its messages.
    /// What is being attempted is left as it is and said to be busy. `None`: the
    /// queue has ended, or an internal fault left some of it undone.
    pub async fn hand(&self, order: Order) -> Option<Vec<(QueueId, Handled)>> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Question::Hand(order, answer)).await.ok()?;
        answered.await.ok()
    }
}
