//! Videos: the boxes are walked here, the samples decoded with openh264.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use openh264::decoder::Decoder;
use openh264::formats::YUVSource;

use super::super::read::{ReadOptions, open};
use super::super::yuv::YuvFrame;
use super::super::{VideoSpec, create};
use super::{names, psnr, smooth_frame, spec, write_smooth};

/// The content of the box reached by a path of kinds.
fn find<'a>(mut data: &'a [u8], path: &[&str]) -> &'a [u8] {
    for kind in path {
        data = boxes(data)
            .into_iter()
            .find(|(name, _)| name == kind)
            .unwrap_or_else(|| panic!("no {kind} box"))
            .1;
    }
    data
}

fn boxes(mut data: &[u8]) -> Vec<(&str, &[u8])> {
    let mut found = Vec::new();
    while !data.is_empty() {
        let size = number(data, 0) as usize;
        let kind = std::str::from_utf8(&data[4..8]).unwrap();
        found.push((kind, &data[8..size]));
        data = &data[size..];
    }
    found
}

fn number(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(data[at..at + 4].try_into().unwrap())
}

fn table<'a>(file: &'a [u8], kind: &str) -> &'a [u8] {
    find(file, &["moov", "trak", "mdia", "minf", "stbl", kind])
}

/// The length-prefixed samples, cut by the sizes and the offset in the index.
fn samples(file: &[u8]) -> Vec<&[u8]> {
    let sizes = table(file, "stsz");
    let mut rest = &file[number(table(file, "stco"), 8) as usize..];
    (0..number(sizes, 8) as usize)
        .map(|index| {
            let (sample, after) = rest.split_at(number(sizes, 12 + index * 4) as usize);
            rest = after;
            sample
        })
        .collect()
}

fn annex_b(mut sample: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while !sample.is_empty() {
        let end = 4 + number(sample, 0) as usize;
        stream.extend([0, 0, 0, 1]);
        stream.extend(&sample[4..end]);
        sample = &sample[end..];
    }
    stream
}

/// The parameter sets of the decoder configuration, with start codes.
fn parameter_sets(file: &[u8]) -> Vec<u8> {
    let entry = &table(file, "stsd")[8 + 8 + 78..];
    let configuration = find(entry, &["avcC"]);
    let length =
        |at: usize| usize::from(configuration[at]) << 8 | usize::from(configuration[at + 1]);
    let sequence = &configuration[8..][..length(6)];
    let picture = &configuration[11 + sequence.len()..][..length(9 + sequence.len())];
    [&[0, 0, 0, 1], sequence, &[0, 0, 0, 1], picture].concat()
}

fn packed(plane: &[u8], stride: usize, width: usize, height: usize) -> Vec<u8> {
    let rows = plane.chunks(stride).take(height);
    rows.flat_map(|row| &row[..width]).copied().collect()
}

fn planes(frame: &impl YUVSource) -> [Vec<u8>; 3] {
    let ((width, height), strides) = (frame.dimensions(), frame.strides());
    [
        packed(frame.y(), strides.0, width, height),
        packed(frame.u(), strides.1, width / 2, height / 2),
        packed(frame.v(), strides.2, width / 2, height / 2),
    ]
}

fn check_decoded(file: &[u8], spec: VideoSpec) {
    let mut decoder = Decoder::new().unwrap();
    assert!(decoder.decode(&parameter_sets(file)).unwrap().is_none());
    let (width, height) = (spec.width as usize, spec.height as usize);
    for (index, sample) in samples(file).into_iter().enumerate() {
        let decoded = decoder.decode(&annex_b(sample)).unwrap().unwrap();
        let mut expected = YuvFrame::new(width, height);
        expected.fill(&smooth_frame(spec.width, spec.height, index), width, height);
        for (got, wanted) in planes(&decoded).iter().zip(planes(&expected)) {
            let quality = psnr(got, &wanted);
            assert!(quality > 40.0, "frame {index}: {quality:.1} dB");
        }
    }
}

fn written(spec: VideoSpec, frames: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.mp4");
    write_smooth(&path, spec, frames);
    fs::read(path).unwrap()
}

#[test]
fn decoded_frames_look_like_the_written_ones() {
    for spec in [
        spec(64, 64, 8.0),
        spec(65, 33, 25.0),
        spec(160, 96, 29.97),
        spec(16, 16, 24.0),
    ] {
        let file = written(spec, 20);
        assert_eq!(samples(&file).len(), 20);
        check_decoded(&file, spec);
    }
}

#[test]
fn the_index_stands_before_the_samples() {
    let file = written(spec(64, 64, 8.0), 3);
    let kinds: Vec<_> = boxes(&file).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["ftyp", "moov", "mdat"]);
    let payload: usize = samples(&file).iter().map(|sample| sample.len()).sum();
    assert_eq!(find(&file, &["mdat"]).len(), payload);
}

#[test]
fn broadcast_rates_have_exact_sample_times() {
    let file = written(spec(64, 64, 23.976), 5);
    let times = table(&file, "stts");
    assert_eq!((number(times, 8), number(times, 12)), (5, 1001));
    let header = find(&file, &["moov", "trak", "mdia", "mdhd"]);
    assert_eq!((number(header, 20), number(header, 28)), (24000, 5005));
}

#[test]
fn odd_sides_are_padded_to_even() {
    let file = written(spec(65, 33, 25.0), 1);
    let header = find(&file, &["moov", "trak", "tkhd"]);
    let sides = &header[header.len() - 8..];
    assert_eq!((number(sides, 0) >> 16, number(sides, 4) >> 16), (66, 34));
}

