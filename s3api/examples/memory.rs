//! Serves a store in memory on `127.0.0.1:PORT` (default 9000), for trying clients by hand.
//!
//! The access key is `trellis`, the secret `trellis-secret`, the region `us-east-1`.

use std::net::Ipv4Addr;

use tokio::net::TcpListener;
use trellis_s3api::front::{FrontDoor, FrontDoorConfig};
use trellis_s3api::memory::MemoryStore;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args()
        .nth(1)
        .and_then(|port| port.parse().ok())
        .unwrap_or(9000);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let store = MemoryStore::new().with_key("trellis", "trellis-secret");
    let door = FrontDoor::new(store, FrontDoorConfig::default());
    let stop = async {
        // Without a handler the signal ends the process anyway.
        let _ = tokio::signal::ctrl_c().await;
    };
    door.serve(vec![listener], stop).await;
    Ok(())
}
