use std::path::PathBuf;

/// A mount that a client carries out: `mount -t kind -o options source target`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// The file system, or `bind`.
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// Where below the root it goes; empty for the root itself.
    pub target: String,
    /// Options, as mount(8) takes them.
    pub options: Vec<String>,
}

/// The directory behind a writable mount, which a layer can be applied to without mounting it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Where new files go.
    pub upper: PathBuf,
    /// The directories below it, the nearest first. Empty means that nothing lies below: then a whiteout removes.
    pub lower: Vec<PathBuf>,
    /// Whether it is the upper directory of an overlay.
    pub is_overlay: bool,
}

impl Mount {
    pub(crate) fn bind(source: String, access: &str) -> Self {
        Self {
            kind: "bind".into(),
            source,
            target: String::new(),
            options: vec![access.into(), "rbind".into()],
        }
    }

    /// The directory that a write through these mounts would end in; `None` where they are not a single bind mount or a
    /// single overlay.
    pub fn layer(mounts: &[Self]) -> Option<Layer> {
        let [mount] = mounts else { return None };
        match mount.kind.as_str() {
            "bind" => Some(Layer {
                upper: mount.source.clone().into(),
                lower: Vec::new(),
                is_overlay: false,
            }),
            "overlay" => {
                let option = |name: &str| mount.options.iter().find_map(|option| option.strip_prefix(name));
                let lower = option("lowerdir=")?;
                Some(Layer {
                    upper: option("upperdir=")?.into(),
                    lower: lower.split(':').map(Into::into).collect(),
                    is_overlay: true,
                })
            }
            _ => None,
        }
    }

    /// All directories that these mounts show, the topmost first: for reading without mounting.
    pub fn directories(mounts: &[Self]) -> Option<Vec<PathBuf>> {
        let [mount] = mounts else { return None };
        if mount.kind == "bind" {
            return Some(vec![mount.source.clone().into()]);
        }
        let option = |name: &str| mount.options.iter().find_map(|option| option.strip_prefix(name));
        let upper = option("upperdir=").map(PathBuf::from);
        let lower = option("lowerdir=")?.split(':').map(PathBuf::from);
        Some(upper.into_iter().chain(lower).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_of_an_overlay_is_its_upper_directory() {
        let mount = Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options: ["workdir=/w", "upperdir=/u", "lowerdir=/b:/a", "index=off"]
                .map(Into::into)
                .into(),
        };
        let layer = Mount::layer(std::slice::from_ref(&mount)).unwrap();
        assert_eq!(layer.upper, PathBuf::from("/u"));
        assert_eq!(layer.lower, [PathBuf::from("/b"), PathBuf::from("/a")]);
        assert!(Mount::layer(&[mount.clone(), mount]).is_none());
    }
}
