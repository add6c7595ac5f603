//! Formats by their first bytes; names do not matter.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::ReadError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Png,
    Jpeg,
    WebP,
    Bmp,
    Gif,
    /// MP4 and MOV, whatever they hold.
    Mp4,
    Unknown,
}

/// The format of a regular file that is not empty.
pub fn sniff(path: &Path) -> Result<Format, ReadError> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(ReadError::io(path))?;
    file.take(32)
        .read_to_end(&mut head)
        .map_err(ReadError::io(path))?;
    if head.is_empty() {
        return Err(ReadError::Empty { path: path.into() });
    }
    Ok(format_of(&head))
}

fn format_of(head: &[u8]) -> Format {
    let at = |start: usize, length: usize| head.get(start..start + length).unwrap_or_default();
    match head {
        [0x89, b'P', b'N', b'G', ..] => Format::Png,
        [0xff, 0xd8, 0xff, ..] => Format::Jpeg,
        [b'G', b'I', b'F', b'8', ..] => Format::Gif,
        [b'B', b'M', ..] if at(6, 4) == [0; 4] => Format::Bmp,
        [b'R', b'I', b'F', b'F', ..] if at(8, 4) == b"WEBP" => Format::WebP,
        _ if at(4, 4) == b"ftyp" && is_picture_brand(at(8, 4)) => Format::Unknown,
        _ if is_movie_box(at(4, 4)) => Format::Mp4,
        _ => Format::Unknown,
    }
}

fn is_movie_box(kind: &[u8]) -> bool {
    let kinds: [&[u8]; 6] = [b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"];
    kinds.contains(&kind)
}

/// HEIF and AVIF pictures live in the same boxes as videos.
fn is_picture_brand(brand: &[u8]) -> bool {
    let brands: [&[u8]; 6] = [b"mif1", b"msf1", b"heic", b"heix", b"avif", b"avis"];
    brands.contains(&brand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides() {
        assert_eq!(format_of(b"\x89PNG\r\n\x1a\n"), Format::Png);
        assert_eq!(format_of(b"RIFF\0\0\0\0WEBPVP8 "), Format::WebP);
        assert_eq!(format_of(b"RIFF\0\0\0\0AVI LIST"), Format::Unknown);
        assert_eq!(format_of(b"\0\0\0\x20ftypisom"), Format::Mp4);
        assert_eq!(format_of(b"\0\0\0\x20ftypavif"), Format::Unknown);
        assert_eq!(format_of(b"BMW"), Format::Unknown);
    }
}
