//! GF(2^8) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11D), the field of
//! reed-solomon-erasure's `galois_8` and of klauspost/reedsolomon.

const POLYNOMIAL_LOW: u8 = 0x1d;

/// `MUL[a][b]` is the product of `a` and `b`.
pub(crate) const MUL: &[[u8; 256]; 256] = &multiplication_table();

/// `NIBBLES[c]` holds the products of `c` with 0..16, then with the multiples of 16 up to 240:
/// one table for each nibble of a byte.
#[cfg(target_arch = "x86_64")]
pub(crate) const NIBBLES: &[[[u8; 16]; 2]; 256] = &nibble_table();

/// `AFFINE[c]` is the 8×8 bit matrix of the multiplication with `c`, as `vgf2p8affineqb` wants it:
/// output bit `i` is the parity of the input byte masked with byte `7 − i`.
#[cfg(target_arch = "x86_64")]
pub(crate) const AFFINE: &[u64; 256] = &affine_table();

/// `2 · a`, without a branch, so that loops over it become vectors.
pub(crate) const fn double(a: u8) -> u8 {
    (a << 1) ^ ((a >> 7) * POLYNOMIAL_LOW)
}

const fn multiplication_table() -> [[u8; 256]; 256] {
    let mut table = [[0u8; 256]; 256];
    let mut a = 0usize;
    while a < 256 {
        let mut b = 1usize;
        while b < 256 {
            let doubled = double(table[a][b >> 1]);
            table[a][b] = doubled ^ if b & 1 == 1 { low_byte(a) } else { 0 };
            b += 1;
        }
        a += 1;
    }
    table
}

#[cfg(target_arch = "x86_64")]
const fn nibble_table() -> [[[u8; 16]; 2]; 256] {
    let mut table = [[[0u8; 16]; 2]; 256];
    let mut c = 0;
    while c < 256 {
        let mut nibble = 0;
        while nibble < 16 {
            table[c][0][nibble] = MUL[c][nibble];
            table[c][1][nibble] = MUL[c][nibble << 4];
            nibble += 1;
        }
        c += 1;
    }
    table
}

#[cfg(target_arch = "x86_64")]
const fn affine_table() -> [u64; 256] {
    let mut table = [0u64; 256];
    let mut c = 0;
    while c < 256 {
        let mut column = 0;
        while column < 8 {
            let product = MUL[c][1 << column];
            let mut bit = 0;
            while bit < 8 {
                if product >> bit & 1 == 1 {
                    table[c] |= 1 << (8 * (7 - bit) + column);
                }
                bit += 1;
            }
            column += 1;
        }
        c += 1;
    }
    table
}

const fn low_byte(a: usize) -> u8 {
    a.to_le_bytes()[0]
}

/// `a · b`.
pub(crate) fn multiply(a: u8, b: u8) -> u8 {
    MUL[usize::from(a)][usize::from(b)]
}

/// The `b` with `a · b = 1`; `None` for zero.
pub(crate) fn invert(a: u8) -> Option<u8> {
    // The units of the field are a group of 255 elements.
    (a != 0).then(|| power(a, 254))
}

/// `a` to the power of `exponent`; `0^0 = 1`.
pub(crate) fn power(a: u8, exponent: usize) -> u8 {
    let bits = (0..usize::BITS).rev().map(|bit| exponent >> bit & 1 == 1);
    bits.skip_while(|bit| !bit).fold(1, |product, bit| {
        let square = multiply(product, product);
        if bit { multiply(square, a) } else { square }
    })
}

#[cfg(test)]
mod tests {
    use reed_solomon_erasure::galois_8;

    use super::*;

    #[test]
    fn the_field_is_that_of_the_oracle() {
        for a in 0..=u8::MAX {
            for b in 0..=u8::MAX {
                assert_eq!(multiply(a, b), galois_8::mul(a, b), "{a} · {b}");
            }
            assert_eq!(power(a, 11), galois_8::exp(a, 11), "{a}^11");
        }
    }

    #[test]
    fn zero_alone_has_no_inverse() {
        assert_eq!(invert(0), None);
        for a in 1..=u8::MAX {
            assert_eq!(multiply(a, invert(a).unwrap()), 1, "{a}");
        }
        assert_eq!(power(0, 0), 1);
    }
}
