//! The bucket, as the tests see it themselves.

use reqwest::Method;

use crate::network;

pub const NAME: &str = "reels";

/// Asks the S3 server, which asks for no valid signature, but for one.
async fn send(method: Method, path: &str) -> (u16, Vec<u8>) {
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let signature = "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=any";
    let request = http.request(method, format!("http://{}/{path}", network::BUCKET));
    let answer = request.header("authorization", signature).send().await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}

/// Makes the bucket, once the server listens.
pub async fn create() {
    let start = std::time::Instant::now();
    while tokio::net::TcpStream::connect(network::BUCKET).await.is_err() {
        assert!(start.elapsed().as_secs() < 60, "the S3 server does not listen");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(send(Method::PUT, NAME).await.0, 200);
}

/// The content of an object; `None`: there is none. `key` is the name of the bucket, `/`, and the key in it.
pub async fn object(key: &str) -> Option<Vec<u8>> {
    let (status, content) = send(Method::GET, key).await;
    (status == 200).then_some(content)
}
