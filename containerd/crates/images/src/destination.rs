//! Where a transfer ends: names for what it brought.

use std::time::SystemTime;

use davit_metadata::{Descriptor, Labels, Scope, rfc3339};

use crate::{Image, ImageError, ImageStore, Platform, oci::Reference};

/// The name that Docker's and containerd's archives give an image in full.
const NAME_ANNOTATION: &str = "io.containerd.image.name";
/// The name that OCI's layouts give, often a tag alone.
const REF_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// The image store as a client of a transfer describes it.
#[derive(Clone, Debug, Default)]
pub struct Destination {
    /// The name for what is transferred; empty where names come from the source.
    pub name: String,
    /// Labels for the images.
    pub labels: Labels,
    /// The platforms wanted; empty for all.
    pub platforms: Vec<Platform>,
    /// Whether manifests of other platforms are wanted too, without their layers.
    pub all_metadata: bool,
    /// How many manifests are wanted at most; 0 for all.
    pub manifest_limit: usize,
    /// Further names, or rules to make some.
    pub names: Vec<NameRule>,
    /// What is to be unpacked.
    pub unpacks: Vec<Unpack>,
}

/// A further name, or a rule to make one.
#[derive(Clone, Debug, Default)]
pub struct NameRule {
    /// The name, or the start of names.
    pub name: String,
    /// Whether it is only the start.
    pub is_prefix: bool,
    /// Whether a full name from the source wins over the start.
    pub allow_overwrite: bool,
    /// Whether the digest becomes a part of the name.
    pub add_digest: bool,
    /// Whether a name with a digest is left out where the source has a name.
    pub skip_named_digest: bool,
}

/// A platform to unpack for.
#[derive(Clone, Debug, Default)]
pub struct Unpack {
    /// The platform.
    pub platform: Platform,
    /// The snapshotter; empty for the default.
    pub snapshotter: String,
}

impl Destination {
    /// Whether a manifest of this platform is wanted. One that tells no platform is.
    pub fn wants(&self, platform: Option<&Platform>) -> bool {
        match platform {
            Some(platform) if !self.platforms.is_empty() => {
                self.platforms.iter().any(|wanted| wanted.matches(platform))
            }
            _ => true,
        }
    }

    /// The children of an index that are wanted, the preferred platform first.
    pub fn select(&self, manifests: Vec<Reference>) -> Vec<Reference> {
        let mut wanted: Vec<Reference> = manifests
            .into_iter()
            .filter(|manifest| self.wants(manifest.platform.as_ref()))
            .collect();
        if self.manifest_limit > 0 {
            let rank = |manifest: &Reference| {
                let platform = manifest.platform.as_ref()?;
                self.platforms.iter().position(|wanted| wanted.matches(platform))
            };
            wanted.sort_by_key(|manifest| rank(manifest).unwrap_or(usize::MAX));
            wanted.truncate(self.manifest_limit);
        }
        wanted
    }

    /// Gives names to the target of a pull or a tag.
    pub fn store(&self, images: &ImageStore, scope: &Scope, target: &Descriptor) -> Result<Vec<Image>, ImageError> {
        let mut names = Vec::new();
        if !self.name.is_empty() {
            names.push((self.name.clone(), self.labels.clone()));
        }
        for rule in self.names.iter().filter(|rule| !rule.is_prefix || rule.add_digest) {
            let name = match rule.add_digest {
                true => format!("{}@{}", rule.name, target.digest),
                false => rule.name.clone(),
            };
            names.push((name, self.further_labels()));
        }
        put_all(images, scope, target, names)
    }

    /// Gives names to a manifest of an imported index, by its annotations. Without any, nothing is named.
    pub fn store_annotated(
        &self,
        images: &ImageStore,
        scope: &Scope,
        target: &Reference,
    ) -> Result<Vec<Image>, ImageError> {
        let mut names = Vec::new();
        for rule in self.names.iter().filter(|rule| rule.is_prefix) {
            let digested = format!("{}@{}", rule.name, target.digest);
            match rule.name_of(&target.annotations) {
                None if rule.add_digest => names.push(digested),
                None => {}
                Some(name) => {
                    names.push(name);
                    if rule.add_digest && !rule.skip_named_digest {
                        names.push(digested);
                    }
                }
            }
        }
        let names = names.into_iter().map(|name| (name, self.further_labels())).collect();
        match put_all(images, scope, &target.descriptor(), names) {
            Err(ImageError::NoName) => Ok(Vec::new()),
            other => other,
        }
    }

    /// Further names go with the first one.
    fn further_labels(&self) -> Labels {
        let mut labels = self.labels.clone();
        if !self.name.is_empty() {
            labels.insert("containerd.io/gc.bref.image".into(), self.name.clone());
            labels.insert("containerd.io/gc.expire".into(), rfc3339(SystemTime::now()));
        }
        labels
    }
}

impl NameRule {
    /// The name that the annotations of a manifest give under this rule.
    fn name_of(&self, annotations: &Labels) -> Option<String> {
        let non_empty = |key: &str| annotations.get(key).filter(|name| !name.is_empty());
        if let Some(full) = non_empty(NAME_ANNOTATION) {
            return self.translate(full).filter(|name| name == full);
        }
        self.translate(non_empty(REF_ANNOTATION)?)
    }

    /// A full name stays, where the rule allows it; a tag alone is put behind the start.
    fn translate(&self, name: &str) -> Option<String> {
        if self.name.is_empty() {
            return None;
        }
        if !name.contains(['/', ':', '@']) {
            return Some(format!("{}:{name}", self.name));
        }
        let rest = name.strip_prefix(&self.name);
        let has_prefix = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']));
        (self.allow_overwrite || has_prefix).then(|| name.to_owned())
    }
}

fn put_all(
    images: &ImageStore,
    scope: &Scope,
    target: &Descriptor,
    names: Vec<(String, Labels)>,
) -> Result<Vec<Image>, ImageError> {
    if names.is_empty() {
        return Err(ImageError::NoName);
    }
    names
        .into_iter()
        .map(|(name, labels)| images.put(scope, &name, target, &labels))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: NameRule, annotation: (&str, &str), expected: Option<&str>) {
        let annotations = Labels::from([(annotation.0.into(), annotation.1.into())]);
        assert_eq!(rule.name_of(&annotations).as_deref(), expected, "{annotation:?}");
    }

    fn rule(name: &str, allow_overwrite: bool) -> NameRule {
        NameRule {
            name: name.into(),
            is_prefix: true,
            allow_overwrite,
            ..NameRule::default()
        }
    }

    #[test]
    fn names_come_from_annotations_as_ctr_expects() {
        check(rule("import", true), (REF_ANNOTATION, "latest"), Some("import:latest"));
        check(
            rule("import", true),
            (REF_ANNOTATION, "docker.io/a/b:1"),
            Some("docker.io/a/b:1"),
        );
        check(
            rule("docker.io/a/b", false),
            (NAME_ANNOTATION, "docker.io/a/b:1"),
            Some("docker.io/a/b:1"),
        );
        check(rule("docker.io/a", false), (NAME_ANNOTATION, "docker.io/ab:1"), None);
        check(rule("x", true), (NAME_ANNOTATION, "tagonly"), None);
        check(rule("x", true), ("other", "y"), None);
    }
}
