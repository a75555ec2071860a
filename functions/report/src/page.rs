//! The dashboard as HTML. It loads nothing: no script, no font, no picture.

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use billing::{Money, Timestamp};
use ledger::CustomerStatus;
use sha2::{Digest, Sha256};

use crate::bill::{Bill, MeterUsage};
use crate::invoices::InvoiceAnswer;
use crate::query::Hours;
use crate::summary::Summary;

const STYLE: &str = include_str!("page.css");

/// How often the page asks again: usage is to be seen within a second or two.
const REFRESH_S: u32 = 2;

/// The one style that may apply, by its hash; nothing else may load, run, or
/// frame the page (W3C: Content Security Policy Level 3).
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    )
});

/// What the dashboard shows.
pub(crate) struct Dashboard {
    pub(crate) status: CustomerStatus,
    pub(crate) period: Hours,
    pub(crate) summary: Summary,
    pub(crate) bill: Bill,
    pub(crate) currency: String,
    /// None where Stripe does not say.
    pub(crate) invoices: Option<Arc<[InvoiceAnswer]>>,
    pub(crate) as_of: Timestamp,
}

/// The policy to send with every page.
pub(crate) fn content_security_policy() -> String {
    POLICY.clone()
}

pub(crate) fn dashboard(dashboard: &Dashboard) -> String {
    let mut body = String::new();
    let (badge, status) = standing(dashboard.status);
    let units = grouped(&dashboard.summary.total_units.to_string());
    let cost = dashboard.bill.cost.as_ref().ok().map(Money::to_string);
    let cost = amount(&dashboard.currency, cost.as_deref().unwrap_or("–"));
    let period = format!(
        "{} to {}",
        day(&dashboard.period.start.to_string()),
        day(&dashboard.period.end.to_string())
    );
    let pending = match dashboard.summary.pending_units {
        0 => String::new(),
        units => format!(
            "{} of them on their way to the invoice",
            grouped(&units.to_string())
        ),
    };
    push(
        &mut body,
        format_args!(
            "<header><h1>Usage</h1><span class=\"badge {badge}\">{status}</span>\
         <span class=\"quiet\">{}</span></header>\
         <div class=\"figures\">\
         <div class=\"figure\"><p class=\"quiet\">Units this period</p><strong>{}</strong><p class=\"quiet\">{}</p></div>\
         <div class=\"figure\"><p class=\"quiet\">Cost so far</p><strong>{}</strong><p class=\"quiet\">before tax</p></div>\
         </div>",
            escaped(&period),
            escaped(&units),
            escaped(&pending),
            escaped(&cost),
        ),
    );
    push_meters(&mut body, &dashboard.bill.by_meter, &dashboard.currency);
    push_actions(&mut body, &dashboard.summary);
    push_invoices(&mut body, dashboard.invoices.as_deref());
    push(
        &mut body,
        format_args!(
            "<footer>As of {}. This page renews itself.</footer>",
            escaped(&dashboard.as_of.to_string())
        ),
    );
    document("Usage", Some(REFRESH_S), &body)
}

pub(crate) fn invalid_link() -> String {
    notice(
        "This link does not work",
        "It may have been cut short on its way. Ask for a new one where you got it.",
        None,
    )
}

pub(crate) fn expired_link() -> String {
    notice(
        "This link has expired",
        "Dashboard links work for a day. Ask for a new one where you got it.",
        None,
    )
}

pub(crate) fn unavailable() -> String {
    let refresh_s = 5;
    notice(
        "Just a moment",
        "Your usage cannot be shown right now. This page tries again by itself.",
        Some(refresh_s),
    )
}

fn notice(title: &str, text: &str, refresh_s: Option<u32>) -> String {
    let body = format!(
        "<header><h1>{}</h1></header><section><p>{}</p></section>",
        escaped(title),
        escaped(text)
    );
    document(title, refresh_s, &body)
}

