//! Which requests are answered, and what every answer forbids the browser.
//!
//! A page in the operator's browser can make a name of its own lead to 127.0.0.1 (DNS rebinding) and read
//! what is there. Its requests have that name in `Host`, so only names of this machine's loopback are
//! answered. On a Unix socket no browser comes by itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::config::Listen;

/// Nothing but our own style sheet: no script, no frame, no form, no address elsewhere.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// What every answer has.
const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (X_FRAME_OPTIONS, "DENY"),
    (CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Refuses what is not answered, and adds to every answer what it forbids the browser.
pub(super) async fn guard(State(listen): State<Listen>, request: Request, next: Next) -> Response {
    let refused = refusal(&listen, &request);
    let mut response = match refused {
        Some(refused) => refused,
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The answer to a request that is not answered otherwise.
fn refusal(listen: &Listen, request: &Request) -> Option<Response> {
    if let Listen::Tcp(address) = listen
        && !is_to_us(request.uri(), request.headers(), *address)
    {
        let text = "this address is not one of the page's: open http://localhost with its port, or let \
                    the proxy send \"Host: localhost\"\n";
        let headers = [(CONNECTION, "close")];
        return Some((StatusCode::MISDIRECTED_REQUEST, headers, text).into_response());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let headers = [(ALLOW, "GET, HEAD"), (CONNECTION, "close")];
        let text = "the page is read-only\n";
        return Some((StatusCode::METHOD_NOT_ALLOWED, headers, text).into_response());
    }
    if !request.body().is_end_stream() {
        let text = "a request has no body here\n";
        let headers = [(CONNECTION, "close")];
        return Some((StatusCode::PAYLOAD_TOO_LARGE, headers, text).into_response());
    }
    None
}

/// Whether a request that has come over TCP means us: it names one host, and that is ours. The form with
/// a full address in its first line names it there too.
fn is_to_us(uri: &Uri, headers: &HeaderMap, address: SocketAddr) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let is_ours = |host: &str| is_our_host(host, address.ip());
    host.to_str().is_ok_and(is_ours) && uri.authority().is_none_or(|one| is_ours(one.as_str()))
}

/// Whether a host, with a port or without, is a name of the loopback interface that we listen on. An SSH
/// tunnel may have any port at its other end, so the port does not count: only names can be rebound.
fn is_our_host(host: &str, ip: IpAddr) -> bool {
    let (name, port) = match host.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((name, rest))) => match rest {
            "" => (name, None),
            _ => match rest.strip_prefix(':') {
                Some(port) => (name, Some(port)),
                None => return false,
            },
        },
        Some(None) => return false,
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let is_number = |port: &str| {
        port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<u16>().is_ok()
    };
    if !port.is_none_or(is_number) {
        return false;
    }
    if host.starts_with('[') {
        let named = name.parse::<Ipv6Addr>();
        return named.is_ok_and(|named| named == Ipv6Addr::LOCALHOST || IpAddr::V6(named) == ip);
    }
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let named = name.parse::<Ipv4Addr>();
    named.is_ok_and(|named| named == Ipv4Addr::LOCALHOST || IpAddr::V4(named) == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_loopback_interface_are_ours() {
        let ip = IpAddr::from([127, 0, 0, 5]);
        for (host, expected) in [
            ("localhost", true),
            ("LocalHost:8432", true),
            ("127.0.0.1:8432", true),
            ("127.0.0.1", true),
            ("127.0.0.5:8432", true),
            ("[::1]", true),
            ("[::1]:8432", true),
            // The near end of a tunnel.
            ("localhost:9000", true),
            ("127.0.0.6", false),
            ("127.1", false),
            ("2130706433", false),
            ("0.0.0.0", false),
            ("::1", false),
            ("[::2]", false),
            ("[::1", false),
            ("[::1]x", false),
            ("[localhost]", false),
            ("localhost.", false),
            ("localhost.:8432", false),
            ("localhost:", false),
            ("localhost:x", false),
            ("localhost:+1", false),
            ("localhost:65536", false),
            ("localhost:8432:1", false),
            ("localhost@evil.example", false),
            ("evil.example", false),
            ("evil.example:8432", false),
            ("localhost.evil.example:8432", false),
            ("127.0.0.1.nip.io", false),
            (" localhost", false),
            ("", false),
            (":8432", false),
        ] {
            assert_eq!(is_our_host(host, ip), expected, "{host:?}");
        }
    }

    #[test]
    fn a_request_names_one_host_and_no_other() {
        let address = "127.0.0.1:8432".parse().unwrap();
        for (uri, hosts, expected) in [
            ("/", &["localhost:8432"][..], true),
            ("/", &[], false),
            ("/", &["evil.example"], false),
            ("/", &["localhost", "localhost"], false),
            ("/", &["localhost", "evil.example"], false),
            ("http://localhost:8432/", &["localhost:8432"], true),
            ("http://evil.example/", &["localhost:8432"], false),
            ("http://localhost/", &["evil.example"], false),
        ] {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, HeaderValue::from_static(host));
            }
            let uri = Uri::from_static(uri);
            assert_eq!(
                is_to_us(&uri, &headers, address),
                expected,
                "{uri} {hosts:?}"
            );
        }
    }
}
