//! Ports to the world: clock, randomness, dialler, durable files, and figures.
//!
//! Owns every trait through which a room reaches outside, and the real
//! implementations. Holds always: ports are values that the composition root
//! passes in, never globals, so that tests bring their own.

mod blocked;
pub mod clock;
pub mod dial;
pub mod dial_faulty;
pub mod disk;
pub mod disk_faulty;
pub mod disk_powercut;
mod disk_powercut_image;
pub mod entropy;
pub mod metrics;
pub mod table;

pub use blocked::is_blocked;
pub use clock::{Clock, SystemClock, TokioClock};
pub use dial::{Dialler, Stream, TcpDialler};
pub use dial_faulty::{Break, FaultyDialler, LinkFault, Way};
pub use disk::{Disk, DiskFile, RealDisk, write_new};
pub use disk_faulty::{Fault, FaultyDisk, Operation, Planned};
pub use disk_powercut::{Fate, PowerCutDisk};
pub use entropy::{Entropy, SystemEntropy};
pub use table::{MemoryTable, Table, TableError};
