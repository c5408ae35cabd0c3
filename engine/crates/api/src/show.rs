//! The shapes of answers about containers and images.

pub mod container;
pub mod host_config;
pub mod image;
pub mod network;
pub mod summary;
pub mod time;
