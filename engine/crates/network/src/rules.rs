//! The nftables rules of the bridge: one table, written in one transaction.
//!
//! The table is ours alone and named after the bridge, so that several engines on one machine do not meet. Nobody else's
//! rules are touched, and nobody sees a moment without ours: a transaction that writes the table anew replaces it
//! atomically.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
};

use ipnet::Ipv4Net;

use crate::{NetworkError, Result};

/// Where Debian has it; a daemon's PATH may lack it.
const PROGRAMS: [&str; 2] = ["nft", "/usr/sbin/nft"];

/// The table of a bridge.
///
/// Containers reach everything and masquerade towards it. What comes from elsewhere reaches them only as an answer:
/// there are no published ports yet, and another network's containers are "elsewhere".
pub(crate) fn table(bridge: &str, subnet: Ipv4Net) -> String {
    let table = table_name(bridge);
    format!(
        r#"add table ip {table}
flush table ip {table}
table ip {table} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {subnet} oifname != "{bridge}" masquerade
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        oifname "{bridge}" ct state established,related accept
        oifname "{bridge}" iifname != "{bridge}" drop
        iifname "{bridge}" accept
    }}
}}
"#
    )
}

/// Takes the table away, whether or not it is there.
pub(crate) fn removal(bridge: &str) -> String {
    let table = table_name(bridge);
    format!("add table ip {table}\ndelete table ip {table}\n")
}

fn table_name(bridge: &str) -> String {
    // A table's name is a word of nft's language; what a bridge may be named beyond that is spelt out.
    let plain = bridge.replace('.', "_d_").replace('-', "_m_");
    format!("davit_{plain}")
}

/// Runs one transaction.
pub(crate) async fn apply(transaction: String) -> Result<()> {
    let run = tokio::task::spawn_blocking(move || run(&transaction));
    run.await
        .unwrap_or_else(|error| Err(NetworkError::Rules(error.to_string())))
}

fn run(transaction: &str) -> Result<()> {
    let failed = |error: io::Error| NetworkError::Rules(error.to_string());
    let mut child = start().map_err(failed)?;
    let mut input = child.stdin.take().expect("it is piped");
    // nft may refuse before it has read all: what it says matters, not that the pipe broke.
    let _ = input.write_all(transaction.as_bytes());
    drop(input);
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    Err(NetworkError::Rules(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}

fn start() -> io::Result<std::process::Child> {
    let spawn = |program| {
        let mut command = Command::new(program);
        command
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    };
    match spawn(PROGRAMS[0]) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            spawn(PROGRAMS[1]).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => io::Error::new(error.kind(), "nft is not installed (Debian: nftables)"),
                _ => error,
            })
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_default_bridge() {
        insta::assert_snapshot!(table("davit0", "172.17.0.0/16".parse().unwrap()), @r#"
        add table ip davit_davit0
        flush table ip davit_davit0
        table ip davit_davit0 {
            chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                ip saddr 172.17.0.0/16 oifname != "davit0" masquerade
            }
            chain forward {
                type filter hook forward priority filter; policy accept;
                oifname "davit0" ct state established,related accept
                oifname "davit0" iifname != "davit0" drop
                iifname "davit0" accept
            }
        }
        "#);
    }

    #[test]
    fn tables_of_similar_bridges_differ() {
        let names = ["br-0", "br.0", "br_0", "br0"].map(table_name);
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
