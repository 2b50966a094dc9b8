//! Addresses of services: what may be one, and what is shown of it. Whoever knows the address of a webhook
//! can send messages in its name, so an address is a secret.

use reqwest::Url;

/// A segment of a path that is as long as this may be a token.
const TOKEN: usize = 16;

/// Whether a text is an address of the web.
///
/// # Errors
/// In words that do not show it.
pub(crate) fn check(text: &str) -> Result<Url, String> {
    let url: Url = text
        .trim()
        .parse()
        .map_err(|error| format!("invalid address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("an address begins with https:// or http://".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("an address names a host".to_owned());
    }
    Ok(url)
}

/// Whether an address has something in it that is like a password or a token.
pub(super) fn is_secret(text: &str) -> bool {
    let Ok(url) = check(text) else {
        return true;
    };
    let mut segments = url.path().split('/');
    url.password().is_some()
        || !url.username().is_empty()
        || url.query().is_some()
        || segments.any(|segment| segment.len() >= TOKEN)
}

/// An address without what may be a secret.
pub(crate) fn shown(text: &str) -> String {
    match check(text) {
        Ok(url) if is_secret(text) => format!("{}/****", url.origin().ascii_serialization()),
        Ok(url) => url.to_string(),
        Err(_) => "****".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_with_a_token_only_the_service_is_shown() {
        for (address, expected) in [
            (
                "http://localhost:9093/api/v2/alerts",
                "http://localhost:9093/api/v2/alerts",
            ),
            (
                "https://hooks.slack.com/services/T0/B0/abcdefghijklmnop",
                "https://hooks.slack.com/****",
            ),
            ("https://u:p@example.org/", "https://example.org/****"),
            (
                "https://example.org:8443/x?token=y",
                "https://example.org:8443/****",
            ),
            (
                "https://hc-ping.com/0b7c1c52-3c2e-4d4f-9f2e-2d1b8f1c7a11",
                "https://hc-ping.com/****",
            ),
            ("hunter2", "****"),
        ] {
            assert_eq!(shown(address), expected);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_in_words_that_do_not_show_it() {
        for text in [
            "hunter2",
            "ftp://hunter2",
            "https://",
            "https://hunter2:x/",
            "mailto:hunter2@x",
        ] {
            let message = check(text).unwrap_err();
            assert!(!message.contains("hunter2"), "{message}");
        }
        assert!(check("https://[2001:db8::1]:8443/x\n").is_ok());
    }
}
