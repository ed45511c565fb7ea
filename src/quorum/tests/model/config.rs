//! What a run of the model is about.

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Put,
    /// A put with `If-None-Match: *`.
    PutIfAbsent,
    Delete,
    Get,
    /// A list of all versions.
    Versions,
}

impl Operation {
    pub(crate) fn reads(self) -> bool {
        matches!(self, Self::Get | Self::Versions)
    }

    /// Whether it may be told that something is, or is not, there.
    pub(crate) fn looks(self) -> bool {
        self.reads() || self == Self::PutIfAbsent
    }
}

/// A rule left out. The number is that of the way to lose in the room's `README.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mutant {
    /// 1: R drives are raised, then any R are read without a fence.
    RaiseThenRead,
    /// 2: what shows fewer than k shards is undone.
    UndoBelowData,
    /// 3: a commit drops what is older on the drive.
    DropOlder,
    /// 4: a reader takes the newest row that W of its answers hold.
    OlderOnQuorum,
    /// 5: an empty drive votes.
    EmptyVotes,
    /// 6: an empty drive learns its fences from its peers.
    FencesFromPeers,
    /// 7: an empty drive takes its fences from the ledger, without a new membership index.
    NoMembershipIndex,
    /// 8: a tombstone is collected in its own epoch.
    CollectInOwnEpoch,
    /// 9: a settled row is returned although answers differ.
    NoReask,
    /// 10: a holder starts again with the grant it had.
    RestartInEpoch,
    /// 11: a holder gives up on a commit and believes what it believed before.
    GiveUpKeepCache,
    /// 11: a holder gives up on a commit and touches the key again in the same epoch.
    GiveUpTouchAgain,
    /// 12: a holder answers 412 from its cache.
    RefuseFromCache,
    /// 12: a router sends an operation twice.
    CommitTwice,
    /// 13: void rows are discarded before all drives voted. Its way is shut twice since what is
    /// finished gets a new order, which the late discard does not name: so this leaves out that too.
    DiscardUnheard,
    /// 15: a new grant of the same process orders by what the one before it had found.
    KeepDecision,
    /// Rule 3: the shortcut is taken for a put on a condition.
    BlindCondition,
    /// Rule 5: a holder answers reads from its cache.
    ReadFromCache,
    /// Rule 7: a drive that does not answer a reader counts as one that holds nothing.
    SilentIsAbsent,
    /// Rule 10: a rebuild reads drives without raising them to the admission.
    RebuildUnfenced,
    /// Rule 10: a rebuild removes what a commit put on the drive meanwhile.
    RebuildReplaces,
    /// Rule 11: drives copy rows from each other, under no fence.
    CopyUnfenced,
    /// Rule 2: drives take commits under a lower fence.
    NoFence,
    /// Rule 2: a raise is not stored.
    FenceForgotten,
    /// Rule 6: a settle is sent with the commit.
    SettleEarly,
    /// Rule 4: a commit is acknowledged one drive early.
    AckEarly,
    /// Rule 3b: what could be finished is believed without being finished.
    AdoptUnfinished,
    /// 14: what is finished keeps its order.
    FinishUnderOldOrder,
    /// Rule 8: a tombstone is collected when a read quorum has it.
    CollectOnQuorum,
    /// Rule 10: acknowledgements of a drive count on after it was replaced.
    KeepAcks,
    /// Rule 10: a joining drive votes.
    JoiningVotes,
    /// Rule 10: a drive votes when its rebuild has read one drive.
    RebuildFromOne,
    /// Histories: rows name no predecessor.
    NoPredecessor,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) data: u8,
    pub(crate) parity: u8,
    /// What each client does, one operation after another.
    pub(crate) programs: &'static [&'static [Operation]],
    /// Whether the first operation was done before: its row is settled on all drives.
    pub(crate) stored: bool,
    /// How many leases the ledger grants in all.
    pub(crate) epochs: u8,
    /// How many drives are replaced by empty ones.
    pub(crate) wipes: u8,
    /// Whether holders send settles.
    pub(crate) settle: bool,
    /// Whether holders discard what a touch proved void or replaced.
    pub(crate) discard: bool,
    /// Whether the shortcut of rule 3 is taken.
    pub(crate) blind: bool,
    /// Whether the bucket keeps versions.
    pub(crate) versioned: bool,
    pub(crate) mutant: Option<Mutant>,
}

impl Config {
    /// Unversioned, two leases, nothing else: to be changed field by field.
    pub(crate) const PLAIN: Config = Config {
        data: 1,
        parity: 2,
        programs: &[],
        stored: false,
        epochs: 2,
        wipes: 0,
        settle: false,
        discard: false,
        blind: false,
        versioned: false,
        mutant: None,
    };

    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
}
