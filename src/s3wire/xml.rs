//! S3's documents: answers are written, bodies are read. One file per family.

mod error;
mod write;

pub(crate) use write::Document;
