//! Store URL → store.
