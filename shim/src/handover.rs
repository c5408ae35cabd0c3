//! The shim becomes another program: `execve` in place, with the same pid, the same children and the same descriptors.
//!
//! What happens, and what a failure leaves:
//!
//! 1. *Check.* The new program is started beside, with the state on its stdin, and says whether it understands it and has room for the
//!    descriptors. If not, the shim goes on as it was.
//! 2. *Hold.* Calls that must not begin twice are held back, those that have begun come to their end, and so does what else cannot be
//!    broken off: an exit on its way to its record, an event on its way to the manager, records on their way to a disk or a peer. If that takes
//!    longer than [`PATIENCE`], the shim goes on as it was and the error says what it waited for.
//! 3. *Go over.* In one step on the only thread the state is taken again, written to a memfd, sent with all descriptors into a
//!    socket pair whose other end becomes stdin, and the new program is executed. What the kernel holds meanwhile (bytes in pipes and
//!    sockets, connections in the backlog, children that end) waits there. If `execve` fails, the shim goes on as it was.
//! 4. *Take over.* The new program reads state and descriptors, lets the bytes flow again and the calls begin again. If it cannot, it
//!    executes the program before with all that it was given, which takes over from itself and says why.
//!
//! Signals that would end the shim are blocked from 3 until the new program listens for them. Who asked for it gets the answer from the
//! new program, over the connection on which the question went to the old one.

mod arrival;
mod check;
mod state;
mod step;

pub use self::{
    arrival::{Arrival, receive},
    check::answer,
    state::{State, Unreadable, VERSION},
    step::{HandoverError, PATIENCE, go_back, run, unblock_signals},
};
