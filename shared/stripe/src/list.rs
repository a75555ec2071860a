//! Lists and their pages (Stripe API reference: Pagination).

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::error::Error;
use crate::form::Form;
use crate::object::or_default;
use crate::request::Request;

/// The most that Stripe puts on a page.
const PAGE_ITEMS_MAX: u32 = 100;

/// One page of a list, or all of it: each call says which.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub struct List<T> {
    /// The items, the newest first unless the call says otherwise.
    #[serde(default = "Vec::new", deserialize_with = "or_default")]
    pub data: Vec<T>,
    /// Whether there are items after the last one here.
    #[serde(default, deserialize_with = "or_default")]
    pub has_more: bool,
}

impl<T> List<T> {
    /// The items of this page.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.data.iter()
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self {
            data: Vec::new(),
            has_more: false,
        }
    }
}

impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.data.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What the next page can start after.
pub(crate) trait Listed {
    fn id(&self) -> &str;
}

macro_rules! listed {
    ($($object:ty),+ $(,)?) => {
        $(impl crate::list::Listed for $object {
            fn id(&self) -> &str {
                &self.id
            }
        })+
    };
}
pub(crate) use listed;

impl Client {
    /// Every page of a list.
    pub(crate) async fn list_all<T: DeserializeOwned + Listed>(
        &self,
        path: &str,
        query: &Form,
    ) -> Result<List<T>, Error> {
        self.list_until(path, query, None, |_| false).await
    }

    /// Every page of a list after the item `starting_after`.
    pub(crate) async fn list_all_after<T: DeserializeOwned + Listed>(
        &self,
        path: &str,
        query: &Form,
        starting_after: Option<&str>,
    ) -> Result<List<T>, Error> {
        self.list_until(path, query, starting_after, |_| false)
            .await
    }

    /// The same, up to the page that holds an item that `is_last`.
    pub(crate) async fn list_until<T: DeserializeOwned + Listed>(
        &self,
        path: &str,
        query: &Form,
        starting_after: Option<&str>,
        is_last: impl Fn(&T) -> bool,
    ) -> Result<List<T>, Error> {
        let query = query.clone().with("limit", PAGE_ITEMS_MAX);
        let mut after = starting_after.map(str::to_owned);
        let mut all = Vec::new();
        loop {
            let page = query.clone().with_some("starting_after", after.as_deref());
            let List { data, has_more } = self.read(Request::get(path, &page)).await?;
            let last_id = data.last().map(|item: &T| item.id().to_owned());
            let is_enough = data.iter().any(&is_last);
            all.extend(data);
            // An empty page, or the same one again, would never end.
            let is_end = !has_more || last_id.is_none() || last_id == after;
            if is_end || is_enough {
                return Ok(List {
                    data: all,
                    has_more: !is_end,
                });
            }
            after = last_id;
        }
    }
}
