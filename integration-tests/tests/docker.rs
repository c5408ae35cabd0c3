//! The journeys of a user of the real docker CLI. What is expected of Docker's behaviour holds on the real dockerd first.

#[path = "cli/screen.rs"]
mod screen;

mod docker {
    pub mod answers;
    pub mod life;
    pub mod logs;
    pub mod settings;
    pub mod streams;
    pub mod terminal;
    pub mod world;
}

use docker::world;
