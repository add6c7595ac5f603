//! Checks SentencePiece's compiled character map before the tokenizer library follows its links
//! unchecked.
//!
//! Layout: a little-endian `u32` with the byte length of a double-array trie, the trie's `u32`
//! units, then the replacement texts, each ended by a zero byte. A unit's links are relative to its
//! own position.

/// The map for NFKC takes 240 kB.
const MAX_BYTES: usize = 4 << 20;

struct Charsmap<'a> {
    units: Vec<u32>,
    texts: &'a str,
}

/// Accepts a map in which no input can lead outside the trie or the texts.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let map = parse(bytes)?;
    let root = *map.units.first().ok_or("the character map is empty")?;
    let mut seen = vec![false; map.units.len()];
    let mut pending = vec![offset(root)];
    while let Some(base) = pending.pop() {
        if std::mem::replace(seen.get_mut(base).ok_or(OUTSIDE)?, true) {
            continue;
        }
        for label in 1..=255 {
            pending.extend(map.follow(base, label)?);
        }
    }
    Ok(())
}

const OUTSIDE: &str = "the character map links to a place outside it";

fn parse(bytes: &[u8]) -> Result<Charsmap<'_>, String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!(
            "the character map has {} bytes, at most {MAX_BYTES} are accepted",
            bytes.len()
        ));
    }
    let (length, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or("the character map is cut off")?;
    let length = u32::from_le_bytes(*length) as usize / 4 * 4;
    let (trie, texts) = rest
        .split_at_checked(length)
        .ok_or("the character map is cut off")?;
    let units = trie
        .chunks_exact(4)
        .map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
    let texts = std::str::from_utf8(texts)
        .map_err(|error| format!("the character map's texts: {error}"))?;
    Ok(Charsmap {
        units: units.collect(),
        texts,
    })
}

impl Charsmap<'_> {
    fn unit(&self, position: usize) -> Result<u32, String> {
        self.units
            .get(position)
            .copied()
            .ok_or_else(|| OUTSIDE.to_owned())
    }

    /// The base that the byte `label` leads to from `base`, if it leads anywhere.
    fn follow(&self, base: usize, label: u32) -> Result<Option<usize>, String> {
        let position = base ^ label as usize;
        let unit = self.unit(position)?;
        if unit & (1 << 31 | 0xff) != label {
            return Ok(None);
        }
        let next = position ^ offset(unit);
        let ends_here = unit >> 8 & 1 == 1;
        let text = (self.unit(next)? & !(1 << 31)) as usize;
        if ends_here && !self.texts.is_char_boundary(text) {
            return Err("the character map points outside its texts".to_owned());
        }
        Ok(Some(next))
    }
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) as usize) << ((unit & 1 << 9) >> 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(units: &[u32], texts: &[u8]) -> Vec<u8> {
        let length = (units.len() * 4) as u32;
        let units = units.iter().flat_map(|unit| unit.to_le_bytes());
        length
            .to_le_bytes()
            .into_iter()
            .chain(units)
            .chain(texts.iter().copied())
            .collect()
    }

    /// A trie with the one entry "a", whose text starts at `text`.
    fn one_entry(text: u32) -> Vec<u32> {
        let mut units = vec![0; 512];
        units[0] = 256 << 10;
        units[256 ^ 97] = 97 | 1 << 8 | 97 << 10;
        units[256] = text;
        units
    }

    #[test]
    fn accepts_a_sound_map() {
        assert_eq!(check(&map(&one_entry(2), b"x\0b\0")), Ok(()));
    }

    #[test]
    fn refuses_links_and_texts_outside() {
        assert!(check(&map(&one_entry(9), b"x\0b\0")).is_err());
        assert!(check(&map(&one_entry(1), "ä\0".as_bytes())).is_err());
        let mut far = one_entry(0);
        far[0] = 1000 << 10;
        assert!(check(&map(&far, b"x\0")).is_err());
        far[0] = 256 << 10;
        far[256 ^ 97] = 97 | 4000 << 10;
        assert!(check(&map(&far, b"x\0")).is_err());
    }

    #[test]
    fn refuses_cut_and_empty_maps() {
        assert!(check(b"").is_err());
        assert!(check(&[0, 0, 0, 0]).is_err());
        assert!(check(&[0xff; 64]).is_err());
    }
}
