//! The answer: sentences of the document itself, chosen by counting words.
//!
//! A sentence tells much when its words are the ones that the document keeps
//! coming back to. Whole numbers only, ties go to the earlier sentence: the same
//! document always has the same extract.

use std::collections::{BTreeMap, BTreeSet};

/// The most sentences of an extract.
const SENTENCES_MAX: usize = 3;
/// Bytes of text that count as one token: a usual estimate for English.
const TOKEN_BYTES: u64 = 4;
/// Shorter words carry grammar rather than meaning.
const WORD_LENGTH_MIN: usize = 4;
/// A sentence shorter than this is weighed as if it had this many words, or a
/// heading of two frequent words would beat every sentence.
const SENTENCE_WORDS_MIN: u64 = 12;
/// What does not end like a sentence and is no longer than this is a title.
const HEADING_WORDS_MAX: usize = 12;
/// Scores are averages per word, in thousandths.
const SCORE_SCALE: u64 = 1000;
/// Frequent words of four letters and more that say nothing of the subject.
const STOP_WORDS: &str = "about above after again against also although always among another because \
    been before being below between both cannot could does doing down during each either else even \
    ever every first from further have having here hers herself himself into itself just less like \
    made make many more most much must myself near never once only other ours over same shall she \
    should since some still such than that their theirs them themselves then there these they thing \
    things this those though through till under until upon very were what when where whether which \
    while whom whose will with within without would your yours";

/// An extract, and why it ends where it does.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Extract {
    pub(crate) text: String,
    pub(crate) stop_reason: StopReason,
}

/// The API's `stop_reason`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Nothing more to say.
    EndTurn,
    /// Cut in the middle of a sentence, at `max_tokens`.
    MaxTokens,
    /// Cut before this stop sequence.
    StopSequence(String),
}

impl StopReason {
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::EndTurn => "end_turn",
            Self::MaxTokens => "max_tokens",
            Self::StopSequence(_) => "stop_sequence",
        }
    }

    pub(crate) fn sequence(&self) -> Option<String> {
        match self {
            Self::StopSequence(sequence) => Some(sequence.clone()),
            Self::EndTurn | Self::MaxTokens => None,
        }
    }
}

impl Extract {
    /// The extract of `document` in at most `max_tokens`.
    pub(crate) fn of(document: &str, max_tokens: u64, stop_sequences: &[String]) -> Self {
        let text = telling_sentences(document, max_tokens);
        let (text, cut) = cut_at_tokens(&text, max_tokens);
        let stop = stop_sequences
            .iter()
            .filter_map(|sequence| text.find(sequence.as_str()).map(|at| (at, sequence)))
            .min();
        if let Some((at, sequence)) = stop {
            return Self {
                text: text.get(..at).unwrap_or_default().to_owned(),
                stop_reason: StopReason::StopSequence(sequence.clone()),
            };
        }
        Self {
            text: text.to_owned(),
            stop_reason: if cut {
                StopReason::MaxTokens
            } else {
                StopReason::EndTurn
            },
        }
    }
}

/// How many tokens a text counts for.
pub(crate) fn tokens(text: &str) -> u64 {
    u64::try_from(text.len())
        .unwrap_or(u64::MAX)
        .div_ceil(TOKEN_BYTES)
}

/// The best sentences that fit, in the document's order. The best of all is
/// taken even if it does not fit: a short answer is cut, not empty.
fn telling_sentences(document: &str, max_tokens: u64) -> String {
    let sentences = sentences(document);
    let frequencies = frequencies(&sentences);
    let mut ranked: Vec<usize> = (0..sentences.len()).collect();
    // A stable sort: equal scores stay in the document's order.
    ranked.sort_by_key(|&index| std::cmp::Reverse(score(&sentences[index], &frequencies)));
    let mut chosen = BTreeSet::new();
    let mut tokens_used = 0;
    for index in ranked {
        // One more for the space between two sentences.
        let tokens_needed = tokens(&sentences[index]) + 1;
        if !chosen.is_empty() && tokens_used + tokens_needed > max_tokens {
            continue;
        }
        chosen.insert(index);
        tokens_used += tokens_needed;
        if chosen.len() == SENTENCES_MAX {
            break;
        }
    }
    let texts: Vec<&str> = chosen
        .iter()
        .map(|&index| sentences[index].as_str())
        .collect();
    texts.join(" ")
}

/// Cuts at the token limit, on a character's boundary.
fn cut_at_tokens(text: &str, max_tokens: u64) -> (&str, bool) {
    if tokens(text) <= max_tokens {
        return (text, false);
    }
    let bytes_max = usize::try_from(max_tokens.saturating_mul(TOKEN_BYTES)).unwrap_or(usize::MAX);
    let end = text.floor_char_boundary(bytes_max);
    (text.get(..end).unwrap_or_default().trim_end(), true)
}

/// Sentences in order. Headings are left out; a document without a sentence, such
/// as a list of names, is taken line by line.
fn sentences(document: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut paragraph = String::new();
    for line in document.lines().map(str::trim) {
        let heading = line.starts_with('#');
        let (item, line) = without_list_mark(line);
        if line.is_empty() || heading || item {
            split_paragraph(&paragraph, &mut found);
            paragraph.clear();
        }
        if !heading && !line.is_empty() {
            paragraph.push_str(line);
            paragraph.push(' ');
        }
    }
    split_paragraph(&paragraph, &mut found);
    if found.is_empty() {
        let lines = document.lines().map(str::trim);
        found.extend(lines.filter(|line| !line.is_empty()).map(str::to_owned));
    }
    found
}

