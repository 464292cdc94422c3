//! Conversation: what the two ends of a TCP connection say to each other.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;

use crate::kernel::Outcome;

/// A few bytes go there, and come back.
///
/// # Errors
///
/// When either end cannot.
///
/// # Panics
///
/// When others come.
pub fn converse(mut near: &TcpStream, mut far: &TcpStream) -> Outcome {
    near.write_all(b"still there?")?;
    let mut heard = [0; 12];
    far.read_exact(&mut heard)?;
    far.write_all(&heard)?;
    near.read_exact(&mut heard)?;
    assert_eq!(&heard, b"still there?");
    Ok(())
}

/// Each end sends all that it has to say and ends its direction, both at once, and reads to the other's end.
///
/// # Errors
///
/// When either end cannot.
///
/// # Panics
///
/// When something else comes than was sent.
pub fn exchange(ends: [&TcpStream; 2], says: [&[u8]; 2]) -> Outcome {
    let [near, far] = ends;
    let send = |mut to: &TcpStream, bytes: &[u8]| -> io::Result<()> {
        to.write_all(bytes)?;
        to.shutdown(Shutdown::Write)
    };
    let hear = |mut from: &TcpStream| {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map(|_| bytes)
    };
    thread::scope(|scope| {
        let [up, down] = says;
        let sending = [scope.spawn(move || send(near, up)), scope.spawn(move || send(far, down))];
        let receiving = [scope.spawn(move || hear(far)), scope.spawn(move || hear(near))];
        for sent in sending {
            sent.join().map_err(|_| "a sender has panicked")??;
        }
        for (received, sent) in receiving.into_iter().zip(says) {
            let received = received.join().map_err(|_| "a receiver has panicked")??;
            // Not assert_eq: nobody wants to read the difference.
            assert!(received == sent, "what came is what was sent");
        }
        Ok(())
    })
}
