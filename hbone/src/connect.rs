//! The CONNECT request, and the status that a refusal becomes.

use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use thiserror::Error;

use crate::target::{Target, TargetError};

/// A request for a tunnel: where it should lead, and what the asking side says about itself in headers.
///
/// On the wire it is an HTTP/2 CONNECT with `:authority` and no `:scheme` or `:path` (RFC 9113 section 8.5).
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    target: Target,
    headers: HeaderMap,
}

impl ConnectRequest {
    /// A request without headers.
    pub fn new(target: Target) -> Self {
        Self { target, headers: HeaderMap::new() }
    }

    /// Where the tunnel should lead.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The request's headers. What a peer claims here is not proof of anything.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The request's headers, to add to. `content-length` is not sent: a CONNECT has no content (RFC 9110 section 9.3.6).
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    pub(crate) fn into_http(self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = authority_form(&self.target);
        *request.headers_mut() = self.headers;
        request.headers_mut().remove(CONTENT_LENGTH);
        request
    }

    pub(crate) fn from_http<B>(request: Request<B>) -> Result<(Self, B), MalformedRequest> {
        let (parts, body) = request.into_parts();
        if parts.method != Method::CONNECT {
            return Err(MalformedRequest::NotConnect { method: parts.method });
        }
        let authority = parts.uri.authority().ok_or(MalformedRequest::NoAuthority)?;
        let target = authority.as_str().parse().map_err(|source| MalformedRequest::Authority { source })?;
        if parts.headers.contains_key(CONTENT_LENGTH) {
            return Err(MalformedRequest::ContentLength);
        }
        if !parts.headers.get_all(HOST).iter().all(|host| names(host, &target)) {
            return Err(MalformedRequest::Host);
        }
        Ok((Self { target, headers: parts.headers }, body))
    }
}

/// What a server answers when there will be no tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The request makes no sense, or asks this server for something that is not its own.
    Malformed,
    /// Policy does not let this peer in.
    Denied,
    /// The destination is allowed, but cannot be reached now.
    Unavailable,
}

impl Refusal {
    /// The status sent to the peer: the only place where it is decided. Istio's ztunnel answers with the same numbers.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Denied => StatusCode::UNAUTHORIZED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Why a request that arrived is not a CONNECT that this library can serve. It was answered as
/// [`Refusal::Malformed`] already.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MalformedRequest {
    /// Another method than CONNECT.
    #[error("the method is {method}, not CONNECT")]
    NotConnect {
        /// The peer's method.
        method: Method,
    },
    /// There is no `:authority`.
    #[error("the request has no authority")]
    NoAuthority,
    /// The `:authority` is not a [`Target`].
    #[error("the authority is not a target")]
    Authority {
        /// What is wrong with it.
        #[source]
        source: TargetError,
    },
    /// There is a `content-length`, which a CONNECT cannot have (RFC 9110 section 9.3.6).
    #[error("the request has a content-length")]
    ContentLength,
    /// There is a `host` that is not the `:authority` (RFC 9113 section 8.3.1).
    #[error("the request's host is not its authority")]
    Host,
}

fn names(host: &HeaderValue, target: &Target) -> bool {
    host.to_str().ok().and_then(|text| text.parse::<Target>().ok()).is_some_and(|host| host == *target)
}

fn authority_form(target: &Target) -> Uri {
    #[expect(
        clippy::expect_used,
        reason = "every Target prints as an authority, which the proptest below holds"
    )]
    Uri::try_from(target.to_string()).expect("a target is a valid authority")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refusals_have_their_numbers() {
        let numbers =
            [Refusal::Malformed, Refusal::Denied, Refusal::Unavailable].map(|it| it.status().as_u16());
        assert_eq!(numbers, [400, 401, 503]);
    }

    #[test]
    fn another_method_is_named() {
        let request = Request::builder().uri("https://10.0.0.5:80/").body(()).unwrap();
        assert!(matches!(
            ConnectRequest::from_http(request),
            Err(MalformedRequest::NotConnect { method: Method::GET })
        ));
    }

    #[test]
    fn a_connect_needs_an_authority_that_is_a_target() {
        let none = Request::builder().method(Method::CONNECT).uri("/").body(()).unwrap();
        assert!(matches!(ConnectRequest::from_http(none), Err(MalformedRequest::NoAuthority)));
        let portless = Request::builder().method(Method::CONNECT).uri("a.example").body(()).unwrap();
        assert!(matches!(
            ConnectRequest::from_http(portless),
            Err(MalformedRequest::Authority { source: TargetError::NoPort })
        ));
    }

    proptest! {
        #[test]
        fn http_and_back_is_identity(
            address in any::<(std::net::IpAddr, u16)>(),
            host in "[a-z_]([a-z0-9_-]{0,20}[a-z0-9_])?(\\.[a-z]{1,10}){0,5}",
            port in 1..=u16::MAX,
        ) {
            let address = Target::from(std::net::SocketAddr::new(address.0, address.1.max(1)));
            for target in [address, Target::Host { host: host.parse().unwrap(), port }] {
                let http = ConnectRequest::new(target.clone()).into_http();
                prop_assert_eq!(http.uri().scheme(), None);
                prop_assert_eq!(http.uri().path_and_query(), None);
                let (request, ()) = ConnectRequest::from_http(http).unwrap();
                prop_assert_eq!(request.target(), &target);
            }
        }
    }
}
