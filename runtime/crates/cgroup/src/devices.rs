//! Device rules, brought into the one form that both kernel interfaces can hold: a default and exceptions from it.
//!
//! The specification's list is an order of commands ("deny all, allow this, …"). Playing it through gives its meaning,
//! and what v1 would silently ignore (denying one device out of an allowed range) becomes an error instead.

pub(crate) mod program;

use std::{collections::BTreeMap, fmt};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::{CgroupError, Result};

/// What a container may always do: make any node, and use the devices every container has.
const ALWAYS: &[(Kind, Option<u32>, Option<u32>, Access)] = &[
    (Kind::Char, None, None, Access::MKNOD),
    (Kind::Block, None, None, Access::MKNOD),
    (Kind::Char, Some(1), Some(3), Access::ALL),    // null
    (Kind::Char, Some(1), Some(5), Access::ALL),    // zero
    (Kind::Char, Some(1), Some(7), Access::ALL),    // full
    (Kind::Char, Some(1), Some(8), Access::ALL),    // random
    (Kind::Char, Some(1), Some(9), Access::ALL),    // urandom
    (Kind::Char, Some(5), Some(0), Access::ALL),    // tty
    (Kind::Char, Some(5), Some(2), Access::ALL),    // ptmx
    (Kind::Char, Some(136), None, Access::ALL),     // pts
    (Kind::Char, Some(10), Some(200), Access::ALL), // net/tun
];

/// Block or character device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Block,
    Char,
}

/// What may be done with a device: a set of mknod, read and write, with the bits of `BPF_DEVCG_ACC_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access(u8);

impl Access {
    pub(crate) const MKNOD: Access = Access(1);
    pub(crate) const READ: Access = Access(2);
    pub(crate) const WRITE: Access = Access(4);
    pub(crate) const ALL: Access = Access(7);

    fn parse(text: &str) -> Option<Self> {
        text.chars().try_fold(Access(0), |access, letter| match letter {
            'r' => Some(access.with(Access::READ)),
            'w' => Some(access.with(Access::WRITE)),
            'm' => Some(access.with(Access::MKNOD)),
            _ => None,
        })
    }

    /// What a rule names. Other letters mean nothing, as under runc: there are configs with "rwa" about.
    fn named_in(text: &str) -> Self {
        let known: String = text.chars().filter(|letter| "rwm".contains(*letter)).collect();
        Self::parse(&known).expect("only known letters are left")
    }

    fn with(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }

    fn without(self, other: Access) -> Access {
        Access(self.0 & !other.0)
    }

    fn overlaps(self, other: Access) -> bool {
        self.0 & other.0 != 0
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn bits(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(Access::READ, "r"), (Access::WRITE, "w"), (Access::MKNOD, "m")];
        letters
            .iter()
            .filter(|(one, _)| self.overlaps(*one))
            .try_for_each(|(_, letter)| f.write_str(letter))
    }
}

/// Which devices an exception is about; `None` is every number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Devices {
    pub kind: Kind,
    pub major: Option<u32>,
    pub minor: Option<u32>,
}

impl Devices {
    /// The ranges that hold these devices and more.
    fn wider(self) -> impl Iterator<Item = Devices> {
        let ranges = [(None, self.minor), (self.major, None), (None, None)];
        ranges
            .into_iter()
            .map(move |(major, minor)| Devices { major, minor, ..self })
            .filter(move |wide| *wide != self)
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = if self.kind == Kind::Block { 'b' } else { 'c' };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        write!(f, "{letter} {}:{}", number(self.major), number(self.minor))
    }
}

/// A default and the exceptions from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceList {
    pub allow_by_default: bool,
    pub exceptions: BTreeMap<Devices, Access>,
}

impl DeviceList {
    /// The list that a container gets: nothing at first, then the rules, then what every container may do.
    pub(crate) fn for_container(rules: &[LinuxDeviceCgroup]) -> Result<Self> {
        let mut list = DeviceList {
            allow_by_default: false,
            exceptions: BTreeMap::new(),
        };
        for (at, rule) in rules.iter().enumerate() {
            if rule.access().as_deref().unwrap_or_default().is_empty() {
                return Err(CgroupError::DeviceAccess(at));
            }
            list.play(rule)?;
        }
        for &(kind, major, minor, access) in ALWAYS {
            list.allow(Devices { kind, major, minor }, access)?;
        }
        Ok(list)
    }

