//! What a store answers in place of what was asked for: its kind, the store's own words, and the way out.

use std::error::Error;

use crate::destination::error::{DestinationError, DestinationErrorKind};
use crate::destination::pauses::Passing;
use crate::display::joined_lines;

/// So much of a store's message is passed on, in characters.
const LONGEST: usize = 300;

/// A request that did not give what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The store refused it.
    #[error("{0}")]
    Refused(Refusal),
    /// No answer came, or only a part of one.
    #[error("{0}")]
    Unreachable(String),
    /// No answer came within the time that one may take.
    #[error("{0}")]
    Silent(String),
    /// Our own judgement of what the store has.
    #[error("{1}")]
    Judged(DestinationErrorKind, String),
}

/// How a store refused a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.shown())]
pub(super) struct Refusal {
    /// The status of HTTP.
    pub(super) status: u16,
    /// S3's code, where the answer has one.
    pub(super) code: Option<String>,
    /// The store's own words.
    message: Option<String>,
}

impl Refusal {
    /// Reads an answer: `<Error><Code>…</Code><Message>…</Message></Error>`. Other elements are not shown,
    /// since they can have what was sent.
    pub(super) fn read(status: u16, body: &str) -> Self {
        Self {
            status,
            code: element(body, "Code").filter(|code| is_code(code)),
            message: element(body, "Message"),
        }
    }

    /// Reads what `object_store` says of an object that was not deleted: `… KEY: MESSAGE (code: CODE)`.
    fn of_deletion(text: &str) -> Option<Self> {
        let (said, code) = text.rsplit_once(" (code: ")?;
        let (_, message) = said.rsplit_once(": ")?;
        let code = code.trim_end_matches(')');
        Some(Self {
            status: 200,
            code: is_code(code).then(|| code.to_owned()),
            message: Some(message.to_owned()),
        })
    }

    fn shown(&self) -> String {
        let said = match (&self.code, &self.message) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(text), None) | (None, Some(text)) => text.clone(),
            (None, None) => String::new(),
        };
        let said = joined_lines(said.trim());
        let said = match said.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &said[..end]),
            None => said,
        };
        match (self.status, said.is_empty()) {
            (200, _) => said,
            (status, true) => format!("HTTP {status}"),
            (status, false) => format!("HTTP {status}, {said}"),
        }
    }

    /// Of which kind it is.
    pub(super) fn kind(&self) -> DestinationErrorKind {
        use DestinationErrorKind::{Damaged, Denied, Exists, Full, Missing, Settings, Unavailable};
        match self.code.as_deref().unwrap_or_default() {
            "AccessDenied"
            | "AccountProblem"
            | "AllAccessDisabled"
            | "ExpiredToken"
            | "InvalidAccessKeyId"
            | "InvalidToken"
            | "RequestTimeTooSkewed"
            | "SignatureDoesNotMatch"
            | "TokenRefreshRequired" => return Denied,
            "NoSuchBucket" | "NoSuchKey" | "NoSuchVersion" => return Missing,
            "BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" => {
                return Damaged;
            }
            code if code.contains("Quota") || code.contains("StorageFull") => return Full,
            _ => {}
        }
        match self.status {
            401 | 403 => Denied,
            404 => Missing,
            409 | 412 => Exists,
            507 => Full,
            408 | 429 | 500 | 502..=504 => Unavailable,
            416 => Damaged,
            300..=499 | 501 => Settings,
            _ => Unavailable,
        }
    }

    fn hint(&self) -> &'static str {
        match (self.code.as_deref().unwrap_or_default(), self.status) {
            (code, status)
                if status == 507 || code.contains("Quota") || code.contains("StorageFull") =>
            {
                "free space there, or raise the quota"
            }
            ("RequestTimeTooSkewed", _) => {
                "set the clock of this machine (timedatectl status), or that of the store"
            }
            ("ExpiredToken" | "TokenRefreshRequired" | "InvalidToken", _) => {
                "the session token is over: get new credentials"
            }
            ("InvalidAccessKeyId", _) => "check access_key_id: the store does not know it",
            ("SignatureDoesNotMatch", _) => "check the secret key, and the region",
            ("AccessDenied", _) | (_, 401 | 403) => {
                "let the key's policy allow s3:PutObject, s3:GetObject and s3:ListBucket there"
            }
            ("NoSuchBucket", _) => "make the bucket, or correct url",
            (
                "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraint",
                _,
            )
            | (_, 301 | 307) => "set region and endpoint to those of the bucket",
            _ => "",
        }
    }

    /// Whether the store knows the key, and its policy forbids the request.
    pub(super) fn is_denial(&self) -> bool {
        match self.code.as_deref() {
            Some(code) => code == "AccessDenied",
            None => self.status == 403,
        }
    }

    /// Whether the same request may succeed later.
    fn may_pass(&self) -> bool {
        matches!(
            self.kind(),
            DestinationErrorKind::Unavailable | DestinationErrorKind::Damaged
        ) && self.status != 416
    }
}

