//! Roles: what kind of work a principal does.

use std::fmt;

/// What kind of work a principal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Enqueues jobs, and reads, waits for, watches and cancels its own.
    Producer,
    /// Leases and settles jobs.
    Worker,
    /// Reads jobs, queues, schedules, workers and events.
    Viewer,
    /// A viewer who also acts on what there is: retries, cancels, pauses, drains.
    Operator,
    /// May do everything, also change what is set up: settings of queues, schedules.
    Admin,
    /// Besides another role: enqueues in the name of others, and all jobs count as its own.
    ActAs,
}

impl Role {
    /// All roles, as the documentation lists them.
    pub const ALL: [Self; 6] =
        [Self::Producer, Self::Worker, Self::Viewer, Self::Operator, Self::Admin, Self::ActAs];

    /// Reads the word for a role.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// The word for this role.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Worker => "worker",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::ActAs => "act-as",
        }
    }

    /// True when whoever has this role may do what `needed` may.
    pub fn includes(self, needed: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::Operator => matches!(needed, Self::Operator | Self::Viewer),
            Self::Producer | Self::Worker | Self::Viewer | Self::ActAs => self == needed,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_the_role_that_is_written_so() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        for bad in ["", "Admin", "root", "actas"] {
            assert_eq!(Role::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_operator_views_and_an_admin_does_all() {
        for role in Role::ALL {
            assert!(role.includes(role) && Role::Admin.includes(role), "{role}");
            assert_eq!(
                Role::Operator.includes(role),
                matches!(role, Role::Operator | Role::Viewer)
            );
            assert!(role == Role::Admin || !role.includes(Role::Admin), "{role}");
        }
        assert!(!Role::Viewer.includes(Role::Operator));
        assert!(!Role::ActAs.includes(Role::Producer));
    }
}
