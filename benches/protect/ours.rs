//! Postern's part: what delivery calls, and nothing else.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::sys::resource::UsageWho;
use postern::protect::{openpgp, smime};
use postern::sys::{Clock, SystemClock, SystemEntropy};
use postern::types::Mailbox;
use postern::types::SmimeCipher;

use crate::keys::{Keys, RECIPIENT};
use crate::measure::{self, Figures};

/// What a child is to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Order {
    method: String,
    message: PathBuf,
    folder: PathBuf,
    times: u32,
    #[arg(long)]
    signed: bool,
}

pub(crate) fn arguments(
    method: &str,
    signed: bool,
    message: &Path,
    times: u32,
    keys: &Keys,
) -> Vec<String> {
    let mut words = vec![
        "ours".to_owned(),
        method.to_owned(),
        message.display().to_string(),
        keys.folder.display().to_string(),
        times.to_string(),
    ];
    words.extend(signed.then(|| "--signed".to_owned()));
    words
}

pub(crate) fn run(order: &Order) -> Figures {
    let read = |name: &str| std::fs::read(order.folder.join(name)).expect("a key can be read");
    let message = std::fs::read(&order.message).expect("the message can be read");
    let (entropy, now) = (SystemEntropy::default(), SystemClock.now());
    let anna = Mailbox::parse(RECIPIENT).expect("an address");
    if order.method == "pgp" {
        let to = openpgp::Certificate::read(&read("to.asc")).expect("a certificate");
        let to = to[0].usable_for(&anna, now).expect("it can be used");
        let signer = openpgp::Signer::read(&read("from.asc")).expect("a key");
        let signer = order.signed.then_some(&signer);
        return timed(order.times, || {
            openpgp::protect(&message, &to, signer, now, &entropy)
                .expect("it is protected")
                .octets
        });
    }
    let to = smime::Certificate::read(&read("to.pem")).expect("a certificate");
    let to = to[0].usable_for(&anna, true, &smime::Authorities::default(), now);
    let to = to.expect("it can be used");
    let signer = smime::Signer::read(&read("from.pem"), &read("from.key")).expect("a key");
    let signer = order.signed.then_some(&signer);
    timed(order.times, || {
        smime::protect(&message, &to, signer, SmimeCipher::default(), now, &entropy)
            .expect("it is protected")
            .octets
    })
}

/// The mean of so many; the first one counts, as it does in a process that was just started.
fn timed(times: u32, mut protect: impl FnMut() -> Vec<u8>) -> Figures {
    let (start, cpu) = (Instant::now(), measure::cpu(UsageWho::RUSAGE_SELF));
    let mut out = 0;
    for _ in 0..times {
        out = black_box(protect()).len();
    }
    let cpu = measure::cpu(UsageWho::RUSAGE_SELF) - cpu;
    Figures {
        wall: start.elapsed() / times,
        cpu: cpu / times,
        peak: measure::peak(UsageWho::RUSAGE_SELF),
        out: out as u64,
    }
}
