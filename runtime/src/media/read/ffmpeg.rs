//! Any other format, through the program `ffmpeg`.
//!
//! It decodes into pictures on a pipe, which are read one at a time; it is ended when the
//! source is dropped. It may open nothing but the named file.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};

use super::limits::Limits;
use super::{Frame, ReadError, ReadOptions, Source};

const FORMAT: &str = "file";
/// The start of its complaints is enough.
const KEPT_COMPLAINTS: u64 = 4096;
/// The longest line in the header of a picture.
const HEADER_LINE: u64 = 32;

/// What it may take a file for: containers and pictures, but neither playlists, which name
/// other files, nor text, which it would paint.
const FORMATS: &str = "matroska,webm,mov,avi,flv,asf,mpeg,mpegts,mpegvideo,m4v,ogg,ivf,obu,av1,\
    h264,hevc,vvc,vc1,mjpeg,mxf,nut,rm,dv,gxf,wtv,yuv4mpegpipe,gif,apng,image2,jpegxl_anim,\
    bmp_pipe,dds_pipe,dpx_pipe,exr_pipe,gif_pipe,j2k_pipe,jpeg_pipe,jpegls_pipe,jpegxl_pipe,\
    hdr_pipe,pam_pipe,pbm_pipe,pcx_pipe,pfm_pipe,pgm_pipe,pgmyuv_pipe,png_pipe,ppm_pipe,\
    psd_pipe,qoi_pipe,sgi_pipe,sunrast_pipe,tiff_pipe,webp_pipe,xbm_pipe,xpm_pipe,xwd_pipe";

/// Which `ffmpeg` reads what is not built in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ffmpeg {
    /// None.
    Never,
    /// The one on the `PATH`.
    OnPath,
    /// This program.
    At(PathBuf),
}

impl Ffmpeg {
    /// What the environment variable `LTXC_FFMPEG` names; empty means none, missing the `PATH`.
    pub fn from_env() -> Self {
        match env::var_os("LTXC_FFMPEG") {
            None => Self::OnPath,
            Some(name) if name.is_empty() => Self::Never,
            Some(name) => Self::At(name.into()),
        }
    }

    fn program(&self) -> Option<&Path> {
        match self {
            Self::Never => None,
            Self::OnPath => Some(Path::new("ffmpeg")),
            Self::At(path) => Some(path),
        }
    }
}

/// Starts `ffmpeg` on a file that holds `what`.
pub fn open(path: &Path, options: &ReadOptions, what: &str) -> Result<Pipe, ReadError> {
    let refuse = |help| ReadError::Unsupported {
        path: path.into(),
        what: what.into(),
        help,
    };
    let Some(program) = options.ffmpeg.program() else {
        return Err(refuse(
            "convert it, or let LTXC_FFMPEG name the program ffmpeg",
        ));
    };
    let frames = options.max_frames.saturating_add(1).to_string();
    let pictures = ["-frames:v", &frames, "-f", "image2pipe", "-c:v", "ppm"];
    let started = command(program, path, options.limits, &pictures).spawn();
    let mut child = started.map_err(|_| match options.ffmpeg {
        Ffmpeg::At(_) => refuse("LTXC_FFMPEG names no program that can be started"),
        _ => refuse("convert it, or install ffmpeg, which reads it"),
    })?;
    let output = child.stdout.take().map(BufReader::new);
    let complaints = child
        .stderr
        .take()
        .map(|pipe| thread::spawn(|| listen(pipe)));
    Ok(Pipe {
        child,
        output,
        complaints,
        path: path.into(),
        limits: options.limits,
        fps: frame_rate(program, path, options.limits),
    })
}

/// `file:` keeps a name from being taken for an option or an address.
fn command(program: &Path, path: &Path, limits: Limits, output: &[&str]) -> Command {
    let mut input = OsString::from("file:");
    input.push(path);
    let mut command = Command::new(program);
    command
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-xerror"])
        .args(["-protocol_whitelist", "file,pipe"])
        .args(["-format_whitelist", FORMATS])
        .args(["-max_pixels", &most_pixels(limits).to_string()])
        .arg("-i")
        .arg(input)
        .args(["-map", "0:v:0", "-pix_fmt", "rgb24"])
        .args(output)
        .arg("pipe:1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn most_pixels(limits: Limits) -> u64 {
    let side = u64::from(limits.side);
    (side * side).min(limits.bytes / 3).min(i32::MAX as u64)
}

/// Frames per second by the header of a tiny raw video.
fn frame_rate(program: &Path, path: &Path, limits: Limits) -> Option<f64> {
    let raw = [
        "-frames:v",
        "1",
        "-s",
        "16x16",
        "-pix_fmt",
        "yuv420p",
        "-f",
        "yuv4mpegpipe",
    ];
    let mut child = command(program, path, limits, &raw)
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut header = String::new();
    let output = child.stdout.take()?;
    let read = BufReader::new(output.take(256)).read_line(&mut header);
    end(&mut child);
    read.ok()?;
    let rate = header
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix('F'))?;
    let (numerator, denominator) = rate.split_once(':')?;
    let fps = numerator.parse::<f64>().ok()? / denominator.parse::<f64>().ok()?;
    (fps.is_finite() && fps > 0.0).then_some(fps)
}

