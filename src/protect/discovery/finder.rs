//! Looking a key up: cache, turn, directory, store.
//!
//! Holds always: what the store takes is noted before anybody is told; whoever waits
//! for the same address gets the same answer; a look that is dropped midway has
//! changed nothing that another one would not.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::memory::{Key, Memory};
use super::meters::Meters;
use super::offered::{self, Became, Offered};
use super::pace::Pace;
use super::wkd::{self, Place};
use super::{Absent, Cause, Discover, Ended, Lookup, LookupError, Settings, Sought};
use crate::fetch::{Fetch, FetchError, Request};
use crate::protect::keys::KeyStore;
use crate::protect::openpgp::CERTIFICATE_MAX;
use crate::sys::metrics::Page;
use crate::sys::{Clock, Table};
use crate::types::{BoxFuture, Domain, Mailbox};

/// For one answer, from the first question to DNS to the last octet.
const ANSWER: Duration = Duration::from_secs(15);
/// Addresses being looked up, above which those that nobody waits for are cleared.
const SLOTS: usize = 1_000;

/// Looks keys up in Web Key Directories.
pub struct Finder {
    store: Arc<KeyStore>,
    asking: RwLock<Asking>,
    clock: Arc<dyn Clock>,
    memory: Arc<Memory>,
    pace: Pace,
    /// One look at a time for an address.
    slots: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>,
    meters: Meters,
}

/// What a reload changes.
#[derive(Clone)]
struct Asking {
    settings: Settings,
    fetch: Arc<dyn Fetch>,
}

impl fmt::Debug for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Finder({:?})", self.asking().settings)
    }
}

/// What an answer was, and from where.
struct Answer {
    host: Domain,
    octets: Result<Vec<u8>, FetchError>,
}

