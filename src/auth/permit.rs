//! From identity to permit.

use types::{BucketName, ObjectKey};

use crate::action::Action;
use crate::key::AccessKey;
use crate::sigv4::Verified;

/// Whose request it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nobody has signed.
    Anonymous,
    /// The holder of the root credential, who may do everything.
    Root(RootKey),
}

/// Proof that a request was signed with the root credential. Only [`Identity::of`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootKey(AccessKey);

impl Identity {
    /// The identity behind a signature that holds: root, if it was made with the key that is root
    /// at this moment, otherwise nobody that is known.
    pub fn of(verified: &Verified, root: &AccessKey) -> Option<Self> {
        let key = verified.access_key();
        (key == root).then(|| Self::Root(RootKey(key.clone())))
    }

    /// The access key, for logs and audit.
    pub fn access_key(&self) -> Option<&AccessKey> {
        match self {
            Self::Anonymous => None,
            Self::Root(RootKey(key)) => Some(key),
        }
    }
}

/// What an action is done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// The server as a whole.
    Service,
    /// A bucket.
    Bucket(BucketName),
    /// An object, of whatever version.
    Object(BucketName, ObjectKey),
}

/// Proof that an identity may do an action to a resource. Only [`authorize`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    identity: Identity,
    action: Action,
    resource: Resource,
}

impl Permit {
    /// Who may.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// May do what.
    pub fn action(&self) -> Action {
        self.action
    }

    /// To what.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }
}

/// The answer is `AccessDenied`, and says nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("access denied")]
pub struct Denied;

/// Decides. Root may do everything; who has not signed, nothing.
pub fn authorize(
    identity: &Identity,
    action: Action,
    resource: Resource,
) -> Result<Permit, Denied> {
    match identity {
        Identity::Anonymous => Err(Denied),
        Identity::Root(_) => Ok(Permit {
            identity: identity.clone(),
            action,
            resource,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_signed_may_do_nothing() {
        for action in Action::ALL {
            let answer = authorize(&Identity::Anonymous, *action, Resource::Service);
            assert_eq!(answer, Err(Denied), "{action:?}");
        }
    }

    #[test]
    fn root_may_do_everything_and_the_permit_says_what() {
        let root = Identity::Root(RootKey(AccessKey::parse("root").unwrap()));
        let bucket = Resource::Bucket(BucketName::parse("abc").unwrap());
        for action in Action::ALL {
            let permit = authorize(&root, *action, bucket.clone()).unwrap();
            assert_eq!(permit.action(), *action);
            assert_eq!((permit.identity(), permit.resource()), (&root, &bucket));
        }
    }
}
