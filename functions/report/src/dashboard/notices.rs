//! Pages that say one thing: that a link opens nothing, that something has to wait, and the
//! one that leads on to Stripe.

use maud::{Markup, html};

use crate::dashboard::page::document;
use crate::dashboard::text::is_web_address;

/// How soon a page asks again that could not be shown, in seconds.
const RETRY_S: u32 = 5;

pub(crate) fn invalid_link() -> Markup {
    let text = "It may have been cut short on its way. Ask for a new one where you got it.";
    notice("This link does not work", text, None)
}

pub(crate) fn expired_link() -> Markup {
    let text = "Dashboard links work for a day. Ask for a new one where you got it.";
    notice("This link has expired", text, None)
}

pub(crate) fn unavailable() -> Markup {
    let text = "Your usage cannot be shown right now. This page tries again by itself.";
    notice("Just a moment", text, Some(RETRY_S))
}

pub(crate) fn no_portal() -> Markup {
    let text = "This link shows usage only. Ask where you got it for a way to change how you pay.";
    notice("Not with this link", text, None)
}

pub(crate) fn portal_busy() -> Markup {
    let text = "The billing portal was opened several times just now. Try again in a minute.";
    notice("Just a moment", text, None)
}

pub(crate) fn no_portal_now() -> Markup {
    let text = "The billing portal cannot be opened right now. Try again in a minute.";
    notice("Just a moment", text, None)
}

/// Leads on to Stripe. Not by a redirect: browsers apply the policy for forms of the page
/// that was left to where its form leads in the end, and Stripe's portal may be at any
/// address (W3C: Content Security Policy Level 3, form-action).
pub(crate) fn to_portal(url: &str) -> Markup {
    if !is_web_address(url) {
        return no_portal_now();
    }
    let head = html! { meta http-equiv="refresh" content={ "0;url=" (url) }; };
    let body = html! {
        main {
            section {
                h1 { "Billing portal" }
                p { a href=(url) rel="noreferrer" { "Go on to Stripe" } }
            }
        }
    };
    document("Billing portal", &head, &body)
}

fn notice(title: &str, text: &str, refresh_s: Option<u32>) -> Markup {
    let head = html! {
        @if let Some(seconds) = refresh_s { meta http-equiv="refresh" content=(seconds); }
    };
    let body = html! { main { section { h1 { (title) } p { (text) } } } };
    document(title, &head, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_to_the_portal_is_a_web_address_or_none() {
        let page = to_portal("https://billing.stripe.com/p/session/\"><script>").into_string();
        assert!(
            page.contains("0;url=https://billing.stripe.com/p/session/&quot;&gt;&lt;script&gt;")
        );
        for url in ["javascript:alert(1)", "data:text/html,x", ""] {
            let page = to_portal(url).into_string();
            assert!(
                !page.contains("refresh") && page.contains("cannot be opened"),
                "{url}"
            );
        }
    }
}
