//! Under which names a broker may be called that asks nobody who they are.
//!
//! A web page can reach the developer's own machine: its name is made to lead to 127.0.0.1 once the
//! page is loaded (DNS rebinding), and then the browser takes the broker for the page's own server.
//! What the browser still tells is the name that it called. An address is no such name, and the
//! names of the own machine lead nowhere else.

use std::net::IpAddr;

use axum::Router;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use http::uri::Authority;
use http::{Request, StatusCode, Version, header};

/// What is told to whoever calls by another name.
pub(super) const FOREIGN: &str = "a broker without credentials is called by an address or as localhost; other names are allowed \
     by the setting cors.origins\n";

/// The names that may stand in `Host`.
#[derive(Clone)]
pub(super) enum Hosts {
    /// Any: callers are asked who they are, or come from elsewhere anyway.
    Any,
    /// Addresses, names of the own machine, and these.
    Own(Vec<String>),
}

impl Hosts {
    /// Those of the own machine, and those of `origins`, such as `https://shop.example`; `*` is all.
    pub(super) fn own(origins: &[String]) -> Self {
        if origins.iter().any(|origin| origin == "*") {
            return Self::Any;
        }
        let host = |origin: &String| {
            let (_, authority) = origin.split_once("://")?;
            Some(name(&authority.parse().ok()?))
        };
        Self::Own(origins.iter().filter_map(host).collect())
    }

    /// Puts this before `pages`.
    pub(super) fn guard(self, pages: Router) -> Router {
        pages.layer(from_fn(move |request: Request<axum::body::Body>, next: Next| {
            let is_refused = self.refuses(&request);
            async move {
                if is_refused {
                    return (StatusCode::FORBIDDEN, FOREIGN).into_response();
                }
                next.run(request).await
            }
        }))
    }

    /// Whether a request may come from a page that took a name which is not ours.
    ///
    /// Browsers speak HTTP/2 only with TLS, whose certificate has no such name; so HTTP/2 is no
    /// browser's, or one that was not deceived.
    pub(super) fn refuses<B>(&self, request: &Request<B>) -> bool {
        let Self::Own(listed) = self else { return false };
        if request.version() > Version::HTTP_11 {
            return false;
        }
        let header = request.headers().get(header::HOST);
        let authority = match (request.uri().authority(), header) {
            (Some(authority), _) => Some(authority.clone()),
            (None, Some(host)) => host.to_str().ok().and_then(|host| host.parse().ok()),
            // Browsers always send it.
            (None, None) => return false,
        };
        !authority.is_some_and(|authority| {
            let name = name(&authority);
            is_own(&name) || listed.contains(&name)
        })
    }
}

/// The host without its port, as it is compared.
fn name(authority: &Authority) -> String {
    let host = authority.host();
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Addresses need no resolver, and `localhost` asks none.
fn is_own(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(hosts: &Hosts, host: &str) -> bool {
        hosts.refuses(&Request::get("/metrics").header("host", host).body(()).unwrap())
    }

    #[test]
    fn names_of_the_own_machine_are_told_from_others() {
        let hosts = Hosts::own(&["http://queue.test:8080".to_owned()]);
        for own in [
            "localhost",
            "LocalHost:7077",
            "localhost.:7077",
            "web.localhost",
            "127.0.0.1:7077",
            "[::1]:7077",
            "10.0.0.7",
            "queue.test:7077",
        ] {
            assert!(!refuses(&hosts, own), "{own}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "evil-localhost",
            "127.0.0.1.nip.io",
            "a b",
            "",
        ] {
            assert!(refuses(&hosts, foreign), "{foreign}");
        }
    }

    #[test]
    fn only_what_a_deceived_browser_may_send_is_looked_at() {
        let hosts = Hosts::own(&[]);
        let absolute = Request::get("http://evil.example/metrics").body(()).unwrap();
        assert!(hosts.refuses(&absolute));
        let old = Request::get("/livez").version(Version::HTTP_10).body(()).unwrap();
        assert!(!hosts.refuses(&old));
        let http2 = Request::get("http://proxy.example/metrics").version(Version::HTTP_2);
        assert!(!hosts.refuses(&http2.body(()).unwrap()));
        assert!(!refuses(&Hosts::Any, "evil.example"));
        assert!(!refuses(&Hosts::own(&["*".to_owned()]), "evil.example"));
    }
}
