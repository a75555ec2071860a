//! Customer search (Stripe API reference: Search customers; Search query language).

use serde_json::{Value, json};

use super::Answer;
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::params::Params;
use crate::call::Call;
use crate::store::objects;

/// One condition: a field must be, or contain, a text.
struct Clause {
    pointer: String,
    wanted: String,
    is_exact: bool,
    is_negated: bool,
}

/// `GET /v1/customers/search`: clauses on `email`, `name` and `metadata`, joined by AND. A real
/// search index lags by up to a minute; this one does not.
pub(crate) fn search(call: &Call<'_>, mut params: Params) -> Answer {
    let query = params.required("query")?;
    let clauses = parse(&query)?;
    let limit = params.integer("limit")?.unwrap_or(10).clamp(1, 100);
    let page = params.text("page")?;
    params.finish()?;
    let start: usize = page.and_then(|page| page.parse().ok()).unwrap_or_default();
    let limit = usize::try_from(limit).unwrap_or(10);
    let mut matching = objects::all(call.db, "customer", &[])?;
    matching.retain(|customer| clauses.iter().all(|clause| clause.holds(customer)));
    matching.reverse();
    let mut data = Vec::new();
    for customer in matching.iter().skip(start).take(limit) {
        data.push(present(call, customer)?);
    }
    let end = start + data.len();
    let has_more = end < matching.len();
    Ok(json!({
        "object": "search_result",
        "data": data,
        "has_more": has_more,
        "next_page": if has_more { Value::from(end.to_string()) } else { Value::Null },
        "url": "/v1/customers/search",
    }))
}

impl Clause {
    fn holds(&self, customer: &Value) -> bool {
        let found = customer.pointer(&self.pointer).and_then(Value::as_str);
        let matches = found.is_some_and(|found| {
            if self.is_exact {
                found.eq_ignore_ascii_case(&self.wanted)
            } else {
                found.to_lowercase().contains(&self.wanted.to_lowercase())
            }
        });
        matches != self.is_negated
    }
}

fn refused(query: &str) -> StripeError {
    let message = format!(
        "We were unable to parse your search query. Try using the format `field:'value'` and AND. Query: {query}"
    );
    StripeError::invalid_param("query", message)
}

fn parse(query: &str) -> Result<Vec<Clause>> {
    let mut clauses = Vec::new();
    let mut rest = query.trim();
    while !rest.is_empty() {
        let (clause, after) = clause(rest).ok_or_else(|| refused(query))?;
        clauses.push(clause);
        rest = after.trim_start();
        if let Some(after) = rest
            .strip_prefix("AND ")
            .or_else(|| rest.strip_prefix("and "))
        {
            rest = after.trim_start();
        } else if rest.starts_with("OR ") {
            let message = "This simulator's search joins clauses by AND only.";
            return Err(StripeError::invalid_param("query", message));
        }
    }
    if clauses.is_empty() {
        return Err(refused(query));
    }
    Ok(clauses)
}

fn clause(text: &str) -> Option<(Clause, &str)> {
    let (is_negated, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (pointer, text) = if let Some(text) = text.strip_prefix("metadata[") {
        let (key, text) = quoted(text)?;
        let key = key.replace('~', "~0").replace('/', "~1");
        (format!("/metadata/{key}"), text.strip_prefix(']')?)
    } else {
        let end = text.find([':', '~'])?;
        let field = text[..end].trim();
        if !["email", "name", "phone"].contains(&field) {
            return None;
        }
        (format!("/{field}"), &text[end..])
    };
    let (is_exact, text) = match text.strip_prefix(':') {
        Some(text) => (true, text),
        None => (false, text.strip_prefix('~')?),
    };
    let (wanted, text) = quoted(text)?;
    let clause = Clause {
        pointer,
        wanted,
        is_exact,
        is_negated,
    };
    Some((clause, text))
}

/// A text in single or double quotes, with backslashes before quotes in it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| ['\'', '"'].contains(c))?;
    let mut content = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((index, character)) = characters.next() {
        if character == '\\' {
            content.push(characters.next()?.1);
        } else if character == quote {
            return Some((content, &text[index + 1..]));
        } else {
            content.push(character);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_joined_by_and() {
        let clauses = parse(r"metadata['external_id']:'it\'s' AND email:'a@b.c'").unwrap();
        let customer = json!({ "email": "A@b.c", "metadata": { "external_id": "it's" } });
        assert!(clauses.iter().all(|clause| clause.holds(&customer)));
        let other = json!({ "email": "A@b.c", "metadata": {} });
        assert!(!clauses.iter().all(|clause| clause.holds(&other)));
    }

    #[test]
    fn what_is_no_query_is_refused() {
        for query in ["email", "metadata[a]:'b'", "created>5", ""] {
            assert!(parse(query).is_err(), "{query}");
        }
    }
}
