//! Who is let in and what every answer carries: the host check, the origin check and the security headers.
//!
//! A page of another site can make a reader's browser send requests to this machine. It cannot read the answers, as no
//! CORS header is ever sent; it cannot change anything, as requests other than GET and HEAD are refused that say they come
//! from another origin, as browsers always say; and it cannot pass for this server through a name of its own that resolves
//! to this machine (DNS rebinding), as such a name is refused.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower_http::set_header::SetResponseHeaderLayer;

use super::error::RequestError;
use super::{State, shares};

/// Who may ask for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// This machine alone, for everything.
    ThisMachine,
    /// This machine for everything, others for what lies below `/s/`.
    Shares,
    /// Everyone for everything.
    Everyone,
}

/// Adds the headers to every answer and refuses who may not ask.
pub fn protect(router: Router<State>, door: Door) -> Router<State> {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    // What is added later wraps what is there: refusals carry the headers as well.
    let router = router.layer(middleware::from_fn(only_this_origin));
    let mut router = match door {
        Door::ThisMachine => router.layer(middleware::from_fn(only_this_machine)),
        Door::Shares => router.layer(middleware::from_fn(only_shares_for_others)),
        Door::Everyone => router,
    };
    for (name, value) in fixed {
        router = router.layer(SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value)));
    }
    let policy = HeaderValue::from_str(&content_security_policy(&[])).expect("the policy is plain text");
    // index.html brings its own, with the hashes of its scripts.
    router.layer(SetResponseHeaderLayer::if_not_present(header::CONTENT_SECURITY_POLICY, policy))
}

/// The policy: everything from this server alone, WebAssembly allowed, no inline script but those hashed.
pub fn content_security_policy(script_hashes: &[String]) -> String {
    let hashes: String = script_hashes.iter().map(|hash| format!(" {hash}")).collect();
    format!(
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'{hashes}; style-src 'self' 'unsafe-inline'; \
         img-src 'self' data: blob:; worker-src 'self' blob:; connect-src 'self'; object-src 'none'; base-uri 'self'; \
         form-action 'none'; frame-ancestors 'none'"
    )
}

async fn only_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(is_this_machine) { next.run(request).await } else { RequestError::Host.into_response() }
}

/// A proxy on this machine passes on for others: then the name that was asked for is not this machine's.
async fn only_shares_for_others(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let is_here = peer.is_some_and(|peer| peer.to_canonical().is_loopback()) && host.is_some_and(is_this_machine);
    let path = request.uri().path();
    if is_here || path.starts_with("/s/") { next.run(request).await } else { shares::hidden() }
}

async fn only_this_origin(request: Request, next: Next) -> Response {
    if matches!(request.method().as_str(), "GET" | "HEAD") || is_from_here(request.headers()) {
        next.run(request).await
    } else {
        RequestError::Origin.into_response()
    }
}

/// Whether a request comes from a page of this server, or from no page at all: programs send neither header.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("not text"));
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let origin = text(header::ORIGIN);
    let host = text(header::HOST).unwrap_or_default();
    let is_here = |origin: &str| origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host));
    site.is_none_or(|site| matches!(site, "same-origin" | "none")) && origin.is_none_or(is_here)
}

/// Whether the `Host` of a request names this machine: `localhost` or a loopback address, with or without a port.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if is_port(port) => return is_loopback(address),
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            Some(_) => return false,
            None => host,
        },
    };
    name.eq_ignore_ascii_case("localhost") || is_loopback(name)
}

fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

fn is_loopback(address: &str) -> bool {
    address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_server_may_change_something() {
        let asked = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost:7411"))]);
            headers.extend(
                pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))),
            );
            is_from_here(&headers)
        };
        assert!(asked(&[]) && asked(&[("origin", "http://localhost:7411"), ("sec-fetch-site", "same-origin")]));
        assert!(asked(&[("origin", "https://LOCALHOST:7411")]), "behind a proxy that speaks TLS");
        for origin in
            ["null", "http://evil.example", "http://localhost", "http://localhost:7412", "http://localhost:74110"]
        {
            assert!(!asked(&[("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert!(!asked(&[("sec-fetch-site", site)]), "{site}");
        }
    }

    #[test]
    fn names_of_this_machine_are_let_in_and_others_not() {
        for host in ["localhost", "LOCALHOST:7411", "127.0.0.1", "127.0.0.1:80", "127.0.0.2:1", "[::1]", "[::1]:7411"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:7411",
            "10.0.0.1",
            "[::2]",
            "::1",
            "[::1",
            "[::1]x",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
