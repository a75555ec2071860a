//! Search (Stripe API reference: Search; Stripe's documentation: Search query language).

use serde_json::{Value, json};

use super::Answer;
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::params::Params;
use crate::call::Call;
use crate::store::objects;

/// A resource that can be searched, and by which of its fields, beside `metadata`.
struct Searched {
    name: &'static str,
    kind: &'static str,
    texts: &'static [&'static str],
    numbers: &'static [&'static str],
}

const SEARCHED: [Searched; 5] = [
    Searched {
        name: "customers",
        kind: "customer",
        texts: &["email", "name", "phone"],
        numbers: &["created"],
    },
    Searched {
        name: "invoices",
        kind: "invoice",
        texts: &[
            "currency",
            "customer",
            "number",
            "receipt_number",
            "status",
            "subscription",
        ],
        numbers: &["created", "total"],
    },
    Searched {
        name: "prices",
        kind: "price",
        texts: &["active", "currency", "lookup_key", "product", "type"],
        numbers: &[],
    },
    Searched {
        name: "products",
        kind: "product",
        texts: &["active", "description", "name", "shippable", "url"],
        numbers: &[],
    },
    Searched {
        name: "subscriptions",
        kind: "subscription",
        texts: &["status"],
        numbers: &["canceled_at", "created"],
    },
];

/// A query: conditions that must all hold, or of which one must.
struct Query {
    clauses: Vec<Clause>,
    holds_by_one: bool,
}

/// One condition on a field.
struct Clause {
    pointer: String,
    test: Test,
    is_negated: bool,
}

