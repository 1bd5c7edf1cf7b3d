//! Dates as S3 writes them, and the wall clock they are compared with.

use std::time::{Duration, SystemTime};

use crate::object::Timestamp;

/// A moment, in seconds since the Unix epoch; may lie before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime(i64);

impl WallTime {
    /// The moment so many seconds after the epoch.
    pub const fn from_seconds(seconds: i64) -> WallTime {
        WallTime(seconds)
    }

    /// Seconds since the epoch.
    pub const fn seconds(self) -> i64 {
        self.0
    }
}

/// What the clock of this machine says.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the default; a simulation sets its own clock"
)]
pub(super) fn system() -> WallTime {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    WallTime(i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX))
}

/// `YYYYMMDD'T'HHMMSS'Z'`.
pub(super) fn parse_compact(text: &str) -> Option<WallTime> {
    let shape = text.len() == 16 && text.is_ascii() && text.as_bytes().get(8) == Some(&b'T') && text.ends_with('Z');
    let number = |from: usize, to: usize| {
        text.get(from..to)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?
            .parse::<i64>()
            .ok()
    };
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    let days = days_from_civil(number(0, 4)?, number(4, 6)?, number(6, 8)?)?;
    (shape && hour < 24 && minute < 60 && second <= 60)
        .then_some(WallTime(days * 86_400 + hour * 3600 + minute * 60 + second))
}

/// The compact form of a date in HTTP form.
pub(super) fn compact_of_http(text: &str) -> Option<String> {
    let seconds = parse_http(text)?.seconds();
    let iso = iso(WallTime(i64::try_from(seconds).ok()?));
    Some(iso.replace(['-', ':'], ""))
}

/// A date in one of the three forms that HTTP knows.
pub(super) fn parse_http(text: &str) -> Option<Timestamp> {
    let time = httpdate::parse_http_date(text).ok()?;
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Some(Timestamp::from_ms(since_epoch.as_secs() * 1000))
}

/// A date in the form of HTTP headers.
pub(super) fn http(time: Timestamp) -> String {
    // The formatter knows years up to 9999.
    let seconds = time.seconds().min(253_402_300_799);
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// `YYYY-MM-DD'T'HH:MM:SS'Z'`.
pub(super) fn iso(time: WallTime) -> String {
    let (days, rest) = (time.0.div_euclid(86_400), time.0.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days since the epoch of a date of the Gregorian calendar, counted in eras of 400 years that begin in March.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_both_ways() {
        assert_eq!(parse_compact("20130524T000000Z"), Some(WallTime(1_369_353_600)));
        assert_eq!(
            parse_compact("20000229T235959Z").map(iso).as_deref(),
            Some("2000-02-29T23:59:59Z")
        );
        for day in (-800_000..800_000).step_by(37) {
            let (year, month, date) = civil_from_days(day);
            assert_eq!(days_from_civil(year, month, date), Some(day));
        }
        let wrong = [
            "",
            "20130524T000000",
            "20131324T000000Z",
            "2013-0524T00000Z",
            "20130524T+10000Z",
            "2013052\u{e9}T00000Z",
        ];
        for text in wrong {
            assert_eq!(parse_compact(text), None, "{text}");
        }
        assert_eq!(
            parse_http("Fri, 24 May 2013 00:00:00 GMT"),
            Some(Timestamp::from_ms(1_369_353_600_000))
        );
        assert_eq!(
            compact_of_http("Fri, 24 May 2013 00:00:00 GMT").as_deref(),
            Some("20130524T000000Z")
        );
        assert_eq!(
            http(Timestamp::from_ms(1_369_353_600_999)),
            "Fri, 24 May 2013 00:00:00 GMT"
        );
    }
}
