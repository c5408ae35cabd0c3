//! A whole Debian with nginx in it: imported, pulled from a registry, and serving pages on the default bridge.

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpStream},
    time::Duration,
};

use davit_integration_tests::{Engine, Registry, Run, Scratch, image, wait};

const SERVE: [&str; 3] = ["nginx", "-g", "daemon off;"];

#[test]
fn nginx_of_an_imported_debian_serves_pages_on_the_default_bridge() {
    let scratch = Scratch::new();
    let engine = Engine::start(&scratch);
    let docker = |arguments: &[&str]| scratch.docker(engine.socket()).args(arguments).finish();
    let tar = image::debian_nginx_tar().expect("debootstrap");
    // The peers see /tmp, not the cache.
    let input = scratch.join("debian.tar");
    std::fs::copy(tar, &input).expect("space for a copy");
    docker(&[
        "import",
        "--change",
        r#"CMD ["nginx", "-g", "daemon off;"]"#,
        input.to_str().expect("ASCII"),
        "debian-nginx",
    ])
    .ok();
    docker(&["run", "-d", "--name", "web", "debian-nginx"]).ok();
    let address = docker(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]).ok();
    serves(address.parse().expect("an address"));
    assert!(
        docker(&["exec", "web", "cat", "/etc/os-release"])
            .ok()
            .contains("Debian")
    );
    assert_eq!(
        docker(&[
            "exec",
            "web",
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "http://localhost/"
        ])
        .ok(),
        "200"
    );
    docker(&["stop", "web"]).ok();
    assert_eq!(docker(&["inspect", "-f", "{{.State.ExitCode}}", "web"]).ok(), "0");
    docker(&["rm", "web"]).ok();
    engine.stop();
}

#[test]
fn nginx_of_a_pulled_debian_answers_its_neighbour() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch);
    let archive = scratch.join("debian.tar");
    image::archive(
        &image::debian_nginx_tar().expect("debootstrap"),
        "debian-nginx:1",
        &archive,
    )
    .expect("an archive");
    registry.push(&archive, "debian-nginx:1");
    let engine = Engine::start(&scratch);
    let docker = |arguments: &[&str]| scratch.docker(engine.socket()).args(arguments).finish();
    let name = registry.name("debian-nginx:1");
    docker(&["pull", &name]).ok();
    docker(&[&["run", "-d", "--name", "web", &name][..], &SERVE].concat()).ok();
    let address = docker(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]).ok();
    serves(address.parse().expect("an address"));
    let url = format!("http://{address}/");
    let page = docker(&["run", "--rm", &name, "curl", "-s", &url]).ok();
    assert!(page.contains("Welcome to nginx"), "{page}");
    docker(&["rm", "--force", "web"]).ok();
    docker(&["rmi", &name]).ok();
    assert_eq!(docker(&["images", "--quiet"]).ok(), "");
    engine.stop();
}

/// Asks for the start page until nginx has it.
fn serves(address: IpAddr) {
    wait::until_true("nginx serves its start page", 20, || {
        let Ok(mut stream) = TcpStream::connect_timeout(&(address, 80).into(), Duration::from_secs(1)) else {
            return false;
        };
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a duration above zero");
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("nginx reads");
        let mut page = String::new();
        stream.read_to_string(&mut page).is_ok() && page.contains("Welcome to nginx")
    });
}
