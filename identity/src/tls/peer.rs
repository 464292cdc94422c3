//! Who the peer of a connection is.

use rustls::CommonState;

use crate::certificate::{Certificate, Rules};
use crate::proof::Proof;
use crate::spiffe_id::SpiffeId;
use crate::verify::Role;

/// The peer's identity, once the handshake is finished; before, nothing is proven and there is none.
///
/// It means something only on a connection whose configuration this module made: others may not verify the certificate
/// that it is read from.
pub fn peer_id(state: &CommonState) -> Option<SpiffeId> {
    if state.is_handshaking() {
        return None;
    }
    Certificate::parse(state.peer_certificates()?.first()?).ok()?.leaf_id(Rules::Validator).ok()
}

/// What the peer, which has this role, has proved; as [`peer_id`], and to be judged again when other roots are believed.
pub fn peer_proof(state: &CommonState, role: Role) -> Option<Proof> {
    if state.is_handshaking() {
        return None;
    }
    Proof::new(state.peer_certificates()?, role).ok()
}
