//! Queries.

use std::sync::Mutex;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::handlers::queries::{ANSWER_BYTES_MAX, QueryJob, QuerySource};

type Answered = Option<Result<Answer, String>>;

#[derive(Debug)]
struct Job(Arc<Query>, oneshot::Sender<Answered>);

impl QueryJob for Job {
    fn query(&self) -> Arc<Query> {
        Arc::clone(&self.0)
    }

    fn answer(self: Box<Self>, answer: Result<Answer, String>) {
        self.1.send(Some(answer)).unwrap();
    }

    fn pass(self: Box<Self>) {
        self.1.send(None).unwrap();
    }
}

#[derive(Debug)]
struct Source(mpsc::Receiver<Job>);

impl QuerySource for Source {
    fn next(&mut self) -> BoxFuture<'_, Option<Box<dyn QueryJob>>> {
        Box::pin(async { Some(Box::new(self.0.recv().await?) as Box<dyn QueryJob>) })
    }
}

/// Asks the handlers one by one.
#[derive(Debug, Default)]
struct Router(Mutex<Vec<(Vec<String>, mpsc::Sender<Job>)>>);

impl QueryRouter for Router {
    fn serve(&self, names: Vec<String>, _label: &str, _queue: usize) -> Box<dyn QuerySource> {
        let (sender, receiver) = mpsc::channel(8);
        lock(&self.0).push((names, sender));
        Box::new(Source(receiver))
    }
}

impl Router {
    /// Asks one handler.
    async fn ask(
        &self,
        which: usize,
        name: &str,
        payload: &'static [u8],
        within: Duration,
    ) -> Answered {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let query = Query {
            id: "q".to_owned(),
            origin: Arc::from("asker"),
            name: name.to_owned(),
            payload: Bytes::from_static(payload),
            lamport: 1,
            deadline_unix_ms: u64::try_from((now + within).as_millis()).unwrap(),
        };
        let (sender, receiver) = oneshot::channel();
        let to = lock(&self.0)[which].1.clone();
        to.send(Job(Arc::new(query), sender)).await.unwrap();
        let answer = timeout(SOON, receiver).await.expect("no answer");
        answer.expect("the query was dropped")
    }
}

async fn bench(specs: &[&str]) -> (Bench, Arc<Router>) {
    let mut bench = Bench::new(specs);
    let router = Arc::new(Router::default());
    bench.queries = Some(Arc::clone(&router) as Arc<dyn QueryRouter>);
    let handlers = bench.start();
    handlers.replace(bench.config.specs.clone()).await.unwrap();
    (bench, router)
}

fn text(answered: Answered) -> Result<String, String> {
    let answer = answered.expect("it passed")?;
    Ok(String::from_utf8(answer.payload.to_vec()).unwrap())
}

#[tokio::test]
async fn what_is_printed_is_the_answer() {
    let (mut bench, router) = bench(&[
        "query:load=echo $SERF_QUERY_NAME $MUSTER_ORIGIN; cat; echo log >&2",
        "user=true",
    ])
    .await;
    assert_eq!(lock(&router.0)[0].0, ["load"]);
    assert_eq!(lock(&router.0).len(), 1);
    let answer = router.ask(0, "load", b"pay", SOON).await;
    assert_eq!(text(answer), Ok("load asker\npay\n".to_owned()));
    bench.stop().await;
}

#[tokio::test]
async fn failures_silence_and_floods() {
    let (mut bench, router) = bench(&[
        "query=echo half; echo $(seq 1000) why not >&2; exit 3",
        "query=true",
        "query=head -c 2000000 /dev/zero",
        "query=sleep 60",
        "query,timeout:50ms=echo early; sleep 60",
    ])
    .await;
    let failed = text(router.ask(0, "q", b"", SOON).await).unwrap_err();
    assert!(
        failed.starts_with("exit code 3: ") && failed.ends_with(" why not"),
        "{failed}"
    );
    assert!(failed.len() < 1_100, "{failed}");
    assert_eq!(router.ask(1, "q", b"", SOON).await, None);
    let flood = router.ask(2, "q", b"", SOON).await.unwrap().unwrap();
    assert_eq!(
        (flood.payload.len(), flood.truncated),
        (ANSWER_BYTES_MAX, true)
    );
    // Nobody waits beyond the deadline of the asker.
    let late = text(router.ask(3, "q", b"", Duration::from_millis(100)).await);
    assert!(
        late.as_ref().is_err_and(|why| why.contains("too long")),
        "{late:?}"
    );
    let cut = text(router.ask(4, "q", b"", SOON).await);
    assert_eq!(cut, Err("killed after 50ms: it took too long".to_owned()));
    bench.stop().await;
}

#[tokio::test]
async fn queries_do_not_wait_for_events_of_the_same_handler() {
    let (mut bench, router) =
        bench(&["concurrency:1=case $SERF_EVENT in query) echo answer;; *) sleep 60;; esac"]).await;
    bench.push(vec![event(&origin("a", 1), 1, "e", b"")]);
    assert_eq!(lock(&router.0)[0].0, [""; 0]);
    assert_eq!(
        text(router.ask(0, "q", b"", SOON).await),
        Ok("answer\n".to_owned())
    );
    bench.stop().await;
}
