//! Draws what several runs measured against the size of the cluster, as SVG.

use std::fmt::Write as _;

use crate::sim::report::{Coverage, Detection, Rate, Report};

/// Size of a plot, and of the frame around the lines, pixels.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 44.0;

/// Colours of the lines.
const COLOURS: [&str; 4] = ["#1b6ca8", "#c8553d", "#588157", "#7b5ea7"];

/// One plot: its file, its title, and the lines in it.
struct Plot {
    file: &'static str,
    title: &'static str,
    lines: Vec<Line>,
}

/// One line: nodes and value.
struct Line {
    label: &'static str,
    points: Vec<(f64, f64)>,
}

/// File names and contents of the plots of these runs.
#[must_use]
pub fn plots(reports: &[Report]) -> Vec<(&'static str, String)> {
    let line = |label, value: &dyn Fn(&Report) -> Option<f64>| {
        let mut points: Vec<_> = reports
            .iter()
            .filter_map(|report| Some((report.nodes as f64, value(report)?)))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line { label, points }
    };
    let kill = |pick: fn(&Detection) -> Option<f64>| {
        move |report: &Report| median(report.kills.iter().filter_map(pick).collect())
    };
    let rest = |pick: fn(&Rate) -> f64| move |report: &Report| report.rest.as_ref().map(pick);
    let event = |pick: fn(&Coverage) -> f64| move |report: &Report| report.event.as_ref().map(pick);
    let plots = [
        Plot {
            file: "convergence.svg",
            title: "Cold start: seconds until all know all",
            lines: vec![line("last node", &|report| report.converge_s)],
        },
        Plot {
            file: "detection.svg",
            title: "Killed process: seconds until it is shown as failed",
            lines: vec![
                line("last node", &kill(|kill| kill.last_s)),
                line("first node", &kill(|kill| kill.first_s)),
            ],
        },
        Plot {
            file: "events.svg",
            title: "One event: milliseconds until the last node has it",
            lines: vec![
                line("slowest of 10", &event(|event| event.slowest_ms)),
                line("median", &event(|event| event.median_ms)),
            ],
        },
        Plot {
            file: "traffic.svg",
            title: "At rest: bytes per second and node",
            lines: vec![
                line("all", &rest(Rate::bytes_per_s)),
                line("datagrams", &rest(|rate| rate.datagram_bytes_per_s)),
                line("streams", &rest(|rate| rate.stream_bytes_per_s)),
            ],
        },
    ];
    plots.iter().map(|plot| (plot.file, draw(plot))).collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn draw(plot: &Plot) -> String {
    let points = || plot.lines.iter().flat_map(|line| &line.points);
    let sizes: Vec<f64> = {
        let mut sizes: Vec<f64> = points().map(|(nodes, _)| *nodes).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        sizes
    };
    let top = nice(points().map(|(_, value)| *value).fold(0.0, f64::max));
    let (low, high) = match (sizes.first(), sizes.last()) {
        (Some(low), Some(high)) if low < high => (low.log2(), high.log2()),
        (Some(only), _) => (only.log2() - 1.0, only.log2() + 1.0),
        (None, _) => (0.0, 1.0),
    };
    let x = |nodes: f64| LEFT + (nodes.log2() - low) / (high - low) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n",
        plot.title
    );
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let (at, right) = (y(value), WIDTH - RIGHT);
        add(
            &mut svg,
            &format!(
                "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                LEFT - 8.0,
                at + 4.0
            ),
        );
    }
    for nodes in &sizes {
        add(
            &mut svg,
            &format!(
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{nodes}</text>",
                x(*nodes),
                HEIGHT - BOTTOM + 18.0
            ),
        );
    }
    for (line, colour) in plot.lines.iter().zip(COLOURS) {
        draw_line(&mut svg, line, colour, &x, &y);
    }
    add(
        &mut svg,
        &format!(
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">nodes</text>\n</svg>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 8.0
        ),
    );
    svg
}

fn draw_line(
    svg: &mut String,
    line: &Line,
    colour: &str,
    x: &dyn Fn(f64) -> f64,
    y: &dyn Fn(f64) -> f64,
) {
    let at = |(nodes, value): &(f64, f64)| format!("{:.1},{:.1}", x(*nodes), y(*value));
    let points: Vec<String> = line.points.iter().map(at).collect();
    let points = points.join(" ");
    add(
        svg,
        &format!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        ),
    );
    for (nodes, value) in &line.points {
        let (cx, cy) = (x(*nodes), y(*value));
        add(
            svg,
            &format!("<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\" fill=\"{colour}\"/>"),
        );
    }
    if let Some((nodes, value)) = line.points.last() {
        let (label, shown) = (line.label, shorten(*value));
        let (tx, ty) = (x(*nodes) + 8.0, y(*value) + 4.0);
        add(
            svg,
            &format!("<text x=\"{tx:.1}\" y=\"{ty:.1}\" fill=\"{colour}\">{label}: {shown}</text>"),
        );
    }
}

fn add(svg: &mut String, part: &str) {
    _ = writeln!(svg, "{part}");
}

/// Three digits are enough to read.
fn shorten(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// The next round number from `value` on: the top of a scale.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let unit = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    let fits = steps.iter().find(|step| *step * unit >= value);
    fits.unwrap_or(&10.0) * unit
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sim::measure::{Measure, measure};
    use crate::sim::setup::Setup;
    use crate::sim::toy::Toy;

    #[test]
    fn every_size_has_its_point() {
        let reports: Vec<Report> = [8, 4]
            .map(|nodes| {
                let setup = Setup {
                    nodes,
                    ..Setup::default()
                };
                measure::<Toy>(setup, Measure::All, Duration::from_secs(5), 1)
            })
            .into();
        let drawn = plots(&reports);
        assert_eq!(drawn.len(), 4);
        for (file, svg) in drawn {
            assert!(
                svg.starts_with("<svg") && svg.ends_with("</svg>\n"),
                "{file}"
            );
            assert!(
                svg.contains(">4</text>") && svg.contains(">8</text>"),
                "{file}"
            );
            assert!(svg.matches("<circle").count() >= 2, "{file}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{file}");
        }
    }

    #[test]
    fn one_size_and_none_are_drawn_too() {
        assert!(plots(&[]).iter().all(|(_, svg)| !svg.contains("<circle")));
        assert_eq!((nice(0.0), nice(3.1), nice(99.0)), (1.0, 4.0, 100.0));
    }
}
