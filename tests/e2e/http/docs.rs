//! The examples of docs/http.md do what they show.

use hyper::StatusCode;
use serde_json::Value;

use super::client::{Http, post};
use crate::server::{Store, case};

/// The commands of the document, each on one line.
fn commands() -> Vec<String> {
    let text = include_str!("../../../docs/http.md").replace("\\\n", " ");
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines =
        blocks.flat_map(str::lines).filter(|line| line.starts_with("curl ")).map(str::to_owned);
    lines.collect()
}

#[tokio::test]
async fn each_command_succeeds() {
    case(Store::Sqlite, async |server| {
        let commands = commands();
        assert!(commands.len() > 5, "{commands:?}");
        let (mut job, mut token) = (String::new(), String::new());
        for command in commands {
            let command = command.replace("$JOB", &job).replace("$TOKEN", &token);
            let (_, rest) = command.split_once("localhost:7077").unwrap();
            let path = rest.split([' ', '\'', '"']).next().unwrap();
            let mut http = Http::one(server.address).await;
            let Some((_, body)) = command.split_once("-d '") else {
                // A stream of events has no end to wait for.
                let request = hyper::Request::get(path).body(http_body_util::Full::default());
                let answer = http.send(request.unwrap()).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK, "{command}");
                continue;
            };
            let body = body.split('\'').next().unwrap().to_owned();
            let answer = http.ask(post(path, "application/json", body)).await;
            assert_eq!(answer.status, StatusCode::OK, "{command}\n{}", answer.text());
            let answer: Value = serde_json::from_slice(&answer.body).unwrap();
            if let Some(name) = answer["job"]["name"].as_str() {
                job = name.to_owned();
            }
            if let Some(lease) = answer["jobs"][0]["leaseToken"].as_str() {
                token = lease.to_owned();
            }
        }
    })
    .await;
}
