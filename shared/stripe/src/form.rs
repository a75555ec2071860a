//! Form bodies and query strings as Stripe reads them: `a[b][c]=d` for what is
//! nested, `a[0]=b` for arrays (Stripe API reference: Request bodies).

use std::fmt::Display;

use crate::object::Metadata;

#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    pairs: Vec<(String, String)>,
}

impl Form {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One parameter.
    pub(crate) fn with(mut self, name: &str, value: impl Display) -> Self {
        self.pairs.push((name.to_owned(), value.to_string()));
        self
    }

    /// One parameter where there is a value: to Stripe an empty one would mean
    /// "unset it".
    pub(crate) fn with_some(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The parameters of `inner` as `name[…]`.
    pub(crate) fn with_nested(mut self, name: &str, inner: Self) -> Self {
        for (key, value) in inner.pairs {
            let (head, tail) = key.split_at(key.find('[').unwrap_or(key.len()));
            self.pairs.push((format!("{name}[{head}]{tail}"), value));
        }
        self
    }

    /// `name[0]`, `name[1]` and so on.
    pub(crate) fn with_array(mut self, name: &str, values: &[impl Display]) -> Self {
        for (index, value) in values.iter().enumerate() {
            self.pairs
                .push((format!("{name}[{index}]"), value.to_string()));
        }
        self
    }

    /// `name[0][…]`, `name[1][…]` and so on.
    pub(crate) fn with_nested_array(
        mut self,
        name: &str,
        forms: impl IntoIterator<Item = Self>,
    ) -> Self {
        for (index, form) in forms.into_iter().enumerate() {
            let numbered = Self::new().with_nested(&index.to_string(), form);
            self = self.with_nested(name, numbered);
        }
        self
    }

    /// `metadata[…]`. A key of metadata may hold no bracket (Stripe API
    /// reference: Metadata), so it needs no care here.
    pub(crate) fn with_metadata(mut self, metadata: &Metadata) -> Self {
        for (key, value) in metadata {
            self.pairs.push((format!("metadata[{key}]"), value.clone()));
        }
        self
    }

    pub(crate) fn encode(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.pairs)
            .finish()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(form: &Form) -> Vec<String> {
        form_urlencoded::parse(form.encode().as_bytes())
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    #[test]
    fn nests_arrays_and_maps() {
        let item = |price: &str| Form::new().with("price", price).with_array("tags", &["x"]);
        let form = Form::new()
            .with("customer", "cus_1")
            .with_some("absent", None::<&str>)
            .with_nested(
                "recurring",
                Form::new().with_nested("a", Form::new().with("b", 1)),
            )
            .with_nested_array("items", [item("price_1"), item("price_2")])
            .with_metadata(&Metadata::from([("a b".to_owned(), "ü&=\n".to_owned())]));
        assert_eq!(
            decoded(&form),
            [
                "customer=cus_1",
                "recurring[a][b]=1",
                "items[0][price]=price_1",
                "items[0][tags][0]=x",
                "items[1][price]=price_2",
                "items[1][tags][0]=x",
                "metadata[a b]=ü&=\n",
            ]
        );
    }

    #[test]
    fn is_url_encoded() {
        assert_eq!(
            Form::new().with("a[b]", "c d+é").encode(),
            "a%5Bb%5D=c+d%2B%C3%A9"
        );
        assert!(Form::new().is_empty());
    }
}
