//! AUTH PLAIN and LOGIN of the scripted servers (RFC 4954).

use std::io;

use openssl::base64::decode_block;

use super::session::{Said, Session};
use super::stage::Stage;

impl Session {
    /// `rest` is what stands behind `AUTH `.
    pub(super) async fn authenticate(&mut self, rest: &str) -> io::Result<Said> {
        let account = self.shared.knobs().account.clone();
        let Some(account) = account else {
            self.fault("AUTH where it was not offered");
            return self.say("502 5.5.1 command not implemented").await;
        };
        if !self.wire.is_tls() {
            self.fault("AUTH in cleartext");
            return self.say("538 5.7.11 Encryption required").await;
        }
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        let given = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => self.plain(initial).await?,
            "LOGIN" => self.login(initial).await?,
            _ => return self.say("504 5.5.4 unknown mechanism").await,
        };
        if given.as_ref() != Some(&account) {
            return self
                .say("535 5.7.8 Authentication credentials invalid")
                .await;
        }
        let said = self
            .answer(Stage::Auth, "235 2.7.0 Authentication successful")
            .await?;
        if said == Said::Yes {
            self.auth = Some(account.0);
        }
        Ok(said)
    }

    async fn plain(&mut self, initial: &str) -> io::Result<Option<(String, String)>> {
        let message = match initial {
            "" => self.ask("334 ").await?,
            initial => decode(initial),
        };
        let Some(message) = message else {
            return Ok(None);
        };
        let mut parts = message.split('\0').skip(1).map(str::to_owned);
        Ok(parts.next().zip(parts.next()))
    }

    async fn login(&mut self, initial: &str) -> io::Result<Option<(String, String)>> {
        let user = match initial {
            "" => self.ask("334 VXNlcm5hbWU6").await?,
            initial => decode(initial),
        };
        let password = self.ask("334 UGFzc3dvcmQ6").await?;
        Ok(user.zip(password))
    }

    async fn ask(&mut self, prompt: &str) -> io::Result<Option<String>> {
        self.say(prompt).await?;
        let line = self.wire.read_line().await?.unwrap_or_default();
        Ok(decode(&String::from_utf8_lossy(&line)))
    }
}

fn decode(text: &str) -> Option<String> {
    let octets = decode_block(text.trim()).ok()?;
    String::from_utf8(octets).ok()
}
