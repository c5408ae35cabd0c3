//! The version of Landlock that the kernel has; what is done with it is a library's business.

/// The ABI version (landlock_create_ruleset(2), Linux 5.13), 0 where there is none or it is off.
pub fn abi() -> u32 {
    const CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag the kernel reads no attributes, and none are given.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0usize,
            CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0)
}
