//! What `spec` writes.

/// A shell in `rootfs`.
pub const DEFAULT: &str = include_str!("default.json");

/// What is different for an ordinary user: the text of [`DEFAULT`], and what it becomes.
const CHANGES: [(&str, &str); 4] = [
    // Nobody could move a network device into a namespace, and sysfs needs that to be the user's.
    ("\t\t\t{\n\t\t\t\t\"type\": \"network\"\n\t\t\t},\n", ""),
    (
        "\t\t\t\t\"type\": \"mount\"\n\t\t\t}\n",
        "\t\t\t\t\"type\": \"mount\"\n\t\t\t},\n\t\t\t{\n\t\t\t\t\"type\": \"user\"\n\t\t\t}\n",
    ),
    // A group that is not mapped.
    (",\n\t\t\t\t\"gid=5\"", ""),
    (
        "\t\t\t\"type\": \"sysfs\",\n\t\t\t\"source\": \"sysfs\",\n\t\t\t\"options\": [\n",
        "\t\t\t\"type\": \"none\",\n\t\t\t\"source\": \"/sys\",\n\t\t\t\"options\": [\n\t\t\t\t\"rbind\",\n",
    ),
];

/// Limits, which an ordinary user may not set; the mappings take their place.
const RESOURCES: &str = "\t\t\"resources\": {\n\t\t\t\"devices\": [\n\t\t\t\t{\n\t\t\t\t\t\"allow\": false,\n\t\t\t\t\t\"access\": \"rwm\"\n\t\t\t\t}\n\t\t\t]\n\t\t},\n";

/// [`DEFAULT`] for a user who is not root and is to be root of the container.
pub fn rootless_example(uid: u32, gid: u32) -> String {
    let mut text = DEFAULT.to_owned();
    for (from, to) in CHANGES {
        text = text.replacen(from, to, 1);
    }
    let map = |name, id| {
        format!(
            "\t\t\"{name}\": [\n\t\t\t{{\n\t\t\t\t\"containerID\": 0,\n\t\t\t\t\"hostID\": {id},\n\t\t\t\t\"size\": 1\n\t\t\t}}\n\t\t],\n"
        )
    };
    text.replacen(RESOURCES, &(map("uidMappings", uid) + &map("gidMappings", gid)), 1)
}

/// An example with a cgroup namespace too: where cgroups are v2 alone, runc's has one.
pub fn with_cgroup_namespace(text: &str) -> String {
    let last = "\t\t\t{\n\t\t\t\t\"type\": \"mount\"\n\t\t\t}";
    text.replacen(last, &format!("{last},\n{}", last.replace("mount", "cgroup")), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, NamespaceKind};

    #[test]
    fn each_change_has_its_place_in_the_example() {
        for (from, _) in CHANGES.into_iter().chain([(RESOURCES, "")]) {
            assert_eq!(DEFAULT.matches(from).count(), 1, "{from}");
        }
    }

    #[test]
    fn both_examples_can_have_a_cgroup_namespace() {
        for text in [DEFAULT.to_owned(), rootless_example(1, 1)] {
            let config = Config::parse(with_cgroup_namespace(&text).as_bytes()).unwrap();
            assert!(config.linux.namespace(NamespaceKind::Cgroup).is_some());
        }
    }

    #[test]
    fn the_example_for_an_ordinary_user_maps_that_user_to_root() {
        let config = Config::parse(rootless_example(1234, 4321).as_bytes()).unwrap();
        config.validate().unwrap();
        assert_eq!(config.linux.uid_mappings[0].host_id, 1234);
        assert_eq!(config.linux.gid_mappings[0].host_id, 4321);
        assert!(config.linux.namespace(NamespaceKind::User).is_some());
        assert!(config.linux.namespace(NamespaceKind::Network).is_none());
        assert!(config.linux.resources.is_none());
    }
}