fn listen(pipe: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut pipe = pipe;
    let _ = pipe.by_ref().take(KEPT_COMPLAINTS).read_to_end(&mut kept);
    let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// A running `ffmpeg`.
pub struct Pipe {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
    complaints: Option<JoinHandle<String>>,
    path: PathBuf,
    limits: Limits,
    fps: Option<f64>,
}

impl Source for Pipe {
    fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        let Some(output) = &mut self.output else {
            return Ok(None);
        };
        if output
            .fill_buf()
            .map_err(ReadError::io(&self.path))?
            .is_empty()
        {
            self.output = None;
            return self.verdict().map(|()| None);
        }
        let size = header(output).ok_or_else(|| self.broken("ffmpeg sends no pictures"))?;
        let (width, height) = self.limits.check_frame(&self.path, size.0, size.1)?;
        let mut rgb = vec![0; width as usize * height as usize * 3];
        let read = self
            .output
            .as_mut()
            .map(|output| output.read_exact(&mut rgb));
        if !matches!(read, Some(Ok(()))) {
            self.output = None;
            self.verdict()?;
            return Err(self.broken("ffmpeg ended inside a picture"));
        }
        Ok(Some(Frame { width, height, rgb }))
    }

    fn fps(&self) -> Option<f64> {
        self.fps
    }
}

impl Pipe {
    fn broken(&self, reason: impl ToString) -> ReadError {
        ReadError::broken(&self.path, FORMAT, reason)
    }

    /// Whether it ended well; a complaint counts even when it carried on.
    fn verdict(&mut self) -> Result<(), ReadError> {
        let status = self.child.wait().map_err(ReadError::io(&self.path))?;
        let complaints = self.complaints.take().and_then(|thread| thread.join().ok());
        let complaints = complaints.unwrap_or_default();
        if let Some(line) = first_complaint(&complaints) {
            return Err(self.broken(format!("ffmpeg says: {line}")));
        }
        if !status.success() {
            return Err(self.broken(format!("ffmpeg failed ({status})")));
        }
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        end(&mut self.child);
        if let Some(thread) = self.complaints.take() {
            let _ = thread.join();
        }
    }
}

/// The first line, without the address of the part that wrote it and without the file's name.
fn first_complaint(text: &str) -> Option<String> {
    let line = text.lines().find(|line| !line.trim().is_empty())?;
    let said = match line.split_once("] ") {
        Some((part, said)) if part.starts_with('[') => said,
        _ => line,
    };
    let said = match said.rsplit_once(": ") {
        Some((name, said)) if name.starts_with("file:") => said,
        _ => said,
    };
    Some(said.trim().chars().filter(|c| !c.is_control()).collect())
}

/// Columns and rows out of the header of a binary PPM picture.
fn header(input: &mut impl BufRead) -> Option<(u64, u64)> {
    let kind = line(input)?;
    let size = line(input)?;
    let most = line(input)?;
    let (width, height) = size.split_once(' ')?;
    let size = (width.parse().ok()?, height.parse().ok()?);
    (kind == "P6" && most == "255").then_some(size)
}

fn line(input: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    input.take(HEADER_LINE).read_line(&mut line).ok()?;
    line.pop().filter(|end| *end == '\n')?;
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_lose_addresses_and_names() {
        let said = |text| first_complaint(text).unwrap();
        assert_eq!(
            said("\n[mov @ 0x55] moov atom not found\nmore"),
            "moov atom not found"
        );
        assert_eq!(said("file:a: b.mkv: Invalid data"), "Invalid data");
        assert_eq!(first_complaint(""), None);
    }

    #[test]
    fn headers_are_bounded() {
        assert_eq!(header(&mut &b"P6\n640 360\n255\nxx"[..]), Some((640, 360)));
        for bad in [
            &b"P5\n1 1\n255\n"[..],
            b"P6\n1\n255\n",
            b"P6\n1 1\n",
            &[b'6'; 99],
        ] {
            assert_eq!(header(&mut &*bad), None);
        }
    }
}
