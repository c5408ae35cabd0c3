//! Layer archives: apply and diff.
