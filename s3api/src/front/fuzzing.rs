//! Doors for those who feed arbitrary bytes to the readers of the front door (`verification/src/fuzz`).
//!
//! Whatever the bytes are, a reader gives a value or an error. A door panics if that is not so, or if a law of the reader
//! does not hold.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use hyper::http::request::Parts;
use hyper::{Method, Request};
use s3s::dto::{CompletedMultipartUpload, CreateBucketConfiguration, Delete};
use s3s::xml::Deserialize;

use super::auth::{Trailer, claimed};
use super::chunked::{Decoder, Trailers};
use super::operation::Operation;
use super::uri::{Query, Target, decode, decode_bytes, encode};
use super::{headers, xml};
use crate::body::BodyError;

/// The first byte says in pieces of how many bytes the rest comes, and whether trailers are announced.
pub fn chunked(data: &[u8]) {
    let Some((how, wire)) = data.split_first() else { return };
    let trailer = if how % 2 == 0 {
        Trailer::Absent
    } else {
        Trailer::Present
    };
    let whole = unchunk(wire, wire.len().max(1), trailer);
    let pieces = unchunk(wire, usize::from(how / 2).max(1), trailer);
    match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces, "how a body is cut must not matter"),
        (Err(_), Err(_)) => {}
        (whole, pieces) => panic!("how a body is cut must not matter: {whole:?}, {pieces:?}"),
    }
}

type Unchunked = (Vec<u8>, Vec<(String, String)>);

fn unchunk(wire: &[u8], step: usize, trailer: Trailer) -> Result<Unchunked, BodyError> {
    let trailers = Trailers::default();
    let mut decoder = Decoder::new(None, trailer, Arc::clone(&trailers));
    let mut out = VecDeque::new();
    for piece in wire.chunks(step) {
        decoder.feed(Bytes::copy_from_slice(piece), &mut out)?;
    }
    decoder.finish()?;
    let body: Vec<u8> = out.into_iter().flatten().collect();
    assert!(body.len() < wire.len(), "a body is shorter than its coding");
    let trailers = trailers.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((body, trailers))
}

/// A document that a client may send.
pub fn documents(data: &[u8]) {
    document::<Delete>(data);
    document::<CompletedMultipartUpload>(data);
    document::<CreateBucketConfiguration>(data);
}

fn document<T: for<'xml> Deserialize<'xml>>(data: &[u8]) {
    let _ = xml::read::<T>(data);
}

/// A path, a line end and a query.
pub fn targets(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    assert_eq!(decode_bytes(&encode(data, b"/")), data);
    let (path, query) = text.split_once('\n').unwrap_or((&text, ""));
    if let Ok(plain) = decode(path) {
        assert_eq!(decode(&encode(plain.as_bytes(), b"")).ok(), Some(plain));
    }
    if let Ok(Target::Object(bucket, key)) = Target::parse(path, "", None) {
        let again = format!("/{bucket}/{}", encode(key.as_str().as_bytes(), b"/"));
        assert_eq!(Target::parse(&again, "", None).ok(), Some(Target::Object(bucket, key)));
    }
    if let Ok(query) = Query::parse(query) {
        let coded = |text: &str| encode(text.as_bytes(), b"");
        let again: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{}={}", coded(name), coded(value)))
            .collect();
        assert_eq!(Query::parse(&again.join("&")).ok(), Some(query));
    }
}

/// A request's head, but for the version: what it claims about its signature, and what its headers say.
pub fn heads(data: &[u8]) {
    let Some(parts) = head(data) else { return };
    let Ok(query) = Query::parse(parts.uri.query().unwrap_or_default()) else {
        return;
    };
    claimed(&parts, &query);
    let _ = headers::write_condition(&parts.headers);
    let _ = headers::read_condition(&parts.headers, "");
    let _ = headers::checksum(&parts.headers);
    let _ = headers::content_md5(&parts.headers);
    if let Ok(metadata) = headers::metadata(&parts.headers) {
        // What is kept is sent again, to clients that read it as we do.
        let _ = headers::of_metadata(&metadata);
    }
    if let Ok(target) = Target::parse(parts.uri.path(), "", None) {
        let _ = Operation::of(&parts.method, &target, &query, &parts.headers);
    }
}

fn head(data: &[u8]) -> Option<Parts> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let (method, target) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).ok()?)
        .uri(target);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        request = request.header(name, value.get(1..)?.trim_ascii());
    }
    Some(request.body(()).ok()?.into_parts().0)
}
