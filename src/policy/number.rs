//! Exact numbers, read from the digits that were sent.
//!
//! A double holds 10000.00004 as something near it, and a limit that is
//! compared with something near the amount is no limit. So no number goes
//! through `f64`: it fits exactly, or it is refused.

/// Why a number has no exact form in the type that policy compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misfit {
    /// It has more decimals than the type holds.
    #[error("it has too many decimals")]
    TooPrecise,
    /// It is larger than the type holds.
    #[error("it is too large")]
    OutOfRange,
}

/// The digits of an `i64`, at most.
const MAX_DIGITS: i64 = 19;

/// Reads a JSON number as a whole count of units of 10^-`scale`: `12.5` at
/// scale 2 is 1250. Costs time in the length of the text only, whatever
/// the exponent says.
pub(super) fn scaled(text: &str, scale: u8) -> Result<i64, Misfit> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    let leading = digits().take_while(|&digit| digit == b'0').count();
    let total = whole.len() + fraction.len();
    if leading == total {
        return Ok(0);
    }
    let trailing = digits().rev().take_while(|&digit| digit == b'0').count();
    let shift = length(trailing)
        .saturating_sub(length(fraction.len()))
        .saturating_add(exponent_of(exponent))
        .saturating_add(i64::from(scale));
    if shift < 0 {
        return Err(Misfit::TooPrecise);
    }
    let significant = length(total - leading - trailing);
    if significant.saturating_add(shift) > MAX_DIGITS {
        return Err(Misfit::OutOfRange);
    }
    // Negative, because i64::MIN has no positive twin.
    let zeros = usize::try_from(shift).unwrap_or_default();
    let magnitude = digits()
        .skip(leading)
        .take(total - leading - trailing)
        .chain(std::iter::repeat_n(b'0', zeros))
        .try_fold(0_i64, |sum, digit| {
            sum.checked_mul(10)?
                .checked_sub(i64::from(digit.wrapping_sub(b'0')))
        })
        .ok_or(Misfit::OutOfRange)?;
    if negative {
        Ok(magnitude)
    } else {
        magnitude.checked_neg().ok_or(Misfit::OutOfRange)
    }
}

/// A JSON number that is whole, however it is written: `2.0` is 2. None where it is
/// not, or where the text is no number.
pub fn whole(text: &str) -> Option<i64> {
    let begins = text.bytes().next()?;
    let is_number = begins == b'-' || begins.is_ascii_digit();
    is_number.then(|| scaled(text, 0).ok()).flatten()
}

/// How many decimals Cedar's `decimal` has.
pub(super) const DECIMALS: u8 = 4;

/// The text from which Cedar makes a `decimal` of this many ten-thousandths.
pub(super) fn decimal_text(units: i64) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let units = units.unsigned_abs();
    format!("{sign}{}.{:04}", units / 10_000, units % 10_000)
}

/// An exponent, or the nearest number that is far outside of every range.
fn exponent_of(text: &str) -> i64 {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = digits.bytes().fold(0_i64, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(i64::from(digit.wrapping_sub(b'0')))
    });
    if negative { -magnitude } else { magnitude }
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_fits_exactly_or_is_refused() {
        let rows: &[(&str, u8, Result<i64, Misfit>)] = &[
            ("0", 0, Ok(0)),
            ("-0", 2, Ok(0)),
            ("0.000", 0, Ok(0)),
            ("0e99999999999999999999", 0, Ok(0)),
            ("1.0", 0, Ok(1)),
            ("1e3", 0, Ok(1000)),
            ("1.50e1", 0, Ok(15)),
            ("1200e-2", 0, Ok(12)),
            ("1.5", 0, Err(Misfit::TooPrecise)),
            ("10000.00", 2, Ok(1_000_000)),
            ("1e4", 2, Ok(1_000_000)),
            ("10000.004", 2, Err(Misfit::TooPrecise)),
            ("10000.00004", 4, Err(Misfit::TooPrecise)),
            ("-500.00", 2, Ok(-50_000)),
            ("9223372036854775807", 0, Ok(i64::MAX)),
            ("-9223372036854775808", 0, Ok(i64::MIN)),
            ("9223372036854775808", 0, Err(Misfit::OutOfRange)),
            ("92233720368547758.08", 2, Err(Misfit::OutOfRange)),
            ("1e400", 0, Err(Misfit::OutOfRange)),
            ("1e999999999999999999999999", 0, Err(Misfit::OutOfRange)),
            ("1e-400", 4, Err(Misfit::TooPrecise)),
            ("1e-99999999999999999999999", 4, Err(Misfit::TooPrecise)),
        ];
        for (text, scale, expected) in rows {
            assert_eq!(scaled(text, *scale), *expected, "{text} at {scale}");
        }
    }

    #[test]
    fn a_decimal_is_written_with_its_sign_and_all_its_places() {
        for (units, text) in [
            (0, "0.0000"),
            (-5, "-0.0005"),
            (12_345, "1.2345"),
            (i64::MIN, "-922337203685477.5808"),
            (i64::MAX, "922337203685477.5807"),
        ] {
            assert_eq!(decimal_text(units), text);
        }
    }

    proptest! {
        #[test]
        fn every_spelling_of_a_number_reads_as_that_number(value: i64, scale in 0_u8..6, zeros in 0_usize..4) {
            let shifted = i128::from(value);
            let power = 10_i128.pow(u32::from(scale));
            let sign = if value < 0 { "-" } else { "" };
            let (whole, part) = (shifted.abs() / power, shifted.abs() % power);
            let plain = if scale == 0 {
                format!("{sign}{whole}.0{}", "0".repeat(zeros))
            } else {
                format!("{sign}{whole}.{part:0width$}{}", "0".repeat(zeros), width = usize::from(scale))
            };
            prop_assert_eq!(scaled(&plain, scale), Ok(value));
            prop_assert_eq!(scaled(&format!("{value}e-{scale}"), scale), Ok(value));
        }
    }
}
