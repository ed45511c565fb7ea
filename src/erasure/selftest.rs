//! The self test that runs before a server takes its first byte.

use types::{DataId, DeploymentId, Geometry};

use crate::codec::Codec;
use crate::error::Error;
use crate::frame::{FrameId, ShardKey};
use crate::kernel::Kernel;
use crate::md5::Md5;

/// Odd, and longer than two vectors of every kernel with a tail after them.
const SHARD_LEN: usize = 333;

/// `(k, m, BLAKE3 of all parity shards in order)`: what reed-solomon-erasure 6 computes too.
const PARITY: [(u8, u8, &str); 6] = [
    (
        1,
        2,
        "63b9569a4eba01321db07e98c904b5cf87c118cc0d5621922d206b6ee9895466",
    ),
    (
        2,
        2,
        "e846246c8671a921eaafa4d8a56af8d6bd9fa9ed3691275a7a5e2ab7e52a8009",
    ),
    (
        4,
        2,
        "38878f3e9f7e6da8ac60d19ae95fa9a2ab22c544c3f051ed7b79ed1f65048ce7",
    ),
    (
        5,
        3,
        "1b018cc499354da338a817b3cf023d998a6e4d3d8cadd39a84032e510115208b",
    ),
    (
        8,
        8,
        "cff4bb209c9034d97a129a287e3012a4477312febc678a006d019a75a732e4e1",
    ),
    (
        12,
        4,
        "b7490aa6d758919cfdc7a70238fa89c52cb473c91ba1ab43266abd181c5ccc51",
    ),
];

/// The frame hash of the first data shard, as the documentation of frames defines it.
const FRAME: &str = "0038a4587448c7c17ddd63dfb97158556c398713b479ad58594a2e912e33c75c";

/// The MD5 hash of the first data shard.
const MD5: u128 = 0xa280_41f5_0ff9_fc59_e1b4_9f7f_ca78_72db;

/// Checks that every kernel which this machine might use computes the known parity, gets lost
/// shards back, and that frames and MD5 have the known hashes. A CPU, a compiler or a build that computes
/// something else must not write. Takes under a millisecond.
pub fn self_test() -> Result<(), Error> {
    for kernel in Kernel::available() {
        for (k, m, parity) in PARITY {
            let failed = |what| Error::SelfTest {
                what,
                kernel: kernel.name(),
            };
            let geometry = Geometry::new(k, m).map_err(|_| failed("geometry"))?;
            check_code(&Codec::with_kernel(geometry, kernel), parity).map_err(failed)?;
        }
    }
    check_frame()?;
    check_md5()
}

/// Shard bytes that differ from shard to shard and from place to place.
fn pattern(shard: usize) -> [u8; SHARD_LEN] {
    let mut state = shard.wrapping_add(1);
    [0; SHARD_LEN].map(|_: u8| {
        state = state.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f) & 0xffff_ffff;
        (state >> 16).to_le_bytes()[0]
    })
}

fn check_code(codec: &Codec, parity_hash: &str) -> Result<(), &'static str> {
    let (k, n) = (codec.geometry().data(), codec.geometry().drives());
    let mut shards: Vec<[u8; SHARD_LEN]> = (0..n).map(pattern).collect();
    let (data, parity) = shards.split_at_mut(k);
    let data: Vec<&[u8]> = data.iter().map(|shard| shard.as_slice()).collect();
    let mut places: Vec<&mut [u8]> = parity
        .iter_mut()
        .map(|shard| shard.as_mut_slice())
        .collect();
    codec.encode(&data, &mut places).map_err(|_| "encoding")?;
    let mut hasher = blake3::Hasher::new();
    for shard in parity {
        hasher.update(shard);
    }
    if hasher.finalize().to_hex().as_str() != parity_hash {
        return Err("parity bytes");
    }

    let lost: Vec<usize> = (0..n - k).collect();
    let present: Vec<Option<&[u8]>> = shards
        .iter()
        .enumerate()
        .map(|(at, shard)| (at >= n - k).then_some(shard.as_slice()))
        .collect();
    let mut found = vec![[0u8; SHARD_LEN]; n - k];
    let mut places: Vec<&mut [u8]> = found.iter_mut().map(|shard| shard.as_mut_slice()).collect();
    codec
        .rebuild(&present, &lost, &mut places)
        .map_err(|_| "rebuilding")?;
    if found
        .iter()
        .zip(&shards)
        .all(|(found, shard)| found == shard)
    {
        Ok(())
    } else {
        Err("rebuilt bytes")
    }
}

fn check_frame() -> Result<(), Error> {
    let failed = |what| Error::SelfTest {
        what,
        kernel: "blake3",
    };
    let geometry = Geometry::new(2, 2).map_err(|_| failed("geometry"))?;
    let key = ShardKey::new(
        DeploymentId::from_bytes([0x11; 16]),
        DataId::from_bytes([0x22; 16]),
        1,
    );
    let id = FrameId {
        stripe: 7,
        shard: 0,
        geometry,
    };
    let shard = pattern(0);
    let head = key.seal(id, &shard);
    if blake3::Hash::from_bytes(head).to_hex().as_str() != FRAME || !key.verify(id, &head, &shard) {
        return Err(failed("frame hash"));
    }
    Ok(())
}

fn check_md5() -> Result<(), Error> {
    // One more than any kernel takes side by side, so that the last goes alone.
    let mut streams = vec![Md5::new(); Md5::lanes() + 1];
    let bytes = pattern(0);
    let mut pairs: Vec<(&mut Md5, &[u8])> =
        streams.iter_mut().map(|s| (s, bytes.as_slice())).collect();
    Md5::update_together(&mut pairs);
    let right = streams
        .into_iter()
        .all(|stream| stream.finalize() == MD5.to_be_bytes());
    right.then_some(()).ok_or(Error::SelfTest {
        what: "hash",
        kernel: "md5",
    })
}

#[cfg(test)]
mod tests {
    use reed_solomon_erasure::galois_8::ReedSolomon;

    use super::*;

    #[test]
    fn this_machine_passes() {
        assert_eq!(self_test(), Ok(()));
    }

    #[test]
    fn a_wrong_parity_byte_is_noticed() {
        let codec = Codec::new(Geometry::new(2, 2).unwrap());
        assert_eq!(check_code(&codec, PARITY[0].2), Err("parity bytes"));
    }

    #[test]
    fn the_known_parity_is_that_of_the_oracle() {
        for (k, m, hash) in PARITY {
            let (k, m) = (usize::from(k), usize::from(m));
            let mut shards: Vec<Vec<u8>> = (0..k + m).map(|at| pattern(at).to_vec()).collect();
            ReedSolomon::new(k, m).unwrap().encode(&mut shards).unwrap();
            let parity: Vec<u8> = shards[k..].concat();
            assert_eq!(blake3::hash(&parity).to_hex().as_str(), hash, "{k}+{m}");
        }
    }
}
