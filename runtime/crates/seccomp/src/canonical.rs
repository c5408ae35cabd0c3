//! The name of a profile in the cache: a hash that two profiles share only when they compile to the same program.
//!
//! Every string is preceded by its length and every list by its count, so that no two profiles have one form. The
//! machine, libseccomp's version and the version of this compiler are part of it: an upgrade starts a new set of names.

use libseccomp::{ScmpArch, ScmpVersion};
use oci_spec::runtime::LinuxSeccomp;
use sha2::{Digest, Sha256};

/// Another version may compile the same profile to another program.
const COMPILER: &str = env!("CARGO_PKG_VERSION");

/// A SHA-256.
pub(crate) type Key = [u8; 32];

/// The cache key of `profile` on this machine.
pub(crate) fn key(profile: &LinuxSeccomp) -> Key {
    let mut form = Form(Sha256::new());
    form.text(COMPILER);
    form.text(&format!("{:?}", ScmpArch::native()));
    form.text(
        &ScmpVersion::current()
            .map(|v| format!("{}.{}.{}", v.major, v.minor, v.micro))
            .unwrap_or_default(),
    );
    form.text(&profile.default_action().to_string());
    form.optional(profile.default_errno_ret().map(u64::from));
    form.list(profile.architectures().as_deref(), |form, arch| {
        form.text(&arch.to_string())
    });
    form.list(profile.flags().as_deref(), |form, flag| form.text(&flag.to_string()));
    form.list(profile.syscalls().as_deref(), |form, rule| {
        form.list(Some(rule.names().as_slice()), |form, name| form.text(name));
        form.text(&rule.action().to_string());
        form.optional(rule.errno_ret().map(u64::from));
        form.list(rule.args().as_deref(), |form, arg| {
            form.number(arg.index() as u64);
            form.number(arg.value());
            form.optional(arg.value_two());
            form.text(&arg.op().to_string());
        });
    });
    form.0.finalize().into()
}

struct Form(Sha256);

impl Form {
    fn number(&mut self, value: u64) {
        self.0.update(value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text);
    }

    fn optional(&mut self, value: Option<u64>) {
        self.number(value.is_some().into());
        self.number(value.unwrap_or_default());
    }

    fn list<T>(&mut self, items: Option<&[T]>, mut each: impl FnMut(&mut Self, &T)) {
        self.optional(items.map(|items| items.len() as u64));
        for item in items.unwrap_or_default() {
            each(self, item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(profile: &str) -> Key {
        key(&serde_json::from_str(profile).unwrap())
    }

    #[test]
    fn profiles_that_differ_have_different_names() {
        let base = r#""defaultAction": "SCMP_ACT_ERRNO""#;
        let rule = |names: &str, rest: &str| {
            format!(r#"{{{base}, "syscalls": [{{"names": {names}, "action": "SCMP_ACT_ALLOW"{rest}}}]}}"#)
        };
        let profiles = [
            format!("{{{base}}}"),
            format!(r#"{{{base}, "defaultErrnoRet": 0}}"#),
            format!(r#"{{{base}, "defaultErrnoRet": 1}}"#),
            format!(r#"{{{base}, "flags": []}}"#),
            format!(r#"{{{base}, "architectures": ["SCMP_ARCH_X86"]}}"#),
            format!(r#"{{{base}, "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}}"#),
            r#"{"defaultAction": "SCMP_ACT_KILL"}"#.to_owned(),
            rule(r#"["ab"]"#, ""),
            rule(r#"["a", "b"]"#, ""),
            rule(r#"["b", "a"]"#, ""),
            rule(r#"["ab"]"#, r#", "errnoRet": 1"#),
            rule(
                r#"["ab"]"#,
                r#", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]"#,
            ),
            rule(
                r#"["ab"]"#,
                r#", "args": [{"index": 0, "value": 1, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]"#,
            ),
            rule(
                r#"["ab"]"#,
                r#", "args": [{"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}]"#,
            ),
        ];
        let keys: std::collections::BTreeSet<Key> = profiles.iter().map(|profile| key_of(profile)).collect();
        assert_eq!(keys.len(), profiles.len());
    }

    #[test]
    fn the_order_of_json_keys_does_not_matter() {
        let first = r#"{"defaultAction": "SCMP_ACT_ERRNO", "flags": [], "syscalls": []}"#;
        let second = r#"{"syscalls": [], "flags": [], "defaultAction": "SCMP_ACT_ERRNO"}"#;
        assert_eq!(key_of(first), key_of(second));
    }
}
