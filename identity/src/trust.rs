//! [`Trust`]: whom to believe, domain by domain.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls_pki_types::SignatureVerificationAlgorithm;

use crate::bundle::Bundle;
use crate::certificate::Rules;
use crate::error::TrustError;
use crate::revocation::{Crls, CrlsError, Revocation, RevocationPolicy};
use crate::spiffe_id::SpiffeId;
use crate::trust_domain::TrustDomain;

/// Whom to believe: for each trust domain its own [`Bundle`], and what is revoked.
///
/// An id is vouched for by the bundle of its own trust domain and by no other (SPIFFE Trust Domain and Bundle §3,
/// SPIFFE Federation §4.2): bundles are never merged, so that no trust domain can forge another's ids. Ids of a trust
/// domain that has no bundle here are refused.
///
/// It is a value: changing it makes another one. To change what running TLS configurations believe, give them a
/// [`SharedTrust`](crate::SharedTrust). Cloning shares.
///
/// ```
/// # #[cfg(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use inpod_identity::{Ca, Trust};
///
/// let ours = Ca::generate("cluster.local".parse()?)?;
/// let theirs = Ca::generate("example.org".parse()?)?;
/// let trust = Trust::new([ours.bundle().clone(), theirs.bundle().clone()])?
///     .with_alias("old-name.local".parse()?, "cluster.local".parse()?)?;
/// assert!(trust.bundle(&"old-name.local".parse()?).is_some());
/// assert!(trust.bundle(&"example.com".parse()?).is_none());
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring"))))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Trust(Arc<Inner>);

#[derive(Clone, Default)]
struct Inner {
    bundles: BTreeMap<TrustDomain, Bundle>,
    /// From another name of a trust domain to the one that its bundle goes by.
    aliases: BTreeMap<TrustDomain, TrustDomain>,
    rules: Rules,
    revocation: Revocation,
}

impl Trust {
    /// Believes each of `bundles` about the ids of its own trust domain. With none, nobody is believed.
    pub fn new(bundles: impl IntoIterator<Item = Bundle>) -> Result<Self, TrustError> {
        let mut by_domain = BTreeMap::new();
        for bundle in bundles {
            let domain = bundle.trust_domain().clone();
            if by_domain.insert(domain.clone(), bundle).is_some() {
                return Err(TrustError::TwoBundles { trust_domain: domain });
            }
        }
        Ok(Self(Arc::new(Inner { bundles: by_domain, ..Inner::default() })))
    }

    /// This, with `bundle` in place of what its trust domain had, if anything.
    pub fn with_bundle(&self, bundle: Bundle) -> Result<Self, TrustError> {
        if self.0.aliases.contains_key(bundle.trust_domain()) {
            return Err(TrustError::IsAlias { trust_domain: bundle.trust_domain().clone() });
        }
        Ok(self.changed(|inner| drop(inner.bundles.insert(bundle.trust_domain().clone(), bundle))))
    }

    /// This, without `trust_domain`, its bundle and its aliases.
    #[must_use]
    pub fn without(&self, trust_domain: &TrustDomain) -> Self {
        self.changed(|inner| {
            inner.bundles.remove(trust_domain);
            inner.aliases.retain(|alias, of| alias != trust_domain && of != trust_domain);
        })
    }

    /// This, where the bundle of `of` vouches for ids of `alias` too: a trust domain that was renamed, or that has several
    /// names on purpose, as Istio's trust domain aliases are.
    ///
    /// An alias says who vouches for an id, and changes no id: what is expected of a peer is still compared with what its
    /// certificate says. [`canonical`](Self::canonical) gives the id under the bundle's own name.
    pub fn with_alias(&self, alias: TrustDomain, of: TrustDomain) -> Result<Self, TrustError> {
        if self.0.bundles.contains_key(&alias) {
            return Err(TrustError::HasBundle { trust_domain: alias });
        }
        if !self.0.bundles.contains_key(&of) {
            return Err(TrustError::NoBundle { trust_domain: of });
        }
        Ok(self.changed(|inner| drop(inner.aliases.insert(alias, of))))
    }

    /// This, with `rules` for the certificates that peers show.
    #[must_use]
    pub fn with_rules(&self, rules: Rules) -> Self {
        self.changed(|inner| inner.rules = rules)
    }

