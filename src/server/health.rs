//! The probes of `/minio/health/`: what they ask, and the honest answer.

use types::Geometry;

/// A probe, from its path and query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// `live`: does the process answer?
    Live,
    /// `ready`: would this node serve the next request?
    Ready,
    /// `cluster`: can every set be written?
    Write,
    /// `cluster?maintenance=true`: could every set be written without this node's drives?
    Maintenance,
    /// `cluster/read`: can every set be read?
    Read,
}

impl Probe {
    /// The probe that a path names, if it names one.
    pub(crate) fn parse(path: &str, query: Option<&str>) -> Option<Self> {
        let maintenance = || {
            query
                .unwrap_or_default()
                .split('&')
                .any(|pair| pair == "maintenance=true")
        };
        match path.strip_prefix("/minio/health/")? {
            "live" => Some(Self::Live),
            "ready" => Some(Self::Ready),
            "cluster" if maintenance() => Some(Self::Maintenance),
            "cluster" => Some(Self::Write),
            "cluster/read" => Some(Self::Read),
            _ => None,
        }
    }
}

/// How far a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It opens drives and replays logs.
    Starting,
    /// It serves.
    Serving,
    /// It was told to stop, and finishes what is in flight.
    Draining,
}

/// One erasure set as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SetHealth {
    /// The geometry of the standard class with all drives there.
    pub(crate) geometry: Geometry,
    /// Drives that answer, this node's among them.
    pub(crate) online: usize,
    /// Drives of this node that answer.
    pub(crate) local: usize,
    /// Drives that answer and are being rebuilt.
    pub(crate) healing: usize,
}

impl SetHealth {
    /// How many drives a write needs now: parity grows while drives are away.
    pub(crate) fn write_quorum(&self, online: usize) -> usize {
        let down = self.geometry.drives().saturating_sub(online);
        self.geometry.degraded(down).write_quorum()
    }

    /// How many drives a read needs: enough votes, and enough shards.
    pub(crate) fn read_quorum(&self) -> usize {
        self.geometry.read_quorum().max(self.geometry.data())
    }

    /// Whether the set can be read.
    pub(crate) fn is_readable(&self) -> bool {
        self.online >= self.read_quorum()
    }

    /// Whether the set can be written.
    pub(crate) fn is_writable(&self) -> bool {
        self.is_writable_with(self.online)
    }

    fn is_writable_with(&self, online: usize) -> bool {
        online >= self.write_quorum(online)
    }
}

/// A node and the sets as it sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HealthView {
    /// How far the node is.
    pub(crate) phase: Phase,
    /// Every set of every pool; none while drives are not open.
    pub(crate) sets: Vec<SetHealth>,
    /// Whether the storage classes are the default ones.
    pub(crate) default_classes: bool,
}

/// The answer to a probe: a status and headers, without a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// Headers, names in lower case.
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// Answers a probe.
pub(crate) fn answer(probe: Probe, view: &HealthView) -> Answer {
    let up = view.phase != Phase::Starting && !view.sets.is_empty();
    if !up {
        let status = if probe == Probe::Live { 200 } else { 503 };
        return Answer {
            status,
            headers: vec![("x-minio-server-status", "offline".to_owned())],
        };
    }
    let most = |quorum: &dyn Fn(&SetHealth) -> usize| {
        view.sets.iter().map(quorum).max().unwrap_or(0).to_string()
    };
    let readable = view.sets.iter().all(SetHealth::is_readable);
    match probe {
        Probe::Live => plain(true, 503),
        Probe::Ready => plain(readable && view.phase == Phase::Serving, 503),
        Probe::Read => {
            let mut answer = plain(readable, 503);
            answer
                .headers
                .push(("x-minio-read-quorum", most(&SetHealth::read_quorum)));
            answer
        }
        Probe::Write => with_write_headers(plain(writable(view, 0), 503), view),
        Probe::Maintenance => with_write_headers(plain(writable(view, 1), 412), view),
    }
}

fn plain(good: bool, bad: u16) -> Answer {
    Answer {
        status: if good { 200 } else { bad },
        headers: Vec::new(),
    }
}

/// Whether every set can be written with its local drives taken away `times` times.
fn writable(view: &HealthView, times: usize) -> bool {
    view.sets
        .iter()
        .all(|set| set.is_writable_with(set.online.saturating_sub(set.local * times)))
}

