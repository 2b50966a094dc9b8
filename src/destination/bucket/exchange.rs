//! One exchange with a store: a request is put together, and its answer read.

use std::ops::Range;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::HeaderValue;
use object_store::client::{HttpRequest, HttpRequestBody, HttpResponse};
use reqwest::Method;
use reqwest::header::HeaderName;

use super::courier::{header, read};
use super::fault::Fault;
use crate::destination::ObjectFacts;
use crate::destination::error::DestinationErrorKind;

/// Whole objects are not longer than this, in bytes: a volume has 16 MiB.
const LARGEST: usize = 64 << 20;

/// The headers of a request.
pub(in crate::destination) type Headers<'h> = &'h [(&'static str, String)];

/// A request that is not signed yet.
pub(in crate::destination) fn request(
    (method, address): (Method, &str),
    headers: Headers<'_>,
    body: Option<&Bytes>,
) -> Result<HttpRequest, Fault> {
    let body = body.map_or_else(HttpRequestBody::empty, |body| body.clone().into());
    let mut request = HttpRequest::new(body);
    let invalid =
        |what: &str| Fault::Judged(DestinationErrorKind::Settings, format!("invalid {what}"));
    *request.method_mut() = method;
    *request.uri_mut() = address.parse().map_err(|_| invalid("address"))?;
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).map_err(|_| invalid(name))?;
        request
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
    Ok(request)
}

/// The header that asks for a range, which is not empty.
pub(in crate::destination) fn range_header(
    range: Option<&Range<u64>>,
) -> Vec<(&'static str, String)> {
    let text = range.map(|range| format!("bytes={}-{}", range.start, range.end - 1));
    text.map(|text| ("range", text)).into_iter().collect()
}

/// The object, or the range of it, that an answer has.
pub(in crate::destination) async fn object_in(
    answer: HttpResponse,
    range: Option<&Range<u64>>,
) -> Result<Bytes, Fault> {
    if range.is_some() && answer.status().as_u16() != 206 {
        return Err(Fault::damaged(
            "the store gave the whole object in place of a part",
        ));
    }
    let said = header(&answer, "content-length").and_then(|length| length.parse().ok());
    let expected = match range {
        Some(range) => usize::try_from(range.end - range.start).ok(),
        None => said,
    };
    let limit = expected.unwrap_or(LARGEST).min(LARGEST);
    let bytes = read(answer.into_body(), limit).await?;
    let is_whole = expected.map_or(bytes.len() <= limit, |expected| bytes.len() == expected);
    if !is_whole {
        let wanted = expected.unwrap_or(limit);
        return Err(Fault::damaged(format!(
            "the store gave {} bytes, and {wanted} were expected",
            bytes.len()
        )));
    }
    Ok(bytes.into())
}

/// The facts that an answer has in its headers, without checksum and version.
pub(in crate::destination) fn facts_of(answer: &HttpResponse) -> Result<ObjectFacts, Fault> {
    let bytes = header(answer, "content-length").and_then(|length| length.parse().ok());
    let modified = header(answer, "last-modified");
    let modified = modified.and_then(|text| DateTime::parse_from_rfc2822(text).ok());
    let (Some(bytes), Some(modified)) = (bytes, modified) else {
        return Err(Fault::damaged(
            "the answer has no length or no time of the object (Content-Length, Last-Modified)",
        ));
    };
    Ok(ObjectFacts {
        bytes,
        sha256: None,
        modified: modified.with_timezone(&Utc),
        version: None,
    })
}
