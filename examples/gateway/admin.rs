//! What whoever looks after the gateway asks it: `GET /status`, on a listener of its own, which devices do not reach.

use super::Gateway;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

pub(crate) async fn serve(gateway: Arc<Gateway>, listener: TcpListener) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10)).keep_alive(false);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let gateway = gateway.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (status, body) = match (request.method().as_str(), request.uri().path()) {
                ("GET", "/status") => (200, format!("{}\n", gateway.books.told())),
                _ => (404, String::new()),
            };
            async move {
                let response = Response::builder().status(status).header("Content-Type", "application/json");
                response.body(Full::<Bytes>::from(body))
            }
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move { tokio::time::timeout(Duration::from_secs(30), connection).await.map(drop) });
    }
}