    /// Reads v1's `devices.list`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut list = DeviceList {
            allow_by_default: false,
            exceptions: BTreeMap::new(),
        };
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let kind = match fields.next()? {
                "a" => {
                    // The kernel does not say what a list that allows by default excepts.
                    list.allow_by_default = true;
                    continue;
                }
                "b" => Kind::Block,
                "c" => Kind::Char,
                _ => return None,
            };
            let (major, minor) = fields.next()?.split_once(':')?;
            let devices = Devices {
                kind,
                major: parse_number(major)?,
                minor: parse_number(minor)?,
            };
            list.add(devices, Access::parse(fields.next()?)?);
        }
        Some(list)
    }

    fn play(&mut self, rule: &LinuxDeviceCgroup) -> Result<()> {
        let invalid = || CgroupError::DeviceRule(rule.to_string());
        let kind = match rule.typ().unwrap_or_default() {
            // Whatever else it says, a rule about all devices starts the list anew: so do the kernel and runc.
            LinuxDeviceType::A => {
                *self = DeviceList {
                    allow_by_default: rule.allow(),
                    exceptions: BTreeMap::new(),
                };
                return Ok(());
            }
            LinuxDeviceType::B => Kind::Block,
            LinuxDeviceType::C | LinuxDeviceType::U => Kind::Char,
            LinuxDeviceType::P => return Err(invalid()),
        };
        let number = |number: Option<i64>| match number {
            None | Some(-1) => Ok(None),
            Some(number) => u32::try_from(number).map(Some).map_err(|_| invalid()),
        };
        let devices = Devices {
            kind,
            major: number(rule.major())?,
            minor: number(rule.minor())?,
        };
        let access = Access::named_in(rule.access().as_deref().unwrap_or_default());
        match rule.allow() {
            true => self.allow(devices, access),
            false => self.deny(devices, access),
        }
    }

    fn allow(&mut self, devices: Devices, access: Access) -> Result<()> {
        if self.allow_by_default {
            return self.remove(devices, access);
        }
        self.add(devices, access);
        Ok(())
    }

    fn deny(&mut self, devices: Devices, access: Access) -> Result<()> {
        if self.allow_by_default {
            self.add(devices, access);
            return Ok(());
        }
        self.remove(devices, access)
    }

    fn add(&mut self, devices: Devices, access: Access) {
        if !access.is_empty() {
            let known = self.exceptions.entry(devices).or_insert(access);
            *known = known.with(access);
        }
    }

    fn remove(&mut self, devices: Devices, access: Access) -> Result<()> {
        let hole = |wide: Devices| self.exceptions.get(&wide).is_some_and(|wide| wide.overlaps(access));
        if let Some(wide) = devices.wider().find(|wide| hole(*wide)) {
            return Err(CgroupError::DeviceHole {
                rule: format!("{devices} {access}"),
                range: wide.to_string(),
            });
        }
        if let Some(known) = self.exceptions.get_mut(&devices) {
            *known = known.without(access);
            if known.is_empty() {
                self.exceptions.remove(&devices);
            }
        }
        Ok(())
    }

    /// What the kernel answers under this list; the rule that both interfaces are held to in tests.
    #[cfg(test)]
    pub(crate) fn permits(&self, kind: Kind, major: u32, minor: u32, access: Access) -> bool {
        let about = |devices: &Devices| {
            devices.kind == kind
                && devices.major.is_none_or(|known| known == major)
                && devices.minor.is_none_or(|known| known == minor)
        };
        let mut matching = self
            .exceptions
            .iter()
            .filter(|(devices, _)| about(devices))
            .map(|(_, access)| *access);
        match self.allow_by_default {
            // One denied part spoils the whole access.
            true => !matching.any(|denied| denied.overlaps(access)),
            // One exception must grant all of it.
            false => matching.any(|granted| access.without(granted).is_empty()),
        }
    }
}

fn parse_number(text: &str) -> Option<Option<u32>> {
    match text {
        "*" => Some(None),
        digits => digits.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests;
