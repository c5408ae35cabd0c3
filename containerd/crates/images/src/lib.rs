//! Images: manifests, import, unpack.
