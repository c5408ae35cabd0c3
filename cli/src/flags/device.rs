//! `--device /dev/x[:/dev/y][:rwm]`.

use bollard::models::DeviceMapping;

/// Parses a device. The last part is permissions when it can be.
pub fn parse(text: &str) -> Result<DeviceMapping, String> {
    let parts: Vec<_> = text.split(':').collect();
    let (host, container, permissions) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, second] if is_permissions(second) => (*host, *host, *second),
        [host, container] => (*host, *container, "rwm"),
        [host, container, permissions] if is_permissions(permissions) => (*host, *container, *permissions),
        _ => return Err(format!("invalid device specification: {text}")),
    };
    if host.is_empty() || container.is_empty() {
        return Err(format!("invalid device specification: {text}"));
    }
    Ok(DeviceMapping {
        path_on_host: Some(host.to_owned()),
        path_in_container: Some(container.to_owned()),
        cgroup_permissions: Some(permissions.to_owned()),
    })
}

fn is_permissions(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| "rwm".contains(c))
        && text.chars().enumerate().all(|(at, c)| !text[..at].contains(c))
}

/// Parses a rule for the devices cgroup: `c 1:3 rwm`.
pub fn parse_rule(text: &str) -> Result<String, String> {
    let number = |text: &str| text == "*" || text.parse::<u32>().is_ok();
    let parts: Vec<_> = text.split(' ').collect();
    let valid = match parts.as_slice() {
        [kind, numbers, permissions] => {
            let numbers = numbers.split_once(':');
            matches!(*kind, "a" | "b" | "c")
                && numbers.is_some_and(|(major, minor)| number(major) && number(minor))
                && is_permissions(permissions)
        }
        _ => false,
    };
    if valid {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid device cgroup format '{text}'"))
    }
}
