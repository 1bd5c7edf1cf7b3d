//! Sizes as people write them: a number and a unit.

use serde::{Deserialize, Serialize};

/// A size as people write it: a number and a unit, decimal as disks are sold or binary; without a unit, bytes.
pub fn parse_bytes(text: &str) -> Result<u64, NotASize> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && !"._".contains(c))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "pb" => 1_000_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "pib" => 1 << 50,
        _ => return Err(NotASize),
    };
    let number = number.replace('_', "");
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    let digits = u32::try_from(fraction.len())
        .ok()
        .filter(|digits| *digits <= 9)
        .ok_or(NotASize)?;
    let scaled: u128 = format!("{whole}{fraction}").parse().map_err(|_| NotASize)?;
    let bytes = scaled.checked_mul(u128::from(unit)).ok_or(NotASize)? / 10_u128.pow(digits);
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0).ok_or(NotASize)
}

/// Not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a size is a number and a unit, such as 500GB, 2TB or 1.5TiB")]
pub struct NotASize;

/// How much of a disk is for something, as a configuration says it: a size as text, or a number of bytes. Zero is said as
/// `"0"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "u64")]
pub struct Capacity(pub u64);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a size is a number and a unit, such as 500GB, 2TB or 1.5TiB")]
enum Written {
    Bytes(u64),
    Text(String),
}

impl TryFrom<Written> for Capacity {
    type Error = NotASize;

    fn try_from(written: Written) -> Result<Self, NotASize> {
        match written {
            Written::Bytes(bytes) => Ok(Capacity(bytes)),
            Written::Text(text) if text == "0" => Ok(Capacity(0)),
            Written::Text(text) => parse_bytes(&text).map(Capacity),
        }
    }
}

impl From<Capacity> for u64 {
    fn from(capacity: Capacity) -> u64 {
        capacity.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, size) in [
            ("1", 1),
            ("2_000", 2_000),
            ("500GB", 500_000_000_000),
            ("2 tb", 2_000_000_000_000),
            ("1.5TiB", 3 << 39),
            ("0.5kb", 500),
        ] {
            assert_eq!(parse_bytes(text), Ok(size), "{text}");
        }
        for text in [
            "",
            "GB",
            "-1GB",
            "2T",
            "1.2.3GB",
            "0",
            "1e3",
            "20000000PB",
            "0.0000000001GB",
            "0.1",
        ] {
            assert_eq!(parse_bytes(text), Err(NotASize), "{text}");
        }
    }

    #[test]
    fn a_capacity_is_text_or_a_number() {
        for (json, bytes) in [("\"2TB\"", 2_000_000_000_000), ("12", 12), ("\"0\"", 0)] {
            assert_eq!(
                serde_json::from_str::<Capacity>(json).unwrap(),
                Capacity(bytes),
                "{json}"
            );
        }
        let error = serde_json::from_str::<Capacity>("\"2T\"").unwrap_err();
        assert!(error.to_string().contains("500GB"), "{error}");
    }
}