fn document(title: &str, refresh_s: Option<u32>, body: &str) -> String {
    let refresh = refresh_s
        .map(|seconds| format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">"))
        .unwrap_or_default();
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">{refresh}\
         <title>{}</title><link rel=\"icon\" href=\"data:,\"><style>{STYLE}</style></head>\
         <body><main>{body}</main></body></html>",
        escaped(title)
    )
}

/// What each meter counts and costs, where there is more than one.
fn push_meters(body: &mut String, by_meter: &[MeterUsage], currency: &str) {
    if by_meter.len() < 2 {
        return;
    }
    body.push_str("<section><h2>By meter</h2><table><thead><tr><th>Meter</th><th class=\"number\">Units</th><th class=\"number\">Cost</th></tr></thead><tbody>");
    for usage in by_meter {
        let cost = usage.estimated_cost.as_deref();
        let cost = cost.map_or_else(|| "not billed".to_owned(), |cost| amount(currency, cost));
        push(
            body,
            format_args!(
                "<tr><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
                escaped(usage.meter_event_name.as_deref().unwrap_or("–")),
                grouped(&usage.units.to_string()),
                escaped(&cost),
            ),
        );
    }
    body.push_str("</tbody></table></section>");
}

fn push_actions(body: &mut String, summary: &Summary) {
    body.push_str("<section><h2>By action</h2>");
    if summary.by_action_type.is_empty() {
        body.push_str("<p class=\"quiet\">No usage in this period yet.</p></section>");
        return;
    }
    body.push_str("<table><thead><tr><th>Action</th><th>Share</th><th class=\"number\">Units</th></tr></thead><tbody>");
    for (action_type, units) in &summary.by_action_type {
        push(
            body,
            format_args!(
                "<tr><td>{0}</td><td><progress value=\"{1}\" max=\"{2}\">{1} of {2}</progress></td>\
             <td class=\"number\">{3}</td></tr>",
                escaped(action_type),
                units,
                summary.total_units,
                grouped(&units.to_string()),
            ),
        );
    }
    body.push_str("</tbody></table></section>");
}

fn push_invoices(body: &mut String, invoices: Option<&[InvoiceAnswer]>) {
    body.push_str("<section><h2>Invoices</h2>");
    match invoices {
        None => body.push_str("<p class=\"quiet\">Invoices cannot be shown right now.</p>"),
        Some([]) => body.push_str("<p class=\"quiet\">No invoices yet.</p>"),
        Some(invoices) => {
            body.push_str("<table><thead><tr><th>Date</th><th>Number</th><th>Status</th><th class=\"number\">Total</th></tr></thead><tbody>");
            for invoice in invoices {
                push_invoice(body, invoice);
            }
            body.push_str("</tbody></table>");
        }
    }
    body.push_str("</section>");
}

fn push_invoice(body: &mut String, invoice: &InvoiceAnswer) {
    let number = escaped(invoice.number.as_deref().unwrap_or("–"));
    let url = invoice
        .hosted_invoice_url
        .as_deref()
        .filter(|url| is_web_address(url));
    let number = match url {
        Some(url) => format!(
            "<a href=\"{}\" target=\"_blank\" rel=\"noopener noreferrer\">{number}</a>",
            escaped(url)
        ),
        None => number,
    };
    let pdf = invoice
        .invoice_pdf
        .as_deref()
        .filter(|url| is_web_address(url));
    let pdf = pdf
        .map(|url| {
            format!(
                " <a href=\"{}\" rel=\"noopener noreferrer\">PDF</a>",
                escaped(url)
            )
        })
        .unwrap_or_default();
    push(
        body,
        format_args!(
            "<tr><td>{}</td><td>{number}{pdf}</td><td>{}</td><td class=\"number\">{}</td></tr>",
            escaped(day(&invoice.created_at)),
            escaped(invoice.status.as_deref().unwrap_or("–")),
            escaped(&amount(&invoice.currency, &invoice.total)),
        ),
    );
}

/// Writing into a string cannot fail.
fn push(body: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = body.write_fmt(text);
}

