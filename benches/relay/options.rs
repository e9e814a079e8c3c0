//! What the command line says: the benchmark's own options, and those of its child processes.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::message;

/// Sends the same load through Postern and its peers, and prints what it took.
#[derive(Debug, clap::Parser)]
#[command(name = "relay")]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// A server to compare with; needs its unpacked package (tests/run interop) and root.
    #[arg(long, value_enum)]
    pub(crate) peer: Vec<Peer>,

    /// A line for Postfix's main.cf, such as `in_flow_delay=0`; several may be given.
    #[arg(long)]
    pub(crate) postfix: Vec<String>,

    /// A case by its name; several may be given. See --list.
    #[arg(long = "case")]
    pub(crate) cases: Vec<String>,

    /// Every case, not only the first ones.
    #[arg(long)]
    pub(crate) all: bool,

    /// Prints the cases' names and ends.
    #[arg(long)]
    pub(crate) list: bool,

    /// How often each server runs each case, alternating.
    #[arg(long, default_value_t = 2)]
    pub(crate) rounds: u32,

    /// Messages of a round of the case 4k-20; other cases send more or less in proportion.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) messages: u64,

    /// The source waits for each reply before it says the next command, as smtp-source does.
    #[arg(long)]
    pub(crate) lockstep: bool,

    /// Runs this instead of the Postern that was built with the benchmark.
    #[arg(long)]
    pub(crate) binary: Option<PathBuf>,

    /// Instead of the cases: how the queue grows, and shrinks again.
    #[arg(long)]
    pub(crate) growth: bool,

    /// Messages that --growth queues; several may be given.
    #[arg(long, default_values_t = [100_000, 1_000_000])]
    pub(crate) queued: Vec<u64>,

    /// Domains that --growth queues them for.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) domains: u64,

    /// How often --growth fills and empties the queue.
    #[arg(long, default_value_t = 3)]
    pub(crate) churn: u32,

    /// Instead of the cases: mixed mail for so many minutes, with a kill -9 in each.
    #[arg(long, value_name = "MINUTES")]
    pub(crate) soak: Option<u64>,

    /// Messages a second that --soak sends.
    #[arg(long, default_value_t = 200)]
    pub(crate) rate: u64,

    /// Where --soak writes what it sees each second; benches/relay/plot.py draws it.
    #[arg(long, default_value = "target/soak.csv")]
    pub(crate) csv: PathBuf,

    /// Keeps the servers' folders, which are named at the end.
    #[arg(long)]
    pub(crate) keep: bool,

    /// cargo bench says this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// The Postern that is measured.
    pub(crate) fn postern(&self) -> PathBuf {
        let built = || PathBuf::from(env!("CARGO_BIN_EXE_postern"));
        self.binary.clone().unwrap_or_else(built)
    }
}

/// Another mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    Postfix,
    Exim,
    Opensmtpd,
}

/// The parts of the benchmark that are processes of their own.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    #[command(hide = true)]
    Source(Load),
    #[command(hide = true)]
    Sink(Setup),
}

/// What the source sends.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Load {
    /// Where to.
    #[arg(long)]
    pub(crate) to: SocketAddr,
    /// How many messages.
    #[arg(long)]
    pub(crate) messages: u64,
    /// The number of the first one.
    #[arg(long, default_value_t = 0)]
    pub(crate) first: u64,
    /// Octets of a message, as sent.
    #[arg(long)]
    pub(crate) size: usize,
    /// Connections at once.
    #[arg(long)]
    pub(crate) connections: usize,
    /// Messages in a connection; 0 means as many as there are.
    #[arg(long)]
    pub(crate) per_connection: u64,
    /// Recipients of a message.
    #[arg(long)]
    pub(crate) recipients: u64,
    /// Domains that the messages go to in turn.
    #[arg(long)]
    pub(crate) sites: u64,
    /// What the domains' names begin with.
    #[arg(long, default_value = message::DOMAIN)]
    pub(crate) domain: String,
    /// STARTTLS, trusting the roots in this file.
    #[arg(long)]
    pub(crate) roots: Option<PathBuf>,
    /// One command at a time.
    #[arg(long)]
    pub(crate) lockstep: bool,
}

/// What the sink is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Setup {
    /// Where it listens.
    #[arg(long)]
    pub(crate) bind: SocketAddr,
    /// Certificate chain and key: offers STARTTLS.
    #[arg(long, requires = "key")]
    pub(crate) certificate: Option<PathBuf>,
    #[arg(long)]
    pub(crate) key: Option<PathBuf>,
    /// Milliseconds before each answer.
    #[arg(long, default_value_t = 0)]
    pub(crate) delay: u64,
    /// Of a hundred messages, how many get 451 at RCPT, until the sink is told to take all.
    #[arg(long, default_value_t = 0)]
    pub(crate) deferred: u64,
    /// Recipients of a message, to tell one copy from another.
    #[arg(long)]
    pub(crate) recipients: u64,
    /// Does to each message what the soak has in mind for it.
    #[arg(long)]
    pub(crate) soak: bool,
}
