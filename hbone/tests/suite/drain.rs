//! Going away in order.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use inpod_hbone::OpenError;

use crate::pair::{Pair, quiet, request, settled};

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
