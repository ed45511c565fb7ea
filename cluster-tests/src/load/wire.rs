//! One kept connection that speaks just enough HTTP/1.1 (RFC 9112) for S3.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::body::{Bodies, Check};
use super::sign::{EMPTY, Signer, Target, UNSIGNED, hex};

/// Bytes of the receive buffer; also the longest response head.
const BUFFER: usize = 256 * 1024;
/// Bodies up to this length ride in the same write as the head.
const JOINED: u64 = 64 * 1024;
/// Longest text that is collected (a listing page, an error).
const LONGEST_TEXT: usize = 64 << 20;
/// After this a request has failed.
const DEADLINE: Duration = Duration::from_secs(120);

/// Where and as whom to ask.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The server.
    pub address: SocketAddr,
    /// Signs every request.
    pub signer: Signer,
    /// Hash bodies into the signature instead of [`UNSIGNED`].
    pub payload: Payload,
}

/// How the body of a PUT is covered by the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Payload {
    /// Not at all: `UNSIGNED-PAYLOAD`.
    Unsigned,
    /// By its SHA-256.
    Sha256,
}

/// A request without its signature.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Upper case.
    pub method: &'a str,
    /// Percent-encoded, starts with `/`.
    pub path: &'a str,
    /// Percent-encoded and sorted, every name with `=`, without `?`; may be empty.
    pub query: &'a str,
    /// Of a copy: where from, as `/bucket/key`.
    pub copy_source: Option<&'a str>,
    /// What it carries.
    pub body: Body<'a>,
}

/// The body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// None, and no length either.
    Nothing,
    /// A piece of a body of [`Bodies`].
    Made {
        /// See [`Bodies::seed`].
        seed: u64,
        /// Where the piece begins.
        from: u64,
        /// Its bytes.
        size: u64,
    },
    /// This.
    Text(&'a str),
}

impl<'a> Body<'a> {
    /// The whole body of a seed.
    pub fn whole(seed: u64, size: u64) -> Self {
        Self::Made {
            seed,
            from: 0,
            size,
        }
    }

    /// Its length, if it has one.
    fn size(self) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Made { size, .. } => Some(size),
            Self::Text(text) => Some(text.len() as u64),
        }
    }

    /// What follows the first `sent` bytes, as much as is at hand; empty at the end.
    fn piece(self, bodies: &Bodies, sent: u64) -> Bytes {
        match self {
            Self::Made { seed, from, size } => bodies.piece(seed, from + sent, size - sent),
            Self::Text(text) if sent == 0 => Bytes::copy_from_slice(text.as_bytes()),
            Self::Nothing | Self::Text(_) => Bytes::new(),
        }
    }
}

impl<'a> Request<'a> {
    /// A request without a query and a body.
    pub const fn new(method: &'a str, path: &'a str) -> Self {
        Self {
            method,
            path,
            query: "",
            copy_source: None,
            body: Body::Nothing,
        }
    }
}

/// What to do with the body of a good answer.
#[derive(Debug, Clone, Copy)]
pub enum Want {
    /// Collect it.
    Text,
    /// Compare it with the body of this seed.
    Object {
        /// See [`Bodies::seed`].
        seed: u64,
        /// How closely.
        check: Check,
    },
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Of the status line.
    pub status: u16,
    /// Of the body that was read; of a HEAD, what Content-Length says.
    pub length: u64,
    /// The body, if it was to be collected or if the status is not 2xx.
    pub text: Vec<u8>,
    /// False if an object's bytes were not the expected ones.
    pub intact: bool,
}

/// What a response head says.
struct Head {
    status: u16,
    length: u64,
    chunked: bool,
    close: bool,
}

