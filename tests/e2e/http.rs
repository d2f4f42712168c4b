//! Plain HTTP on the port of the calls, as curl, browsers and kubelets speak it.

pub(crate) mod client;
mod connect;
mod limits;
mod pages;
