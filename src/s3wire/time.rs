//! Times as S3 writes and reads them. Proleptic Gregorian calendar, UTC only.

use types::Timestamp;

const DAY_MS: u64 = 86_400_000;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
/// The last instant that four digits of year can write: 9999-12-31T23:59:59.999Z.
const MILLIS_MAX: u64 = 253_402_300_799_999;

/// A civil date and time of day.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    milli: u64,
}

impl Civil {
    /// After the algorithm "civil_from_days" of Howard Hinnant's paper on calendar dates: years
    /// begin in March, so that a leap day is the last of its year.
    fn of(at: Timestamp) -> Self {
        let millis = at.as_millis().min(MILLIS_MAX);
        let (days, rest) = (millis / DAY_MS, millis % DAY_MS);
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            hour: rest / 3_600_000,
            minute: rest / 60_000 % 60,
            second: rest / 1000 % 60,
            milli: rest % 1000,
        }
    }

    /// The instant, if this is a date of the calendar from 1970 to 9999.
    fn instant(&self) -> Option<Timestamp> {
        let leap = self.year.is_multiple_of(4)
            && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        let days_in_month = match self.month {
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u64::from(leap),
            1..=12 => 31,
            _ => return None,
        };
        let legal = (1970..=9999).contains(&self.year)
            && (1..=days_in_month).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second <= 60
            && self.milli < 1000;
        if !legal {
            return None;
        }
        let year = self.year - u64::from(self.month <= 2);
        let march_month = (self.month + 9) % 12;
        let (era, year_of_era) = (year / 400, year % 400);
        let day_of_year = (153 * march_month + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        let seconds = self.hour * 3600 + self.minute * 60 + self.second.min(59);
        Some(Timestamp::from_millis(
            days * DAY_MS + seconds * 1000 + self.milli,
        ))
    }
}

/// `2009-10-12T17:50:30.000Z`: the form of every time in S3's XML.
pub fn iso8601(at: Timestamp) -> String {
    let mut out = String::with_capacity(24);
    push_iso8601(&mut out, at);
    out
}

/// Appends [`iso8601`]. Digit by digit, since a page of a list holds a thousand of them.
pub(crate) fn push_iso8601(out: &mut String, at: Timestamp) {
    let c = Civil::of(at);
    let mut digits = |value: u64, places: &[u64], after: char| {
        for place in places {
            let digit = u32::try_from(value / place % 10).unwrap_or(0);
            out.push(char::from_digit(digit, 10).unwrap_or('0'));
        }
        out.push(after);
    };
    digits(c.year, &[1000, 100, 10, 1], '-');
    digits(c.month, &[10, 1], '-');
    digits(c.day, &[10, 1], 'T');
    digits(c.hour, &[10, 1], ':');
    digits(c.minute, &[10, 1], ':');
    digits(c.second, &[10, 1], '.');
    digits(c.milli, &[100, 10, 1], 'Z');
}

/// `Mon, 12 Oct 2009 17:50:30 GMT` (RFC 9110, section 5.6.7, IMF-fixdate): the form of
/// `Last-Modified`. Cuts to whole seconds.
pub fn http_date(at: Timestamp) -> String {
    let c = Civil::of(at);
    let weekday = usize::try_from(at.as_millis().min(MILLIS_MAX) / DAY_MS % 7).unwrap_or(0);
    let month = usize::try_from(c.month - 1).unwrap_or(0);
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        WEEKDAYS.get(weekday).copied().unwrap_or_default(),
        c.day,
        MONTHS.get(month).copied().unwrap_or_default(),
        c.year,
        c.hour,
        c.minute,
        c.second
    )
}

