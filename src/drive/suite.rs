//! The conformance suite: what every drive does, whoever implements it.
//!
//! [`conformance`] checks the promises of [`crate::Drive`] against any implementation. Where the
//! contract leaves room, these are the definitions that all implementations share:
//!
//! - **Fences.** A request with a higher fence raises the stored one durably, whatever else
//!   becomes of the request; an equal one changes nothing; a lower one changes nothing and is
//!   refused. Requests without a fence are never refused for one.
//! - **Orders.** An order names one row of a register. The same row again is a success, and
//!   takes the place of the first: with its frame, and with its file if one was staged since.
//!   Another data id under the same birth and order is [`crate::Error::OrderTaken`], and leaves the
//!   first row as it was.
//! - **Files.** A row with [`types::Placed::File`] needs its file: staged and finished, or here
//!   since an earlier row. A row with [`types::Placed::Parts`] takes those of its files that are
//!   here, and waits for none: heal brings the rest. A file that is staged is not readable until
//!   a row refers to it; a start may discard it as an orphan, and its commit is then
//!   [`crate::Error::NotStaged`]. A new generation is read from its commit on, not from its staging.
//! - **Settled.** A row is settled if the mark of its slot and epoch covers its sequence, or its
//!   epoch is below the slot's floor. Marks and floors only grow. A settle is in force no later
//!   than the return of the next commit that was asked for after it, and durable then.
//! - **Superseded.** Once a row is settled and here, in whatever sequence that happened, rows of
//!   the same register and version id with a lower order are dropped. A settled tombstone drops
//!   what it hides, and itself stays until it is discarded. Files of dropped rows are removed,
//!   except those that a remaining row of the register lists, or of the object for a part, or of
//!   a part for its object; a crash may leave one behind, as an orphan that is collected later.
//! - **Readers.** A file stays for whoever began to read it while a row listed it, and for nobody
//!   else. Whoever begins later finds it missing, since it does not count any more.
//! - **[`crate::Want::Latest`].** A version is all rows of one birth. The walk ends with the first
//!   version whose newest row is settled and no tombstone. A drive may return more, never less.
//! - **Scans.** A register is looked at if its bytes are not below `start` and begin with
//!   `prefix`. A page never splits a register, and always gets on. Tombstones are returned.
//! - **Delimiters.** A delimiter counts within the object key alone, behind the prefix. Names are
//!   skipped only after a register that surely shows: its newest row is settled and an object
//!   (or, under [`crate::Want::All`], a marker). After any other the next register follows.
//! - **Discards.** Taking away what is not there is a success.
//! - **Crashes.** What was acknowledged is there afterwards: rows with their files, fences,
//!   small writes, removals. What was not may be, whole or not at all.
//!
//! Each check begins with an empty drive, names the broken promise and panics.

mod files;
mod fixture;
mod lockstep;
mod rows;
mod scans;
mod small;

use std::future::Future;
use std::sync::Arc;

use crate::contract::Drive;

/// How the suite comes by drives of the kind under test.
pub trait Subject {
    /// Makes an empty drive.
    fn make(&mut self) -> impl Future<Output = Arc<dyn Drive>>;

    /// Stops a drive that [`Subject::make`] made, as abruptly as the implementation can be
    /// stopped, and opens it again.
    fn reopen(&mut self, drive: Arc<dyn Drive>) -> impl Future<Output = Arc<dyn Drive>>;
}

/// Checks every promise. Panics with the first that is broken.
pub async fn conformance(subject: &mut impl Subject) {
    rows::a_commit_is_read_back_whole(subject).await;
    rows::a_commit_again_succeeds_and_other_data_is_refused(subject).await;
    rows::fences_refuse_the_deposed_for_ever(subject).await;
    rows::each_want_returns_its_rows(subject).await;
    rows::latest_walks_to_a_settled_living_version(subject).await;
    rows::settling_drops_what_is_replaced_and_no_more(subject).await;
    rows::null_versions_replace_each_other_across_births(subject).await;
    rows::floors_settle_all_epochs_below(subject).await;
    rows::discarded_rows_are_gone_and_only_they(subject).await;
    files::a_file_counts_once_it_is_staged_and_committed(subject).await;
    files::a_staged_file_is_whole_or_gone_after_a_restart(subject).await;
    files::a_file_leaves_with_its_last_row(subject).await;
    files::a_file_stays_for_those_who_read_it(subject).await;
    files::heal_replaces_a_file_by_a_new_generation(subject).await;
    files::a_completed_upload_keeps_its_parts(subject).await;
    files::a_part_and_its_object_keep_each_others_files(subject).await;
    scans::registers_come_in_order_and_within_the_prefix(subject).await;
    scans::pages_join_without_gap_or_repeat(subject).await;
    scans::a_scan_agrees_with_rows(subject).await;
    scans::delimiters_skip_only_behind_what_surely_shows(subject).await;
    scans::delimiters_count_in_the_key_alone(subject).await;
    small::small_writes_are_all_or_nothing_and_last(subject).await;
    small::positions_grow_and_peers_are_remembered(subject).await;
    small::everything_acknowledged_survives(subject).await;
    lockstep::any_history_reads_as_in_the_twin(subject).await;
}

#[cfg(test)]
mod tests {
    use super::{Arc, Drive, Subject, conformance};
    use crate::twin::Twin;

    struct Twins(Vec<Twin>);

    impl Subject for Twins {
        async fn make(&mut self) -> Arc<dyn Drive> {
            let twin = Twin::new(super::fixture::identity(), self.0.len() as u64);
            self.0.push(twin.clone());
            Arc::new(twin)
        }

        async fn reopen(&mut self, _: Arc<dyn Drive>) -> Arc<dyn Drive> {
            let twin = self.0.last().unwrap().clone();
            twin.crash();
            Arc::new(twin)
        }
    }

    #[test]
    fn the_twin_keeps_every_promise() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(conformance(&mut Twins(Vec::new())));
    }
}
