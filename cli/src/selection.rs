//! Which jobs of a queue: a filter in the broker's words, or flags for its common terms.

use clap::Args;
use lessor::JobState;

use crate::input;

#[derive(Args)]
#[group(id = "selection", multiple = true)]
#[expect(clippy::doc_markdown, reason = "a help text is no Markdown")]
pub(crate) struct Selection {
    /// Terms joined with AND, such as 'state=DEAD AND last_failure.code=HTTP_503'.
    ///
    /// There are state, type, labels.KEY, owner, create_time, end_time and last_failure.code. Times
    /// also take <, <=, > and >=.
    #[arg(long, value_name = "TERMS")]
    filter: Option<String>,

    /// Only jobs in this state, such as dead.
    #[arg(long, value_name = "STATE", value_parser = input::parse_state)]
    state: Option<JobState>,

    /// Only jobs of this type.
    #[arg(long = "type", value_name = "NAME")]
    job_type: Option<String>,

    /// Only jobs with this label; may be given many times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = input::parse_label)]
    labels: Vec<(String, String)>,

    /// Only jobs of this owner.
    #[arg(long, value_name = "SUBJECT")]
    owner: Option<String>,
}

impl Selection {
    /// All of it in one filter; empty when nothing was asked for.
    pub(crate) fn filter(&self) -> String {
        let state = self.state.map(|state| state.as_str_name().replace("STATE_", "state="));
        let job_type = self.job_type.as_deref().map(|name| format!("type={}", quote(name)));
        let owner = self.owner.as_deref().map(|name| format!("owner={}", quote(name)));
        let labels = self.labels.iter().map(|(key, value)| {
            let plain =
                key.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_' || it == b'-');
            let key = if plain { key.clone() } else { quote(key) };
            format!("labels.{key}={}", quote(value))
        });
        let filter = self.filter.clone().filter(|it| !it.trim().is_empty());
        let terms = filter.into_iter().chain(state).chain(job_type).chain(owner).chain(labels);
        terms.collect::<Vec<_>>().join(" AND ")
    }

    /// The state, when nothing else was asked for.
    pub(crate) fn only_state(&self) -> Option<JobState> {
        let others = [&self.filter, &self.job_type, &self.owner];
        self.state.filter(|_| self.labels.is_empty() && others.iter().all(|it| it.is_none()))
    }
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Selection {
        Selection { filter: None, state: None, job_type: None, labels: Vec::new(), owner: None }
    }

    fn label(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn flags_become_terms() {
        let selection = Selection {
            filter: Some("end_time>2026-01-01T00:00:00Z".to_owned()),
            state: Some(JobState::Dead),
            job_type: Some("welcome".to_owned()),
            labels: vec![label("team", "a \"b\\"), label("app/name", "x")],
            owner: Some("ann".to_owned()),
        };
        let terms = [
            "end_time>2026-01-01T00:00:00Z",
            "state=DEAD",
            r#"type="welcome""#,
            r#"owner="ann""#,
            r#"labels.team="a \"b\\""#,
            r#"labels."app/name"="x""#,
        ];
        assert_eq!(selection.filter(), terms.join(" AND "));
        assert_eq!(nothing().filter(), "");
    }

    #[test]
    fn a_state_alone_is_known() {
        let state = Some(JobState::Dead);
        assert_eq!(Selection { state, ..nothing() }.only_state(), state);
        let owner = Some("ann".to_owned());
        assert_eq!(Selection { state, owner, ..nothing() }.only_state(), None);
        assert_eq!(
            Selection { state, labels: vec![label("a", "b")], ..nothing() }.only_state(),
            None
        );
    }
}