/// Codes are words; anything else may be what was sent.
fn is_code(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The text of the first element of this name.
fn element(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.trim();
    let plain = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    let text = plain
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    (!text.is_empty()).then_some(text)
}

impl Fault {
    /// What is wrong with the store or what it has, by our own judgement.
    pub(super) fn damaged(message: impl Into<String>) -> Self {
        Self::Judged(DestinationErrorKind::Damaged, message.into())
    }

    /// Somebody has not answered in time.
    pub(super) fn silence(whom: &str) -> Self {
        Self::Silent(format!("no answer from {whom}: it did not answer in time"))
    }

    /// What an error of `object_store` or of the client stands for.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut one = Some(error);
        while let Some(cause) = one {
            if let Some(fault) = cause.downcast_ref::<Self>() {
                return fault.clone();
            }
            one = cause.source();
        }
        let text = with_causes(error);
        match Refusal::of_deletion(&text) {
            Some(refusal) => Self::Refused(refusal),
            None => Self::Unreachable(text),
        }
    }

    /// Whether the same request may succeed later.
    pub(super) fn passing(&self) -> Passing {
        match self {
            Self::Refused(refusal) if refusal.may_pass() => Passing::Soon,
            Self::Unreachable(_) => Passing::Soon,
            Self::Silent(_) => Passing::Silence,
            Self::Refused(_) | Self::Judged(..) => Passing::Never,
        }
    }

    /// The kind that it is of.
    pub(super) fn kind(&self) -> DestinationErrorKind {
        match self {
            Self::Refused(refusal) => refusal.kind(),
            Self::Unreachable(_) | Self::Silent(_) => DestinationErrorKind::Unavailable,
            Self::Judged(kind, _) => *kind,
        }
    }

    /// The error, with what was being done.
    pub(super) fn while_doing(self, doing: String) -> DestinationError {
        let hint = match &self {
            Self::Refused(refusal) => refusal.hint(),
            Self::Unreachable(_) | Self::Silent(_) | Self::Judged(..) => "",
        };
        self.with_hint(doing, hint)
    }

    /// The same of a request that needs further permissions, which `needed` says how to give.
    pub(super) fn while_needing(self, doing: String, needed: &str) -> DestinationError {
        match &self {
            Self::Refused(refusal) if refusal.is_denial() => self.with_hint(doing, needed),
            _ => self.while_doing(doing),
        }
    }

    fn with_hint(self, doing: String, hint: &str) -> DestinationError {
        let hint = if hint.is_empty() {
            String::new()
        } else {
            format!("\nhint: {hint}")
        };
        DestinationError {
            doing,
            kind: self.kind(),
            cause: format!("{self}{hint}"),
        }
    }
}

/// An error with its causes, each said once.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        let said = one.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = one.source();
    }
    joined_lines(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_its_kind_and_a_way_out() {
        use DestinationErrorKind::{Damaged, Denied, Exists, Full, Missing, Settings, Unavailable};
        for (status, code, kind, passes, hint) in [
            (403, "AccessDenied", Denied, false, "s3:PutObject"),
            (403, "SignatureDoesNotMatch", Denied, false, "secret key"),
            (403, "InvalidAccessKeyId", Denied, false, "access_key_id"),
            (400, "ExpiredToken", Denied, false, "new credentials"),
            (403, "RequestTimeTooSkewed", Denied, false, "clock"),
            (403, "", Denied, false, "s3:PutObject"),
            (404, "NoSuchBucket", Missing, false, "make the bucket"),
            (404, "NoSuchKey", Missing, false, ""),
            (409, "ConditionalRequestConflict", Exists, false, ""),
            (412, "PreconditionFailed", Exists, false, ""),
            (403, "QuotaExceeded", Full, false, "quota"),
            (507, "XMinioStorageFull", Full, false, "quota"),
            (507, "", Full, false, "quota"),
            (503, "SlowDown", Unavailable, true, ""),
            (500, "InternalError", Unavailable, true, ""),
            (429, "", Unavailable, true, ""),
            (400, "BadDigest", Damaged, true, ""),
            (416, "InvalidRange", Damaged, false, ""),
            (301, "PermanentRedirect", Settings, false, "region"),
            (400, "InvalidStorageClass", Settings, false, ""),
            (501, "NotImplemented", Settings, false, ""),
        ] {
            let body = format!("<Error><Code>{code}</Code><Message>No.</Message></Error>");
            let fault = Fault::Refused(Refusal::read(status, &body));
            assert_eq!(fault.kind(), kind, "{status} {code}");
            assert_eq!(fault.passing() == Passing::Soon, passes, "{status} {code}");
            let error = fault.while_doing("put s3://b/k".to_owned()).to_string();
            assert!(error.contains(hint), "{error}");
            assert!(error.contains("No.") && error.contains(code), "{error}");
            assert_eq!(error.contains("hint: "), !hint.is_empty(), "{error}");
        }
    }

    #[test]
    fn of_an_answer_only_code_and_message_are_shown() {
        for (body, shown) in [
            ("", "HTTP 403"),
            ("<html>hunter2</html>", "HTTP 403"),
            (
                "<Error><Code>A</Code><Message>a &lt;b&gt;\n&amp;lt;</Message><Token-0>hunter2</Token-0>\
                 <AWSAccessKeyId>hunter2</AWSAccessKeyId></Error>",
                "HTTP 403, A: a <b> &lt;",
            ),
            ("<Error><Code>hunter2 x</Code></Error>", "HTTP 403"),
        ] {
            assert_eq!(Refusal::read(403, body).to_string(), shown, "{body}");
        }
        let said = "DeleteObjects request failed for key a/b: no right (code: AccessDenied)";
        let refusal = Refusal::of_deletion(said).unwrap();
        assert_eq!(refusal.to_string(), "AccessDenied: no right");
        assert_eq!(refusal.kind(), DestinationErrorKind::Denied);
    }
}
