use std::sync::Arc;

use davit_containerd_api::services::images::v1::Image;
use davit_containerd_api::types::Descriptor;

use super::*;
use crate::manifest::Manifest;

fn digest(letter: &str) -> Digest {
    format!("sha256:{}", letter.repeat(64)).parse().unwrap()
}

fn image(names: &[&str]) -> CatalogImage {
    let target = digest("b");
    let named = |name: &&str| {
        let descriptor = Descriptor {
            digest: target.to_string(),
            ..Default::default()
        };
        Named::read(Image {
            name: name.to_string(),
            target: Some(descriptor),
            ..Default::default()
        })
        .unwrap()
    };
    let manifest = Manifest {
        digest: digest("b"),
        config_digest: digest("a"),
        config: Arc::default(),
        layers: Vec::new(),
        chain: Vec::new(),
    };
    CatalogImage {
        manifest: Arc::new(manifest),
        names: names.iter().map(named).collect(),
    }
}

fn used(running: bool) -> Vec<ImageUse> {
    vec![ImageUse {
        image: digest("a"),
        container: "c0ffee000000111111".parse().unwrap(),
        running,
    }]
}

const TAG: &str = "docker.io/library/web:latest";
const OTHER_TAG: &str = "docker.io/library/web:1";
const OTHER_REPOSITORY: &str = "docker.io/me/web:latest";

fn by_digest() -> String {
    format!("docker.io/library/web@{}", digest("b"))
}

#[test]
fn the_last_tag_takes_its_digest_and_the_image_along() {
    let image = image(&[TAG, &by_digest()]);
    let plan = plan(&image, "web", Some(TAG), false, &[]).unwrap();
    assert_eq!(
        plan,
        Plan {
            names: vec![TAG.into(), by_digest()],
            fate: Fate::Deleted
        }
    );
}

#[test]
fn one_of_several_names_goes_alone_even_when_the_image_is_used() {
    let image = image(&[TAG, OTHER_TAG, &by_digest()]);
    let plan = plan(&image, "web", Some(TAG), false, &used(true)).unwrap();
    assert_eq!(
        plan,
        Plan {
            names: vec![TAG.into()],
            fate: Fate::Named
        }
    );
}

#[test]
fn the_last_name_of_a_used_image_must_be_forced_and_leaves_a_running_ones_image_dangling() {
    let image = image(&[TAG]);
    assert_eq!(
        plan(&image, "web", Some(TAG), false, &used(false))
            .unwrap_err()
            .to_string(),
        "conflict: unable to remove repository reference \"web\" (must force) - container c0ffee000000 is using its \
         referenced image aaaaaaaaaaaa"
    );
    let running = plan(&image, "web", Some(TAG), true, &used(true)).unwrap();
    assert_eq!(
        running,
        Plan {
            names: vec![TAG.into()],
            fate: Fate::Dangling
        }
    );
    assert_eq!(
        plan(&image, "web", Some(TAG), true, &used(false)).unwrap().fate,
        Fate::Deleted
    );
}

#[test]
fn by_id_an_image_goes_with_all_its_names_where_they_are_of_one_repository_or_forced() {
    let single = image(&[TAG, &by_digest()]);
    assert_eq!(plan(&single, "aaaa", None, false, &[]).unwrap().names.len(), 2);
    for names in [[TAG, OTHER_TAG], [TAG, OTHER_REPOSITORY]] {
        let several = image(&names);
        assert_eq!(
            plan(&several, "aaaa", None, false, &[]).unwrap_err().to_string(),
            "conflict: unable to delete aaaaaaaaaaaa (must be forced) - image is referenced in multiple repositories"
        );
        assert_eq!(plan(&several, "aaaa", None, true, &[]).unwrap().names.len(), 2);
    }
}

#[test]
fn by_id_a_used_image_stays() {
    let image = image(&[TAG]);
    let refusal = |force, running| {
        plan(&image, "aaaa", None, force, &used(running))
            .unwrap_err()
            .to_string()
    };
    for force in [false, true] {
        assert_eq!(
            refusal(force, true),
            "conflict: unable to delete aaaaaaaaaaaa (cannot be forced) - image is being used by running container \
             c0ffee000000"
        );
    }
    assert_eq!(
        refusal(false, false),
        "conflict: unable to delete aaaaaaaaaaaa (must be forced) - image is being used by stopped container \
         c0ffee000000"
    );
    assert_eq!(
        plan(&image, "aaaa", None, true, &used(false)).unwrap().fate,
        Fate::Deleted
    );
}

#[test]
fn a_dangling_image_goes_by_its_id() {
    let name = names::dangling(&digest("b"));
    let image = image(&[&name]);
    assert_eq!(
        plan(&image, "aaaa", None, false, &[]).unwrap(),
        Plan {
            names: vec![name],
            fate: Fate::Deleted
        }
    );
}
