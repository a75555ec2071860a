//! The dashboard as HTML, as it is before its script runs and where none does. Every text
//! is escaped by what makes the HTML; there is no other way into it.

use billing::Timestamp;
use maud::{DOCTYPE, Markup, html};

use crate::dashboard::assets;
use crate::dashboard::figures::{Figures, Projection};
use crate::dashboard::latest_events::EventFigures;
use crate::dashboard::limit;
use crate::dashboard::payments::Payments;
use crate::dashboard::text::{
    amount, day, event_standing, grouped, is_web_address, pending, standing, standing_text,
};
use crate::invoices::InvoiceAnswer;
use crate::links::Opened;

/// How often a page without a script asks again, in seconds.
const REFRESH_S: u32 = 30;

/// The script that starts the others.
const MAIN: &str = "main.js";
/// What it imports, to be fetched while it is: one after the other would take as many
/// ways to the server.
const MODULES: [&str; 11] = [
    "announcer.js",
    "chart.js",
    "dom.js",
    "events.js",
    "figures.js",
    "format.js",
    "invoices.js",
    "limit.js",
    "poller.js",
    "status.js",
    "zone.js",
];

/// What the page shows.
pub(crate) struct Dashboard<'a> {
    pub(crate) figures: &'a Figures,
    pub(crate) events: &'a [EventFigures],
    /// None where Stripe does not say in time.
    pub(crate) payments: Option<&'a Payments>,
    pub(crate) as_of: Timestamp,
    pub(crate) link: &'a Opened,
    /// That of the page itself: it opens the data and the portal, too.
    pub(crate) query: &'a str,
}

impl Dashboard<'_> {
    pub(crate) fn render(&self) -> Markup {
        let figures = self.figures;
        let head = html! {
            noscript { meta http-equiv="refresh" content=(REFRESH_S); }
            link rel="stylesheet" href=(assets::address("uPlot.min.css"));
            script src=(assets::address("uPlot.iife.min.js")) defer {}
            script type="module" src=(assets::address(MAIN)) {}
            @for module in MODULES {
                link rel="modulepreload" href=(assets::address(module));
            }
        };
        let body = html! {
            (self.header())
            main {
                p #standing class={ "banner " (standing(figures.status).0) } role="status"
                    hidden[figures.status == "active"] {
                    (standing_text(figures.status))
                }
                (limit::banner(figures.spending_limit.as_ref()))
                div #connection .banner role="status" hidden {}
                (self.figures())
                (limit::section(figures.spending_limit.as_ref()))
                section #chart-section aria-labelledby="chart-heading" hidden {
                    div .row {
                        h2 #chart-heading { "Usage over time" }
                        div #chart-units .choice role="group" aria-label="Bars of the chart" {}
                    }
                    div #chart {}
                }
                (actions(figures))
                (meters(figures))
                (events(self.events))
                (invoices(self.payments))
                (self.portal())
            }
            footer {
                p { "As of " time #as-of { (self.as_of) } ". " span #renewal { "This page renews itself." } }
                p { "This link works until " time #expires-at { (self.link.expires_at) } "." }
            }
            p #announcements .unseen role="status" aria-live="polite" {}
        };
        document("Usage", &head, &body)
    }

    fn header(&self) -> Markup {
        let figures = self.figures;
        let (badge, standing) = standing(figures.status);
        html! {
            header {
                div .row {
                    h1 { "Usage" }
                    span #badge class={ "badge " (badge) } { (standing) }
                    p #period .quiet { (day(&figures.period_start)) " to " (day(&figures.period_end)) }
                }
                div #zone .choice role="group" aria-label="Time zone" hidden {}
            }
        }
    }

    fn figures(&self) -> Markup {
        let figures = self.figures;
        let money = |major_units: Option<&str>| amount(&figures.currency, major_units);
        let today = &figures.today;
        html! {
            section .figures aria-label="This period so far" {
                (figure("units", "Units this period", &grouped(&figures.units), &pending(&figures.pending_units)))
                (figure("cost", "Cost so far", &money(figures.cost.as_deref()), &cost_note(figures)))
                (figure("today", "Today (UTC)", &grouped(&today.units), &money(today.cost.as_deref())))
                (self.projected())
            }
        }
    }

    fn projected(&self) -> Markup {
        let Some(Projection {
            days,
            low,
            middle,
            high,
        }) = &self.figures.projection
        else {
            return figure(
                "projection",
                "Period may come to",
                "–",
                "from three complete days on, until the last hour",
            );
        };
        let money = |cost: &Option<String>| amount(&self.figures.currency, cost.as_deref());
        let range = format!(
            "{} to {}, from {days} days so far",
            money(&low.cost),
            money(&high.cost)
        );
        figure(
            "projection",
            "Period may come to",
            &money(&middle.cost),
            &range,
        )
    }

    fn portal(&self) -> Markup {
        if !self.link.billing_portal {
            return html! {};
        }
        html! {
            section aria-labelledby="portal-heading" {
                h2 #portal-heading { "How you pay" }
                // In a tab of its own: Stripe's pages are not to be framed.
                form method="post" action={ "dashboard/billing-portal?" (self.query) } target="_blank" {
                    p .quiet { "Cards, billing address and tax ids are kept by Stripe." }
                    button type="submit" { "Manage payment details" }
                }
            }
        }
    }
}

pub(super) fn document(title: &str, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href=(assets::address("dashboard.css"));
                (head)
            }
            body { (body) }
        }
    }
}

fn figure(id: &str, label: &str, value: &str, note: &str) -> Markup {
    html! {
        div .figure {
            h2 { (label) }
            strong id=(id) { (value) }
            p .quiet id={ (id) "-note" } { (note) }
        }
    }
}

