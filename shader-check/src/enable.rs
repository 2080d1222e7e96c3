//! Finds `enable subgroups` among the directives of a shader.

use std::borrow::Cow;
use std::ops::Range;

/// The shader with `subgroups` overwritten by spaces where it is enabled, so that every place stays
/// where it was; and whether it is enabled.
pub fn without_subgroups(code: &str) -> (Cow<'_, str>, bool) {
    let mut blanks: Vec<Range<usize>> = Vec::new();
    let mut tokens = Tokens { code, at: 0 };
    // Directives come before everything else.
    while let Some(word) = tokens.next() {
        if !matches!(&code[word.clone()], "enable" | "requires" | "diagnostic") {
            break;
        }
        let is_enable = &code[word.clone()] == "enable";
        let mut end = None;
        let mut names: Vec<(Range<usize>, Option<Range<usize>>)> = Vec::new();
        for token in tokens.by_ref() {
            match &code[token.clone()] {
                ";" => {
                    end = Some(token);
                    break;
                }
                "," => {
                    if let Some((_, comma)) = names.last_mut() {
                        *comma = Some(token);
                    }
                }
                _ => names.push((token, None)),
            }
        }
        // What lacks its semicolon or a comma is the parser's to refuse.
        let Some(end) = end else { break };
        let has_commas = names.iter().rev().skip(1).all(|(_, comma)| comma.is_some());
        if !has_commas {
            break;
        }
        let (ours, others): (Vec<_>, Vec<_>) = names
            .into_iter()
            .partition(|(name, _)| &code[name.clone()] == "subgroups");
        if !is_enable || ours.is_empty() {
            continue;
        }
        if others.is_empty() {
            blanks.extend([word, end]);
        }
        for (name, comma) in ours {
            blanks.push(name);
            blanks.extend(comma);
        }
    }
    if blanks.is_empty() {
        return (Cow::Borrowed(code), false);
    }
    let mut text = code.to_string();
    for range in blanks {
        text.replace_range(range.clone(), &" ".repeat(range.len()));
    }
    (Cow::Owned(text), true)
}

/// The places of words and of single other characters, without comments and white space.
struct Tokens<'a> {
    code: &'a str,
    at: usize,
}

impl Iterator for Tokens<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        self.skip_blanks();
        let rest = &self.code[self.at..];
        let first = rest.chars().next()?;
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let token = self.at..self.at + length;
        self.at = token.end;
        Some(token)
    }
}

impl Tokens<'_> {
    /// Goes past white space and comments; block comments nest.
    fn skip_blanks(&mut self) {
        loop {
            let rest = &self.code[self.at..];
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                self.skip_block();
            } else {
                let trimmed = rest.trim_start();
                if trimmed.len() == rest.len() {
                    return;
                }
                self.at = self.code.len() - trimmed.len();
            }
        }
    }

    fn skip_block(&mut self) {
        let bytes = self.code.as_bytes();
        let mut depth = 0;
        while self.at < bytes.len() {
            match bytes.get(self.at..self.at + 2) {
                Some(b"/*") => depth += 1,
                Some(b"*/") => depth -= 1,
                _ => {
                    self.at += 1;
                    continue;
                }
            }
            self.at += 2;
            if depth == 0 {
                return;
            }
        }
        self.at = bytes.len();
    }
}
