//! Which bytes of an object a read is about: ranges and part numbers, as pure functions.

use std::ops::Range;

use super::super::fault::{Code, Fault};
use crate::object::ObjectInfo;

/// The bytes to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of them, with `200`.
    Whole,
    /// Some of them, with `206`.
    Part(Range<u64>),
}

/// What `Range: bytes=…` asks of an object. As RFC 9110 allows, and S3 does, what is not one well-formed range is ignored.
pub(super) fn of_header(text: &str, size: u64) -> Result<Extent, Fault> {
    let Some((first, last)) = parse(text) else {
        return Ok(Extent::Whole);
    };
    let range = match (first, last) {
        (Some(first), Some(last)) if first > last => return Ok(Extent::Whole),
        (Some(first), last) => first..last.map_or(size, |last| last.saturating_add(1).min(size)),
        (None, Some(suffix)) => size.saturating_sub(suffix)..size,
        (None, None) => return Ok(Extent::Whole),
    };
    if range.is_empty() {
        return Err(Fault::new(Code::InvalidRange)
            .field("RangeRequested", text)
            .field("ActualObjectSize", size.to_string())
            .header("content-range", format!("bytes */{size}")));
    }
    Ok(Extent::Part(range))
}

/// `bytes=first-last`, either of which may be missing.
fn parse(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let number = |text: &str| -> Option<Option<u64>> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        if text.is_empty() {
            Some(None)
        } else {
            digits.then(|| Some(text.parse().unwrap_or(u64::MAX)))
        }
    };
    let (unit, range) = text.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    let known = unit.trim().eq_ignore_ascii_case("bytes");
    Some((number(first.trim())?, number(last.trim())?)).filter(|_| known)
}

/// The bytes of one part; an object that came in one piece has one part.
pub(super) fn of_part(number: u32, object: &ObjectInfo) -> Result<Extent, Fault> {
    let outside = || {
        let parts = object.parts.len().max(1).to_string();
        Fault::new(Code::InvalidPartNumber)
            .field("PartNumberRequested", number.to_string())
            .field("ActualPartCount", parts)
    };
    if object.parts.is_empty() {
        return if number == 1 {
            Ok(Extent::Part(0..object.size))
        } else {
            Err(outside())
        };
    }
    // Numbers count the parts of the object, whatever numbers their uploader chose.
    let mut start = 0;
    for (place, part) in (1_u32..).zip(&object.parts) {
        if place == number {
            return Ok(Extent::Part(start..start + part.size));
        }
        start += part.size;
    }
    Err(outside())
}

/// `x-amz-copy-source-range`, which must be well-formed and lie within the source.
pub(super) fn of_source(text: &str, size: u64) -> Result<Range<u64>, Fault> {
    let wrong = |message: String| Fault::argument("x-amz-copy-source-range", text, message);
    match parse(text) {
        Some((Some(first), Some(last))) if first <= last && last < size => Ok(first..last + 1),
        Some((Some(first), Some(last))) if first <= last => Err(wrong(format!(
            "Range specified is not valid for source object of size: {size}"
        ))),
        Some(_) | None => Err(wrong(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the \
             zero-based offsets of the first and last bytes to copy"
                .to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Etag, Metadata, ObjectPart, Timestamp};

    #[test]
    fn ranges() {
        let of = |text, size| of_header(text, size).map_err(|fault| fault.code);
        assert_eq!(of("bytes=0-9", 100), Ok(Extent::Part(0..10)));
        assert_eq!(of("bytes=90-", 100), Ok(Extent::Part(90..100)));
        assert_eq!(of("bytes=90-1000", 100), Ok(Extent::Part(90..100)));
        assert_eq!(of("bytes=-10", 100), Ok(Extent::Part(90..100)));
        assert_eq!(of("bytes=-1000", 100), Ok(Extent::Part(0..100)));
        assert_eq!(of("bytes=0-99999999999999999999999999", 100), Ok(Extent::Part(0..100)));
        assert_eq!(of("bytes=100-", 100), Err(Code::InvalidRange));
        assert_eq!(of("bytes=-0", 100), Err(Code::InvalidRange));
        assert_eq!(of("bytes=0-0", 0), Err(Code::InvalidRange));
        assert_eq!(of("bytes=-5", 0), Err(Code::InvalidRange));
        for ignored in [
            "bytes=9-0",
            "bytes=-",
            "bytes=a-b",
            "bytes=0-1,5-6",
            "items=0-1",
            "bytes",
            "",
            "bytes=+1-2",
        ] {
            assert_eq!(of(ignored, 100), Ok(Extent::Whole), "{ignored}");
        }
    }

    #[test]
    fn sources_are_strict() {
        let of = |text| of_source(text, 10).ok();
        assert_eq!(of("bytes=0-9"), Some(0..10));
        assert_eq!(of("bytes=0-10"), None);
        assert_eq!(of("bytes=5-"), None);
        assert_eq!(of("bytes=-5"), None);
        assert_eq!(of("0-5"), None);
    }

    #[test]
    fn parts_are_counted() {
        let part = |number, size| ObjectPart {
            number,
            size,
            checksum: None,
        };
        let mut object = ObjectInfo {
            size: 30,
            etag: Etag::parse("a"),
            modified: Timestamp::from_ms(0),
            metadata: Metadata::default(),
            checksum: None,
            parts: vec![part(3, 20), part(7, 10)],
        };
        assert_eq!(of_part(1, &object), Ok(Extent::Part(0..20)));
        assert_eq!(of_part(2, &object), Ok(Extent::Part(20..30)));
        assert_eq!(
            of_part(3, &object).map_err(|fault| fault.code),
            Err(Code::InvalidPartNumber)
        );
        object.parts.clear();
        assert_eq!(of_part(1, &object), Ok(Extent::Part(0..30)));
        assert_eq!(
            of_part(2, &object).map_err(|fault| fault.code),
            Err(Code::InvalidPartNumber)
        );
    }
}
