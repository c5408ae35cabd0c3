//! The socket between this process and a `criu swrk`.

use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use prost::Message;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, Shutdown,
        SocketFlags, SocketType, recvmsg, send, shutdown, socketpair,
    },
};

use crate::{
    Version,
    wire::{CriuNotify, CriuReq, CriuResp},
};

/// More than criu's longest answer, which carries a text at most.
const MAX_ANSWER: usize = 40 * 1024;

/// Why nothing was heard.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    /// The other end is closed.
    #[error("criu went away without an answer")]
    Gone,
    /// Nothing came in time.
    #[error("criu gave no answer within {} seconds", .0.as_secs())]
    Silent(Duration),
    /// No message of the protocol.
    #[error("criu's answer cannot be read: {0}")]
    Garbled(String),
    /// A kernel call failed.
    #[error("talk with criu: {0}")]
    Kernel(#[from] Errno),
}

/// Our end.
#[derive(Debug)]
pub struct Connection(OwnedFd);

impl Connection {
    /// Our end and criu's; both close on exec.
    pub fn pair() -> Result<(Self, OwnedFd), TalkError> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Connection(ours), theirs))
    }

    /// Says something.
    pub fn say(&self, request: &CriuReq) -> Result<(), TalkError> {
        let bytes = request.encode_to_vec();
        loop {
            match send(&self.0, &bytes, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(TalkError::Gone),
                result => return Ok(result.map(drop)?),
            }
        }
    }

    /// Whether something can be heard, or the end is reached, within `patience`.
    pub fn wait(&self, patience: Duration) -> Result<bool, TalkError> {
        let limit = Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut fds = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&limit)) {
            // Too early, not wrong: the caller waits in a loop or gives up.
            Err(Errno::INTR) => Ok(false),
            result => Ok(result? > 0),
        }
    }

    /// What criu says next, and the descriptor that came with it.
    pub fn hear(&self) -> Result<(CriuResp, Option<OwnedFd>), TalkError> {
        let mut buffer = vec![0u8; MAX_ANSWER];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut vectors = [IoSliceMut::new(&mut buffer)];
            match recvmsg(&self.0, &mut vectors, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Err(TalkError::Gone),
                result => break result?,
            }
        };
        if received.bytes == 0 {
            return Err(TalkError::Gone);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(TalkError::Garbled("it is too long".into()));
        }
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let answer = CriuResp::decode(&buffer[..received.bytes]).map_err(|err| TalkError::Garbled(err.to_string()))?;
        Ok((answer, fd))
    }

    /// Tells criu that nothing more will be asked.
    pub fn end(&self) {
        // It may have closed its own end already.
        let _ = shutdown(&self.0, Shutdown::Write);
    }
}

impl CriuResp {
    /// The version, where that was asked for.
    pub fn version(&self) -> Option<Version> {
        self.version.as_ref().map(Version::from_answer)
    }
}

impl CriuNotify {
    /// The point that criu has come to.
    pub fn point(&self) -> &str {
        self.script.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::wire::{CriuReqType, CriuVersion};

    fn answer(bytes: &[u8]) -> Result<(CriuResp, Option<OwnedFd>), TalkError> {
        let (ours, theirs) = Connection::pair().unwrap();
        rustix::net::sendmsg(
            &theirs,
            &[IoSlice::new(bytes)],
            &mut rustix::net::SendAncillaryBuffer::new(&mut []),
            SendFlags::NOSIGNAL,
        )
        .unwrap();
        drop(theirs);
        ours.hear()
    }

    #[test]
    fn an_answer_is_heard_as_it_was_said() {
        let said = CriuResp {
            r#type: CriuReqType::Version as i32,
            success: true,
            version: Some(CriuVersion {
                major_number: 4,
                minor_number: 2,
                gitid: None,
                sublevel: Some(1),
            }),
            ..CriuResp::default()
        };
        let (heard, fd) = answer(&said.encode_to_vec()).unwrap();
        assert_eq!(heard, said);
        assert_eq!(heard.version(), Some(Version::new(40201)));
        assert!(fd.is_none());
    }

    #[test]
    fn nonsense_and_silence_are_errors() {
        assert!(matches!(answer(b"\xff\xff\xff"), Err(TalkError::Garbled(_))));
        assert!(matches!(answer(&vec![0; MAX_ANSWER + 1]), Err(TalkError::Garbled(_))));
        let (ours, theirs) = Connection::pair().unwrap();
        assert!(!ours.wait(Duration::from_millis(1)).unwrap());
        drop(theirs);
        assert!(ours.wait(Duration::from_secs(1)).unwrap());
        assert!(matches!(ours.hear(), Err(TalkError::Gone)));
    }
}
