//! rtnetlink(7): just what moving an interface needs, one request and its answer at a time.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::{
    io::Errno as Kernel,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice::name_to_index, recv, send, socket_with,
    },
};

/// `NETLINK_ROUTE` is protocol 0, which is also the default of a netlink socket.
const HEADER: usize = 16;

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const ERROR: u16 = 2;
const DONE: u16 = 3;

const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
/// The table changed while it was read: `NLM_F_DUMP_INTR`.
const INTERRUPTED: u16 = 0x10;

/// Attributes of an interface (`IFLA_*`) and of an address (`IFA_*`).
const LINK_NAME: u16 = 3;
const LINK_NAMESPACE: u16 = 28;
const ADDRESS_PEER: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_LABEL: u16 = 3;
const ADDRESS_BROADCAST: u16 = 4;
const ADDRESS_LIFETIMES: u16 = 6;
const ADDRESS_FLAGS: u16 = 8;
const ADDRESS_METRIC: u16 = 9;
/// What says which address it is, and what says how an interface has it.
const TELLING: [u16; 3] = [ADDRESS_PEER, ADDRESS_LOCAL, ADDRESS_BROADCAST];
const MODIFYING: [u16; 4] = [ADDRESS_LABEL, ADDRESS_LIFETIMES, ADDRESS_FLAGS, ADDRESS_METRIC];

const UP: u32 = 1;
const PERMANENT: u32 = 0x80;
/// Scopes of an address (`RT_SCOPE_*`).
const EVERYWHERE: u8 = 0;
const LINK_ALONE: u8 = 253;

/// A socket in the network namespace that the process was in when it was made.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    is_permanent: bool,
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// The same for another place; `None` where it belongs to this one: it will not last, or is of a narrower scope.
    pub fn elsewhere(&self) -> Option<Address> {
        let mut address = self.clone();
        address.attributes.retain(|(kind, _)| TELLING.contains(kind));
        (self.is_permanent && self.scope == EVERYWHERE).then_some(address)
    }
}

impl Netlink {
    /// Opens a socket.
    pub fn open() -> Result<Self, Kernel> {
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None).map(Netlink)
    }

    /// The number of an interface.
    pub fn index(&self, name: &str) -> Result<u32, Kernel> {
        name_to_index(&self.0, name)
    }

    /// Takes an interface into use.
    pub fn set_up(&self, index: u32) -> Result<(), Kernel> {
        self.ask(NEW_LINK, 0, &link(index, UP, UP))
    }

    /// Whether an interface is in use.
    pub fn is_up(&self, index: u32) -> Result<bool, Kernel> {
        self.send(GET_LINK, 0, &link(index, 0, 0))?;
        let answer = self.receive()?;
        let message = Messages(&answer).next().ok_or(Kernel::BADMSG)?;
        if message.kind == ERROR {
            message.result()?;
        }
        Ok(word(message.body, 8).ok_or(Kernel::BADMSG)? & UP != 0)
    }

    /// Moves an interface to another namespace, out of use and without its addresses, and then gives it a name.
    ///
    /// These are two steps: where the name is taken there, the kernel says so, and the interface is there all the same,
    /// under its old name. Only where that one is taken, too, it has not moved.
    pub fn relocate(&self, index: u32, name: &str, namespace: impl AsFd) -> Result<(), Kernel> {
        let mut body = link(index, 0, 0);
        let name: Vec<u8> = name.bytes().chain([0]).collect();
        push_attribute(&mut body, LINK_NAME, &name);
        push_attribute(&mut body, LINK_NAMESPACE, &namespace.as_fd().as_raw_fd().to_ne_bytes());
        self.ask(NEW_LINK, 0, &body)
    }

    /// The addresses of an interface, but for those that the kernel gives it by itself.
    pub fn addresses(&self, index: u32) -> Result<Vec<Address>, Kernel> {
        loop {
            // A family of 0 is every family.
            self.send(GET_ADDRESS, DUMP, &[0; 8])?;
            if let Some(addresses) = self.read_addresses(index)? {
                return Ok(addresses);
            }
        }
    }

    /// Gives an interface an address.
    pub fn add_address(&self, index: u32, address: &Address) -> Result<(), Kernel> {
        let mut body = vec![address.family, address.prefix, 0, address.scope];
        body.extend(index.to_ne_bytes());
        for (kind, value) in &address.attributes {
            push_attribute(&mut body, *kind, value);
        }
        self.ask(NEW_ADDRESS, CREATE | EXCLUSIVE, &body)
    }

    /// The answers to a dump; `None` when it has to be asked for again.
    fn read_addresses(&self, index: u32) -> Result<Option<Vec<Address>>, Kernel> {
        let (mut addresses, mut whole) = (Vec::new(), true);
        loop {
            let answer = self.receive()?;
            for message in Messages(&answer) {
                whole &= message.flags & INTERRUPTED == 0;
                match message.kind {
                    DONE => return Ok(whole.then_some(addresses)),
                    ERROR => message.result()?,
                    NEW_ADDRESS => addresses.extend(address(message.body, index)),
                    _ => {}
                }
            }
        }
    }

    /// Sends a request and waits for its acknowledgement.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> Result<(), Kernel> {
        self.send(kind, flags | ACKNOWLEDGE, body)?;
        loop {
            let answer = self.receive()?;
            if let Some(message) = Messages(&answer).find(|message| message.kind == ERROR) {
                return message.result();
            }
        }
    }

    fn send(&self, kind: u16, flags: u16, body: &[u8]) -> Result<(), Kernel> {
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((REQUEST | flags).to_ne_bytes());
        // One request at a time needs no sequence number, and the kernel no sender.
        message.extend([0; 8]);
        message.extend(body);
        send(&self.0, &message, SendFlags::empty()).map(drop)
    }

    fn receive(&self) -> Result<Vec<u8>, Kernel> {
        // The kernel fills at most 32 KiB in one go.
        let mut buffer = vec![0; 64 * 1024];
        let (length, _) = rustix::io::retry_on_intr(|| recv(&self.0, &mut buffer[..], RecvFlags::empty()))?;
        buffer.truncate(length);
        Ok(buffer)
    }
}

