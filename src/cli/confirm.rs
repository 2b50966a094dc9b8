//! Asking before a database is replaced, or copies are removed or trusted.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _, stderr, stdin};

use super::failure::{Failure, FailureKind};
use super::interrupt::Interrupt;
use super::{identities, report, terminal};
use crate::telemetry::Printable;
use crate::threads;

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Confirmation {
    /// The database's name was typed.
    Given,
    /// Something else was.
    Refused,
    /// Nobody is there to be asked.
    NoTerminal,
}

/// Where somebody is asked.
enum Asked {
    /// On standard error, and the answer comes from standard input.
    Standard,
    /// At the terminal of the session: the identity came from standard input.
    Terminal(File),
}

impl Asked {
    /// Where somebody can be asked, if anywhere.
    fn find() -> Option<Self> {
        if identities::came_from_stdin() {
            return terminal::of_session().map(Self::Terminal);
        }
        (stdin().is_terminal() && stderr().is_terminal()).then_some(Self::Standard)
    }

    /// Prints the question, and waits for the answer: a line, or nothing.
    fn ask(self, question: &str) -> io::Result<String> {
        let mut answer = String::new();
        match self {
            Self::Standard => {
                // A terminal that is gone answers nothing.
                let _ = write!(stderr(), "{question}");
                stdin().read_line(&mut answer)?;
            }
            Self::Terminal(mut terminal) => {
                write!(terminal, "{question}")?;
                BufReader::new(terminal).read_line(&mut answer)?;
            }
        }
        Ok(answer)
    }
}

/// Whether somebody can be asked.
pub(super) fn is_possible() -> bool {
    Asked::find().is_some()
}

/// A database, or a host, as a question names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    /// Its name on the server.
    pub(super) database: &'a str,
    /// How messages name it: where there are several servers, `server/database`.
    pub(super) label: &'a str,
}

/// Prints what is about to happen, and goes on if the database's name is typed.
///
/// # Errors
/// When something else is, or a signal comes first; or, as `unasked`, when nobody is there to be asked.
pub(super) async fn confirm(
    text: &str,
    named: Named<'_>,
    interrupt: &Interrupt,
    unasked: Failure,
) -> Result<(), Failure> {
    confirm_by(text, ("database", named), interrupt, unasked).await
}

/// Prints what is about to happen, and goes on if the host's name is typed.
///
/// # Errors
/// As [`confirm`].
pub(super) async fn confirm_host(
    text: &str,
    host: &str,
    interrupt: &Interrupt,
    unasked: Failure,
) -> Result<(), Failure> {
    let named = Named {
        database: host,
        label: host,
    };
    confirm_by(text, ("host", named), interrupt, unasked).await
}

async fn confirm_by(
    text: &str,
    (kind, named): (&str, Named<'_>),
    interrupt: &Interrupt,
    unasked: Failure,
) -> Result<(), Failure> {
    match ask(text, (kind, named), interrupt).await? {
        Confirmation::Given => Ok(()),
        Confirmation::Refused => Err(Failure::usage(format!(
            "the answer was not {}: nothing was changed",
            report::one_line(named.database)
        ))),
        Confirmation::NoTerminal => Err(unasked),
    }
}

async fn ask(
    text: &str,
    (kind, named): (&str, Named<'_>),
    interrupt: &Interrupt,
) -> Result<Confirmation, Failure> {
    let Some(asked) = Asked::find() else {
        return Ok(Confirmation::NoTerminal);
    };
    let question = format!(
        "{}Type the name of the {kind} to go on, anything else to leave all as it is: ",
        Printable(text)
    );
    let answer = threads::start("question", move || asked.ask(&question).unwrap_or_default())
        .map_err(|error| report::failure(&error.into(), interrupt))?;
    let answer = tokio::select! {
        answer = answer => answer.unwrap_or_default(),
        () = interrupt.token().cancelled() => {
            let signal = interrupt.signal().unwrap_or(2);
            return Err(Failure::new(
                FailureKind::Interrupted(signal),
                "interrupted before the answer; nothing was changed",
            ));
        }
    };
    Ok(confirmation_by(&answer, named))
}

fn confirmation_by(answer: &str, named: Named<'_>) -> Confirmation {
    let answer = answer.strip_suffix('\n').unwrap_or(answer);
    // A name with a line break in it can only be typed as it is shown.
    let fits = |name: &str| answer == name || answer == report::one_line(name);
    if !answer.is_empty() && (fits(named.database) || fits(named.label)) {
        Confirmation::Given
    } else {
        Confirmation::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::{Confirmation, Named, confirmation_by};

    #[test]
    fn only_the_name_itself_goes_on() {
        for (answer, database, expected) in [
            ("app\n", "app", Confirmation::Given),
            ("app", "app", Confirmation::Given),
            (" app \n", " app ", Confirmation::Given),
            ("a\\nb\n", "a\nb", Confirmation::Given),
            ("yes\n", "app", Confirmation::Refused),
            ("App\n", "app", Confirmation::Refused),
            ("app \n", "app", Confirmation::Refused),
            ("\n", "app", Confirmation::Refused),
            ("", "app", Confirmation::Refused),
        ] {
            let named = Named {
                database,
                label: database,
            };
            assert_eq!(confirmation_by(answer, named), expected, "{answer:?}");
        }
        let named = Named {
            database: "sales",
            label: "main/sales",
        };
        assert_eq!(confirmation_by("sales\n", named), Confirmation::Given);
        assert_eq!(confirmation_by("main/sales\n", named), Confirmation::Given);
        assert_eq!(confirmation_by("main\n", named), Confirmation::Refused);
        assert_eq!(
            confirmation_by("audit/sales\n", named),
            Confirmation::Refused
        );
    }
}
