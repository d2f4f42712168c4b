//! Filters: terms joined with AND, the part of AIP-160 that an index can serve.

use super::field::Violations;
use super::time::moment;
use crate::clock::Timestamp;

/// A filter has no more bytes than this.
const LENGTH_LIMIT: usize = 4096;

/// One comparison of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    /// What is compared, such as `labels.team`: its parts.
    pub(super) field: Vec<String>,
    /// How.
    pub(super) operator: Operator,
    /// With what.
    pub(super) value: String,
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Term {
    /// The field as it was written.
    pub(super) fn name(&self) -> String {
        self.field.join(".")
    }

    /// The value of a field that is only compared with `=`.
    pub(super) fn equal(&self) -> Result<&str, Violations> {
        if self.operator == Operator::Equal {
            Ok(&self.value)
        } else {
            Err(format!("can compare {} only with =", self.name()).into())
        }
    }

    /// The value as a moment.
    pub(super) fn time(&self) -> Result<Timestamp, Violations> {
        let time =
            self.value.parse().map_err(|_| ()).and_then(|time| moment(&time).map_err(|_| ()));
        time.map_err(|()| {
            let name = self.name();
            let why = "is not a time such as 2026-01-31T12:00:00Z";
            format!("compares {name} with {:?}, which {why}", self.value).into()
        })
    }
}

/// Reads a filter; `known` lists the fields that it may name, for the error.
pub(super) fn terms(text: &str, known: &str) -> Result<Vec<Term>, Violations> {
    if text.len() > LENGTH_LIMIT {
        return Err(format!("has {} bytes, more than {LENGTH_LIMIT}", text.len()).into());
    }
    let mut reader = Reader { rest: text, known };
    let mut terms = Vec::new();
    reader.skip_space();
    while !reader.rest.is_empty() {
        if !terms.is_empty() {
            reader.and()?;
        }
        terms.push(reader.term()?);
        reader.skip_space();
    }
    Ok(terms)
}

/// A term that names a field there is not.
pub(super) fn unknown(term: &Term, known: &str) -> Violations {
    format!("names {:?}; what can be named is {known}", term.name()).into()
}