/// The messages of one answer.
struct Messages<'a>(&'a [u8]);

struct Message<'a> {
    kind: u16,
    flags: u16,
    body: &'a [u8],
}

impl Message<'_> {
    /// What an error message says; 0 is an acknowledgement.
    fn result(&self) -> Result<(), Kernel> {
        match word(self.body, 0).map(|errno| errno as i32) {
            Some(0) => Ok(()),
            Some(errno) => Err(Kernel::from_raw_os_error(errno.wrapping_neg())),
            None => Err(Kernel::BADMSG),
        }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = word(self.0, 0)? as usize;
        let message = Message {
            kind: half(self.0, 4)?,
            flags: half(self.0, 6)?,
            body: self.0.get(HEADER..length)?,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// An address of the interface `index`, if that is what the message tells of.
fn address(body: &[u8], index: u32) -> Option<Address> {
    let &[family, prefix, flags, scope] = body.first_chunk()?;
    // An IPv6 address of the link alone comes by itself when the interface is taken into use.
    let comes_by_itself = family == AddressFamily::INET6.as_raw() as u8 && scope == LINK_ALONE;
    if word(body, 4)? != index || comes_by_itself {
        return None;
    }
    let all = attributes(body.get(8..)?);
    let flags = all
        .iter()
        .find(|(kind, _)| *kind == ADDRESS_FLAGS)
        .and_then(|(_, value)| word(value, 0))
        .unwrap_or(flags.into());
    let attributes = all
        .into_iter()
        .filter(|(kind, _)| TELLING.contains(kind) || MODIFYING.contains(kind))
        .map(|(kind, value)| (kind, value.to_vec()))
        .collect();
    Some(Address {
        family,
        prefix,
        scope,
        is_permanent: flags & PERMANENT != 0,
        attributes,
    })
}

fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (half(bytes, 0), half(bytes, 2)) {
        let Some(value) = bytes.get(4..length.into()) else {
            break;
        };
        found.push((kind, value));
        bytes = bytes.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// `struct ifinfomsg`.
fn link(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [0, index, flags, change]
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect()
}

fn push_attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend((4 + value.len() as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An RTM_NEWADDR body: 10.0.0.1/24 on interface 7.
    fn body(flags: u32, scope: u8) -> Vec<u8> {
        let mut body = vec![2, 24, 0, scope];
        body.extend(7u32.to_ne_bytes());
        push_attribute(&mut body, ADDRESS_LOCAL, &[10, 0, 0, 1]);
        push_attribute(&mut body, ADDRESS_LABEL, b"eth0\0");
        push_attribute(&mut body, ADDRESS_FLAGS, &flags.to_ne_bytes());
        body
    }

    #[test]
    fn only_lasting_addresses_of_the_interface_are_taken_along() {
        let found = address(&body(PERMANENT, 0), 7).unwrap();
        assert_eq!(found.attributes.len(), 3);
        assert_eq!((found.family, found.prefix), (2, 24));
        let taken_along = found.elsewhere().unwrap();
        assert_eq!(taken_along.attributes, [(ADDRESS_LOCAL, vec![10, 0, 0, 1])]);
        assert_eq!(address(&body(PERMANENT, 0), 8), None);
        assert_eq!(address(&body(0, 0), 7).unwrap().elsewhere(), None);
        assert_eq!(address(&body(PERMANENT, 253), 7).unwrap().elsewhere(), None);
    }

    #[test]
    fn an_answer_that_is_cut_off_is_read_as_far_as_it_goes() {
        let mut answer = Vec::new();
        answer.extend(20u32.to_ne_bytes());
        answer.extend(ERROR.to_ne_bytes());
        answer.extend([0; 10]);
        answer.extend((-19i32).to_ne_bytes());
        let message = Messages(&answer).next().unwrap();
        assert_eq!(message.result(), Err(Kernel::NODEV));
        for length in 0..answer.len() {
            assert!(Messages(&answer[..length]).next().is_none());
        }
        assert!(attributes(&[9, 0, 1, 0]).is_empty());
        // A length of zero does not go round for ever.
        assert!(attributes(&[0, 0, 1, 0]).is_empty());
        assert!(Messages(&[0; 64]).next().is_none());
    }

    #[test]
    fn the_loopback_device_answers() {
        let netlink = Netlink::open().unwrap();
        let index = netlink.index("lo").unwrap();
        let addresses = netlink.addresses(index).unwrap();
        assert!(
            addresses.iter().all(|address| address.elsewhere().is_none()),
            "{addresses:?}"
        );
        assert_eq!(netlink.is_up(index), Ok(true));
        assert!(netlink.index("no-such-device").is_err());
        assert!(netlink.is_up(u32::MAX / 2).is_err());
        assert!(netlink.set_up(u32::MAX / 2).is_err());
    }
}