/// A connection that is opened when first needed and again after it broke.
#[derive(Debug)]
pub struct Connection {
    endpoint: Endpoint,
    host: String,
    bodies: Bodies,
    stream: Option<TcpStream>,
    head: String,
    out: Vec<u8>,
    input: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Connection {
    /// Opens nothing yet.
    pub fn new(endpoint: Endpoint, bodies: Bodies) -> Self {
        Self {
            host: endpoint.address.to_string(),
            endpoint,
            bodies,
            stream: None,
            head: String::new(),
            out: Vec::new(),
            input: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
        }
    }

    /// Sends one request and reads its whole answer. A kept connection that the server
    /// closed before it answered anything is opened anew, once.
    ///
    /// # Errors
    /// Whatever the socket says, a malformed answer, a body that ends early, or the deadline.
    pub async fn exchange(&mut self, request: &Request<'_>, want: Want) -> Result<Reply> {
        let kept = self.stream.is_some();
        let mut outcome = timeout(DEADLINE, self.attempt(request, want)).await;
        if kept && self.end == 0 && matches!(outcome, Ok(Err(_))) {
            self.stream = None;
            outcome = timeout(DEADLINE, self.attempt(request, want)).await;
        }
        let reply = outcome.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
        if reply.is_err() {
            self.stream = None;
        }
        reply
    }

    async fn attempt(&mut self, request: &Request<'_>, want: Want) -> Result<Reply> {
        (self.start, self.end) = (0, 0);
        self.send(request).await?;
        let mut head = self.read_head().await?;
        while head.status == 100 {
            head = self.read_head().await?;
        }
        let mut reply = Reply {
            status: head.status,
            length: head.length,
            text: Vec::new(),
            intact: true,
        };
        let good = (200..300).contains(&head.status);
        if request.method != "HEAD" && head.status != 204 && head.status != 304 {
            match want {
                Want::Object { seed, check } if good => {
                    if head.chunked {
                        return Err(malformed("an object in chunks"));
                    }
                    reply.intact = self.read_object(head.length, seed, check).await?;
                }
                _ if head.chunked => reply.text = self.read_chunks().await?,
                _ => reply.text = self.read_text(head.length).await?,
            }
        }
        if head.close {
            self.stream = None;
        }
        Ok(reply)
    }

    async fn send(&mut self, request: &Request<'_>) -> Result<()> {
        self.write_head(request);
        let mut sent = 0;
        let size = request.body.size().unwrap_or(0);
        self.out.clear();
        self.out.extend_from_slice(self.head.as_bytes());
        if size <= JOINED {
            while sent < size {
                let piece = request.body.piece(&self.bodies, sent);
                self.out.extend_from_slice(&piece);
                sent += piece.len() as u64;
            }
        }
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.endpoint.address).await?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        stream.write_all(&self.out).await?;
        while sent < size {
            let piece = request.body.piece(&self.bodies, sent);
            stream.write_all(&piece).await?;
            sent += piece.len() as u64;
        }
        Ok(())
    }

    fn write_head(&mut self, request: &Request<'_>) {
        let Request {
            method,
            path,
            query,
            copy_source,
            body,
        } = *request;
        let head = &mut self.head;
        head.clear();
        for part in [
            method,
            " ",
            path,
            if query.is_empty() { "" } else { "?" },
            query,
        ] {
            head.push_str(part);
        }
        head.push_str(" HTTP/1.1\r\nhost: ");
        head.push_str(&self.host);
        head.push_str("\r\n");
        if let Some(size) = body.size() {
            head.push_str("content-length: ");
            head.push_str(&size.to_string());
            head.push_str("\r\n");
        }
        let digest = match (body, self.endpoint.payload) {
            (Body::Nothing, _) => EMPTY.to_owned(),
            (_, Payload::Unsigned) => UNSIGNED.to_owned(),
            (body, Payload::Sha256) => digest(&self.bodies, body),
        };
        let target = Target {
            method,
            host: &self.host,
            path,
            query,
            copy_source,
            payload: &digest,
        };
        self.endpoint.signer.write_headers(&target, head);
        head.push_str("\r\n");
    }

    /// Reads more into the buffer; moves what is unread to its front when it is full.
    async fn fill(&mut self) -> Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.input.len() {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let free = self.input.get_mut(self.end..).unwrap_or_default();
        let stream = self.stream.as_mut().ok_or(ErrorKind::NotConnected)?;
        match stream.read(free).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }

    fn unread(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    async fn read_head(&mut self) -> Result<Head> {
        loop {
            let unread = self.unread();
            if let Some(at) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = parse_head(unread.get(..at).unwrap_or_default())?;
                self.start += at + 4;
                return Ok(head);
            }
            if unread.len() == BUFFER {
                return Err(malformed("a head without an end"));
            }
            self.fill().await?;
        }
    }

    async fn read_object(&mut self, length: u64, seed: u64, check: Check) -> Result<bool> {
        let (mut at, mut intact) = (0, true);
        while at < length {
            if self.start == self.end {
                self.fill().await?;
            }
            let unread = self.unread();
            let count = unread
                .len()
                .min(usize::try_from(length - at).unwrap_or(usize::MAX));
            let piece = unread.get(..count).unwrap_or_default();
            intact = intact && self.bodies.matches(seed, at, piece, check);
            self.start += count;
            at += count as u64;
        }
        Ok(intact)
    }

