//! A criu that only writes down what it is asked.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use protobuf::{Message, UnknownFields, UnknownValueRef, well_known_types::empty::Empty};

use super::rig::Rig;
use crate::bundle::Bundle;

/// It says which version it is and that it has all features. It lets a dump succeed, which then is to leave the
/// container running, and a restore fail, which leaves nothing: so each can be asked for many times.
const SCRIPT: &str = r#"#!/bin/sh
dd bs=64k count=1 <&3 >FOLDER/heard 2>/dev/null
case $(od -An -tx1 -N2 FOLDER/heard) in
*08*0a) printf '\010\012\020\001\122\004\010\MAJOR\020\MINOR' >&3 ;;
*08*09) printf '\010\011\020\001\102\004\010\001\020\001' >&3 ;;
*08*02) mv FOLDER/heard FOLDER/request; printf '\010\002\020\000' >&3 ;;
*08*04) mv FOLDER/heard FOLDER/request; printf '\010\004\020\001' >&3 ;;
*) mv FOLDER/heard FOLDER/request; printf '\010\001\020\001' >&3 ;;
esac
"#;

/// Kinds of requests, by their numbers.
pub const DUMP: &str = "1";
pub const RESTORE: &str = "2";
pub const PRE_DUMP: &str = "4";

/// Where the cgroups are, hierarchy by hierarchy, of which others may mount one in between.
const CGROUPS: u32 = 25;

/// The values of a message's fields, by the fields' numbers.
pub type Fields = BTreeMap<u32, Vec<String>>;

/// A bundle whose criu is the double.
pub struct Double {
    pub rig: Rig,
    folder: PathBuf,
}

impl Double {
    pub fn of_version(major: u8, minor: u8) -> Self {
        let bundle = Bundle::new();
        let folder = PathBuf::from(bundle.file("double"));
        fs::create_dir(&folder).expect("the bundle is ours");
        let own = env::var("PATH").unwrap_or_default();
        let path = format!("{}:{own}", folder.display());
        let script = SCRIPT
            .replace("FOLDER", &folder.display().to_string())
            .replace("MAJOR", &format!("{major:03o}"))
            .replace("MINOR", &format!("{minor:03o}"));
        let rig = Rig {
            bundle,
            path,
            network_lock: &[],
        };
        rig.install("criu", &script, &folder);
        Self { rig, folder }
    }

    /// A checkpoint's request: its kind and its options.
    pub fn checkpoint(&self, flags: &[&str]) -> (String, Fields) {
        self.rig.checkpoint(&[&["--leave-running"], flags].concat()).ok();
        self.request()
    }

    /// A restore's request, as above.
    pub fn restore(&self, flags: &[&str]) -> (String, Fields) {
        let images = self.rig.bundle.file("images");
        fs::create_dir_all(&images).expect("the bundle is ours");
        fs::write(Path::new(&images).join("descriptors.json"), "[]").expect("the bundle is ours");
        self.rig
            .restore(flags)
            .code_is(1)
            .says("criu failed: type RESTORE errno 0");
        self.request()
    }

    /// What it was asked last.
    pub fn request(&self) -> (String, Fields) {
        let request = fs::read(self.folder.join("request")).expect("criu was asked");
        let request = parse(&request);
        let Some(UnknownValueRef::LengthDelimited(options)) = request.get(2) else {
            panic!("options are missing: {request:?}");
        };
        let kind = read(&request).remove(&1).expect("a kind").remove(0);
        let mut options = read(&parse(options));
        options.remove(&CGROUPS);
        (kind, options)
    }
}

/// A message of which only the numbers of its fields are known.
fn parse(bytes: &[u8]) -> UnknownFields {
    let message = Empty::parse_from_bytes(bytes).expect("protobuf");
    message.special_fields.unknown_fields().clone()
}

fn read(message: &UnknownFields) -> Fields {
    let mut fields = Fields::new();
    for (number, value) in message.iter() {
        let text = match value {
            UnknownValueRef::LengthDelimited(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            UnknownValueRef::Varint(value) => value.to_string(),
            other => panic!("nothing of criu's is such a number: {number}: {other:?}"),
        };
        fields.entry(number).or_default().push(text);
    }
    fields
}
