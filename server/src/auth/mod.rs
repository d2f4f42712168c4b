//! Who calls, and what that one may do.
//!
//! A [`Principal`] holds grants: roles, the queues they are for, and whether they end at its own
//! jobs. The table of [`Call`] says which role each call needs. [`Credentials`] knows principals by
//! what they show: a token, a JWT, a certificate. [`Limits`] say how much each may call. Nothing
//! here knows the wire; where credentials stand in a call and what it hears when it may not is in
//! `rpc/auth`.

mod call;
mod credentials;
mod jwt;
mod keyring;
mod limits;
mod principal;
mod role;
pub mod secret;

pub use self::call::{Call, Rule};
pub use self::credentials::{Credentials, Denied, Error, Keeping, Known, Settings, Shown};
pub use self::jwt::{JwtSettings, KeyPlace, Unusable};
pub use self::keyring::{Error as KeyringError, Keyring};
pub use self::limits::{Excess, Limits, Place};
pub use self::principal::{BadGrant, Grant, NAME_LIMIT, Principal, Reach};
pub use self::role::Role;
