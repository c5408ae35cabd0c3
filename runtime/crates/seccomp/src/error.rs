//! What can go wrong between a profile and a loaded filter.

use std::io;

use oci_spec::runtime::Arch;

/// Why a profile was refused or a program not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeccompError {
    /// An agent would be asked about everything, its own messages included.
    #[error("SCMP_ACT_NOTIFY cannot be used as default action")]
    NotifyDefault,
    /// An agent would be asked before it can be.
    #[error("SCMP_ACT_NOTIFY cannot be used for the write syscall")]
    NotifyWrite,
    /// An agent is to be asked and none is named.
    #[error("seccomp listenerPath is not set, which SCMP_ACT_NOTIFY needs")]
    NoListener,
    /// A kernel without notification, or without the flags that were asked for beside it.
    #[error(
        "seccomp notify unsupported: the kernel refused the listener (Linux 5.7, and 5.19 for SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, are the first to have it)"
    )]
    NotifyUnsupported,
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
