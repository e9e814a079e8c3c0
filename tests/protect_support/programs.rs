//! Programs of other people's that make keys and open what was encrypted.

use super::run;

/// Batch parameters of gpg for the keys that the issue names.
pub(crate) const KINDS: [(&str, &str); 4] = [
    (
        "RSA 2048",
        "Key-Type: RSA\nKey-Length: 2048\nSubkey-Type: RSA\nSubkey-Length: 2048",
    ),
    (
        "RSA 4096",
        "Key-Type: RSA\nKey-Length: 4096\nSubkey-Type: RSA\nSubkey-Length: 4096",
    ),
    (
        "Curve25519",
        "Key-Type: eddsa\nKey-Curve: ed25519\nSubkey-Type: ecdh\nSubkey-Curve: cv25519",
    ),
    (
        "P-256",
        "Key-Type: ecdsa\nKey-Curve: nistp256\nSubkey-Type: ecdh\nSubkey-Curve: nistp256",
    ),
];

pub(crate) struct Gpg(tempfile::TempDir);

impl Gpg {
    pub(crate) fn new() -> Self {
        // Its agent's socket needs a short path and a folder of its own.
        Self(
            tempfile::Builder::new()
                .prefix("g")
                .tempdir_in("/tmp")
                .unwrap(),
        )
    }

    pub(crate) fn run(&self, arguments: &[&str], input: &[u8]) -> (Vec<u8>, String) {
        let mut all = vec!["--homedir", self.0.path().to_str().unwrap(), "--batch"];
        all.extend([
            "--no-tty",
            "--quiet",
            "--trust-model",
            "always",
            "--status-fd",
            "2",
        ]);
        all.extend(arguments);
        run("gpg", &all, input)
    }

    pub(crate) fn home(&self) -> &std::path::Path {
        self.0.path()
    }

    pub(crate) fn make(&self, kind: &str, address: &str) {
        let parameters =
            format!("%no-protection\n{kind}\nName-Email: {address}\nExpire-Date: 1y\n%commit\n");
        let (_, said) = self.run(&["--gen-key"], parameters.as_bytes());
        assert!(said.contains("KEY_CREATED"), "{said}");
    }

    pub(crate) fn export(&self, address: &str) -> Vec<u8> {
        self.run(&["--armor", "--export", address], b"").0
    }

    pub(crate) fn export_secret(&self, address: &str) -> Vec<u8> {
        self.run(&["--armor", "--export-secret-keys", address], b"")
            .0
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let home = self.0.path().to_str().unwrap();
        let _ = std::process::Command::new("gpgconf")
            .args(["--homedir", home, "--kill", "all"])
            .status();
    }
}

/// `openssl req` options for the keys that the issue names.
pub(crate) const X509_KINDS: [(&str, &[&str]); 3] = [
    ("RSA 2048", &["-newkey", "rsa:2048"]),
    ("RSA 4096", &["-newkey", "rsa:4096"]),
    (
        "P-256",
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    ),
];

/// A folder with certificates and keys that the openssl program made.
pub(crate) struct Openssl(pub(crate) tempfile::TempDir);

impl Openssl {
    /// A fresh store of NSS' with a certificate and its key; and what was said at it. Of a
    /// store that is there already certutil would ask for the password, for ever.
    pub(crate) fn nss(&self, name: &str) -> (String, String) {
        let folder = tempfile::tempdir_in(self.0.path()).unwrap().keep();
        let store = format!("sql:{}", folder.display());
        let (certificate, key) = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        );
        let bundle = self.path(&format!("{name}.p12"));
        let export = [
            "pkcs12",
            "-export",
            "-in",
            &certificate,
            "-inkey",
            &key,
            "-out",
            &bundle,
            "-passout",
            "pass:x",
            "-name",
            name,
        ];
        run("openssl", &export, b"");
        run("certutil", &["-N", "-d", &store, "--empty-password"], b"");
        let (_, said) = run("pk12util", &["-i", &bundle, "-d", &store, "-W", "x"], b"");
        (store, said)
    }

    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, octets: &[u8]) -> String {
        std::fs::write(self.path(name), octets).unwrap();
        self.path(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn make(&self, name: &str, kind: &[&str], address: &str, usage: &str) {
        let names = format!("subjectAltName=email:{address}");
        let usage = format!("keyUsage=critical,{usage}");
        let (key, certificate) = (
            self.path(&format!("{name}.key")),
            self.path(&format!("{name}.pem")),
        );
        let subject = format!("/CN={name}");
        let mut all = vec!["req", "-x509", "-nodes", "-days", "30", "-subj", &subject];
        all.extend(kind);
        all.extend(["-keyout", &key, "-out", &certificate, "-addext", &names]);
        all.extend([
            "-addext",
            &usage,
            "-addext",
            "extendedKeyUsage=emailProtection",
        ]);
        all.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
        let (_, said) = run("openssl", &all, b"");
        assert!(std::path::Path::new(&certificate).exists(), "{said}");
    }
}

/// What rnp makes of a message with these secret keys: the content, and what it says.
pub(crate) fn rnp_opens(keys: &[Vec<u8>], encrypted: &[u8]) -> (Vec<u8>, String) {
    let home = tempfile::tempdir().unwrap();
    let home_path = home.path().to_str().unwrap();
    let keep = |name: &str, octets: &[u8]| {
        let path = home.path().join(name);
        std::fs::write(&path, octets).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for key in keys {
        let key = keep("key", key);
        let import = ["--homedir", home_path, "--import-keys", &key];
        run("rnpkeys", &import, b"");
    }
    let (message, opened) = (keep("message", encrypted), home.path().join("opened"));
    let decrypt = [
        "--homedir",
        home_path,
        "--decrypt",
        &message,
        "--output",
        opened.to_str().unwrap(),
    ];
    let (_, said) = run("rnp", &decrypt, b"");
    (std::fs::read(&opened).unwrap_or_default(), said)
}
