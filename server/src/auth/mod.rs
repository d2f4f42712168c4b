//! Who may do what: pure rules over who calls, what it calls and which queue or job it is about.
//!
//! A [`Principal`] holds grants: roles, the queues they are for, and whether they end at its own
//! jobs. The table of [`Call`] says which role each call needs. Nothing here knows the wire; how a
//! call proves who it is and what it hears when it may not is in `rpc/auth`.

mod call;
mod principal;
mod role;

pub use self::call::{Call, Rule};
pub use self::principal::{BadGrant, Grant, NAME_LIMIT, Principal, Reach};
pub use self::role::Role;
