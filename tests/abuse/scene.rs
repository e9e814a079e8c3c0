//! A daemon under attack, and the honest senders who need it meanwhile.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use postern_lab::{Client, ClientTls, loopback};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;

use crate::watch::{Peaks, Watch, now};
use crate::world::{ACCOUNT, PASSWORD, Plan, RELAY, SENDER, World, letter};

/// One scene at a time: each wants the machine for itself.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The account whose password the attackers have.
pub(crate) const STOLEN: &str = "stolen";

/// Whether the full form is asked for.
pub(crate) fn full() -> bool {
    std::env::var("POSTERN_ABUSE").is_ok_and(|v| v == "full")
}

/// One of two values, by the form.
pub(crate) fn size<T>(small: T, large: T) -> T {
    if full() { large } else { small }
}

pub(crate) struct Scene {
    pub(crate) world: World,
    name: String,
    before: Peaks,
    attackers: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    /// Where the honest account submits from.
    desk: IpAddr,
    _alone: MutexGuard<'static, ()>,
}

/// Times to 250, or what came instead.
pub(crate) type Served = Vec<Result<Duration, String>>;

/// What a scene came to.
pub(crate) struct Figures {
    pub(crate) before: Peaks,
    pub(crate) peaks: Peaks,
    /// Those who log in.
    pub(crate) accounts: Served,
    /// Those from a listed network.
    pub(crate) listed: Served,
}

impl Scene {
    /// A daemon with these further top-level keys.
    pub(crate) async fn start(name: &str, top: &str) -> Scene {
        let alone = ALONE.lock().await;
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        let plan = Plan {
            top: top.to_owned(),
            ..Plan::default()
        };
        let built = env!("CARGO_BIN_EXE_postern").to_owned();
        let binary = std::env::var("POSTERN_BINARY").unwrap_or(built);
        let mut world = World::with_binary(&plan, &binary);
        world.daemon.start().await;
        world.add_account(ACCOUNT, "@ward.example");
        world.add_account(STOLEN, "@ward.example");
        // It was here before the attack.
        let desk = loopback();
        submit(world.submission, desk).await.unwrap();
        let before = now(world.daemon.pid().unwrap(), &world.daemon.data_dir());
        Scene {
            world,
            name: name.to_owned(),
            before,
            attackers: Vec::new(),
            stop: Arc::default(),
            desk,
            _alone: alone,
        }
    }

    /// Lets one attacker loose; it goes on until it is cut off.
    pub(crate) fn attack(&mut self, attack: impl Future<Output = ()> + Send + 'static) {
        self.attackers.push(tokio::spawn(attack));
    }

    /// Lets the attack go on for a while, with honest senders about.
    pub(crate) async fn go_on(&mut self, span: Duration) -> Figures {
        let pid = self.world.daemon.pid().unwrap();
        let watch = Watch::start(pid, self.world.daemon.data_dir());
        let account = tokio::spawn(again(Arc::clone(&self.stop), {
            let (to, from) = (self.world.submission, self.desk);
            move || submit(to, from)
        }));
        let listed = tokio::spawn(again(Arc::clone(&self.stop), {
            let to = self.world.relay;
            move || relay(to)
        }));
        tokio::time::sleep(span).await;
        self.stop.store(true, Ordering::Relaxed);
        let (accounts, listed) = (account.await.unwrap(), listed.await.unwrap());
        let figures = Figures {
            before: self.before,
            peaks: watch.end(),
            accounts,
            listed,
        };
        eprintln!("{}", figures.row(&self.name));
        figures.tell_failures();
        figures
    }

