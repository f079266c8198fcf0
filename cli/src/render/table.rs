//! Columns that line up: a head and rows, two spaces between columns.

use super::style::{HEAD, clean, paint};

/// A table under construction.
#[derive(Debug)]
pub(crate) struct Table<const COLUMNS: usize> {
    head: [&'static str; COLUMNS],
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// Only a head.
    pub(crate) fn new(head: [&'static str; COLUMNS]) -> Self {
        Self { head, rows: Vec::new() }
    }

    /// With one more row. Cells come from others, so each is cleaned and kept on one line.
    pub(crate) fn row(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells.map(|cell| clean(&cell.replace(['\n', '\t'], " ")).into_owned()));
    }

    /// The table as text, each line ended.
    pub(crate) fn render(&self) -> String {
        let mut widths = self.head.map(str::len);
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: [&str; COLUMNS]| {
            let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let mut text = paint(HEAD, &line(self.head)) + "\n";
        for row in &self.rows {
            text += &line(row.each_ref().map(String::as_str));
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::style::plain;
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["TENANT", "BY"]);
        table.row(["acme".into(), "ada".into()]);
        table.row(["a-long-tenant".into(), "two\nlines".into()]);

        insta::assert_snapshot!(plain(&table.render()), @"
        TENANT         BY
        acme           ada
        a-long-tenant  two lines
        ");
    }
}
