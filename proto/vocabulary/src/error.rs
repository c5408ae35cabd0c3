use std::fmt;

/// What kind of failure an error is, whatever it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller asked for something malformed.
    InvalidArgument,
    /// What the call names does not exist.
    NotFound,
    /// What the call would make exists already.
    AlreadyExists,
    /// The thing named is in a state that forbids the call.
    FailedPrecondition,
    /// The call conflicts with another object or call (Docker: 409).
    Conflict,
    /// The call would change nothing (Docker: 304).
    NotModified,
    /// An offset or range lies outside the object.
    OutOfRange,
    /// The caller may not do this.
    PermissionDenied,
    /// The caller's credentials are missing or wrong.
    Unauthenticated,
    /// A limit is reached.
    ResourceExhausted,
    /// The call was overtaken and may be repeated.
    Aborted,
    /// The caller went away.
    Cancelled,
    /// The call took too long.
    DeadlineExceeded,
    /// A peer that the call needs does not answer.
    Unavailable,
    /// Stored or received bytes are not what they must be.
    DataLoss,
    /// This is not offered here.
    Unimplemented,
    /// A fault of ours or of the machine.
    Internal,
    /// A peer gave no kind.
    Unknown,
}

impl ErrorKind {
    /// The gRPC status code. `Conflict` and `NotModified` travel as FAILED_PRECONDITION, as containerd sends them.
    pub fn grpc_code(self) -> i32 {
        match self {
            Self::Cancelled => 1,
            Self::Unknown => 2,
            Self::InvalidArgument => 3,
            Self::DeadlineExceeded => 4,
            Self::NotFound => 5,
            Self::AlreadyExists => 6,
            Self::PermissionDenied => 7,
            Self::ResourceExhausted => 8,
            Self::FailedPrecondition | Self::Conflict | Self::NotModified => 9,
            Self::Aborted => 10,
            Self::OutOfRange => 11,
            Self::Unimplemented => 12,
            Self::Internal => 13,
            Self::Unavailable => 14,
            Self::DataLoss => 15,
            Self::Unauthenticated => 16,
        }
    }

    /// The code in a ttrpc status: `google.rpc.Code`, the numbers of gRPC.
    pub fn ttrpc_code(self) -> i32 {
        self.grpc_code()
    }

    /// The HTTP status of the Docker API.
    pub fn http_status(self) -> u16 {
        match self {
            Self::NotModified => 304,
            Self::InvalidArgument | Self::OutOfRange => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::FailedPrecondition | Self::Conflict => 409,
            Self::Unimplemented => 501,
            Self::Unavailable | Self::ResourceExhausted => 503,
            Self::Aborted
            | Self::Cancelled
            | Self::DeadlineExceeded
            | Self::DataLoss
            | Self::Internal
            | Self::Unknown => 500,
        }
    }

    /// The kind behind a code that a peer sent over gRPC or ttrpc; a number that is none of theirs is [`ErrorKind::Unknown`].
    pub fn from_code(code: i32) -> Self {
        match code {
            1 => Self::Cancelled,
            3 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            5 => Self::NotFound,
            6 => Self::AlreadyExists,
            7 => Self::PermissionDenied,
            8 => Self::ResourceExhausted,
            9 => Self::FailedPrecondition,
            10 => Self::Aborted,
            11 => Self::OutOfRange,
            12 => Self::Unimplemented,
            13 => Self::Internal,
            14 => Self::Unavailable,
            15 => Self::DataLoss,
            16 => Self::Unauthenticated,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorKind;

    #[test]
    fn every_code_that_a_peer_may_send_comes_back_as_the_same_code() {
        for code in 1..=16 {
            assert_eq!(ErrorKind::from_code(code).grpc_code(), code);
        }
        assert_eq!(ErrorKind::from_code(99), ErrorKind::Unknown);
    }
}
