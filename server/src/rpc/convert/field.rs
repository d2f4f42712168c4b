//! What is wrong with a request, field by field.
//!
//! A converter names fields relative to the message it reads; whoever calls it puts the path in
//! front. So a path costs nothing until something is wrong.

use std::fmt;

use crate::job::id::ParseError;

/// What a set field answers that this version would have to ignore.
pub(in crate::rpc) const NOT_BUILT: &str = "is not built yet and must be unset";

/// Violations told to the caller at most: they travel in a header, and in batches a thousand times.
const TOLD: usize = 10;

/// Why a request was refused: never empty when it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::rpc) struct Violations {
    list: Vec<Violation>,
    more: usize,
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rpc) struct Violation {
    /// Path of the field, such as `requests[3].retry_policy.jitter`; empty for the whole request.
    pub(in crate::rpc) field: String,
    /// What is wrong, as the rest of a sentence that begins with the field.
    pub(in crate::rpc) why: String,
    /// Which rule it breaks.
    pub(in crate::rpc) rule: Rule,
}

/// The kinds of rules that have a reason of their own on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rpc) enum Rule {
    /// Form, range or presence.
    Field,
    /// Size of user data, in bytes.
    Size {
        /// The most that is taken.
        limit: usize,
        /// What came.
        actual: usize,
    },
    /// Form of a lease token.
    LeaseToken,
}

impl Violation {
    fn new(why: impl Into<String>, rule: Rule) -> Self {
        Self { field: String::new(), why: why.into(), rule }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.field.is_empty() { "the request" } else { &self.field };
        write!(f, "{field} {}", self.why)
    }
}

impl Violations {
    /// User data over its limit.
    pub(in crate::rpc) fn too_large(limit: usize, actual: usize) -> Self {
        let why = format!("has {actual} bytes, more than {limit}");
        Self { list: vec![Violation::new(why, Rule::Size { limit, actual })], more: 0 }
    }

    /// A lease token that is none.
    pub(in crate::rpc) fn bad_lease_token(why: &ParseError) -> Self {
        Self { list: vec![Violation::new(why.to_string(), Rule::LeaseToken)], more: 0 }
    }

    /// Notes that `field` is wrong.
    pub(in crate::rpc) fn add(&mut self, field: impl Into<String>, why: impl Into<String>) {
        let field = field.into();
        self.push(Violation { field, ..Violation::new(why, Rule::Field) });
    }

    /// Notes that `field` is set but not built, when it is set.
    pub(in crate::rpc) fn not_built(&mut self, field: &str, is_set: bool) {
        if is_set {
            self.add(field, NOT_BUILT);
        }
    }

    /// The value of `field`; when it is refused, `None` and a note of why.
    pub(in crate::rpc) fn at<T>(
        &mut self,
        field: &str,
        result: Result<T, impl Into<Self>>,
    ) -> Option<T> {
        self.at_path(|| field.to_owned(), result)
    }

    /// As [`at`](Self::at), for entry `index` of the list `field`.
    pub(in crate::rpc) fn at_index<T>(
        &mut self,
        field: &str,
        index: usize,
        result: Result<T, impl Into<Self>>,
    ) -> Option<T> {
        self.at_path(|| format!("{field}[{index}]"), result)
    }

    fn at_path<T>(
        &mut self,
        path: impl FnOnce() -> String,
        result: Result<T, impl Into<Self>>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.absorb(&path(), wrong.into());
                None
            }
        }
    }

    /// Takes over what is wrong inside `field`.
    pub(in crate::rpc) fn absorb(&mut self, field: &str, inner: Self) {
        self.more += inner.more;
        for violation in inner.list {
            let inner = &violation.field;
            let joined = field.is_empty() || inner.is_empty() || inner.starts_with('[');
            let joint = if joined { "" } else { "." };
            let field = format!("{field}{joint}{}", violation.field);
            self.push(Violation { field, ..violation });
        }
    }

    /// `value` if nothing was wrong. A refused part that left a `None` behind was noted.
    pub(in crate::rpc) fn finish<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.list.is_empty() => Ok(value),
            _ => Err(self),
        }
    }

    /// The violations that are told, in the order of the fields.
    pub(in crate::rpc) fn list(&self) -> &[Violation] {
        &self.list
    }

    /// The rule that the first violation breaks: it gives the whole refusal its reason.
    pub(in crate::rpc) fn rule(&self) -> Rule {
        self.list.first().map_or(Rule::Field, |first| first.rule)
    }

    fn push(&mut self, violation: Violation) {
        if self.list.len() < TOLD {
            self.list.push(violation);
        } else {
            self.more += 1;
        }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list.first() {
            Some(first) => write!(f, "{first}")?,
            None => f.write_str("the request is invalid")?,
        }
        match self.list.len().saturating_sub(1) + self.more {
            0 => Ok(()),
            1 => f.write_str(" (and 1 more violation)"),
            more => write!(f, " (and {more} more violations)"),
        }
    }
}

impl From<ParseError> for Violations {
    fn from(error: ParseError) -> Self {
        Self::from(error.to_string())
    }
}

impl From<String> for Violations {
    fn from(why: String) -> Self {
        Self { list: vec![Violation::new(why, Rule::Field)], more: 0 }
    }
}

impl From<&str> for Violations {
    fn from(why: &str) -> Self {
        Self::from(why.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(wrong: &Violations) -> Vec<&str> {
        wrong.list().iter().map(|one| one.field.as_str()).collect()
    }

    #[test]
    fn paths_grow_from_the_inside_out() {
        let mut list = Violations::default();
        list.at_index("", 2, Err::<(), _>("must not be negative"));
        let mut policy = Violations::default();
        policy.at("backoff_list", Err::<(), _>(list));
        policy.add("jitter", "must be from 0 to 1");
        let mut request = Violations::default();
        request.at("retry_policy", Err::<(), _>(policy));
        request.at("payload", Err::<(), _>(Violations::too_large(1, 2)));
        let mut batch = Violations::default();
        batch.at_index("requests", 3, Err::<(), _>(request));
        let told = [
            "requests[3].retry_policy.backoff_list[2]",
            "requests[3].retry_policy.jitter",
            "requests[3].payload",
        ];
        assert_eq!(paths(&batch), told);
        assert_eq!(
            batch.to_string(),
            "requests[3].retry_policy.backoff_list[2] must not be negative (and 2 more violations)"
        );
    }

    #[test]
    fn a_flood_of_violations_is_counted_but_not_told() {
        let mut wrong = Violations::default();
        for index in 0..1000 {
            wrong.at_index("requests", index, Err::<(), _>("is bad"));
        }
        assert_eq!(wrong.list().len(), TOLD);
        assert_eq!(wrong.to_string(), "requests[0] is bad (and 999 more violations)");
    }
}
