//! SPIFFE identities: parse them, hold them, prove them, and check them in TLS.
