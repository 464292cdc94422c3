//! Two ends of one connection, in one process, each telling who is at the other.
//!
//! `cargo run -p inpod-identity --example who_is_there`

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use inpod_identity::{Ca, Expected, ServiceAccount, TrustDomain, tls};
use tokio_rustls::{TlsAcceptor, TlsConnector};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let domain: TrustDomain = "cluster.local".parse()?;
    let ca = Ca::generate(domain.clone())?;
    let cart = ServiceAccount::new("shop", "cart")?.spiffe_id(&domain);
    let till = ServiceAccount::new("shop", "till")?.spiffe_id(&domain);

    let (hour, now) = (Duration::from_secs(3600), SystemTime::now());
    let (cart_svid, till_svid) = (ca.issue(&cart, hour, now)?, ca.issue(&till, hour, now)?);

    let provider = tls::aws_lc_rs();
    let client = tls::client_config(&provider, &cart_svid, ca.bundle(), Arc::new(Expected::one(till)))?;
    let server = tls::server_config(&provider, &till_svid, ca.bundle(), Arc::new(Expected::one(cart)))?;

    let (near, far) = tokio::io::duplex(16 * 1024);
    let (near, far) = tokio::try_join!(
        TlsConnector::from(Arc::new(client)).connect(tls::unnamed(), near),
        TlsAcceptor::from(Arc::new(server)).accept(far),
    )?;
    println!("the server is {}", tls::peer_id(near.get_ref().1).ok_or("nobody")?);
    println!("the client is {}", tls::peer_id(far.get_ref().1).ok_or("nobody")?);
    Ok(())
}
