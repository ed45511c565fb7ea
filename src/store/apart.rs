//! Making the items of a stream on a thread of its own.

use std::pin::pin;

use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Items that are made and wait to be taken. Either side that finds none, or no room, sleeps; the
/// more fit between, the longer each runs.
const WAITING_MAX: usize = 8;

/// The same items in the same order, made while those before are used. A task cannot do that: one
/// that another wakes stays on that other's thread, and runs when it has nothing to do. The thread
/// ends with the stream.
pub(crate) fn apart<T: Send + 'static>(
    items: impl Stream<Item = T> + Send + 'static,
) -> impl Stream<Item = T> + Send {
    let (made, taken) = mpsc::channel(WAITING_MAX);
    let runtime = Handle::current();
    let make = async move {
        let mut items = pin!(items);
        loop {
            let next = tokio::select! {
                biased;
                () = made.closed() => break,
                next = items.next() => next,
            };
            let Some(next) = next else { break };
            if made.send(next).await.is_err() {
                break;
            }
        }
    };
    let thread = tokio::task::spawn_blocking(move || runtime.block_on(make));
    stream::unfold((taken, thread), |(mut taken, mut thread)| async move {
        if let Some(item) = taken.recv().await {
            return Some((item, (taken, thread)));
        }
        // Its panic is ours: what ended early must not look whole.
        if let Err(error) = (&mut thread).await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn items_come_in_order_and_are_made_elsewhere() {
        let here = std::thread::current().id();
        let made = stream::iter(0..100).map(move |item| {
            assert_ne!(std::thread::current().id(), here);
            item
        });
        let taken: Vec<i32> = apart(made).collect().await;
        assert_eq!(taken, (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn only_a_few_wait() {
        let (count, counted) = mpsc::unbounded_channel();
        let made = stream::iter(0..100).inspect(move |_| count.send(()).unwrap());
        let mut items = pin!(apart(made));
        assert_eq!(items.next().await, Some(0));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        // Taken, waiting, and in the maker's hand.
        assert!(counted.len() <= 1 + WAITING_MAX + 1);
    }

    #[tokio::test]
    async fn a_maker_that_waits_ends_with_its_stream() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let made = stream::pending::<()>().map(move |()| drop(Arc::clone(&held)));
        drop(apart(made));
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    #[should_panic(expected = "the third")]
    async fn a_panic_is_no_end() {
        let made = stream::iter(0..9).inspect(|item| assert!(*item != 3, "the third"));
        let _: Vec<i32> = apart(made).collect().await;
    }
}
