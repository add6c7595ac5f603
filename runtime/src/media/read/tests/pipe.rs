//! Formats that another program reads; most tests use a stand-in for it.

use std::path::{Path, PathBuf};

use super::super::{Decoder, Ffmpeg, ReadOptions, open};
use super::{built_in, data, refusal};

fn with(program: impl Into<PathBuf>, max_frames: usize) -> ReadOptions {
    ReadOptions {
        ffmpeg: Ffmpeg::At(program.into()),
        ..built_in(max_frames)
    }
}

#[test]
fn without_the_program_the_error_says_what_helps() {
    assert_eq!(
        refusal(&data("other.mkv"), &built_in(1)),
        "other.mkv: this format is not built in (built in are PNG, JPEG, WebP, BMP, GIF, MP4 and \
         MOV with H.264, and folders of numbered pictures); convert it, or let LTXC_FFMPEG name \
         the program ffmpeg"
    );
    let said = refusal(&data("other.mkv"), &with("/no/such/ffmpeg", 1));
    assert!(
        said.ends_with("LTXC_FFMPEG names no program that can be started"),
        "{said}"
    );
}

#[cfg(unix)]
mod stand_in {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    /// A program that answers the question for the rate and otherwise runs `script`.
    fn program(folder: &Path, script: &str) -> PathBuf {
        let path = folder.join("ffmpeg");
        let rate = "case \"$*\" in *' -f yuv4mpegpipe'*) echo 'YUV4MPEG2 W16 H16 F30000:1001'; exit;; esac";
        fs::write(&path, format!("#!/bin/sh\n{rate}\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    const FRAME: &str = "printf 'P6\\n2 1\\n255\\nabcdef'";

    fn check(script: &str, max_frames: usize, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let program = program(folder.path(), script);
        let options = with(&program, max_frames);
        assert_eq!(refusal(&data("other.mkv"), &options), expected);
    }

    #[test]
    fn frames_and_rate_come_through_the_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let program = program(folder.path(), &format!("{FRAME}; {FRAME}"));
        let clip = open(&data("other.mkv"), &with(&program, 9)).unwrap();
        assert_eq!(clip.frames, [b"abcdef", b"abcdef"]);
        assert_eq!((clip.width, clip.height, clip.more), (2, 1, false));
        assert_eq!(clip.fps, Some(30000.0 / 1001.0));
        let why = "this format".to_owned();
        assert_eq!(clip.decoder, Decoder::Ffmpeg { why });
    }

    #[test]
    fn a_program_that_never_ends_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let program = program(folder.path(), &format!("while :; do {FRAME}; done"));
        let start = Instant::now();
        let clip = open(&data("other.mkv"), &with(&program, 3)).unwrap();
        assert_eq!((clip.frames.len(), clip.more), (3, true));
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn complaints_become_errors() {
        let complaint = "echo '[mkv @ 0x1] File ended early' >&2";
        check(
            complaint,
            9,
            "other.mkv: this file cannot be read: ffmpeg says: File ended early",
        );
        check(
            &format!("{FRAME}; {complaint}"),
            9,
            "other.mkv: this file is damaged after frame 1: ffmpeg says: File ended early; ask \
             for at most 1 frames, or repair the file",
        );
    }

    #[test]
    fn nonsense_is_refused() {
        check(
            "echo hello",
            9,
            "other.mkv: this file cannot be read: ffmpeg sends no pictures",
        );
        check(
            "printf 'P6\\n2 1\\n255\\nabc'",
            9,
            "other.mkv: this file cannot be read: ffmpeg ended inside a picture",
        );
        check(
            "printf 'P6\\n99999999 99999999\\n255\\n'",
            9,
            "other.mkv: a frame of 99999999x99999999 is too large; a side may have 1 to 16384 pixels",
        );
        check(
            "exit 3",
            9,
            "other.mkv: this file cannot be read: ffmpeg failed (exit status: 3)",
        );
    }

    /// The real program, where there is one.
    #[test]
    fn the_real_program_reads_what_is_not_built_in() {
        let options = with("ffmpeg", 9);
        let found = std::process::Command::new("ffmpeg")
            .arg("-version")
            .output();
        if found.is_err() {
            eprintln!("skipped: there is no ffmpeg");
            return;
        }
        for name in ["other.mkv", "422.mp4", "interlaced.mp4", "h265.mp4"] {
            let clip = open(&data(name), &options).unwrap();
            assert_eq!(clip.frames[0].len() as u32, clip.width * clip.height * 3);
            assert_ne!(clip.decoder, Decoder::BuiltIn, "{name}");
        }
        let clip = open(&data("other.mkv"), &options).unwrap();
        assert_eq!((clip.frames.len(), clip.fps), (3, Some(25.0)));

        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("-y.txt", "text, which ffmpeg would paint"),
            (
                "list.m3u8",
                "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/hosts\n",
            ),
            ("list.ffconcat", "ffconcat version 1.0\nfile other.mkv\n"),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            let said = refusal(&path, &options);
            assert!(said.contains("ffmpeg says"), "{said}");
        }
    }
}
