//! A spool that comes back damaged: the index lost, cut or old, the journal's tail torn, one octet
//! of it flipped. Started again, every readable message arrives, and what isn't is named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use postern_lab::{Client, Stage};
use serde_json::Value;

use crate::world::{Plan, SENDER, SOON, World, letter, queue_id, wait};

const TO: &str = "p@clinic.example";
const MESSAGES: usize = 40;

/// A world whose far side is closed, with messages waiting: `X-Lab-Id` → queue id.
struct Waiting {
    world: World,
    ids: BTreeMap<String, String>,
}

impl Waiting {
    async fn new() -> Waiting {
        let world = World::start(&Plan::default()).await;
        world
            .far
            .change(|k| k.reply(Stage::Mail, "451 4.3.2 closed"));
        let mut waiting = Waiting {
            world,
            ids: BTreeMap::new(),
        };
        waiting.accept(MESSAGES).await;
        waiting
    }

    /// Hands in further messages: small ones, and now and then one that is stored in parts.
    async fn accept(&mut self, messages: usize) {
        let mut client = Client::connect(self.world.relay).await.unwrap();
        client.greet("mta.ward.example").await.unwrap();
        for _ in 0..messages {
            let n = self.ids.len();
            let size = if n % 10 == 5 { 30_000 } else { 20 };
            let data = [
                format!("X-Lab-Id: {n}\r\n").into_bytes(),
                letter(TO, "kept", body(n, size)),
            ]
            .concat();
            let reply = client.submit(SENDER, &[TO], data).await.unwrap();
            self.ids.insert(n.to_string(), queue_id(&reply));
        }
        client.quit().await.unwrap();
    }

    /// Starts the daemon again, opens the far side, and waits until the queue is empty.
    async fn revive(&mut self) {
        self.world.daemon.start().await;
        self.world.far.change(|k| k.clear());
        self.world.wait_empty_queue(SOON).await;
    }

    /// The `X-Lab-Id`s of what has not arrived; what has is whole.
    fn missing(&self) -> Vec<&String> {
        let arrived = self.world.far.messages();
        for message in &arrived {
            let n: usize = message.header("X-Lab-Id").unwrap().parse().unwrap();
            let size = if n % 10 == 5 { 30_000 } else { 20 };
            assert!(message.body() == body(n, size), "{n} is not whole");
        }
        let received = self.world.far.received_ids();
        self.ids
            .keys()
            .filter(|id| !received.contains(id))
            .collect()
    }

    async fn all_arrive(&mut self, what: &str) {
        self.revive().await;
        assert!(
            self.missing().is_empty(),
            "{what}: {:?} did not arrive\n{}",
            self.missing(),
            self.world.daemon.log()
        );
    }

    fn spool(&self) -> PathBuf {
        self.world.daemon.data_dir().join("spool")
    }

    /// The journal's segments in order.
    fn segments(&self) -> Vec<PathBuf> {
        let names = std::fs::read_dir(self.spool().join("seg"))
            .unwrap()
            .flatten();
        let numbered = |p: &PathBuf| p.file_name().unwrap().len() == 8;
        let mut all: Vec<PathBuf> = names.map(|e| e.path()).filter(numbered).collect();
        all.sort();
        all
    }
}

fn body(n: usize, lines: usize) -> Vec<u8> {
    (0..lines)
        .flat_map(|line| format!("{n} {line} the quick brown fox jumps over it\r\n").into_bytes())
        .collect()
}

