//! A request's body: decoded, verified and counted as it streams into the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auth::{ChunkSigner, PayloadHash, Verified};
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use s3wire::{
    BodyChecksum, BodyHeaders, Checksum, ChecksumType, Checksummer, ChunkEvent, ChunkedDecoder,
    ErrorCode, Framing, ObjectChecksum, S3Error, Trailers,
};
use sha2::{Digest, Sha256};
use store::{INLINE_MAX, Properties};
use tokio::time::{Instant, timeout_at};

use crate::error::of_auth;

/// Documents in request bodies are no longer than this; `DeleteObjects` with a thousand keys of
/// a kilobyte fits.
const DOCUMENT_MAX: usize = 4 << 20;

/// So many bytes must come before patience with a client begins anew: a byte now and then does
/// not hold a request open for ever.
const PACE: usize = 16 * 1024;

/// How a request's body arrives; shared by the request and the answer to it.
#[derive(Clone)]
pub(crate) struct Arrival {
    complete: Arc<AtomicBool>,
    wait: Duration,
}

impl Arrival {
    pub(crate) fn of(incoming: &Incoming, wait: Duration) -> Self {
        Self {
            complete: Arc::new(AtomicBool::new(incoming.is_end_stream())),
            wait,
        }
    }

    /// Whether all of the body was read.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }
}

/// How a body is framed and what proves it.
enum Framed {
    /// As it is, perhaps with a hash of the whole.
    Plain { sha256: Option<([u8; 32], Sha256)> },
    /// In chunks of `aws-chunked`, perhaps each with a signature.
    Chunked {
        decoder: Box<ChunkedDecoder>,
        input: Bytes,
        chunk: Option<Box<SignedChunk>>,
    },
}

/// The chunk under way.
struct SignedChunk {
    signer: ChunkSigner,
    sha256: Sha256,
    signature: [u8; 32],
}

/// The decoded body of one request.
pub(crate) struct RequestBody {
    incoming: Incoming,
    arrival: Arrival,
    /// When patience with the client ends, and how many bytes move that on.
    deadline: Instant,
    due: usize,
    framed: Framed,
    md5: Option<[u8; 16]>,
    announced: Option<BodyChecksum>,
    checksummer: Option<Checksummer>,
    trailers: Trailers,
    /// What the version keeps; handed over when everything was verified.
    properties: Properties,
    size: u64,
    withheld: bool,
}

impl RequestBody {
    /// The body of a request whose head was verified.
    pub(crate) fn new(
        incoming: Incoming,
        headers: &BodyHeaders,
        verified: Option<&mut Verified>,
        arrival: Arrival,
        properties: Properties,
    ) -> Result<Self, S3Error> {
        let missing = || S3Error::from(ErrorCode::MissingContentLength);
        // Without a length and without a body there is nothing to wait for.
        let none = || incoming.is_end_stream().then_some(0);
        let payload = verified
            .as_ref()
            .map_or(PayloadHash::Absent, |verified| verified.payload());
        let framing = match payload {
            PayloadHash::StreamingSigned => Some(Framing::Signed),
            PayloadHash::StreamingSignedTrailer => Some(Framing::SignedTrailer),
            PayloadHash::StreamingUnsignedTrailer => Some(Framing::UnsignedTrailer),
            _ => None,
        };
        let announced = headers.checksum;
        let (framed, size) = match framing {
            None => {
                let sha256 = match payload {
                    PayloadHash::Sha256(sum) => Some((sum, Sha256::new())),
                    _ => None,
                };
                (
                    Framed::Plain { sha256 },
                    headers.content_length.or_else(none).ok_or_else(missing)?,
                )
            }
            Some(framing) => {
                let size = headers.decoded_length.ok_or_else(missing)?;
                let trailer = match announced {
                    Some(BodyChecksum::Trailer(algorithm)) => Some(algorithm),
                    _ => None,
                };
                let signer = verified.and_then(Verified::take_chunk_signer);
                let chunk = signer.map(|signer| {
                    Box::new(SignedChunk {
                        signer,
                        sha256: Sha256::new(),
                        signature: [0; 32],
                    })
                });
                let decoder = Box::new(ChunkedDecoder::new(framing, size, trailer));
                (
                    Framed::Chunked {
                        decoder,
                        input: Bytes::new(),
                        chunk,
                    },
                    size,
                )
            }
        };
        Ok(Self {
            incoming,
            deadline: Instant::now() + arrival.wait,
            due: PACE,
            arrival,
            framed,
            md5: headers.md5,
            checksummer: announced.map(|checksum| Checksummer::new(checksum.algorithm())),
            announced,
            trailers: Trailers::default(),
            properties,
            size,
            withheld: headers.withheld,
        })
    }

