//! The asker's side.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::Question;

/// Longest answer, in bytes. 64 MiB: some thousand for each of 10,000 pods.
const MAX_ANSWER: u64 = 64 << 20;

/// Longest wait for any part of the answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Asks the agent that listens at `path`.
pub(crate) fn ask(path: &Path, question: &Question) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(&serde_json::to_vec(question)?)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it does not answer"));
    }
    Ok(answer)
}
