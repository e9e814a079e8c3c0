//! Randomness.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// The source of randomness failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no randomness")]
pub struct EntropyError;

/// Gives random octets.
pub trait Entropy: Send + Sync {
    /// Fills `octets` with randomness fit for keys.
    ///
    /// # Errors
    /// [`EntropyError`] if the system has none to give.
    fn fill(&self, octets: &mut [u8]) -> Result<(), EntropyError>;
}

/// The system's generator.
#[derive(Debug, Clone, Default)]
pub struct SystemEntropy(SystemRandom);

impl Entropy for SystemEntropy {
    fn fill(&self, octets: &mut [u8]) -> Result<(), EntropyError> {
        self.0.fill(octets).map_err(|_| EntropyError)
    }
}