    async fn read_text(&mut self, length: u64) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        self.read_into(&mut text, usize::try_from(length).unwrap_or(usize::MAX))
            .await?;
        Ok(text)
    }

    async fn read_into(&mut self, text: &mut Vec<u8>, length: usize) -> Result<()> {
        if text.len().saturating_add(length) > LONGEST_TEXT {
            return Err(malformed("a text without an end"));
        }
        let until = text.len() + length;
        while text.len() < until {
            if self.start == self.end {
                self.fill().await?;
            }
            let unread = self.unread();
            let count = unread.len().min(until - text.len());
            text.extend_from_slice(unread.get(..count).unwrap_or_default());
            self.start += count;
        }
        Ok(())
    }

    async fn read_chunks(&mut self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            let line = self.read_line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let length =
                usize::from_str_radix(digits, 16).map_err(|_| malformed("a chunk size"))?;
            if length == 0 {
                while !self.read_line().await?.is_empty() {}
                return Ok(text);
            }
            self.read_into(&mut text, length).await?;
            self.read_line().await?;
        }
    }

    async fn read_line(&mut self) -> Result<String> {
        loop {
            let unread = self.unread();
            if let Some(at) = unread.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(unread.get(..at).unwrap_or_default()).into();
                self.start += at + 2;
                return Ok(line);
            }
            if unread.len() == BUFFER {
                return Err(malformed("a line without an end"));
            }
            self.fill().await?;
        }
    }
}

fn parse_head(bytes: &[u8]) -> Result<Head> {
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("a head that is not text"))?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let mut head = Head {
        status: status
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| malformed("a status line"))?,
        length: 0,
        chunked: false,
        close: false,
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            head.length = value.parse().map_err(|_| malformed("a length"))?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            head.chunked = value.eq_ignore_ascii_case("chunked");
        } else if name.eq_ignore_ascii_case("connection") {
            head.close = value.eq_ignore_ascii_case("close");
        }
    }
    Ok(head)
}

fn digest(bodies: &Bodies, body: Body<'_>) -> String {
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < body.size().unwrap_or(0) {
        let piece = body.piece(bodies, at);
        hash.update(&piece);
        at += piece.len() as u64;
    }
    hex(&hash.finalize())
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("malformed answer: {what}"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::{Bodies, Check, Connection, Endpoint, Payload, Request, Signer, Want};

    const GET: Request<'_> = Request::new("GET", "/b/k");

    /// A connection to a server that answers one request per script line, on a connection of its
    /// own each, and then closes it.
    async fn scripted(answers: Vec<Vec<u8>>) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                assert_ne!(stream.read(&mut request).await.unwrap(), 0);
                stream.write_all(&answer).await.unwrap();
            }
        });
        let endpoint = Endpoint {
            address,
            signer: Signer::new("a", "b", "c"),
            payload: Payload::Unsigned,
        };
        Connection::new(endpoint, Bodies::new())
    }

    fn answer(head: &str, body: &[u8]) -> Vec<u8> {
        let mut answer = format!("HTTP/1.1 {head}\r\n\r\n").into_bytes();
        answer.extend_from_slice(body);
        answer
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_an_error() {
        let short = answer("200 OK\r\ncontent-length: 10", b"short");
        let mut connection = scripted(vec![short]).await;
        assert!(connection.exchange(&GET, Want::Text).await.is_err());
    }

    #[tokio::test]
    async fn wrong_bytes_are_seen_and_right_ones_pass() {
        let bodies = Bodies::new();
        let seed = bodies.seed("/b/k");
        let right = bodies.piece(seed, 0, 1000);
        let mut wrong = right.to_vec();
        wrong[256] ^= 1;
        let head = "200 OK\r\nContent-Length: 1000";
        let mut connection = scripted(vec![answer(head, &right), answer(head, &wrong)]).await;
        let want = Want::Object {
            seed,
            check: Check::Sample,
        };
        let reply = connection.exchange(&GET, want).await.unwrap();
        assert!(reply.intact);
        // The server closed the kept connection: the second request opens another.
        let reply = connection.exchange(&GET, want).await.unwrap();
        assert_eq!(
            (reply.status, reply.length, reply.intact),
            (200, 1000, false)
        );
    }

    #[tokio::test]
    async fn chunks_are_joined_and_an_error_keeps_its_text() {
        let chunks = b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
        let chunked = answer("200 OK\r\nTransfer-Encoding: chunked", chunks);
        let refused = answer("503 Slow Down\r\ncontent-length: 4", b"busy");
        let mut connection = scripted(vec![chunked, refused]).await;
        let reply = connection.exchange(&GET, Want::Text).await.unwrap();
        assert_eq!(reply.text, b"abc0123456789");
        let want = Want::Object {
            seed: 0,
            check: Check::Full,
        };
        let reply = connection.exchange(&GET, want).await.unwrap();
        assert_eq!((reply.status, reply.text.as_slice()), (503, &b"busy"[..]));
    }
}
