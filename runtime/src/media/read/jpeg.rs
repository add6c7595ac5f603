//! Whether a JPEG file is all there.

const END_OF_IMAGE: u8 = 0xd9;

/// Whether the end marker stands behind the last scan; thumbnails in metadata do not count.
pub fn is_complete(data: &[u8]) -> bool {
    let mut rest = data.get(2..).unwrap_or_default();
    while let Some((kind, after)) = marker(rest) {
        if kind == END_OF_IMAGE {
            return true;
        }
        let Some(body) = skip_segment(kind, after) else {
            return false;
        };
        rest = body;
    }
    false
}

/// The next marker's code and what follows; stuffed zeros and fill bytes are none.
fn marker(data: &[u8]) -> Option<(u8, &[u8])> {
    let found = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff);
    let at = data.windows(2).position(found)?;
    Some((data[at + 1], &data[at + 2..]))
}

fn skip_segment(kind: u8, data: &[u8]) -> Option<&[u8]> {
    let alone = matches!(kind, 0x01 | 0xd0..=0xd8);
    if alone {
        return Some(data);
    }
    let length = data.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))?;
    data.get(usize::from(length)..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_inside_a_segment_is_none() {
        let head = b"\xff\xd8\xff\xe1\0\x06\xff\xd9ab\xff\xda\0\x02\x12\xff\0\x34";
        assert!(!is_complete(head));
        assert!(is_complete(&[head.as_slice(), b"\xff\xd9"].concat()));
    }
}
