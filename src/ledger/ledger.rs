//! The ledger from outside: open, propose, view.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drive::Drive;
use openraft::error::{InstallSnapshotError, RPCError, RaftError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{BasicNode, Config, Raft, SnapshotPolicy};
use types::{DriveId, Epoch};

use crate::command::Command;
use crate::error::{Error, ProposeError};
use crate::mirror::Mirror;
use crate::raft::{Machine, TypeConfig, open};
use crate::seal::Sealer;
use crate::secret::ClusterSecret;
use crate::state::State;

/// Entries between two snapshots.
const SNAPSHOT_EVERY: u64 = 1000;
/// How long a start waits for its own election.
const ELECTION_WAIT: Duration = Duration::from_secs(10);
/// How long a change may take.
const PROPOSE_WAIT: Duration = Duration::from_secs(15);

/// What a ledger is opened with.
pub struct LedgerConfig {
    /// The node's drives, over which its copy is mirrored.
    pub drives: Vec<Arc<dyn Drive>>,
    /// What records are sealed with.
    pub secret: ClusterSecret,
    /// This node.
    pub node: u64,
}

/// This node's part of the ledger.
pub struct Ledger {
    raft: Raft<TypeConfig>,
    machine: Machine,
}

impl Ledger {
    /// Opens the ledger and waits until it takes changes. At the first start of all, this node
    /// becomes its only voter.
    pub async fn open(config: LedgerConfig) -> Result<Self, Error> {
        let sealer = Sealer::new(&config.secret);
        let (mirror, records) = Mirror::open(config.drives, sealer).await?;
        let fresh = records.is_empty();
        let (log, machine) = open(mirror, &records)?;
        let failed = |error: &dyn std::fmt::Display| Error::Raft(error.to_string());
        let raft = Raft::new(
            config.node,
            Arc::new(raft_config()?),
            Nobody,
            log,
            machine.clone(),
        );
        let raft = raft.await.map_err(|error| failed(&error))?;
        if fresh {
            let members = BTreeMap::from([(config.node, BasicNode::default())]);
            raft.initialize(members)
                .await
                .map_err(|error| failed(&error))?;
        }
        let wait = raft.wait(Some(ELECTION_WAIT));
        wait.current_leader(config.node, "the only voter leads")
            .await
            .map_err(|e| failed(&e))?;
        raft.ensure_linearizable()
            .await
            .map_err(|error| failed(&error))?;
        Ok(Self { raft, machine })
    }

    /// Makes a change. On success it is durable, and this node's view holds it. The epoch is that
    /// of its entry.
    pub async fn propose(&self, command: Command) -> Result<Epoch, ProposeError> {
        let unavailable =
            |error: &dyn std::fmt::Display| ProposeError::Unavailable(error.to_string());
        let write = tokio::time::timeout(PROPOSE_WAIT, self.raft.client_write(command)).await;
        let written = write
            .map_err(|error| unavailable(&error))?
            .map_err(|error| unavailable(&error))?;
        written.data.result?;
        Ok(Epoch::new(self.view().generation, written.data.index))
    }

    /// All intent, as of the last entry applied here. Cheap.
    pub fn view(&self) -> Arc<State> {
        self.machine.view()
    }

    /// Gives every drive that answers what it lacks of this node's copy: one that took a seat counts
    /// only then, and one that was away missed some. Says which hold all of it now, durably.
    pub async fn make_copies_good(&self) -> Result<Vec<DriveId>, Error> {
        self.machine.make_copies_good().await
    }

    /// Stops taking part.
    pub async fn close(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop cleanly");
        }
    }
}

fn raft_config() -> Result<Config, Error> {
    let config = Config {
        cluster_name: "sarsen".to_owned(),
        heartbeat_interval: 50,
        election_timeout_min: 150,
        election_timeout_max: 300,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
        max_in_snapshot_log_to_keep: 100,
        ..Config::default()
    };
    config
        .validate()
        .map_err(|error| Error::Raft(error.to_string()))
}

/// The network of a ledger with one member: there is nobody to call.
struct Nobody;

impl RaftNetworkFactory<TypeConfig> for Nobody {
    type Network = Self;

    async fn new_client(&mut self, _target: u64, _node: &BasicNode) -> Self {
        Self
    }
}

fn unreachable<E: std::error::Error>() -> RPCError<u64, BasicNode, E> {
    let nobody = std::io::Error::new(
        std::io::ErrorKind::NotConnected,
        "this ledger has one member",
    );
    RPCError::Unreachable(Unreachable::new(&nobody))
}

impl RaftNetwork<TypeConfig> for Nobody {
    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        Err(unreachable())
    }

    async fn install_snapshot(
        &mut self,
        _request: InstallSnapshotRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<
        InstallSnapshotResponse<u64>,
        RPCError<u64, BasicNode, RaftError<u64, InstallSnapshotError>>,
    > {
        Err(unreachable())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        Err(unreachable())
    }
}
