//! Plain HTTP on the port of the calls, as curl, browsers and kubelets speak it.

mod browser;
pub(crate) mod client;
mod connect;
mod docs;
mod events;
mod limits;
mod pages;
