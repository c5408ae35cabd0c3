//! Kernel calls: the only home of unsafe.
