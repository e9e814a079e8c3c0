//! The cases: what is sent, by how many, and what the far side is like.

/// One kind of load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Octets of a message.
    pub(crate) size: usize,
    /// Connections of the source, and at most as many to a site.
    pub(crate) connections: usize,
    /// Messages in each of the source's connections; 0: all.
    pub(crate) per_connection: u64,
    pub(crate) recipients: u64,
    pub(crate) sites: u64,
    pub(crate) tls_in: bool,
    pub(crate) tls_out: bool,
    /// Milliseconds before each answer of the far side.
    pub(crate) delay: u64,
    /// Per cent of the messages that the far side defers.
    pub(crate) deferred: u64,
    /// Messages, as a part in a thousand of what the base case sends.
    pub(crate) share: u64,
    /// Run without being asked for.
    pub(crate) first: bool,
}

const BASE: Case = Case {
    name: "4k-20",
    size: 4 << 10,
    connections: 20,
    per_connection: 0,
    recipients: 1,
    sites: 1,
    tls_in: false,
    tls_out: false,
    delay: 0,
    deferred: 0,
    share: 1000,
    first: true,
};

const fn case(name: &'static str) -> Case {
    Case {
        name,
        first: false,
        ..BASE
    }
}

/// All of them, in the order in which they run.
pub(crate) const CASES: &[Case] = &[
    BASE,
    Case {
        tls_in: true,
        tls_out: true,
        first: true,
        ..case("4k-20-tls-both")
    },
    Case {
        tls_in: true,
        ..case("4k-20-tls-in")
    },
    Case {
        tls_out: true,
        ..case("4k-20-tls-out")
    },
    Case {
        connections: 1,
        share: 250,
        ..case("4k-1")
    },
    Case {
        connections: 200,
        ..case("4k-200")
    },
    Case {
        per_connection: 1,
        share: 500,
        ..case("4k-20-new-connection")
    },
    Case {
        per_connection: 1,
        tls_in: true,
        tls_out: true,
        share: 250,
        ..case("4k-20-new-connection-tls-both")
    },
    Case {
        sites: 1000,
        ..case("4k-20-sites-1000")
    },
    Case {
        recipients: 50,
        share: 100,
        ..case("4k-20-recipients-50")
    },
    Case {
        delay: 100,
        share: 100,
        ..case("4k-20-far-side-100ms")
    },
    Case {
        deferred: 10,
        ..case("4k-20-deferred-10")
    },
    Case {
        size: 64 << 10,
        share: 250,
        ..case("64k-20")
    },
    Case {
        size: 1 << 20,
        share: 20,
        ..case("1m-20")
    },
    Case {
        size: 1 << 20,
        share: 20,
        tls_in: true,
        tls_out: true,
        ..case("1m-20-tls-both")
    },
];

impl Case {
    /// How many messages it sends where the base case sends `base`.
    pub(crate) fn messages(&self, base: u64) -> u64 {
        (base * self.share / 1000).max(20)
    }

    /// How many of the messages numbered from `first` on the far side takes.
    pub(crate) fn taken(&self, first: u64, messages: u64) -> u64 {
        let taken = |id: &u64| !crate::message::is_deferred(*id, self.deferred);
        (first..first + messages).filter(taken).count() as u64
    }
}
