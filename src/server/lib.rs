//! The `sarsen` binary: reads its configuration, builds the rooms, opens the doors, shuts down.
//!
//! The only room that knows all others, and the only one that reads flags and variables. It
//! must not know what an object is: what a request means is for the doors.

mod assemble;
mod banner;
mod config;
#[cfg(test)]
mod flips;
mod form;
mod front;
mod health;
mod intent;
mod listen;
mod metrics;
mod offline;
mod rebuild;
mod reseat;
#[cfg(test)]
mod rig;
mod s3_service;
mod seat;
mod shutdown;
mod telemetry;
mod terrain;
mod tls;

pub use assemble::{Error as StartError, run};
pub use config::{
    Address, Banner, CertificateFiles, ClusterSecret, Config, Credential, Environment,
    Error as ConfigError, Limits, LogFormat, MetricsAccess, Output, Pool, ProcessEnvironment,
    Secret, Tls, load,
};
pub use form::FormError;
pub use intent::IntentError;
pub use listen::BindError;
pub use telemetry::Error as TelemetryError;
pub use tls::Error as TlsError;
