//! Index keys that are no rows, and their values.

use types::DataId;

use super::head::META_TAG;

/// Keys below this one are no rows: they begin with the bucket id that no bucket has.
pub(super) const ROWS: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 1];
/// The bucket id that no bucket has, then the space of the small store.
const META: [u8; 9] = [0, 0, 0, 0, 0, 0, 0, 0, 9];
/// The bucket id that no bucket has, then the space of shard files' generations.
const FILES: [u8; 9] = [0, 0, 0, 0, 0, 0, 0, 0, 8];
const FILE_TAG: u8 = 0x11;

/// The index key of a name in the small store; of a prefix of names, its prefix.
pub(super) fn meta_key(name: &[u8]) -> Vec<u8> {
    [&META[..], name].concat()
}

/// The inverse of [`meta_key`].
pub(super) fn meta_name(key: &[u8]) -> Option<&[u8]> {
    key.strip_prefix(&META)
}

/// The index value of a value in the small store.
pub(super) fn meta_value(value: &[u8]) -> Vec<u8> {
    [&[META_TAG], value].concat()
}

/// The inverse of [`meta_value`].
pub(super) fn parse_meta(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(&[META_TAG])
}

/// The index key under which the generation of a shard file is kept, if it is not 0.
pub(super) fn file_key(data: DataId) -> Vec<u8> {
    [&FILES[..], &data.to_bytes()].concat()
}

/// The index value of a generation.
pub(super) fn file_value(generation: u32) -> Vec<u8> {
    [&[FILE_TAG], &generation.to_le_bytes()[..]].concat()
}

/// The inverse of [`file_value`].
pub(super) fn parse_file(value: &[u8]) -> Option<u32> {
    let bytes = value.strip_prefix(&[FILE_TAG])?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}
