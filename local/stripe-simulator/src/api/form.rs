//! `application/x-www-form-urlencoded` with bracketed keys: `items[0][price]=…`, `expand[]=…`.

/// A parameter's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// Text, as everything in a form is.
    Leaf(String),
    /// A hash or a list; which of the two, the parameter's reader knows.
    Branch(Vec<(String, Node)>),
}

/// Reads a query or a body.
pub(crate) fn parse(encoded: &[u8]) -> Vec<(String, Node)> {
    let mut root = Vec::new();
    for (key, value) in form_urlencoded::parse(encoded) {
        let path = split(&key);
        insert(&mut root, &path, value.into_owned());
    }
    root
}

/// `a[b][]` is `a`, `b` and the empty key. A key with unpaired brackets is one name.
fn split(key: &str) -> Vec<&str> {
    let Some((head, rest)) = key.split_once('[') else {
        return vec![key];
    };
    let Some(inner) = rest.strip_suffix(']') else {
        return vec![key];
    };
    let mut path = vec![head];
    path.extend(inner.split("]["));
    path
}

fn insert(branch: &mut Vec<(String, Node)>, path: &[&str], value: String) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    let key = place(branch, key, rest.first().copied());
    let found = branch.iter().position(|(name, _)| *name == key);
    if rest.is_empty() {
        match found {
            Some(index) => branch[index].1 = Node::Leaf(value),
            None => branch.push((key, Node::Leaf(value))),
        }
        return;
    }
    let index = found.unwrap_or_else(|| {
        branch.push((key, Node::Branch(Vec::new())));
        branch.len() - 1
    });
    if let Node::Leaf(_) = branch[index].1 {
        branch[index].1 = Node::Branch(Vec::new());
    }
    if let Node::Branch(inner) = &mut branch[index].1 {
        insert(inner, rest, value);
    }
}

/// The name of an element: `[]` is the next one, or the last one while that lacks the key.
fn place(branch: &[(String, Node)], key: &str, next: Option<&str>) -> String {
    if !key.is_empty() {
        return key.to_owned();
    }
    if let (Some(next), Some((last, Node::Branch(inner)))) = (next, branch.last())
        && !inner.iter().any(|(name, _)| name == next)
    {
        return last.clone();
    }
    branch.len().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(text: &str) -> Node {
        Node::Leaf(text.to_owned())
    }

    #[test]
    fn brackets_nest() {
        let parsed = parse(b"items[0][price]=p&items[0][metadata][a]=1&items[1][price]=q");
        let first = Node::Branch(vec![
            ("price".to_owned(), leaf("p")),
            (
                "metadata".to_owned(),
                Node::Branch(vec![("a".to_owned(), leaf("1"))]),
            ),
        ]);
        let second = Node::Branch(vec![("price".to_owned(), leaf("q"))]);
        let items = Node::Branch(vec![("0".to_owned(), first), ("1".to_owned(), second)]);
        assert_eq!(parsed, vec![("items".to_owned(), items)]);
    }

    #[test]
    fn empty_brackets_append() {
        let parsed = parse(b"expand[]=a&expand[]=b&items[][price]=p&items[][price]=q");
        let expand = Node::Branch(vec![
            ("0".to_owned(), leaf("a")),
            ("1".to_owned(), leaf("b")),
        ]);
        assert_eq!(parsed[0].1, expand);
        let Node::Branch(items) = &parsed[1].1 else {
            panic!("a list was expected");
        };
        assert_eq!(items.len(), 2);
    }
}
