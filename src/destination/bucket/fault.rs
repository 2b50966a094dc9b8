//! What a store answers in place of what was asked for: its kind, the store's own words, and the way out.

use std::error::Error;

use super::dialect::{Dialect, ENDPOINT, HELD};
use crate::destination::error::{DestinationError, DestinationErrorKind};
use crate::destination::pauses::Passing;
use crate::display::{self, joined_lines};

/// So much of a store's message is passed on, in characters.
const LONGEST: usize = 300;

/// A request that did not give what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::destination) enum Fault {
    /// The store refused it.
    #[error("{0}")]
    Refused(Refusal),
    /// No answer came, only a part of one, or not the store's; with the way out, which can be empty.
    #[error("{0}")]
    Unreachable(String, &'static str),
    /// No answer came within the time that one may take.
    #[error("{0}")]
    Silent(String),
    /// Our own judgement of what the store has.
    #[error("{1}")]
    Judged(DestinationErrorKind, String),
}

/// How a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.shown())]
pub(in crate::destination) struct Refusal {
    dialect: Dialect,
    /// The status of HTTP.
    pub(in crate::destination) status: u16,
    /// The store's code, where the answer has one.
    pub(in crate::destination) code: Option<String>,
    /// The store's own words.
    message: Option<String>,
    /// The host, where it is not the store's: it has the credentials.
    issuer: Option<String>,
    /// Where the answer redirects to.
    redirect: Option<String>,
}

impl Refusal {
    /// Reads an answer: `<Error><Code>…</Code><Message>…</Message></Error>`. Other elements are not shown,
    /// since they can have what was sent. `code` is that of a header, for an answer without words.
    pub(super) fn read((dialect, status): (Dialect, u16), code: Option<&str>, body: &str) -> Self {
        let message = element(body, "Message");
        Self {
            dialect,
            status,
            code: element(body, "Code")
                .or(code.map(str::to_owned))
                .filter(|code| is_code(code)),
            message: message.map(|message| match dialect {
                // Behind them are an id and the time.
                Dialect::Azure => message.lines().next().unwrap_or_default().to_owned(),
                Dialect::S3 | Dialect::Google => message,
            }),
            issuer: None,
            redirect: None,
        }
    }

    /// The same, with the address in the answer's header `location`, of which only scheme, host and port are shown.
    pub(super) fn redirecting(self, location: Option<&str>) -> Self {
        let url = location.and_then(|text| text.parse::<reqwest::Url>().ok());
        let url = url.filter(|url| url.host_str().is_some() && (300..400).contains(&self.status));
        Self {
            redirect: url.map(|url| url.origin().ascii_serialization()),
            ..self
        }
    }

    /// The same of a host that gives credentials: its `{"error":"…"}` as well.
    pub(super) fn of_issuer(self, host: String, body: &str) -> Self {
        let error = serde_json::from_str::<serde_json::Value>(body).ok();
        let error = error.and_then(|document| document["error"].as_str().map(str::to_owned));
        let is_word = |text: &String| is_code(&text.replace(['_', '-'], ""));
        Self {
            code: self.code.or(error.filter(is_word)),
            issuer: Some(host),
            ..self
        }
    }

