//! Serves a data directory over MongoDB's wire protocol, for trying it with any driver:
//! `cargo run -p mongo-wire --example serve -- DIRECTORY [ADDRESS]`.

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: serve DIRECTORY [ADDRESS]")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:27017".to_owned());
    let options = engine::Options { enable_test_commands: true, ..engine::Options::new(directory) };
    let engine = engine::Headwater::open(options)?;
    let listener = tokio::net::TcpListener::bind(&address).await?;
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    mongo_wire::serve(listener, engine, None, stop).await?;
    Ok(())
}