/// The folder below this one in which sled keeps its `db` file.
fn sled_folder(folder: &Path) -> Option<PathBuf> {
    if folder.join("db").is_file() {
        return Some(folder.to_owned());
    }
    let entries = std::fs::read_dir(folder).ok()?.flatten().map(|e| e.path());
    entries
        .filter(|path| path.is_dir())
        .find_map(|path| sled_folder(&path))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn the_index_is_deleted() {
    let mut waiting = Waiting::new().await;
    waiting.world.daemon.kill9();
    std::fs::remove_dir_all(sled_folder(&waiting.spool()).expect("sled's folder")).unwrap();
    waiting.all_arrive("without an index").await;
}

#[tokio::test]
async fn the_index_is_deleted_after_a_good_end() {
    let mut waiting = Waiting::new().await;
    assert!(waiting.world.daemon.terminate().await.success());
    std::fs::remove_dir_all(sled_folder(&waiting.spool()).expect("sled's folder")).unwrap();
    waiting.all_arrive("without an index").await;
}

#[tokio::test]
async fn the_index_is_cut_short() {
    for keep in [0, 4096] {
        let mut waiting = Waiting::new().await;
        waiting.world.daemon.kill9();
        let db = sled_folder(&waiting.spool())
            .expect("sled's folder")
            .join("db");
        let file = std::fs::OpenOptions::new().write(true).open(&db).unwrap();
        file.set_len(keep).unwrap();
        waiting.all_arrive(&format!("index cut to {keep}")).await;
    }
}

#[tokio::test]
async fn the_index_is_replaced_by_an_older_copy() {
    for good_end in [false, true] {
        let mut waiting = Waiting::new().await;
        assert!(waiting.world.daemon.terminate().await.success());
        let folder = sled_folder(&waiting.spool()).expect("sled's folder");
        let older = waiting.world.daemon.dir().join("older");
        copy(&folder, &older);
        waiting.world.daemon.start().await;
        waiting.accept(20).await;
        match good_end {
            true => assert!(waiting.world.daemon.terminate().await.success()),
            false => waiting.world.daemon.kill9(),
        }
        std::fs::remove_dir_all(&folder).unwrap();
        copy(&older, &folder);
        waiting.all_arrive("an older index").await;
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_at_the_last_whole_record() {
    for what in ["zeros", "noise", "half a record"] {
        let mut waiting = Waiting::new().await;
        waiting.world.daemon.kill9();
        let last = waiting.segments().pop().expect("a segment");
        let whole = std::fs::read(&last).unwrap();
        let tail = match what {
            "zeros" => vec![0; 5_000],
            "noise" => (0u32..5_000)
                .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect(),
            _ => whole[..700].to_vec(),
        };
        std::fs::write(&last, [whole, tail].concat()).unwrap();
        waiting.all_arrive(what).await;
        // And once more: what was cut is gone.
        waiting.world.daemon.kill9();
        waiting.world.daemon.start().await;
        assert!(waiting.world.queue().is_empty());
    }
}

/// Whatever the octet belongs to, at most one message is lost, and then it is named.
#[tokio::test]
async fn one_octet_of_the_journal_is_flipped() {
    for tenth in [2, 5, 9] {
        let (flip, name) = (flip_at(tenth, 10), format!("an octet at {tenth} tenths"));
        damaged_journal(&name, flip).await;
    }
}

/// The end of the journal is gone: a disk that had lied about its flush.
#[tokio::test]
async fn the_end_of_the_journal_is_gone() {
    damaged_journal("100 octets", |octets| octets.truncate(octets.len() - 100)).await;
}

fn flip_at(part: usize, parts: usize) -> impl FnOnce(&mut Vec<u8>) {
    move |octets| {
        let at = octets.len() * part / parts;
        octets[at] ^= 0x10;
    }
}

/// Damages the journal, starts, and waits until each message has arrived or waits as unreadable;
/// then it, and what is missing altogether, must be named in the log.
async fn damaged_journal(what: &str, damage: impl FnOnce(&mut Vec<u8>)) {
    let mut waiting = Waiting::new().await;
    waiting.world.daemon.kill9();
    let first = waiting.segments().remove(0);
    let mut octets = std::fs::read(&first).unwrap();
    damage(&mut octets);
    std::fs::write(&first, octets).unwrap();
    let before = waiting.world.daemon.log().len();
    waiting.world.daemon.start().await;
    waiting.world.far.change(|k| k.clear());
    wait(SOON, "a queue of what can't be read", || {
        let queue = waiting.world.queue();
        let unreadable = |m: &Value| m["recipients"][0]["last_reply"] == "body-unreadable";
        queue.iter().all(unreadable)
    })
    .await;
    let log = waiting.world.daemon.log().split_off(before);
    let told: Vec<&str> = log.lines().filter(|l| tells_damage(l)).collect();
    assert!(!told.is_empty(), "{what}: not a word\n{log}");
    let missing = waiting.missing();
    assert!(missing.len() <= 1, "{what}: {missing:?}\n{log}");
    for id in missing {
        // Where the header of its record is broken or gone, its place has to do.
        let place = |l: &&str| l.contains("id=None") || l.contains("torn end");
        let named = |l: &&&str| l.contains(&waiting.ids[id]) || place(l);
        assert!(
            told.iter().any(|l| named(&l)),
            "{what}: {id} is not named\n{log}"
        );
    }
}

fn tells_damage(line: &str) -> bool {
    let bad = line.contains(" WARN ") || line.contains(" ERROR ");
    bad && (line.contains("damaged") || line.contains("torn"))
}

/// Without its key the spool is not readable, and a new key must not hide that (exit code 78).
#[tokio::test]
async fn a_spool_without_its_key_is_refused() {
    let mut waiting = Waiting::new().await;
    assert!(waiting.world.daemon.terminate().await.success());
    let key = waiting.world.daemon.data_dir().join("keys/master");
    let kept = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let error = waiting
        .world
        .daemon
        .try_start()
        .await
        .expect_err("it must not start");
    assert!(
        error.contains("78"),
        "{error}\n{}",
        waiting.world.daemon.log()
    );
    assert!(!key.exists(), "no new key is made over an old spool");
    std::fs::write(&key, kept).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    waiting.all_arrive("with its key again").await;
}
