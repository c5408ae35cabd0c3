//! Images as Docker users know them, over a containerd.