/// Reads any of the three forms of RFC 9110, section 5.6.7. The weekday is not compared with the
/// date. Two digits of year mean 1970 to 2069.
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    let words: Vec<&str> = text
        .split([' ', ',', '-'])
        .filter(|word| !word.is_empty())
        .collect();
    let (day, month, year, clock) = match words.as_slice() {
        [_, day, month, year, clock, "GMT" | "UTC"] => (day, month, year, clock),
        [_, month, day, clock, year] if year.len() == 4 => (day, month, year, clock),
        _ => return None,
    };
    let year = match (year.len(), number(year)?) {
        (4, year) => year,
        (2, year) if year < 70 => 2000 + year,
        (2, year) => 1900 + year,
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| name == month)?;
    let mut clock = clock.split(':');
    let civil = Civil {
        year,
        month: u64::try_from(month).ok()? + 1,
        day: number(day)?,
        hour: number(clock.next()?)?,
        minute: number(clock.next()?)?,
        second: number(clock.next()?)?,
        milli: 0,
    };
    if clock.next().is_some() {
        return None;
    }
    civil.instant()
}

/// Reads `2009-10-12T17:50:30Z`, with or without a fraction of up to nine digits (cut to
/// milliseconds).
pub fn parse_iso8601(text: &str) -> Option<Timestamp> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut date = date.split('-');
    let mut clock = clock.split(':');
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let milli: String = fraction.chars().chain("00".chars()).take(3).collect();
    let civil = Civil {
        year: number(date.next()?)?,
        month: number(date.next()?)?,
        day: number(date.next()?)?,
        hour: number(clock.next()?)?,
        minute: number(clock.next()?)?,
        second: number(clock.next()?)?,
        milli: number(&milli)?,
    };
    if date.next().is_some() || clock.next().is_some() {
        return None;
    }
    civil.instant()
}

/// One to four digits and nothing else.
fn number(text: &str) -> Option<u64> {
    if text.len() > 4 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn secs(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn junk_is_no_date() {
        for bad in [
            "",
            "Mon, 12 Oct 2009 17:50:30",
            "Mon, 32 Oct 2009 17:50:30 GMT",
            "Mon, 12 Okt 2009 17:50:30 GMT",
            "Sun, 29 Feb 2009 17:50:30 GMT",
            "Mon, 12 Oct 2009 24:00:00 GMT",
            "Mon, 12 Oct 1969 10:00:00 GMT",
            "Mon, 12 Oct 2009 17:50:30:11 GMT",
            "1700000000",
        ] {
            assert_eq!(parse_http_date(bad), None, "{bad}");
        }
        for bad in [
            "2009-10-12",
            "2009-13-12T00:00:00Z",
            "2009-10-12T00:00:00",
            "2009-10-12T00:00:00.Z",
        ] {
            assert_eq!(parse_iso8601(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_three_http_forms_are_one_instant() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_http_date(text), Some(secs(784_111_777)), "{text}");
        }
        assert_eq!(
            http_date(secs(784_111_777)),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
    }

    #[test]
    fn known_instants_are_written_as_the_calendar_says() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_255_369_830_000, "2009-10-12T17:50:30.000Z"),
            (4_107_542_399_001, "2100-02-28T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (MILLIS_MAX, "9999-12-31T23:59:59.999Z"),
        ];
        for (millis, text) in table {
            let at = Timestamp::from_millis(millis);
            assert_eq!(iso8601(at), text);
            assert_eq!(parse_iso8601(text), Some(at));
        }
        assert_eq!(
            http_date(secs(1_255_369_830)),
            "Mon, 12 Oct 2009 17:50:30 GMT"
        );
    }

    proptest! {
        #[test]
        fn every_instant_round_trips(millis in 0..=MILLIS_MAX) {
            let at = Timestamp::from_millis(millis);
            assert_eq!(parse_iso8601(&iso8601(at)), Some(at));
            assert_eq!(parse_http_date(&http_date(at)), Some(secs(at.as_secs())));
        }

        #[test]
        fn no_text_panics(text in any::<String>(), millis in any::<u64>()) {
            let _ = (parse_http_date(&text), parse_iso8601(&text));
            let _ = (iso8601(Timestamp::from_millis(millis)), http_date(Timestamp::from_millis(millis)));
        }
    }
}
