//! Which web pages may call this broker from a browser: none, unless their origin is listed.
//!
//! A browser says where a page is from in `Origin`. A page that is not listed is refused, not just
//! kept from reading the answer: the call would be carried out all the same.

use http::{HeaderMap, HeaderValue, Method, header};
use std::time::Duration;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer, ExposeHeaders};

/// How long a browser may remember that a call is allowed; browsers cap it themselves.
const REMEMBERED: Duration = Duration::from_hours(2);

/// The pages that may call.
#[derive(Clone, Default)]
pub(super) struct Origins {
    listed: Vec<HeaderValue>,
    all: bool,
}

impl Origins {
    /// Origins such as `https://shop.example`, or `*` for all. One that is no header is none.
    pub(super) fn new(origins: &[String]) -> Self {
        Self {
            listed: origins.iter().filter_map(|origin| origin.parse().ok()).collect(),
            all: origins.iter().any(|origin| origin == "*"),
        }
    }

    /// Whether a request comes from a page that may not call.
    pub(super) fn refuses(&self, headers: &HeaderMap) -> bool {
        let origin = headers.get(header::ORIGIN);
        origin.is_some_and(|origin| !self.all && !self.listed.contains(origin))
    }

    /// Answers what browsers ask before a call, and tells them that they may read the answer. Not
    /// needed when no page may call.
    pub(super) fn layer(&self) -> Option<CorsLayer> {
        if self.listed.is_empty() {
            return None;
        }
        let origins = if self.all {
            AllowOrigin::any()
        } else {
            AllowOrigin::list(self.listed.iter().cloned())
        };
        let layer = CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST])
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(ExposeHeaders::any())
            .max_age(REMEMBERED);
        Some(layer)
    }
}
