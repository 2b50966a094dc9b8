//! Mail.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use chrono::{DateTime, FixedOffset};
use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Message, MessageBuilder};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::Answer;
use super::error::{SendError, excerpt, with_causes};
use super::text::{self, State};
use crate::config::{self, EmailChannel, SmtpTls};
use crate::policy::{Notice, ReportMessage};

/// The longest subject of a report, in characters.
const SUBJECT: usize = 120;

/// The longest mail, in characters.
const TEXT: usize = 50_000;

/// So many incidents a mail refers to.
const REFERENCES: usize = 20;

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Sends a message to all recipients. Where the server refuses it for good, each recipient gets a mail of
/// its own: one wrong address must not keep it from the others.
pub(super) async fn send(
    channel: &EmailChannel,
    notice: &Notice,
    environment: &BTreeMap<String, String>,
) -> Result<Answer, SendError> {
    let transport = transport(channel, &notice.host, environment)?;
    let message = message(channel, notice).map_err(SendError::never)?;
    deliver(channel, &transport, &message).await
}

/// Sends a report to all recipients, likewise.
pub(super) async fn send_report(
    channel: &EmailChannel,
    report: &ReportMessage,
    environment: &BTreeMap<String, String>,
) -> Result<Answer, SendError> {
    let transport = transport(channel, &report.host, environment)?;
    let message = report_message(channel, report).map_err(SendError::never)?;
    deliver(channel, &transport, &message).await
}

/// The mail of a report. It belongs to no thread.
fn report_message(channel: &EmailChannel, report: &ReportMessage) -> Result<Message, String> {
    let letter = Letter {
        id: report.id,
        host: &report.host,
        at: report.at,
        subject: text::cut(&report.subject, SUBJECT),
        text: text::cut(&report.text, TEXT),
    };
    let builder = letter.builder(channel)?;
    let mut message = builder
        .body(letter.text)
        .map_err(|error| with_causes(&error))?;
    add_header(&mut message, ("Auto-Submitted", "auto-generated"));
    Ok(message)
}

async fn deliver(
    channel: &EmailChannel,
    transport: &Transport,
    message: &Message,
) -> Result<Answer, SendError> {
    let mail = message.formatted();
    let envelope = message.envelope();
    let error = match transport.send_raw(envelope, &mail).await {
        Ok(response) => return Ok(Answer::of(said(&response))),
        Err(error) => error,
    };
    if !error.is_permanent() || envelope.to().len() < 2 {
        return Err(failure(channel, &error));
    }
    let (mut taken, mut refused) = (None, Vec::new());
    for recipient in envelope.to() {
        let envelope = Envelope::new(envelope.from().cloned(), vec![recipient.clone()])
            .map_err(|error| SendError::never(with_causes(&error)))?;
        match transport.send_raw(&envelope, &mail).await {
            Ok(response) => taken = Some(said(&response)),
            Err(error) => refused.push(format!("not sent to {recipient}: {}", with_causes(&error))),
        }
    }
    match taken {
        Some(said) => Ok(Answer {
            said,
            complaint: (!refused.is_empty()).then(|| refused.join("; ")),
        }),
        None => Err(failure(channel, &error)),
    }
}

fn transport(
    channel: &EmailChannel,
    host: &str,
    environment: &BTreeMap<String, String>,
) -> Result<Transport, SendError> {
    let tls = match channel.tls {
        SmtpTls::None => Tls::None,
        SmtpTls::StartTls => Tls::Required(parameters(channel)?),
        SmtpTls::Tls => Tls::Wrapper(parameters(channel)?),
    };
    let mut builder = Transport::builder_dangerous(channel.host.as_str())
        .port(channel.port)
        .tls(tls)
        .hello_name(ClientId::Domain(domain(host)));
    if let Some((user, password)) = &channel.login {
        let password = config::secret(password, environment)?;
        let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
        builder = builder.credentials(credentials);
    }
    Ok(builder.build())
}

fn parameters(channel: &EmailChannel) -> Result<TlsParameters, SendError> {
    let mut builder = TlsParameters::builder(channel.host.clone());
    if let Some(path) = &channel.ca_file {
        let pem = config::file(path)?;
        let certificate = Certificate::from_pem(pem.as_bytes()).map_err(|error| {
            SendError::later(format!(
                "cannot use {}: {}",
                path.display(),
                with_causes(&error)
            ))
        })?;
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(certificate);
    }
    builder
        .build_rustls()
        .map_err(|error| SendError::later(format!("cannot set up TLS: {}", with_causes(&error))))
}

