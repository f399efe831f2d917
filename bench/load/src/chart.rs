//! The picture of a run: how each peer stands to the floor, one group of bars per scenario.

use std::fmt::Write as _;

use crate::report::{Report, Series};

const WIDTH: f64 = 900.0;
const LABELS: f64 = 340.0;
const BAR: f64 = 13.0;
const GAP: f64 = 14.0;
const TOP: f64 = 56.0;
/// Ratios beyond this are cut off, and say so.
const RATIO_MAX: f64 = 4.0;
/// Told apart by those who see few colours as well.
const COLOURS: [(&str, &str); 5] = [
    ("floor", "#9a9a9a"),
    ("longhaul", "#0072b2"),
    ("nginx", "#e69f00"),
    ("haproxy", "#009e73"),
    ("caddy", "#cc79a7"),
];

/// Draws the scenarios without TLS whose floor is not next to nothing: its memory is.
pub(crate) fn draw(report: &Report) -> String {
    let peers = report.peers_of(Series::Plain);
    let scenarios: Vec<_> = report
        .scenarios(Series::Plain)
        .into_iter()
        .filter(|scenario| !scenario.is_memory())
        .collect();
    let group = BAR * peers.len() as f64 + GAP;
    let height = TOP + group * scenarios.len() as f64 + 20.0;
    let scale = (WIDTH - LABELS - 70.0) / RATIO_MAX;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">Ratio to a relay that parses nothing; shorter is \
         better. Lines: least and greatest of all rounds.</text>\n"
    );
    for (at, peer) in peers.iter().enumerate() {
        let x = LABELS + 110.0 * at as f64;
        let colour = colour(peer);
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"32\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"41\">{peer}</text>",
            x + 15.0
        );
    }
    for (row, scenario) in scenarios.into_iter().enumerate() {
        let y = TOP + group * row as f64;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LABELS - 10.0,
            y + (group - GAP) / 2.0 + 4.0,
            scenario.name().replace('<', "&lt;")
        );
        for (at, peer) in peers.iter().enumerate() {
            let Some(ratio) = report.ratio(Series::Plain, scenario, peer) else { continue };
            let y = y + BAR * at as f64;
            let end = |ratio: f64| LABELS + scale * ratio.min(RATIO_MAX);
            let _ = writeln!(
                svg,
                "<rect x=\"{LABELS}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>\
                 <path d=\"M{:.1} {mid:.1}H{:.1}\" stroke=\"#000\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\">{:.2}</text>",
                end(ratio.median) - LABELS,
                BAR - 2.0,
                colour(peer),
                end(ratio.least),
                end(ratio.greatest),
                end(ratio.greatest.max(ratio.median)) + 5.0,
                y + BAR - 3.5,
                ratio.median,
                mid = y + BAR / 2.0 - 1.0,
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn colour(peer: &str) -> &'static str {
    COLOURS.iter().find(|(name, _)| *name == peer).map_or("#555", |(_, colour)| colour)
}
