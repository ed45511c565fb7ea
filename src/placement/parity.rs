//! Storage classes: how many drives of a set may be lost.

use std::str::FromStr;

use types::Geometry;

use crate::error::Error;

/// The parity of a storage class as people write it: `EC:n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parity(u8);

impl FromStr for Parity {
    type Err = Error;

    /// Reads `EC:n`; whether a set can have it is for [`Classes::new`] to say.
    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text
            .strip_prefix("EC:")
            .filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
        let parity = digits.and_then(|digits| digits.parse().ok()).map(Self);
        parity.ok_or_else(|| Error::StorageClass {
            text: text.to_owned(),
        })
    }
}

/// The geometries of the two storage classes that S3 clients may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classes {
    /// `STANDARD`.
    pub standard: Geometry,
    /// `REDUCED_REDUNDANCY`.
    pub reduced: Geometry,
}

impl Classes {
    /// The classes of sets of `set_drives` drives. Without a wish, `STANDARD` has the default
    /// parity of that size (1: 0, 2–3: 1, 4–5: 2, 6–7: 3, 8–16: 4) and `REDUCED_REDUNDANCY` one
    /// drive, or none where `STANDARD` has none. Parity is at most half of the set.
    pub fn new(
        set_drives: usize,
        standard: Option<Parity>,
        reduced: Option<Parity>,
    ) -> Result<Self, Error> {
        let drives = u8::try_from(set_drives)
            .ok()
            .filter(|n| (1..=16).contains(n));
        let drives = drives.ok_or(Error::SetDrives { set_drives })?;
        let standard = standard.map_or_else(|| default_parity(drives), |parity| parity.0);
        let reduced = reduced.map_or(standard.min(1), |parity| parity.0);
        let standard_geometry = geometry(drives, standard)?;
        let reduced_geometry = geometry(drives, reduced)?;
        if reduced > standard {
            return Err(Error::ReducedAboveStandard { standard, reduced });
        }
        Ok(Self {
            standard: standard_geometry,
            reduced: reduced_geometry,
        })
    }
}

fn default_parity(drives: u8) -> u8 {
    (drives / 2).min(4)
}

fn geometry(drives: u8, parity: u8) -> Result<Geometry, Error> {
    let max = drives / 2;
    if parity > max {
        return Err(Error::TooMuchParity {
            parity,
            set_drives: usize::from(drives),
            max,
        });
    }
    Ok(Geometry::new(drives - parity, parity).expect("1 to 16 drives, parity at most half"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parity(text: &str) -> Option<Parity> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn only_ec_and_a_number_is_a_storage_class() {
        for text in [
            "", "EC", "EC:", "EC:-1", "EC:+1", "EC: 1", "ec:1", "4", "EC:256", "EC:1 ",
        ] {
            let error = text.parse::<Parity>().unwrap_err();
            assert_eq!(
                error,
                Error::StorageClass {
                    text: text.to_owned()
                },
                "{text}"
            );
        }
    }

    #[test]
    fn parity_is_at_most_half_and_reduced_at_most_standard() {
        let table = [
            (
                1,
                "EC:1",
                "EC:0",
                "storage class EC:1: a set of 1 drives takes at most EC:0",
            ),
            (
                4,
                "EC:3",
                "EC:1",
                "storage class EC:3: a set of 4 drives takes at most EC:2",
            ),
            (
                5,
                "EC:3",
                "EC:1",
                "storage class EC:3: a set of 5 drives takes at most EC:2",
            ),
            (
                16,
                "EC:8",
                "EC:9",
                "storage class EC:9: a set of 16 drives takes at most EC:8",
            ),
            (
                16,
                "EC:2",
                "EC:3",
                "storage class RRS (EC:3) has more parity than STANDARD (EC:2)",
            ),
            (
                4,
                "EC:0",
                "EC:1",
                "storage class RRS (EC:1) has more parity than STANDARD (EC:0)",
            ),
            (0, "EC:0", "EC:0", "a set has 1 to 16 drives, not 0"),
            (17, "EC:0", "EC:0", "a set has 1 to 16 drives, not 17"),
        ];
        for (drives, standard, reduced, message) in table {
            let error = Classes::new(drives, parity(standard), parity(reduced)).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn default_parity_follows_the_size_of_the_set() {
        let table = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4];
        for (drives, parity) in (1..).zip(table) {
            let classes = Classes::new(drives, None, None).unwrap();
            assert_eq!(classes.standard.parity(), parity, "{drives}");
            assert_eq!(classes.standard.drives(), drives);
            assert_eq!(
                classes.reduced.parity(),
                usize::from(drives > 1),
                "{drives}"
            );
        }
    }

    #[test]
    fn storage_classes_override_the_default() {
        let classes = Classes::new(16, parity("EC:8"), parity("EC:2")).unwrap();
        assert_eq!(
            (classes.standard.parity(), classes.reduced.parity()),
            (8, 2)
        );
        let bare = Classes::new(4, parity("EC:0"), None).unwrap();
        assert_eq!((bare.standard.parity(), bare.reduced.parity()), (0, 0));
    }
}
