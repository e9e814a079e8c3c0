//! An OpenSMTPD, run from the folder into which tests/run has unpacked it.
//!
//! The caller writes the configuration and starts it. Its fixed paths (queue, socket, chroot,
//! helper programs) lie in its folder, bound over the system's; `mail/` belongs to the user
//! `mailbox`, as whom it can deliver.
//!
//! Debian 12 builds 6.8 against OpenSSL 3, with which no handshake as a server succeeds: the key
//! that its privilege separation stands in for is lost on the way ("missing private key";
//! OpenSMTPD issues 1171 and 1239, mended upstream in 7.3 by pull request 1208).
//! [`Build::Mended`] does what that did, by a shim of one function in front of OpenSSL.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::server::{self, Server, System};

const PACKAGE: &str = "opensmtpd";
const DAEMON: (&str, u32) = ("opensmtpd", 64_102);
const QUEUE: (&str, u32) = ("opensmtpq", 64_103);
const MAILBOX: (&str, u32) = ("mailbox", 64_104);

/// A running OpenSMTPD.
pub struct OpenSmtpd {
    server: Server,
}

/// Which one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// As Debian 12 ships it: offers STARTTLS, and fails at each handshake.
    Shipped,
    /// With the handshake mended, for RSA keys.
    Mended,
    /// The same, with TLS 1.2 as the newest version.
    MendedTls12,
}

impl OpenSmtpd {
    /// The upstream version of the unpacked package.
    pub fn version() -> String {
        server::package_version(PACKAGE)
    }

    /// Starts one with this configuration, and waits until it listens.
    pub fn start(folder: TempDir, build: Build, config: &str, listens: SocketAddr) -> OpenSmtpd {
        let dir = folder.path();
        for (name, mode) in [
            ("spool", 0o711),
            ("run", 0o755),
            ("lib/opensmtpd/empty", 0o711),
        ] {
            server::subfolder(dir, name, 0, mode);
        }
        server::subfolder(dir, "mail", MAILBOX.1, 0o700);
        let (file, openssl) = (dir.join("smtpd.conf"), dir.join("openssl.cnf"));
        std::fs::write(&file, config).unwrap();
        std::fs::write(&openssl, OPENSSL_TLS_1_2).unwrap();
        let (shim, openssl) = (shim(), openssl.to_string_lossy().into_owned());
        let all = [
            ("LD_PRELOAD", &*shim.to_string_lossy()),
            ("OPENSSL_CONF", &*openssl),
        ];
        let root = server::unpacked(PACKAGE);
        let libexec = root.join("usr/libexec");
        let libexec = libexec.to_string_lossy();
        let mut mounts = vec![
            ("spool", "/var/spool"),
            ("run", "/run"),
            ("lib", "/var/lib"),
            (&*libexec, "/usr/libexec"),
        ];
        // It verifies others by the system's roots and knows no other file.
        if dir.join("ca.pem").exists() {
            mounts.push(("ca.pem", "/etc/ssl/certs/ca-certificates.crt"));
        }
        let system = System {
            users: &[DAEMON, QUEUE, MAILBOX],
            mounts: &mounts,
            environment: match build {
                Build::Shipped => &[],
                Build::Mended => &all[..1],
                Build::MendedTls12 => &all,
            },
        };
        let (program, file) = (root.join("usr/sbin/smtpd"), file.to_string_lossy());
        let command = [&*program.to_string_lossy(), "-d", "-v", "-f", &*file];
        let server = Server::start(folder, &system, &command, &[listens]);
        OpenSmtpd { server }
    }

    /// The folder, with `mail/` in it.
    pub fn dir(&self) -> &Path {
        self.server.dir()
    }

    /// The first of its processes: all others descend from it.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// What it printed.
    pub fn log(&self) -> String {
        self.server.log()
    }
}

/// Nothing in its own configuration sets the newest version.
const OPENSSL_TLS_1_2: &str = "openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = defaults
[defaults]
MaxProtocol = TLSv1.2
";

/// The key with the mark of privilege separation is a copy that OpenSSL 3 keeps aside; this puts
/// it back before it is used.
const SHIM: &str = "#define _GNU_SOURCE
#include <dlfcn.h>
void *EVP_PKEY_get1_RSA(void *);
int EVP_PKEY_set1_RSA(void *, void *);
void RSA_free(void *);
int SSL_CTX_use_PrivateKey(void *ctx, void *key) {
  int (*real)(void *, void *) = dlsym(RTLD_NEXT, \"SSL_CTX_use_PrivateKey\");
  void *rsa = EVP_PKEY_get1_RSA(key);
  if (rsa) {
    EVP_PKEY_set1_RSA(key, rsa);
    RSA_free(rsa);
  }
  return real(ctx, key);
}
";

/// The compiled shim, beside the unpacked packages; made once, by rename, so that tests which run
/// at once don't see half of it.
fn shim() -> PathBuf {
    static DONE: OnceLock<PathBuf> = OnceLock::new();
    DONE.get_or_init(|| {
        let folder = server::unpacked("");
        let (source, built) = (folder.join("opensmtpd.c"), folder.join("opensmtpd.so"));
        std::fs::write(&source, SHIM).unwrap();
        let new = folder.join(format!("opensmtpd.so.{}", std::process::id()));
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-Wl,-z,lazy", "-o"])
            .args([&new, &source])
            .status();
        assert!(status.is_ok_and(|s| s.success()), "cc failed");
        std::fs::rename(new, &built).unwrap();
        built
    })
    .clone()
}
