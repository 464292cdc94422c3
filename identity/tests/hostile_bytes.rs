//! Bytes from outside, changed at random: nothing panics, and nothing that was changed is believed to be someone else.

#![cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod lab;

use std::sync::LazyLock;

use inpod_identity::{Bundle, Ca, LeafError, Role, SpiffeId, Svid, VerifyError, verify};
use lab::{Authority, HOUR, domain, id, now, pem, provider, unix};
use proptest::prelude::*;
use proptest::sample::Index;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

struct Good {
    root: Authority,
    leaf: Vec<u8>,
    intermediate: Vec<u8>,
    key: Vec<u8>,
}

/// A chain with every kind of name in it, made once.
static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let root = Authority::root("root");
    let intermediate = root.intermediate("intermediate");
    let (leaf, key) = intermediate.leaf(|leaf| {
        leaf.subject_alt_names.push(lab::dns("cart.shop.svc"));
        leaf.subject_alt_names.push(rcgen::SanType::IpAddress([10, 0, 0, 1].into()));
        leaf.use_authority_key_identifier_extension = true;
    });
    Good {
        leaf: leaf.to_vec(),
        intermediate: intermediate.certificate.to_vec(),
        key: key.secret_der().to_vec(),
        root,
    }
});

/// What may happen to bytes on their way.
#[derive(Debug, Clone)]
enum Change {
    Flip(Index, u8),
    Cut(Index),
    Remove(Index),
    Insert(Index, u8),
    Copy(Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    prop_oneof![
        6 => (index(), 1..=u8::MAX).prop_map(|(at, mask)| Change::Flip(at, mask)),
        1 => index().prop_map(Change::Cut),
        1 => index().prop_map(Change::Remove),
        1 => (index(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        1 => (index(), index(), index()).prop_map(|(from, to, at)| Change::Copy(from, to, at)),
    ]
}

fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes {
        let length = bytes.len();
        if length == 0 {
            break;
        }
        match change {
            Change::Flip(at, mask) => bytes[at.index(length)] ^= mask,
            Change::Cut(at) => bytes.truncate(at.index(length)),
            Change::Remove(at) => drop(bytes.remove(at.index(length))),
            Change::Insert(at, byte) => bytes.insert(at.index(length), *byte),
            Change::Copy(from, to, at) => {
                let (from, to, at) = (from.index(length), to.index(length), at.index(length));
                let piece = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(change(), 1..4)
}

fn believed(leaf: &[u8], intermediate: &[u8], role: Role) -> Option<SpiffeId> {
    let chain = [CertificateDer::from(leaf), CertificateDer::from(intermediate)];
    let algorithms = provider().signature_verification_algorithms.all;
    verify(&chain, GOOD.root.bundle(), role, algorithms, unix(now())).ok()
}

#[test]
fn the_unchanged_chain_is_believed() {
    let found = believed(&GOOD.leaf, &GOOD.intermediate, Role::Server);
    assert_eq!(found, Some(id("/ns/shop/sa/cart")));
}

/// It could be a second URI.
#[test]
fn a_name_that_cannot_be_read_is_not_passed_over() {
    let name = b"cart.shop.svc";
    let mut leaf = GOOD.leaf.clone();
    let at = leaf.windows(name.len()).position(|window| window == name).unwrap();
    assert_eq!(leaf[at - 2], 0x82, "a DNS name");
    leaf[at - 2] = 0x86;
    leaf[at] = 0xff;
    let algorithms = provider().signature_verification_algorithms.all;
    let refusal = verify(&[leaf.into()], GOOD.root.bundle(), Role::Client, algorithms, unix(now()));
    assert!(matches!(refusal, Err(VerifyError::Leaf(LeafError::Malformed(_)))), "{refusal:?}");
}

/// Every byte of the leaf, one at a time, with every single bit of it turned.
#[test]
fn no_single_bit_changes_who_it_is() {
    for at in 0..GOOD.leaf.len() {
        for bit in 0..8 {
            let mut leaf = GOOD.leaf.clone();
            leaf[at] ^= 1 << bit;
            assert_eq!(believed(&leaf, &GOOD.intermediate, Role::Client), None, "byte {at} bit {bit}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_changed_leaf_is_nobody(changes in changes()) {
        let leaf = changed(&GOOD.leaf, &changes);
        prop_assume!(leaf != GOOD.leaf);
        prop_assert_eq!(believed(&leaf, &GOOD.intermediate, Role::Client), None);
    }

    #[test]
    fn a_changed_intermediate_vouches_for_nobody(changes in changes()) {
        let intermediate = changed(&GOOD.intermediate, &changes);
        prop_assume!(intermediate != GOOD.intermediate);
        prop_assert_eq!(believed(&GOOD.leaf, &intermediate, Role::Server), None);
    }

    #[test]
    fn an_svid_of_changed_bytes_is_an_error_or_sound(leaf in changes(), key in changes()) {
        let certificate = CertificateDer::from(changed(&GOOD.leaf, &leaf));
        let good_key = PrivateKeyDer::Pkcs8(GOOD.key.clone().into());
        if let Ok(svid) = Svid::new(vec![certificate], good_key) {
            prop_assert!(!svid.id().path().is_empty());
        }
        let key = changed(&GOOD.key, &key);
        for key in [
            PrivateKeyDer::Pkcs8(key.clone().into()),
            PrivateKeyDer::Sec1(key.clone().into()),
            PrivateKeyDer::Pkcs1(key.into()),
        ] {
            drop(Svid::new(vec![GOOD.leaf.clone().into()], key));
        }
    }

    #[test]
    fn a_ca_of_changed_bytes_is_an_error_or_issues_what_its_bundle_believes(
        certificate in changes(),
        key in changes(),
    ) {
        let (root, root_key) = Authority::root("root").into_parts();
        let certificate = pem("CERTIFICATE", &changed(&root, &certificate));
        drop(Bundle::from_pem(domain(), certificate.as_bytes()));
        let good_key = pem("PRIVATE KEY", &root_key);
        if let Ok(ca) = Ca::from_pem(domain(), certificate.as_bytes(), good_key.as_bytes())
            && let Ok(svid) = ca.issue(&id("/x"), HOUR, now())
        {
            let algorithms = provider().signature_verification_algorithms.all;
            let found = verify(svid.chain(), ca.bundle(), Role::Client, algorithms, unix(now()));
            prop_assert!(found.is_err() || found.as_ref() == Ok(svid.id()));
        }
        let root = pem("CERTIFICATE", &root);
        let key = pem("PRIVATE KEY", &changed(&root_key, &key));
        drop(Ca::from_pem(domain(), root.as_bytes(), key.as_bytes()));
    }

    #[test]
    fn any_bytes_at_all_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(believed(&bytes, &GOOD.intermediate, Role::Client), None);
        prop_assert!(Svid::from_pem(&bytes, &bytes).is_err());
        prop_assert!(Bundle::from_pem(domain(), &bytes).is_err());
        prop_assert!(Ca::from_pem(domain(), &bytes, &bytes).is_err());
    }
}
