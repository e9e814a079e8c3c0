//! `postern queue`.

use clap::{Args, Subcommand};

use super::hand::{HandArguments, HoldArguments};
use super::{Exit, daemon, output};
use crate::config::Config;
use crate::control::{Answer, QueueFilter, QueueStats, QueuedMessage, Request};
use crate::types::units::print_size;
use crate::types::{Action, State};

/// Messages that wait for delivery.
#[derive(Debug, Subcommand)]
pub(super) enum Queue {
    /// List messages with an open recipient.
    List {
        #[command(flatten)]
        filter: FilterArguments,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one message.
    Show {
        /// Its id, as the 250 and the log named it.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Keep messages back: they are not tried and never expire.
    Hold(HoldArguments),
    /// Let what is held go at once.
    Release(HandArguments),
    /// Try again at once what waits.
    Retry(HandArguments),
    /// Take messages out; nobody is told.
    Remove(HandArguments),
    /// Give messages up; their senders are told.
    Bounce(HandArguments),
    /// Count by state, age, site and domain.
    Stats {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct FilterArguments {
    /// Recipients at this domain.
    #[arg(long)]
    domain: Option<String>,
    /// This sender ("" for <>).
    #[arg(long)]
    sender: Option<String>,
    /// Recipients in this state.
    #[arg(long)]
    state: Option<State>,
}

impl Queue {
    pub(super) fn run(self, config: &Config) -> Exit {
        let done = match self {
            Self::List { filter, json } => list(config, filter, json),
            Self::Show { id, json } => show(config, id, json),
            Self::Stats { json } => stats(config, json),
            Self::Hold(hold) => hold.run(config),
            Self::Release(hand) => hand.run(config, Action::Release),
            Self::Retry(hand) => hand.run(config, Action::Retry),
            Self::Remove(hand) => hand.run(config, Action::Remove),
            Self::Bounce(hand) => hand.run(config, Action::Bounce),
        };
        done.err().unwrap_or(Exit::Done)
    }
}

fn list(config: &Config, filter: FilterArguments, json: bool) -> Result<(), Exit> {
    let filter = QueueFilter {
        domain: filter.domain,
        sender: filter.sender,
        state: filter.state,
    };
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let request = Request::QueueList {
            filter: filter.clone(),
            after,
        };
        let Answer::Queue { messages, next } = daemon::ask(config, &request)? else {
            return Err(unexpected());
        };
        if json {
            all.extend(messages);
        } else {
            messages.iter().for_each(print_message);
        }
        match next {
            Some(_) => after = next,
            None => break,
        }
    }
    if json {
        output::json(&all);
    }
    Ok(())
}

fn show(config: &Config, id: String, json: bool) -> Result<(), Exit> {
    let Answer::Message { message } = daemon::ask(config, &Request::QueueShow { id })? else {
        return Err(unexpected());
    };
    if json {
        output::json(&message);
    } else {
        print_message(&message);
    }
    Ok(())
}

fn stats(config: &Config, json: bool) -> Result<(), Exit> {
    let Answer::Stats { stats } = daemon::ask(config, &Request::QueueStats)? else {
        return Err(unexpected());
    };
    if json {
        output::json(&stats);
    } else {
        print_stats(&stats);
    }
    Ok(())
}

pub(super) fn unexpected() -> Exit {
    output::complain("the daemon gave an answer to another question (is it of another version?)");
    Exit::Failed
}

fn print_message(message: &QueuedMessage) {
    let size = message.size;
    let (id, at, sender) = (&message.id, &message.received_at, &message.sender);
    output::say(format_args!("{id}  {at}  {size} octets  <{sender}>"));
    for to in &message.recipients {
        let mut line = format!("    {}  {}  attempts={}", to.state, to.address, to.attempts);
        if let Some(method) = &to.method {
            line.push_str(&format!("  method={method}"));
        }
        if let Some(next) = &to.next_attempt {
            line.push_str(&format!("  next={next}"));
        }
        output::say(line);
        if let Some(reply) = &to.last_reply {
            output::say(format_args!("        ({reply})"));
        }
    }
}

fn print_stats(stats: &QueueStats) {
    output::say(format_args!(
        "messages: {}  octets: {}  on disk: {}",
        stats.messages,
        stats.octets,
        print_size(stats.disk)
    ));
    for (state, count) in &stats.recipients {
        output::say(format_args!("recipients {state}: {count}"));
    }
    if let Some(oldest) = &stats.oldest {
        output::say(format_args!("oldest: {oldest}"));
    }
    for class in &stats.ages {
        output::say(format_args!("messages {}: {}", class.age, class.messages));
    }
    for domain in &stats.domains {
        output::say(format_args!(
            "waiting for {}: {}",
            domain.domain, domain.waiting
        ));
    }
    let rows: Vec<_> = stats
        .sites
        .iter()
        .map(|site| {
            [
                site.site.clone(),
                format!("connections={}", site.connections),
                format!("waiting={}", site.waiting),
                format!("ready={}", site.ready),
                site.backoff_until.clone().unwrap_or_default(),
                site.last_error.clone().unwrap_or_default(),
            ]
        })
        .collect();
    output::columns(&rows);
}