impl Finder {
    /// With what the table holds of earlier looks. Blocks.
    #[must_use]
    pub fn new(
        settings: Settings,
        fetch: Arc<dyn Fetch>,
        store: Arc<KeyStore>,
        table: Arc<dyn Table>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            memory: Arc::new(Memory::load(table, clock.now())),
            asking: RwLock::new(Asking { settings, fetch }),
            store,
            clock,
            pace: Pace::default(),
            slots: Mutex::default(),
            meters: Meters::default(),
        }
    }

    /// Goes by other settings, and asks by other means, from now on.
    pub fn renew(&self, settings: Settings, fetch: Arc<dyn Fetch>) {
        let asking = self.asking.write();
        *asking.unwrap_or_else(PoisonError::into_inner) = Asking { settings, fetch };
    }

    fn asking(&self) -> Asking {
        let asking = self.asking.read();
        asking.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks a key up now, whatever is remembered of earlier looks.
    pub async fn look(&self, recipient: &Mailbox) -> Lookup {
        let asking = self.asking();
        let ended = |absent| Lookup {
            host: None,
            ended: Ended::Absent(absent),
            offered: Vec::new(),
            fault: None,
        };
        if !asking.settings.wkd {
            return ended(Absent::Off);
        }
        let Some(domain) = recipient.domain() else {
            return ended(Absent::Literal);
        };
        let slot = self.slot(&Key::of_address(recipient));
        let _one = slot.lock().await;
        self.ask(recipient, domain, &asking).await
    }

    /// Looks a key up unless that was done lately.
    async fn find(&self, recipient: &Mailbox) -> Sought {
        let asking = self.asking();
        let (true, Some(domain)) = (asking.settings.wkd, recipient.domain()) else {
            return Sought::Looked;
        };
        let (address, site) = (Key::of_address(recipient), Key::of_domain(domain));
        let known = || {
            let now = self.clock.now();
            self.memory.known(&address, &site, &asking.settings, now)
        };
        if let Some(known) = known() {
            return known;
        }
        let slot = self.slot(&address);
        let _one = slot.lock().await;
        // Somebody else may have looked meanwhile.
        if let Some(known) = known() {
            return known;
        }
        let Some(_pass) = self.pace.enter(domain).await else {
            return self.ended(Ended::Failed(self.busy())).sought();
        };
        match known() {
            Some(known) => known,
            None => {
                let lookup = self.ask_directory(recipient, domain, &asking).await;
                lookup.ended.sought()
            }
        }
    }

    /// In its turn.
    async fn ask(&self, recipient: &Mailbox, domain: &Domain, asking: &Asking) -> Lookup {
        match self.pace.enter(domain).await {
            Some(_pass) => self.ask_directory(recipient, domain, asking).await,
            None => Lookup {
                host: None,
                ended: self.ended(Ended::Failed(self.busy())),
                offered: Vec::new(),
                fault: None,
            },
        }
    }

    fn busy(&self) -> LookupError {
        LookupError {
            cause: Cause::Busy,
            since: self.clock.now(),
        }
    }

    fn ended(&self, ended: Ended) -> Ended {
        self.meters.note(ended);
        ended
    }

    async fn ask_directory(&self, recipient: &Mailbox, domain: &Domain, asking: &Asking) -> Lookup {
        let answer = self.answer(recipient, domain, asking).await;
        let mut fault = None;
        let taken = match answer.octets {
            Ok(octets) => self.take(recipient, octets).await.map_err(|told| {
                fault = Some(told);
                Cause::Store
            }),
            Err(error) => match Absent::of(error) {
                Some(absent) => Ok((Ended::Absent(absent), Vec::new())),
                None => Err(error.into()),
            },
        };
        let (ended, offered) = match taken {
            Ok((ended, offered)) => {
                self.note(recipient, domain, ended, asking).await;
                (ended, offered)
            }
            Err(cause) => (self.note_failure(recipient, domain, cause), Vec::new()),
        };
        tell(domain, &offered);
        Lookup {
            host: Some(answer.host),
            ended: self.ended(ended),
            offered,
            fault,
        }
    }

    /// The advanced method, or the direct one where the other has no host.
    async fn answer(&self, recipient: &Mailbox, domain: &Domain, asking: &Asking) -> Answer {
        let (site, now) = (Key::of_domain(domain), self.clock.now());
        let settings = &asking.settings;
        let known = self.memory.lacks_advanced(&site, settings, now);
        let place = wkd::advanced(recipient.local(), domain).filter(|_| !known);
        if let Some(place) = place {
            let answer = get(place, &*asking.fetch).await;
            let is_there = answer.octets != Err(FetchError::NoHost);
            // DNS that fails tells nothing of either.
            if answer.octets != Err(FetchError::Dns) && self.memory.advanced(&site, is_there, now) {
                self.memory.store(vec![site], settings.cache).await;
            }
            if is_there {
                return answer;
            }
        }
        get(wkd::direct(recipient.local(), domain), &*asking.fetch).await
    }

    /// Hands what was fetched to the store; `Err`: what that says.
    async fn take(
        &self,
        recipient: &Mailbox,
        octets: Vec<u8>,
    ) -> Result<(Ended, Vec<Offered>), String> {
        let (store, now) = (Arc::clone(&self.store), self.clock.now());
        let recipient = recipient.clone();
        let taking =
            tokio::task::spawn_blocking(move || offered::take_in(&store, &recipient, &octets, now));
        let offered = match taking.await {
            Ok(Ok(offered)) => offered,
            Ok(Err(error)) => {
                tracing::warn!("a key that was found can't be stored: {error}");
                return Err(error.to_string());
            }
            // The library panicked at it; which is told by the log already.
            Err(_) => Vec::new(),
        };
        let ended = match offered.as_slice() {
            [] => Ended::Absent(Absent::NoCertificate),
            some if some.iter().any(|one| one.became.is_kept()) => Ended::Found,
            _ => Ended::Unusable,
        };
        Ok((ended, offered))
    }

    /// Remembers an answer.
    async fn note(&self, recipient: &Mailbox, domain: &Domain, ended: Ended, asking: &Asking) {
        let (address, site) = (Key::of_address(recipient), Key::of_domain(domain));
        let now = self.clock.now();
        let mut changed = Vec::new();
        let found = ended == Ended::Found;
        if let Ended::Absent(absent) = ended
            && absent.is_of_domain()
        {
            self.memory.answered(&site, false, now);
            changed.push(site);
        } else {
            let before = self.memory.answered(&address, found, now);
            if before && !found {
                tracing::info!("key no longer published: domain={domain}");
            }
            changed.push(address);
            if self.memory.well(&site) {
                changed.push(site);
            }
        }
        self.memory.store(changed, asking.settings.cache).await;
    }

    fn note_failure(&self, recipient: &Mailbox, domain: &Domain, cause: Cause) -> Ended {
        let key = match cause.is_of_domain() {
            true => Key::of_domain(domain),
            false => Key::of_address(recipient),
        };
        let (error, first) = self.memory.failed(&key, cause, self.clock.now());
        if first {
            tracing::info!("key lookup failed: domain={domain} reason=\"{cause}\"");
        }
        Ended::Failed(error)
    }

    fn slot(&self, address: &Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= SLOTS {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        slots.entry(address.clone()).or_default().clone()
    }

    #[cfg(test)]
    pub(super) fn memory_len(&self) -> usize {
        self.memory.len()
    }

    /// Writes the figures.
    pub fn write_figures(&self, page: &mut Page) {
        self.meters.write(page);
        page.gauge(
            "postern_key_lookups_remembered",
            "Addresses and domains that are remembered as looked up.",
            f64::from(u32::try_from(self.memory.len()).unwrap_or(u32::MAX)),
        );
    }
}

impl Discover for Finder {
    fn look_up<'a>(&'a self, recipient: &'a Mailbox) -> BoxFuture<'a, Sought> {
        Box::pin(self.find(recipient))
    }
}

async fn get(place: Place, fetch: &dyn Fetch) -> Answer {
    let request = Request {
        host: place.host.clone(),
        path: place.path,
        media_type: None,
        octets: CERTIFICATE_MAX,
        time: ANSWER,
    };
    let octets = fetch.get(request).await;
    Answer {
        host: place.host,
        octets,
    }
}

/// Tells the log what is new, by the domain and the key alone.
fn tell(domain: &Domain, offered: &[Offered]) {
    for Offered {
        fingerprint,
        became,
    } in offered
    {
        match became {
            Became::New => tracing::info!("key found: domain={domain} key={fingerprint}"),
            Became::Held => {
                tracing::warn!("key awaits approval: domain={domain} key={fingerprint}")
            }
            Became::Refused(_) | Became::TooLarge => tracing::info!(
                "key not taken: domain={domain} key={fingerprint} reason={}",
                became.as_str()
            ),
            Became::Kept | Became::PassedOver => {}
        }
    }
}
