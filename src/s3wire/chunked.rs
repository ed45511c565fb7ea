//! The framing of aws-chunked bodies (S3 API Reference, "Signature calculations for the
//! Authorization header: transferring payload in multiple chunks", and "including trailing
//! headers").
//!
//! The decoder does no I/O and checks no signature. It is fed what has come in and yields what
//! that means, without copying data: a chunk passes through in pieces and is never gathered.

use bytes::{Buf, Bytes};

use crate::checksum::ChecksumAlgorithm;
use crate::error::{ErrorCode, S3Error};

/// The longest line before a chunk.
const LINE_MAX: usize = 4 << 10;
/// The largest signed chunk, as nothing of it may be trusted before its end.
const SIGNED_CHUNK_MAX: u64 = 16 << 20;
/// All trailers together.
const TRAILERS_MAX: usize = 8 << 10;
/// Line breaks that may follow the end; some clients send one too many.
const TAIL_MAX: usize = 4;

/// Which of the three framings a body has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`.
    Signed,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`.
    SignedTrailer,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    UnsignedTrailer,
}

/// What the bytes mean, in order: chunks, of which the last is empty, then trailers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkEvent {
    /// A chunk begins.
    Begin {
        /// The bytes of data that it holds.
        len: u64,
        /// Its signature, to be checked at its end; there is one if chunks are signed.
        signature: Option<[u8; 32]>,
    },
    /// Data of the chunk; a chunk may come in many pieces.
    Data(Bytes),
    /// The chunk is complete. Only now can its signature be checked.
    End,
    /// The trailers, after the last chunk.
    Trailers(Trailers),
}

/// Trailing headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trailers {
    /// Names in lower case, and values: at most the announced checksum.
    pub fields: Vec<(String, String)>,
    /// What a signature of trailers covers: `name:value\n` each.
    pub canonical: String,
    /// Their signature; there is one if trailers are signed.
    pub signature: Option<[u8; 32]>,
}

/// Takes the framing off one body.
#[derive(Debug)]
pub struct ChunkedDecoder {
    framing: Framing,
    state: State,
    /// Data bytes that are still to come, by `x-amz-decoded-content-length`.
    data_left: u64,
    announced: Option<ChecksumAlgorithm>,
    /// The beginning of a line that is not complete yet.
    line: Vec<u8>,
    trailers: Trailers,
    trailers_len: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a chunk's line.
    Line,
    /// Within a chunk's data; 0 means that its end is to be told.
    Data { left: u64 },
    /// Before the line break after data.
    Break,
    /// After the last chunk's line; its end is to be told.
    LastEnd,
    /// Before a trailer's line.
    Trailer,
    /// After everything.
    Tail { seen: usize },
}

impl ChunkedDecoder {
    /// A decoder for a body of `decoded_len` data bytes. `announced` is the checksum that
    /// `x-amz-trailer` names: no other trailer is let through.
    pub fn new(framing: Framing, decoded_len: u64, announced: Option<ChecksumAlgorithm>) -> Self {
        Self {
            framing,
            state: State::Line,
            data_left: decoded_len,
            announced,
            line: Vec::new(),
            trailers: Trailers::default(),
            trailers_len: 0,
        }
    }

    /// Takes what it can from the front of `input` and says what it was. `None` means that all of
    /// `input` has been taken and more is needed, or everything has come. After an error the
    /// body is lost.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<ChunkEvent>, S3Error> {
        loop {
            match self.state {
                State::Line => {
                    let Some(line) = self.take_line(input, LINE_MAX)? else {
                        return Ok(None);
                    };
                    return self.begin(&line).map(Some);
                }
                State::Data { left: 0 } => {
                    self.state = State::Break;
                    return Ok(Some(ChunkEvent::End));
                }
                State::Data { left } => return Ok(self.data(left, input)),
                State::Break => {
                    let Some(line) = self.take_line(input, 2)? else {
                        return Ok(None);
                    };
                    if &*line != b"\r\n" {
                        return Err(malformed());
                    }
                    self.state = State::Line;
                }
                State::LastEnd => {
                    self.state = match self.framing {
                        Framing::Signed => State::Tail { seen: 0 },
                        Framing::SignedTrailer | Framing::UnsignedTrailer => State::Trailer,
                    };
                    return Ok(Some(ChunkEvent::End));
                }
                State::Trailer => {
                    let limit = TRAILERS_MAX - self.trailers_len;
                    let Some(line) = self.take_line(input, limit)? else {
                        return Ok(None);
                    };
                    if let Some(trailers) = self.trailer(&line)? {
                        return Ok(Some(ChunkEvent::Trailers(trailers)));
                    }
                }
                State::Tail { seen } => return self.tail(seen, input).map(|()| None),
            }
        }
    }

    /// To be asked when the body has ended: fails with `IncompleteBody` unless everything has
    /// come.
    pub fn finish(&self) -> Result<(), S3Error> {
        match self.state {
            State::Tail { .. } => Ok(()),
            _ => Err(ErrorCode::IncompleteBody.into()),
        }
    }

    fn data(&mut self, left: u64, input: &mut Bytes) -> Option<ChunkEvent> {
        if input.is_empty() {
            return None;
        }
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let piece = input.split_to(len);
        let taken = u64::try_from(len).unwrap_or(left);
        self.state = State::Data { left: left - taken };
        Some(ChunkEvent::Data(piece))
    }

    /// `len[;chunk-signature=…]` in hexadecimal.
    fn begin(&mut self, line: &[u8]) -> Result<ChunkEvent, S3Error> {
        let line = line.strip_suffix(b"\r\n").ok_or_else(malformed)?;
        let line = std::str::from_utf8(line).map_err(|_| malformed())?;
        let (len, extension) = line.split_once(';').unwrap_or((line, ""));
        let digits = !len.is_empty() && len.bytes().all(|b| b.is_ascii_hexdigit());
        let len = u64::from_str_radix(len, 16)
            .ok()
            .filter(|_| digits)
            .ok_or_else(malformed)?;
        let signature = match self.framing {
            Framing::UnsignedTrailer => None,
            Framing::Signed | Framing::SignedTrailer => {
                if len > SIGNED_CHUNK_MAX {
                    return Err(S3Error::request("A signed chunk has at most 16 MiB."));
                }
                let signature = extension.strip_prefix("chunk-signature=");
                Some(signature.and_then(parse_signature).ok_or_else(malformed)?)
            }
        };
        self.data_left = self
            .data_left
            .checked_sub(len)
            .ok_or(ErrorCode::IncompleteBody)?;
        self.state = match len {
            0 if self.data_left > 0 => return Err(ErrorCode::IncompleteBody.into()),
            0 => State::LastEnd,
            left => State::Data { left },
        };
        Ok(ChunkEvent::Begin { len, signature })
    }

    /// A trailer's line; the trailers, if it was the last. Lines may end with LF alone, and a
    /// blank line may stand before the signature: AWS's own examples differ there.
    fn trailer(&mut self, line: &[u8]) -> Result<Option<Trailers>, S3Error> {
        let bad = || S3Error::from(ErrorCode::MalformedTrailerError);
        self.trailers_len += line.len();
        let line = std::str::from_utf8(line).map_err(|_| bad())?.trim();
        if line.is_empty() {
            if self.framing == Framing::SignedTrailer && self.trailers.signature.is_none() {
                return Ok(None);
            }
            self.state = State::Tail { seen: 0 };
            return Ok(Some(std::mem::take(&mut self.trailers)));
        }
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name == "x-amz-trailer-signature" && self.framing == Framing::SignedTrailer {
            let signature = parse_signature(value).ok_or_else(bad)?;
            return match self.trailers.signature.replace(signature) {
                None => Ok(None),
                Some(_) => Err(bad()),
            };
        }
        let announced = self.announced.is_some_and(|a| a.header() == name);
        if !announced || !self.trailers.fields.is_empty() || self.trailers.signature.is_some() {
            return Err(bad());
        }
        self.trailers.canonical = format!("{name}:{value}\n");
        self.trailers.fields.push((name, value.to_owned()));
        Ok(None)
    }

    fn tail(&mut self, seen: usize, input: &mut Bytes) -> Result<(), S3Error> {
        let seen = seen + input.len();
        if seen > TAIL_MAX || input.iter().any(|b| *b != b'\r' && *b != b'\n') {
            return Err(malformed());
        }
        self.state = State::Tail { seen };
        input.clear();
        Ok(())
    }

    /// The next line with its line feed, of at most `limit` bytes.
    fn take_line(&mut self, input: &mut Bytes, limit: usize) -> Result<Option<Bytes>, S3Error> {
        let room = limit - self.line.len().min(limit);
        let end = input.iter().take(room).position(|b| *b == b'\n');
        let Some(end) = end else {
            if input.len() >= room {
                return Err(malformed());
            }
            self.line.extend_from_slice(input);
            input.advance(input.len());
            return Ok(None);
        };
        let piece = input.split_to(end + 1);
        if self.line.is_empty() {
            return Ok(Some(piece));
        }
        self.line.extend_from_slice(&piece);
        Ok(Some(Bytes::from(std::mem::take(&mut self.line))))
    }
}

fn malformed() -> S3Error {
    S3Error::request("The aws-chunked body is malformed.")
}

/// 64 hexadecimal digits.
fn parse_signature(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let high = char::from(*high).to_digit(16)?;
        let low = char::from(*low).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

    use super::*;

    const SIGNATURE: &str = "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648";
    const CRC: Option<ChecksumAlgorithm> = Some(ChecksumAlgorithm::Crc32c);

    /// Everything a body means, when it comes in pieces that end at `cuts`. Pieces of data are
    /// joined, since they may be cut anywhere.
    fn decode(
        framing: Framing,
        len: u64,
        body: &[u8],
        cuts: &[usize],
    ) -> Result<Vec<ChunkEvent>, ErrorCode> {
        let mut decoder = ChunkedDecoder::new(framing, len, CRC);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
        cuts.push(body.len());
        cuts.sort_unstable();
        let (mut from, mut events) = (0, Vec::new());
        for cut in cuts {
            let mut piece = Bytes::copy_from_slice(&body[from..cut]);
            from = cut;
            while let Some(event) = decoder.next(&mut piece).map_err(|e| e.code)? {
                match (events.last_mut(), event) {
                    (Some(ChunkEvent::Data(before)), ChunkEvent::Data(more)) => {
                        *before = Bytes::from([&before[..], &more].concat());
                    }
                    (_, event) => events.push(event),
                }
            }
            assert!(piece.is_empty(), "what was not taken would be lost");
        }
        decoder.finish().map_err(|e| e.code)?;
        Ok(events)
    }

    fn signed(chunks: &[&str], trailer: &str) -> Vec<u8> {
        let mut body = String::new();
        for chunk in chunks {
            body += &format!(
                "{:x};chunk-signature={SIGNATURE}\r\n{chunk}\r\n",
                chunk.len()
            );
        }
        format!("{body}0;chunk-signature={SIGNATURE}\r\n{trailer}").into_bytes()
    }

    fn unsigned(chunks: &[&str], trailer: &str) -> Vec<u8> {
        let mut body = String::new();
        for chunk in chunks {
            body += &format!("{:X}\r\n{chunk}\r\n", chunk.len());
        }
        format!("{body}0\r\n{trailer}").into_bytes()
    }

    fn code(framing: Framing, len: u64, body: &[u8]) -> Option<ErrorCode> {
        decode(framing, len, body, &[]).err()
    }

    #[test]
    fn bodies_that_break_the_framing_are_refused() {
        let good = "x-amz-checksum-crc32c:sOO8/Q==\r\n";
        let long_line = format!("{}\r\n", "0".repeat(5000));
        let table: [(&[u8], ErrorCode); 14] = [
            (b"", ErrorCode::IncompleteBody),
            (b"3\r\nab", ErrorCode::IncompleteBody),
            (b"3\r\nabc\r\n", ErrorCode::IncompleteBody),
            (b"3\r\nabc\r\n0\r\n", ErrorCode::IncompleteBody),
            (b"0\r\n\r\n", ErrorCode::IncompleteBody),
            (b"2\r\nab\r\n0\r\n\r\n", ErrorCode::IncompleteBody),
            (b"4\r\nabcd\r\n0\r\n\r\n", ErrorCode::IncompleteBody),
            (b"ffffffffffffffffff\r\n", ErrorCode::InvalidRequest),
            (b"+3\r\nabc\r\n", ErrorCode::InvalidRequest),
            (b"3\nabc\r\n0\r\n\r\n", ErrorCode::InvalidRequest),
            (b"3\r\nabcd\r\n", ErrorCode::InvalidRequest),
            (b"3\r\nabc\n\n0\r\n\r\n", ErrorCode::InvalidRequest),
            (
                b"3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1",
                ErrorCode::InvalidRequest,
            ),
            (long_line.as_bytes(), ErrorCode::InvalidRequest),
        ];
        for (body, expected) in table {
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]);
            assert_eq!(
                code(Framing::UnsignedTrailer, 3, body),
                Some(expected),
                "{shown:?}"
            );
        }
        for trailer in [
            "x-amz-checksum-crc32:AAAAAA==\r\n\r\n".to_owned(),
            "x-amz-meta-a:b\r\n\r\n".to_owned(),
            "no colon\r\n\r\n".to_owned(),
            format!("{good}{good}\r\n"),
            format!("{good}x-amz-trailer-signature:{SIGNATURE}\r\n\r\n"),
        ] {
            let body = unsigned(&["abc"], &trailer);
            let code = code(Framing::UnsignedTrailer, 3, &body);
            assert_eq!(code, Some(ErrorCode::MalformedTrailerError), "{trailer}");
        }
        let endless = unsigned(
            &["abc"],
            &format!("x-amz-checksum-crc32c:{}", "a".repeat(9000)),
        );
        let code = code(Framing::UnsignedTrailer, 3, &endless);
        assert_eq!(code, Some(ErrorCode::InvalidRequest));
    }

    #[test]
    fn signed_bodies_without_their_signatures_are_refused() {
        let plain = unsigned(&["abc"], "\r\n");
        assert_eq!(
            code(Framing::Signed, 3, &plain),
            Some(ErrorCode::InvalidRequest)
        );
        let short = signed(&["abc"], "\r\n").replace_all(SIGNATURE, "ad80");
        assert_eq!(
            code(Framing::Signed, 3, &short),
            Some(ErrorCode::InvalidRequest)
        );
        let large = format!("1000001;chunk-signature={SIGNATURE}\r\n");
        let code_of_large = code(Framing::Signed, u64::MAX, large.as_bytes());
        assert_eq!(code_of_large, Some(ErrorCode::InvalidRequest));
        let bare = signed(&["abc"], "x-amz-checksum-crc32c:sOO8/Q==\r\n\r\n");
        let unsigned_trailer = code(Framing::SignedTrailer, 3, &bare);
        assert_eq!(unsigned_trailer, Some(ErrorCode::IncompleteBody));
        let late =
            format!("x-amz-trailer-signature:{SIGNATURE}\r\nx-amz-checksum-crc32c:a\r\n\r\n");
        let late = code(Framing::SignedTrailer, 3, &signed(&["abc"], &late));
        assert_eq!(late, Some(ErrorCode::MalformedTrailerError));
    }

    trait ReplaceAll {
        fn replace_all(&self, from: &str, to: &str) -> Vec<u8>;
    }

    impl ReplaceAll for Vec<u8> {
        fn replace_all(&self, from: &str, to: &str) -> Vec<u8> {
            String::from_utf8_lossy(self).replace(from, to).into_bytes()
        }
    }

    #[test]
    fn each_framing_yields_chunks_then_trailers() {
        let signature = parse_signature(SIGNATURE);
        assert!(signature.is_some());
        let chunk = |signature, text: &'static str| {
            let len = text.len() as u64;
            let data = (len > 0).then(|| ChunkEvent::Data(Bytes::from_static(text.as_bytes())));
            let begin = ChunkEvent::Begin { len, signature };
            std::iter::once(begin).chain(data).chain([ChunkEvent::End])
        };
        let body = signed(&["abc", "de"], "\r\n");
        let expected: Vec<ChunkEvent> = ["abc", "de", ""]
            .into_iter()
            .flat_map(|text| chunk(signature, text))
            .collect();
        assert_eq!(decode(Framing::Signed, 5, &body, &[]), Ok(expected.clone()));
        let line = "x-amz-checksum-crc32c:sOO8/Q==";
        let trailers = |signature| {
            ChunkEvent::Trailers(Trailers {
                fields: vec![("x-amz-checksum-crc32c".to_owned(), "sOO8/Q==".to_owned())],
                canonical: format!("{line}\n"),
                signature,
            })
        };
        let end = format!("x-amz-trailer-signature:{SIGNATURE}\r\n\r\n");
        let mut with_trailers = expected;
        with_trailers.push(trailers(signature));
        for between in ["\r\n", "\n\r\n"] {
            let body = signed(&["abc", "de"], &format!("{line}{between}{end}"));
            let events = decode(Framing::SignedTrailer, 5, &body, &[]);
            assert_eq!(events, Ok(with_trailers.clone()), "{between:?}");
        }
        let body = unsigned(&["abc"], "X-Amz-Checksum-CRC32C: sOO8/Q==\r\n\r\n");
        let mut expected: Vec<ChunkEvent> = chunk(None, "abc").chain(chunk(None, "")).collect();
        expected.push(trailers(None));
        assert_eq!(
            decode(Framing::UnsignedTrailer, 3, &body, &[]),
            Ok(expected)
        );
        let empty = decode(Framing::UnsignedTrailer, 0, b"0\r\n\r\n", &[]).map(|e| e.len());
        assert_eq!(empty, Ok(3));
    }

    #[test]
    fn data_is_passed_on_without_a_copy() {
        let body = Bytes::from(unsigned(&["abcdef"], "\r\n"));
        let mut input = body.clone();
        let mut decoder = ChunkedDecoder::new(Framing::UnsignedTrailer, 6, None);
        decoder.next(&mut input).unwrap();
        let Ok(Some(ChunkEvent::Data(data))) = decoder.next(&mut input) else {
            panic!("no data")
        };
        assert_eq!(data.as_ptr(), body[3..].as_ptr());
    }

    fn framings() -> impl Strategy<Value = Framing> {
        prop_oneof![
            Just(Framing::Signed),
            Just(Framing::SignedTrailer),
            Just(Framing::UnsignedTrailer)
        ]
    }

    proptest! {
        #[test]
        fn where_the_input_is_cut_changes_nothing(
            framing in framings(), texts in vec("[a-z\r\n]{1,40}", 0..5), cuts in vec(any::<usize>(), 0..12),
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let len = texts.iter().map(|t| t.len() as u64).sum();
            let line = "x-amz-checksum-crc32c:sOO8/Q==\r\n";
            let body = match framing {
                Framing::Signed => signed(&texts, "\r\n"),
                Framing::SignedTrailer => signed(&texts, &format!("{line}x-amz-trailer-signature:{SIGNATURE}\r\n\r\n")),
                Framing::UnsignedTrailer => unsigned(&texts, &format!("{line}\r\n")),
            };
            let whole = decode(framing, len, &body, &[]);
            assert!(whole.is_ok(), "{whole:?}");
            assert_eq!(decode(framing, len, &body, &cuts), whole);
        }

        #[test]
        fn junk_is_refused_alike_however_it_is_cut(
            framing in framings(), body in "([0-9a-f]{1,2}(;chunk-signature=)?|\r\n|abc|x-amz-checksum-crc32c:|.){0,12}",
            cuts in vec(any::<usize>(), 0..12), len in 0..9u64,
        ) {
            let whole = decode(framing, len, body.as_bytes(), &[]);
            assert_eq!(decode(framing, len, body.as_bytes(), &cuts), whole);
        }
    }
}
