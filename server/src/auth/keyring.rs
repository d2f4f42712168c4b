//! The file of identities: which tokens and certificates are whose, and what they may do.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use super::limits::Limits;
use super::principal::{Grant, NAME_LIMIT, Principal};
use super::role::Role;
use super::secret::Digest;
use crate::broker::lease::QueuePattern;

/// Live tokens of one identity: the present one, and the next or the last one while they change.
const MOST_TOKENS: usize = 2;

/// What names in certificates begin with, by their kind.
const CERTIFICATE_NAMES: [&str; 3] = ["uri:", "dns:", "cn:"];

/// All identities that there are, and how each is known.
#[derive(Debug, Default)]
pub struct Keyring {
    tokens: HashMap<[u8; 8], Vec<(Digest, Arc<Principal>)>>,
    certificates: HashMap<String, Arc<Principal>>,
    subjects: HashMap<String, Arc<Principal>>,
    count: usize,
}

/// Why a file of identities is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not TOML, or has a key that there is not.
    #[error("{}", .0.message())]
    Malformed(#[from] toml::de::Error),
    /// An identity makes no sense.
    #[error("identity {name:?} {why}")]
    Identity {
        /// Its name.
        name: String,
        /// What is wrong, as the rest of a sentence that begins with the identity.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    identity: Vec<RawIdentity>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIdentity {
    name: String,
    #[serde(default)]
    tokens: Vec<String>,
    #[serde(default)]
    certificates: Vec<String>,
    #[serde(default)]
    subjects: Vec<String>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    queues: Vec<String>,
    #[serde(default)]
    own_jobs: bool,
    #[serde(default)]
    grants: Vec<RawGrant>,
}

/// Roles for queues, as they are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGrant {
    #[serde(default)]
    pub(super) roles: Vec<String>,
    #[serde(default)]
    pub(super) queues: Vec<String>,
    #[serde(default)]
    pub(super) own_jobs: bool,
}

impl RawGrant {
    /// Reads what is granted; the error is the rest of a sentence.
    pub(super) fn read(&self) -> Result<Grant, String> {
        let role = |word: &String| {
            let known = Role::ALL.map(Role::as_str).join(", ");
            Role::parse(word).ok_or_else(|| format!("has the role {word:?}; there are {known}"))
        };
        let pattern = |text: &String| {
            let wrong = || format!("has the queue {text:?}, no name, prefix like \"mail-*\", or *");
            QueuePattern::parse(text).ok_or_else(wrong)
        };
        let roles = self.roles.iter().map(role).collect::<Result<_, _>>()?;
        let queues = self.queues.iter().map(pattern).collect::<Result<_, _>>()?;
        Grant::new(roles, queues, self.own_jobs).map_err(|why| why.to_string())
    }
}

/// Reads the name of a principal.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    let is_fit = !name.is_empty() && name.len() <= NAME_LIMIT && !name.contains(char::is_control);
    if is_fit { Ok(()) } else { Err("needs a name of 1 to 255 bytes without control characters") }
}

