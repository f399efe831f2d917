//! From when until when a certificate is valid, read from its DER (RFC 5280 §4.1.2.5): the TLS
//! library checks the times of others' certificates and never those of our own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const DAY_S: i64 = 24 * 3600;

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

/// Reads the validity of a certificate. `None` when it is not where RFC 5280 puts it.
pub(super) fn of(certificate: &[u8]) -> Option<Validity> {
    let (certificate, _) = take(certificate, SEQUENCE)?;
    let (mut signed, _) = take(certificate, SEQUENCE)?;
    if let Some((_, rest)) = take(signed, VERSION) {
        signed = rest;
    }
    let (_serial, rest) = take(signed, INTEGER)?;
    let (_algorithm, rest) = take(rest, SEQUENCE)?;
    let (_issuer, rest) = take(rest, SEQUENCE)?;
    let (validity, _) = take(rest, SEQUENCE)?;
    let (not_before, rest) = time(validity)?;
    let (not_after, _) = time(rest)?;
    Some(Validity { not_before, not_after })
}

/// The contents of the element that `der` begins with, which must have this tag, and what follows.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut len = usize::from(first);
    if len >= 0x80 {
        // Of the long form, up to three bytes of length: more than any file that was read.
        let (digits, behind) = rest.split_at_checked(len & 0x7f).filter(|it| it.0.len() <= 3)?;
        len = digits.iter().fold(0, |len, &digit| len << 8 | usize::from(digit));
        rest = behind;
    }
    rest.split_at_checked(len).filter(|_| found == tag)
}

fn time(der: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (year, digits, rest) = match take(der, UTC_TIME) {
        Some((text, rest)) => {
            let (year, text) = text.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text, rest)
        }
        None => {
            let (text, rest) = take(der, GENERALIZED_TIME)?;
            let (year, text) = text.split_at_checked(4)?;
            (number(year)?, text, rest)
        }
    };
    let [digits @ .., b'Z'] = digits else { return None };
    let fields: Vec<i64> = digits.chunks(2).map(number).collect::<Option<_>>()?;
    let &[month, day, hour, minute, second] = fields.as_slice() else { return None };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = days(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second;
    // What began before 1970 is valid all the same.
    let seconds = u64::try_from(seconds).unwrap_or(0);
    Some((UNIX_EPOCH + Duration::from_secs(seconds), rest))
}

fn number(digits: &[u8]) -> Option<i64> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

/// Days from 1970-01-01 to this day of the Gregorian calendar. Years begin in March here, so that
/// the odd day comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let leap_days = year / 4 - year / 100 + year / 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + leap_days + day_of_year - 719_468
}

/// A moment as its day, `2027-02-19`, for people.
pub fn show_day(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let day = i64::try_from(since).unwrap_or(i64::MAX) / DAY_S;
    // The year is at most one too large: no year is shorter than 365 days.
    let mut year = 1970 + day / 365;
    while days(year, 1, 1) > day {
        year -= 1;
    }
    let month = (1..=12).rev().find(|&month| days(year, month, 1) <= day).unwrap_or(1);
    format!("{year:04}-{month:02}-{:02}", day - days(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_day(seconds: u64, expected: &str) {
        assert_eq!(show_day(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        check_day(0, "1970-01-01");
        check_day(68_169_600, "1972-02-29");
        check_day(951_782_400, "2000-02-29");
        check_day(1_735_689_599, "2024-12-31");
        check_day(4_107_542_400, "2100-03-01");
        check_day(253_402_300_799, "9999-12-31");
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let (utc, rest) = time(b"\x17\x0d491231235959Z!").unwrap();
        assert_eq!((show_day(utc).as_str(), rest), ("2049-12-31", &b"!"[..]));
        let (generalized, _) = time(b"\x18\x0f20500101000000Z").unwrap();
        assert_eq!(generalized.duration_since(utc).unwrap(), Duration::from_secs(1));
        assert_eq!(time(b"\x17\x0d500101000000Z").unwrap().0, UNIX_EPOCH);
        for wrong in [&b"\x17\x0d491331235959Z"[..], b"\x17\x0c491231235959", b"\x17\x0d4912"] {
            assert!(time(wrong).is_none(), "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_validity() {
        for wrong in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x02\x30\x00"] {
            assert!(of(wrong).is_none(), "{}", wrong.escape_ascii());
        }
    }
}
