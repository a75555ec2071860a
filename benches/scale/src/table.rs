//! Tables of a page of Markdown, read by heading, row and column.

use bigdecimal::BigDecimal;

use crate::{ScaleError, number};

/// The first table under a heading.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    place: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// The first table of `page` below the line `heading`; `file` names the page.
    pub(crate) fn under(page: &str, heading: &str, file: &str) -> Result<Self, ScaleError> {
        let place = format!("{file}, {heading:?}");
        let mut lines = page.lines().skip_while(|line| line.trim_end() != heading);
        lines
            .next()
            .ok_or_else(|| ScaleError::missing(format!("{heading:?}"), file))?;
        let mut rows = lines
            .take_while(|line| !line.starts_with('#'))
            .skip_while(|line| !line.starts_with('|'))
            .take_while(|line| line.starts_with('|'))
            .map(cells);
        let columns = rows
            .next()
            .ok_or_else(|| ScaleError::missing("a table", place.clone()))?;
        // The first is the line between head and body.
        let rows = rows.skip(1).collect();
        Ok(Self {
            place,
            columns,
            rows,
        })
    }

    /// The number in the row that begins with `row`, in the first column of that
    /// name.
    pub(crate) fn number(&self, row: &str, column: &str) -> Result<BigDecimal, ScaleError> {
        let place = format!("{}, row {row:?}, column {column:?}", self.place);
        let index = self.columns.iter().position(|name| name == column);
        let mut rows = self.rows.iter();
        let cells = rows.find(|cells| cells.first().is_some_and(|first| first == row));
        let cell = index.and_then(|index| cells?.get(index));
        let cell = cell.ok_or_else(|| ScaleError::missing("a number", place.clone()))?;
        number::parse(cell, &place)
    }
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_matches('|');
    inner
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# Page

### Other

| run | p50 |
| --- | ---: |
| a | 1 |

### Speed

Text.

| run | p50 | ratio | ratio |
| --- | ---: | ---: | ---: |
| a | 2.50 | 3 | 4 |
| b | fast | 3 | 4 |

### Empty

Text.
";

    fn speed() -> Table {
        Table::under(PAGE, "### Speed", "page.md").unwrap()
    }

    #[test]
    fn a_number_is_found_by_heading_row_and_column() {
        assert_eq!(speed().number("a", "p50").unwrap().to_string(), "2.50");
        assert_eq!(speed().number("a", "ratio").unwrap().to_string(), "3");
    }

    #[test]
    fn what_is_not_there_is_named() {
        for (error, expected) in [
            (
                Table::under(PAGE, "### Slow", "page.md").unwrap_err(),
                "\"### Slow\" is not in page.md",
            ),
            (
                Table::under(PAGE, "### Empty", "page.md").unwrap_err(),
                "a table is not in page.md, \"### Empty\"",
            ),
            (
                speed().number("c", "p50").unwrap_err(),
                "a number is not in page.md, \"### Speed\", row \"c\", column \"p50\"",
            ),
            (
                speed().number("a", "p99").unwrap_err(),
                "a number is not in page.md, \"### Speed\", row \"a\", column \"p99\"",
            ),
            (
                speed().number("b", "p50").unwrap_err(),
                "\"fast\" is no number: page.md, \"### Speed\", row \"b\", column \"p50\"",
            ),
        ] {
            assert_eq!(error.to_string(), expected);
        }
    }
}
