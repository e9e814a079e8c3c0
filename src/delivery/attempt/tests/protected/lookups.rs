//! Keys that delivery looks for: found, not there, or nobody can say.

use super::*;
use crate::protect::discovery::{Cause, Discover, LookupError, Sought};

/// Says what it is told to of every address, and adds a key to the store if it has one.
#[derive(Debug)]
struct Says(Sought, Option<(PathBuf, Vec<u8>)>);

impl Discover for Says {
    fn look_up<'a>(&'a self, _: &'a Mailbox) -> BoxFuture<'a, Sought> {
        if let Some((path, octets)) = &self.1 {
            std::fs::write(path, octets).unwrap();
        }
        Box::pin(std::future::ready(self.0))
    }
}

fn failed() -> Sought {
    Sought::Failed(LookupError {
        cause: Cause::Busy,
        since: Timestamp::from_micros(1),
    })
}

/// One attempt at an age, with somebody who looks keys up.
async fn looking(keys: &Keys, says: Says, age: Duration, attempts: u32) -> (Report, FarSide) {
    let mx = FarSide::new(None);
    let world = World::new(Ca::new(), &[&mx]).methods(&["pgp", "bounce"]);
    let protector = Arc::into_inner(keys.protector(&both())).unwrap();
    let protector = Arc::new(protector.finding(Arc::new(says)));
    let deliverer = world.deliverer().0.protecting(protector);
    let mut job = job_of(&["anna"], letter());
    let mut message = Message::clone(&job.message);
    message.received_at = SystemClock.now() - age;
    job.message = Arc::new(message);
    job.recipients[0].attempts = attempts;
    let report = attempt(&deliverer, &job, &mut Lane::default()).await;
    (report, mx)
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_key_that_is_found_is_used() {
    let keys = Keys::new();
    let cert = builder("anna").generate().unwrap().0;
    let path = keys.folder().join("recipients/found.asc");
    let says = Says(Sought::Looked, Some((path, armored(&cert))));
    let (report, mx) = looking(&keys, says, MINUTE, 0).await;
    assert_eq!(fates(&report), ["delivered"]);
    assert_eq!(received(&mx)[0].1, "pgp");
    // Nothing there: no key, at once.
    let (report, _) = looking(&Keys::new(), Says(Sought::Looked, None), MINUTE, 0).await;
    assert_eq!(fates(&report), ["bounced no-key 5.7.0"]);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_fails_is_waited_for_as_long_as_patience_lasts() {
    let keys = Keys::new();
    for (age, attempts, fate) in [
        (MINUTE, 0, "deferred key-lookup 4.7.0"),
        (14 * MINUTE, 3, "deferred key-lookup 4.7.0"),
        (16 * MINUTE, 3, "bounced key-lookup 4.7.0"),
    ] {
        let (report, mx) = looking(&keys, Says(failed(), None), age, attempts).await;
        assert_eq!(fates(&report), [fate], "{age:?}");
        assert!(!mx.heard_any("MAIL"));
        assert!(report.recipients[0].waiting.answered || fate.starts_with("bounced"));
    }
    assert_eq!(
        passed(
            &looking(&keys, Says(failed(), None), 16 * MINUTE, 3).await.0,
            0
        ),
        "pgp:key-lookup pgp:patience-over"
    );
    // Who had a key has one still: that waits for as long as the message lives.
    let expired = builder("anna")
        .set_creation_time(days_ago(400))
        .set_validity_period(Duration::from_secs(86_400 * 30));
    keys.put("anna.asc", &armored(&expired.generate().unwrap().0));
    let (report, _) = looking(&keys, Says(failed(), None), 16 * MINUTE, 3).await;
    assert_eq!(fates(&report), ["deferred key-lookup 4.7.0"]);
    // And a usable one is used whatever becomes of the look.
    let keys = Keys::new();
    keys.pgp("anna");
    let (report, _) = looking(&keys, Says(failed(), None), MINUTE, 0).await;
    assert_eq!(fates(&report), ["delivered"]);
}
