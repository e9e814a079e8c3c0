//! The queue in an operator's hand: selections, pages, and who did it.
//!
//! Holds always: a selection reaches only what was accepted before it was made, so
//! that the reports a `bounce` writes are not bounced by it; a page is bounded, so
//! that a large selection holds up nobody; what is being delivered is waited for
//! a moment and then named.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use nix::unistd::{Uid, User};

use super::answers::{Answers, filter};
use crate::control::{
    Answer, HAND_PAGE, HandRequest, HandResult, HandledMessage, NOTE_MAX, Selection, parse_id,
    parse_moment,
};
use crate::queue::{Handled, Order, concerned};
use crate::spool::{SpoolError, Stored};
use crate::types::{Action, Domain, Hand, QueueId, State, Timestamp};

/// How long messages under way are waited for, and how often they are looked at.
const PATIENCE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(250);

/// Who asks, as `id` prints it: `uid=1000(anna)`.
pub(super) fn actor(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("uid={uid}({})", user.name),
        _ => format!("uid={uid}"),
    }
}

/// A page of a selection, and where the next begins.
struct Page {
    ids: Vec<QueueId>,
    next: Option<String>,
}

impl Answers {
    pub(super) async fn hand(&self, asked: HandRequest, actor: &str) -> Result<Answer, String> {
        let now = self.clock.now();
        let until = asked.until.as_deref().map(|text| parse_moment(text, now));
        let until = until.transpose()?;
        if until.is_some_and(|until| until <= now) {
            return Err("the time until which to hold is past".to_owned());
        }
        if asked.reason.as_ref().is_some_and(|r| r.len() > NOTE_MAX) {
            return Err(format!("the reason is longer than {NOTE_MAX} octets"));
        }
        let hand = Hand {
            action: asked.action,
            until,
            // One line in the audit and in the queue's list.
            reason: asked.reason.map(|r| r.replace(char::is_control, " ")),
            actor: Some(actor.to_owned()),
        };
        let before = match &asked.select.before {
            Some(text) => text.parse().map_err(|_| "not a time".to_owned())?,
            None => now,
        };
        let domain = asked.select.filter.domain.as_deref().map(Domain::parse);
        let domain = domain.transpose().map_err(|e| e.to_string())?;
        let page = self.page(&asked.select, hand.action, before).await?;
        let messages = match asked.dry_run {
            true => self.dry_run(&page.ids, hand.action, domain).await,
            false => self.carry_out(&page.ids, hand, domain).await?,
        };
        Ok(Answer::Handled {
            messages,
            next: page.next,
            before: before.to_string(),
        })
    }

    async fn page(
        &self,
        select: &Selection,
        action: Action,
        before: Timestamp,
    ) -> Result<Page, String> {
        let mut page = Page {
            ids: Vec::new(),
            next: None,
        };
        if !select.ids.is_empty() {
            if select.ids.len() > HAND_PAGE {
                return Err(format!("more than {HAND_PAGE} ids in one request"));
            }
            for text in &select.ids {
                page.ids.push(parse_id(text)?);
            }
            let mut seen = HashSet::new();
            page.ids.retain(|id| seen.insert(*id));
            return Ok(page);
        }
        let mut filter = filter(select.filter.clone())?;
        filter.state = filter.state.or(match action {
            Action::Release => Some(State::Held),
            Action::Retry => Some(State::Queued),
            Action::Hold | Action::Remove | Action::Bounce => None,
        });
        let after = select.after.as_deref().map(parse_id).transpose()?;
        let listed = self.store.list(&filter, after, HAND_PAGE).await;
        let listed = listed.map_err(|e| e.to_string())?;
        let older = |stored: &&Stored| stored.message.received_at <= before;
        let ids = listed.iter().filter(older).map(|stored| stored.message.id);
        page.ids = ids.collect();
        let last = listed.last().filter(|_| listed.len() == HAND_PAGE);
        page.next = last
            .filter(|_| !page.ids.is_empty())
            .map(|stored| stored.message.id.to_string());
        Ok(page)
    }

    async fn dry_run(
        &self,
        ids: &[QueueId],
        action: Action,
        domain: Option<Domain>,
    ) -> Vec<HandledMessage> {
        let mut known = HashMap::new();
        for id in ids {
            let message = match self.store.load(*id).await {
                Ok(stored) => match concerned(&stored, action, domain.as_ref()).count() {
                    0 => told(*id, action, Handled::Nothing),
                    recipients => HandledMessage {
                        id: id.to_string(),
                        result: HandResult::Would,
                        recipients,
                        error: None,
                    },
                },
                Err(SpoolError::Unknown) => told(*id, action, Handled::Unknown),
                Err(error) => told(*id, action, Handled::Failed(error.to_string())),
            };
            known.insert(*id, message);
        }
        in_order(ids, known)
    }

    async fn carry_out(
        &self,
        ids: &[QueueId],
        hand: Hand,
        domain: Option<Domain>,
    ) -> Result<Vec<HandledMessage>, String> {
        let action = hand.action;
        let mut known = HashMap::new();
        let mut order = Order {
            hand,
            domain,
            ids: ids.to_vec(),
        };
        let mut waited = Duration::ZERO;
        while !order.ids.is_empty() {
            let handled = self.queue.hand(order.clone()).await.ok_or(
                "the daemon is stopping or has an internal fault; look at `postern queue list` \
                 for what was done",
            )?;
            order.ids.clear();
            for (id, handled) in handled {
                if handled == Handled::Busy && waited < PATIENCE {
                    order.ids.push(id);
                }
                known.insert(id, told(id, action, handled));
            }
            if !order.ids.is_empty() {
                tokio::time::sleep(STEP).await;
                waited += STEP;
            }
        }
        Ok(in_order(ids, known))
    }
}

fn in_order(ids: &[QueueId], mut known: HashMap<QueueId, HandledMessage>) -> Vec<HandledMessage> {
    ids.iter().filter_map(|id| known.remove(id)).collect()
}

fn told(id: QueueId, action: Action, handled: Handled) -> HandledMessage {
    let (result, recipients, error) = match handled {
        Handled::Done(recipients) => (HandResult::Done, recipients, None),
        Handled::Nothing => (HandResult::Nothing, 0, Some(nothing(action).to_owned())),
        Handled::Busy => {
            let text = "being delivered right now; try again";
            (HandResult::Busy, 0, Some(text.to_owned()))
        }
        Handled::Unknown => {
            let text = format!(
                "no such message is queued; `postern audit show {id}` tells what became of it"
            );
            (HandResult::Unknown, 0, Some(text))
        }
        Handled::Failed(error) => (HandResult::Failed, 0, Some(error)),
    };
    HandledMessage {
        id: id.to_string(),
        result,
        recipients,
        error,
    }
}

fn nothing(action: Action) -> &'static str {
    match action {
        Action::Release => "nothing of it is held",
        Action::Retry => "nothing of it waits (what is held is not retried but released)",
        Action::Hold | Action::Remove | Action::Bounce => "no recipient of it is open",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_a_stranger_a_number() {
        assert_eq!(actor(0), "uid=0(root)");
        assert_eq!(actor(4_000_000_000), "uid=4000000000");
    }
}
