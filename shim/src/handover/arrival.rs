//! The other side: a program that was executed with a state and descriptors on its stdin.

use std::{
    fs::File,
    io::{self, Read},
};

use davit_luggage::Unpacking;

/// What the program before has left.
#[derive(Debug)]
pub struct Arrival {
    /// Its state.
    pub json: Vec<u8>,
    /// Its descriptors.
    pub unpacking: Unpacking,
}

/// Takes state and descriptors from stdin, which is /dev/null afterwards.
pub fn receive() -> io::Result<Arrival> {
    let mut unpacking = Unpacking::receive(rustix::stdio::stdin())?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let mut json = Vec::new();
    File::from(unpacking.last()?).read_to_end(&mut json)?;
    Ok(Arrival { json, unpacking })
}
