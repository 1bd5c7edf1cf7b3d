//! Answers: what an operation returns, and how it becomes an HTTP response.

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use tracing::warn;

use super::fault::{Code, Fault};
use super::xml;
use crate::error::StoreError;
use crate::store::ByteStream;

/// The body of a response; an error cuts the connection.
pub(super) type ResponseBody = UnsyncBoxBody<Bytes, StoreError>;

/// What an operation answers.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) content: Content,
}

/// The body of an answer.
pub(super) enum Content {
    /// No body, and a length of nothing.
    Empty,
    /// No body, but the length that a body would have: the answer to HEAD.
    Absent(u64),
    /// A short body.
    Short(Bytes),
    /// A long body of known length.
    Stream(ByteStream, u64),
}

impl Answer {
    /// An answer without a body.
    pub(super) fn empty(status: StatusCode) -> Answer {
        Answer {
            status,
            headers: HeaderMap::new(),
            content: Content::Empty,
        }
    }

    /// An XML document.
    pub(super) fn xml(document: impl Into<Bytes>) -> Answer {
        let content = Content::Short(document.into());
        Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            content,
        }
        .header(CONTENT_TYPE, "application/xml")
    }

    /// The same answer with a header. Characters outside ASCII go out as UTF-8; what cannot be sent is left out.
    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: impl AsRef<str>) -> Answer {
        if let Ok(value) = HeaderValue::from_bytes(value.as_ref().as_bytes()) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The same answer with a header, if there is a value for it.
    #[must_use]
    pub(super) fn opt_header(self, name: HeaderName, value: Option<impl AsRef<str>>) -> Answer {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    fn into_response(self) -> Response<ResponseBody> {
        let (length, body) = match self.content {
            Content::Empty => (0, empty()),
            Content::Absent(length) => (length, empty()),
            Content::Short(bytes) => (bytes.len() as u64, short(bytes)),
            Content::Stream(stream, length) => (length, StreamBody::new(stream.map(send)).boxed_unsync()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        if self.status != StatusCode::NO_CONTENT && self.status != StatusCode::NOT_MODIFIED {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        response
    }
}

/// Makes the response to a request for `resource`.
pub(super) fn respond(
    result: Result<Answer, Fault>,
    method: &Method,
    resource: &str,
    request_id: &str,
) -> Response<ResponseBody> {
    let answer = result.unwrap_or_else(|fault| describe(fault, method, resource, request_id));
    let mut response = answer.into_response();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amz-request-id", id);
    }
    response
}

fn describe(fault: Fault, method: &Method, resource: &str, request_id: &str) -> Answer {
    let status = fault.code.status();
    let bodiless = *method == Method::HEAD || fault.code == Code::NotModified;
    let mut answer = if bodiless {
        Answer::empty(status)
    } else {
        Answer {
            status,
            ..Answer::xml(xml::error(&fault, resource, request_id))
        }
    };
    for (name, value) in &fault.headers {
        answer = answer.header(HeaderName::from_static(name), value);
    }
    answer
}

/// An object that cannot be read to its end cuts the connection: the status has been sent already.
fn send(item: Result<Bytes, StoreError>) -> Result<Frame<Bytes>, StoreError> {
    item.map(Frame::data)
        .inspect_err(|error| warn!(%error, "an answer was cut off"))
}

fn empty() -> ResponseBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn short(bytes: Bytes) -> ResponseBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
