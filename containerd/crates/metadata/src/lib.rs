//! The manager's durable records over redb.
