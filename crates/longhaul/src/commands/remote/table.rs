//! Rows in columns, for eyes on a terminal.

use serde_json::Value;

/// Rows under a header.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(ToString::to_string).collect()] }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Columns as wide as their widest cell, two spaces apart.
    pub(super) fn text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:width$}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Seconds as people say them.
pub(super) fn duration(seconds: &Value) -> String {
    let Some(seconds) = seconds.as_f64() else { return String::new() };
    match seconds {
        s if s < 10.0 => format!("{s:.1}s"),
        s if s < 120.0 => format!("{s:.0}s"),
        s if s < 7_200.0 => format!("{:.0}min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0}h", s / 3_600.0),
        s => format!("{:.0}d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["ID", "WHY"]);
        table.row(["12345".into(), "grüße".into()]);
        table.row(["1".into(), String::new()]);
        assert_eq!(table.text(), "ID     WHY\n12345  grüße\n1\n");
    }

    #[test]
    fn durations_are_short() {
        for (seconds, said) in [(0.04, "0.0s"), (100.2, "100s"), (600.0, "10min"), (1e6, "12d")] {
            assert_eq!(duration(&seconds.into()), said);
        }
    }
}
