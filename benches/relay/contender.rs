//! Who is measured: nobody, Postern, or a peer; how each is called, started and looked at.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use postern_lab::mta::exim::Exim;
use postern_lab::mta::opensmtpd::OpenSmtpd;
use postern_lab::mta::postfix::Postfix;
use postern_lab::{Ca, Daemon};

use crate::cases::Case;
use crate::options::{Options, Peer};
use crate::round::Site;

/// A server with this name under test; without one the source sends to the sink itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    Nobody,
    Postern,
    Peer(Peer),
}

impl Contender {
    /// As the table calls it.
    pub(crate) fn name(self) -> String {
        match self {
            Contender::Nobody => "(none)".to_owned(),
            Contender::Postern => "Postern".to_owned(),
            Contender::Peer(Peer::Postfix) => format!("Postfix {}", Postfix::version()),
            Contender::Peer(Peer::Exim) => format!("Exim {}", Exim::version()),
            Contender::Peer(Peer::Opensmtpd) => format!("OpenSMTPD {}", OpenSmtpd::version()),
        }
    }

    /// Why it can't do a case, if it can't.
    pub(crate) fn cannot(self, case: &Case) -> Option<&'static str> {
        match self {
            Contender::Peer(Peer::Opensmtpd) => crate::opensmtpd::cannot(case),
            _ => None,
        }
    }
}

/// The server, while it runs.
pub(crate) enum Server {
    Postern(Box<Daemon>),
    Postfix(Postfix),
    Exim(Exim),
    OpenSmtpd(OpenSmtpd),
}

impl Server {
    /// Starts it and waits until it listens; none for nobody.
    pub(crate) fn start(
        options: &Options,
        ca: &Ca,
        case: &Case,
        contender: Contender,
        listen: SocketAddr,
        sites: &[Site],
    ) -> Option<Server> {
        let binary = options.postern();
        Some(match contender {
            Contender::Nobody => return None,
            Contender::Postern => Server::Postern(Box::new(crate::postern::start(
                &binary, ca, case, listen, sites,
            ))),
            Contender::Peer(Peer::Postfix) => {
                let settings = &options.postfix;
                Server::Postfix(crate::postfix::start(ca, case, listen, sites, settings))
            }
            Contender::Peer(Peer::Exim) => {
                Server::Exim(crate::exim::start(ca, case, listen, sites))
            }
            Contender::Peer(Peer::Opensmtpd) => {
                Server::OpenSmtpd(crate::opensmtpd::start(ca, case, listen, sites))
            }
        })
    }

    /// The process from which all of it descends.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Server::Postern(daemon) => daemon.pid().expect("the daemon is running"),
            Server::Postfix(postfix) => postfix.pid(),
            Server::Exim(exim) => exim.pid(),
            Server::OpenSmtpd(opensmtpd) => opensmtpd.pid(),
        }
    }

    /// Where its queue and its log lie.
    pub(crate) fn folder(&self) -> &Path {
        match self {
            Server::Postern(daemon) => daemon.dir(),
            Server::Postfix(postfix) => postfix.dir(),
            Server::Exim(exim) => exim.dir(),
            Server::OpenSmtpd(opensmtpd) => opensmtpd.dir(),
        }
    }

    /// Leaves the folder behind, and says where.
    pub(crate) fn keep(self) {
        let kept = self.folder().with_extension("kept");
        let copied = Command::new("cp")
            .arg("-a")
            .arg(self.folder())
            .arg(&kept)
            .status();
        println!("kept {}: {copied:?}", kept.display());
    }
}
