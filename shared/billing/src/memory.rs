//! What a process knows for a while, without asking again.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use crate::time::Timestamp;

/// The part that makes room where nothing is outdated: one in so many.
const EVICTED_PART: usize = 8;

/// Values that are believed until a time, of so many keys at most. Where there is no room for
/// one more, what is outdated goes; if nothing is, some others do, and are asked for again.
/// Which ones is left to chance: of keys that are asked for in turn, the one that was asked for
/// longest ago is the next to be.
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
        if !self.known.contains_key(&key) {
            self.make_room(now);
        }
        self.known.insert(key, (value, until));
    }

    /// The value of `key`, the default where none is believed at `now`; kept until `until`
    /// from now on.
    pub fn keep(&mut self, key: K, until: Timestamp, now: Timestamp) -> &mut V
    where
        V: Default,
    {
        if !self.known.contains_key(&key) {
            self.make_room(now);
        }
        let known = self.known.entry(key);
        let (value, believed_until) = known.or_insert_with(|| (V::default(), until));
        if *believed_until <= now {
            *value = V::default();
        }
        *believed_until = until;
        value
    }

    fn make_room(&mut self, now: Timestamp) {
        if self.known.len() >= self.keys_max {
            self.known.retain(|_, (_, until)| now < *until);
        }
        if self.known.len() >= self.keys_max {
            let mut evicted = self.keys_max.div_ceil(EVICTED_PART);
            self.known.retain(|_, _| {
                let stays = evicted == 0;
                evicted = evicted.saturating_sub(1);
                stays
            });
        }
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
    fn where_nothing_is_outdated_an_eighth_makes_room() {
        let mut memory = Memory::of(80);
        for key in 0..81 {
            memory.put(key, key, second(10), second(0));
        }
        let known = (0..81).filter(|key| memory.get(key, second(0)) == Some(key));
        assert_eq!(known.count(), 71);
        assert_eq!(memory.get(&80, second(0)), Some(&80));
    }

    #[test]
    fn what_is_kept_on_is_forgotten_once_nobody_does() {
        let mut memory: Memory<&str, u32> = Memory::of(2);
        for (now, value) in [(0, 1), (9, 2), (18, 3), (28, 1)] {
            let kept = memory.keep("a", second(now + 10), second(now));
            *kept += 1;
            assert_eq!(*kept, value);
        }
    }

    /// As pages do that look again and again, a tenth of them too many.
    #[test]
    fn keys_that_are_asked_for_in_turn_are_mostly_known() {
        let mut memory = Memory::of(200);
        let mut found = 0;
        for _ in 0..10 {
            for key in 0..220 {
                if memory.get(&key, second(0)).is_some() {
                    found += 1;
                } else {
                    memory.put(key, (), second(10), second(0));
                }
            }
        }
        assert!(found > 1_100, "{found} of 2,200");
    }
}