    /// Ends the attack; what it held must be given back.
    pub(crate) async fn end(mut self) {
        for attacker in self.attackers.drain(..) {
            attacker.abort();
        }
        let pid = self.world.daemon.pid().unwrap();
        let begun = Instant::now();
        loop {
            let files = now(pid, &self.world.daemon.data_dir()).files;
            // A few of those who deliver the honest mail may be kept.
            if files <= self.before.files + 30 {
                break;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{}: still {files} open files, {} before",
                self.name,
                self.before.files
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        submit(self.world.submission, loopback()).await.unwrap();
        assert!(self.world.daemon.is_running());
    }
}

impl Figures {
    /// Nobody honest was kept waiting too long, or sent away.
    pub(crate) fn assert_served(&self, longest: Duration) {
        for (who, served) in [("account", &self.accounts), ("network", &self.listed)] {
            assert!(!served.is_empty(), "{who}: none was served");
            for time in served {
                let time = time.as_ref().unwrap_or_else(|e| panic!("{who}: {e}"));
                assert!(*time <= longest, "{who}: {time:?}");
            }
        }
    }

    /// The daemon took no more memory than this, beyond what it had.
    pub(crate) fn assert_memory(&self, mib: u64) {
        let grown = self.peaks.memory.saturating_sub(self.before.memory) / 1024;
        assert!(grown <= mib, "{grown} MiB");
    }

    /// Why some were not served, each reason once.
    fn tell_failures(&self) {
        let all = self.accounts.iter().chain(&self.listed);
        let mut reasons: Vec<&String> = all.filter_map(|s| s.as_ref().err()).collect();
        reasons.sort();
        for run in reasons.chunk_by(|a, b| a == b) {
            eprintln!("{} times: {}", run.len(), run[0]);
        }
    }

    fn row(&self, name: &str) -> String {
        format!(
            "| {name} | {} → {} MiB | {} | {} MiB | {} | {} |",
            self.before.memory / 1024,
            self.peaks.memory / 1024,
            self.peaks.files,
            self.peaks.disk >> 20,
            words(&self.accounts),
            words(&self.listed),
        )
    }
}

/// How many of how many, the time of the middle one and of the worst.
fn words(served: &Served) -> String {
    let mut times: Vec<Duration> = served.iter().flatten().copied().collect();
    times.sort();
    let all = served.len();
    match (times.get(times.len() / 2), times.last()) {
        (Some(middle), Some(worst)) => format!(
            "{} of {all}, {:.2} s, {:.2} s",
            times.len(),
            middle.as_secs_f64(),
            worst.as_secs_f64()
        ),
        _ => format!("0 of {all}"),
    }
}

async fn again<F>(stop: Arc<AtomicBool>, mut once: impl FnMut() -> F) -> Served
where
    F: Future<Output = Result<Duration, String>>,
{
    let mut served = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        served.push(once().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    served
}

/// One message by STARTTLS and a login, on a connection of its own.
pub(crate) async fn submit(to: SocketAddr, from: IpAddr) -> Result<Duration, String> {
    submit_as(ACCOUNT, to, from).await
}

/// The same by another account with the same password.
pub(crate) async fn submit_as(
    account: &str,
    to: SocketAddr,
    from: IpAddr,
) -> Result<Duration, String> {
    let begun = Instant::now();
    let mut client = login(account, to, from).await?;
    let data = letter("p@clinic.example", "honest", "Hello.\r\n");
    let reply = client.submit(SENDER, &["p@clinic.example"], data).await;
    served(reply, begun)
}

/// A client that has logged in.
pub(crate) async fn login(account: &str, to: SocketAddr, from: IpAddr) -> Result<Client, String> {
    let mut client = starttls(to, from).await?;
    let reply = client.auth_plain(account, PASSWORD).await.map_err(told)?;
    match reply.code {
        235 => Ok(client),
        _ => Err(format!("AUTH: {reply:?}")),
    }
}

/// A client under TLS.
pub(crate) async fn starttls(to: SocketAddr, from: IpAddr) -> Result<Client, String> {
    let mut client = Client::connect_from((from, 0).into(), to)
        .await
        .map_err(told)?;
    let reply = client.greet("desk.ward.example").await.map_err(told)?;
    if !reply.is_ok() {
        return Err(format!("greeting: {reply:?}"));
    }
    let tls = ClientTls::insecure();
    let reply = client.starttls(&tls, RELAY).await.map_err(told)?;
    if !reply.is_ok() {
        return Err(format!("STARTTLS: {reply:?}"));
    }
    client.line("EHLO desk.ward.example").await.map_err(told)?;
    Ok(client)
}

/// One message from the listed network.
async fn relay(to: SocketAddr) -> Result<Duration, String> {
    let begun = Instant::now();
    let from = "127.0.0.1:0".parse().unwrap();
    let mut client = Client::connect_from(from, to).await.map_err(told)?;
    client.greet("mta.ward.example").await.map_err(told)?;
    let data = letter("p@clinic.example", "honest", "Hello.\r\n");
    let reply = client.submit(SENDER, &["p@clinic.example"], data).await;
    served(reply, begun)
}

fn served(reply: std::io::Result<postern_lab::Reply>, begun: Instant) -> Result<Duration, String> {
    match reply {
        Ok(reply) if reply.code == 250 => Ok(begun.elapsed()),
        Ok(reply) => Err(format!("{reply:?}")),
        Err(error) => Err(told(error)),
    }
}

fn told(error: std::io::Error) -> String {
    error.to_string()
}
