//! Where a bus listens: `unix:path=/run/dbus/system_bus_socket`, or `unix:abstract=…`; several with `;` between them.

use std::{env, path::Path};

use rustix::net::SocketAddrUnix;

const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";

/// The socket of the machine's bus.
pub(in crate::systemd) fn system() -> String {
    env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|_| SYSTEM_BUS.into())
}

/// The socket of the calling user's bus, if there is one.
pub(in crate::systemd) fn user() -> Option<String> {
    if let Ok(address) = env::var("DBUS_SESSION_BUS_ADDRESS") {
        return Some(address);
    }
    let bus = Path::new(&env::var_os("XDG_RUNTIME_DIR")?).join("bus");
    bus.exists()
        .then(|| format!("unix:path={}", escaped(bus.to_string_lossy().as_ref())))
}

/// The sockets that an address names; other transports are passed over.
pub(super) fn sockets(address: &str) -> Vec<SocketAddrUnix> {
    address.split(';').filter_map(socket).collect()
}

fn socket(address: &str) -> Option<SocketAddrUnix> {
    let options = address.strip_prefix("unix:")?;
    options.split(',').find_map(|option| match option.split_once('=')? {
        ("path", path) => SocketAddrUnix::new(unescaped(path)?.as_slice()).ok(),
        ("abstract", name) => SocketAddrUnix::new_abstract_name(&unescaped(name)?).ok(),
        _ => None,
    })
}

fn escaped(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/.\\*".contains(&byte);
    path.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02x}")
            }
        })
        .collect()
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        plain.push((digit()? * 16 + digit()?) as u8);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(address: &str) -> Vec<String> {
        let name = |socket: &SocketAddrUnix| match (socket.path_bytes(), socket.abstract_name()) {
            (Some(path), _) => String::from_utf8_lossy(path).into_owned(),
            (_, Some(name)) => format!("@{}", String::from_utf8_lossy(name)),
            _ => String::new(),
        };
        sockets(address).iter().map(name).collect()
    }

    #[test]
    fn an_address_names_sockets_in_turn() {
        assert_eq!(paths("unix:path=/run/a%20b,guid=12"), ["/run/a b"]);
        assert_eq!(
            paths("tcp:host=x;unix:abstract=name;unix:guid=1,path=/p"),
            ["@name", "/p"]
        );
        assert!(paths("").is_empty());
        assert!(paths("unix:path=/%z").is_empty());
        assert!(paths(&format!("unix:path=/{}", "x".repeat(200))).is_empty());
    }

    #[test]
    fn odd_paths_survive_the_spelling() {
        let path = "/run/ü, ;/bus";
        assert_eq!(paths(&format!("unix:path={}", escaped(path))), [path]);
    }
}
