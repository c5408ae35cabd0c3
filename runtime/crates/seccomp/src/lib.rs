//! Seccomp profiles to BPF, cached.
