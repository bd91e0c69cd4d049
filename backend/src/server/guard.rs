//! Who is let in and what every answer carries: the host check, the origin check and the security headers.
//!
//! A page of another site can make a reader's browser send requests to this machine. It cannot read the answers, as no
//! CORS header is ever sent; it cannot change anything, as requests other than GET and HEAD are refused that say they come
//! from another origin, as browsers always say; and it cannot pass for this server through a name of its own that resolves
//! to this machine (DNS rebinding), as such a name is refused: nobody has an address, `localhost` or this machine's own name as
//! the name of a site, and other names are answered only when the server was told so.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

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

/// What proxies say of whom they ask for.
const OF_PROXIES: [&str; 5] = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/// Adds the headers to every answer and refuses who may not ask. `names` are answered beside those of this machine.
pub fn protect(router: Router<State>, door: Door, names: &[String]) -> Router<State> {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    // What is added later wraps what is there: refusals carry the headers as well.
    let router = router.layer(middleware::from_fn(only_text)).layer(middleware::from_fn(only_this_origin));
    let mut router = match door {
        Door::Shares => router.layer(middleware::from_fn(only_shares_for_others)),
        Door::ThisMachine | Door::Everyone => {
            let names = Arc::new(Names::new(door, names));
            router.layer(middleware::from_fn(move |request: Request, next: Next| {
                let is_known = named(request.headers()).is_some_and(|name| names.has(&name));
                async move { if is_known { next.run(request).await } else { RequestError::Host.into_response() } }
            }))
        }
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

/// Names under which a server is answered.
struct Names {
    /// Whether any address is one: those of a server that is open to the network are not all known to it.
    are_addresses: bool,
    /// In lower case.
    others: Vec<String>,
}

impl Names {
    fn new(door: Door, names: &[String]) -> Self {
        let are_addresses = door == Door::Everyone;
        let own = if are_addresses { own_names() } else { Vec::new() };
        Self { are_addresses, others: names.iter().map(|name| name.to_ascii_lowercase()).chain(own).collect() }
    }

    fn has(&self, name: &Named) -> bool {
        match name {
            Named::Address(_) if self.are_addresses => true,
            Named::Name(name) if self.others.contains(name) => true,
            name => name.is_this_machine(),
        }
    }
}

/// What this machine calls itself, alone and as its own network finds it.
fn own_names() -> Vec<String> {
    let of_system = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = of_system.or_else(|| ["HOSTNAME", "COMPUTERNAME"].into_iter().find_map(|name| std::env::var(name).ok()));
    let name = name.unwrap_or_default().trim().to_ascii_lowercase();
    if name.is_empty() { Vec::new() } else { vec![format!("{name}.local"), name] }
}

/// A proxy on this machine passes on for others: then it says so, or the name that was asked for is not this machine's.
async fn only_shares_for_others(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let is_here = peer.is_some_and(|peer| peer.to_canonical().is_loopback())
        && named(request.headers()).is_some_and(|name| name.is_this_machine())
        && !OF_PROXIES.iter().any(|name| request.headers().contains_key(*name));
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

/// Addresses are text: others are refused here, as errors are told everywhere.
async fn only_text(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if is_text(path) { next.run(request).await } else { RequestError::not_found(path).into_response() }
}

/// Whether a path is UTF-8 once what is percent-encoded in it is decoded.
fn is_text(path: &str) -> bool {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [byte, after @ ..] = rest {
        let digit = |i: usize| after.get(i).and_then(|digit| char::from(*digit).to_digit(16));
        let of_code = digit(0).zip(digit(1)).filter(|_| *byte == b'%').map(|(high, low)| (16 * high + low) as u8);
        decoded.push(of_code.unwrap_or(*byte));
        rest = if of_code.is_some() { &after[2..] } else { after };
    }
    std::str::from_utf8(&decoded).is_ok()
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

/// What a `Host` names, its port left out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Address(IpAddr),
    /// In lower case.
    Name(String),
}

impl Named {
    /// `None` when it is no host, with or without a port.
    fn read(host: &str) -> Option<Self> {
        if let Some(rest) = host.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            let address = address.parse().ok().filter(|_| is_port(port))?;
            return Some(Self::Address(IpAddr::V6(address)));
        }
        let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
        if name.is_empty() || !is_port(port) {
            return None;
        }
        Some(name.parse().map_or_else(|_| Self::Name(name.to_ascii_lowercase()), |it| Self::Address(IpAddr::V4(it))))
    }

    /// Whether it is `localhost` or a loopback address.
    fn is_this_machine(&self) -> bool {
        match self {
            Self::Address(address) => address.is_loopback(),
            Self::Name(name) => name == "localhost",
        }
    }
}

/// What a request asks for by name.
fn named(headers: &HeaderMap) -> Option<Named> {
    headers.get(header::HOST).and_then(|host| host.to_str().ok()).and_then(Named::read)
}

fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
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
    fn addresses_are_text_once_they_are_decoded() {
        assert!(["/", "/a%20b", "/%c3%a9", "/%C3%A9.json", "/100%", "/%zz", "/%0A"].map(is_text).iter().all(|is| *is));
        assert!(["/%ff", "/s/%C3", "/%c3%28", "/a/%80/b"].map(is_text).iter().all(|is| !*is));
    }

    #[test]
    fn names_of_this_machine_are_let_in_and_others_not() {
        let is_this_machine = |host: &str| Named::read(host).is_some_and(|name| name.is_this_machine());
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

    #[test]
    fn a_server_for_everyone_knows_addresses_its_own_names_and_those_it_was_told() {
        let has = |door: Door, host: &str| {
            let names = Names::new(door, &["Study.Example".to_owned()]);
            Named::read(host).is_some_and(|name| names.has(&name))
        };
        for host in ["10.0.0.7:7411", "[2001:db8::7]:7411", "192.168.1.2"] {
            assert!(has(Door::Everyone, host) && !has(Door::ThisMachine, host), "{host}");
        }
        for host in ["study.example", "STUDY.example:7411", "localhost:7411", "127.0.0.1"] {
            assert!(has(Door::Everyone, host) && has(Door::ThisMachine, host), "{host}");
        }
        for name in own_names() {
            assert!(has(Door::Everyone, &format!("{name}:7411")) && has(Door::Everyone, &name), "{name}");
        }
        for host in
            ["evil.example", "a.study.example", "study.example.evil.example", "10.0.0.7.evil.example", "10.0.0", ""]
        {
            assert!(!has(Door::Everyone, host) && !has(Door::ThisMachine, host), "{host}");
        }
    }
}
