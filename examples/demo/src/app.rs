//! App: a web server and its client that know nothing of a mesh. Blocking sockets of the standard library, no more.
//!
//! They run as processes of their own (`demo serve`, `demo fetch`), so nothing of the proxy runs in them.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// What the server says once it listens.
pub(crate) const READY: &str = "ready";
/// `GET /blob/N` answers the first N bytes of [`Pattern`].
pub(crate) const BLOB: &str = "/blob/";

/// Longest wait for the other end, for each read and write.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that are served at the same time; more wait.
const THREADS: usize = 8;
/// Longest head of a request or an answer.
const MAX_HEAD: u64 = 8192;

/// Serves on `port` of all addresses until standard input ends, so that it does not outlive who started it.
pub(crate) fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_no_ipv6| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
        .with_context(|| format!("listening on port {port}"))?;
    for _ in 0..THREADS {
        let listener = listener.try_clone()?;
        thread::Builder::new().spawn(move || {
            // A client that goes away in the middle is its own affair.
            listener.incoming().flatten().for_each(|stream| drop(answer(stream)));
        })?;
    }
    writeln!(io::stdout(), "{READY}")?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// One request, one answer.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    let peer = be_patient(&stream)?.ip().to_canonical();
    let head = read_head(&mut BufReader::new(&stream))?;
    let path = head.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
    let blob = path.and_then(|path| path.strip_prefix(BLOB)?.parse().ok());
    match (path, blob) {
        (Some(_), Some(length)) => {
            write_head(&mut stream, "200 OK", length)?;
            io::copy(&mut Pattern::new(length), &mut stream)?;
        }
        (Some(path), None) => write_text(&mut stream, "200 OK", &greeting(peer, path))?,
        (None, _) => write_text(&mut stream, "400 Bad Request", "only GET is known here\n")?,
    }
    stream.flush()
}

/// The answer to `path`: whom the server saw, and what it was asked for.
pub(crate) fn greeting(peer: IpAddr, path: &str) -> String {
    format!("hello {peer}, you asked for {path}\n")
}

fn write_text(stream: &mut TcpStream, status: &str, text: &str) -> io::Result<()> {
    write_head(stream, status, text.len() as u64)?;
    stream.write_all(text.as_bytes())
}

fn write_head(stream: &mut TcpStream, status: &str, length: u64) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())
}

/// Writes the body of what is at `url` to `out`. Anything but a whole answer is an error.
pub(crate) fn fetch(url: &Url, out: &mut impl Write) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&url.address, PATIENCE)
        .with_context(|| format!("connecting to {}", url.address))?;
    be_patient(&stream)?;
    write!(stream, "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", url.path, url.address)
        .context("sending the request")?;
    let mut stream = BufReader::new(stream);
    let head = read_head(&mut stream).context("reading the answer")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("the server answers {status:?}");
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .context("an answer without length")?;
    let length: u64 = length.parse().context("the answer's length")?;
    let copied = io::copy(&mut stream.take(length), out).context("reading the answer")?;
    ensure!(copied == length, "the answer ends after {copied} of {length} bytes");
    Ok(out.flush()?)
}

/// Sets the time limits, and tells who is at the other end.
fn be_patient(stream: &TcpStream) -> io::Result<SocketAddr> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.peer_addr()
}

/// Reads up to and with the empty line.
fn read_head(stream: &mut BufReader<impl Read>) -> io::Result<String> {
    let mut head = String::new();
    let mut limited = stream.take(MAX_HEAD);
    while !head.ends_with("\r\n\r\n") {
        if limited.read_line(&mut head)? == 0 {
            let problem = if head.is_empty() { "closed without a word" } else { "the head does not end" };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
        }
    }
    Ok(head)
}

/// `http://ADDRESS:PORT/PATH`, with an address: there is no DNS in the demo's pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    address: SocketAddr,
    path: String,
}

impl Url {
    pub(crate) fn new(address: SocketAddr, path: impl Into<String>) -> Self {
        Self { address, path: path.into() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.path)
    }
}

impl FromStr for Url {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let rest = text.strip_prefix("http://").context("a URL begins with http://")?;
        let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        ensure!(!path.contains(|c: char| c.is_whitespace() || c.is_control()), "a URL has no white space");
        let path = if path.is_empty() { "/" } else { path };
        let address = address.parse().with_context(|| format!("{address:?} is not ADDRESS:PORT"))?;
        Ok(Self { address, path: path.to_owned() })
    }
}

/// The same bytes each time, so that both ends know them. They repeat after a prime number of bytes, which is no
/// multiple of any buffer's size, so that pieces which change places do not go unnoticed.
pub(crate) struct Pattern {
    period: Vec<u8>,
    at: usize,
    left: u64,
}

/// The largest prime below 2^16.
const PERIOD: usize = 65_521;

impl Pattern {
    pub(crate) fn new(length: u64) -> Self {
        // xorshift64 (Marsaglia 2003), from any state but zero.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let bytes = std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        Self { period: bytes.flatten().take(PERIOD).collect(), at: 0, left: length }
    }
}

impl Read for Pattern {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut next = self.period.get(self.at..).unwrap_or_default().take(self.left);
        let read = next.read(buffer)?;
        self.at = (self.at + read) % PERIOD;
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_its_text() {
        for text in ["http://10.77.0.3:8080/", "http://[fd77::3]:8080/blob/7"] {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), text);
        }
        assert_eq!("http://10.77.0.3:80".parse::<Url>().unwrap().path(), "/");
        for text in
            ["https://10.77.0.3:80/", "http://server:80/", "http://10.77.0.3/", "http://10.77.0.3:80/ x"]
        {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_pattern_has_its_length_and_depends_on_nothing() {
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        Pattern::new(200_001).read_to_end(&mut whole).unwrap();
        let mut pattern = Pattern::new(200_001);
        let mut buffer = [0; 4099];
        loop {
            match pattern.read(&mut buffer).unwrap() {
                0 => break,
                length => parts.extend_from_slice(&buffer[..length]),
            }
        }
        assert_eq!(whole.len(), 200_001);
        assert!(whole == parts);
    }
}