    /// This, with `crls` in place of the revocation lists that it had. `algorithms` are the signatures to believe.
    ///
    /// A list counts for certificates whose issuer has the list's name and key, and for no others. That one of a root is
    /// not signed by a root of that name is an error, as is one older than the one that it would replace: whoever keeps
    /// this value then, keeps the last good lists. The list of an intermediate CA is checked when a peer first shows that
    /// CA's certificate, and counts for nothing if its signature is another's.
    pub fn with_crls(
        &self,
        crls: &Crls,
        policy: RevocationPolicy,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<Self, CrlsError> {
        let revocation = self.0.revocation.replaced(crls, policy, self.0.bundles.values(), algorithms)?;
        Ok(self.changed(|inner| inner.revocation = revocation))
    }

    /// The bundle that vouches for ids of `trust_domain`, by its own name or by an alias.
    pub fn bundle(&self, trust_domain: &TrustDomain) -> Option<&Bundle> {
        self.0.bundles.get(self.0.aliases.get(trust_domain).unwrap_or(trust_domain))
    }

    /// Every bundle, in the order of the trust domains' names.
    pub fn bundles(&self) -> impl Iterator<Item = &Bundle> {
        self.0.bundles.values()
    }

    /// `id` as one of the trust domain that `id`'s is an alias of; `None` if it is of no alias.
    ///
    /// For authorization that should hold by whatever name the trust domain goes. The result may be a few bytes too long
    /// for an id, and is then `None` too.
    pub fn canonical(&self, id: &SpiffeId) -> Option<SpiffeId> {
        let of = self.0.aliases.get(&id.trust_domain())?;
        SpiffeId::new(of, id.path()).ok()
    }

    /// `id` by the other names of its trust domain: the bundle's own name and the aliases of that, but for the one that `id`
    /// has. A name by which the id would be too long is left out.
    ///
    /// For authorization that names a trust domain by any of its names, as that of Istio's trust domain aliases does.
    pub fn other_names(&self, id: &SpiffeId) -> Vec<SpiffeId> {
        let domain = id.trust_domain();
        let of = self.0.aliases.get(&domain).unwrap_or(&domain);
        let aliases = self.0.aliases.iter().filter(|(_, other)| *other == of).map(|(alias, _)| alias);
        let names = std::iter::once(of).chain(aliases).filter(|name| **name != domain);
        names.filter_map(|name| SpiffeId::new(name, id.path()).ok()).collect()
    }

    /// What is asked of the certificates that peers show.
    pub fn rules(&self) -> Rules {
        self.0.rules
    }

    pub(crate) fn revocation(&self) -> &Revocation {
        &self.0.revocation
    }

    fn changed(&self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Inner::clone(&self.0);
        change(&mut inner);
        Self(Arc::new(inner))
    }
}

impl From<Bundle> for Trust {
    /// Believes `bundle` about the ids of its trust domain, and nobody else.
    fn from(bundle: Bundle) -> Self {
        let bundles = BTreeMap::from([(bundle.trust_domain().clone(), bundle)]);
        Self(Arc::new(Inner { bundles, ..Inner::default() }))
    }
}

impl From<&Bundle> for Trust {
    fn from(bundle: &Bundle) -> Self {
        bundle.clone().into()
    }
}

impl From<&Self> for Trust {
    fn from(trust: &Self) -> Self {
        trust.clone()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("bundles", &self.0.bundles.values())
            .field("aliases", &self.0.aliases)
            .field("rules", &self.0.rules)
            .field("revocation", &self.0.revocation)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_goes_by_every_name_of_its_trust_domain() {
        let domain = |text: &str| text.parse::<TrustDomain>().unwrap();
        let bundles = ["new", "foreign"].map(|name| Bundle::of_nobody(domain(name)));
        let trust = Trust::new(bundles).unwrap();
        let trust = trust.with_alias(domain("old"), domain("new")).unwrap();
        let trust = trust.with_alias(domain("older"), domain("new")).unwrap();
        let trust = trust.with_alias(domain("strange"), domain("foreign")).unwrap();
        for (id, others) in [
            ("spiffe://new/a/b", vec!["spiffe://old/a/b", "spiffe://older/a/b"]),
            ("spiffe://old/a/b", vec!["spiffe://new/a/b", "spiffe://older/a/b"]),
            ("spiffe://foreign/a", vec!["spiffe://strange/a"]),
            ("spiffe://unknown/a", vec![]),
        ] {
            let named = trust.other_names(&id.parse().unwrap());
            assert_eq!(named.iter().map(SpiffeId::as_str).collect::<Vec<_>>(), others, "{id}");
        }
        // By the longest id, a longer name is none.
        let id: SpiffeId =
            format!("spiffe://old/{}", "a".repeat(2048 - "spiffe://old/".len())).parse().unwrap();
        let named = trust.other_names(&id);
        assert_eq!(named.iter().map(|id| id.trust_domain()).collect::<Vec<_>>(), [domain("new")]);
    }
}
