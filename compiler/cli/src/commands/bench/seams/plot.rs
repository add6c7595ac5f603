//! A picture of the steps from frame to frame and of the drift from window to window.

use std::fmt::Write;

use ltxc_runtime::quality::Seams;

const WIDTH: f32 = 900.0;
const HEIGHT: f32 = 150.0;
const LEFT: f32 = 50.0;
/// Where the two diagrams begin.
const TOPS: [f32; 2] = [30.0, 230.0];
const STEPS: &str = "Step from frame to frame, of 0 to 255; lines are seams";
const DRIFT: &str = "Distance of each window's mean colour to the first's, in CIELAB";

/// The steps of all frames and the drift of all windows, each the mean over the videos.
pub fn svg(all: &[&Seams]) -> String {
    let frames = all.iter().map(|one| one.steps.len()).min().unwrap_or(0);
    let step = |frame: usize| super::mean(all.iter().map(|one| one.steps[frame]));
    let steps: Vec<(f32, f32)> = (1..frames)
        .map(|frame| (frame as f32, step(frame)))
        .collect();
    let looks = super::windows(all);
    let drift = looks.iter().flat_map(|look| {
        let (from, to) = (look.from as f32, look.to as f32);
        [(from, look.drift), (to, look.drift)]
    });
    let seams: Vec<f32> = all.first().map_or(Vec::new(), |one| {
        one.seams.iter().map(|frame| *frame as f32).collect()
    });
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} 410\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        WIDTH + LEFT + 20.0
    );
    let drift: Vec<(f32, f32)> = drift.collect();
    for ((top, title), line) in TOPS.into_iter().zip([STEPS, DRIFT]).zip([&steps, &drift]) {
        diagram(&mut svg, top, title, line, &seams, frames as f32);
    }
    svg + "</svg>\n"
}

fn diagram(
    svg: &mut String,
    top: f32,
    title: &str,
    line: &[(f32, f32)],
    seams: &[f32],
    frames: f32,
) {
    let most = line.iter().map(|(_, y)| *y).fold(1e-3, f32::max);
    let x = |frame: f32| LEFT + frame / frames.max(1.0) * WIDTH;
    let y = |value: f32| top + HEIGHT - value / most * HEIGHT;
    let bottom = top + HEIGHT;
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{:.0}\">{title}</text>",
        top - 10.0
    );
    for seam in seams {
        let at = x(*seam);
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} {top}V{bottom}\" stroke=\"#d33\" stroke-width=\"1\" opacity=\".5\"/>"
        );
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{seam}</text>",
            bottom + 15.0
        );
    }
    for (at, value) in [(y(most), most), (y(0.0), 0.0)] {
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{value:.1}</text>",
            LEFT - 5.0,
            at + 4.0
        );
    }
    let places: Vec<String> = line
        .iter()
        .map(|(f, v)| format!("{:.1},{:.1}", x(*f), y(*v)))
        .collect();
    let right = LEFT + WIDTH;
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {top}V{bottom}H{right}\" stroke=\"#888\" fill=\"none\"/>"
    );
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#14a\" stroke-width=\"1.5\"/>",
        places.join(" ")
    );
}
