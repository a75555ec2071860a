//! Lists (Stripe API reference: Pagination).

use serde_json::{Value, json};

use super::error::{Result, StripeError};
use super::expand::present;
use super::params::Params;
use crate::call::{Call, spoken};
use crate::store::objects::{self, Filter, Window};

const LIMIT_DEFAULT: i64 = 10;
const LIMIT_DEFAULT_V2: i64 = 20;
const LIMIT_MAX: i64 = 100;

/// Where a request's page lies.
pub(crate) struct Page {
    pub(crate) limit: i64,
    pub(crate) starting_after: Option<String>,
    pub(crate) ending_before: Option<String>,
}

impl Page {
    pub(crate) fn take(params: &mut Params) -> Result<Self> {
        let limit = params.bounded("limit", 1..=LIMIT_MAX)?;
        let page = Self {
            limit: limit.unwrap_or(LIMIT_DEFAULT),
            starting_after: params.text("starting_after")?,
            ending_before: params.text("ending_before")?,
        };
        if page.starting_after.is_some() && page.ending_before.is_some() {
            return Err(StripeError::exclusive(
                &["ending_before", "starting_after"].map(str::to_owned),
            ));
        }
        Ok(page)
    }
}

/// The `created` parameter: a moment, or bounds.
pub(crate) fn take_created(params: &mut Params) -> Result<Vec<(&'static str, i64)>> {
    let mut bounds = Vec::new();
    if let Some(mut hash) = params.hash_or_leaf("created")? {
        for (key, operator) in [("gt", ">"), ("gte", ">="), ("lt", "<"), ("lte", "<=")] {
            if let Some(moment) = hash.moment(key)? {
                bounds.push((operator, moment));
            }
        }
        hash.finish()?;
    } else if let Some(moment) = params.moment("created")? {
        bounds.push(("=", moment));
    }
    Ok(bounds)
}

/// Answers a list request: takes the page and `created`, refuses what is left of the parameters.
pub(crate) fn answer(
    call: &Call<'_>,
    mut params: Params,
    kind: &str,
    url: &str,
    filters: &[Filter],
) -> Result<Value> {
    let created = take_created(&mut params)?;
    let page = Page::take(&mut params)?;
    params.finish()?;
    let seq_of = |id: &Option<String>, param: &str| match id {
        Some(id) => objects::seq(call.db, kind, id)?
            .map(Some)
            .ok_or_else(|| StripeError::no_such_param(spoken(kind), id, param)),
        None => Ok(None),
    };
    let window = Window {
        before_seq: seq_of(&page.starting_after, "starting_after")?,
        after_seq: seq_of(&page.ending_before, "ending_before")?,
        limit: page.limit + 1,
    };
    let mut found = objects::list(call.db, kind, filters, &created, window)?;
    let length = usize::try_from(page.limit).unwrap_or_default();
    let has_more = found.len() > length;
    found.truncate(length);
    if page.ending_before.is_some() {
        found.reverse();
    }
    let mut data = Vec::with_capacity(found.len());
    for stored in &found {
        data.push(present(call, &stored.document)?);
    }
    Ok(envelope(data, has_more, url))
}

/// What a list of v2 is of, and how it was asked for.
pub(crate) struct ListV2<'a> {
    pub(crate) kind: &'a str,
    pub(crate) path: &'a str,
    /// The query as it came: the next page's link repeats its filters.
    pub(crate) query: &'a str,
}

impl ListV2<'_> {
    fn next_page(&self, limit: i64, seq: i64) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (key, value) in form_urlencoded::parse(self.query.as_bytes()) {
            if key != "limit" && key != "page" {
                query.append_pair(&key, &value);
            }
        }
        query.append_pair("limit", &limit.to_string());
        query.append_pair("page", &seq.to_string());
        format!("{}?{}", self.path, query.finish())
    }
}

/// Answers a list request of v2, whose pages are links (Stripe API reference: v2 Pagination).
pub(crate) fn answer_v2(
    call: &Call<'_>,
    mut query: Params,
    list: &ListV2<'_>,
    filters: &[Filter],
    created: &[(&'static str, i64)],
    show: impl Fn(&Call<'_>, &Value) -> Result<Value>,
) -> Result<Value> {
    let limit = query.bounded("limit", 1..=LIMIT_MAX)?;
    let limit = limit.unwrap_or(LIMIT_DEFAULT_V2);
    let before_seq = query.integer("page")?;
    query.finish()?;
    let window = Window {
        before_seq,
        limit: limit + 1,
        ..Window::default()
    };
    let mut found = objects::list(call.db, list.kind, filters, created, window)?;
    let length = usize::try_from(limit).unwrap_or_default();
    let has_more = found.len() > length;
    found.truncate(length);
    let last = found.last().map(|stored| stored.seq).filter(|_| has_more);
    let next = last.map(|seq| list.next_page(limit, seq));
    let mut data = Vec::with_capacity(found.len());
    for stored in &found {
        data.push(show(call, &stored.document)?);
    }
    Ok(json!({ "data": data, "next_page_url": next, "previous_page_url": null }))
}

/// A list object around one page.
pub(crate) fn envelope(data: Vec<Value>, has_more: bool, url: &str) -> Value {
    json!({ "object": "list", "data": data, "has_more": has_more, "url": url })
}

/// A page of a list that is part of a document, such as an invoice's lines; `what` it is of.
pub(crate) fn slice(elements: Vec<Value>, page: &Page, what: &str, url: &str) -> Result<Value> {
    let position = |id: &Option<String>, param: &str| {
        let Some(id) = id.as_deref() else {
            return Ok(None);
        };
        let found = elements.iter().position(|element| element["id"] == id);
        found
            .map(Some)
            .ok_or_else(|| StripeError::no_such_param(what, id, param))
    };
    let length = usize::try_from(page.limit).unwrap_or_default();
    let (start, end) = match (
        position(&page.starting_after, "starting_after")?,
        position(&page.ending_before, "ending_before")?,
    ) {
        (Some(after), _) => (after + 1, elements.len().min(after + 1 + length)),
        (None, Some(before)) => (before.saturating_sub(length), before),
        (None, None) => (0, elements.len().min(length)),
    };
    let has_more = if page.ending_before.is_some() {
        start > 0
    } else {
        end < elements.len()
    };
    let data = elements.get(start..end).unwrap_or_default().to_vec();
    Ok(envelope(data, has_more, url))
}
