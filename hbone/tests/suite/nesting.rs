//! A connection over a tunnel of another one.

use std::convert::Infallible;
use std::io::ErrorKind;

use inpod_hbone::{Config, Origin, Pool, PoolConfig};

use crate::flow_control::both_ways;
use crate::pair::{Pair, quiet, read_all, request};

/// Two layers. The far end of the outer one would pass its bytes on; here it is where the inner one ends.
struct Layers {
    outer: Pair,
    inner: Pair,
}

impl Layers {
    async fn new() -> Self {
        let mut outer = Pair::new().await;
        let (near, far) = outer.open().await;
        let inner = Pair::over(near, far, &Config::default()).await;
        Self { outer, inner }
    }
}

#[tokio::test(start_paused = true)]
async fn much_passes_both_ways_at_once() {
    let mut layers = Layers::new().await;
    let (near, far) = layers.inner.open().await;
    both_ways(near, far, 20_000_000).await;
}

#[tokio::test(start_paused = true)]
async fn an_inner_tunnel_ends_by_itself() {
    let mut layers = Layers::new().await;
    let (near, far) = layers.inner.open().await;
    let (other_near, other_far) = layers.inner.open().await;
    let ((mut near_recv, mut near_send), (mut far_recv, mut far_send)) =
        (near.into_split(), far.into_split());
    near_send.send_all("question".into()).await.unwrap();
    near_send.finish().unwrap();
    assert_eq!(read_all(&mut far_recv).await.unwrap(), b"question");
    far_send.send_all("answer".into()).await.unwrap();
    far_send.finish().unwrap();
    assert_eq!(read_all(&mut near_recv).await.unwrap(), b"answer");
    // One is cut; neither the layer beneath nor a third tunnel hears of it.
    drop(other_near);
    let error = read_all(&mut other_far.into_split().0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    layers.inner.open().await;
    layers.outer.open().await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_beneath_fails_the_inner_tunnels() {
    let mut layers = Layers::new().await;
    let (near, far) = layers.inner.open().await;
    layers.outer.driver.abort();
    for tunnel in [near, far] {
        let failed = read_all(&mut tunnel.into_split().0).await;
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_of_the_inner_layer_leaves_the_outer_open() {
    let mut layers = Layers::new().await;
    let (near, far) = layers.inner.open().await;
    layers.inner.drain_server();
    quiet().await;
    assert!(layers.inner.client.is_closed() && !layers.outer.client.is_closed());
    layers.outer.open().await;
    let ((_receiving, mut send), (mut recv, _sending)) = (near.into_split(), far.into_split());
    send.send_all("late".into()).await.unwrap();
    send.finish().unwrap();
    assert_eq!(read_all(&mut recv).await.unwrap(), b"late");
}

/// The carrier that went away would end the new tunnel with it.
#[tokio::test(start_paused = true)]
async fn a_goodbye_of_the_outer_layer_moves_new_tunnels_to_another() {
    let mut outer = Pair::new().await;
    let pool: Pool<(), Infallible> = Pool::new(PoolConfig::default());
    let (near, far) = outer.open().await;
    let inner = Pair::over(near, far, &Config::default()).await;
    let Pair { client, mut arrivals, .. } = inner;
    let carried = client.carried_by(outer.client.clone());
    let accept = async { arrivals.recv().await.unwrap().accept().unwrap() };
    let dial = || async { Ok(carried) };
    let (first, far) = tokio::join!(pool.open(&(), request(), dial), accept);
    let first = first.unwrap();
    assert!(!first.client().is_closed());
    outer.drain_server();
    quiet().await;
    assert!(first.client().is_closed(), "it goes with its carrier");

    let Pair { client, mut arrivals, .. } = Pair::new().await;
    let accept = async { arrivals.recv().await.unwrap().accept().unwrap() };
    let (second, _far) = tokio::join!(pool.open(&(), request(), || async { Ok(client) }), accept);
    assert_eq!(second.unwrap().origin(), Origin::Dialled);
    // What was open goes on.
    let ((_receiving, mut send), (mut recv, _sending)) = (first.into_split(), far.into_split());
    send.send_all("late".into()).await.unwrap();
    send.finish().unwrap();
    assert_eq!(read_all(&mut recv).await.unwrap(), b"late");
}