/// The mail. All mails of an incident refer to the same one, which nobody has: so mail programs show them as one thread.
fn message(channel: &EmailChannel, notice: &Notice) -> Result<Message, String> {
    let letter = Letter {
        id: notice.id,
        host: &notice.host,
        at: notice.at,
        subject: text::subject(notice),
        text: text::text(notice, TEXT),
    };
    let mut builder = letter.builder(channel)?;
    let domain = domain(&notice.host);
    let mut threads: Vec<String> = Vec::new();
    for item in &notice.items {
        let thread = format!("<incident.{}@{domain}>", item.alert.incident);
        if !threads.contains(&thread) && threads.len() < REFERENCES {
            threads.push(thread);
        }
    }
    if let Some(first) = threads.first() {
        builder = builder
            .in_reply_to(first.clone())
            .references(threads.join(" "));
    }
    let mut message = builder
        .body(letter.text)
        .map_err(|error| with_causes(&error))?;
    let mut more = vec![("Auto-Submitted", "auto-generated")];
    if State::of(notice) == State::Critical {
        more.push(("Importance", "high"));
    }
    for header in more {
        add_header(&mut message, header);
    }
    Ok(message)
}

fn add_header(message: &mut Message, (name, value): (&str, &str)) {
    if let Ok(name) = HeaderName::new_from_ascii(name.to_owned()) {
        let value = HeaderValue::new(name, value.to_owned());
        message.headers_mut().insert_raw(value);
    }
}

/// What every mail has.
struct Letter<'a> {
    id: Uuid,
    host: &'a str,
    at: DateTime<FixedOffset>,
    subject: String,
    text: String,
}

impl Letter<'_> {
    /// A mail without its text. Its id is that of the message, so that one that was sent twice is known
    /// as one.
    fn builder(&self, channel: &EmailChannel) -> Result<MessageBuilder, String> {
        let domain = domain(self.host);
        let mailbox = |text: &String| {
            let parsed = text.parse::<Mailbox>();
            parsed.map_err(|error| format!("invalid mail address {text:?}: {error}"))
        };
        let mut builder = Message::builder()
            .from(mailbox(&channel.from)?)
            .subject(&self.subject)
            .date(self.at.into())
            .message_id(Some(format!("<{}@{domain}>", self.id)))
            .header(MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN);
        for to in &channel.to {
            builder = builder.to(mailbox(to)?);
        }
        Ok(builder)
    }
}

/// A host's name as a part of an address.
fn domain(host: &str) -> String {
    let is_sound = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let domain: String = host
        .chars()
        .map(|c| if is_sound(c) { c } else { '-' })
        .collect();
    match domain.trim_matches(['-', '.']) {
        "" => "localhost".to_owned(),
        domain => domain.to_owned(),
    }
}

fn said(response: &Response) -> String {
    let lines: Vec<&str> = response.message().collect();
    excerpt(&format!("{} {}", response.code(), lines.join(" ")))
}

fn failure(channel: &EmailChannel, error: &Error) -> SendError {
    let sentence = format!(
        "cannot send mail by {}:{}: {}",
        channel.host,
        channel.port,
        with_causes(error)
    );
    let sentence = match way_out(channel, error) {
        Some(way_out) => format!("{sentence}\nhint: {way_out}"),
        None => sentence,
    };
    if error.is_permanent() {
        SendError::never(sentence)
    } else {
        SendError::later(sentence)
    }
}

/// What to change in the channel, where its server does not speak as the channel expects.
fn way_out(channel: &EmailChannel, error: &Error) -> Option<&'static str> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(one) = cause {
        let io = one.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == ErrorKind::ConnectionRefused) {
            return Some(
                "check smtp; on a machine without a mail server name your relay, or install one",
            );
        }
        cause = one.source();
    }
    // The crate has no kind of its own for it.
    let lacks_tls = channel.tls == SmtpTls::StartTls
        && error.is_client()
        && with_causes(error).contains("STARTTLS is not supported");
    lacks_tls.then_some(
        "set tls = \"none\" for a mail server on this machine that has no TLS, or tls = \"tls\" for one \
         that expects it from the first byte",
    )
}

#[cfg(test)]
mod tests;
