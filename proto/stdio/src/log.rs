//! Log drivers by name, and what they may say of a container.

use std::collections::BTreeMap;

/// A log driver that runs inside the shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogDriver {
    /// Fluentd's Forward protocol.
    Fluentd,
    /// The Graylog Extended Log Format.
    Gelf,
    /// The host's systemd journal.
    Journald,
    /// Docker's json-file format.
    JsonFile,
    /// Docker's local format.
    Local,
    /// Nothing is kept; attached clients still see the output. Every exec uses this.
    None,
    /// A syslog server, or the host's own.
    Syslog,
}

impl LogDriver {
    /// All drivers in the order of their names.
    pub const ALL: [Self; 7] = [
        Self::Fluentd,
        Self::Gelf,
        Self::Journald,
        Self::JsonFile,
        Self::Local,
        Self::None,
        Self::Syslog,
    ];

    /// Its name in Docker, which is the scheme of its URIs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fluentd => "fluentd",
            Self::Gelf => "gelf",
            Self::Journald => "journald",
            Self::JsonFile => "json-file",
            Self::Local => "local",
            Self::None => "none",
            Self::Syslog => "syslog",
        }
    }

    /// Whether it writes a file, which its URIs name.
    pub fn has_file(self) -> bool {
        match self {
            Self::JsonFile | Self::Local => true,
            Self::Fluentd | Self::Gelf | Self::Journald | Self::None | Self::Syslog => false,
        }
    }

    /// Whether its URIs may have a path.
    pub fn may_have_path(self) -> bool {
        self.has_file() || self == Self::Journald
    }

    /// The driver of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|driver| driver.name() == name)
    }

    /// All names, for texts.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

/// What a driver may say of a container beside its output. The engine knows it; any of it may be empty.
///
/// In a URI these are the arguments `fact.name`, `fact.image` and so on, and `attr.KEY` for each attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogDetails {
    /// The container's name, without a slash.
    pub name: String,
    /// The image's name, as the user gave it.
    pub image: String,
    /// The image's digest.
    pub image_id: String,
    /// Entrypoint and arguments, with spaces between them.
    pub command: String,
    /// When the container was made, as RFC 3339.
    pub created: String,
    /// The labels and variables that the options `labels`, `labels-regex`, `env` and `env-regex` choose. Those options themselves
    /// are not passed: the engine has resolved them.
    pub attributes: BTreeMap<String, String>,
}

impl LogDetails {
    /// Takes what belongs here out of a URI's arguments.
    pub(crate) fn take(arguments: &mut BTreeMap<String, String>) -> Self {
        let mut details = Self::default();
        for (key, field) in details.facts() {
            *field = arguments.remove(&format!("fact.{key}")).unwrap_or_default();
        }
        arguments.retain(|key, value| match key.strip_prefix("attr.") {
            Some(name) => {
                details.attributes.insert(name.into(), std::mem::take(value));
                false
            }
            None => true,
        });
        details
    }

    /// The arguments of a URI that say this.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = (String, &str)> {
        let facts = [
            ("name", &self.name),
            ("image", &self.image),
            ("image-id", &self.image_id),
            ("command", &self.command),
            ("created", &self.created),
        ];
        let facts = facts
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (format!("fact.{key}"), value.as_str()));
        let attributes = self.attributes.iter();
        facts.chain(attributes.map(|(key, value)| (format!("attr.{key}"), value.as_str())))
    }

    fn facts(&mut self) -> [(&'static str, &mut String); 5] {
        [
            ("name", &mut self.name),
            ("image", &mut self.image),
            ("image-id", &mut self.image_id),
            ("command", &mut self.command),
            ("created", &mut self.created),
        ]
    }
}
