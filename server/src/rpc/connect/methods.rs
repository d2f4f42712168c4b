//! Which calls there are, and of what messages: read from the descriptors, as reflection is.

use std::collections::HashMap;

use prost_reflect::{DescriptorError, DescriptorPool, MessageDescriptor, MethodDescriptor};

/// All calls by their path, and the types that their messages may hold.
pub(super) struct Methods {
    pool: DescriptorPool,
    by_path: HashMap<String, Method>,
}

/// One call.
#[derive(Clone)]
pub(super) struct Method {
    pub(super) input: MessageDescriptor,
    pub(super) output: MessageDescriptor,
    /// The client may send any number of messages, not just one.
    pub(super) is_client_streaming: bool,
    /// The server may.
    pub(super) is_server_streaming: bool,
}

impl Method {
    pub(super) fn is_unary(&self) -> bool {
        !self.is_client_streaming && !self.is_server_streaming
    }
}

impl From<MethodDescriptor> for Method {
    fn from(method: MethodDescriptor) -> Self {
        Self {
            input: method.input(),
            output: method.output(),
            is_client_streaming: method.is_client_streaming(),
            is_server_streaming: method.is_server_streaming(),
        }
    }
}

impl Methods {
    /// Reads encoded descriptor sets.
    pub(super) fn read(sets: &[&[u8]]) -> Result<Self, DescriptorError> {
        let mut pool = DescriptorPool::new();
        for set in sets {
            pool.decode_file_descriptor_set(*set)?;
        }
        let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let by_path = methods
            .map(|method| {
                let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
                (path, method.into())
            })
            .collect();
        Ok(Self { pool, by_path })
    }

    /// The call with this path.
    pub(super) fn get(&self, path: &str) -> Option<&Method> {
        self.by_path.get(path)
    }

    /// A message type by its full name.
    pub(super) fn message(&self, name: &str) -> Option<MessageDescriptor> {
        self.pool.get_message_by_name(name)
    }
}
