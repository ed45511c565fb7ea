//! Why the server does not start.

/// A command line or environment that cannot be served. Each prints as one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Help or the version was asked for: the text goes to standard output, and all is well.
    #[error("{0}")]
    Help(String),
    /// A command line that does not fit the grammar.
    #[error("{0}")]
    Usage(String),
    /// A variable or flag that says something illegal, or that asks for what is not there yet.
    #[error("{name}: {problem}")]
    Setting {
        /// The variable or flag, as the operator wrote it.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Drive arguments or storage classes that form no sets.
    #[error(transparent)]
    Drives(#[from] placement::Error),
}

impl Error {
    pub(crate) fn setting(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting {
            name: name.into(),
            problem: problem.into(),
        }
    }

    /// The exit code that belongs to it: 0 for help, 2 for usage, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Help(_) => 0,
            Self::Usage(_) => 2,
            Self::Setting { .. } | Self::Drives(_) => 1,
        }
    }
}