/// What a field must be.
enum Test {
    Is(String),
    Contains(String),
    IsAbsent,
    Compares(&'static str, i64),
}

/// `GET /v1/{resource}/search`, if that can be searched. A real search index lags by up to a
/// minute; this one does not.
pub(crate) fn search(call: &Call<'_>, resource: &str, params: Params) -> Option<Answer> {
    let searched = SEARCHED.iter().find(|one| one.name == resource)?;
    Some(page(call, searched, params))
}

fn page(call: &Call<'_>, searched: &Searched, mut params: Params) -> Answer {
    let query = params.required("query")?;
    let query = parse(&query, searched)?;
    let limit = params.bounded("limit", 1..=100)?.unwrap_or(10);
    let page = params.text("page")?;
    params.finish()?;
    let start: usize = page.and_then(|page| page.parse().ok()).unwrap_or_default();
    let limit = usize::try_from(limit).unwrap_or(10);
    let mut matching = objects::all(call.db, searched.kind, &[])?;
    matching.retain(|object| query.holds(object));
    matching.reverse();
    let mut data = Vec::new();
    for object in matching.iter().skip(start).take(limit) {
        data.push(present(call, object)?);
    }
    let end = start + data.len();
    let has_more = end < matching.len();
    Ok(json!({
        "object": "search_result",
        "data": data,
        "has_more": has_more,
        "next_page": if has_more { Value::from(end.to_string()) } else { Value::Null },
        "url": format!("/v1/{}/search", searched.name),
    }))
}

impl Query {
    fn holds(&self, object: &Value) -> bool {
        let mut clauses = self.clauses.iter();
        if self.holds_by_one {
            clauses.any(|clause| clause.holds(object))
        } else {
            clauses.all(|clause| clause.holds(object))
        }
    }
}

impl Clause {
    fn holds(&self, object: &Value) -> bool {
        let found = object.pointer(&self.pointer);
        let text = match found {
            Some(Value::Bool(true)) => Some("true"),
            Some(Value::Bool(false)) => Some("false"),
            found => found.and_then(Value::as_str),
        };
        let number = found.and_then(Value::as_i64);
        let matches = match &self.test {
            Test::Is(wanted) => text.is_some_and(|text| text.eq_ignore_ascii_case(wanted)),
            Test::Contains(part) => {
                text.is_some_and(|text| text.to_lowercase().contains(&part.to_lowercase()))
            }
            Test::IsAbsent => found.is_none_or(Value::is_null),
            Test::Compares(operator, bound) => number.is_some_and(|number| match *operator {
                ">=" => number >= *bound,
                "<=" => number <= *bound,
                ">" => number > *bound,
                "<" => number < *bound,
                _ => number == *bound,
            }),
        };
        matches != self.is_negated
    }
}

fn refused(query: &str) -> StripeError {
    let message = format!(
        "We were unable to parse your search query. Try using the format `metadata[\"key\"]:\"value\"` to query for metadata or key:\"value\" to query for other fields, joined by AND or by OR. Query: {query}"
    );
    StripeError::invalid_param("query", message)
}

/// Clauses are joined by AND or by OR, not by both; a space is an AND.
fn parse(query: &str, searched: &Searched) -> Result<Query> {
    let mut clauses = Vec::new();
    let (mut ands, mut ors) = (0, 0);
    let mut rest = query.trim();
    while !rest.is_empty() {
        let (clause, after) = clause(rest, searched).ok_or_else(|| refused(query))?;
        clauses.push(clause);
        rest = after.trim_start();
        if rest.is_empty() {
            break;
        }
        let word = rest.get(..3).unwrap_or_default();
        if word.eq_ignore_ascii_case("or ") {
            ors += 1;
            rest = rest[3..].trim_start();
        } else {
            ands += 1;
            if word.eq_ignore_ascii_case("and") {
                rest = rest[3..].trim_start();
            }
        }
    }
    if clauses.is_empty() || (ands > 0 && ors > 0) {
        return Err(refused(query));
    }
    Ok(Query {
        clauses,
        holds_by_one: ors > 0,
    })
}

fn clause<'a>(text: &'a str, searched: &Searched) -> Option<(Clause, &'a str)> {
    let (is_negated, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (pointer, is_number, text) = if let Some(text) = text.strip_prefix("metadata[") {
        let (key, text) = quoted(text)?;
        let key = key.replace('~', "~0").replace('/', "~1");
        (format!("/metadata/{key}"), false, text.strip_prefix(']')?)
    } else {
        let end = text.find([':', '~', '<', '>'])?;
        let (field, rest) = text.split_at(end);
        let field = field.trim();
        let is_number = searched.numbers.contains(&field);
        if !is_number && !searched.texts.contains(&field) {
            return None;
        }
        let pointer = match field {
            "subscription" => "/parent/subscription_details/subscription".to_owned(),
            field => format!("/{field}"),
        };
        (pointer, is_number, rest)
    };
    let (test, text) = if is_number {
        compared(text)?
    } else if let Some(text) = text.strip_prefix(":null") {
        (Test::IsAbsent, text)
    } else if let Some(text) = text.strip_prefix(':') {
        let (wanted, text) = quoted(text)?;
        (Test::Is(wanted), text)
    } else {
        let (part, text) = quoted(text.strip_prefix('~')?)?;
        (Test::Contains(part), text)
    };
    let clause = Clause {
        pointer,
        test,
        is_negated,
    };
    Some((clause, text))
}

/// An operator and a number.
fn compared(text: &str) -> Option<(Test, &str)> {
    let operator = [">=", "<=", ">", "<", ":"]
        .into_iter()
        .find(|operator| text.starts_with(operator))?;
    let text = text[operator.len()..].trim_start();
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    Some((Test::Compares(operator, number.parse().ok()?), rest))
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

    fn of_customers(query: &str) -> Result<Query> {
        parse(query, &SEARCHED[0])
    }

    #[test]
    fn clauses_are_joined_by_and() {
        let query = of_customers(r"metadata['external_id']:'it\'s' AND email:'a@b.c'").unwrap();
        let customer = json!({ "email": "A@b.c", "metadata": { "external_id": "it's" } });
        assert!(query.holds(&customer));
        let other = json!({ "email": "A@b.c", "metadata": {} });
        assert!(!query.holds(&other));
    }

    #[test]
    fn one_of_the_clauses_suffices_where_or_joins_them() {
        let customer = json!({ "email": "a@b.c", "created": 7, "metadata": {} });
        for query in [
            "email:'x' OR created>=7",
            "created<7 OR metadata['a']:null",
            "-email:'x' created>6",
        ] {
            assert!(of_customers(query).unwrap().holds(&customer), "{query}");
        }
        assert!(
            !of_customers("email:'x' or created>7")
                .unwrap()
                .holds(&customer)
        );
    }

    #[test]
    fn what_is_no_query_is_refused() {
        for query in [
            "email",
            "metadata[a]:'b'",
            "created>soon",
            "",
            "email:'a' AND name:'b' OR name:'c'",
        ] {
            assert!(of_customers(query).is_err(), "{query}");
        }
    }
}