const fn standing(status: CustomerStatus) -> (&'static str, &'static str) {
    match status {
        CustomerStatus::Active => ("good", "Active"),
        CustomerStatus::PastDue => ("warn", "Payment due"),
        CustomerStatus::Suspended => ("bad", "Suspended"),
        CustomerStatus::Canceled => ("bad", "Ended"),
    }
}

/// A link elsewhere: nothing that a browser would run.
fn is_web_address(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// The day of an RFC 3339 time.
fn day(time: &str) -> &str {
    time.split('T').next().unwrap_or(time)
}

/// An amount of money in major units: `USD 1,234.50`.
fn amount(currency: &str, major_units: &str) -> String {
    format!("{} {}", currency.to_uppercase(), grouped(major_units))
}

/// A decimal number with its thousands apart: `1,234,567.89`.
fn grouped(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut grouped = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// `text` as HTML text or as an attribute's value in quotes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use billing::Currency;

    use super::*;

    fn used(meter: &str, units: u64, cost: Option<&str>) -> MeterUsage {
        MeterUsage {
            meter_event_name: Some(meter.to_owned()),
            subscription_item_id: cost.map(|_| format!("si_{meter}")),
            price_id: cost.map(|_| format!("price_{meter}")),
            units,
            pending_units: 0,
            estimated_cost: cost.map(str::to_owned),
            estimated_cost_unavailable: None,
        }
    }

    fn a_dashboard() -> Dashboard {
        let start = Timestamp::from_unix_s(1_767_225_600);
        let by_action_type = [("document", 1_000), ("<script>alert(1)</script>", 5)];
        Dashboard {
            status: CustomerStatus::PastDue,
            period: Hours {
                start,
                end: start.plus_ms(31 * 24 * 3_600_000),
            },
            summary: Summary {
                total_units: 1_005,
                pending_units: 3,
                by_action_type: by_action_type
                    .into_iter()
                    .map(|(action, units)| (action.to_owned(), units))
                    .collect(),
                by_meter: BTreeMap::new(),
            },
            bill: Bill {
                by_meter: vec![used("documents", 1_005, Some("20.10"))],
                cost: Ok(Money::from_minor_units(
                    2_010,
                    Currency::parse("usd").unwrap(),
                )),
            },
            currency: "usd".to_owned(),
            invoices: Some(Arc::new([])),
            as_of: start,
        }
    }

    #[test]
    fn the_page_shows_exact_numbers() {
        let page = dashboard(&a_dashboard());
        for text in [
            "1,005",
            "USD 20.10",
            "Payment due",
            "2026-01-01 to 2026-02-01",
            "3 of them",
        ] {
            assert!(page.contains(text), "{text}");
        }
    }

    #[test]
    fn meters_have_a_row_each_where_there_are_several() {
        let mut shown = a_dashboard();
        assert!(!dashboard(&shown).contains("By meter"));
        let gone = used("<b>gone</b>", 7, None);
        shown
            .bill
            .by_meter
            .push(used("tokens", 1_234, Some("1000.50")));
        shown.bill.by_meter.push(gone);
        let page = dashboard(&shown);
        for row in [
            "<td>documents</td><td class=\"number\">1,005</td><td class=\"number\">USD 20.10</td>",
            "<td>tokens</td><td class=\"number\">1,234</td><td class=\"number\">USD 1,000.50</td>",
            "<td>&lt;b&gt;gone&lt;/b&gt;</td><td class=\"number\">7</td><td class=\"number\">not billed</td>",
        ] {
            assert!(page.contains(row), "{row}: {page}");
        }
    }

    #[test]
    fn nothing_in_the_page_runs_or_loads() {
        let page = dashboard(&a_dashboard());
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(!page.contains("<script") && !page.contains("style=") && !page.contains("src="));
        assert!(content_security_policy().starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(is_web_address("https://invoice.stripe.com/i/1"));
        assert!(!is_web_address("javascript:alert(1)"));
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [
            ("0", "0"),
            ("999", "999"),
            ("1000", "1,000"),
            ("1234567.89", "1,234,567.89"),
            ("-1234.50", "-1,234.50"),
            ("-100", "-100"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