    /// Reads what `object_store` says of an object that was not deleted: `… KEY: MESSAGE (code: CODE)`.
    fn of_deletion(text: &str) -> Option<Self> {
        let (said, code) = text.rsplit_once(" (code: ")?;
        let (_, message) = said.rsplit_once(": ")?;
        let code = code.trim_end_matches(')');
        Some(Self {
            dialect: Dialect::S3,
            status: 200,
            code: is_code(code).then(|| code.to_owned()),
            message: Some(message.to_owned()),
            issuer: None,
            redirect: None,
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
        let said = match (self.status, said.is_empty()) {
            (200, _) => said,
            (status, true) => format!("HTTP {status}"),
            (status, false) => format!("HTTP {status}, {said}"),
        };
        let said = match &self.redirect {
            Some(address) => format!("{said}: a redirect to {address}"),
            None => said,
        };
        match &self.issuer {
            Some(host) => format!("{host} gives no credentials: {said}"),
            None => said,
        }
    }

    /// Its kind, and the way out.
    fn meaning(&self) -> (DestinationErrorKind, &'static str) {
        let has_code = self.code.is_some();
        let of_status = self.dialect.meaning_of_status(self.status, has_code);
        if self.issuer.is_some() {
            return match of_status.0 {
                DestinationErrorKind::Unavailable => of_status,
                _ => (DestinationErrorKind::Denied, self.dialect.identity()),
            };
        }
        let code = self.code.as_deref().unwrap_or_default();
        self.dialect.meaning(code).unwrap_or(of_status)
    }

    /// Of which kind it is.
    pub(in crate::destination) fn kind(&self) -> DestinationErrorKind {
        self.meaning().0
    }

    /// Whether the store knows who asks, and its policy forbids the request.
    pub(in crate::destination) fn is_denial(&self) -> bool {
        match self.code.as_deref() {
            Some(code) => self.dialect.is_denial(code),
            None => self.status == 403,
        }
    }

    /// Whether it is only the object that is not there.
    pub(in crate::destination) fn is_missing_object(&self) -> bool {
        self.status == 404
            && self
                .code
                .as_deref()
                .is_none_or(|code| !code.contains("Container") && code != "NoSuchBucket")
    }

    /// Whether the object is kept for some time, whoever asks.
    pub(in crate::destination) fn is_retention(&self) -> bool {
        let code = self.code.as_deref();
        code.is_some_and(|code| self.dialect.is_retention(code))
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
    pub(in crate::destination) fn damaged(message: impl Into<String>) -> Self {
        Self::Judged(DestinationErrorKind::Damaged, message.into())
    }

    /// Somebody has not answered in time.
    pub(super) fn silence(whom: &str) -> Self {
        Self::Silent(format!("no answer from {whom}: it did not answer in time"))
    }

    /// What an error of `object_store` or of the client stands for.
    pub(in crate::destination) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut one = Some(error);
        while let Some(cause) = one {
            if let Some(fault) = cause.downcast_ref::<Self>() {
                return fault.clone();
            }
            one = cause.source();
        }
        let text = with_causes(error);
        if let Some(refusal) = Refusal::of_deletion(&text) {
            return Self::Refused(refusal);
        }
        if text.contains("Got invalid list response") {
            let message = "the answer is no listing of a store, or only a part of one";
            return Self::Unreachable(message.to_owned(), ENDPOINT);
        }
        // The name of the library's module says nothing to an operator.
        let named = text.strip_prefix("Generic ");
        let own_words = named.and_then(|rest| rest.split_once(" error: "));
        Self::Unreachable(
            own_words.map_or_else(|| text.clone(), |(_, why)| why.to_owned()),
            "",
        )
    }

    /// Whether the same request may succeed later.
    pub(in crate::destination) fn passing(&self) -> Passing {
        match self {
            Self::Refused(refusal) if refusal.may_pass() => Passing::Soon,
            Self::Unreachable(..) => Passing::Soon,
            Self::Silent(_) => Passing::Silence,
            Self::Refused(_) | Self::Judged(..) => Passing::Never,
        }
    }

    /// The kind that it is of.
    pub(in crate::destination) fn kind(&self) -> DestinationErrorKind {
        match self {
            Self::Refused(refusal) => refusal.kind(),
            Self::Unreachable(..) | Self::Silent(_) => DestinationErrorKind::Unavailable,
            Self::Judged(kind, _) => *kind,
        }
    }

    /// Whether a put was refused for what lies under the key, or for another put at the same moment.
    pub(in crate::destination) fn is_condition(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.kind() == DestinationErrorKind::Exists)
    }

    /// Whether a put was refused for the state of what it would replace: another attempt, after a look, may tell
    /// more.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(refusal) if matches!(refusal.status, 409 | 412))
            || self.is_condition()
    }

    /// The fault of a put whose condition did not hold although nothing is there.
    pub(super) fn without_object(self) -> Self {
        if self.is_condition() {
            let message = format!(
                "the store says that an object is there, and has none ({self})\nhint: {HELD}"
            );
            Self::Judged(DestinationErrorKind::Unavailable, message)
        } else {
            self
        }
    }

    /// The error, with what was being done.
    pub(in crate::destination) fn while_doing(self, doing: String) -> DestinationError {
        let hint = match &self {
            Self::Refused(refusal) => refusal.meaning().1,
            Self::Unreachable(_, way) => *way,
            Self::Silent(_) | Self::Judged(..) => "",
        };
        self.with_hint(doing, hint)
    }

    /// The same of a request that needs further permissions, which `needed` says how to give.
    pub(in crate::destination) fn while_needing(
        self,
        doing: String,
        needed: &str,
    ) -> DestinationError {
        match &self {
            Self::Refused(refusal) if refusal.is_denial() => self.with_hint(doing, needed),
            _ => self.while_doing(doing),
        }
    }

