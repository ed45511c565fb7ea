//! What can be wrong with a description of drives. Every message is one line for an operator.

/// A command line or setting that describes no legal set of drives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No drives were named.
    #[error("no drives: name at least one directory")]
    NoDrives,
    /// An argument is empty.
    #[error("an empty drive argument")]
    EmptyArgument,
    /// Braces or dots that form no `{first...last}`.
    #[error("invalid ellipsis in {argument:?}: write {{first...last}}, decimal or hexadecimal")]
    Ellipsis {
        /// The argument as given.
        argument: String,
    },
    /// `{4...1}`.
    #[error("invalid ellipsis in {argument:?}: {first} is after {last}")]
    EllipsisBackwards {
        /// The argument as given.
        argument: String,
        /// The lower bound as given.
        first: String,
        /// The upper bound as given.
        last: String,
    },
    /// More drives than any pool may have.
    #[error("{argument:?} names more than {max} drives")]
    TooManyDrives {
        /// The argument as given.
        argument: String,
        /// The bound.
        max: usize,
    },
    /// Some arguments have ellipses and others have not.
    #[error("either all drive arguments have ellipses (each is a pool) or none has")]
    MixedArguments,
    /// One drive was named twice.
    #[error("drive {drive:?} is named twice")]
    Duplicate {
        /// The drive as expanded.
        drive: String,
    },
    /// No set size from 2 to 16 fits.
    #[error(
        "{drives} drives of {argument:?} form no equal sets of 2 to 16 drives: change their number"
    )]
    NoSetSize {
        /// The argument, or the list of arguments.
        argument: String,
        /// How many drives it names.
        drives: usize,
    },
    /// The set size asked for does not fit.
    #[error("{drives} drives of {argument:?} cannot form sets of {set_drives} drives")]
    SetSize {
        /// The argument, or the list of arguments.
        argument: String,
        /// How many drives it names.
        drives: usize,
        /// The size asked for.
        set_drives: usize,
    },
    /// A storage class that is not `EC:n`.
    #[error("invalid storage class {text:?}: write EC:n, where n is the number of parity drives")]
    StorageClass {
        /// The text as given.
        text: String,
    },
    /// More parity than half of the set.
    #[error("storage class EC:{parity}: a set of {set_drives} drives takes at most EC:{max}")]
    TooMuchParity {
        /// The parity asked for.
        parity: u8,
        /// The drives of one set.
        set_drives: usize,
        /// The most that they take.
        max: u8,
    },
    /// The reduced class has more parity than the standard one.
    #[error("storage class RRS (EC:{reduced}) has more parity than STANDARD (EC:{standard})")]
    ReducedAboveStandard {
        /// Parity of `STANDARD`.
        standard: u8,
        /// Parity of `REDUCED_REDUNDANCY`.
        reduced: u8,
    },
    /// A set of no drives, or of more than 16.
    #[error("a set has 1 to 16 drives, not {set_drives}")]
    SetDrives {
        /// The number asked about.
        set_drives: usize,
    },
}
