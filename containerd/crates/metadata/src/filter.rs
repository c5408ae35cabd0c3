//! The filter language of list calls.
