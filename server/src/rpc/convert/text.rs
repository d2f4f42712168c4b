//! Free text: bounded, and fit for logs and terminals.

/// Checks text of at most `limit` bytes without control characters; it may be empty.
pub(super) fn printable(text: &str, limit: usize) -> Result<(), String> {
    if text.len() > limit {
        return Err(format!("has {} bytes, more than {limit}", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".to_owned());
    }
    Ok(())
}

/// Checks a word of A-Z, 0-9 and `_`, at most 64 bytes, that begins with a letter.
pub(super) fn upper_snake(text: &str) -> Result<(), &'static str> {
    let fits = (1..=64).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if fits {
        Ok(())
    } else {
        Err("must be 1 to 64 characters of A-Z 0-9 _ and begin with a letter")
    }
}

/// `text`, cut at a character boundary to at most `limit` bytes.
pub(super) fn truncated(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation_never_splits_a_character() {
        assert_eq!(truncated("aé".to_owned(), 2), "a");
        assert_eq!(truncated("aé".to_owned(), 3), "aé");
        assert_eq!(truncated(String::new(), 0), "");
    }

    #[test]
    fn words_are_upper_snake() {
        for good in ["A", "HTTP_429", "NO_HANDLER"] {
            assert!(upper_snake(good).is_ok(), "{good}");
        }
        for bad in ["", "http", "4XX", "_A", "A-B", "A B", &"A".repeat(65)] {
            assert!(upper_snake(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn control_characters_are_refused() {
        assert!(printable("Grüße, 世界", 64).is_ok());
        for bad in ["a\nb", "\u{0}", "\u{7f}", "\u{85}"] {
            assert!(printable(bad, 64).is_err(), "{bad:?}");
        }
    }
}
