//! `queue stats`: what waits, by state, age, site and domain.
//!
//! Holds always: totals come from figures that are kept; what has to be counted by
//! going over the index is kept for a while, so that a dashboard which asks every
//! second costs no more than one that asks every ten.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::answers::Answers;
use crate::control::{AgeStats, Answer, DomainStats, QueueStats, SiteStats};
use crate::queue::{SiteError, SiteStats as Site};
use crate::spool::{SpoolError, Survey};
use crate::types::{Host, Timestamp};

/// The last survey, and when it was made.
pub(super) type Surveyed = Arc<Mutex<Option<(Timestamp, Arc<Survey>)>>>;

/// How long a survey is good for.
const GOOD_FOR: Duration = Duration::from_secs(10);
/// Sites and domains that are named.
const NAMED: usize = 100;
/// Classes of age, in seconds.
const AGES: [(&str, u64); 4] = [
    ("<5m", 5 * 60),
    ("<1h", 60 * 60),
    ("<4h", 4 * 60 * 60),
    ("<1d", 24 * 60 * 60),
];

impl Answers {
    pub(super) async fn stats(&self) -> Result<Answer, String> {
        let counts = self.store.stats().await.map_err(|e| e.to_string())?;
        let survey = self.survey().await.map_err(|e| e.to_string())?;
        let queued = counts.recipients.saturating_sub(counts.held);
        let recipients = [
            ("queued", queued),
            ("held", counts.held),
            ("dead", counts.dead),
        ];
        let recipients = recipients.map(|(state, count)| (state.to_owned(), count));
        let names = AGES.iter().map(|(name, _)| *name).chain(["older"]);
        let ages = names.zip(&survey.by_age).map(|(age, messages)| AgeStats {
            age: age.to_owned(),
            messages: *messages,
        });
        Ok(Answer::Stats {
            stats: QueueStats {
                messages: counts.messages,
                recipients: BTreeMap::from(recipients),
                octets: counts.octets,
                oldest: counts.oldest.map(|at| at.to_string()),
                disk: counts.disk,
                ages: ages.collect(),
                sites: sites(self.queue.stats().await, &survey),
                domains: domains(&survey),
            },
        })
    }

    /// One survey at a time; the others wait for it.
    async fn survey(&self) -> Result<Arc<Survey>, SpoolError> {
        let mut last = self.surveyed.lock().await;
        let now = self.clock.now();
        if let Some((at, survey)) = last.as_ref()
            && now >= *at
            && now.since(*at) < GOOD_FOR
        {
            return Ok(Arc::clone(survey));
        }
        let moments = AGES.iter().map(|(_, seconds)| {
            let micros = i64::try_from(seconds * 1_000_000).unwrap_or(i64::MAX);
            Timestamp::from_micros(now.as_micros().saturating_sub(micros))
        });
        let survey = Arc::new(self.store.survey(moments.collect()).await?);
        *last = Some((now, Arc::clone(&survey)));
        Ok(survey)
    }
}

fn sites(sites: Vec<Site>, survey: &Survey) -> Vec<SiteStats> {
    let waiting: HashMap<&Host, u64> = survey.by_host.iter().map(|(h, n)| (h, *n)).collect();
    let mut sites: Vec<SiteStats> = sites
        .into_iter()
        .map(|site| SiteStats {
            waiting: site.hosts.iter().filter_map(|host| waiting.get(host)).sum(),
            site: site.site,
            connections: site.connections,
            ready: site.ready,
            backoff_until: site.backoff_until.map(|at| at.to_string()),
            last_error: site.last_error.as_ref().map(site_error),
        })
        .collect();
    sites.sort_by_key(|site| std::cmp::Reverse((site.waiting, site.ready)));
    sites.truncate(NAMED);
    sites
}

fn domains(survey: &Survey) -> Vec<DomainStats> {
    let mut hosts: Vec<&(Host, u64)> = survey.by_host.iter().collect();
    hosts.sort_by_key(|(_, waiting)| std::cmp::Reverse(*waiting));
    let named = hosts.into_iter().take(NAMED);
    named
        .map(|(host, waiting)| DomainStats {
            domain: host.to_string(),
            waiting: *waiting,
        })
        .collect()
}

/// `no-starttls (5.7.10)`, without remote text.
fn site_error(error: &SiteError) -> String {
    let code = error
        .code
        .map(|code| format!(" {code}"))
        .unwrap_or_default();
    format!("{} ({}{code})", error.reason, error.status)
}
