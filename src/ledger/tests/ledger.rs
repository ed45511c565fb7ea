//! The ledger on drives in memory: what it keeps, and what it refuses to make up.

use std::sync::Arc;

use drive::{Drive, Fault, Identity, Twin};
use ledger::{ClusterSecret, Command, Error, Ledger, LedgerConfig, ProposeError, Refusal};
use types::{DeploymentId, DriveId};

fn twins(count: u8) -> Vec<Arc<Twin>> {
    let twin = |place: u8| {
        let identity = Identity {
            deployment: DeploymentId::from_bytes([7; 16]),
            drive: DriveId::from_bytes([place + 1; 16]),
            pool: 0,
            set: 0,
            place,
        };
        Arc::new(Twin::new(identity, u64::from(place)))
    };
    (0..count).map(twin).collect()
}

async fn open(twins: &[Arc<Twin>], secret: &ClusterSecret) -> Result<Ledger, Error> {
    let drives = twins
        .iter()
        .map(|twin| Arc::clone(twin) as Arc<dyn Drive>)
        .collect();
    Ledger::open(LedgerConfig {
        drives,
        secret: secret.clone(),
        node: 1,
    })
    .await
}

fn create(name: &str) -> Command {
    Command::CreateBucket {
        name: name.into(),
        created_ms: 1,
    }
}

#[tokio::test]
async fn what_was_proposed_is_there_after_a_crash_of_all_drives() {
    let (twins, secret) = (twins(4), ClusterSecret::make().unwrap());
    let ledger = open(&twins, &secret).await.unwrap();
    for number in 0..20 {
        ledger
            .propose(create(&format!("bucket-{number}")))
            .await
            .unwrap();
        assert!(
            ledger
                .view()
                .buckets
                .contains_key(&format!("bucket-{number}"))
        );
    }
    let again = ledger.propose(create("bucket-3")).await;
    assert_eq!(again, Err(ProposeError::Refused(Refusal::BucketExists)));
    let before = ledger.view();
    ledger.close().await;
    twins.iter().for_each(|twin| twin.crash());
    let ledger = open(&twins, &secret).await.unwrap();
    assert_eq!(ledger.view(), before);
    let later = ledger.propose(create("later")).await.unwrap();
    assert!(
        before
            .buckets
            .values()
            .all(|bucket| bucket.id().as_u64() < later.as_u64())
    );
}

#[tokio::test]
async fn a_compacted_ledger_is_whole() {
    let (twins, secret) = (twins(3), ClusterSecret::make().unwrap());
    let ledger = open(&twins, &secret).await.unwrap();
    for number in 0..1_200 {
        ledger
            .propose(create(&format!("bucket-{number}")))
            .await
            .unwrap();
    }
    let before = ledger.view();
    ledger.close().await;
    let ledger = open(&twins, &secret).await.unwrap();
    assert_eq!(ledger.view(), before);
}

#[tokio::test]
async fn a_minority_of_drives_may_be_lost_and_is_made_good() {
    let (twins, secret) = (twins(4), ClusterSecret::make().unwrap());
    let ledger = open(&twins, &secret).await.unwrap();
    ledger.propose(create("one")).await.unwrap();
    twins[3].fail(Fault::Offline);
    ledger.propose(create("two")).await.unwrap();
    ledger.close().await;
    twins[3].mend(Fault::Offline);
    twins[0].wipe();
    let ledger = open(&twins, &secret).await.unwrap();
    assert_eq!(ledger.view().buckets.len(), 2);
    ledger.close().await;
    // What was wiped and what was stale is good again: any other drive may go now.
    twins[1].wipe();
    let ledger = open(&twins, &secret).await.unwrap();
    assert_eq!(ledger.view().buckets.len(), 2);
}

#[tokio::test]
async fn without_a_majority_nothing_is_made_up() {
    let (twins, secret) = (twins(4), ClusterSecret::make().unwrap());
    let ledger = open(&twins, &secret).await.unwrap();
    ledger.propose(create("one")).await.unwrap();
    ledger.close().await;
    twins[0].fail(Fault::Offline);
    twins[1].fail(Fault::Offline);
    assert!(matches!(
        open(&twins, &secret).await,
        Err(Error::TooFewDrives)
    ));
    twins[0].mend(Fault::Offline);
    twins[1].mend(Fault::Offline);
    let other = ClusterSecret::make().unwrap();
    assert!(matches!(
        open(&twins, &other).await,
        Err(Error::WrongSecret)
    ));
    assert_eq!(open(&twins, &secret).await.unwrap().view().buckets.len(), 1);
}

#[tokio::test]
async fn the_secret_is_recovered_from_half_of_the_drives() {
    let twins = twins(4);
    let drives: Vec<Arc<dyn Drive>> = twins
        .iter()
        .map(|twin| Arc::clone(twin) as Arc<dyn Drive>)
        .collect();
    assert!(ClusterSecret::recover(&drives).await.unwrap().is_none());
    let secret = ClusterSecret::make().unwrap();
    secret.store(&drives).await.unwrap();
    twins[2].fail(Fault::Offline);
    let found = ClusterSecret::recover(&drives).await.unwrap().unwrap();
    assert_eq!(found.to_hex(), secret.to_hex());
    twins[1].fail(Fault::Offline);
    let found = ClusterSecret::recover(&drives).await.unwrap().unwrap();
    assert_eq!(found.to_hex(), secret.to_hex());
    twins[0].fail(Fault::Offline);
    assert!(matches!(
        ClusterSecret::recover(&drives).await,
        Err(Error::TooFewShares)
    ));
}

/// What a majority took must be heard of again: two drives that were replaced cannot vouch for
/// the two that are away. Fails if a joining drive counts among those that answer.
#[tokio::test]
async fn drives_that_join_do_not_vouch_for_what_they_lost() {
    let (twins, secret) = (twins(4), ClusterSecret::make().unwrap());
    let ledger = open(&twins, &secret).await.unwrap();
    twins[3].fail(Fault::Offline);
    ledger.propose(create("bucket")).await.unwrap();
    let before = ledger.view();
    ledger.close().await;
    twins[3].mend(Fault::Offline);
    for place in [0, 1] {
        twins[place].wipe();
        twins[place].fail(Fault::Joining);
    }
    twins[2].fail(Fault::Offline);
    let refused = open(&twins, &secret).await;
    assert!(
        matches!(refused, Err(Error::TooFewDrives)),
        "only a drive without it is left"
    );
    twins[2].mend(Fault::Offline);
    let ledger = open(&twins, &secret).await.unwrap();
    assert_eq!(ledger.view(), before);
}

/// Fails if a replaced drive's share is not made again: the second replacement is then too much.
#[tokio::test]
async fn every_drive_may_be_replaced_two_at_a_time() {
    let twins = twins(4);
    let drives: Vec<Arc<dyn Drive>> = twins.iter().map(|twin| Arc::clone(twin) as _).collect();
    let secret = ClusterSecret::make().unwrap();
    secret.store(&drives).await.unwrap();
    for replaced in twins.chunks(2) {
        replaced.iter().for_each(|twin| twin.wipe());
        let found = ClusterSecret::recover(&drives).await.unwrap().unwrap();
        assert_eq!(found.to_hex(), secret.to_hex());
    }
}