fn with_write_headers(mut answer: Answer, view: &HealthView) -> Answer {
    let quorum = view
        .sets
        .iter()
        .map(|set| set.write_quorum(set.online))
        .max()
        .unwrap_or(0);
    let healing: usize = view.sets.iter().map(|set| set.healing).sum();
    answer
        .headers
        .push(("x-minio-write-quorum", quorum.to_string()));
    answer.headers.push((
        "x-minio-storage-class-defaults",
        view.default_classes.to_string(),
    ));
    if healing > 0 {
        answer
            .headers
            .push(("x-minio-healing-drives", healing.to_string()));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(data: u8, parity: u8, online: usize, local: usize) -> SetHealth {
        SetHealth {
            geometry: Geometry::new(data, parity).unwrap(),
            online,
            local,
            healing: 0,
        }
    }

    fn view(phase: Phase, sets: Vec<SetHealth>) -> HealthView {
        HealthView {
            phase,
            sets,
            default_classes: true,
        }
    }

    fn statuses(view: &HealthView) -> [u16; 5] {
        [
            Probe::Live,
            Probe::Ready,
            Probe::Write,
            Probe::Maintenance,
            Probe::Read,
        ]
        .map(|probe| answer(probe, view).status)
    }

    #[test]
    fn a_node_says_what_it_would_do() {
        let four = |online| vec![set(2, 2, online, online)];
        // live, ready, write, maintenance, read
        let table = [
            (view(Phase::Starting, vec![]), [200, 503, 503, 503, 503]),
            (view(Phase::Starting, four(4)), [200, 503, 503, 503, 503]),
            (view(Phase::Serving, vec![]), [200, 503, 503, 503, 503]),
            (view(Phase::Serving, four(4)), [200, 200, 200, 412, 200]),
            (view(Phase::Serving, four(3)), [200, 200, 200, 412, 200]),
            (view(Phase::Serving, four(2)), [200, 200, 503, 412, 200]),
            (view(Phase::Serving, four(1)), [200, 503, 503, 412, 503]),
            (view(Phase::Draining, four(4)), [200, 503, 200, 412, 200]),
            (
                view(Phase::Serving, vec![set(12, 4, 16, 4)]),
                [200, 200, 200, 200, 200],
            ),
            (
                view(Phase::Serving, vec![set(12, 4, 12, 4)]),
                [200, 200, 200, 412, 200],
            ),
            (
                view(Phase::Serving, vec![set(12, 4, 16, 4), set(2, 2, 1, 0)]),
                [200, 503, 503, 412, 503],
            ),
            (
                view(Phase::Serving, vec![set(1, 0, 1, 1)]),
                [200, 200, 200, 412, 200],
            ),
        ];
        for (view, expected) in table {
            assert_eq!(statuses(&view), expected, "{view:?}");
        }
    }

    #[test]
    fn quorums_are_told_in_headers() {
        let mut degraded = set(12, 4, 12, 4);
        degraded.healing = 2;
        let view = view(Phase::Serving, vec![degraded]);
        let headers = answer(Probe::Write, &view).headers;
        assert!(headers.contains(&("x-minio-write-quorum", "9".to_owned())));
        assert!(headers.contains(&("x-minio-healing-drives", "2".to_owned())));
        assert!(headers.contains(&("x-minio-storage-class-defaults", "true".to_owned())));
        let headers = answer(Probe::Read, &view).headers;
        assert_eq!(headers, [("x-minio-read-quorum", "12".to_owned())]);
    }

    #[test]
    fn only_the_known_paths_are_probes() {
        let table = [
            ("/minio/health/live", None, Some(Probe::Live)),
            ("/minio/health/ready", Some("x"), Some(Probe::Ready)),
            (
                "/minio/health/cluster",
                Some("deployment-type=vmware"),
                Some(Probe::Write),
            ),
            (
                "/minio/health/cluster",
                Some("a=b&maintenance=true"),
                Some(Probe::Maintenance),
            ),
            (
                "/minio/health/cluster",
                Some("maintenance=false"),
                Some(Probe::Write),
            ),
            ("/minio/health/cluster/read", None, Some(Probe::Read)),
            ("/minio/health", None, None),
            ("/minio/health/", None, None),
            ("/minio/health/live/", None, None),
            ("/x/minio/health/live", None, None),
        ];
        for (path, query, expected) in table {
            assert_eq!(Probe::parse(path, query), expected, "{path}?{query:?}");
        }
    }
}