struct Reader<'a> {
    rest: &'a str,
    known: &'a str,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes `token` if it comes next.
    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn and(&mut self) -> Result<(), Violations> {
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        if word != "AND" {
            return Err(
                format!("has {word:?} where AND is expected: terms are joined with it").into()
            );
        }
        self.rest = rest;
        self.skip_space();
        Ok(())
    }

    fn term(&mut self) -> Result<Term, Violations> {
        for (mark, what) in [("(", "parentheses"), ("-", "negation"), ("NOT ", "negation")] {
            if self.rest.starts_with(mark) {
                return Err(format!("can't have {what}: it is terms joined with AND").into());
            }
        }
        let field = self.field()?;
        self.skip_space();
        let operator = self.operator(&field)?;
        self.skip_space();
        let value = self.value(&field)?;
        Ok(Term { field, operator, value })
    }

    fn field(&mut self) -> Result<Vec<String>, Violations> {
        let mut parts = Vec::new();
        loop {
            let part = match self.quoted()? {
                Some(part) => part,
                None => self.word(|it| it.is_alphanumeric() || matches!(it, '_' | '-' | '/')),
            };
            if part.is_empty() {
                let next = self.rest.chars().next();
                let next = next.map_or("its end".to_owned(), |it| format!("{it:?}"));
                let known = self.known;
                return Err(format!("has {next} where one of {known} is expected").into());
            }
            parts.push(part);
            if !self.take(".") {
                return Ok(parts);
            }
        }
    }

    fn operator(&mut self, field: &[String]) -> Result<Operator, Violations> {
        // The longer one of two that begin alike comes first.
        let operators = [
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("=", Operator::Equal),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let found = operators.into_iter().find(|(token, _)| self.take(token));
        found.map(|(_, operator)| operator).ok_or_else(|| {
            let field = field.join(".");
            format!("needs one of = < <= > >= after {field}").into()
        })
    }

    fn value(&mut self, field: &[String]) -> Result<String, Violations> {
        let value = match self.quoted()? {
            Some(value) => return Ok(value),
            None => self.word(|it| !it.is_whitespace() && !matches!(it, '"' | '\'' | '(' | ')')),
        };
        if value.is_empty() {
            return Err(format!("needs a value after {}", field.join(".")).into());
        }
        Ok(value)
    }

    fn word(&mut self, is_part: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|it| !is_part(it)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    /// Text in quotes, with a backslash before what would end it.
    fn quoted(&mut self) -> Result<Option<String>, Violations> {
        let Some(quote) = self.rest.chars().next().filter(|it| matches!(it, '"' | '\'')) else {
            return Ok(None);
        };
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => text.extend(characters.next().map(|(_, it)| it)),
                it if it == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(Some(text));
                }
                it => text.push(it),
            }
        }
        Err(format!("has a quote {quote} that is not closed").into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn term(field: &[&str], operator: Operator, value: &str) -> Term {
        let field = field.iter().map(|part| (*part).to_owned()).collect();
        Term { field, operator, value: value.to_owned() }
    }

    fn why(text: &str) -> String {
        terms(text, "state, type").unwrap_err().to_string()
    }

    #[test]
    fn terms_are_joined_with_and() {
        let text = r#" state=DEAD AND labels."my key" = "a \"b\" c" AND create_time>=2026-01-31T12:00:00Z AND last_failure.code = 'X' "#;
        let expected = [
            term(&["state"], Operator::Equal, "DEAD"),
            term(&["labels", "my key"], Operator::Equal, "a \"b\" c"),
            term(&["create_time"], Operator::GreaterOrEqual, "2026-01-31T12:00:00Z"),
            term(&["last_failure", "code"], Operator::Equal, "X"),
        ];
        assert_eq!(terms(text, ""), Ok(expected.to_vec()));
        assert_eq!(terms("  ", ""), Ok(Vec::new()));
        assert_eq!(
            terms("labels.a=\"\"", ""),
            Ok(vec![term(&["labels", "a"], Operator::Equal, "")])
        );
    }

    #[test]
    fn what_can_not_be_read_is_said() {
        let table = [
            ("state=DEAD OR state=READY", "\"OR\" where AND is expected"),
            ("state=DEAD state=READY", "\"state=READY\" where AND is expected"),
            ("state=DEAD AND", "its end where one of state, type is expected"),
            ("NOT state=DEAD", "negation"),
            ("-state=DEAD", "negation"),
            ("(state=DEAD)", "parentheses"),
            ("state", "needs one of = < <= > >= after state"),
            ("state!=DEAD", "needs one of = < <= > >= after state"),
            ("state:DEAD", "needs one of = < <= > >= after state"),
            ("state=", "needs a value after state"),
            ("=DEAD", "'=' where one of state, type is expected"),
            ("labels.=x", "'=' where one of state, type is expected"),
            ("state=\"DEAD", "a quote \" that is not closed"),
        ];
        for (text, expected) in table {
            assert!(why(text).contains(expected), "{text}: {}", why(text));
        }
        assert!(why(&"x".repeat(5000)).contains("more than 4096"));
    }

    #[test]
    fn times_are_read_with_their_offset() {
        let time = |value: &str| term(&["create_time"], Operator::Less, value).time();
        assert_eq!(time("1970-01-01T02:00:01+02:00"), Ok(Timestamp::from_millis(1000)));
        assert!(time("yesterday").unwrap_err().to_string().contains("is not a time such as"));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in ".{0,64}") {
            let _read = terms(&text, "state");
        }

        #[test]
        fn a_quoted_value_comes_back(value in ".{0,32}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let read = terms(&format!("type=\"{quoted}\""), "").unwrap();
            prop_assert_eq!(&read[0].value, &value);
        }
    }
}
