use super::*;

fn config(text: &str) -> Result<(Config, Vec<String>), ConfigError> {
    toml::from_str::<File>(text).unwrap().into_config()
}

#[test]
fn the_defaults_come_back_from_the_text_that_shows_them() {
    for personality in [Personality::Davit, Personality::Containerd] {
        let text = toml::to_string(&File::of(personality)).unwrap();
        assert_eq!(toml::from_str::<File>(&text).unwrap(), File::of(personality));
        let (config, notices) = File::of(personality).into_config().unwrap();
        assert_eq!(notices, Vec::<String>::new());
        assert_eq!(config.timeouts, Timeouts::default());
        assert_eq!(config.restart_interval, Some(Duration::from_secs(10)));
    }
}

#[test]
fn known_keys_take_effect() {
    let text = "root = '/a'\noom_score = -5\n[grpc]\naddress = '/s'\ngid = 5\n[debug]\nlevel = 'warn'\nformat = 'json'\n\
                [cgroup]\npath = 'x'\n[timeouts]\n'io.containerd.timeout.shim.cleanup' = '1m30s'\n\
                [plugins.'io.containerd.internal.v1.restart']\ninterval = '1.5s'\n";
    let (config, notices) = config(text).unwrap();
    assert_eq!(config.grpc.path, PathBuf::from("/s"));
    assert_eq!(config.grpc.owner, Owner { uid: 0, gid: 5 });
    assert_eq!(config.ttrpc.path, PathBuf::from("/s.ttrpc"));
    assert_eq!((config.oom_score, config.cgroup.as_str()), (-5, "x"));
    assert_eq!((config.log.level.as_str(), config.log.format), ("warn", Format::Json));
    assert_eq!(config.timeouts.clean_up, Duration::from_secs(90));
    assert_eq!(config.restart_interval, Some(Duration::from_millis(1500)));
    assert_eq!(notices, Vec::<String>::new());
}

#[test]
fn containerds_own_keys_without_an_effect_are_named() {
    let text = "temp = '/t'\ndisabled_plugins = ['cri']\n[debug]\nuid = 5\n[metrics]\ngrpc_histogram = true\n[plugins.'io.containerd.grpc.v1.cri']\nx = 1\n\
                [stream_processors.a]\npath = 'p'\n[timeouts]\n'io.containerd.timeout.bolt.open' = '0.5s'\n";
    let notices = config(text).unwrap().1.join(", ");
    for key in [
        "temp",
        "debug.uid",
        "metrics.grpc_histogram",
        "stream_processors",
        "io.containerd.grpc.v1.cri",
        "io.containerd.timeout.bolt.open",
    ] {
        assert!(notices.contains(key), "{key}: {notices}");
    }
}

#[test]
fn what_would_be_missed_is_refused() {
    for (text, words) in [
        ("[grpc]\ntcp_address = ':1'\n", "grpc.tcp_address is not supported"),
        ("[grpc]\ntcp_tls_ca = 'x'\n", "tcp_tls_key is not supported"),
        (
            "[grpc]\nmax_recv_message_size = 1\n",
            "max_recv_message_size is not supported",
        ),
        (
            "[proxy_plugins.x]\ntype = 'snapshot'\n",
            "proxy_plugins is not supported",
        ),
        (
            "required_plugins = ['io.containerd.grpc.v1.cri']\n",
            "io.containerd.grpc.v1.cri is not a plugin",
        ),
        (
            "disabled_plugins = ['io.containerd.runtime.v2.task']\n",
            "cannot be disabled",
        ),
        (
            "[timeouts]\n'io.containerd.timeout.task.state' = 'soon'\n",
            "\"soon\" is not a duration",
        ),
        (
            "[timeouts]\n'io.containerd.timeout.shim.load' = '-1s'\n",
            "\"-1s\" is not a duration",
        ),
        ("[plugins.restart]\ninterval = '0s'\n", "\"0s\" is not a duration"),
        ("[plugins.restart]\nintervall = '1s'\n", "plugins.\"restart\""),
    ] {
        let said = config(text).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn the_restart_monitor_can_be_left_out() {
    for name in ["restart", RESTART, RESTART_BEFORE] {
        let (config, _) = config(&format!("disabled_plugins = [{name:?}]\n")).unwrap();
        assert_eq!(config.restart_interval, None);
    }
}

#[test]
fn a_file_of_an_earlier_version_becomes_one_of_the_newest() {
    let text = "version = 2\nroot = '/a'\n[plugins.'io.containerd.internal.v1.restart']\ninterval = '3s'\n\
                [plugins.'io.containerd.grpc.v1.cri']\nx = 1\n";
    let migrated = toml::from_str::<File>(text).unwrap().migrated();
    assert_eq!((migrated.version, &migrated.root), (3, &PathBuf::from("/a")));
    assert_eq!(migrated.plugins.keys().collect::<Vec<_>>(), [RESTART]);
    assert_eq!(migrated.plugins[RESTART]["interval"].as_str(), Some("3s"));
    let defaults = File::of(Personality::Containerd);
    assert_eq!(defaults.clone().migrated(), defaults);
}
