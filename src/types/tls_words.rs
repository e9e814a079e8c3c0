//! TLS parameters as words of closed lists, for figures.
//!
//! Holds always: what a handshake above the floor can agree on has a word of its
//! own; anything else is `other`, so that the far side chooses no label. Used by
//! the meters of `ingress` and `outcome`.

use super::TlsFacts;

/// Versions above the floor.
const VERSIONS: &[&str] = &["TLSv1.2", "TLSv1.3"];
/// Suites above the floor that rustls knows, by their IANA names.
const CIPHERS: &[&str] = &[
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];
/// Key-exchange groups that rustls knows.
const GROUPS: &[&str] = &[
    "X25519",
    "X25519MLKEM768",
    "secp256r1MLKEM768",
    "secp256r1",
    "secp384r1",
    "MLKEM768",
];

/// Version, suite and group of a handshake; `none` where there was none.
#[must_use]
pub fn tls_words(facts: Option<&TlsFacts>) -> [&'static str; 3] {
    facts.map_or(["none"; 3], |facts| {
        [
            known(&facts.version, VERSIONS),
            known(&facts.cipher, CIPHERS),
            known(&facts.group, GROUPS),
        ]
    })
}

fn known(word: &str, words: &[&'static str]) -> &'static str {
    words
        .iter()
        .find(|w| **w == word)
        .copied()
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What can be negotiated has a word of its own here.
    #[test]
    fn the_words_are_those_of_rustls() {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        for suite in &provider.cipher_suites {
            let name = suite.suite().as_str().unwrap();
            let name = name.replace("TLS13_", "TLS_");
            assert!(CIPHERS.contains(&name.as_str()), "{name}");
        }
        for group in &provider.kx_groups {
            let name = group.name().as_str().unwrap().to_owned();
            assert!(GROUPS.contains(&name.as_str()), "{name}");
        }
        assert_eq!(known("anything\"\n", GROUPS), "other");
    }
}
