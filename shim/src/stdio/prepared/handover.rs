//! Prepared streams on their way to another program of ours.

use std::{io, sync::Arc};

use davit_luggage::{Fd, Packing, Unpacking};
use serde::{Deserialize, Serialize};

use super::{Prepared, Wiring};
use crate::stdio::{
    Attach, Place, StdioRequest,
    attach::{AttachState, pack as pack_attach, unpack as unpack_attach},
    console::{ConsoleSocket, ConsoleState},
    input::{Input, InputState},
    logger::{Logger, LoggerState, pack as pack_logger},
    output::{Output, OutputState},
};

/// What another program needs to go on.
#[derive(Debug, Serialize, Deserialize)]
pub struct PreparedState {
    wiring: WiringState,
    input: Option<InputState>,
    attach: Option<AttachState>,
    logger: Option<LoggerState>,
}

#[derive(Debug, Serialize, Deserialize)]
enum WiringState {
    Pipes {
        process_ends: Option<[Fd; 3]>,
        stdin: Option<Fd>,
        outputs: Vec<(Fd, OutputState)>,
    },
    Terminal {
        socket: ConsoleState,
        output: OutputState,
    },
}

impl Prepared {
    /// The streams, for another program of ours.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<PreparedState> {
        Ok(PreparedState {
            wiring: self.wiring.pack(packing)?,
            input: self.input.as_ref().map(|input| input.pack(packing)).transpose()?,
            attach: pack_attach(self.attach.as_ref(), packing)?,
            logger: pack_logger(self.logger.as_ref(), packing)?,
        })
    }

    /// Streams that another program of ours has prepared.
    pub async fn unpack(
        state: PreparedState,
        unpacking: &mut Unpacking,
        request: &StdioRequest,
        place: &Place<'_>,
    ) -> io::Result<Self> {
        let attach = unpack_attach(state.attach, unpacking, request, place).await?;
        let logger = state
            .logger
            .map(|logger| Logger::unpack(logger, unpacking, place.reaper));
        Ok(Self {
            wiring: Wiring::unpack(state.wiring, unpacking, attach.as_ref())?,
            input: state.input.map(|input| Input::unpack(input, unpacking)).transpose()?,
            attach,
            logger: logger.transpose()?,
        })
    }

    /// Whether the streams cannot be packed now.
    pub fn is_busy(&self, patient: bool) -> bool {
        self.attach.as_ref().is_some_and(|attach| attach.is_busy(patient))
    }
}

impl Wiring {
    fn pack(&self, packing: &mut Packing) -> io::Result<WiringState> {
        match self {
            Self::Terminal { socket, output } => Ok(WiringState::Terminal {
                socket: socket.pack(packing)?,
                output: output.pack(packing)?,
            }),
            Self::Pipes {
                process_ends,
                stdin,
                outputs,
            } => {
                let process_ends = match process_ends {
                    Some([stdin, stdout, stderr]) => {
                        Some([packing.fd(stdin)?, packing.fd(stdout)?, packing.fd(stderr)?])
                    }
                    None => None,
                };
                let outputs = outputs
                    .iter()
                    .map(|(read, output)| Ok((packing.fd(read)?, output.pack(packing)?)))
                    .collect::<io::Result<_>>()?;
                Ok(WiringState::Pipes {
                    process_ends,
                    stdin: stdin.as_ref().map(|stdin| packing.fd(stdin)).transpose()?,
                    outputs,
                })
            }
        }
    }

    fn unpack(state: WiringState, unpacking: &mut Unpacking, attach: Option<&Arc<Attach>>) -> io::Result<Self> {
        match state {
            WiringState::Terminal { socket, output } => Ok(Self::Terminal {
                socket: ConsoleSocket::unpack(socket, unpacking)?,
                output: Output::unpack(output, unpacking, attach)?,
            }),
            WiringState::Pipes {
                process_ends,
                stdin,
                outputs,
            } => {
                let process_ends = match process_ends {
                    Some([stdin, stdout, stderr]) => {
                        Some([unpacking.fd(stdin)?, unpacking.fd(stdout)?, unpacking.fd(stderr)?])
                    }
                    None => None,
                };
                let outputs = outputs
                    .into_iter()
                    .map(|(read, output)| Ok((unpacking.fd(read)?, Output::unpack(output, unpacking, attach)?)))
                    .collect::<io::Result<_>>()?;
                Ok(Self::Pipes {
                    process_ends,
                    stdin: stdin.map(|stdin| unpacking.fd(stdin)).transpose()?,
                    outputs,
                })
            }
        }
    }
}
