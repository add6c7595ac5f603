//! Frames side by side in one picture.

/// Puts frames of `width * height * 3` bytes next to each other, left to right, with `gap` white
/// columns between them; returns the picture, its width and its height.
///
/// What a frame of the wrong length lacks stays white.
pub fn strip(frames: &[&[u8]], width: usize, height: usize, gap: usize) -> (Vec<u8>, usize, usize) {
    let columns = (frames.len() * (width + gap)).saturating_sub(gap);
    let mut picture = vec![255; columns * height * 3];
    if columns == 0 || width == 0 {
        return (picture, columns, height);
    }
    for (index, frame) in frames.iter().enumerate() {
        let left = index * (width + gap) * 3;
        let rows = picture.chunks_exact_mut(columns * 3);
        for (target, row) in rows.zip(frame.chunks_exact(width * 3)) {
            target[left..][..width * 3].copy_from_slice(row);
        }
    }
    (picture, columns, height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_stand_side_by_side_with_a_white_gap() {
        let a = [1, 1, 1, 2, 2, 2];
        let b = [3, 3, 3, 4, 4, 4];
        let (picture, width, height) = strip(&[&a, &b], 1, 2, 1);
        assert_eq!((width, height), (3, 2));
        assert_eq!(
            picture,
            [
                1, 1, 1, 255, 255, 255, 3, 3, 3, 2, 2, 2, 255, 255, 255, 4, 4, 4
            ]
        );
    }

    #[test]
    fn no_frames_make_an_empty_picture() {
        assert_eq!(strip(&[], 4, 2, 1), (vec![], 0, 2));
    }
}
