use tracing_subscriber::EnvFilter;

/// Logs to stderr. `RUST_LOG` overrides the level for those who look for a fault.
pub fn start(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new(format!(
            "{level},h2=info,hyper=info,hyper_util=info,tonic=info,tower=info"
        ))
    });
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        // Whoever read our log may have gone: that is no reason to panic.
        .log_internal_errors(false)
        .init();
}
