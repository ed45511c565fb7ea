//! Tests: drives that go while a server runs, and what sits in their seats afterwards.

use std::fs;
use std::path::{Path, PathBuf};

use drive::{Fence, Formatted, RowsRequest, Want};
use store::Versioning;
use types::{DeploymentId, Epoch, Geometry, Order, Slot};

use super::*;
use crate::rig::{DRIVES, Node, bucket, content, key};

/// A server whose drives go and come.
struct Scene {
    home: tempfile::TempDir,
    node: Node,
    usher: Usher,
    vigils: Vec<Vigil>,
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let builder = builder.worker_threads(1).enable_all();
    builder.build().unwrap().block_on(work)
}

fn secret() -> ClusterSecret {
    ClusterSecret::from_bytes([9; 32])
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_tree(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

impl Scene {
    async fn filled() -> Self {
        let home = tempfile::tempdir().unwrap();
        let scene = Self::at(home).await;
        secret().store(&scene.node.formed.drives()).await.unwrap();
        scene.node.fill().await;
        scene
    }

    async fn at(home: tempfile::TempDir) -> Self {
        let node = Node::start(home.path()).await;
        let usher = Usher {
            formed: Arc::clone(&node.formed),
            ledger: Arc::clone(&node.ledger),
            store: Arc::clone(&node.store),
            secret: Some(secret()),
        };
        let vigils = (0..DRIVES).map(|_| Vigil::default()).collect();
        Self {
            home,
            node,
            usher,
            vigils,
        }
    }

    async fn stop(self) -> tempfile::TempDir {
        drop(self.usher);
        self.node.stop().await;
        self.home
    }

    fn path(&self, place: usize) -> PathBuf {
        self.home.path().join(place.to_string())
    }

    fn away(&self, place: usize) -> PathBuf {
        self.home.path().join(format!("{place}.away"))
    }

    fn seat(&self, place: usize) -> &Arc<Seat> {
        &self.node.formed.sets[0][place]
    }

    fn status(&self, place: usize) -> Status {
        self.seat(place).status()
    }

    async fn look(&mut self, place: usize) -> Status {
        let vigil = &mut self.vigils[place];
        self.usher.look(0, place, vigil).await;
        self.status(place)
    }

    /// Takes a drive's directory away, as an unmount does, and has that noticed.
    async fn lose(&mut self, place: usize) {
        fs::rename(self.path(place), self.away(place)).unwrap();
        let found = self.seat(place).local().unwrap().look().await;
        assert!(matches!(found, Err(drive::Error::Offline(_))), "{found:?}");
        let gone = Status::Offline("no such directory".into());
        assert_eq!(self.look(place).await, gone);
    }

    fn bring_back(&self, place: usize) {
        fs::rename(self.away(place), self.path(place)).unwrap();
    }

    /// An empty directory is where a drive was, until a drive is made of it.
    async fn replace(&mut self, place: usize) {
        fs::create_dir(self.path(place)).unwrap();
        let empty = Status::Offline(EMPTY.into());
        assert_eq!(self.look(place).await, empty, "it may be about to go");
        assert_eq!(fs::read_dir(self.path(place)).unwrap().count(), 0);
        assert_eq!(self.look(place).await, Status::Joining);
    }

    async fn put(&self, name: &str, seed: usize) {
        let put = self.node.put(name, content(70_000, seed), Versioning::Off);
        put.await;
    }

    async fn has(&self, what: &str, name: &str, seed: usize) {
        self.node.read(what, name, &content(70_000, seed)).await;
    }

    fn ledger_seat(&self, place: u8) -> ledger::Seat {
        self.node.ledger.view().seats[&(0, 0, place)].clone()
    }
}

/// Fails if a drive that comes back is not taken back, or not told to be behind.
#[test]
fn a_drive_that_comes_back_votes_and_gets_what_it_missed() {
    block_on(async {
        let mut scene = Scene::filled().await;
        let identity = scene.seat(1).identity();
        scene.lose(1).await;
        scene.put("missed", 1).await;
        scene.node.store.take_recount_due();
        scene.bring_back(1);
        assert_eq!(scene.look(1).await, Status::Online);
        assert_eq!(scene.seat(1).identity(), identity);
        assert_eq!([0, 1].map(|place| scene.seat(place).returns()), [0, 1]);
        assert!(scene.node.store.take_recount_due(), "it lacks something");
        scene.put("after", 2).await;
        scene.node.make_whole("taken back").await;
        scene.lose(2).await;
        scene.lose(3).await;
        for (name, seed) in [("missed", 1), ("after", 2)] {
            scene.has("the others are away", name, seed).await;
        }
        let inline = key("inline");
        let found = scene.node.store.find(bucket(), &inline, None).await;
        assert!(found.is_ok());
    });
}

/// Fails if an empty drive votes, takes what is older than its admission, or comes to vote without a
/// copy of the ledger and its share of the secret.
#[test]
fn empty_drives_are_rebuilt_one_after_another_and_hold_everything() {
    block_on(async {
        let mut scene = Scene::filled().await;
        for place in [1, 2] {
            let before = scene.seat(place).identity().drive;
            scene.lose(place).await;
            scene.replace(place).await;
            let id = scene.seat(place).identity().drive;
            assert_ne!(id, before);
            let kept = scene.ledger_seat(place as u8);
            assert_eq!((kept.drive, kept.votes), (id.to_string(), false));
            let old = RowsRequest {
                raise: Some(Fence {
                    slot: Slot::new(5),
                    epoch: Epoch::new(0, 1),
                }),
                slot: Slot::new(5),
                register: Arc::new(drive::Register::object(bucket(), &key("k"))),
                want: Want::Born(Order::ZERO),
            };
            let refused = scene.seat(place).rows(old).await;
            assert!(matches!(refused, Err(drive::Error::Fenced { .. })));
            scene.node.make_whole("replaced").await;
            assert!(scene.ledger_seat(place as u8).votes);
        }
        let two = |scene: &Scene| -> Vec<Arc<dyn Drive>> {
            let all = scene.node.formed.drives().into_iter().enumerate();
            let two = all.filter(|(place, _)| [1, 2].contains(place));
            two.map(|(_, drive)| drive).collect()
        };
        let found = ClusterSecret::recover(&two(&scene)).await.unwrap();
        assert_eq!(found.unwrap().to_hex(), secret().to_hex());
        let home = scene.stop().await;
        // What the others had is gone: all that is left is on those that were replaced.
        for place in [0, 3] {
            let path = home.path().join(place.to_string());
            fs::remove_dir_all(&path).unwrap();
            fs::create_dir(&path).unwrap();
        }
        let scene = Scene::at(home).await;
        scene.node.check("from the two that were replaced").await;
        scene.node.make_whole("the other two").await;
    });
}

/// Fails if a drive is believed that has less than it acknowledged in this very run.
#[test]
fn a_drive_put_back_from_a_copy_is_rebuilt() {
    block_on(async {
        let home = Scene::filled().await.stop().await;
        copy_tree(&home.path().join("1"), &home.path().join("copy"));
        let mut scene = Scene::at(home).await;
        scene.put("later", 1).await;
        let membership = scene.node.ledger.view().membership(0, 0);
        scene.lose(1).await;
        fs::rename(scene.home.path().join("copy"), scene.path(1)).unwrap();
        assert_eq!(scene.look(1).await, Status::Joining);
        assert!(!scene.ledger_seat(1).votes);
        assert!(scene.node.ledger.view().membership(0, 0) > membership);
        scene.has("it joins", "later", 1).await;
        scene.node.make_whole("put back from a copy").await;
        assert_eq!(scene.status(1), Status::Online);
    });
}

/// Fails if a drive votes because it says so itself.
#[test]
fn a_drive_that_the_ledger_does_not_have_vote_is_rebuilt() {
    block_on(async {
        let mut scene = Scene::filled().await;
        let seat = seat_of(&scene.seat(1).identity());
        scene.lose(1).await;
        let admitted = scene.node.ledger.propose(Command::Admit { seat }).await;
        admitted.unwrap();
        scene.bring_back(1);
        assert_eq!(scene.look(1).await, Status::Joining);
        scene
            .node
            .make_whole("it was admitted while it was away")
            .await;
    });
}

/// Fails if a seat takes a drive that is not its own, or writes to it.
#[test]
fn another_drive_in_its_place_is_left_alone() {
    block_on(async {
        let mut scene = Scene::filled().await;
        let first = scene.seat(1).identity();
        scene.lose(1).await;
        let other = Identity {
            deployment: DeploymentId::from_bytes([1; 16]),
            ..first.clone()
        };
        let geometry = Geometry::new(2, 2).unwrap();
        let made = drive::format(&scene.path(1), &other, geometry).unwrap();
        let foreign = Status::Offline("it belongs to another deployment".into());
        for _ in 0..3 {
            assert_eq!(scene.look(1).await, foreign);
        }
        assert_eq!(inspect(&scene.path(1)), Found::Formatted(made));
        fs::remove_dir_all(scene.path(1)).unwrap();
        // The drive of before, once another one has its seat.
        scene.replace(1).await;
        let second = scene.seat(1).identity();
        fs::rename(scene.path(1), scene.home.path().join("second")).unwrap();
        assert!(scene.seat(1).local().unwrap().look().await.is_err());
        scene.bring_back(1);
        let why = format!("drive {} is here instead of {}", first.drive, second.drive);
        assert_eq!(scene.look(1).await, Status::Offline(why.into()));
    });
}

/// Fails if the seat of a drive that may be the only one to know something is given away.
#[test]
fn an_empty_directory_stays_empty_while_too_few_others_vote() {
    block_on(async {
        let mut scene = Scene::filled().await;
        for place in [1, 2, 3] {
            scene.lose(place).await;
        }
        fs::create_dir(scene.path(1)).unwrap();
        for _ in 0..3 {
            let why = Status::Offline(TOO_FEW_VOTE.into());
            assert_eq!(scene.look(1).await, why);
        }
        fs::remove_dir(scene.path(1)).unwrap();
        for place in [1, 2, 3] {
            scene.bring_back(place);
            assert_eq!(scene.look(place).await, Status::Online);
        }
        scene.node.check("all are back").await;
    });
}

#[test]
fn what_may_sit_on_a_seat() {
    let identity = |drive: u8| Identity {
        deployment: DeploymentId::from_bytes([7; 16]),
        drive: DriveId::from_bytes([drive; 16]),
        pool: 0,
        set: 0,
        place: 1,
    };
    let formatted = |drive: u8| Formatted {
        identity: identity(drive),
        geometry: Geometry::new(2, 2).unwrap(),
        mounted: true,
    };
    let terms = |mounts| Terms { mounts, dev: true };
    let weighed = |found: Found, mounts, vote| weigh(&found, &[identity(1)], terms(mounts), vote);
    let own = Finding::Drive(identity(1));
    assert_eq!(weighed(Found::Formatted(formatted(1)), true, false), own);
    assert_eq!(weighed(Found::ReadOnly(formatted(1)), true, false), own);
    let nothing = [
        Found::Formatted(formatted(2)),
        Found::Unmounted(formatted(1)),
        Found::Missing,
        Found::Damaged("it is damaged"),
        Found::Empty { mounted: false },
    ];
    for found in nothing {
        let weighed = weighed(found.clone(), true, true);
        assert!(matches!(weighed, Finding::Nothing(_)), "{found}");
    }
    let empty = |mounted, mounts, vote| weighed(Found::Empty { mounted }, mounts, vote);
    assert_eq!(empty(true, true, true), Finding::Blank);
    assert_eq!(empty(false, false, true), Finding::Blank);
    assert_eq!(
        empty(true, true, false),
        Finding::Nothing(TOO_FEW_VOTE.to_owned())
    );
}

/// Fails if a drive that is lost again and again is taken back as often.
#[test]
fn a_drive_that_does_not_last_is_left_alone_ever_longer() {
    let mut now = Instant::now();
    let mut patience = Patience::default();
    patience.lost(now);
    assert!(patience.is_over(now), "the first time");
    let mut waits = Vec::new();
    for _ in 0..8 {
        patience.seated(now);
        patience.lost(now + Duration::from_secs(1));
        assert!(!patience.is_over(now + Duration::from_secs(1)));
        let until = patience.not_before.unwrap();
        waits.push(until.duration_since(now).as_secs() - 1);
        now = until;
        assert!(patience.is_over(now));
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
    patience.seated(now);
    patience.lost(now + STEADY);
    assert!(patience.is_over(now + STEADY), "it lasted");
    patience.failed(now);
    assert_eq!(patience.wait, Some(WAIT_MIN));
}
