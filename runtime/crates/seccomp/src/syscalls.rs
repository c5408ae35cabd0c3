//! Numbers of system calls that are newer than the libseccomp we may be linked with.
//!
//! From 424 on a system call has one number on every architecture but alpha, x32 (which sets bit 30) and mips (which
//! adds an offset per ABI). libseccomp 2.5.4 ends at 449.

const NEWER: &[(&str, u32)] = &[
    ("futex_waitv", 449),
    ("set_mempolicy_home_node", 450),
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("open_tree_attr", 467),
    ("file_getattr", 468),
    ("file_setattr", 469),
    ("listns", 470),
];

/// The number of `name` when it is one of the newer system calls.
pub(crate) fn number(name: &str) -> Option<u32> {
    NEWER
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_without_gaps() {
        for pair in NEWER.windows(2) {
            assert_eq!(pair[0].1 + 1, pair[1].1, "{pair:?}");
        }
    }

    #[test]
    fn only_newer_names_have_numbers() {
        assert_eq!(number("mseal"), Some(462));
        assert_eq!(number("read"), None);
    }
}