#[test]
fn a_keyframe_comes_every_two_seconds() {
    let file = written(spec(64, 64, 8.0), 33);
    let keyframes = table(&file, "stss");
    let numbers: Vec<_> = (0..number(keyframes, 4) as usize)
        .map(|index| number(keyframes, 8 + index * 4))
        .collect();
    assert_eq!(numbers, [1, 17, 33]);
}

/// Asks ffprobe where it is installed, and passes elsewhere.
#[test]
fn ffprobe_agrees() {
    if Command::new("ffprobe").arg("-version").output().is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.mp4");
    write_smooth(&path, spec(65, 33, 29.97), 31);
    assert_eq!(
        probe(&path),
        "h264,66,34,tv,bt709,30000/1001,30000/1001,1.034367,31"
    );
}

fn probe(path: &Path) -> String {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-of", "csv=p=0"])
        .arg("-show_entries")
        .arg(
            "stream=codec_name,width,height,color_range,color_space,\
             r_frame_rate,avg_frame_rate,duration,nb_read_frames",
        )
        .arg(path)
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// Writes frames of a video and goes before its end.
fn interrupted(path: &Path, spec: VideoSpec, frames: usize) -> Option<PathBuf> {
    let mut writer = create(path, spec).unwrap();
    for index in 0..frames {
        let frame = smooth_frame(spec.width, spec.height, index);
        writer.write(&frame).unwrap();
    }
    writer.part().map(Path::to_path_buf)
}

fn frames_of(path: &Path) -> Vec<Vec<u8>> {
    open(path, &ReadOptions::frames(999)).unwrap().frames
}

/// Where the boxes of a file end that have this kind.
fn ends(file: &[u8], kind: &str) -> Vec<usize> {
    let mut at = 0;
    let boxes = boxes(file).into_iter();
    let ends = boxes.map(|(name, body)| {
        at += 8 + body.len();
        (name, at)
    });
    ends.filter(|(name, _)| *name == kind)
        .map(|(_, end)| end)
        .collect()
}

#[test]
fn an_interrupted_video_can_be_read_up_to_its_last_second() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.mp4");
    let part = interrupted(&path, spec(66, 34, 8.0), 29).unwrap();
    assert_eq!(names(folder.path()), ["x.part.mp4"]);
    let clip = open(&part, &ReadOptions::frames(999)).unwrap();
    assert_eq!((clip.fps, clip.frames.len()), (Some(8.0), 24));

    write_smooth(&path, spec(66, 34, 8.0), 29);
    assert_eq!(names(folder.path()), ["x.mp4"]);
    assert_eq!(clip.frames, frames_of(&path)[..24]);
}

#[test]
fn a_part_can_be_cut_behind_any_fragment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.mp4");
    let part = interrupted(&path, spec(64, 32, 5.0), 41).unwrap();
    let (whole, frames) = (fs::read(&part).unwrap(), frames_of(&part));
    let ends = ends(&whole, "mdat");
    assert_eq!(ends.len(), 8);
    for (seconds, end) in (1..).zip(ends) {
        fs::write(&path, &whole[..end]).unwrap();
        assert_eq!(frames_of(&path), frames[..5 * seconds]);
        fs::write(&path, &whole[..end - 9]).unwrap();
        let error = open(&path, &ReadOptions::frames(999)).err().unwrap();
        let said = format!("after frame {}", 5 * seconds - 1);
        assert!(error.to_string().contains(&said), "{error}");
    }
}

#[test]
fn fragments_state_times_sizes_and_keyframes() {
    let folder = tempfile::tempdir().unwrap();
    let part = interrupted(&folder.path().join("x.mp4"), spec(64, 64, 23.976), 72).unwrap();
    let file = fs::read(part).unwrap();
    assert_eq!(find(&file, &["moov", "mvex", "trex"]).len(), 24);
    let fragments: Vec<_> = boxes(&file)
        .into_iter()
        .filter(|(kind, _)| *kind == "moof")
        .map(|(_, body)| body)
        .collect();
    for (index, fragment) in fragments.iter().enumerate() {
        let number_of = number(find(fragment, &["mfhd"]), 4) as usize;
        let time = number(find(fragment, &["traf", "tfdt"]), 8) as usize;
        let run = find(fragment, &["traf", "trun"]);
        let keyframe = number(run, 12 + 4) & 0x1_0000 == 0;
        assert_eq!((number_of, time), (index + 1, index * 24 * 1001));
        assert_eq!((number(run, 4), keyframe), (24, index % 2 == 0));
    }
    assert_eq!(fragments.len(), 3);
}

#[test]
fn a_part_of_an_older_run_is_replaced_and_then_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.mp4");
    fs::write(folder.path().join("x.part.mp4"), "old").unwrap();
    assert_eq!(interrupted(&path, spec(64, 32, 8.0), 7), None);
    assert_eq!(
        fs::read(folder.path().join("x.part.mp4")).unwrap(),
        b"old",
        "a run without a fragment has nothing better"
    );
    let part = interrupted(&path, spec(64, 32, 8.0), 8).unwrap();
    assert_eq!(frames_of(&part).len(), 8);
    write_smooth(&path, spec(64, 32, 8.0), 3);
    assert_eq!(names(folder.path()), ["x.mp4"]);
}

/// Asks ffmpeg where it is installed, and passes elsewhere.
#[test]
fn ffmpeg_reads_fragments() {
    if Command::new("ffmpeg").arg("-version").output().is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let part = interrupted(&folder.path().join("x.mp4"), spec(66, 34, 29.97), 95).unwrap();
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-i"])
        .arg(&part)
        .args(["-f", "framemd5", "-"])
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let lines = String::from_utf8(output.stdout).unwrap();
    let frames = lines.lines().filter(|line| line.starts_with('0')).count();
    assert_eq!(frames, 90);
    assert!(lines.contains("#tb 0: 1001/30000"), "{lines}");
}
