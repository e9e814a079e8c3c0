//! A little certificate authority: makes the certificates that servers and clients in a test show.
//!
//! Keys are ECDSA P-256 unless another kind is asked for; RSA comes from OpenSSL because rcgen
//! can't make small RSA keys and the static RSA key exchange needs an RSA certificate. The expired
//! and the not yet valid certificates are right in everything but their dates, so that a test
//! which refuses them knows why.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sha::sha256;
use openssl::sign::Signer;
use openssl::x509::X509;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData,
    SignatureAlgorithm, SigningKey, date_time_ymd,
};

/// A certificate authority with a root of its own.
///
/// Clones are the same authority. Two calls of [`Ca::new`] give two that don't trust each other.
#[derive(Clone)]
pub struct Ca {
    root: Arc<CertifiedIssuer<'static, KeyPair>>,
    /// Certificates between a server's and the root's, PEM.
    between: String,
    keys: KeyKind,
}

/// A certificate chain with its private key, both PEM: what a server or a client shows.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate, then whatever was put behind it.
    pub chain: String,
    /// The private key, PKCS #8.
    pub key: String,
}

/// Where [`Identity::write`] has put the two files.
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    /// The chain.
    pub certificate: PathBuf,
    /// The private key, readable by the owner only.
    pub private_key: PathBuf,
}

impl Ca {
    /// A new authority, valid from 2020 to 2099.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Ca {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "Postern lab root");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2099, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a P-256 key can be made");
        let root = CertifiedIssuer::self_signed(params, key).expect("a root can be made");
        Ca {
            root: Arc::new(root),
            between: String::new(),
            keys: KeyKind::P256,
        }
    }

    /// The same authority, whose certificates from now on have RSA keys of so many bits.
    pub fn rsa(&self, bits: u32) -> Ca {
        self.with_keys(KeyKind::Rsa(bits))
    }

    /// The same with ECDSA P-384 keys.
    pub fn p384(&self) -> Ca {
        self.with_keys(KeyKind::P384)
    }

    /// The same with Ed25519 keys.
    pub fn ed25519(&self) -> Ca {
        self.with_keys(KeyKind::Ed25519)
    }

    fn with_keys(&self, keys: KeyKind) -> Ca {
        Ca {
            keys,
            ..self.clone()
        }
    }

    /// An authority below this one, whose certificates come with its own behind them. With a
    /// domain it may issue for names in that alone (RFC 5280 section 4.2.1.10).
    pub fn intermediate(&self, domain: Option<&str>) -> Ca {
        let mut params = CertificateParams::default();
        let name = "Postern lab intermediate";
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2099, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = domain.map(|domain| NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(domain.to_owned())],
            excluded_subtrees: vec![],
        });
        let key = KeyPair::generate().expect("a P-256 key can be made");
        let issuer = CertifiedIssuer::signed_by(params, key, &self.root)
            .expect("an intermediate can be issued");
        Ca {
            between: issuer.pem() + &self.between,
            root: Arc::new(issuer),
            keys: self.keys,
        }
    }

    /// The root certificate.
    pub fn pem(&self) -> String {
        self.root.pem()
    }

    /// The root certificate, DER.
    pub fn der(&self) -> Vec<u8> {
        self.root.der().to_vec()
    }

    /// Writes the root certificate to a file.
    pub fn write_pem(&self, path: impl AsRef<Path>) {
        std::fs::write(path, self.pem()).expect("the root certificate can be written");
    }

    /// A server certificate for these names (DNS names or IP addresses), valid now.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.sign(params(
            names,
            Validity::Now,
            ExtendedKeyUsagePurpose::ServerAuth,
        ))
    }

    /// A server certificate that ended on the first day of 2021.
    pub fn issue_expired(&self, names: &[&str]) -> Identity {
        self.sign(params(
            names,
            Validity::Past,
            ExtendedKeyUsagePurpose::ServerAuth,
        ))
    }

    /// A server certificate that begins on the first day of 2090.
    pub fn issue_not_yet_valid(&self, names: &[&str]) -> Identity {
        self.sign(params(
            names,
            Validity::Future,
            ExtendedKeyUsagePurpose::ServerAuth,
        ))
    }

    /// A client certificate: the name is the subject's common name and a DNS name.
    pub fn issue_client(&self, name: &str) -> Identity {
        self.sign(params(
            &[name],
            Validity::Now,
            ExtendedKeyUsagePurpose::ClientAuth,
        ))
    }

    fn sign(&self, params: CertificateParams) -> Identity {
        let key = Key::new(self.keys);
        let certificate = params
            .signed_by(&key, &self.root)
            .expect("a certificate can be issued");
        Identity {
            chain: certificate.pem() + &self.between,
            key: key.pem(),
        }
    }
}

impl Identity {
    /// A server certificate that no authority stands behind, with a P-256 key.
    pub fn self_signed(names: &[&str]) -> Identity {
        Self::self_signed_by(names, KeyKind::P256)
    }