impl Keyring {
    /// Reads a file of identities.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let file: RawFile = toml::from_str(text)?;
        let mut ring = Self::default();
        let mut names = BTreeSet::new();
        for identity in file.identity {
            let refuse = |why: String| Error::Identity { name: identity.name.clone(), why };
            check_name(&identity.name).map_err(|why| refuse(why.to_owned()))?;
            if !names.insert(identity.name.clone()) {
                return Err(refuse("stands twice".to_owned()));
            }
            ring.add(&identity).map_err(refuse)?;
        }
        Ok(ring)
    }

    fn add(&mut self, identity: &RawIdentity) -> Result<(), String> {
        let short = RawGrant {
            roles: identity.roles.clone(),
            queues: identity.queues.clone(),
            own_jobs: identity.own_jobs,
        };
        let is_short = !short.roles.is_empty() || !short.queues.is_empty() || short.own_jobs;
        let grants = match (is_short, identity.grants.as_slice()) {
            (_, []) => vec![short.read()?],
            (false, grants) => grants.iter().map(RawGrant::read).collect::<Result<_, _>>()?,
            (true, _) => return Err("has both grants and roles, queues or own_jobs".to_owned()),
        };
        identity
            .limits
            .check()
            .map_err(|(limit, why)| format!("has limits whose {limit} {why}"))?;
        let principal = Principal::new(&identity.name, grants).limited(identity.limits);
        let principal = Arc::new(principal);
        if identity.tokens.len() > MOST_TOKENS {
            return Err(format!("has more than {MOST_TOKENS} tokens"));
        }
        if identity.tokens.is_empty()
            && identity.certificates.is_empty()
            && identity.subjects.is_empty()
        {
            return Err("has neither a token, a certificate nor a subject".to_owned());
        }
        for (index, text) in identity.tokens.iter().enumerate() {
            // It is not told back: it may be the token itself.
            let wrong = || format!("tokens[{index}] is not sha256: and 64 hexadecimal digits");
            let digest = Digest::parse(text).ok_or_else(wrong)?;
            let drawer = self.tokens.entry(digest.drawer()).or_default();
            if drawer.iter().any(|(known, _)| known.matches(&digest)) {
                return Err(format!("tokens[{index}] stands twice in the file"));
            }
            drawer.push((digest, Arc::clone(&principal)));
        }
        for name in &identity.certificates {
            if !CERTIFICATE_NAMES.iter().any(|kind| name.starts_with(kind)) {
                return Err(format!("has the certificate {name:?}; write uri:, dns: or cn: first"));
            }
            if self.certificates.insert(name.clone(), Arc::clone(&principal)).is_some() {
                return Err(format!("has the certificate {name:?}, which stands twice"));
            }
        }
        for subject in &identity.subjects {
            if subject.is_empty() {
                return Err("has an empty subject".to_owned());
            }
            if self.subjects.insert(subject.clone(), Arc::clone(&principal)).is_some() {
                return Err(format!("has the subject {subject:?}, which stands twice"));
            }
        }
        self.count += 1;
        Ok(())
    }

    /// How many identities there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True when nobody is known.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whose token this is.
    pub fn by_token(&self, digest: &Digest) -> Option<&Arc<Principal>> {
        let drawer = self.tokens.get(&digest.drawer())?;
        drawer.iter().find(|(known, _)| known.matches(digest)).map(|(_, principal)| principal)
    }

    /// Whose certificate has one of these names, the first that is known.
    pub fn by_certificate(&self, names: &[String]) -> Option<&Arc<Principal>> {
        names.iter().find_map(|name| self.certificates.get(name))
    }

    /// Who is meant by the subject of a JWT.
    pub fn by_subject(&self, subject: &str) -> Option<&Arc<Principal>> {
        self.subjects.get(subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Call, Reach};
    use crate::job::QueueName;

    fn identity(rest: &str) -> String {
        format!("[[identity]]\nname = \"one\"\n{rest}")
    }

    #[test]
    fn a_token_and_a_certificate_name_their_identity() {
        let (old, new) = (Digest::of("old"), Digest::of("new"));
        let ring = Keyring::parse(&identity(&format!(
            "roles = [\"worker\"]\nqueues = [\"mail-*\"]\ntokens = [\"{old}\", \"{new}\"]\n\
             certificates = [\"dns:worker.example\"]"
        )))
        .unwrap();
        let certificate = ["cn:x".to_owned(), "dns:worker.example".to_owned()];
        let found = [ring.by_token(&old), ring.by_token(&new), ring.by_certificate(&certificate)];
        for principal in found.map(Option::unwrap) {
            assert_eq!(principal.name(), "one");
            let reach = principal.reach(Call::Lease, &QueueName::parse("mail-in").unwrap());
            assert_eq!(reach, Reach::Any);
        }
        assert!(ring.by_token(&Digest::of("another")).is_none());
        assert!(ring.by_certificate(&["dns:other".to_owned()]).is_none());
        assert_eq!(ring.len(), 1);
    }

    #[test]
    fn several_grants_stand_beside_each_other() {
        let digest = Digest::of("token");
        let ring = Keyring::parse(&identity(&format!(
            "tokens = [\"{digest}\"]\ngrants = [{{roles = [\"producer\"], queues = [\"mail\"]}}, \
             {{roles = [\"viewer\"], queues = [\"*\"], own_jobs = true}}]"
        )))
        .unwrap();
        let principal = ring.by_token(&digest).unwrap();
        let sms = QueueName::parse("sms").unwrap();
        assert_eq!(principal.reach(Call::Enqueue, &sms), Reach::Nothing);
        assert_eq!(principal.reach(Call::ListJobs, &sms), Reach::Own);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let digest = Digest::of("token");
        let good = "roles = [\"viewer\"]\nqueues = [\"*\"]";
        let table = [
            (identity(""), "names no role"),
            (identity("roles = [\"viewer\"]"), "names no queue"),
            (identity(good), "has neither a token, a cert"),
            (identity(&format!("{good}\ntokens = [\"secret\"]")), "tokens[0] is not sha256:"),
            (identity("roles = [\"root\"]\nqueues = [\"*\"]"), "has the role \"root\""),
            (identity("roles = [\"viewer\"]\nqueues = [\"a*b\"]"), "has the queue \"a*b\""),
            (identity(&format!("{good}\ncertificates = [\"x\"]")), "write uri:, dns: or cn: first"),
            (identity(&format!("{good}\nsubjects = ['a', 'a']")), "which stands twice"),
            (identity(&format!("{good}\nsubjects = ['']")), "has an empty subject"),
            (identity(&format!("{good}\nlimits = {{ streams = 0 }}")), "streams must be"),
            (identity(&format!("{good}\nlimits = {{ burst = 2 }}")), "burst needs"),
            (identity(&format!("{good}\ngrants = [{{}}]")), "has both grants and roles"),
            (identity(&format!("{good}\ntokens = [\"{digest}\", \"{digest}\"]")), "stands twice"),
            (
                identity(&format!("{good}\ntokens = [\"{digest}\", \"a\", \"b\"]")),
                "has more than 2 tokens",
            ),
            (
                identity("roles = [\"worker\"]\nqueues = [\"*\"]\nown_jobs = true"),
                "can't limit the role worker",
            ),
            (format!("{0}\n{0}", identity(&format!("{good}\ntokens=[\"{digest}\"]"))), "twice"),
            (identity("colour = 1"), "colour"),
        ];
        for (text, why) in table {
            let told = Keyring::parse(&text).unwrap_err().to_string();
            assert!(told.contains(why), "{told}");
            assert!(!told.contains("secret"), "{told}");
        }
    }
}
