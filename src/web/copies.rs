//! The copies of a database at each destination, on its page.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::feed::Judgement;
use super::page::{Page, section, sentence};
use crate::display::{counted, one_line, size};
use crate::policy::{CopyFacts, CopyState, SeriesCopy};

/// What the copies of a database are shown with.
#[derive(Clone, Copy)]
pub(super) struct Copies<'a> {
    pub(super) page: &'a Page<'a>,
    pub(super) judged: &'a Judgement,
    /// By destination.
    pub(super) all: &'a [CopyFacts],
}

impl Copies<'_> {
    /// A line for each destination, and the newest copy of each series; nothing where there is no destination.
    pub(super) fn markup(self) -> Markup {
        if self.all.is_empty() {
            return html! {};
        }
        let body = html! {
            (self.by_destination())
            (self.by_series())
            @for remark in self.all.iter().flat_map(CopyFacts::remarks) {
                p { (sentence(&remark)) }
            }
        };
        section("copies", "Copies", &body)
    }

    fn by_destination(self) -> Markup {
        html! {
            table.stack {
                thead {
                    tr {
                        th scope="col" { "Destination" } th scope="col" { "Newest backup there" }
                        th scope="col" { "Proved" } th scope="col" { "Kept" } th scope="col" { "State" }
                    }
                }
                tbody {
                    @for copies in self.all {
                        tr {
                            th scope="row" { (one_line(&copies.destination)) }
                            td data-label="Newest backup there" {
                                @match &copies.newest {
                                    Some(newest) => (self.ago(newest.started)),
                                    None => { "none" }
                                }
                            }
                            td data-label="Proved" {
                                @if let Some(newest) = &copies.newest {
                                    (self.proof(newest.state, newest.proved))
                                }
                            }
                            td data-label="Kept" {
                                (counted(copies.count, "copy", "copies"))
                                @if copies.count > 0 { ", " (size(copies.bytes)) }
                            }
                            td data-label="State" { (self.state(copies)) }
                        }
                    }
                }
            }
        }
    }

    /// What is missing, and what fails.
    fn state(self, copies: &CopyFacts) -> Markup {
        html! {
            @if let Some(missing) = &copies.missing {
                strong.late { "no copy" } " of " code { (one_line(&missing.backup)) } ", made "
                (self.ago(missing.since)) " "
            }
            @if let Some((since, why)) = &copies.failure {
                strong.late { "copying fails" } ", first " (self.ago(*since)) ": " (sentence(why))
            }
            @for damaged in &copies.damaged {
                strong.late { "damaged" } ": " code { (one_line(&damaged.backup)) } ", " (sentence(&damaged.why)) " "
            }
            @for lost in &copies.lost {
                strong.late { "missing" } ": " code { (one_line(&lost.backup)) } ", since " (self.ago(lost.since)) " "
            }
            @if is_good(copies) { "up to date" }
        }
    }

    /// Each with the run and the digest by which it can be told from any other.
    fn by_series(self) -> Markup {
        html! {
            @for copies in self.all.iter().filter(|copies| !copies.newest_of_series.is_empty()) {
                details {
                    summary { "Newest copies at " (one_line(&copies.destination)) }
                    ul {
                        @for copy in &copies.newest_of_series { li { (self.one_series(copy)) } }
                    }
                }
            }
        }
    }

    fn one_series(self, copy: &SeriesCopy) -> Markup {
        html! {
            (copy.series.as_str()) ": " code { (one_line(&copy.proof.backup)) } ", " (size(copy.bytes)) ", "
            @if copy.is_damaged { strong.late { "damaged" } } @else {
                (self.proof(copy.proof.state, copy.proof.at))
            }
            "; run " code { (copy.identity.run) }
            @if let Some(manifest) = &copy.identity.manifest { ", manifest SHA-256 " code { (manifest) } }
        }
    }

    /// "opened 3 hours ago"
    fn proof(self, state: CopyState, at: DateTime<Utc>) -> Markup {
        html! { (state.word()) " " (self.ago(at)) }
    }

    fn ago(self, at: DateTime<Utc>) -> Markup {
        self.page.ago(self.judged.local(at))
    }
}

/// Whether nothing is missing, damaged or gone, and nothing fails.
fn is_good(copies: &CopyFacts) -> bool {
    let nothing_fails = copies.missing.is_none() && copies.failure.is_none();
    nothing_fails && copies.damaged.is_empty() && copies.lost.is_empty()
}