    /// The bytes that will come, decoded.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether a client is better off if it hears of a refusal before it has sent all of this: it
    /// waits to be asked for it, or it is long. Otherwise the bytes are on their way already, and
    /// to refuse them unread costs the connection.
    pub(crate) fn can_be_spared(&self) -> bool {
        self.withheld || self.size > INLINE_MAX
    }

    /// All of a small document.
    pub(crate) async fn document(mut self) -> Result<Bytes, S3Error> {
        let mut document = Vec::new();
        while let Some(piece) = store::Body::next(&mut self).await? {
            if document.len() + piece.len() > DOCUMENT_MAX {
                return Err(ErrorCode::EntityTooLarge.into());
            }
            document.extend_from_slice(&piece);
        }
        if self.md5.is_some_and(|md5| store::md5_of(&document) != md5) {
            return Err(ErrorCode::BadDigest.into());
        }
        self.check_sums()?;
        Ok(document.into())
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, S3Error> {
        loop {
            let frame = timeout_at(self.deadline, self.incoming.frame()).await;
            match frame.map_err(|_| S3Error::from(ErrorCode::RequestTimeout))? {
                None => {
                    self.arrival.complete.store(true, Ordering::Relaxed);
                    return Ok(None);
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if bytes.is_empty() => {}
                    Ok(bytes) => {
                        self.keep_pace(bytes.len());
                        return Ok(Some(bytes));
                    }
                    Err(_) => {}
                },
                Some(Err(_)) => return Err(ErrorCode::IncompleteBody.into()),
            }
        }
    }

    /// Bytes came; enough of them renew patience.
    fn keep_pace(&mut self, bytes: usize) {
        self.due = self.due.saturating_sub(bytes);
        if self.due == 0 {
            self.due = PACE;
            self.deadline = Instant::now() + self.arrival.wait;
        }
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, S3Error> {
        loop {
            if let Framed::Plain { sha256 } = &mut self.framed {
                let hash = sha256.take();
                let piece = self.receive().await?;
                let hash = match (hash, &piece) {
                    (Some((sum, mut hasher)), Some(piece)) => {
                        hasher.update(piece);
                        Some((sum, hasher))
                    }
                    (Some((sum, hasher)), None) => {
                        check_sha256(&sum, hasher)?;
                        None
                    }
                    (None, _) => None,
                };
                self.framed = Framed::Plain { sha256: hash };
                return Ok(piece);
            }
            if let Some(event) = self.decode()? {
                if let Some(bytes) = self.take(event)? {
                    return Ok(Some(bytes));
                }
                continue;
            }
            match self.receive().await? {
                Some(bytes) => {
                    if let Framed::Chunked { input, .. } = &mut self.framed {
                        *input = bytes;
                    }
                }
                None => {
                    if let Framed::Chunked { decoder, .. } = &self.framed {
                        decoder.finish()?;
                    }
                    return Ok(None);
                }
            }
        }
    }

    fn decode(&mut self) -> Result<Option<ChunkEvent>, S3Error> {
        match &mut self.framed {
            Framed::Chunked { decoder, input, .. } => decoder.next(input),
            Framed::Plain { .. } => Ok(None),
        }
    }

    /// What an event of the decoder means. Data is handed on before its signature is checked,
    /// but nothing is committed before the end.
    fn take(&mut self, event: ChunkEvent) -> Result<Option<Bytes>, S3Error> {
        let Framed::Chunked { chunk, .. } = &mut self.framed else {
            return Ok(None);
        };
        match event {
            ChunkEvent::Begin { signature, .. } => {
                if let Some(chunk) = chunk {
                    chunk.signature = signature.ok_or(ErrorCode::SignatureDoesNotMatch)?;
                }
            }
            ChunkEvent::Data(bytes) => {
                if let Some(chunk) = chunk {
                    chunk.sha256.update(&bytes);
                }
                return Ok(Some(bytes));
            }
            ChunkEvent::End => {
                if let Some(chunk) = chunk {
                    let sum = chunk.sha256.finalize_reset().into();
                    let checked = chunk.signer.verify_chunk(&sum, &chunk.signature);
                    checked.map_err(|error| of_auth(&error))?;
                }
            }
            ChunkEvent::Trailers(trailers) => {
                if let (Some(chunk), Some(signature)) = (chunk, trailers.signature) {
                    let sum = Sha256::digest(trailers.canonical.as_bytes()).into();
                    let checked = chunk.signer.verify_trailer(&sum, &signature);
                    checked.map_err(|error| of_auth(&error))?;
                }
                self.trailers = trailers;
            }
        }
        Ok(None)
    }

    fn check_sums(&mut self) -> Result<Option<Checksum>, S3Error> {
        let computed = self.checksummer.take().map(Checksummer::finish);
        if let (Some(announced), Some(computed)) = (self.announced, computed) {
            announced.check(computed, &self.trailers.fields)?;
        }
        Ok(computed)
    }
}

fn check_sha256(announced: &[u8; 32], hasher: Sha256) -> Result<(), S3Error> {
    let computed: [u8; 32] = hasher.finalize().into();
    if computed == *announced {
        Ok(())
    } else {
        Err(ErrorCode::XAmzContentSHA256Mismatch.into())
    }
}

impl store::Body for RequestBody {
    type Error = S3Error;

    async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        let piece = self.next_piece().await?;
        if let (Some(piece), Some(checksummer)) = (&piece, &mut self.checksummer) {
            checksummer.update(piece);
        }
        Ok(piece)
    }

    fn finish(&mut self, md5: [u8; 16]) -> Result<Properties, S3Error> {
        if self.md5.is_some_and(|announced| announced != md5) {
            return Err(ErrorCode::BadDigest.into());
        }
        let computed = self.check_sums()?;
        let mut properties = std::mem::take(&mut self.properties);
        properties
            .checksums
            .extend(computed.map(|sum| kept(&ObjectChecksum::whole(sum))));
        Ok(properties)
    }
}

/// An object's checksum as the store keeps it.
pub(crate) fn kept(checksum: &ObjectChecksum) -> store::Checksum {
    store::Checksum {
        kind: kind_of(checksum.checksum.algorithm()),
        composite: match checksum.kind {
            ChecksumType::FullObject => None,
            ChecksumType::Composite => u16::try_from(checksum.parts).ok(),
        },
        sum: checksum.checksum.as_bytes().to_vec(),
    }
}

/// A checksum algorithm as the store names it.
pub(crate) fn kind_of(algorithm: s3wire::ChecksumAlgorithm) -> store::ChecksumKind {
    use s3wire::ChecksumAlgorithm;
    use store::ChecksumKind;
    match algorithm {
        ChecksumAlgorithm::Crc32 => ChecksumKind::Crc32,
        ChecksumAlgorithm::Crc32c => ChecksumKind::Crc32c,
        ChecksumAlgorithm::Sha1 => ChecksumKind::Sha1,
        ChecksumAlgorithm::Sha256 => ChecksumKind::Sha256,
        ChecksumAlgorithm::Crc64Nvme => ChecksumKind::Crc64Nvme,
    }
}

/// The algorithm of a checksum that the store keeps.
pub(crate) fn algorithm_of(kind: store::ChecksumKind) -> s3wire::ChecksumAlgorithm {
    use s3wire::ChecksumAlgorithm;
    use store::ChecksumKind;
    match kind {
        ChecksumKind::Crc32 => ChecksumAlgorithm::Crc32,
        ChecksumKind::Crc32c => ChecksumAlgorithm::Crc32c,
        ChecksumKind::Sha1 => ChecksumAlgorithm::Sha1,
        ChecksumKind::Sha256 => ChecksumAlgorithm::Sha256,
        ChecksumKind::Crc64Nvme => ChecksumAlgorithm::Crc64Nvme,
    }
}
