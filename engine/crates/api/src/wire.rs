//! The shapes that clients send. What the engine answers is shaped in `show`.

pub mod create;
pub mod exec;
pub mod rest;
