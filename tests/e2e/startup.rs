//! A broker that can't start says why, and keeps secrets to itself. One that starts has room for those who wait.

use std::time::Duration;

use futures_util::future::try_join_all;
use lessor_server::config::{Config, RawConfig, Sources};
use tokio::net::{TcpListener, TcpStream};

/// What is said of a `store` that can't be used: when it is chosen, or when it is opened.
async fn refusal(store: &str) -> String {
    let raw = RawConfig { store: Some(store.to_owned()), ..RawConfig::default() };
    let config = match Config::load_with(Sources { flags: raw, file: None }, &|_| None) {
        Ok(config) => config,
        Err(error) => return error.to_string(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ended = lessor_server::run(config, listener, std::future::pending()).await;
    ended.unwrap_err().to_string()
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_named_without_its_password() {
    // A port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let told = refusal(&format!("redis://user:hunter2@{free}/0")).await;
    assert!(told.starts_with(&format!("can't open the store redis://***@{free}/0: ")), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn a_file_that_cannot_be_made_is_named() {
    let told = refusal("sqlite:/nowhere/at/all/lessor.db").await;
    assert!(told.contains("/nowhere/at/all/lessor.db"), "{told}");
}

#[tokio::test]
async fn an_unknown_kind_of_store_is_refused() {
    let told = refusal("mysql://localhost").await;
    assert!(told.contains("sqlite:") && told.contains("redis://"), "{told}");
}

#[tokio::test]
async fn hundreds_of_connections_may_come_before_the_first_is_taken() {
    let listener = lessor_server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let coming = try_join_all((0..300).map(|_| TcpStream::connect(address)));
    // One that finds no room is tried again for minutes.
    let come = tokio::time::timeout(Duration::from_secs(30), coming).await.unwrap().unwrap();
    assert_eq!(come.len(), 300);
}
