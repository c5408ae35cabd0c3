//! Ids of containers and execs: 64 random hexadecimal digits.

use davit_vocabulary::{ContainerId, ExecId};

/// How many digits people see.
pub const SHORT: usize = 12;

fn random_digits() -> String {
    loop {
        let text = hex::encode(rand::random::<[u8; 32]>());
        // A short id of digits alone would pass for a number in places; Docker avoids it too.
        if !text[..SHORT].bytes().all(|byte| byte.is_ascii_digit()) {
            return text;
        }
    }
}

/// A new container's id.
pub fn container() -> ContainerId {
    random_digits().parse().expect("hexadecimal digits are an identifier")
}

/// A new exec's id.
pub fn exec() -> ExecId {
    random_digits().parse().expect("hexadecimal digits are an identifier")
}
