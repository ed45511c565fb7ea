//! One change at a time per register (commit rule 4).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use drive::Register;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

const SHARDS: usize = 64;
/// How long a request waits for its turn before it hears 503.
const WAIT: Duration = Duration::from_secs(20);

struct Gate {
    turn: Arc<Semaphore>,
    users: usize,
}

type Shard = Mutex<HashMap<Arc<Register>, Gate>>;

/// The registers in use and who waits for them.
pub(crate) struct Gates(Arc<[Shard; SHARDS]>);

impl Gates {
    pub(crate) fn new() -> Self {
        Self(Arc::new(std::array::from_fn(
            |_| Mutex::new(HashMap::new()),
        )))
    }

    /// Whether somebody changes, or waits to change, a register that begins so.
    pub(crate) fn busy(&self, prefix: &[u8]) -> bool {
        let begins = |register: &Arc<Register>| register.as_bytes().starts_with(prefix);
        self.0.iter().any(|shard| shard.lock().keys().any(begins))
    }

    /// Waits until nobody else changes the register, within bounds: a commit may stay in flight
    /// as long as its drives are away.
    pub(crate) async fn enter(&self, register: &Arc<Register>) -> Result<Pass, Error> {
        let mut hasher = DefaultHasher::new();
        register.hash(&mut hasher);
        let shard = usize::try_from(hasher.finish() % 64).unwrap_or(0);
        let mut pass = Turn {
            shards: Arc::clone(&self.0),
            shard,
            register: Arc::clone(register),
            permit: None,
        };
        let turn = {
            let mut gates = self.0[shard].lock();
            let gate = gates.entry(Arc::clone(register)).or_insert_with(|| Gate {
                turn: Arc::new(Semaphore::new(1)),
                users: 0,
            });
            gate.users += 1;
            Arc::clone(&gate.turn)
        };
        let permit = tokio::time::timeout(WAIT, turn.acquire_owned()).await;
        let permit = permit.map_err(|_| Error::Unavailable("a write of the key is undecided"))?;
        pass.permit = Some(permit.map_err(|_| Error::Unavailable("shutting down"))?);
        Ok(Pass {
            _turn: Arc::new(pass),
            _outer: None,
        })
    }
}

/// The right to change one register; gives way to the next when its last clone is dropped. A
/// commit in flight keeps one until it is decided.
#[derive(Clone)]
pub(crate) struct Pass {
    _turn: Arc<Turn>,
    _outer: Option<Arc<Turn>>,
}

impl Pass {
    /// The same right, which holds another one as long as itself.
    pub(crate) fn within(self, outer: &Self) -> Self {
        Self {
            _outer: Some(Arc::clone(&outer._turn)),
            ..self
        }
    }
}

struct Turn {
    shards: Arc<[Shard; SHARDS]>,
    shard: usize,
    register: Arc<Register>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(shard) = self.shards.get(self.shard) else {
            return;
        };
        let mut gates = shard.lock();
        drop(self.permit.take());
        if let Some(gate) = gates.get_mut(&self.register) {
            gate.users -= 1;
            if gate.users == 0 {
                gates.remove(&self.register);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{BucketId, ObjectKey};

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_and_nothing_is_left_behind() {
        let gates = Gates::new();
        let key = ObjectKey::parse("k").unwrap();
        let register = Arc::new(Register::object(BucketId::from_u64(1), &key));
        let first = gates.enter(&register).await.unwrap();
        let mut second = Box::pin(gates.enter(&register));
        let waits = std::future::poll_fn(|context| {
            std::task::Poll::Ready(second.as_mut().poll(context).is_pending())
        });
        assert!(waits.await);
        drop(first);
        let second = second.await.unwrap();
        let abandoned = Box::pin(gates.enter(&register));
        drop(abandoned);
        drop(second);
        assert!(gates.0.iter().all(|shard| shard.lock().is_empty()));
    }
}
