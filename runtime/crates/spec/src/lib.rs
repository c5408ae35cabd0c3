//! The runtime's reading of config.json.
