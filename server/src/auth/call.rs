//! The table of calls: which role each one needs.

use super::role::Role;

/// Which role a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The role for jobs of any owner, or for what is no job.
    pub any: Role,
    /// The role that is enough for jobs of the caller's own.
    pub own: Option<Role>,
    /// The call changes what operators and administrators answer for, so it is written down.
    pub is_audited: bool,
}

macro_rules! calls {
    ($($service:literal { $($call:ident: $any:ident $(/ $own:ident)? $(, $audited:ident)?;)+ })+) => {
        /// A call of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Call {
            $($(
                #[doc = concat!("`", $service, "/", stringify!($call), "`.")]
                $call,
            )+)+
        }

        impl Call {
            /// All calls.
            pub const ALL: &'static [Self] = &[$($(Self::$call,)+)+];

            /// The call at this path of a request, if there is a rule for it.
            pub fn at(path: &str) -> Option<Self> {
                match path {
                    $($(concat!("/", $service, "/", stringify!($call)) => Some(Self::$call),)+)+
                    _ => None,
                }
            }

            /// The path of its requests.
            pub fn path(self) -> &'static str {
                match self {
                    $($(Self::$call => concat!("/", $service, "/", stringify!($call)),)+)+
                }
            }

            /// Which role it needs.
            pub fn rule(self) -> Rule {
                match self {
                    $($(Self::$call => calls!(@rule $any $(/ $own)? $(, $audited)?),)+)+
                }
            }
        }
    };
    (@rule $any:ident) => {
        Rule { any: Role::$any, own: None, is_audited: false }
    };
    (@rule $any:ident, audited) => {
        Rule { any: Role::$any, own: None, is_audited: true }
    };
    (@rule $any:ident / $own:ident) => {
        Rule { any: Role::$any, own: Some(Role::$own), is_audited: false }
    };
    (@rule $any:ident / $own:ident, audited) => {
        Rule { any: Role::$any, own: Some(Role::$own), is_audited: true }
    };
}

calls! {
    // A second role is enough for jobs of the caller's own.
    "lessor.v1.JobBroker" {
        Enqueue: Producer;
        BatchEnqueue: Producer;
        GetJob: Viewer / Producer;
        WaitJob: Viewer / Producer;
        CancelJob: Operator / Producer, audited;
        Lease: Worker;
        Ack: Worker;
        Nack: Worker;
        ExtendLease: Worker;
        BatchSettle: Worker;
        Work: Worker;
        WatchEvents: Viewer / Producer;
    }
    "lessor.v1.JobBrokerAdmin" {
        ListJobs: Viewer;
        UpdateJob: Operator, audited;
        RetryJob: Operator, audited;
        PromoteJob: Operator, audited;
        DeleteJob: Operator, audited;
        RevokeLease: Operator, audited;
        ExplainJob: Viewer;
        BulkJobs: Operator, audited;
        ListQueues: Viewer;
        GetQueue: Viewer;
        UpdateQueue: Admin, audited;
        PauseQueue: Operator, audited;
        ResumeQueue: Operator, audited;
        DeleteQueue: Admin, audited;
        GetQueueStats: Viewer;
        PurgeJobs: Operator, audited;
        CreateSchedule: Admin, audited;
        GetSchedule: Viewer;
        ListSchedules: Viewer;
        UpdateSchedule: Admin, audited;
        DeleteSchedule: Admin, audited;
        PauseSchedule: Operator, audited;
        ResumeSchedule: Operator, audited;
        TriggerSchedule: Operator, audited;
        ListWorkers: Viewer;
        DrainWorker: Operator, audited;
        GetStoreStatus: Viewer;
    }
    "lessor.v1.TestClock" {
        AdvanceClock: Admin, audited;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_call_of_the_protocol_has_a_rule_and_every_rule_a_call() {
        let set = FileDescriptorSet::decode(lessor_proto::DESCRIPTOR_SET).unwrap();
        let mut protocol = BTreeSet::new();
        for file in set.file.iter().filter(|file| file.package() == "lessor.v1") {
            for service in &file.service {
                for method in &service.method {
                    protocol.insert(format!("/lessor.v1.{}/{}", service.name(), method.name()));
                }
            }
        }
        let ruled: BTreeSet<String> = Call::ALL.iter().map(|call| call.path().to_owned()).collect();
        assert_eq!(ruled, protocol);
        for call in Call::ALL {
            assert_eq!(Call::at(call.path()), Some(*call));
        }
        assert_eq!(Call::at("/lessor.v1.JobBroker/Nope"), None);
    }

    #[test]
    fn what_only_reads_is_for_viewers_and_what_changes_is_written_down() {
        let admin = |call: &&Call| call.path().contains("Admin/");
        for call in Call::ALL.iter().filter(admin) {
            let method = call.path().rsplit('/').next().unwrap();
            let reads = ["List", "Get", "Explain"].iter().any(|verb| method.starts_with(verb));
            let rule = call.rule();
            assert_eq!(rule.any == Role::Viewer, reads, "{call:?}");
            assert_eq!(rule.is_audited, !reads, "{call:?}");
        }
    }
}
