//! Whether servers are fit to keep jobs, by what `INFO` says of them: it is allowed where `CONFIG`
//! is not.

use std::collections::{BTreeSet, HashMap};

use redis::Value;

use super::reply;
use crate::store::{Error, Result};

/// The oldest version that has all that the scripts use.
const OLDEST: (u32, u32) = (6, 2);

/// What `INFO` said; in a cluster of each node.
pub(super) struct Fitness {
    nodes: Vec<HashMap<String, String>>,
}

impl Fitness {
    pub(super) fn read(info: &Value) -> Self {
        Self { nodes: reply::texts(info).iter().map(|text| fields(text)).collect() }
    }

    /// Of the first server that tells it.
    pub(super) fn version(&self) -> Result<&str> {
        let told = self.nodes.iter().find_map(|node| node.get("redis_version"));
        told.map(String::as_str)
            .ok_or_else(|| Error::Unusable("the server tells no version".into()))
    }

    /// Refuses servers that are too old or may evict keys.
    pub(super) fn require(&self, allow_eviction: bool) -> Result<()> {
        let version = self.version()?;
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        if found < OLDEST {
            return Err(Error::Unusable(format!("Redis {version} is too old; 6.2 is the oldest")));
        }
        match self.evicting() {
            Some(policy) if !allow_eviction => Err(Error::Unusable(format!(
                "maxmemory-policy is {policy}, so Redis may evict jobs; set it to noeviction, \
                 or allow eviction explicitly"
            ))),
            _ => Ok(()),
        }
    }

    /// What an operator should know.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut found = BTreeSet::new();
        if let Some(policy) = self.evicting() {
            found.insert(format!("maxmemory-policy is {policy}: jobs may be evicted"));
        }
        for node in &self.nodes {
            found.extend(warnings(node).into_iter().map(str::to_owned));
            found.extend(fullness(node));
        }
        found.into_iter().collect()
    }

    /// A policy that may drop jobs without a word.
    fn evicting(&self) -> Option<&str> {
        let mut policies = self.nodes.iter().filter_map(|node| node.get("maxmemory_policy"));
        policies.find(|policy| *policy != "noeviction").map(String::as_str)
    }
}

fn warnings(node: &HashMap<String, String>) -> Vec<&'static str> {
    let says = |field: &str| node.get(field).map(String::as_str);
    let mut found = Vec::new();
    if says("maxmemory_policy").is_none() {
        found.push("maxmemory-policy is unknown; it must be noeviction");
    }
    if says("aof_enabled") == Some("0") {
        found.push("appendonly is no: a crash of Redis loses what came after its last snapshot");
    }
    // Told only where min-replicas-to-write is set.
    let guarded = says("min_slaves_good_slaves").is_some();
    if says("connected_slaves").is_some_and(|replicas| replicas != "0") && !guarded {
        found.push(
            "min-replicas-to-write is 0: a server that was cut off from its replicas takes writes \
             that a failover throws away",
        );
    }
    found
}

/// A server that has little memory left.
fn fullness(node: &HashMap<String, String>) -> Option<String> {
    let bytes = |field: &str| node.get(field)?.parse::<u64>().ok();
    let most = bytes("maxmemory").filter(|most| *most > 0)?;
    match bytes("used_memory")?.saturating_mul(100) / most {
        100.. => Some("maxmemory is reached: no job is taken until there is room".to_owned()),
        percent @ 90.. => Some(format!("{percent}% of maxmemory is used")),
        _ => None,
    }
}

fn fields(info: &str) -> HashMap<String, String> {
    let pairs = info.lines().filter_map(|line| line.trim().split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "# Server\r\nredis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\n\
                         aof_enabled:1\r\nconnected_slaves:0\r\n";

    fn of(info: &str) -> Fitness {
        Fitness::read(&Value::BulkString(info.into()))
    }

    #[test]
    fn a_sound_server_is_taken_without_a_warning() {
        let fitness = of(SOUND);
        assert!(fitness.require(false).is_ok());
        assert_eq!(fitness.version().ok(), Some("7.0.15"));
        assert_eq!(fitness.warnings(), Vec::<String>::new());
    }

    #[test]
    fn an_old_server_is_refused() {
        for version in ["6.0.16", "5.0.14", "strange"] {
            assert!(of(&SOUND.replace("7.0.15", version)).require(true).is_err(), "{version}");
        }
        assert!(of(&SOUND.replace("7.0.15", "6.2.0")).require(false).is_ok());
        assert!(of("").require(true).is_err());
    }

    #[test]
    fn a_server_that_may_evict_is_refused_or_warned_of() {
        let fitness = of(&SOUND.replace("noeviction", "volatile-lru"));
        assert!(fitness.require(false).is_err());
        assert!(fitness.require(true).is_ok());
        assert!(fitness.warnings()[0].contains("volatile-lru"));
        let silent = of(&SOUND.replace("maxmemory_policy", "other"));
        assert!(silent.require(false).is_ok());
        assert!(silent.warnings()[0].contains("unknown"));
    }

    #[test]
    fn a_server_with_little_memory_left_is_warned_of() {
        let with = |used: &str, most: &str| {
            of(&format!("{SOUND}used_memory:{used}\r\nmaxmemory:{most}\r\n")).warnings()
        };
        assert_eq!(with("899", "1000"), Vec::<String>::new());
        assert_eq!(with("899", "0"), Vec::<String>::new());
        assert_eq!(with("950", "1000"), ["95% of maxmemory is used"]);
        assert!(with("1000", "1000")[0].contains("maxmemory is reached"));
    }

    #[test]
    fn what_a_crash_or_a_failover_may_lose_is_warned_of() {
        let forgetful = of(&SOUND.replace("aof_enabled:1", "aof_enabled:0"));
        assert!(forgetful.warnings()[0].contains("appendonly"));
        let copied = SOUND.replace("connected_slaves:0", "connected_slaves:1");
        assert!(of(&copied).warnings()[0].contains("min-replicas-to-write"));
        let guarded = format!("{copied}min_slaves_good_slaves:1\r\n");
        assert!(of(&guarded).warnings().is_empty());
    }

    #[test]
    fn one_node_that_is_unfit_is_enough() {
        let node = |text: &str| (Value::BulkString(b"node".into()), Value::BulkString(text.into()));
        let unfit = SOUND.replace("noeviction", "allkeys-lru");
        let fitness = Fitness::read(&Value::Map(vec![node(SOUND), node(&unfit)]));
        assert!(fitness.require(false).is_err());
    }
}
