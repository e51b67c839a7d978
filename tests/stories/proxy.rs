//! Calls to the provider through a proxy.

use std::sync::atomic::Ordering;

use crate::support::proxy::{PROVIDER, SocksServer, start_tls_server};
use crate::support::{Rig, quick};

#[tokio::test]
async fn socks_proxy_carries_all_calls_to_the_provider() {
    let proxy = SocksServer::start();
    let mut rig = Rig::set_up("").await;
    rig.set("PROVIDER__PROXY", &format!("socks5://{}", proxy.address));
    rig.start_daemon().await;
    rig.drop("through.json", quick("through", ""));
    rig.until("through", &["succeeded"]).await;
    assert!(proxy.connections.load(Ordering::Relaxed) > 0, "the proxy was not used");
    let doctor = rig.run(&["doctor"]).await;
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("accepts the key"), "{doctor:?}");
    rig.finish().await;
}

#[tokio::test]
async fn socks_proxy_of_the_environment_carries_all_calls_to_the_provider() {
    for variable in ["ALL_PROXY", "HTTPS_PROXY", "all_proxy"] {
        let proxy = SocksServer::start();
        let mut rig = Rig::set_up("").await;
        let sandbox = rig.sandbox.base_url().trim_start_matches("http://").parse().unwrap();
        let certificate = rig.beside("provider.pem");
        *proxy.provider.lock().unwrap() = Some(start_tls_server(sandbox, &certificate));
        rig.set("PROVIDER__BASE_URL", &format!("https://{PROVIDER}"));
        rig.set_variable(variable, &format!("socks5://{}", proxy.address));
        rig.set_variable("SSL_CERT_FILE", certificate.to_str().unwrap());
        rig.start_daemon().await;
        rig.drop("through.json", quick("through", ""));
        rig.until("through", &["succeeded"]).await;
        assert!(proxy.connections.load(Ordering::Relaxed) > 0, "{variable} was not used");
        rig.finish().await;
    }
}

#[tokio::test]
async fn doctor_names_an_unreachable_proxy() {
    let mut rig = Rig::set_up("").await;
    rig.set("PROVIDER__PROXY", "socks5h://127.0.0.1:9");
    let doctor = rig.run(&["doctor"]).await;
    let text = String::from_utf8_lossy(&doctor.stdout);
    assert!(doctor.status.code() == Some(1) && text.contains("provider.proxy"), "{text}");
    rig.finish().await;
}
