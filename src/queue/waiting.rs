//! What the dispatcher does with the due index: pages of work, and sweeps of what
//! waits.
//!
//! Holds always: an entry that is taken is not taken again; a host is swept only
//! while its entries wait, and nothing of it is taken meanwhile; a suspect goes
//! to the line of those that go alone.

use std::sync::Arc;
use std::time::Duration;

use crate::types::{Failure, Host, Reason, Stage};

use super::attempt::Work;
use super::dispatcher::Dispatcher;
use super::event::{Event, Role};
use super::host::GATE_MAX;
use super::hosts::ROOM_PAUSE;
use super::index::{self, Page, Swept};

/// Entries read from the index at a time, and while many works are ready.
const PAGE: usize = 128;
const SMALL_PAGE: usize = 24;
/// As many are many.
const MANY_READY: usize = 10_000;
/// Between sweeps of a host at least, and before the first.
pub(super) const SWEEP_PAUSE: Duration = Duration::from_secs(5 * 60);

impl Dispatcher {
    pub(super) fn read(&mut self, host: Host) {
        let taken = self.hosts.get(&host).map_or(0, |h| h.taken.len());
        // A page for each of ten thousand hosts would be memory, and no faster.
        let page = match self.ready < MANY_READY {
            true => PAGE,
            false => SMALL_PAGE,
        };
        let limit = taken + page;
        let shared = Arc::clone(&self.shared);
        self.spawn(Role::Read(host.clone()), async move {
            let page = index::page(&shared, &host, limit).await;
            Event::Page(host, page)
        });
    }

    fn read_ended(&mut self, name: &Host) {
        if let Some(next) = self.reads.leave() {
            self.read(next);
        }
        let host = self.host(name);
        host.reading = false;
        host.sweeping = false;
    }

    /// Part of the index was read.
    pub(super) fn page_read(&mut self, name: &Host, page: Page) {
        self.read_ended(name);
        let now = self.shared.now();
        let host = self.host(name);
        host.more = page.more;
        host.read_until = host.read_until.max(page.until.min(now));
        for due in page.due {
            let work = Work {
                id: due.id,
                host: name.clone(),
                job: None,
                until: page.until,
            };
            let is_suspect = self.suspects.contains(&due.id);
            if self.host(name).taken.contains(&due.id) {
                continue;
            }
            if is_suspect {
                self.host(name).taken.insert(due.id);
                self.alone.push_back(work);
            } else {
                self.make_ready(work);
            }
        }
        if let Some(next) = page.next {
            self.hint(name, next);
        }
        if page.more {
            // A site that can't keep up is swept like one in backoff (E57).
            self.sweeps.lower(name, now + SWEEP_PAUSE);
        }
        self.serve(name);
    }

    /// Sweeps a host if its entries still wait.
    pub(super) fn sweep(&mut self, name: &Host) {
        let now = self.shared.now();
        let Some(host) = self.hosts.get_mut(name) else {
            return;
        };
        if !host.waiting && !host.more {
            return;
        }
        if host.reading || self.reads.running >= GATE_MAX {
            self.sweeps.lower(name, now + ROOM_PAUSE);
            return;
        }
        host.reading = true;
        host.sweeping = true;
        self.reads.running += 1;
        let (taken, site) = (host.taken.clone(), host.site.as_ref());
        let last = site.and_then(|site| self.sites.get(site)?.backoff.last.as_ref());
        // A reply can name another message's recipient, so it stays behind.
        let why = last.map_or_else(congested, |(_, failure)| Failure {
            reply: None,
            ..failure.clone()
        });
        let shared = Arc::clone(&self.shared);
        let host = name.clone();
        self.spawn(Role::Read(host.clone()), async move {
            let swept = index::sweep(shared, &host, &taken, &why).await;
            Event::Swept(host, swept)
        });
    }

    /// A sweep has ended.
    pub(super) fn swept(&mut self, name: &Host, swept: &Swept) {
        self.read_ended(name);
        let now = self.shared.now();
        if swept.more {
            self.sweeps.lower(name, now + ROOM_PAUSE);
        } else if let Some(look) = swept.look {
            self.sweeps.lower(name, look.max(now + SWEEP_PAUSE));
        }
        if let Some(next) = swept.next {
            self.hint(name, next);
        }
        self.serve(name);
    }
}

/// Why messages wait at a site that takes mail more slowly than it comes in.
fn congested() -> Failure {
    Failure {
        reason: Reason::Deferred,
        stage: Stage::Connect,
        status: "4.4.5".to_owned(),
        reply: None,
    }
}
