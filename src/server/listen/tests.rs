use super::*;
use futures_util::StreamExt;
use futures_util::stream::once;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Answers by path.
struct Echo {
    entered: Notify,
    release: Notify,
}

impl Service for Arc<Echo> {
    type Body = UnsyncBoxBody<Bytes, BodyError>;

    async fn call(&self, request: Request<Incoming>, caller: Caller) -> Response<Self::Body> {
        let text = match request.uri().path() {
            "/panic" => panic!("as asked"),
            "/torn" => {
                let echo = Arc::clone(self);
                let whole = once(async { Ok(Frame::data(Bytes::from("he"))) });
                let torn = once(async move {
                    echo.release.notified().await;
                    Err("torn".into())
                });
                let body = StreamBody::new(whole.chain(torn));
                return Response::new(body.boxed_unsync());
            }
            "/slow" => {
                self.entered.notify_one();
                self.release.notified().await;
                "slow".to_owned()
            }
            "/refused" => {
                let refused = Full::from("no").map_err(|never| match never {});
                let mut response = Response::new(refused.boxed_unsync());
                let close = http::HeaderValue::from_static("close");
                response.headers_mut().insert("connection", close);
                return response;
            }
            "/body" => {
                let body = request.into_body().collect().await;
                body.map_or(0, |body| body.to_bytes().len()).to_string()
            }
            path => format!("{path} {:?}", caller.scheme),
        };
        let body = Full::from(text).map_err(|never| match never {});
        Response::new(body.boxed_unsync())
    }
}

struct Open {
    echo: Arc<Echo>,
    metrics: Arc<Metrics>,
    address: SocketAddr,
    tell: watch::Sender<bool>,
    served: JoinHandle<usize>,
}

async fn open() -> Open {
    open_with(Duration::from_secs(75)).await
}

async fn open_with(idle_wait: Duration) -> Open {
    let limits = Limits {
        requests_max: None,
        request_wait: Duration::from_secs(10),
        head_wait: Duration::from_secs(10),
        idle_wait,
        drain_wait: Duration::from_millis(300),
    };
    let echo = Arc::new(Echo {
        entered: Notify::new(),
        release: Notify::new(),
    });
    let metrics = Arc::new(Metrics::new());
    let door = Door::new(Arc::clone(&echo), None, Arc::clone(&metrics), &limits);
    let listeners = bind(&Address {
        host: "127.0.0.1".to_owned(),
        port: 0,
    })
    .await
    .unwrap();
    let address = listeners[0].local_addr().unwrap();
    let (tell, told) = watch::channel(false);
    let served = tokio::spawn(door.serve(listeners, told));
    Open {
        echo,
        metrics,
        address,
        tell,
        served,
    }
}

impl Open {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A new connection with a request in flight.
    async fn busy(&self) -> TcpStream {
        let mut stream = self.connect().await;
        let request = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
        stream.write_all(request).await.unwrap();
        self.echo.entered.notified().await;
        stream
    }

    /// Sends bytes on a new connection, and reads until it closes.
    async fn talk(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        String::from_utf8(answer).unwrap()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn a_panic_is_one_500_and_the_port_goes_on() {
    let open = open().await;
    let two = "GET /panic HTTP/1.1\r\nHost: a\r\n\r\n".to_owned() + &get("/next");
    let answer = open.talk(&two).await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.contains("<Code>InternalError</Code>"), "{answer}");
    assert!(answer.ends_with("/next Http"), "{answer}");
    assert_eq!(open.metrics.panics(), 1);
}

#[tokio::test]
async fn a_client_that_is_refused_while_it_sends_reads_why() {
    let open = open().await;
    let mut stream = open.connect().await;
    let head = "PUT /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // More than sockets buffer: without somebody who reads, it could not be sent.
    stream.write_all(&vec![b'x'; 8_000_000]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\nno"), "{answer}");
}

#[tokio::test]
async fn a_request_names_exactly_one_host() {
    let open = open().await;
    for hosts in ["", "Host: a\r\nHost: b\r\n"] {
        let answer = open.talk(&format!("GET /a HTTP/1.1\r\n{hosts}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("<Code>InvalidRequest</Code>"), "{answer}");
    }
    let old = open.talk("GET /a HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200 "), "{old}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_whole_answer() {
    let open = open().await;
    let mut stream = open.connect().await;
    stream.write_all(get("/torn").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"he\r\n") {
        stream.read_buf(&mut answer).await.unwrap();
    }
    open.echo.release.notify_one();
    stream.read_to_end(&mut answer).await.ok();
    assert!(answer.ends_with(b"he\r\n"), "no last chunk");
}

#[tokio::test]
async fn a_head_too_long_is_refused() {
    let open = open().await;
    let head = |len: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {}\r\n\r\n",
            "x".repeat(len)
        )
    };
    assert!(
        open.talk(&head(HEAD_LEN_MAX / 2))
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    assert!(
        open.talk(&head(HEAD_LEN_MAX))
            .await
            .starts_with("HTTP/1.1 431 ")
    );
}

#[tokio::test]
async fn a_client_that_expects_to_continue_is_told_to() {
    let text = "PUT /body HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\
                Expect: 100-continue\r\n\r\nabc";
    let answer = open().await.talk(text).await;
    assert!(
        answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 "),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\n3"), "{answer}");
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight_and_takes_nothing_new() {
    let open = open().await;
    let mut idle = open.connect().await;
    idle.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();
    let mut busy = open.busy().await;

    open.tell.send_replace(true);
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"/a Http"), "idle connections close");
    open.echo.release.notify_one();
    let mut answer = Vec::new();
    busy.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(b"slow"));
    assert_eq!(open.served.await.unwrap(), 0);
    assert!(TcpStream::connect(open.address).await.is_err());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let open = open().await;
    let _busy = open.busy().await;
    open.tell.send_replace(true);
    assert_eq!(open.served.await.unwrap(), 1);
}

#[tokio::test]
async fn a_connection_that_stays_idle_is_closed() {
    let open = open_with(Duration::from_millis(20)).await;
    let keep_alive = open.talk("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(keep_alive.ends_with("/a Http"), "{keep_alive}");
}

#[tokio::test]
async fn traffic_is_counted() {
    let open = open().await;
    let request = get("/a");
    let answer = open.talk(&request).await;
    let page = open.metrics.traffic();
    assert_eq!(page, (request.len() as u64, answer.len() as u64));
}

#[tokio::test]
async fn a_port_that_is_taken_is_one_exact_line() {
    let taken = bind(&Address {
        host: "127.0.0.1".to_owned(),
        port: 0,
    })
    .await
    .unwrap();
    let port = taken[0].local_addr().unwrap().port();
    let error = bind(&Address {
        host: "127.0.0.1".to_owned(),
        port,
    })
    .await
    .unwrap_err();
    let expected = format!("cannot listen on 127.0.0.1:{port}: Address already in use");
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn the_answer_to_plain_http_has_its_own_length() {
    let text = std::str::from_utf8(WRONG_SCHEME).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
}
