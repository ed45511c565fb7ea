//! Matrices over GF(2^8), at most 16 × 16, on the stack.

use types::Geometry;

use crate::galois::{invert as invert_element, multiply as multiply_elements, power};

const SIDE_MAX: usize = Geometry::DRIVES_MAX;

/// The coefficients of one output, one for each input; zero beyond the inputs.
pub(crate) type Row = [u8; SIDE_MAX];

/// A matrix of at most 16 × 16 elements; the caller knows how much of it counts.
pub(crate) type Matrix = [Row; SIDE_MAX];

/// An empty matrix.
pub(crate) const ZERO: Matrix = [[0; SIDE_MAX]; SIDE_MAX];

/// The N × k matrix that maps data to all shards: the Vandermonde matrix `V[r][c] = r^c`, times
/// the inverse of its top k × k block. The top is therefore the identity and data shards are the
/// data. The same as reed-solomon-erasure's and klauspost's default.
pub(crate) fn encoding(geometry: Geometry) -> Matrix {
    let side = geometry.data();
    let mut vandermonde = ZERO;
    for (row, element) in vandermonde.iter_mut().zip(0u8..).take(geometry.drives()) {
        for (column, cell) in row.iter_mut().enumerate().take(side) {
            *cell = power(element, column);
        }
    }
    let top = invert(&vandermonde, side)
        .expect("the rows of a Vandermonde matrix over distinct elements are independent");
    multiply(&vandermonde, &top, side)
}

/// `left · right`, where `side` columns of `left` meet `side` rows of `right`.
fn multiply(left: &Matrix, right: &Matrix, side: usize) -> Matrix {
    left.map(|row| multiply_row(&row, right, side))
}

/// `row · right`, where `side` elements of `row` meet `side` rows of `right`.
pub(crate) fn multiply_row(row: &Row, right: &Matrix, side: usize) -> Row {
    let mut product = [0; SIDE_MAX];
    for (coefficient, addend) in row.iter().zip(right).take(side) {
        add_scaled(&mut product, *coefficient, addend);
    }
    product
}

/// The inverse of the top left `side` × `side` block, by Gauss and Jordan; `None` if singular.
pub(crate) fn invert(matrix: &Matrix, side: usize) -> Option<Matrix> {
    let mut work = *matrix;
    let mut inverse = ZERO;
    for (at, row) in inverse.iter_mut().enumerate() {
        row[at] = 1;
    }
    for pivot in 0..side {
        let found = (pivot..side).find(|row| work[*row][pivot] != 0)?;
        work.swap(pivot, found);
        inverse.swap(pivot, found);
        let scale = invert_element(work[pivot][pivot])?;
        scale_row(&mut work[pivot], scale);
        scale_row(&mut inverse[pivot], scale);
        let (pivot_work, pivot_inverse) = (work[pivot], inverse[pivot]);
        for row in (0..side).filter(|row| *row != pivot) {
            let factor = work[row][pivot];
            add_scaled(&mut work[row], factor, &pivot_work);
            add_scaled(&mut inverse[row], factor, &pivot_inverse);
        }
    }
    Some(inverse)
}

fn scale_row(row: &mut Row, factor: u8) {
    if factor == 1 {
        return;
    }
    for cell in row {
        *cell = multiply_elements(*cell, factor);
    }
}

fn add_scaled(out: &mut Row, factor: u8, addend: &Row) {
    if factor == 0 {
        return; // Most factors: data shards that are there need no solving.
    }
    for (cell, other) in out.iter_mut().zip(addend) {
        *cell ^= multiply_elements(factor, *other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_singular_matrix_has_no_inverse() {
        let mut twice = ZERO;
        twice[0] = [3; SIDE_MAX];
        twice[1] = [3; SIDE_MAX];
        assert!(invert(&twice, 2).is_none());
        assert!(invert(&ZERO, 1).is_none());
    }

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        let geometry = Geometry::new(8, 8).unwrap();
        let all = encoding(geometry);
        let mut parity = ZERO;
        parity[..8].copy_from_slice(&all[8..]);
        let inverse = invert(&parity, 8).unwrap();
        let product = multiply(&parity, &inverse, 8);
        for (r, row) in product.iter().enumerate().take(8) {
            for (c, cell) in row.iter().enumerate().take(8) {
                assert_eq!(*cell, u8::from(r == c));
            }
        }
    }

    #[test]
    fn data_shards_are_the_data() {
        for (k, m) in [(1, 0), (1, 2), (12, 4), (8, 8), (16, 0)] {
            let matrix = encoding(Geometry::new(k, m).unwrap());
            for (r, row) in matrix.iter().enumerate().take(usize::from(k)) {
                for (c, cell) in row.iter().enumerate() {
                    assert_eq!(*cell, u8::from(r == c), "{k}+{m}");
                }
            }
        }
    }
}