    /// The error, with another way out.
    pub(in crate::destination) fn with_hint(self, doing: String, hint: &str) -> DestinationError {
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

/// An error with its causes, in one line.
pub(in crate::destination) fn with_causes(error: &dyn Error) -> String {
    joined_lines(&display::with_causes(error))
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
            (409, "LeaseIdMissing", Denied, false, "a lease"),
            (412, "Other", Denied, false, "a lease"),
            (403, "QuotaExceeded", Full, false, "quota"),
            (507, "XMinioStorageFull", Full, false, "quota"),
            (507, "", Full, false, "quota"),
            (503, "SlowDown", Unavailable, true, "later"),
            (500, "InternalError", Unavailable, true, ""),
            (429, "", Unavailable, true, "later"),
            (400, "BadDigest", Damaged, true, ""),
            (416, "InvalidRange", Damaged, false, ""),
            (301, "PermanentRedirect", Settings, false, "region"),
            (400, "InvalidStorageClass", Settings, false, ""),
            (501, "NotImplemented", Settings, false, ""),
        ] {
            let body = format!("<Error><Code>{code}</Code><Message>No.</Message></Error>");
            let fault = Fault::Refused(Refusal::read((Dialect::S3, status), None, &body));
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
            assert_eq!(
                Refusal::read((Dialect::S3, 403), None, body).to_string(),
                shown,
                "{body}"
            );
        }
        let said = "<?xml?><Error><Code>AuthenticationFailed</Code><Message>No.\nRequestId:1\nTime:2</Message>\
                    <AuthenticationErrorDetail>sig=hunter2</AuthenticationErrorDetail></Error>";
        let refusal = Refusal::read((Dialect::Azure, 403), None, said);
        assert_eq!(refusal.to_string(), "HTTP 403, AuthenticationFailed: No.");
        let refusal = Refusal::read((Dialect::Azure, 404), Some("ContainerNotFound"), "");
        assert_eq!(refusal.to_string(), "HTTP 404, ContainerNotFound");
        assert_eq!(refusal.kind(), DestinationErrorKind::Missing);
        let said = "DeleteObjects request failed for key a/b: no right (code: AccessDenied)";
        let refusal = Refusal::of_deletion(said).unwrap();
        assert_eq!(refusal.to_string(), "AccessDenied: no right");
        assert_eq!(refusal.kind(), DestinationErrorKind::Denied);
    }

    #[test]
    fn a_redirect_names_where_it_leads_to() {
        for (status, location, shown) in [
            (
                302,
                Some("https://portal.example.org:8443/login?t=hunter2"),
                "HTTP 302: a redirect to https://portal.example.org:8443",
            ),
            (302, Some("/login"), "HTTP 302"),
            (307, None, "HTTP 307"),
            (403, Some("https://portal.example.org/"), "HTTP 403"),
        ] {
            let refusal = Refusal::read((Dialect::Azure, status), None, "");
            assert_eq!(refusal.redirecting(location).to_string(), shown);
        }
    }

    #[test]
    fn a_condition_that_fails_for_no_object_is_another_fault() {
        let refused =
            |status, code| Fault::Refused(Refusal::read((Dialect::Azure, status), code, ""));
        for (status, code, kind, is_conflict) in [
            (412, None, DestinationErrorKind::Unavailable, true),
            (
                409,
                Some("BlobAlreadyExists"),
                DestinationErrorKind::Unavailable,
                true,
            ),
            (
                409,
                Some("LeaseIdMissing"),
                DestinationErrorKind::Denied,
                true,
            ),
            (403, None, DestinationErrorKind::Denied, false),
        ] {
            let fault = refused(status, code);
            assert_eq!(fault.is_conflict(), is_conflict, "{status} {code:?}");
            let fault = fault.without_object();
            assert_eq!(fault.kind(), kind, "{status} {code:?}");
            assert!(
                fault
                    .while_doing("put k".to_owned())
                    .to_string()
                    .contains("\nhint: ")
            );
        }
    }

    #[test]
    fn what_the_library_says_is_said_in_other_words() {
        for (text, expected, way) in [
            (
                "Generic MicrosoftAzure error: Got invalid list response: unexpected `Event::Eof`",
                "the answer is no listing of a store, or only a part of one",
                ENDPOINT,
            ),
            ("Generic GCS error: no token", "no token", ""),
            ("no token", "no token", ""),
        ] {
            let fault = Fault::of(&std::io::Error::other(text));
            assert_eq!(fault, Fault::Unreachable(expected.to_owned(), way));
        }
    }

    #[test]
    fn a_host_that_gives_no_credentials_is_named() {
        for (status, body, shown, kind) in [
            (
                401,
                r#"{"error":"invalid_client","error_description":"hunter2"}"#,
                "login.example.org gives no credentials: HTTP 401, invalid_client",
                DestinationErrorKind::Denied,
            ),
            (
                404,
                "",
                "login.example.org gives no credentials: HTTP 404",
                DestinationErrorKind::Denied,
            ),
            (
                503,
                r#"{"error":"a b"}"#,
                "login.example.org gives no credentials: HTTP 503",
                DestinationErrorKind::Unavailable,
            ),
        ] {
            let refusal = Refusal::read((Dialect::Azure, status), None, body);
            let refusal = refusal.of_issuer("login.example.org".to_owned(), body);
            assert_eq!(refusal.to_string(), shown);
            assert_eq!(refusal.kind(), kind, "{shown}");
        }
    }
}
