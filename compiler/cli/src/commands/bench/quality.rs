//! `ltxc bench quality`

use std::collections::BTreeMap;

use ltxc_runtime::quality::{Clip, psnr, ssim};
use serde_json::json;

use super::adherence::{self, Judged};
use super::sample::sample;
use super::{percent, row};
use crate::args::{ProjectArgs, QualityArgs};
use crate::failure::{Failure, Outcome};
use crate::output::say;

/// PSNR in dB and SSIM of each video against its reference.
type Likeness = Vec<(f64, f64)>;

pub fn command(args: &QualityArgs) -> Outcome {
    let (project, given) = (ProjectArgs::default(), args.sample.given);
    let (mut clips, mut reference) = (BTreeMap::new(), Vec::new());
    sample(&args.reference, &project, &args.sample, &mut |sampled| {
        clips.insert(sampled.seed, Clip::of(&sampled.video));
        reference.push(Judged::of(&sampled, given));
        Ok(())
    })?;
    let (mut likeness, mut judged) = (Likeness::new(), Vec::new());
    sample(&args.source, &args.project, &args.sample, &mut |sampled| {
        likeness.push(compare(
            clips.get(&sampled.seed),
            &Clip::of(&sampled.video),
        )?);
        judged.push(Judged::of(&sampled, given));
        Ok(())
    })?;
    match args.sample.json {
        true => say!("{:#}", report(&likeness, &reference, &judged)),
        false => table(&likeness, &reference, &judged)?,
    }
    Ok(())
}

fn compare(reference: Option<&Clip>, clip: &Clip) -> Outcome<(f64, f64)> {
    let likeness = reference.and_then(|r| Some((psnr(r, clip)?, ssim(r, clip)?)));
    likeness.ok_or_else(|| {
        Failure::Misuse(
            "the videos differ in size, or are smaller than 11 pixels; set --height, --width and --frames".to_owned(),
        )
    })
}

fn table(likeness: &Likeness, reference: &[Judged], judged: &[Judged]) -> Outcome {
    say!("{}", row("", &["mean", "lowest"]));
    for (name, values) in columns(likeness) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let lowest = values.iter().copied().fold(f64::MAX, f64::min);
        say!("{}", row(name, &[mean, lowest].map(|v| format!("{v:.3}"))));
    }
    say!("\n{}", row("", &["reference", "measured", "lost"]));
    let pairs = adherence::shares(reference).into_iter();
    for ((name, a), (_, b)) in pairs.zip(adherence::shares(judged)) {
        let cells = [a.share, b.share, a.share - b.share].map(percent);
        say!("{}", row(name, &cells));
    }
    Ok(())
}

fn columns(likeness: &Likeness) -> [(&'static str, Vec<f64>); 2] {
    let (psnr, ssim) = likeness.iter().copied().unzip();
    [("PSNR, dB", psnr), ("SSIM", ssim)]
}

fn report(likeness: &Likeness, reference: &[Judged], judged: &[Judged]) -> serde_json::Value {
    let [(_, psnr), (_, ssim)] = columns(likeness);
    json!({
        "psnr": psnr,
        "ssim": ssim,
        "reference": adherence::report(reference),
        "measured": adherence::report(judged),
    })
}
