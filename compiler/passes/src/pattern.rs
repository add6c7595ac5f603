//! Names as recipes write them: `*` stands for any run of characters.

/// Whether the whole text is what the pattern says.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, found) in [
            ("proj_out", "proj_out", true),
            ("proj_out", "proj_out.bias", false),
            ("*.wo.weight", "encoder.block.3.wo.weight", true),
            ("*.wo.weight", "encoder.wo.weights", false),
            ("blocks.*.x1", "blocks.11.x1", true),
            ("a*b*a", "aba", true),
            ("a*b*a", "ab", false),
            ("*", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), found, "{pattern} {text}");
        }
    }
}