fn cost_note(figures: &Figures) -> String {
    let trial = figures.trial_ends_at.as_ref();
    trial.map_or_else(
        || "before tax and credit".to_owned(),
        |end| format!("a free trial until {}", day(end)),
    )
}

fn actions(figures: &Figures) -> Markup {
    html! {
        section aria-labelledby="actions-heading" {
            h2 #actions-heading { "By action" }
            div #actions {
                @if figures.by_action_type.is_empty() {
                    p .quiet { "No usage in this period yet." }
                } @else {
                    div .wide tabindex="0" role="region" aria-labelledby="actions-heading" {
                        table {
                            thead { tr { th scope="col" { "Action" } th scope="col" .number { "Units" } } }
                            tbody {
                                @for action in &figures.by_action_type {
                                    tr {
                                        th scope="row" { (action.action_type) }
                                        td .number { (grouped(&action.units)) }
                                    }
                                }
                                @if let Some(others) = &figures.other_actions {
                                    tr {
                                        th scope="row" { (others.count) " more actions" }
                                        td .number { (grouped(&others.units)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What each meter counts and costs, where there is more than one.
fn meters(figures: &Figures) -> Markup {
    html! {
        section #meters-section aria-labelledby="meters-heading" hidden[figures.by_meter.len() < 2] {
            h2 #meters-heading { "By meter" }
            div #meters {
                div .wide tabindex="0" role="region" aria-labelledby="meters-heading" {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Meter" }
                                th scope="col" .number { "Units" }
                                th scope="col" .number { "Cost" }
                            }
                        }
                        tbody {
                            @for meter in &figures.by_meter {
                                tr {
                                    th scope="row" { (meter.meter_event_name.as_deref().unwrap_or("–")) }
                                    td .number { (grouped(&meter.units)) }
                                    td .number {
                                        @match meter.cost.as_deref() {
                                            Some(cost) => (amount(&figures.currency, Some(cost))),
                                            None => "not billed",
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn events(events: &[EventFigures]) -> Markup {
    html! {
        section aria-labelledby="events-heading" {
            h2 #events-heading { "Latest events" }
            div #events {
                @if events.is_empty() {
                    p .quiet { "None yet." }
                } @else {
                    div .wide tabindex="0" role="region" aria-labelledby="events-heading" {
                        table {
                            thead {
                                tr {
                                    th scope="col" { "Event" }
                                    th scope="col" { "Action" }
                                    th scope="col" { "Time (UTC)" }
                                    th scope="col" { "Status" }
                                    th scope="col" .number { "Units" }
                                }
                            }
                            tbody { @for event in events { (event_row(event)) } }
                        }
                    }
                }
            }
        }
    }
}

fn event_row(event: &EventFigures) -> Markup {
    html! {
        tr {
            th scope="row" { (event.event_id) }
            td { (event.action_type) }
            td { (event.occurred_at) }
            td { (event_standing(event.status)) }
            td .number { (grouped(&event.units)) }
        }
    }
}

fn invoices(payments: Option<&Payments>) -> Markup {
    let upcoming = payments.and_then(|payments| payments.upcoming.as_ref());
    html! {
        section aria-labelledby="invoices-heading" {
            h2 #invoices-heading { "Invoices" }
            p #upcoming .quiet {
                @if let Some(upcoming) = upcoming {
                    "The next one comes to "
                    (amount(&upcoming.currency, Some(&upcoming.total)))
                    " so far."
                }
            }
            div #invoices {
                @match payments.map(|payments| payments.invoices.as_slice()) {
                    None => p .quiet { "Invoices cannot be shown right now." },
                    Some([]) => p .quiet { "No invoices yet." },
                    Some(invoices) => (invoice_table(invoices)),
                }
            }
        }
    }
}

fn invoice_table(invoices: &[InvoiceAnswer]) -> Markup {
    html! {
        div .wide tabindex="0" role="region" aria-labelledby="invoices-heading" {
            table {
                thead {
                    tr {
                        th scope="col" { "Date" }
                        th scope="col" { "Number" }
                        th scope="col" { "Status" }
                        th scope="col" .number { "Total" }
                    }
                }
                tbody { @for invoice in invoices { (invoice_row(invoice)) } }
            }
        }
    }
}

fn invoice_row(invoice: &InvoiceAnswer) -> Markup {
    let number = invoice.number.as_deref().unwrap_or("–");
    let safe = |url: &Option<String>| url.clone().filter(|url| is_web_address(url));
    html! {
        tr {
            td { (day(&invoice.created_at)) }
            th scope="row" {
                @match safe(&invoice.hosted_invoice_url) {
                    Some(url) => a href=(url) target="_blank" rel="noopener noreferrer" { (number) },
                    None => (number),
                }
                @if let Some(url) = safe(&invoice.invoice_pdf) {
                    " " a href=(url) target="_blank" rel="noopener noreferrer" {
                        "PDF" span .unseen { " of " (number) }
                    }
                }
            }
            td { (invoice.status.as_deref().unwrap_or("–")) }
            td .number { (amount(&invoice.currency, Some(&invoice.total))) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_there() {
        for name in
            MODULES
                .iter()
                .chain(&[MAIN, "dashboard.css", "uPlot.min.css", "uPlot.iife.min.js"])
        {
            assert!(
                assets::ASSETS.iter().any(|asset| asset.name == *name),
                "{name}"
            );
        }
        let modules = assets::ASSETS
            .iter()
            .filter(|asset| asset.name.ends_with(".js"));
        assert_eq!(modules.count(), MODULES.len() + 2);
    }
}
