//! Saying who we are: the bus asks the kernel, and we only agree to that (SASL EXTERNAL).

use super::connection::{BusError, Link};

/// The longest line that is read.
const LINE: usize = 4096;

/// Authenticates; what follows on the link are messages.
pub(super) fn authenticate(link: &mut Link) -> Result<(), BusError> {
    // The zero byte is where other systems than Linux would send credentials.
    link.send(b"\0AUTH EXTERNAL\r\n")?;
    let mut answer = line(link)?;
    if answer == "DATA" {
        // An empty identity means whatever the kernel says, which is also right inside a user namespace, where the
        // bus knows us by another number than we do.
        link.send(b"DATA\r\n")?;
        answer = line(link)?;
    }
    if answer.starts_with("REJECTED") {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hexadecimal: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        link.send(format!("AUTH EXTERNAL {hexadecimal}\r\n").as_bytes())?;
        answer = line(link)?;
    }
    if !answer.starts_with("OK") {
        return Err(BusError::Rejected(answer));
    }
    link.send(b"BEGIN\r\n")
}

fn line(link: &mut Link) -> Result<String, BusError> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if line.len() == LINE {
            return Err(BusError::Nonsense("a line without an end"));
        }
        let mut byte = [0];
        link.receive(&mut byte)?;
        line.push(byte[0]);
    }
    line.truncate(line.len() - 2);
    Ok(String::from_utf8_lossy(&line).into_owned())
}