    /// Like [`Identity::self_signed`], with an RSA key.
    pub fn self_signed_rsa(names: &[&str], bits: u32) -> Identity {
        Self::self_signed_by(names, KeyKind::Rsa(bits))
    }

    /// The same with another certificate (PEM) at the end of the chain, such as the root, which
    /// DANE's usage 2 needs there.
    pub fn with_chained(mut self, pem: &str) -> Identity {
        self.chain.push_str(pem);
        self
    }

    /// Writes `NAME.pem` and `NAME.key` into the folder.
    pub fn write(&self, folder: impl AsRef<Path>, name: &str) -> IdentityFiles {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let certificate = folder.as_ref().join(format!("{name}.pem"));
        let private_key = folder.as_ref().join(format!("{name}.key"));
        std::fs::write(&certificate, &self.chain).expect("the certificate can be written");
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&private_key)
            .and_then(|mut file| file.write_all(self.key.as_bytes()))
            .expect("the private key can be written");
        IdentityFiles {
            certificate,
            private_key,
        }
    }

    /// The first certificate of the chain, DER (TLSA selector 0).
    pub fn certificate_der(&self) -> Vec<u8> {
        self.x509().to_der().expect("a certificate can be encoded")
    }

    /// Its public key as SubjectPublicKeyInfo, DER (TLSA selector 1).
    pub fn public_key_der(&self) -> Vec<u8> {
        let key = self.x509().public_key().expect("a certificate has a key");
        key.public_key_to_der().expect("a key can be encoded")
    }

    /// The data of a `TLSA 3 1 1` record: the SHA-256 of the public key.
    pub fn tlsa_3_1_1(&self) -> Vec<u8> {
        sha256(&self.public_key_der()).to_vec()
    }

    /// The chain as OpenSSL sees it, the own certificate first.
    pub(crate) fn x509_chain(&self) -> Vec<X509> {
        X509::stack_from_pem(self.chain.as_bytes()).expect("the chain is PEM")
    }

    /// The private key as OpenSSL sees it.
    pub(crate) fn pkey(&self) -> PKey<Private> {
        PKey::private_key_from_pem(self.key.as_bytes()).expect("the key is PEM")
    }

    fn x509(&self) -> X509 {
        self.x509_chain().swap_remove(0)
    }

    fn self_signed_by(names: &[&str], kind: KeyKind) -> Identity {
        let key = Key::new(kind);
        let params = params(names, Validity::Now, ExtendedKeyUsagePurpose::ServerAuth);
        let certificate = params
            .self_signed(&key)
            .expect("a certificate can sign itself");
        Identity {
            chain: certificate.pem(),
            key: key.pem(),
        }
    }
}

#[derive(Clone, Copy)]
enum KeyKind {
    P256,
    P384,
    Ed25519,
    Rsa(u32),
}

enum Validity {
    Past,
    Now,
    Future,
}

/// What goes into an end entity's certificate.
fn params(names: &[&str], when: Validity, purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let owned: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(owned).expect("the names fit into a certificate");
    let (from, to) = match when {
        Validity::Past => (2020, 2021),
        Validity::Now => (2020, 2099),
        Validity::Future => (2090, 2099),
    };
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    let subject = names.first().copied().unwrap_or("nobody");
    params.distinguished_name.push(DnType::CommonName, subject);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    params
}

/// A private key as rcgen wants it, from either source.
enum Key {
    Own(KeyPair),
    Rsa { key: PKey<Private>, public: Vec<u8> },
}

impl Key {
    fn new(kind: KeyKind) -> Key {
        match kind {
            KeyKind::P256 => Key::own(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyKind::P384 => Key::own(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyKind::Ed25519 => Key::own(&rcgen::PKCS_ED25519),
            KeyKind::Rsa(bits) => {
                let rsa = Rsa::generate(bits).expect("an RSA key can be made");
                let public = rsa.public_key_to_der_pkcs1().expect("a key can be encoded");
                Key::Rsa {
                    key: PKey::from_rsa(rsa).expect("an RSA key is a key"),
                    public,
                }
            }
        }
    }

    fn own(algorithm: &'static SignatureAlgorithm) -> Key {
        Key::Own(KeyPair::generate_for(algorithm).expect("a key can be made"))
    }

    fn pem(&self) -> String {
        match self {
            Key::Own(pair) => pair.serialize_pem(),
            Key::Rsa { key, .. } => {
                let pem = key
                    .private_key_to_pem_pkcs8()
                    .expect("a key can be encoded");
                String::from_utf8(pem).expect("PEM is text")
            }
        }
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Key::Own(pair) => pair.der_bytes(),
            Key::Rsa { public, .. } => public,
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Key::Own(pair) => pair.algorithm(),
            Key::Rsa { .. } => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match self {
            Key::Own(pair) => pair.sign(message),
            Key::Rsa { key, .. } => Signer::new(MessageDigest::sha256(), key)
                .and_then(|mut signer| signer.sign_oneshot_to_vec(message))
                .map_err(|_| rcgen::Error::RemoteKeyError),
        }
    }
}