/// Whether a line starts a list's item, and the line without the mark.
fn without_list_mark(line: &str) -> (bool, &str) {
    let marked = line.strip_prefix("- ").or_else(|| line.strip_prefix("* "));
    let numbered = || {
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() < line.len() {
            rest.strip_prefix(". ")
        } else {
            None
        }
    };
    match marked.or_else(numbered) {
        Some(rest) => (true, rest),
        None => (false, line),
    }
}

/// A sentence ends with a word that closes with a full stop, a question or an
/// exclamation mark, before a word that does not start in lower case.
fn split_paragraph(paragraph: &str, found: &mut Vec<String>) {
    let mut sentence: Vec<&str> = Vec::new();
    let mut words = paragraph.split_whitespace().peekable();
    while let Some(word) = words.next() {
        sentence.push(word);
        let starts_anew = words
            .peek()
            .is_none_or(|next| !next.starts_with(char::is_lowercase));
        if starts_anew && closes_sentence(word) {
            found.push(sentence.join(" "));
            sentence.clear();
        }
    }
    if sentence.len() > HEADING_WORDS_MAX {
        found.push(sentence.join(" "));
    }
}

fn closes_sentence(word: &str) -> bool {
    let bare = word.trim_end_matches(['"', '\'', ')', '”', '’', '*', '_']);
    // "J. Smith": one letter and a stop is an initial.
    bare.ends_with(['!', '?']) || (bare.ends_with('.') && bare.chars().count() > 2)
}

/// The words that may carry meaning, in lower case.
fn telling_words(sentence: &str) -> impl Iterator<Item = String> {
    sentence
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() >= WORD_LENGTH_MIN)
        .map(str::to_lowercase)
        .filter(|word| !STOP_WORDS.split_whitespace().any(|stop| stop == word))
}

fn frequencies(sentences: &[String]) -> BTreeMap<String, u64> {
    let mut frequencies = BTreeMap::new();
    for word in sentences
        .iter()
        .flat_map(|sentence| telling_words(sentence))
    {
        *frequencies.entry(word).or_insert(0) += 1;
    }
    frequencies
}

/// The sum of how often each of its words is in the document, per word. Each
/// counts once, so that repetition within one sentence does not win.
fn score(sentence: &str, frequencies: &BTreeMap<String, u64>) -> u64 {
    let distinct: BTreeSet<String> = telling_words(sentence).collect();
    let sum: u64 = distinct
        .iter()
        .filter_map(|word| frequencies.get(word))
        .sum();
    let words = u64::try_from(sentence.split_whitespace().count()).unwrap_or(u64::MAX);
    sum * SCORE_SCALE / words.max(SENTENCE_WORDS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "On the bees\n\n# Bees\n\nBees carry pollen from flower to flower. It was a warm day.\n\
        Without bees, pollen would stay in the flower, and the garden would bear no fruit. We had tea.\n\n\
        - Pollen feeds the young bees.\n- Nothing else.";

    #[test]
    fn the_sentences_are_the_document_s_own_in_its_order() {
        let extract = Extract::of(TEXT, 200, &[]);
        assert_eq!(
            extract.text,
            "Bees carry pollen from flower to flower. Without bees, pollen would stay in the \
             flower, and the garden would bear no fruit. Pollen feeds the young bees."
        );
        assert_eq!(extract.stop_reason, StopReason::EndTurn);
        assert_eq!(Extract::of(TEXT, 200, &[]), extract);
    }

    #[test]
    fn an_answer_never_exceeds_max_tokens() {
        for max_tokens in 1..80 {
            let extract = Extract::of(TEXT, max_tokens, &[]);
            assert!(tokens(&extract.text) <= max_tokens, "{extract:?}");
            assert!(!extract.text.is_empty());
        }
        assert_eq!(Extract::of(TEXT, 3, &[]).stop_reason, StopReason::MaxTokens);
    }

    #[test]
    fn the_earliest_stop_sequence_ends_the_answer() {
        let stops = ["fruit".to_owned(), "pollen".to_owned()];
        let extract = Extract::of(TEXT, 200, &stops);
        assert_eq!(extract.text, "Bees carry ");
        assert_eq!(
            extract.stop_reason,
            StopReason::StopSequence("pollen".to_owned())
        );
    }

    #[test]
    fn initials_and_lower_case_do_not_end_a_sentence() {
        let mut found = Vec::new();
        split_paragraph("J. Smith ate at 5 p.m. sharp. He left.", &mut found);
        assert_eq!(found, ["J. Smith ate at 5 p.m. sharp.", "He left."]);
    }

    #[test]
    fn a_document_without_a_sentence_is_taken_line_by_line() {
        assert_eq!(
            Extract::of("# Only a heading", 50, &[]).text,
            "# Only a heading"
        );
        assert_eq!(
            Extract::of("ash\n- beech\n\noak", 50, &[]).text,
            "ash - beech oak"
        );
        assert_eq!(Extract::of("  ", 50, &[]).text, "");
        assert_eq!(Extract::of("aGrüße", 1, &[]).text, "aGr");
    }
}
