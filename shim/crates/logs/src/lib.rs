//! Container log formats and rotation.
