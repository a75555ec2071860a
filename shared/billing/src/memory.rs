//! What a process knows for a while, without asking again.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use crate::time::Timestamp;

/// Values that are believed until a time, of so many keys at most. Where there is no room for
/// one more, what is outdated goes; if nothing is, everything does, and is asked for again.
#[derive(Debug)]
pub struct Memory<K, V> {
    known: HashMap<K, (V, Timestamp)>,
    keys_max: usize,
}

impl<K: Eq + Hash, V> Memory<K, V> {
    /// Room for `keys_max` keys.
    pub fn of(keys_max: usize) -> Self {
        Self {
            known: HashMap::new(),
            keys_max,
        }
    }

    /// The value of `key`, if it is still believed at `now`.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q, now: Timestamp) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let (value, until) = self.known.get(key)?;
        (now < *until).then_some(value)
    }

    /// Keeps the value of `key`, to be believed until `until`.
    pub fn put(&mut self, key: K, value: V, until: Timestamp, now: Timestamp) {
        if self.known.len() >= self.keys_max {
            self.known.retain(|_, (_, until)| now < *until);
        }
        if self.known.len() >= self.keys_max {
            self.known.clear();
        }
        self.known.insert(key, (value, until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_unix_s(n)
    }

    #[test]
    fn a_value_is_believed_until_its_time() {
        let mut memory = Memory::of(2);
        memory.put("a".to_owned(), 1, second(10), second(0));
        assert_eq!(memory.get("a", second(9)), Some(&1));
        assert_eq!(memory.get("a", second(10)), None);
        assert_eq!(memory.get("b", second(0)), None);
    }

    #[test]
    fn what_is_outdated_makes_room_first() {
        let mut memory = Memory::of(2);
        memory.put("old", 1, second(10), second(0));
        memory.put("new", 2, second(20), second(0));
        memory.put("newer", 3, second(30), second(10));
        let known = ["old", "new", "newer"].map(|key| memory.get(key, second(5)).copied());
        assert_eq!(known, [None, Some(2), Some(3)]);
    }

    #[test]
    fn where_nothing_is_outdated_all_makes_room() {
        let mut memory = Memory::of(2);
        for (n, key) in ["a", "b", "c"].into_iter().enumerate() {
            memory.put(key, n, second(10), second(0));
        }
        let known = ["a", "b", "c"].map(|key| memory.get(key, second(0)).copied());
        assert_eq!(known, [None, None, Some(2)]);
    }
}
