//! What can go wrong between a profile and a loaded filter.

use std::io;

use oci_spec::runtime::{Arch, LinuxSeccompAction};

/// Why a profile was refused or a program not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeccompError {
    /// An action that this runtime does not implement.
    #[error("seccomp action {0} is not supported")]
    UnsupportedAction(LinuxSeccompAction),
    /// A listener without support for notification.
    #[error("seccomp listenerPath is not supported")]
    UnsupportedListener,
    /// An architecture that the linked libseccomp does not know.
    #[error("seccomp architecture {0} is not supported")]
    UnsupportedArch(Arch),
    /// An errnoRet that does not fit the 16 bits of a filter's answer.
    #[error("seccomp errnoRet {0} is out of range")]
    ErrnoRange(u32),
    /// An argument index past the sixth argument.
    #[error("seccomp argument index {index} of system call {name:?} is out of range")]
    ArgumentIndex {
        /// The system call of the rule.
        name: String,
        /// The index as given, counted from 0.
        index: usize,
    },
    /// A rule without a name.
    #[error("empty string is not a valid syscall")]
    EmptyName,
    /// The same system call has rules that contradict each other, or libseccomp refused it for another reason.
    #[error("seccomp rule for system call {name:?}: {source}")]
    Rule {
        /// The system call of the rule.
        name: String,
        /// libseccomp's answer.
        source: libseccomp::error::SeccompError,
    },
    /// libseccomp failed.
    #[error("compile seccomp filter: {0}")]
    Compile(#[from] libseccomp::error::SeccompError),
    /// The compiled program could not be read back.
    #[error("read compiled seccomp filter: {0}")]
    Export(#[source] io::Error),
    /// More instructions than the kernel takes.
    #[error("seccomp filter has {0} instructions, more than the kernel takes")]
    TooLong(usize),
    /// The kernel refused the program.
    #[error("load seccomp filter: {0}")]
    Load(#[source] io::Error),
}
