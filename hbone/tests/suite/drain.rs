//! Going away in order.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use inpod_hbone::{Arrival, Config, OpenError};

use crate::pair::{Pair, quiet, read_all, request, settled};
use crate::raw::{ACK, CONNECT, DATA, END_STREAM, GOAWAY, PING, Peer, arrivals};

#[tokio::test(start_paused = true)]
async fn a_draining_server_lets_tunnels_finish_and_takes_no_more() {
    let mut pair = Pair::new().await;
    let (mut near, mut far) = pair.open().await;
    pair.drain_server();
    quiet().await;
    assert!(pair.client.is_closed());
    let error = pair.client.open(request()).await.unwrap_err();
    assert!(matches!(error, OpenError::NotProcessed { .. }), "{error:?}");

    near.write_all(b"still").await.unwrap();
    far.read_exact(&mut [0; 5]).await.unwrap();
    assert!(settled(&mut pair.server).await.is_none(), "the server waits for the tunnel");

    near.shutdown().await.unwrap();
    far.shutdown().await.unwrap();
    assert_eq!(near.read(&mut [0; 9]).await.unwrap(), 0);
    assert_eq!(far.read(&mut [0; 9]).await.unwrap(), 0);
    drop((near, far));
    settled(pair.server).await.expect("the last tunnel is gone").unwrap().unwrap();
    settled(pair.driver).await.expect("so is the connection").unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_server_drains_at_once() {
    let pair = Pair::new().await;
    pair.drain_server();
    settled(pair.server).await.unwrap().unwrap().unwrap();
    settled(pair.driver).await.unwrap().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_draining_client_opens_no_more_and_keeps_what_is_open() {
    let mut pair = Pair::new().await;
    let (mut near, mut far) = pair.open().await;
    let clone = pair.client.clone();
    pair.client.drain();
    assert!(clone.is_closed());
    let error = clone.open(request()).await.unwrap_err();
    assert!(matches!(error, OpenError::Draining) && error.is_not_processed());
    near.write_all(b"still").await.unwrap();
    far.read_exact(&mut [0; 5]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_its_last_client_and_tunnel() {
    let Pair { client, mut arrivals, mut driver, mut server, .. } = {
        let mut pair = Pair::new().await;
        let (near, far) = pair.open().await;
        assert!(settled(&mut pair.driver).await.is_none());
        drop((near, far));
        pair
    };
    let second = client.clone();
    drop(client);
    assert!(settled(&mut driver).await.is_none(), "there is another client");
    let open = second.open(request());
    let accept = async { arrivals.recv().await.unwrap().accept().unwrap() };
    let (near, far) = tokio::join!(open, accept);
    drop(second);
    assert!(settled(&mut driver).await.is_none(), "there is a tunnel");
    drop((near, far));
    settled(&mut driver).await.expect("there is nothing").unwrap().unwrap();
    settled(&mut server).await.expect("the server sees the end").unwrap().unwrap();
}

/// RFC 9113 section 6.8: first a GOAWAY that excludes nothing, then, when the peer has seen it, the one that counts.
#[tokio::test(start_paused = true)]
async fn a_request_that_crosses_the_goodbye_is_served() {
    let (mut peer, mut server) = Peer::of_server(&Config::default()).await;
    server.drain();
    let mut arrivals = arrivals(server);
    let first = peer.wait_for(GOAWAY).await;
    assert_eq!(first.payload[..8], [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let ping = peer.wait_for(PING).await;
    peer.headers(0, 1, CONNECT).await;
    peer.send(PING, ACK, 0, &ping.payload).await;
    let Some(Arrival::Connect(incoming)) = arrivals.next().await else { panic!("it was lost") };
    let second = peer.wait_for(GOAWAY).await;
    assert_eq!(second.payload[..8], [0, 0, 0, 1, 0, 0, 0, 0], "it is among those that are served");
    let mut tunnel = incoming.accept().unwrap();
    peer.send(DATA, END_STREAM, 1, b"served").await;
    assert_eq!(read_all(tunnel.split().0).await.unwrap(), b"served");
    // What comes after is not.
    peer.headers(0, 3, CONNECT).await;
    assert!(arrivals.next().await.is_none());
}

/// All that were taken before the goodbye are served to their ends, whatever is opened and ended around it.
#[tokio::test(start_paused = true)]
async fn no_stream_is_lost_in_a_drain() {
    let mut pair = Pair::new().await;
    let mut tunnels = Vec::new();
    for _ in 0..50 {
        tunnels.push(pair.open().await);
    }
    let late = pair.client.clone();
    let late: Vec<_> = (0..50)
        .map(|_| {
            let client = late.clone();
            tokio::spawn(async move { client.open(request()).await })
        })
        .collect();
    pair.drain_server();
    let (mut taken, mut late_ends) = (0, Vec::new());
    while let Some(Some(incoming)) = settled(pair.arrivals.recv()).await {
        let mut far = incoming.accept().unwrap();
        far.write_all(b"late but served").await.unwrap();
        far.shutdown().await.unwrap();
        late_ends.push(far);
        taken += 1;
    }
    let mut served = 0;
    for opening in late {
        match opening.await.unwrap() {
            Ok(mut near) => {
                assert_eq!(read_all(near.split().0).await.unwrap(), b"late but served");
                near.shutdown().await.unwrap();
                served += 1;
            }
            Err(error) => assert!(error.is_not_processed(), "{error:?}"),
        }
    }
    assert_eq!(served, taken, "each is either served or safe to try elsewhere");
    for (mut near, mut far) in tunnels {
        near.write_all(b"to the end").await.unwrap();
        near.shutdown().await.unwrap();
        far.shutdown().await.unwrap();
        assert_eq!(read_all(far.split().0).await.unwrap(), b"to the end");
        assert!(near.split().0.data().await.is_none());
    }
    drop(late_ends);
    settled(pair.server).await.expect("the last tunnel is gone").unwrap().unwrap();
}
