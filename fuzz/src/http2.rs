//! HTTP/2 from a peer, as bytes that must neither panic nor hang either end.

use std::time::Duration;

use hbone::{Arrival, Client, Config, ConnectRequest, Tunnel, client, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// What a client sends: preface, settings, a CONNECT, data, and the end of it.
pub(crate) const OF_A_CLIENT: &[&[u8]] = &[
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
      \0\0\x29\x01\x04\0\0\0\x01\0\x07:method\x07CONNECT\0\x0a:authority\x0b10.0.0.5:80\
      \0\0\x04\0\x01\0\0\0\x01data",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\x01\
      \0\0\x29\x01\x04\0\0\0\x01\0\x07:method\x07CONNECT\0\x0a:authority\x0b10.0.0.5:80\
      \0\0\x04\x08\0\0\0\0\x01\0\0\0\x05\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08\
      \0\0\x08\x06\0\0\0\0\0pingpong\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
];

/// What a server sends: settings, an answer, data, and the end of it.
pub(crate) const OF_A_SERVER: &[&[u8]] = &[
    b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x04\0\x01\0\0\0\x01data",
    b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x05\0\0\0\x01\x8c\0\0\x01\x01\x04\0\0\0\x03\x88\
      \0\0\x04\x03\0\0\0\0\x03\0\0\0\x08\0\0\x08\x07\0\0\0\0\0\0\0\0\x03\0\0\0\0",
    b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0\0\0\x0e\x01\x04\0\0\0\x01\x08\x03100\0\x01a\x01b\x08\x01\
      \0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x03\x01\x05\0\0\0\x01\0\x01x\x01y",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
];

/// A server hears the bytes, and then that its client has closed.
pub(crate) fn to_a_server(bytes: &[u8]) {
    drop(server_answers(bytes));
}

/// A client that asks for two tunnels hears the bytes, and then that its server has closed.
pub(crate) fn to_a_client(bytes: &[u8]) {
    drop(client_answers(bytes));
}

/// What a server that echoes says to the bytes.
fn server_answers(bytes: &[u8]) -> Vec<u8> {
    conversation(bytes, async |far| {
        let Ok(mut server) = server::handshake(far, &Config::default()).await else { return };
        while let Some(arrival) = server.next().await {
            if let Ok(Arrival::Connect(incoming)) = arrival
                && let Ok(tunnel) = incoming.accept()
            {
                tokio::spawn(echo(tunnel));
            }
        }
        assert!(server.next().await.is_none());
    })
}

/// What a client that echoes says to the bytes.
fn client_answers(bytes: &[u8]) -> Vec<u8> {
    conversation(bytes, async |near| {
        let Ok((client, driver)) = client::handshake(near, &Config::default()).await else { return };
        let asking = [tokio::spawn(ask(client.clone())), tokio::spawn(ask(client))];
        let _ = driver.await;
        for asked in asking {
            assert!(asked.await.is_ok());
        }
    })
}

async fn ask(client: Client) {
    let Ok(target) = "10.0.0.5:80".parse() else { return };
    if let Ok(tunnel) = client.open(ConnectRequest::new(target)).await {
        echo(tunnel).await;
    }
}

async fn echo(tunnel: Tunnel) {
    let (mut recv, mut send) = tunnel.into_split();
    while let Some(Ok(chunk)) = recv.data().await {
        if send.send_all(chunk).await.is_err() {
            return;
        }
    }
    let _ = send.finish();
}

/// Runs one end on a stream from which the bytes come, and gives what it wrote. Time passes only where nothing else can
/// happen.
fn conversation(bytes: &[u8], end: impl AsyncFnOnce(DuplexStream)) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let Ok(runtime) = runtime else { return Vec::new() };
    let talk = async {
        let (peer, ours) = tokio::io::duplex(bytes.len() + 65_536);
        let (mut read, mut write) = tokio::io::split(peer);
        let bytes = bytes.to_vec();
        tokio::spawn(async move {
            // Passes when this end has said what it has to say by itself.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let _ = write.write_all(&bytes).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            let _ = write.shutdown().await;
        });
        let hearing = tokio::spawn(async move {
            let mut heard = Vec::new();
            let _ = read.read_to_end(&mut heard).await;
            heard
        });
        end(ours).await;
        hearing.await.unwrap_or_default()
    };
    let heard = runtime.block_on(async { tokio::time::timeout(A_DAY, talk).await });
    assert!(heard.is_ok(), "it waits for ever");
    heard.unwrap_or_default()
}

/// More than all limits of time together.
const A_DAY: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    /// What begins from the seeds begins with tunnels that carry bytes.
    #[test]
    fn the_first_seeds_are_whole_conversations() {
        let [of_a_client, ..] = OF_A_CLIENT else { unreachable!() };
        let [of_a_server, ..] = OF_A_SERVER else { unreachable!() };
        for heard in [server_answers(of_a_client), client_answers(of_a_server)] {
            assert!(heard.windows(4).any(|window| window == b"data"), "{heard:?}");
        }
    }
}
