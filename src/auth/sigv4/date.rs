//! `20130524T000000Z`, the only form of time in a signature.

use types::Timestamp;

/// The last instant that four digits of year can write, in seconds.
const SECS_MAX: u64 = 253_402_300_799;
const DAY: u64 = 86_400;

/// Reads exactly 16 characters: a date of the calendar from 1970 to 9999.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let bytes: &[u8; 16] = text.as_bytes().try_into().ok()?;
    let number = |from: usize, to: usize| -> Option<u64> {
        bytes.get(from..to)?.iter().try_fold(0, |sum, byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            Some(sum * 10 + digit)
        })
    };
    if bytes.get(8) != Some(&b'T') || bytes.get(15) != Some(&b'Z') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_in_month = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    let legal = year >= 1970
        && (1..=days_in_month).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !legal {
        return None;
    }
    // Years that begin in March, so that a leap day is the last of its year.
    let shifted = year - u64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year - 719_468;
    let secs = days * DAY + hour * 3600 + minute * 60 + second;
    Some(Timestamp::from_millis(secs * 1000))
}

/// Writes 16 characters; cuts to whole seconds.
pub(super) fn write(at: Timestamp) -> String {
    let secs = at.as_secs().min(SECS_MAX);
    let (days, rest) = (secs / DAY, secs % DAY);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn only_dates_of_the_calendar_are_read() {
        for bad in [
            "",
            "20130524T000000",
            "20130524 000000Z",
            "20130532T000000Z",
            "20130229T000000Z",
            "20131301T000000Z",
            "20130524T240000Z",
            "+0130524T000000Z",
            "19691231T235959Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let at = Timestamp::from_millis(1_369_353_600_000);
        assert_eq!(parse("20130524T000000Z"), Some(at));
        assert_eq!(
            parse("20000229T000000Z"),
            Some(Timestamp::from_millis(951_782_400_000))
        );
    }

    proptest! {
        #[test]
        fn every_second_round_trips(secs in 0..=SECS_MAX) {
            let at = Timestamp::from_millis(secs * 1000);
            assert_eq!(parse(&write(at)), Some(at));
        }

        #[test]
        fn no_text_panics(text in any::<String>(), millis in any::<u64>()) {
            let _ = (parse(&text), write(Timestamp::from_millis(millis)));
        }
    }
}
