//! [`verify`](crate::verify()) and an [`Authorizer`] behind rustls's traits, for both ends alike.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::error::{PathError, VerifyError};
use crate::expected::Authorizer;
use crate::revocation::RevocationError;
use crate::shared_trust::SharedTrust;
use crate::verify::{Role, verify_leaf};

/// Accepts a peer whose chain proves an identity that the authorizer lets in.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    trust: SharedTrust,
    authorizer: Arc<dyn Authorizer>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    pub(super) fn new(
        provider: &CryptoProvider,
        trust: SharedTrust,
        authorizer: Arc<dyn Authorizer>,
    ) -> Self {
        Self { trust, authorizer, algorithms: provider.signature_verification_algorithms }
    }

    fn verify_peer(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), Error> {
        let id = verify_leaf(leaf, intermediates, &self.trust.current(), role, self.algorithms.all, now)
            .map_err(refuse_certificate)?;
        self.authorizer.authorize(&id).map_err(refuse)
    }

    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

/// What rustls, and by its alert the peer, is told. The peer learns what it can mend; the rest stays ours, whole, as the
/// source of the error.
fn refuse_certificate(error: VerifyError) -> Error {
    use webpki::Error::{CertExpired, CertNotValidYet, UnknownIssuer};
    match error {
        VerifyError::Path(PathError(CertExpired { time, not_after })) => {
            CertificateError::ExpiredContext { time, not_after }.into()
        }
        VerifyError::Path(PathError(CertNotValidYet { time, not_before })) => {
            CertificateError::NotValidYetContext { time, not_before }.into()
        }
        VerifyError::Path(PathError(UnknownIssuer)) => CertificateError::UnknownIssuer.into(),
        VerifyError::Revocation(RevocationError::Revoked { .. }) => CertificateError::Revoked.into(),
        error => refuse(error),
    }
}

fn refuse(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

/// TLS 1.2 is never negotiated, so nobody should ask for its signatures to be verified.
fn refuse_tls12() -> Error {
    PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into()
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify_peer(end_entity, intermediates, Role::Server, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refuse_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    /// None: a workload has one certificate, and needs no hint to choose it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify_peer(end_entity, intermediates, Role::Client, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refuse_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
