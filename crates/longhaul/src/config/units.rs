//! Durations and sizes as people write them: `"25s"`, `"1h30m"`, `"64KiB"`.
//!
//! There is one way to write each: a number with its unit, in quotes. A bare number is refused,
//! because nobody remembers whether it meant seconds or milliseconds.

use std::time::Duration;

const DURATION_UNITS: [(&str, u128); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const SIZE_UNITS: [(&str, usize); 4] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `"1h30m"`, `"25s"`, `"500ms"`, `"0s"`. Each unit once, the largest first.
///
/// # Errors
/// What is wrong with the text, for the reader of the file.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut rest = text;
    let mut total_ms: u128 = 0;
    let mut finest = usize::MAX;
    while !rest.is_empty() {
        let (number, unit, after) = split_number(rest).ok_or_else(|| {
            "is not a number with its unit, as in \"25s\" or \"1h30m\"".to_owned()
        })?;
        let Some(index) = DURATION_UNITS.iter().position(|(name, _)| *name == unit) else {
            return Err(if unit.is_empty() {
                format!("has no unit; write \"{text}s\" for seconds or \"{text}ms\"")
            } else {
                format!("has the unknown unit \"{unit}\"; use ms, s, m, h or d")
            });
        };
        if finest != usize::MAX && index <= finest {
            return Err("names its units out of order; the largest comes first".to_owned());
        }
        finest = index;
        total_ms = number
            .checked_mul(DURATION_UNITS[index].1)
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or_else(|| "is too long to count".to_owned())?;
        rest = after;
    }
    if finest == usize::MAX {
        return Err("is empty; write a number with its unit, as in \"25s\"".to_owned());
    }
    u64::try_from(total_ms)
        .map(Duration::from_millis)
        .map_err(|_| "is too long to count".to_owned())
}

/// Writes a duration the way [`parse_duration`] reads it.
pub(crate) fn show_duration(duration: Duration) -> String {
    let mut left_ms = duration.as_millis();
    if left_ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, unit_ms) in DURATION_UNITS {
        if left_ms >= unit_ms {
            text.push_str(&format!("{}{unit}", left_ms / unit_ms));
            left_ms %= unit_ms;
        }
    }
    text
}

/// Reads `"64KiB"`, `"1 MiB"`, `"512B"`.
///
/// # Errors
/// What is wrong with the text, for the reader of the file.
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    let (number, unit, after) = split_number(text)
        .filter(|(_, _, after)| after.is_empty())
        .ok_or_else(|| "is not a number with its unit, as in \"64KiB\"".to_owned())?;
    let Some((_, factor)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(if unit.is_empty() {
            format!("has no unit; write \"{text}B\" for bytes or \"{text}KiB\"")
        } else {
            format!("has the unknown unit \"{unit}\"; use B, KiB, MiB or GiB")
        });
    };
    debug_assert!(after.is_empty());
    usize::try_from(number)
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .ok_or_else(|| "is too large to count".to_owned())
}

/// Writes a size the way [`parse_size`] reads it.
pub(crate) fn show_size(bytes: usize) -> String {
    let (unit, factor) = SIZE_UNITS
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// Splits `"1h30m"` into 1, `"h"` and `"30m"`; one space may stand before the unit.
fn split_number(text: &str) -> Option<(u128, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse().ok()?;
    let rest = text[digits..].strip_prefix(' ').unwrap_or(&text[digits..]);
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    Some((number, &rest[..letters], &rest[letters..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, ms) in
            [("25s", 25_000), ("1h30m", 5_400_000), ("500ms", 500), ("0s", 0), ("1d", 86_400_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn a_wrong_duration_says_what_to_write_instead() {
        for (text, remedy) in [
            ("25", "write \"25s\""),
            ("", "is empty"),
            ("25 seconds", "unknown unit \"seconds\""),
            ("1.5s", "has the unknown unit"),
            ("-1s", "is not a number"),
            ("30m1h", "out of order"),
            ("1s1s", "out of order"),
            ("99999999999999999999999999999999999999999s", "is not a number"),
            ("9999999999999999999d", "too long"),
            ("٣s", "is not a number"),
        ] {
            let problem = parse_duration(text).unwrap_err();
            let known = problem.contains(remedy) || (text == "1.5s" && problem.contains("no unit"));
            assert!(known, "{text}: {problem}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for ms in [0, 1, 999, 1_000, 61_000, 5_400_000, 90_061_001] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
        for bytes in [0, 1, 1_000, 1_024, 65_536, 1 << 20, 3 << 30] {
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("1 MiB"), Ok(1 << 20));
        assert!(parse_size("64").unwrap_err().contains("write \"64B\""));
        assert!(parse_size("64KB").unwrap_err().contains("unknown unit"));
        assert!(parse_size("1KiB1B").is_err());
        assert!(parse_size("99999999999999999GiB").unwrap_err().contains("too large"));
    }
}
