//! Dates as archives write and people read them: seconds since 1970, UTC.

/// A moment in seconds since 1970, UTC.
pub type Seconds = i64;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads a date as archives write it: `Sat, 12 Sep 2026 07:55:41 UTC` (RFC 1123; also `GMT`, `Z` and `+0000`).
pub fn parse(text: &str) -> Option<Seconds> {
    let mut words = text.split_whitespace().peekable();
    if words.peek()?.ends_with(',') {
        words.next();
    }
    let day = words.next()?.parse::<i64>().ok().filter(|day| (1..=31).contains(day))?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as i64 + 1;
    let year = words.next()?.parse::<i64>().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = words.next()?.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next().unwrap_or(Some(0))?);
    let zone = words.next().unwrap_or("UTC");
    let fits = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..61).contains(&second);
    if !fits || !["UTC", "GMT", "Z", "+0000"].contains(&zone) || words.next().is_some() {
        return None;
    }
    Some(days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Reads a date as people write it: `2026-09-12`, or `2026-09-12 07:55`, UTC.
pub fn parse_day(text: &str) -> Option<Seconds> {
    let (day, clock) = text.trim().split_once([' ', 'T']).unwrap_or((text.trim(), "00:00"));
    let mut parts = day.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let (hour, minute) = clock.split_once(':')?;
    let (hour, minute) = (hour.parse::<i64>().ok()?, minute.parse::<i64>().ok()?);
    let fits = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let fits = fits && (0..24).contains(&hour) && (0..60).contains(&minute);
    fits.then(|| days(year, month, day) * 86_400 + hour * 3_600 + minute * 60)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counting years from March so that leap days come last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// Returns a moment as `2026-09-12 07:55 UTC`.
pub fn show(seconds: Seconds) -> String {
    let (days, rest) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", rest / 3_600, rest % 3_600 / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read() {
        for (text, seconds) in [
            ("1970-01-01", Some(0)),
            ("2026-09-12 07:55", Some(1_789_199_700)),
            ("2026-13-12", None),
            ("2026-09-12 25:00", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse_day(text), seconds, "{text}");
        }
    }

    #[test]
    fn dates_are_read_and_shown() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", Some(0)),
            ("Tue, 29 Feb 2000 12:00:00 GMT", Some(951_825_600)),
            ("Sat, 12 Sep 2026 07:55:41 +0000", Some(1_789_199_741)),
            ("12 Sep 2026 07:55:41 Z", Some(1_789_199_741)),
            ("Sat, 12 Sep 2026 07:55:41 +0200", None),
            ("Sat, 32 Sep 2026 07:55:41 UTC", None),
            ("Sat, 12 Sep 2026 25:55:41 UTC", None),
            ("2026-09-12", None),
            ("", None),
        ] {
            assert_eq!(parse(text), seconds, "{text}");
        }
        for seconds in [0, 951_825_600, 1_789_199_741, 4_102_444_800] {
            let shown = show(seconds);
            assert!(shown.ends_with(" UTC") && shown.len() == 20, "{shown}");
        }
        assert_eq!(show(951_825_600), "2000-02-29 12:00 UTC");
    }
}
