//! [`ServiceAccount`]: the Kubernetes reading of an id's path.

use crate::error::ServiceAccountError;
use crate::spiffe_id::SpiffeId;
use crate::trust_domain::TrustDomain;

/// The longest RFC 1123 label, which is what Kubernetes lets a namespace be named.
const MAX_NAMESPACE: usize = 63;
/// The longest RFC 1123 subdomain, which is what Kubernetes lets a service account be named.
const MAX_NAME: usize = 253;

/// A Kubernetes service account, whose id has the path `/ns/NAMESPACE/sa/NAME`.
///
/// Instances are always valid: the namespace is an RFC 1123 label, the name an RFC 1123 subdomain. It says nothing of
/// the trust domain: that is given when an id is made of it, and asked of the id when it is read from one.
///
/// ```
/// use inpod_identity::{ServiceAccount, SpiffeId, TrustDomain};
///
/// let domain: TrustDomain = "cluster.local".parse()?;
/// let id = ServiceAccount::new("shop", "cart")?.spiffe_id(&domain);
/// assert_eq!(id.as_str(), "spiffe://cluster.local/ns/shop/sa/cart");
/// assert_eq!(ServiceAccount::try_from(&id)?.name(), "cart");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceAccount {
    namespace: String,
    name: String,
}

impl ServiceAccount {
    /// The service account `name` in `namespace`.
    pub fn new(namespace: &str, name: &str) -> Result<Self, ServiceAccountError> {
        if namespace.len() > MAX_NAMESPACE || !is_label(namespace) {
            return Err(ServiceAccountError::Namespace);
        }
        if name.len() > MAX_NAME || !name.split('.').all(is_label) {
            return Err(ServiceAccountError::Name);
        }
        Ok(Self { namespace: namespace.into(), name: name.into() })
    }

    /// Its id in `trust_domain`. Any two are short enough for an id.
    pub fn spiffe_id(&self, trust_domain: &TrustDomain) -> SpiffeId {
        SpiffeId::of_valid_path(trust_domain, format_args!("/ns/{}/sa/{}", self.namespace, self.name))
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name within the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl TryFrom<&SpiffeId> for ServiceAccount {
    type Error = ServiceAccountError;

    fn try_from(id: &SpiffeId) -> Result<Self, ServiceAccountError> {
        let rest = id.path().strip_prefix("/ns/").ok_or(ServiceAccountError::Path)?;
        let (namespace, rest) = rest.split_once('/').ok_or(ServiceAccountError::Path)?;
        let name = rest.strip_prefix("sa/").ok_or(ServiceAccountError::Path)?;
        match name.contains('/') {
            true => Err(ServiceAccountError::Path),
            false => Self::new(namespace, name),
        }
    }
}

/// Whether `text` has the shape of an RFC 1123 label: lower-case letters and digits, with hyphens inside.
fn is_label(text: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().all(|byte| is_alphanumeric(byte) || byte == b'-')
        && text.bytes().next().is_some_and(is_alphanumeric)
        && text.bytes().next_back().is_some_and(is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[expect(clippy::unwrap_in_result, reason = "the error under test is another one")]
    fn read(text: &str) -> Result<(String, String), ServiceAccountError> {
        let id: SpiffeId = text.parse().unwrap();
        ServiceAccount::try_from(&id).map(|account| (account.namespace().into(), account.name().into()))
    }

    #[test]
    fn reads_exactly_one_shape() {
        assert_eq!(read("spiffe://td/ns/a/sa/b.c-d"), Ok(("a".into(), "b.c-d".into())));
        for text in [
            "spiffe://td",
            "spiffe://td/ns/a/sa",
            "spiffe://td/ns/a/sa/b/c",
            "spiffe://td/NS/a/sa/b",
            "spiffe://td/ns/a/SA/b",
            "spiffe://td/ns/a/b/sa/c",
            "spiffe://td/x/ns/a/sa/b",
            "spiffe://td/sa/a/ns/b",
        ] {
            assert_eq!(read(text), Err(ServiceAccountError::Path), "{text}");
        }
    }

    #[test]
    fn names_are_those_that_kubernetes_allows() {
        let long = "a".repeat(254);
        for namespace in ["", "A", "a.b", "-a", "a-", "a_b", "a/b", "*", &long[..64]] {
            assert_eq!(
                ServiceAccount::new(namespace, "x"),
                Err(ServiceAccountError::Namespace),
                "{namespace:?}"
            );
        }
        for name in ["", "A", ".a", "a.", "a..b", "a.-b", "a_b", "a/b", "*", &long] {
            assert_eq!(ServiceAccount::new("x", name), Err(ServiceAccountError::Name), "{name:?}");
        }
        assert!(ServiceAccount::new(&long[..63], &long[..253]).is_ok());
    }

    proptest! {
        #[test]
        fn an_id_reads_back(
            domain in "[a-z0-9._-]{1,255}",
            namespace in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
            name in "[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?(\\.[a-z0-9]{1,60}){0,3}",
        ) {
            let domain: TrustDomain = domain.parse().unwrap();
            let account = ServiceAccount::new(&namespace, &name).unwrap();
            let id = account.spiffe_id(&domain);
            prop_assert_eq!(id.as_str().parse::<SpiffeId>().unwrap(), id.clone());
            prop_assert_eq!(ServiceAccount::try_from(&id).unwrap(), account);
            prop_assert_eq!(id.trust_domain(), domain);
        }
    }
}
