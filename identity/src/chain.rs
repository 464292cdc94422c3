//! How much of a chain is looked at: what a peer can make us work is bounded before anything of it is parsed.

use rustls_pki_types::CertificateDer;

use crate::error::ChainError;

/// The most certificates in a chain: a leaf and three intermediates. Meshes have one or two; each one more is a
/// signature for us to check and a branch for a path to take.
pub(crate) const MAX_CERTIFICATES: usize = 4;

/// The most bytes in a chain. Four certificates with RSA-4096 keys and room for long names take half of it.
const MAX_BYTES: usize = 16 * 1024;

/// Checks that leaf and intermediates are within the budget.
pub(crate) fn check_size(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Result<(), ChainError> {
    let certificates = intermediates.len().saturating_add(1);
    if certificates > MAX_CERTIFICATES {
        return Err(ChainError::TooLong { limit: MAX_CERTIFICATES, actual: certificates });
    }
    let bytes = intermediates.iter().map(|der| der.len()).sum::<usize>().saturating_add(leaf.len());
    if bytes > MAX_BYTES {
        return Err(ChainError::TooLarge { limit: MAX_BYTES, actual: bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_exact() {
        let certificate = |length: usize| CertificateDer::from(vec![0; length]);
        let quarter = [certificate(4096), certificate(4096), certificate(4096)];
        assert_eq!(check_size(&certificate(4096), &quarter), Ok(()));
        assert_eq!(
            check_size(&certificate(4097), &quarter),
            Err(ChainError::TooLarge { limit: 16384, actual: 16385 })
        );
        assert_eq!(
            check_size(&certificate(1), &[const { CertificateDer::from_slice(b"") }; 4]),
            Err(ChainError::TooLong { limit: 4, actual: 5 })
        );
    }
}
